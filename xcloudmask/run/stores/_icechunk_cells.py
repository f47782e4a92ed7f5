"""The group of a cell in an Icechunk session: made, or given more times; no pixel is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import xarray as xr

from xcloudmask.errors import WriteError
from xcloudmask.io._append import coords_along, places_of_dates
from xcloudmask.io._icechunk_place import spans
from xcloudmask.io._icechunk_write import held
from xcloudmask.io._layout import laid_out
from xcloudmask.run.stores._array import check_kind, write_plan
from xcloudmask.run.task import Job

if TYPE_CHECKING:
    from icechunk import Session

__all__ = ["reserve"]


def reserve(session: Session, name: str, mask: xr.DataArray, *, job: Job, label: str) -> bool:
    """Make the group of a cell, or add times to it; return whether it had to be changed.

    Parameters
    ----------
    session
        Writable.
    name
        Of the cell.
    mask
        From `template`.
    job
        Its chunks and shards.
    label
        Name of the repository, for messages.

    Returns
    -------
    bool

    Raises
    ------
    WriteError
        The group holds masks of another grid, model or settings.
    """
    plan = write_plan(job, mask)
    existing = held(session.store, name, label=label, kind=WriteError)
    if existing is not None:
        label = f"{label}, group {name}"
        check_kind(existing, mask, plan, label=label)
        return _extend(session, name, existing, mask, label)
    dataset, encoding = laid_out(mask, str(mask.name), plan)
    dataset.to_zarr(
        session.store, group=name, mode="a", zarr_format=3, consolidated=False, encoding=encoding, compute=False
    )
    return True


def _extend(session: Session, name: str, existing: xr.DataArray, mask: xr.DataArray, label: str) -> bool:
    """Add the times that a group lacks, without pixels, and correct the coordinates of those that it has."""
    places, _ = places_of_dates(existing, mask, "time")
    coords = coords_along(existing, mask, "time", label=label, compute=False).reset_coords()
    new = [row for row, place in enumerate(places) if place >= existing.sizes["time"]]
    old = [row for row, place in enumerate(places) if place < existing.sizes["time"]]
    if new:
        untyped: Any = da
        shape = (len(new), *mask.shape[1:])
        empty = xr.DataArray(untyped.zeros(shape, dtype=mask.dtype, chunks=-1), dims=mask.dims)
        # mode="a-": what has no such dimension stays as it is.
        coords.isel(time=new).assign({existing.name: empty}).to_zarr(
            session.store,
            group=name,
            mode="a-",
            append_dim="time",
            consolidated=False,
            safe_chunks=False,  # the pixels come later, and the coordinates are written here and now
            compute=False,
        )
    stored, given = existing.isel(time=[places[row] for row in old]), coords.isel(time=old)
    changed = [key for key in given.data_vars if not stored[key].variable.equals(given[key].variable)]
    for here, place in spans([places[row] for row in old]) if changed else []:
        given[changed].isel(time=here).drop_vars("time").to_zarr(
            session.store, group=name, mode="r+", region={"time": place}, consolidated=False, safe_chunks=False
        )
    return bool(new or changed)
