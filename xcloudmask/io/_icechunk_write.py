"""One mask into one Icechunk session: metadata first, then the pixels, from any dask scheduler."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from zarr.storage import StorePath

from xcloudmask.errors import ReadError, WriteError
from xcloudmask.grid import spatial_dims
from xcloudmask.io._append import coords_along, places_of_dates
from xcloudmask.io._chunks import ChunkChoice, plan_write
from xcloudmask.io._icechunk_place import cut, spans
from xcloudmask.io._identity import check_same
from xcloudmask.io._layout import laid_out
from xcloudmask.io._regions import box_of, check_labels
from xcloudmask.io._stored import open_stored, refuse_if_there
from xcloudmask.io.zarr import DEFAULT_NAME

if TYPE_CHECKING:
    from icechunk.session import ForkSession

__all__ = ["Job", "held", "write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be written, and how."""

    mask: xr.DataArray
    """Codes, percentages or probabilities; numpy or dask; from `storable`."""
    group: str
    """Path of the group; empty for the root."""
    mode: str
    """w-, w, a or r+."""
    append_dim: str | None
    """Dimension along which dates are replaced or added."""
    region: Any
    """Part of the stored mask that is replaced."""
    chunks: ChunkChoice
    """Sizes of the chunks, for a new mask."""
    shards: ChunkChoice
    """Sizes of the shards, for a new mask."""
    label: str
    """Name of the target, for messages."""


def held(store: Any, group: str, *, label: str, kind: type[ReadError | WriteError]) -> xr.DataArray | None:
    """Return the mask that a session holds in a group, as it lies there; None where there is no array.

    `kind` is the error where the store does not tell whether there is one.
    """
    import zarr

    named = f"{label}, group {group or '/'}"
    try:
        found = zarr.open_group(store, path=group, mode="r")
    except FileNotFoundError:
        refuse_if_there(store, group, label=named, kind=kind)
        return None
    if not any(True for _ in found.array_keys()):
        return None
    return open_stored(StorePath(store, group), label=named)


def write(fork: ForkSession, job: Job) -> tuple[ForkSession, str]:
    """Write a mask, and return the session with all changes and what was done: new, replaced, appended or region."""
    try:
        existing = held(fork.store, job.group, label=job.label, kind=WriteError)
    except ReadError as error:
        raise WriteError(f"{error} Type group= with another name.") from error
    where = f"{job.label}, group {job.group or '/'}"
    if existing is None:
        if job.mode == "r+":
            raise WriteError(f"{where} holds no mask. Write the whole first: leave out region= and mode='r+'.")
        return _create(fork, job), "new"
    if job.region is not None:
        box = box_of(existing, job.mask, job.region, label=where)
        check_same(existing.isel(box), job.mask, target=where)
        check_labels(existing.isel(box), job.mask, label=where)
        ordered = job.mask.transpose(*existing.dims)
        return _store(fork, job.group, existing.name, ordered.data, tuple(box.values())), "region"
    if job.append_dim is not None:
        return _append(fork, job, existing, where), "appended"
    if job.mode != "w":
        raise WriteError(
            f"{where} holds a mask. Type: mode='w' to replace it in a new commit, append_dim='time' to add dates, or "
            "group= with another name."
        )
    _clear(fork, job.group)
    return _create(fork, job), "replaced"


def _clear(fork: ForkSession, group: str) -> None:
    """Delete the arrays of a group; groups inside it stay."""
    import zarr

    opened = zarr.open_group(fork.store, path=group, mode="r+")
    for name in list(opened.array_keys()):
        del opened[name]


