"""Where a mask goes in what a repository holds: positions along time, a region, runs of whole chunks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from xcloudmask.errors import ArgumentError, ArgumentTypeError, WriteError
from xcloudmask.grid import spatial_dims
from xcloudmask.io._georef import grid_mapping_name

__all__ = ["Region", "along", "cut", "find_region", "positions", "runs"]

Region = Mapping[Any, slice] | Literal["auto"]
"""Where a mask goes: slices by dimension, or found by its coordinates."""

_AGREE = 1e-3
"""Share of a pixel by which coordinates may differ."""


def along(mask: xr.DataArray, dim: str) -> xr.DataArray:
    """Return a mask that has the dimension, with coordinates that name each step once."""
    if dim in spatial_dims(mask):
        raise ArgumentError(f"append_dim={dim!r} is an axis of the image. Expected 'time'; for parts type region=.")
    if dim not in mask.dims:
        if dim not in mask.coords:
            raise ArgumentError(f"The mask has no {dim!r}. Type: mask.assign_coords({dim}=...) with its date.")
        fixed = {grid_mapping_name(mask), "epsg", "proj:code", "proj:epsg"}
        scalars = [name for name, coord in mask.coords.items() if coord.ndim == 0 and name not in fixed]
        told = {name: (dim, [mask.coords[name].to_numpy()[()]]) for name in scalars}
        mask = mask.drop_vars(scalars).expand_dims(dim).assign_coords(told)
    if dim not in mask.coords:
        raise ArgumentError(f"The mask has no coordinates along {dim!r}. Type: mask.assign_coords({dim}=...)")
    steps = mask.coords[dim]
    if steps.dtype.kind == "M":
        # Stores keep microseconds; finer ones would not be found again.
        mask = mask.assign_coords({dim: (dim, steps.to_numpy().astype("M8[us]").astype(steps.dtype), steps.attrs)})
    index = mask.get_index(dim)
    if not index.is_unique:
        twice = index[index.duplicated()][0]
        raise ArgumentError(
            f"{dim} {twice} is there more than once, and would overwrite itself. Type: mask.drop_duplicates({dim!r})"
        )
    return mask


def positions(existing: xr.DataArray, mask: xr.DataArray, dim: str) -> npt.NDArray[np.intp]:
    """Return where each step of the mask is in the store, and -1 for those that are not there."""
    index = existing.get_index(dim)
    if not index.is_unique:
        raise WriteError(f"What is stored has the same {dim} more than once, so nothing can be appended. Type: region=")
    return np.asarray(index.get_indexer(mask.get_index(dim)), np.intp)


def find_region(existing: xr.DataArray, mask: xr.DataArray, region: Region, *, label: str) -> dict[Hashable, slice]:
    """Return a slice for each dimension of the store, and refuse what does not fit."""
    if isinstance(region, str):
        if region != "auto":
            raise ArgumentError(f"region={region!r} is unknown. Expected 'auto' or slices by dimension.")
        return {dim: _matched(existing, mask, dim, label=label) for dim in mask.dims}
    if not isinstance(region, Mapping) or not all(isinstance(part, slice) for part in region.values()):
        raise ArgumentTypeError(f"region={region!r} is not understood. Type: region={{'y': slice(0, 512)}} or 'auto'")
    for dim in region:
        if dim not in mask.dims:
            raise ArgumentError(f"region: the mask has no dimension {dim!r}. It has {', '.join(map(str, mask.dims))}.")
    found: dict[Hashable, slice] = {}
    for dim in mask.dims:
        size = existing.sizes.get(dim, 0)
        part = region.get(dim, slice(None))
        start, stop, step = part.indices(size)
        if step != 1 or stop - start != mask.sizes[dim] or (part.stop is not None and part.stop > size):
            raise ArgumentError(
                f"region[{dim!r}]={part} takes {max(0, stop - start)} of the {size} that {label} has, and the mask has "
                f"{mask.sizes[dim]}. Type: region='auto'"
            )
        found[dim] = slice(start, stop)
    return found


def _matched(existing: xr.DataArray, mask: xr.DataArray, dim: Hashable, *, label: str) -> slice:
    """Find a mask along one dimension by its coordinates."""
    if dim not in existing.dims or dim not in existing.coords or dim not in mask.coords:
        return slice(0, existing.sizes.get(dim, 0))
    old, new = existing.get_index(dim), mask.get_index(dim)
    if old.dtype.kind == "f" and len(old) > 1:
        near = {"method": "nearest", "tolerance": _AGREE * abs(float(old[1] - old[0]))}
        found = np.asarray(old.get_indexer(pd.Index(new, dtype=old.dtype), **near))  # type: ignore[call-overload]
    else:
        found = np.asarray(old.get_indexer(new))
    if (found < 0).any() or (np.diff(found) != 1).any() or not found.size:
        raise WriteError(
            f"{label} does not have the coordinates of this mask along {dim!r} one after the other: the mask has "
            f"{new[0]} to {new[-1]}. For new dates type append_dim={str(dim)!r}, or give slices: region=."
        )
    return slice(int(found[0]), int(found[-1]) + 1)


def runs(found: npt.NDArray[np.intp]) -> list[tuple[slice, slice]]:
    """Cut positions into runs that are contiguous on both sides: (in the mask, in the store)."""
    order = np.argsort(found, kind="stable")
    breaks = np.flatnonzero((np.diff(order) != 1) | (np.diff(found[order]) != 1)) + 1
    return [
        (slice(int(part[0]), int(part[-1]) + 1), slice(int(found[part[0]]), int(found[part[-1]]) + 1))
        for part in np.split(order, breaks)
        if part.size
    ]


def cut(axis: Sequence[int], *, start: int, step: int) -> tuple[int, ...]:
    """Return dask chunks along an axis that begins at `start` of the store: no two of them share a chunk of it."""
    borders = start + np.cumsum(axis)
    if not (borders[:-1] % step).any():
        return tuple(axis)
    size = step * max(1, round(max(axis) / step))
    first = start - start % step
    inner = range(first + size, int(borders[-1]), size)
    edges = [start, *(edge for edge in inner if edge > start), int(borders[-1])]
    return tuple(stop - begin for begin, stop in pairwise(edges))
