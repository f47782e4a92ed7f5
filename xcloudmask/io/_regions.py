"""Which part of a stored array a mask is, in whole chunks: integers and coordinates only."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask.errors import ArgumentError, ArgumentTypeError, WriteError
from xcloudmask.grid import spatial_dims

__all__ = ["Box", "box_of", "check_box", "check_labels", "runs"]

Box = dict[Hashable, slice]
"""Start and stop along every dimension."""

_AGREE = 1e-3
"""Share of a pixel up to which two coordinates are the same."""


def runs(places: Sequence[int], *, unit: int, total: int) -> list[tuple[int, int]]:
    """Return the runs of whole chunks that hold some places along an axis.

    Parameters
    ----------
    places
        Positions, in any order.
    unit
        Length of a chunk.
    total
        Length of the axis.

    Returns
    -------
    list of (int, int)
        Start and stop, in order.

    Examples
    --------
    >>> runs([7, 0, 4], unit=2, total=8), runs([1, 2], unit=1, total=3)
    ([(0, 2), (4, 8)], [(1, 3)])
    """
    found: list[tuple[int, int]] = []
    for chunk in sorted({place // unit for place in places}):
        start, stop = chunk * unit, min((chunk + 1) * unit, total)
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return found


def box_of(existing: xr.DataArray, mask: xr.DataArray, region: Any, *, label: str) -> Box:
    """Return the slices of a region, found by coordinates where they are not given.

    Parameters
    ----------
    existing
        What the store holds.
    mask
        The part that is to be written.
    region
        ``"auto"``, or a slice or ``"auto"`` by dimension; dimensions left out are whole.
    label
        The name of the store.

    Returns
    -------
    dict
        A slice for every dimension of the store.

    Raises
    ------
    ArgumentError
        The region is not in the store, or the mask has another size.
    ArgumentTypeError
        It is neither ``"auto"`` nor slices.
    """
    if region == "auto":
        region = dict.fromkeys(existing.dims, "auto")
    if not isinstance(region, Mapping):
        raise ArgumentTypeError(f"region={region!r} is not understood. Type: region='auto', or {{'y': slice(0, 2048)}}")
    unknown = [dim for dim in region if dim not in existing.dims]
    if unknown or set(mask.dims) != set(existing.dims):
        found = unknown[0] if unknown else next(iter(set(mask.dims) ^ set(existing.dims)))
        raise ArgumentError(
            f"region=: {label} has the dimensions {', '.join(map(str, existing.dims))}, the mask has "
            f"{', '.join(map(str, mask.dims))}: {found!r} does not fit. For a single date, type "
            "mask.expand_dims('time')."
        )
    box: Box = {}
    for dim in existing.dims:
        part = region.get(dim, slice(None))
        given = part if part != "auto" else _found(existing, mask, dim, label)
        box[dim] = _checked(given, dim, existing.sizes[dim], mask.sizes[dim])
    return box


def check_box(box: Box, unit: Mapping[Hashable, int], sizes: Mapping[Hashable, int]) -> None:
    """Refuse a region that cuts a chunk: whoever writes the other half would write the same file.

    Parameters
    ----------
    box
        Slices by dimension.
    unit
        Sizes of the chunks, or of the shards where there are some.
    sizes
        Sizes of the array.

    Raises
    ------
    ArgumentError
        It cuts one; the message says which region does not.

    Examples
    --------
    >>> check_box({"y": slice(512, 700)}, {"y": 256}, {"y": 700})
    """
    for dim, part in box.items():
        step, end = unit[dim], sizes[dim]
        if part.start % step or (part.stop % step and part.stop != end):
            whole = slice(part.start // step * step, min(-(-part.stop // step) * step, end))
            raise ArgumentError(
                f"region= {part.start}:{part.stop} along {dim!r} cuts a chunk of {step}: another writer of that chunk "
                f"would undo this one. Expected whole chunks. Type: region={{{str(dim)!r}: slice({whole.start}, "
                f"{whole.stop})}} with a mask of that part, or choose other chunks= or shards= for a new store."
            )


def check_labels(existing: xr.DataArray, mask: xr.DataArray, *, label: str) -> None:
    """Refuse a mask of other dates, or other classes, than those of the region.

    Parameters
    ----------
    existing
        The region, as the store holds it.
    mask
        What is to be written there.
    label
        The name of the store.

    Raises
    ------
    WriteError
        They differ.
    """
    for dim in set(existing.indexes) & set(mask.indexes) - set(spatial_dims(existing)):
        there, here = existing.indexes[dim], mask.indexes[dim]
        for old, new in zip(there, here, strict=True):
            if old != new:
                raise WriteError(
                    f"{label} has {dim} = {old} in that region, and the mask has {new}. Type: region='auto'"
                )
    old_time, new_time = existing.coords.get("time"), mask.coords.get("time")
    if old_time is None or new_time is None or old_time.ndim or new_time.ndim:
        return
    if old_time.values != new_time.values:
        raise WriteError(
            f"{label} holds a mask of time = {old_time.values}, and this one is of {new_time.values}. Type: mode='w' "
            "to replace the store, or give another name."
        )


def _found(existing: xr.DataArray, mask: xr.DataArray, dim: Hashable, label: str) -> slice:
    """Return where the coordinates of the mask lie among those of the store."""
    if dim not in existing.indexes or dim not in mask.indexes:
        if existing.sizes[dim] == mask.sizes[dim]:
            return slice(0, mask.sizes[dim])
        raise ArgumentError(f"region='auto' needs a coordinate {dim!r}. Type: region={{{str(dim)!r}: slice(...)}}")
    there, here = existing.indexes[dim], mask.indexes[dim]
    if dim in spatial_dims(existing) and there.dtype.kind in "iuf" and len(there) > 1:
        pixel = abs(float(there[-1]) - float(there[0])) / (len(there) - 1)
        places = there.get_indexer(here, method="nearest", tolerance=pixel * _AGREE) if there.is_unique else []
    else:
        places = there.get_indexer(here) if there.is_unique else []
    where = np.asarray(places)
    if where.size == 0 or (where < 0).any():
        first = here[int(np.argmin(where))] if where.size else here[0]
        raise ArgumentError(
            f"region='auto': {label} has no {dim} = {first}. Expected a part of its grid and dates. For new dates, "
            f"type append_dim={str(dim)!r}."
        )
    if (np.diff(where) != 1).any():
        raise ArgumentError(
            f"region='auto': the {dim} of the mask do not lie side by side in {label}. Write them one by one, or type "
            f"append_dim={str(dim)!r}, which overwrites dates that are there."
        )
    return slice(int(where[0]), int(where[-1]) + 1)


def _checked(part: Any, dim: Hashable, size: int, given: int) -> slice:
    if not isinstance(part, slice) or part.step not in (None, 1):
        raise ArgumentTypeError(f"region[{dim!r}]={part!r} is no slice of step 1. Type: slice(0, 2048)")
    try:
        start, stop, _ = part.indices(size)
    except TypeError as error:
        raise ArgumentTypeError(f"region[{dim!r}]={part!r} is no slice of whole numbers.") from error
    if (part.stop is not None and part.stop > size) or stop - start != given:
        raise ArgumentError(
            f"region= along {dim!r} is {part.start}:{part.stop} of {size}, and the mask has {given}. Expected as many."
        )
    return slice(start, stop)
