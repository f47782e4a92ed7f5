"""Masks in GeoTIFFs, opened from what their tags say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xcloudmask.classes import STYLES, Style, mask_attrs
from xcloudmask.errors import InputError, ReadError
from xcloudmask.io._raster import RasterFile, inspect, lazy_band, open_quietly
from xcloudmask.io._scenes import chunk_sizes

__all__ = ["open_mask_files"]

_MADE_BY = ("model", "model_sha256", "normalize", "settings", "processing")
"""Tags that must agree; the version of the package may differ."""
_ATTRS = (*_MADE_BY, "xcloudmask_version")
_COORDS = ("item_id", "platform")


@dataclass(frozen=True, slots=True, kw_only=True)
class _MaskFile:
    """A file, and what it says of itself."""

    header: RasterFile
    """Shape, grid, time."""
    tags: Mapping[str, str]
    """As written."""

    @property
    def style(self) -> Style | None:
        """Of its codes; None for what is no mask, or one of percent."""
        known: Mapping[str, Style] = {style.name: style for style in STYLES.values()}
        style = known.get(self.tags.get("output_style", ""))
        return style if len(self.header.dtypes) == 1 and self.header.dtypes[0] == "uint8" else None


def open_mask_files(paths: Sequence[str]) -> xr.DataArray:
    """Open GeoTIFFs that `to_cog` wrote as one mask.

    Parameters
    ----------
    paths
        The files; other rasters among them are left out, as are masks of another style than the first of `STYLES` that
        is there.

    Returns
    -------
    DataArray
        (time, y, x) in the order of time; (y, x) for one file without time.

    Raises
    ------
    ReadError
        A file cannot be read, or none is a mask.
    InputError
        They lie on several grids, were made in several ways, or some have no time.
    """
    found = [_read(path) for path in paths]
    present = [style for style in STYLES.values() if any(one.style is style for one in found)]
    if not present:
        more = f" or in the other {len(paths) - 1}" if len(paths) > 1 else ""
        raise ReadError(
            f"There are no classes of xcloudmask in {paths[0]}{more}: no single band of uint8 with the tag "
            "'output_style'. Expected GeoTIFFs that to_cog() wrote of codes."
        )
    files = [one for one in found if one.style is present[0]]
    _check_alike(files)
    files.sort(key=lambda one: (str(one.header.time), one.header.path))
    return _mask(files, present[0])


def _read(path: str) -> _MaskFile:
    header = inspect(path)
    with open_quietly(path) as source:
        return _MaskFile(header=header, tags=dict(source.tags()))


def _check_alike(files: Sequence[_MaskFile]) -> None:
    first = files[0]
    for one in files[1:]:
        if one.header.grid != first.header.grid:
            raise InputError(
                f"{one.header.path} lies on another grid than {first.header.path}. Expected one grid: open the files "
                "of each for themselves."
            )
        if (one.header.time is None) != (first.header.time is None) or one.header.time is None:
            raise InputError(f"Not all of the {len(files)} files have a time in their tags. Open them one by one.")
        for key in _MADE_BY:
            if one.tags.get(key) != first.tags.get(key):
                raise InputError(
                    f"{one.header.path} was made with {key} = {one.tags.get(key)!r:.200}, {first.header.path} with "
                    f"{first.tags.get(key)!r:.200}. Expected masks that were made alike: open those of each for "
                    "themselves."
                )


def _mask(files: Sequence[_MaskFile], style: Style) -> xr.DataArray:
    header = files[0].header
    untyped: Any = da
    chunks = chunk_sizes(header.shape, header.block, "auto")
    data = untyped.stack([lazy_band(one.header, 1, chunks) for one in files])
    coords, dims = _grid(header)
    if header.time is not None:
        coords["time"] = np.array([one.header.time for one in files], "M8[ns]")
    for key in _COORDS:
        values = [one.tags.get(key, "") for one in files]
        coords |= {key: ("time", np.array(values, object))} if any(values) else {}
    attrs = mask_attrs(style) | {key: files[0].tags[key] for key in _ATTRS if key in files[0].tags}
    mask = xr.DataArray(data, dims=("time", *dims), coords=coords, name="cloud_mask", attrs=attrs)
    if "spatial_ref" in mask.coords:
        mask.encoding["grid_mapping"] = "spatial_ref"
    return mask if header.time is not None else mask.isel(time=0)


def _grid(header: RasterFile) -> tuple[dict[str, Any], tuple[str, str]]:
    """Return coordinates and the names of y and x; none without georeference."""
    if header.transform is None:
        return {}, ("y", "x")
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_coords

    coords = {
        str(key): value
        for key, value in xr_coords(GeoBox(header.shape, Affine(*header.transform), header.crs_wkt)).items()
    }
    y, x = list(coords)[:2]
    return coords, (y, x)
