"""One mask into one Icechunk session: metadata first, then the pixels, from any dask scheduler."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from zarr.storage import StorePath

from xcloudmask._optional import require
from xcloudmask.errors import ReadError, WriteError
from xcloudmask.grid import spatial_dims
from xcloudmask.io._chunks import ChunkChoice, plan_write
from xcloudmask.io._icechunk_place import Region, along, cut, find_region, positions, runs
from xcloudmask.io._identity import check_same
from xcloudmask.io.zarr import DEFAULT_NAME, _prepare, open_mask

if TYPE_CHECKING:
    from icechunk.session import ForkSession

__all__ = ["Job", "held", "part_of", "write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be written, and how."""

    mask: xr.DataArray
    """Codes, percentages or probabilities; numpy or dask."""
    group: str
    """Path of the group; empty for the root."""
    mode: str
    """"w-" or "w"."""
    append_dim: str | None
    """Dimension along which steps are replaced or added."""
    region: Region | None
    """Part of the stored mask that is replaced."""
    chunks: ChunkChoice
    """Sizes of the chunks, for a new mask."""
    shards: ChunkChoice
    """Sizes of the shards, for a new mask."""
    label: str
    """Name of the target, for messages."""


def held(store: Any, group: str, *, label: str) -> xr.DataArray | None:
    """Return the mask that a session holds in a group; None where there is no array."""
    import zarr

    try:
        found = zarr.open_group(store, path=group, mode="r")
    except FileNotFoundError:
        return None
    names = sorted(found.array_keys())
    if not names:
        return None
    try:
        return open_mask(StorePath(store, group))
    except ReadError as error:
        raise WriteError(
            f"{label} holds {', '.join(names)} in group {group or '/'}, and no mask of xcloudmask. Type group= with "
            "another name."
        ) from error


def write(fork: ForkSession, job: Job) -> tuple[ForkSession, str]:
    """Write a mask, and return the session with all changes and what was done: new, replaced, appended or region."""
    existing = held(fork.store, job.group, label=job.label)
    if job.region is not None:
        return _into_region(fork, job, existing), "region"
    if job.append_dim is not None and existing is not None:
        return _append(fork, job, existing), "appended"
    if existing is not None:
        if job.mode == "w-":
            raise WriteError(
                f"{job.label} holds a mask in group {job.group or '/'}. Type: mode='w' to replace it in a new commit, "
                "append_dim='time' to add dates, or group= with another name."
            )
        _clear(fork, job.group)
    return _create(fork, job), "new" if existing is None else "replaced"


def part_of(existing: xr.DataArray, job: Job) -> tuple[xr.DataArray, Any]:
    """Return what a store holds at the place of a mask, and which steps of the mask that is: all, or along time."""
    if job.region is not None:
        return existing.isel(find_region(existing, job.mask, job.region, label=job.label)), slice(None)
    if job.append_dim is not None:
        found = positions(existing, job.mask, job.append_dim)
        return existing.isel({job.append_dim: found[found >= 0]}), found >= 0
    return existing, slice(None)


def _clear(fork: ForkSession, group: str) -> None:
    """Delete the arrays of a group; groups inside it stay."""
    import zarr

    opened = zarr.open_group(fork.store, path=group, mode="r+")
    for name in list(opened.array_keys()):
        del opened[name]


def _create(fork: ForkSession, job: Job) -> ForkSession:
    mask = job.mask
    plan = plan_write(
        mask.sizes, spatial=spatial_dims(mask), dask_chunks=mask.chunks, chunks=job.chunks, shards=job.shards
    )
    dataset, encoding = _prepare(mask, mask.name if mask.name is not None else DEFAULT_NAME, plan)
    empty, lazy = _without_lazy(dataset)
    # mode="a": the group may hold others, which mode="w" would delete.
    empty.to_zarr(
        fork.store, group=job.group, mode="a", zarr_format=3, consolidated=False, encoding=encoding, compute=False
    )
    for name, data in lazy.items():
        fork = _store(fork, job.group, name, data, (slice(None),) * data.ndim)
    return fork


