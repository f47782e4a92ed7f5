"""`open_store`: masks on disk, told by what they are."""

from __future__ import annotations

from os import PathLike, fspath

import xarray as xr

from xcloudmask.io.zarr import open_mask

__all__ = ["open_store"]


def open_store(path: str | PathLike[str]) -> xr.DataArray:
    """Open."""
    return open_mask(fspath(path))
