"""Cells of a campaign in a store: their addresses, their coordinates, the place of a time along them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xcloudmask.classes import NODATA
from xcloudmask.errors import ArgumentError
from xcloudmask.io._targets import local_path, patience
from xcloudmask.io.zarr import DEFAULT_NAME
from xcloudmask.run.stores.base import Steps
from xcloudmask.run.task import Cell, Job

__all__ = ["FORK", "MASKS", "address", "cell_name", "options_of", "stamp", "template"]

MASKS = "masks"
FORK = "Type: xcloudmask run fork, which makes a campaign with a store of its own."
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,119}")


def cell_name(cell: Cell | str) -> str:
    """Return the name of a cell, which comes from a catalogue, or refuse one that could lead out of the store."""
    name = cell if isinstance(cell, str) else cell.name
    if not _NAME.fullmatch(name):
        raise ArgumentError(
            f"The cell {name!r} cannot be a file name. Expected letters, digits and any of _ . + -, such as '32TPS'."
        )
    return name


def address(job: Job, *parts: str) -> str:
    """Return the path or URL of something below the store of a campaign."""
    path = local_path(job.store)
    if path is not None:
        return str(path.expanduser().absolute().joinpath(*parts))
    return "/".join([job.store.rstrip("/"), *parts])


def options_of(job: Job) -> dict[str, Any]:
    """Return what fsspec needs for the store of a job: a host that is not there is given up soon."""
    return patience(job.store) | dict(job.storage_options)


def stamp(time: str) -> np.datetime64:
    """Return the time of a task as the coordinate has it."""
    try:
        found = np.datetime64(time.removesuffix("Z"), "us")
    except ValueError as error:
        raise ArgumentError(f"{time!r} is no time. Expected ISO 8601 in UTC, such as '2024-08-01T11:21:19'.") from error
    if np.isnat(found):
        raise ArgumentError(f"{time!r} is no time. Expected ISO 8601 in UTC, such as '2024-08-01T11:21:19'.")
    return found


def template(cell: Cell, steps: Steps, attrs: Mapping[str, Any]) -> xr.DataArray:
    """Return the mask of a cell as it is before anything is known: lazy, all nodata, in one chunk.

    Parameters
    ----------
    cell
        Its grid.
    steps
        Its times, in the order in which they lie in the store.
    attrs
        Of the mask.

    Returns
    -------
    DataArray
        (time, y, x) uint8, with the coordinates that `xcloudmask.stac.load` gives a cube on this grid; ``item_id``
        where the steps tell ids, those of several items with a space between them.

    Raises
    ------
    ArgumentError
        A time is no time, or is there twice.
    """
    coords = _grid(cell)
    y, x = (str(name) for name in list(coords)[:2])
    stamps = np.array([stamp(step) for step in steps], "M8[us]")
    if len(np.unique(stamps)) < len(stamps):
        values, counts = np.unique(stamps, return_counts=True)
        raise ArgumentError(
            f"Cell {cell.name}: {values[counts > 1][0]} is there twice. Expected each time once: scenes of one instant "
            "are put together in one step."
        )
    coords["time"] = stamps.astype("M8[ns]")
    if isinstance(steps, Mapping):
        coords["item_id"] = ("time", np.array([" ".join(ids) for ids in steps.values()], object))
    shape = (len(stamps), *cell.shape)
    untyped: Any = da
    return xr.DataArray(
        untyped.full(shape, NODATA, dtype=np.uint8, chunks=shape),
        dims=("time", y, x),
        coords=coords,
        name=DEFAULT_NAME,
        attrs=dict(attrs),
    )


def _grid(cell: Cell) -> dict[Any, Any]:
    """Return the coordinates of a cell: y and x first, then the CRS."""
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_coords

    _, b, _, d, _, _ = cell.transform
    if b or d:
        raise ArgumentError(
            f"Cell {cell.name}: its grid is rotated. Expected rows and columns along the axes of its CRS."
        )
    return dict(xr_coords(GeoBox(cell.shape, Affine(*cell.transform), cell.crs or None)))