def _append(fork: ForkSession, job: Job, existing: xr.DataArray) -> ForkSession:
    """Replace the steps that are there, and add the others at the end."""
    dim = str(job.append_dim)
    if dim not in existing.dims:
        raise WriteError(f"{job.label} holds a mask without {dim!r}: nothing can be appended. Type: mode='w'")
    mask = along(job.mask, dim).transpose(*existing.dims, missing_dims="ignore")
    check_same(existing, mask, target=job.label)
    name = existing.name
    dataset, _ = _prepare(mask, name, plan_write(mask.sizes, spatial=spatial_dims(mask), dask_chunks=None))
    steps = dataset.drop_vars(name).load()
    steps = steps.drop_vars([other for other in steps.variables if dim not in steps[other].dims])
    _check_coords(existing, steps, dim, label=job.label)
    found = positions(existing, mask, dim)
    _overwrite_coords(fork, job, existing, steps, found)
    new = found < 0
    if new.any():
        rows = np.flatnonzero(new)
        added = steps.isel({dim: rows}).assign({name: _zeros(dataset[name].isel({dim: rows}))})
        added.to_zarr(
            fork.store,
            group=job.group,
            mode="a-",
            append_dim=dim,
            consolidated=False,
            safe_chunks=False,  # what is stored here are coordinates
            compute=False,
        )
        found = np.where(new, existing.sizes[dim] + np.cumsum(new) - 1, found)
    axis = mask.dims.index(dim)
    for here, there in runs(found):
        place = tuple(there if at == axis else slice(None) for at in range(mask.ndim))
        fork = _store(fork, job.group, name, mask.isel({dim: here}).data, place)
    return fork


def _into_region(fork: ForkSession, job: Job, existing: xr.DataArray | None) -> ForkSession:
    if existing is None:
        raise WriteError(
            f"{job.label} holds no mask in group {job.group or '/'} to write a region of. Write the whole first, "
            "without region=."
        )
    part = existing.isel(find_region(existing, job.mask, job.region or {}, label=job.label))
    check_same(part, job.mask, target=job.label)
    for dim in part.dims:
        if dim in spatial_dims(part) or dim not in part.coords or dim not in job.mask.coords:
            continue
        if not part.get_index(dim).equals(job.mask.get_index(dim)):
            raise WriteError(
                f"{job.label} has {dim} {part[dim].values[0]} in this region, and the mask {job.mask[dim].values[0]}. "
                "Type: region='auto'"
            )
    place = find_region(existing, job.mask, job.region or {}, label=job.label)
    return _store(fork, job.group, existing.name, job.mask.data, tuple(place[dim] for dim in existing.dims))


def _check_coords(existing: xr.DataArray, steps: xr.Dataset, dim: str, *, label: str) -> None:
    """Refuse coordinates along time that only one side has: a store with axes of different lengths opens no more."""
    stored = {name for name, coord in existing.coords.items() if dim in coord.dims}
    given = set(map(str, steps.variables))
    for name in sorted(map(str, stored - given)):
        raise WriteError(
            f"{label} holds the coordinate {name!r} along {dim}, and the mask does not have it. Type: "
            f"mask.assign_coords({{{name!r}: ({dim!r}, [...])}})"
        )
    for name in sorted(given - set(map(str, stored))):
        raise WriteError(
            f"The mask has the coordinate {name!r} along {dim}, and {label} does not have it. Type: "
            f"mask.drop_vars({name!r})"
        )


def _overwrite_coords(fork: ForkSession, job: Job, existing: xr.DataArray, steps: xr.Dataset, found: Any) -> None:
    """Write the coordinates of the steps that are there already, where they are others."""
    dim = str(job.append_dim)
    rows = np.flatnonzero(found >= 0)
    stored, given = existing.isel({dim: found[rows]}), steps.isel({dim: rows})
    changed = [
        name for name in given.variables if name != dim and not stored[name].variable.equals(given[name].variable)
    ]
    if not changed:
        return
    for here, there in runs(found[rows]):
        part = given[changed].drop_vars(dim).isel({dim: here})
        part.reset_coords().to_zarr(
            fork.store, group=job.group, mode="r+", region={dim: there}, consolidated=False, safe_chunks=False
        )


def _without_lazy(dataset: xr.Dataset) -> tuple[xr.Dataset, dict[Hashable, Any]]:
    """Put zeros of one chunk, which xarray does not write, in the place of lazy data: a graph less."""
    lazy = {name: variable.data for name, variable in dataset.variables.items() if variable.chunks is not None}
    return dataset.assign({name: _zeros(dataset[name]) for name in lazy}), lazy


def _zeros(array: xr.DataArray) -> xr.DataArray:
    import dask.array as da

    return array.copy(data=da.zeros(array.shape, dtype=array.dtype, chunks=-1))


def _store(fork: ForkSession, group: str, name: Hashable, data: Any, place: tuple[slice, ...]) -> ForkSession:
    """Write numpy or dask data to a place of an array, and return the session that has the changes."""
    import zarr

    array: Any = zarr.open_group(fork.store, path=group, mode="r+")[str(name)]
    if not hasattr(data, "dask"):
        array[place] = np.asarray(data)
        return fork
    require("icechunk", extra="icechunk")
    from icechunk.dask import store_dask

    units: Mapping[int, int] = dict(enumerate(array.shards or array.chunks))
    chunks = tuple(
        cut(axis, start=part.start or 0, step=units[at])
        for at, (axis, part) in enumerate(zip(data.chunks, place, strict=True))
    )
    if chunks != data.chunks:
        data = data.rechunk(chunks)
    return store_dask(sources=[data], targets=[array], regions=[place])
