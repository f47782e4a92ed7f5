"""One pass over the pixels of a mask: counts, small pictures and a map of what is clear, a few dates at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from dask import base as dask_base

from xcloudmask.classes import NODATA, Style
from xcloudmask.errors import ReadError, XCloudMaskError
from xcloudmask.webreport._dates import Date, Name

__all__ = ["READ_ERRORS", "Counted", "count_dates", "step_for"]

READ_ERRORS = (OSError, ValueError, RuntimeError)
"""What stores and codecs raise for pixels that cannot be read; a ReadError is an OSError."""

_MAP_PX = 400
_CHUNK_PX = 2048
_BATCH_CHUNKS = 64
"""Chunks asked for at once: enough for all cores, few enough for a graph of some thousand tasks."""

Progress = Callable[[int], None]
"""Called with the number of dates that were just done."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counted:
    """What one pass found."""

    dates: tuple[Date, ...]
    """As time goes."""
    clear: npt.NDArray[np.int64]
    """(y, x) dates on which a pixel is clear; thinned, in the order of the store."""
    seen: npt.NDArray[np.int64]
    """(y, x) dates on which it has data."""
    pictures: dict[int, npt.NDArray[np.uint8]]
    """Position -> (y, x) codes, thinned."""


def count_dates(
    mask: xr.DataArray,
    names: list[Name],
    style: Style,
    *,
    pictured: Collection[int],
    picture_px: int,
    progress: Progress,
) -> Counted:
    """Read a mask once.

    Parameters
    ----------
    mask
        (time, y, x), dask or numpy.
    names
        Its dates, as time goes.
    style
        Its style.
    pictured
        Positions of the dates that get a picture.
    picture_px
        Longest side of the pictures.
    progress
        Told what is done.

    Raises
    ------
    ReadError
        No date can be read.
    """
    data = _chunked(mask)
    codes = len(style.meanings)
    step = step_for(data.shape[1:], _MAP_PX)
    shape = tuple(-(-size // step) for size in data.shape[1:])
    clear, seen = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    counts: dict[int, npt.NDArray[np.int64]] = {}
    errors: dict[int, Exception] = {}
    pictures: dict[int, npt.NDArray[np.uint8]] = {}
    for first, last in _batches(data):
        for part in _computed(data, (first, last), codes, step=step, wanted=pictured, px=picture_px, errors=errors):
            counts |= part.counts
            pictures |= part.pictures
            clear += part.clear
            seen += part.seen
        progress(last - first)
    _check_any(counts, errors)
    return Counted(
        dates=tuple(_date(name, counts.get(name.position), errors.get(name.position), codes) for name in names),
        clear=clear,
        seen=seen,
        pictures=pictures,
    )


def step_for(shape: tuple[int, ...], longest_px: int) -> int:
    """Return every how many pixels one is taken.

    Examples
    --------
    >>> step_for((1000, 10980), 256), step_for((100, 100), 256)
    (43, 1)
    """
    return max(1, math.ceil(max(shape) / longest_px))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """Some dates."""

    counts: dict[int, npt.NDArray[np.int64]]
    clear: npt.NDArray[np.int64]
    seen: npt.NDArray[np.int64]
    pictures: dict[int, npt.NDArray[np.uint8]]


def _chunked(mask: xr.DataArray) -> Any:
    """Return a dask array; what is none is cut into pieces that are read one by one."""
    if mask.chunks is None:
        dates = max(1, _CHUNK_PX**2 // math.prod(mask.shape[1:]))
        mask = mask.chunk(dict(zip(mask.dims, (dates, _CHUNK_PX, _CHUNK_PX), strict=True)))
    return mask.data


def _batches(data: Any) -> Iterator[tuple[int, int]]:
    """Yield ranges of dates that end on the borders of chunks, so that no chunk is read twice."""
    each = data.numblocks[1] * data.numblocks[2]
    first = last = waiting = 0
    for size in data.chunks[0]:
        last += size
        waiting += each
        if waiting >= _BATCH_CHUNKS:
            yield first, last
            first, waiting = last, 0
    if last > first:
        yield first, last


def _computed(
    data: Any,
    dates: tuple[int, int],
    codes: int,
    *,
    step: int,
    wanted: Collection[int],
    px: int,
    errors: dict[int, Exception],
) -> list[_Part]:
    """Compute a batch at once; where it fails date by date, so that one that cannot be read costs no other."""
    try:
        return [_compute(data, dates, codes, step=step, wanted=wanted, px=px)]
    except READ_ERRORS as error:
        if dates[1] - dates[0] == 1:
            errors[dates[0]] = error
            return []
    parts = []
    for date in range(*dates):
        parts += _computed(data, (date, date + 1), codes, step=step, wanted=wanted, px=px, errors=errors)
    return parts


def _compute(data: Any, dates: tuple[int, int], codes: int, *, step: int, wanted: Collection[int], px: int) -> _Part:
    part = data[slice(*dates)]
    chunks = (part.chunks[0], *((1,) * blocks for blocks in part.numblocks[1:]), (codes + 1,))
    meta = np.empty((0, 0, 0, 0), np.int64)
    per_block = part.map_blocks(_count_block, codes=codes, chunks=chunks, new_axis=3, dtype=np.int64, meta=meta)
    thin = part[:, ::step, ::step]
    stride = step_for(data.shape[1:], px)
    chosen = [date for date in range(*dates) if date in wanted]
    lazy = [
        per_block.sum(axis=(1, 2)),
        (thin == 0).sum(axis=0),
        (thin < codes).sum(axis=0),
        *(part[date - dates[0], ::stride, ::stride] for date in chosen),
    ]
    untyped: Any = dask_base
    counts, clear, seen, *pictures = untyped.compute(*lazy)
    total = math.prod(data.shape[1:])
    known = np.concatenate([counts, total - counts.sum(axis=1, keepdims=True)], axis=1)
    return _Part(
        counts=dict(zip(range(*dates), known, strict=True)),
        clear=clear,
        seen=seen,
        pictures=dict(zip(chosen, pictures, strict=True)),
    )


def _count_block(block: npt.NDArray[np.uint8], *, codes: int) -> npt.NDArray[np.int64]:
    """Return (time, 1, 1, codes + 1): pixels of each code and of nodata."""
    counts = np.empty((block.shape[0], 1, 1, codes + 1), np.int64)
    for date, pixels in enumerate(block):
        # One plane of booleans at a time; np.bincount would make 8 bytes of each pixel.
        counts[date, 0, 0] = [np.count_nonzero(pixels == code) for code in (*range(codes), NODATA)]
    return counts


def _check_any(counts: dict[int, Any], errors: dict[int, Exception]) -> None:
    if counts or not errors:
        return
    error = next(iter(errors.values()))
    if isinstance(error, XCloudMaskError):
        raise error
    raise ReadError(f"None of the {len(errors)} dates of the mask can be read: {error}") from error


def _date(name: Name, known: npt.NDArray[np.int64] | None, error: Exception | None, codes: int) -> Date:
    if known is None:
        return Date(name=name, counts=(0,) * codes, nodata=0, unknown=0, error=str(error) or type(error).__name__)
    *counts, nodata, unknown = (int(value) for value in known)
    return Date(name=name, counts=tuple(counts), nodata=nodata, unknown=unknown)
