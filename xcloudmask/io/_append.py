"""Writing into a store that exists: dates appended or overwritten, and regions."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import compute as compute_all
from dask.delayed import delayed

from xcloudmask.errors import ArgumentError, WriteError
from xcloudmask.grid import time_dim
from xcloudmask.io._identity import check_same
from xcloudmask.io._overlay import HeldStore
from xcloudmask.io._partial import remove_partial
from xcloudmask.io._regions import box_of, check_box, check_labels, runs
from xcloudmask.io._stored import UNFINISHED, open_stored

__all__ = ["append_dates", "check_dates", "coords_along", "places_of_dates", "reserve_dates", "write_region"]


def check_dates(mask: xr.DataArray, dim: Hashable) -> None:
    """Refuse what cannot be appended, because nothing tells which dates are the same.

    Parameters
    ----------
    mask
        What is to be written.
    dim
        The time dimension.

    Raises
    ------
    ArgumentError
        There is no such dimension, it has no coordinate, a date is there twice, or it is not known.
    """
    if dim not in mask.dims:
        raise ArgumentError(
            f"append_dim={dim!r}: the mask has no such dimension, it has {', '.join(map(str, mask.dims))}. For "
            "a single date, type: mask.expand_dims('time')"
        )
    if dim != time_dim(mask):
        raise ArgumentError(f"append_dim={dim!r} is not the time dimension of the mask. Type: {time_dim(mask)!r}")
    if dim not in mask.indexes:
        raise ArgumentError(
            f"append_dim={dim!r} has no coordinate, so nothing tells which dates are there already. Type: "
            f"mask.assign_coords({dim}=[...])"
        )
    index = mask.indexes[dim]
    if index.hasnans:
        raise ArgumentError(
            f"{dim!r} has a date that is not known (NaT). Type: mask.sel({dim}=mask[{dim!r}].notnull())"
        )
    if not index.is_unique:
        twice = index[index.duplicated()][0]
        raise ArgumentError(
            f"{twice} is there twice along {dim!r}. Expected each date once. Type: mask.drop_duplicates({dim!r}), or "
            "put scenes of one instant together first, such as stac.load(..., groupby='solar_day')."
        )


def append_dates(mask: xr.DataArray, held: HeldStore, *, dim: Hashable, compute: bool) -> Any:
    """Append the dates that a store does not have, and overwrite those that it has.

    Chunks are written before anything points to them; the new dates and their coordinates appear in one step.

    Parameters
    ----------
    mask
        Checked by `check_dates`, without objects other than texts among its coordinates.
    held
        The store, with its root loaded.
    dim
        The time dimension.
    compute
        Whether to write now, or to return a Delayed.

    Returns
    -------
    None or dask.delayed.Delayed

    Raises
    ------
    WriteError
        The store holds another kind of mask, or cannot be written.
    """
    existing = open_stored(held, label=held.label)
    check_same(existing.isel({dim: slice(0, 1)}), mask, target=held.label)
    places, total = places_of_dates(existing, mask, dim)
    coords = coords_along(existing, mask, dim, label=held.label, compute=compute)
    held.probe()
    _mark_overwritten(held, mask, dim, [row for row, place in enumerate(places) if place < existing.sizes[dim]])
    _enlarge(held, dim, total)
    held.alone = True
    unit = _unit(existing)[existing.get_axis_num(dim)]
    rows = {place: row for row, place in enumerate(places)}
    writes = []
    for start, stop in runs(places, unit=unit, total=total):
        data = _joined(existing, mask, dim, [(place, rows.get(place)) for place in range(start, stop)])
        writes.append(_write(held, existing, data, {dim: slice(start, stop)}))
    for start, stop in runs(places, unit=1, total=total):
        part = coords.isel({dim: [rows[place] for place in range(start, stop)]})
        _write_coords(held, part, {dim: slice(start, stop)})
    _mark_finished(held, mask, dim)
    chunks = _chunk_ranges(existing, {dim: sorted({place // unit for place in places})})
    if not compute:
        return delayed(_finish_after, pure=False)(writes, held, chunks)
    compute_all(*writes)
    return _finish(held, chunks)


def reserve_dates(existing: xr.DataArray, mask: xr.DataArray, held: HeldStore, *, dim: Hashable) -> None:
    """Append the dates that a store does not have, without pixels, in one step; those of others stay as they are.

    Parameters
    ----------
    existing
        What the store holds: opened from `held`.
    mask
        As for `append_dates`; its pixels are not used. Checked to be of the same kind as `existing`.
    held
        The store, with its root loaded.
    dim
        The time dimension.

    Raises
    ------
    WriteError
        The store cannot be written, or was changed by another writer meanwhile.
    """
    places, total = places_of_dates(existing, mask, dim)
    coords = coords_along(existing, mask, dim, label=held.label, compute=False)
    there = [row for row, place in enumerate(places) if place < existing.sizes[dim]]
    stored, given = existing.isel({dim: [places[row] for row in there]}), coords.isel({dim: there})
    if len(there) == len(places) and all(stored[name].variable.equals(given[name].variable) for name in coords.coords):
        return
    _enlarge(held, dim, total)
    rows = {place: row for row, place in enumerate(places)}
    for start, stop in runs(places, unit=1, total=total):
        part = coords.isel({dim: [rows[place] for place in range(start, stop)]})
        _write_coords(held, part, {dim: slice(start, stop)})
    _finish(held, ([],))


def write_region(mask: xr.DataArray, held: HeldStore, *, region: Any, compute: bool) -> Any:
    """Write the pixels of a part of a store, and nothing else: many processes may do so at the same time.

    Parameters
    ----------
    mask
        The part.
    held
        The store, with its root loaded.
    region
        ``"auto"``, or slices by dimension.
    compute
        Whether to write now, or to return a Delayed.

    Returns
    -------
    None or dask.delayed.Delayed

    Raises
    ------
    ArgumentError
        The region is not in the store, has another size, or cuts chunks.
    WriteError
        The store holds another kind of mask, or cannot be written.
    """
    existing = open_stored(held, label=held.label)
    box = box_of(existing, mask, region, label=held.label)
    unit = dict(zip(existing.dims, _unit(existing), strict=True))
    check_box(box, unit, dict(existing.sizes))
    check_same(existing.isel(box), mask, target=held.label)
    check_labels(existing.isel(box), mask, label=held.label)
    data = mask.transpose(*existing.dims).data
    written = _write(held, existing, data, box)
    if not compute:
        return written
    compute_all(written)
    touched = {dim: list(range(part.start // unit[dim], -(-part.stop // unit[dim]))) for dim, part in box.items()}
    remove_partial(held, _chunk_ranges(existing, touched))
    return None


def _unit(existing: xr.DataArray) -> tuple[int, ...]:
    """Return what is written whole: shards, or chunks."""
    sizes: tuple[int, ...] = existing.encoding.get("shards") or existing.encoding["chunks"]
    return tuple(sizes)


def places_of_dates(existing: xr.DataArray, mask: xr.DataArray, dim: Hashable) -> tuple[list[int], int]:
    """Return where each date of the mask lies in the store, and the length that it will have."""
    there = {value: place for place, value in enumerate(existing[dim].values.tolist())}
    if len(there) < existing.sizes[dim]:
        raise WriteError(
            f"The store holds a date twice along {dim!r}, so nothing can be appended. Type "
            f"region={{{dim!r}: slice(...)}} to overwrite, or write the store anew."
        )
    places, total = [], existing.sizes[dim]
    for value in mask[dim].astype(existing[dim].dtype).values.tolist():
        places.append(there.get(value, total))
        total += value not in there
    return places, total


def _enlarge(held: HeldStore, dim: Hashable, total: int) -> None:
    """Lengthen all arrays along a dimension, in the root that is held back."""
    root = held.root()
    for metadata in root["consolidated_metadata"]["metadata"].values():
        for axis, name in enumerate(metadata.get("dimension_names") or ()):
            if name == dim:
                metadata["shape"][axis] = total
    held.hold_root(root)


def _mark_overwritten(held: HeldStore, mask: xr.DataArray, dim: Hashable, rows: list[int]) -> None:
    """Write down which dates are being overwritten, so that a killed writer's mixture of old and new is known."""
    root = held.root()
    old = root["attributes"].get(UNFINISHED, [])
    stamps = sorted({*old, *_stamps(mask, dim, rows)})
    if stamps != old:
        root["attributes"][UNFINISHED] = stamps
        held.hold_root(root)
        held.commit()


