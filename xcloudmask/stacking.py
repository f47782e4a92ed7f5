"""Bands stacked into one dask array, (time, band, y, x).

One task a chunk stacks them, and they are overlapped together: band by band costs ten times the tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import tokenize

__all__ = ["add_time", "align_planes", "stack_planes"]

_TIME, _BAND = 0, 1


def align_planes(planes: Sequence[da.Array]) -> list[da.Array]:
    """Cut all bands as the first one is cut.

    Parameters
    ----------
    planes
        (time, y, x) or (y, x) arrays of one shape.

    Returns
    -------
    list of dask.array.Array

    Examples
    --------
    >>> [plane.chunks for plane in align_planes([da.zeros((4, 4), chunks=2), da.zeros((4, 4), chunks=4)])]
    [((2, 2), (2, 2)), ((2, 2), (2, 2))]
    """
    chunks = planes[0].chunks
    return [plane if plane.chunks == chunks else plane.rechunk(chunks) for plane in planes]


def stack_planes(planes: Sequence[da.Array]) -> da.Array:
    """Stack bands in one task per chunk.

    Parameters
    ----------
    planes
        (time, y, x) or (y, x) arrays of one shape; the first one's chunks are used.

    Returns
    -------
    dask.array.Array
        (time, band, y, x), all bands in one chunk, the smallest dtype that holds all; time has length 1 where there is
        none.

    Examples
    --------
    >>> stack_planes([da.zeros((1, 4, 4), chunks=2)] * 3).chunks
    ((1,), (3,), (2, 2), (2, 2))
    """
    first, aligned = planes[0], align_planes(planes)
    dtype = np.result_type(*(plane.dtype for plane in aligned))
    timeless = first.ndim == 2
    result: da.Array = da.map_blocks(
        _stack,
        *aligned,
        new_axis=[_TIME, _BAND] if timeless else [_BAND],
        chunks=((1,) if timeless else first.chunks[0], (len(aligned),), *first.chunks[-2:]),
        dtype=dtype,
        meta=np.empty((0, 0, 0, 0), dtype),
        name="cloudmask-stack-" + tokenize(*(plane.name for plane in aligned)),
    )
    return result


def _stack(*planes: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    stack = np.stack(planes, axis=-3)
    return stack if stack.ndim == 4 else stack[None]


def add_time(bands: da.Array) -> da.Array:
    """Give a scene a time axis of length 1.

    Parameters
    ----------
    bands
        (band, y, x).

    Returns
    -------
    dask.array.Array
        (1, band, y, x). A slice with None would do the same with a task that dask cannot fuse.

    Examples
    --------
    >>> add_time(da.zeros((3, 4, 4), chunks=2)).shape
    (1, 3, 4, 4)
    """
    result: da.Array = da.map_blocks(
        np.expand_dims,
        bands,
        axis=_TIME,
        new_axis=[_TIME],
        chunks=((1,), *bands.chunks),
        dtype=bands.dtype,
        meta=np.empty((0, 0, 0, 0), bands.dtype),
        name="cloudmask-time-" + tokenize(bands.name),
    )
    return result
