"""Where dates go along time, and which dask chunks write each stored chunk whole: integers only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

__all__ = ["cut", "spans"]


def spans(places: Sequence[int]) -> list[tuple[slice, slice]]:
    """Cut positions into runs that are contiguous on both sides.

    Parameters
    ----------
    places
        Where each step of a mask goes in the store.

    Returns
    -------
    list of (slice, slice)
        Steps of the mask, and of the store.

    Examples
    --------
    >>> spans([3, 4, 0])
    [(slice(2, 3, None), slice(0, 1, None)), (slice(0, 2, None), slice(3, 5, None))]
    """
    there = np.asarray(places, np.intp)
    order = np.argsort(there, kind="stable")
    breaks = np.flatnonzero((np.diff(order) != 1) | (np.diff(there[order]) != 1)) + 1
    return [
        (slice(int(part[0]), int(part[-1]) + 1), slice(int(there[part[0]]), int(there[part[-1]]) + 1))
        for part in np.split(order, breaks)
        if part.size
    ]


def cut(axis: Sequence[int], *, start: int, step: int) -> tuple[int, ...]:
    """Return dask chunks of which no two share a stored chunk.

    Parameters
    ----------
    axis
        Chunks as they are.
    start
        Where the data begin in the store.
    step
        Length of the stored chunks, or shards.

    Returns
    -------
    tuple of int

    Examples
    --------
    >>> cut((4, 4, 4), start=3, step=4)
    (1, 4, 4, 3)
    >>> cut((4, 4, 4), start=8, step=2)
    (4, 4, 4)
    """
    borders = [start, *(start + int(end) for end in np.cumsum(axis))]
    if not any(border % step for border in borders[1:-1]):
        return tuple(axis)
    size = step * max(1, round(max(axis) / step))
    inner = range(start - start % step + size, borders[-1], size)
    return tuple(stop - begin for begin, stop in pairwise([start, *inner, borders[-1]]))