def _mark_finished(held: HeldStore, mask: xr.DataArray, dim: Hashable) -> None:
    root = held.root()
    written = set(_stamps(mask, dim, range(mask.sizes[dim])))
    left = [stamp for stamp in root["attributes"].pop(UNFINISHED, []) if stamp not in written]
    if left:
        root["attributes"][UNFINISHED] = left
    held.hold_root(root)


def _stamps(mask: xr.DataArray, dim: Hashable, rows: Iterable[int]) -> list[str]:
    return [str(value) for value in mask[dim].values[list(rows)]]


def coords_along(existing: xr.DataArray, mask: xr.DataArray, dim: Hashable, *, label: str, compute: bool) -> xr.Dataset:
    """Return the coordinates along time that the store has, from the mask; what the mask lacks is missing."""
    extra = [name for name, coord in mask.coords.items() if dim in coord.dims and name not in existing.coords]
    if extra:
        warnings.warn(
            f"{label} has no coordinates {', '.join(map(repr, extra))}: they are left out. To keep them, write a new "
            "store.",
            stacklevel=5,
        )
    found = {}
    for name, coord in existing.coords.items():
        if dim in coord.dims:
            given = mask.coords.get(name)
            found[name] = _fitting(name, coord, given, mask.sizes[dim], dim, compute=compute)
    return xr.Dataset(coords=found)