def _create(fork: ForkSession, job: Job) -> ForkSession:
    mask = job.mask
    plan = plan_write(
        mask.sizes,
        spatial=spatial_dims(mask),
        dask_chunks=mask.chunks,
        chunks=job.chunks,
        shards=job.shards,
        single=job.append_dim,
    )
    dataset, encoding = laid_out(mask, mask.name if mask.name is not None else DEFAULT_NAME, plan)
    lazy = {name: variable.data for name, variable in dataset.variables.items() if variable.chunks is not None}
    # mode="a": mode="w" would delete the groups inside this one.
    dataset.assign({name: _zeros(dataset[name]) for name in lazy}).to_zarr(
        fork.store,
        group=job.group,
        mode="a",
        zarr_format=3,
        consolidated=False,
        encoding=encoding,
        compute=False,
    )
    for name, data in lazy.items():
        fork = _store(fork, job.group, name, data, (slice(None),) * data.ndim)
    return fork


def _append(fork: ForkSession, job: Job, existing: xr.DataArray, where: str) -> ForkSession:
    """Replace the dates that are there, and add the others at the end."""
    dim = str(job.append_dim)
    if dim not in existing.dims:
        raise WriteError(f"{where} holds a mask without {dim!r}: nothing can be appended. Type: mode='w'")
    check_same(existing.isel({dim: slice(0, 1)}), job.mask, target=where)
    mask = job.mask.transpose(*existing.dims)
    places, _ = places_of_dates(existing, mask, dim)
    coords = coords_along(existing, mask, dim, label=where, compute=True).reset_coords()
    rows = np.flatnonzero(np.asarray(places) >= existing.sizes[dim])
    if rows.size:
        shape = tuple(rows.size if axis == dim else size for axis, size in mask.sizes.items())
        empty = _zeros(xr.DataArray(np.broadcast_to(np.zeros((), mask.dtype), shape), dims=mask.dims))
        # mode="a-": what has no such dimension stays as it is.
        coords.isel({dim: rows}).assign({existing.name: empty}).to_zarr(
            fork.store,
            group=job.group,
            mode="a-",
            append_dim=dim,
            consolidated=False,
            safe_chunks=False,  # the pixels come later, and the coordinates are written here and now
            compute=False,
        )
    _overwrite_coords(fork, job, existing, coords, places)
    axis = existing.get_axis_num(dim)
    for here, there in spans(places):
        box = tuple(there if at == axis else slice(None) for at in range(mask.ndim))
        fork = _store(fork, job.group, existing.name, mask.isel({dim: here}).data, box)
    return fork


def _overwrite_coords(
    fork: ForkSession, job: Job, existing: xr.DataArray, coords: xr.Dataset, places: list[int]
) -> None:
    """Write the coordinates of dates that are there already, where they are others."""
    dim = str(job.append_dim)
    rows = [row for row, place in enumerate(places) if place < existing.sizes[dim]]
    there = [places[row] for row in rows]
    stored, given = existing.isel({dim: there}), coords.isel({dim: rows})
    changed = [name for name in given.data_vars if not stored[name].variable.equals(given[name].variable)]
    if not changed:
        return
    for here, place in spans(there):
        given[changed].isel({dim: here}).drop_vars(dim).to_zarr(
            fork.store, group=job.group, mode="r+", region={dim: place}, consolidated=False, safe_chunks=False
        )


def _zeros(array: xr.DataArray) -> xr.DataArray:
    """Put lazy zeros of one chunk, which xarray does not write, in the place of data that are written later."""
    import dask.array as da

    return array.copy(data=da.zeros(array.shape, dtype=array.dtype, chunks=-1))


def _store(fork: ForkSession, group: str, name: Hashable, data: Any, box: tuple[slice, ...]) -> ForkSession:
    """Write numpy or dask data to a part of an array, and return the session that has the changes."""
    import dask.array as da
    import zarr
    from icechunk.dask import store_dask

    array: Any = zarr.open_group(fork.store, path=group, mode="r+")[str(name)]
    if not isinstance(data, da.Array):
        array[box] = np.asarray(data)
        return fork
    units = array.shards or array.chunks
    chunks = tuple(
        cut(axis, start=part.start or 0, step=step) for axis, part, step in zip(data.chunks, box, units, strict=True)
    )
    return store_dask(sources=[data.rechunk(chunks)], targets=[array], regions=[box])
