"""The Dask graphs of composites (dask arrays in, dask arrays out; no xarray).

A median needs all dates of a pixel at once: time becomes one chunk per period, and y and x are cut so that a block
stays below `BLOCK_BYTES`. Picking the best date does not: blocks are compared as they come, in a tree, and few of them
are held at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import tokenize

from xcloudmask._composite_blocks import (
    Band,
    Picked,
    count_clear,
    geomedian_block,
    median_block,
    merge_picked,
    pick_block,
)

__all__ = ["BLOCK_BYTES", "Composite", "Job", "composite_graph"]

BLOCK_BYTES = 2**28
"""A block with all dates of a period holds no more, unless a chunk of the cube has one pixel."""

SPLIT_EVERY = 4
"""Blocks of picked pixels that are compared at a time."""

Method = Literal["median", "geomedian", "best-pixel", "first-clear", "last-clear"]

_BY: dict[str, Literal["first", "last", "distance"]] = {
    "first-clear": "first",
    "last-clear": "last",
    "best-pixel": "distance",
}
_BUNDLE = np.empty((0, 0, 0), object)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a composite is made of."""

    arrays: tuple[da.Array, ...]
    """(time, ..., y, x) of each variable, in order of time."""
    codes: da.Array
    """(time, y, x) of the mask."""
    distances: da.Array | None
    """(time, y, x) from the next cloud, for ``"best-pixel"``."""
    clear: npt.NDArray[np.bool_]
    """(256,): which codes are clear."""
    bands: tuple[Band, ...]
    """One per variable."""
    sizes: tuple[int, ...]
    """Dates of each period; none is empty."""
    min_clear: int
    """Clear dates that a pixel needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite:
    """What comes out."""

    arrays: tuple[da.Array, ...]
    """(period, ..., y, x) of each variable."""
    count: da.Array
    """(period, y, x) uint16: clear dates."""
    index: da.Array | None
    """(period, y, x) int32: the date that was picked, -1 for none; None for medians."""


def composite_graph(job: Job, method: Method) -> Composite:
    """Build the graph of a composite.

    Parameters
    ----------
    job
        What it is made of.
    method
        How.

    Returns
    -------
    Composite
    """
    if method == "median":
        return _medians(job)
    if method == "geomedian":
        return _geomedians(job)
    return _picks(job, _BY[method])


def _medians(job: Job) -> Composite:
    # One plan for all variables: their blocks then share those of the mask.
    per_px = max(_bytes_per_px(array) for array in job.arrays) + 1
    rows, columns = _cut(job, per_px)
    codes = job.codes.rechunk((job.sizes, rows, columns))
    arrays = []
    for array, band in zip(job.arrays, job.bands, strict=True):
        extra = tuple((size,) for size in array.shape[1:-2])
        whole = array.rechunk((job.sizes, *extra, rows, columns))
        arrays.append(
            _map(
                median_block,
                whole,
                codes,
                dtype=np.dtype(band.dtype),
                clear=job.clear,
                min_clear=job.min_clear,
                band=band,
            )
        )
    return Composite(arrays=tuple(arrays), count=_map(count_clear, codes, dtype=np.uint16, clear=job.clear), index=None)


def _geomedians(job: Job) -> Composite:
    rows, columns = _cut(job, sum(_bytes_per_px(array) for array in job.arrays) + 1)
    whole = [
        array.rechunk((job.sizes, *((size,) for size in array.shape[1:-2]), rows, columns)) for array in job.arrays
    ]
    codes = job.codes.rechunk((job.sizes, rows, columns))
    settings = {"clear": job.clear, "min_clear": job.min_clear, "bands": job.bands}
    bundle = _map(geomedian_block, codes, *whole, dtype=object, **settings)
    arrays = [_variable(bundle, _finished_of, job, position) for position in range(len(job.arrays))]
    return Composite(arrays=tuple(arrays), count=_map(_count_of, bundle, dtype=np.uint16), index=None)


def _picks(job: Job, by: Literal["first", "last", "distance"]) -> Composite:
    """Blocks of one date each or of few, compared in a tree for each period."""
    first = job.arrays[0]
    # No chunk of dates may belong to two periods; this only cuts.
    borders = sorted({0, *np.cumsum(first.chunks[0]).tolist(), *np.cumsum(job.sizes).tolist()})
    times, (rows, columns) = tuple(np.diff(borders).tolist()), first.chunks[-2:]
    whole = [array.rechunk((times, *((size,) for size in array.shape[1:-2]), rows, columns)) for array in job.arrays]
    layers = [] if job.distances is None else [job.distances.rechunk((times, rows, columns))]
    positions = np.arange(sum(times), dtype=np.int32)
    dates = da.from_array(positions, chunks=(times,), name="cloudmask-dates-" + tokenize(positions, times))
    codes = job.codes.rechunk((times, rows, columns))
    blocks = _map(pick_block, dates, codes, *layers, *whole, dtype=object, clear=job.clear, by=by, bands=job.bands)
    stops = np.searchsorted(borders, np.cumsum(job.sizes)).tolist()
    periods = []
    for start, stop in zip([0, *stops[:-1]], stops, strict=True):
        part = blocks.blocks[start:stop]
        periods.append(
            da.reduction(
                part,
                chunk=_as_it_is,
                combine=_merge,
                aggregate=_merge,
                axis=0,
                keepdims=True,
                concatenate=False,
                dtype=object,
                meta=_BUNDLE,
                split_every=SPLIT_EVERY,
                name="cloudmask-pick-" + tokenize(part.name, start, stop),
            )
        )
    bundle = periods[0] if len(periods) == 1 else da.concatenate(periods, axis=0)
    arrays = [_variable(bundle, _values_of, job, position) for position in range(len(job.arrays))]
    index = _map(_index_of, bundle, dtype=np.int32, min_clear=job.min_clear)
    return Composite(arrays=tuple(arrays), count=_map(_count_of, bundle, dtype=np.uint16), index=index)


def _as_it_is(block: Picked, axis: Any = None, keepdims: bool = True) -> Picked:  # noqa: ARG001, FBT001, FBT002
    return block


def _merge(blocks: Any, axis: Any = None, keepdims: bool = True) -> Picked:  # noqa: ARG001, FBT001, FBT002
    return merge_picked(blocks) if isinstance(blocks, list) else blocks


def _map(function: Callable[..., Any], *arrays: da.Array, dtype: npt.DTypeLike, **settings: Any) -> da.Array:
    """Map blocks of a period, or of some dates, to one entry along time: (1, ..., y, x) like the first array."""
    first = next(array for array in arrays if array.ndim >= 3)
    indices = [
        ("t", *(f"b{place}{axis}" for axis in range(array.ndim - 3)), "y", "x") for place, array in enumerate(arrays)
    ]
    parts: list[Any] = []
    for array, index in zip(arrays, indices, strict=True):
        parts += [array, index if array.ndim >= 3 else ("t",)]
    out = indices[next(place for place, array in enumerate(arrays) if array is first)]
    result: da.Array = da.blockwise(
        function,
        out,
        *parts,
        name=f"cloudmask-{function.__name__.strip('_').replace('_', '-')}-"
        + tokenize([array.name for array in arrays], settings, str(dtype)),
        dtype=np.dtype(dtype),
        meta=np.empty((0,) * first.ndim, dtype),
        adjust_chunks={"t": (1,) * first.numblocks[0]},
        # Planes between time and y are one chunk: to be passed as they are, not in a list.
        concatenate=True,
        align_arrays=False,
        **settings,
    )
    return result


def _variable(bundle: da.Array, function: Callable[..., Any], job: Job, position: int) -> da.Array:
    """Take one variable out of blocks that hold all of them."""
    array, band = job.arrays[position], job.bands[position]
    extra = tuple(f"b{axis}" for axis in range(array.ndim - 3))
    result: da.Array = da.blockwise(
        function,
        ("t", *extra, "y", "x"),
        bundle,
        ("t", "y", "x"),
        name="cloudmask-variable-" + tokenize(bundle.name, position, band, job.min_clear),
        new_axes=dict(zip(extra, array.shape[1:-2], strict=True)),
        dtype=np.dtype(band.dtype),
        meta=np.empty((0,) * array.ndim, band.dtype),
        position=position,
        band=band,
        min_clear=job.min_clear,
        align_arrays=False,
    )
    return result


def _finished_of(picked: Picked, *, position: int, **_: Any) -> npt.NDArray[Any]:
    return picked.values[position]


def _values_of(picked: Picked, *, position: int, band: Band, min_clear: int) -> npt.NDArray[Any]:
    values = picked.values[position]
    found = (picked.index >= 0) & (picked.count >= min_clear)
    found = found.reshape(1, *(1,) * (values.ndim - 3), *found.shape[1:])
    return np.where(found, values, np.dtype(band.dtype).type(band.fill)).astype(band.dtype)


def _index_of(picked: Picked, *, min_clear: int) -> npt.NDArray[np.int32]:
    return np.where(picked.count >= min_clear, picked.index, np.int32(-1))


def _count_of(picked: Picked) -> npt.NDArray[np.uint16]:
    return picked.count


def _bytes_per_px(array: da.Array) -> int:
    return int(math.prod(array.shape[1:-2]) * array.dtype.itemsize)


def _cut(job: Job, bytes_per_px: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Chunks of y and x: those of the cube, cut into equal parts where all dates of a period would be too much."""
    rows, columns = job.arrays[0].chunks[-2:]
    largest = max(job.sizes) * bytes_per_px * max(rows) * max(columns)
    parts = math.ceil(math.sqrt(largest / BLOCK_BYTES))
    return _parts(rows, parts), _parts(columns, parts)


def _parts(sizes: Sequence[int], parts: int) -> tuple[int, ...]:
    cut: list[int] = []
    for size in sizes:
        step = -(-size // parts)
        cut += [min(step, size - start) for start in range(0, size, step)]
    return tuple(cut)