def _fitting(
    name: Hashable, there: xr.DataArray, given: xr.DataArray | None, length: int, dim: Hashable, *, compute: bool
) -> xr.Variable:
    missing: Any = {"f": np.nan, "M": np.datetime64("NaT"), "O": "", "U": "", "T": ""}.get(there.dtype.kind)
    if given is None:
        if missing is None:
            raise WriteError(
                f"The store has a coordinate {name!r} ({there.dtype}) along {dim!r}, and the mask has none. Type: "
                f"mask.assign_coords({name}=({dim!r}, [...]))"
            )
        shape = tuple(length if axis == dim else size for axis, size in there.sizes.items())
        return xr.Variable(there.dims, np.full(shape, missing, there.dtype))
    if given.chunks is not None and not compute:
        raise ArgumentError(f"The coordinate {name!r} is lazy. With compute=False, type mask[{name!r}].load() first.")
    values = given.transpose(*there.dims).values
    if there.dtype.kind not in "OUT" and not np.can_cast(values.dtype, there.dtype, "same_kind"):
        raise WriteError(
            f"The coordinate {name!r} is {values.dtype} in the mask and {there.dtype} in the store. Type: "
            f"mask.assign_coords({name}=mask[{str(name)!r}].astype('{there.dtype}'))"
        )
    return xr.Variable(there.dims, values.astype(there.dtype))


def _joined(existing: xr.DataArray, mask: xr.DataArray, dim: Hashable, rows: list[tuple[int, int | None]]) -> Any:
    """Put dates of the mask and of the store in a row: chunks longer than one date are read before they are written."""
    axis = existing.get_axis_num(dim)
    ordered = mask.transpose(*existing.dims)
    wanted = [row for _, row in rows if row is not None]
    if len(wanted) == len(rows):
        return ordered.isel({dim: wanted}).data
    pieces = [
        existing.isel({dim: [place]}).data if row is None else da.asarray(ordered.isel({dim: [row]}).data)
        for place, row in rows
    ]
    return da.concatenate(pieces, axis=axis)


def _write(held: HeldStore, existing: xr.DataArray, data: Any, region: Mapping[Any, slice]) -> Any:
    """Return the Delayed that writes whole chunks of a region."""
    unit = _unit(existing)
    lazy = data if isinstance(data, da.Array) else da.from_array(data, chunks=unit, name=False)
    aligned = tuple(
        axis if all(size % step == 0 for size in axis[:-1]) else _cut(sum(axis), step * max(1, round(max(axis) / step)))
        for axis, step in zip(lazy.chunks, unit, strict=True)
    )
    dataset = xr.Dataset({existing.name: (existing.dims, lazy.rechunk(aligned))})
    return dataset.to_zarr(held, region=dict(region), mode="r+", consolidated=True, compute=False)


def _cut(length: int, size: int) -> tuple[int, ...]:
    rest = length % size
    return (size,) * (length // size) + ((rest,) if rest else ())


def _write_coords(held: HeldStore, coords: xr.Dataset, region: Mapping[Any, slice]) -> None:
    """Write coordinates into what is held back; they are small, and nobody else writes them."""
    # What has an index is left out of a region by xarray.
    plain = coords.drop_indexes(list(coords.indexes)).reset_coords()
    plain.to_zarr(held, region=dict(region), mode="r+", consolidated=True, safe_chunks=False)


def _chunk_ranges(existing: xr.DataArray, touched: Mapping[Hashable, list[int]]) -> tuple[list[int], ...]:
    """Return which chunks are written along each dimension; all of them where nothing is said."""
    sizes = zip(existing.dims, existing.shape, _unit(existing), strict=True)
    return tuple(touched.get(dim, list(range(-(-size // step)))) for dim, size, step in sizes)


def _finish_after(_: Any, held: HeldStore, chunks: tuple[list[int], ...]) -> None:
    _finish(held, chunks)


def _finish(held: HeldStore, chunks: tuple[list[int], ...]) -> None:
    held.commit()
    remove_partial(held, chunks)
