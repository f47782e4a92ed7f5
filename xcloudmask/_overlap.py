"""A function of blocks that needs to see a few pixels of the neighbours, on dask arrays; no xarray here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from xcloudmask.errors import ChunkError

__all__ = ["map_with_halo", "merge_chunks"]


def merge_chunks(chunks: tuple[int, ...], *, depth_px: int) -> tuple[int, ...]:
    """Join chunks with their right neighbour until each is at least as long as the halo is deep.

    Parameters
    ----------
    chunks
        Chunk sizes along one axis.
    depth_px
        Depth of the halo.

    Returns
    -------
    tuple of int
        Sums of neighbours: borders are removed, never moved.

    Examples
    --------
    >>> merge_chunks((64, 64, 10), depth_px=16)
    (64, 74)
    >>> merge_chunks((4, 4), depth_px=16)
    (8,)
    """
    merged: list[int] = []
    current = 0
    for size in chunks:
        current += size
        if current >= max(depth_px, 1):
            merged.append(current)
            current = 0
    if current or not merged:
        rest = merged.pop() if merged else 0
        merged.append(rest + current)
    return tuple(merged)


def map_with_halo(
    array: da.Array, function: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], *, depth_px: int, dtype: npt.DTypeLike
) -> da.Array:
    """Map a function over blocks with a halo along the last two axes.

    Dask would rechunk to irregular chunks when one is smaller than the halo, and say nothing. Here small chunks are
    joined for the work, and the result is cut where the input was, so that it goes on to Zarr as the input would.

    Parameters
    ----------
    array
        (..., y, x) array with known chunks.
    function
        Takes and returns a block of one shape; importable, so that workers can find it.
    depth_px
        Depth of the halo.
    dtype
        Type of the result.

    Returns
    -------
    dask.array.Array
        Shape and chunks of the input.

    Raises
    ------
    ChunkError
        The chunk sizes are not known.

    Examples
    --------
    >>> zeros = da.zeros((100, 100), chunks=(45, 45), dtype=bool)
    >>> map_with_halo(zeros, np.logical_not, depth_px=20, dtype=bool).chunks
    ((45, 45, 10), (45, 45, 10))
    """
    if any(np.isnan(size) for axis in array.chunks for size in axis):
        raise ChunkError("The chunk sizes of the array are not known. Type: array.compute_chunk_sizes()")
    untyped: Any = da  # dask's functions carry no usable types
    result: da.Array
    meta = np.empty((0,) * array.ndim, dtype)
    if depth_px == 0:
        result = untyped.map_blocks(function, array, dtype=dtype, meta=meta)
        return result
    axes = (array.ndim - 2, array.ndim - 1)
    plan = tuple(
        merge_chunks(sizes, depth_px=depth_px) if axis in axes else sizes for axis, sizes in enumerate(array.chunks)
    )
    # An axis of one chunk has no neighbours; dask refuses a depth larger than such an axis.
    depth = {axis: depth_px if axis in axes and len(plan[axis]) > 1 else 0 for axis in range(array.ndim)}
    result = untyped.map_overlap(
        function,
        untyped.rechunk(array, plan),
        depth=depth,
        boundary="none",
        trim=True,
        allow_rechunk=False,
        align_arrays=False,
        dtype=dtype,
        meta=meta,
    )
    result = untyped.rechunk(result, array.chunks)
    return result
