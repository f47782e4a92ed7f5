"""Composites of one block: numpy in, numpy out. Dates are the first axis, y and x the last two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from xcloudmask._optional import require

__all__ = ["Band", "Picked", "count_clear", "geomedian_block", "median_block", "merge_picked", "pick_block"]

STRIP_VALUES = 2**18
"""Values that are sorted or iterated over at a time: a few MB of working memory, whatever the block."""

GEOMEDIAN_EPS = 1e-5
"""The iteration ends when a step is below this share of the spread of the observations."""
GEOMEDIAN_STEPS = 1000

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One variable: what is no data in it, and what comes out."""

    nodata: float | None
    """The declared value, besides NaN and infinity."""
    dtype: str
    """Of the composite."""
    fill: float
    """What a pixel without a clear observation becomes."""


@dataclass(slots=True)
class Picked:
    """The best observation of each pixel so far."""

    score: npt.NDArray[np.float32]
    """(1, y, x); the lowest is the best; infinity where there is none."""
    index: npt.NDArray[np.int32]
    """(1, y, x); which date, counted in order of time; -1 for none."""
    count: npt.NDArray[np.uint16]
    """(1, y, x); dates that the mask calls clear."""
    values: list[Array]
    """(1, ..., y, x) of each variable."""

    @property
    def nbytes(self) -> int:
        """What it takes in memory, for the scheduler."""
        own = self.score.nbytes + self.index.nbytes + self.count.nbytes
        return own + sum(array.nbytes for array in self.values)

    def __sizeof__(self) -> int:
        return self.nbytes


def count_clear(codes: npt.NDArray[np.uint8], *, clear: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint16]:
    """Count the clear dates: (1, y, x)."""
    count: npt.NDArray[np.uint16] = clear[codes].sum(axis=0, dtype=np.uint16, keepdims=True)
    return count


def median_block(
    values: Array, codes: npt.NDArray[np.uint8], *, clear: npt.NDArray[np.bool_], min_clear: int, band: Band
) -> Array:
    """Median of the clear observations that have data.

    Parameters
    ----------
    values
        (time, ..., y, x) numbers.
    codes
        (time, y, x) of the mask.
    clear
        (256,) bool: which codes are clear.
    min_clear
        Clear dates that a pixel needs.
    band
        Nodata, and what comes out.

    Returns
    -------
    numpy.ndarray
        (1, ..., y, x).

    Examples
    --------
    >>> band = Band(nodata=0, dtype="uint16", fill=0)
    >>> codes = np.array([0, 0, 0, 1, 0], np.uint8).reshape(5, 1, 1)
    >>> values = np.array([0, 5, 8, 900, 6], np.uint16).reshape(5, 1, 1)
    >>> median_block(values, codes, clear=np.arange(256) == 0, min_clear=1, band=band).item()
    6
    """
    result = np.empty((1, *values.shape[1:]), band.dtype)
    for place, rows in _strips(values):
        where: tuple[Any, ...] = (*place, rows)
        part = values[(slice(None), *where)]
        seen = clear[codes[:, rows]]
        enough = seen.sum(axis=0) >= min_clear
        seen &= _has_data(part, band.nodata)
        median = _median(part, seen)
        result[(0, *where)] = _finished(median, enough & seen.any(axis=0), band)
    return result


def geomedian_block(
    codes: npt.NDArray[np.uint8],
    *values: Array,
    clear: npt.NDArray[np.bool_],
    min_clear: int,
    bands: Sequence[Band],
) -> Picked:
    """Geometric median of the clear observations that have data in all bands.

    Parameters
    ----------
    codes
        (time, y, x) of the mask.
    values
        (time, ..., y, x) of each variable; all their planes together are the axes of space.
    clear, min_clear
        See `median_block`.
    bands
        One per variable.

    Returns
    -------
    Picked
        With the values and the count; nothing is picked.
    """
    count = count_clear(codes, clear=clear)
    results = [np.empty((1, *one.shape[1:]), band.dtype) for one, band in zip(values, bands, strict=True)]
    planes = sum(one[:, ..., 0, 0].size for one in values)
    step = max(STRIP_VALUES // max(planes * codes.shape[2], 1), 1)
    for start in range(0, codes.shape[1], step):
        rows = slice(start, start + step)
        seen = clear[codes[:, rows]]
        enough = seen.sum(axis=0) >= min_clear
        for one, band in zip(values, bands, strict=True):
            seen &= _all_have_data(one[..., rows, :], band.nodata)
        stack = np.concatenate([_as_planes(one[..., rows, :]) for one in values], axis=1)
        median = _geomedian(stack, seen)
        first = 0
        for one, result, band in zip(values, results, bands, strict=True):
            number = int(np.prod(one.shape[1:-2], dtype=int))
            part = median[first : first + number].reshape(*one.shape[1:-2], *seen.shape[1:])
            result[0, ..., rows, :] = _finished(part, enough & seen.any(axis=0), band)
            first += number
    nothing = np.full(count.shape, -1, np.int32)
    return Picked(score=np.full(count.shape, np.inf, np.float32), index=nothing, count=count, values=results)


def pick_block(
    dates: npt.NDArray[np.int32],
    codes: npt.NDArray[np.uint8],
    *values: Array,
    clear: npt.NDArray[np.bool_],
    by: Literal["first", "last", "distance"],
    bands: Sequence[Band],
) -> Picked:
    """Pick the best observation of each pixel.

    Parameters
    ----------
    dates
        (time,) places of the dates in order of time.
    codes
        (time, y, x) of the mask.
    values
        (time, ..., y, x) of each variable; ``by="distance"`` has the (time, y, x) distances before them.
    clear
        See `median_block`.
    by
        The first date, the last one, or the one that is farthest from a cloud (the first of several).
    bands
        One per variable.

    Returns
    -------
    Picked
    """
    seen = clear[codes]
    count = seen.sum(axis=0, dtype=np.uint16, keepdims=True)
    order = dates.astype(np.float32).reshape(-1, 1, 1)
    score = {"first": order, "last": -order}[by] if by != "distance" else -values[0].astype(np.float32)
    images = values if by != "distance" else values[1:]
    for one, band in zip(images, bands, strict=True):
        seen &= _all_have_data(one, band.nodata)
    score = np.where(seen, score, np.float32(np.inf))
    if len(dates) == 1:  # the usual chunk; looking up along time would take most of the time
        index = np.where(seen, dates[0].astype(np.int32), np.int32(-1))
        return Picked(score=score, index=index, count=count, values=list(images))
    best = score.argmin(axis=0, keepdims=True)
    found = seen.any(axis=0, keepdims=True)
    picked = [
        np.take_along_axis(one, best.reshape(1, *(1,) * (one.ndim - 3), *best.shape[1:]), axis=0) for one in images
    ]
    index = np.where(found, dates.astype(np.int32)[best], np.int32(-1))
    return Picked(score=np.take_along_axis(score, best, axis=0), index=index, count=count, values=picked)


def merge_picked(parts: Sequence[Picked]) -> Picked:
    """Keep the better of each pixel; of equals, the earlier date, so the order of merging does not matter.

    Parameters
    ----------
    parts
        Of other dates of the same pixels.

    Returns
    -------
    Picked
    """
    best = parts[0]
    for other in parts[1:]:
        earlier = (other.score == best.score) & (other.index < best.index)
        better = (other.score < best.score) | earlier
        best = Picked(
            score=np.where(better, other.score, best.score),
            index=np.where(better, other.index, best.index),
            count=best.count + other.count,
            values=[
                np.where(better.reshape(1, *(1,) * (one.ndim - 3), *better.shape[1:]), two, one)
                for one, two in zip(best.values, other.values, strict=True)
            ],
        )
    return best


def _strips(values: Array) -> Iterator[tuple[tuple[int, ...], slice]]:
    """Planes between time and y, and rows, that are worked on at a time."""
    step = max(STRIP_VALUES // max(values.shape[0] * values.shape[-1], 1), 1)
    for place in np.ndindex(values.shape[1:-2]):
        for start in range(0, values.shape[-2], step):
            yield place, slice(start, start + step)


def _has_data(values: Array, nodata: float | None) -> npt.NDArray[np.bool_]:
    seen = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    return seen if nodata is None else seen & (values != nodata)


def _all_have_data(values: Array, nodata: float | None) -> npt.NDArray[np.bool_]:
    """(time, y, x): data in all planes between."""
    between = tuple(range(1, values.ndim - 2))
    return np.asarray(_has_data(values, nodata).all(axis=between))


def _median(values: Array, seen: npt.NDArray[np.bool_]) -> Array:
    """(y, x) median over dates where seen; what it is where nothing is seen has no meaning."""
    last = np.nan if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    # Dates side by side sort several times faster. What is not seen goes to the end.
    ordered = np.ascontiguousarray(np.moveaxis(np.where(seen, values, values.dtype.type(last)), 0, -1))
    ordered.sort(axis=-1)
    count = seen.sum(axis=0)[..., None]
    low, high = (
        np.take_along_axis(ordered, np.maximum(place, 0), axis=-1)[..., 0] for place in ((count - 1) // 2, count // 2)
    )
    work = np.result_type(values.dtype, np.float32)
    median: Array = (low.astype(work) + np.where(count[..., 0] > 0, high, low).astype(work)) / 2
    return median


def _as_planes(values: Array) -> Array:
    return values.reshape(values.shape[0], -1, *values.shape[-2:])


def _geomedian(stack: Array, seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """(plane, y, x) geometric median of (time, plane, y, x) where seen."""
    geomad = require("geomad", extra="composite")
    times, planes = stack.shape[:2]
    found = seen.any(axis=0)
    median = np.full((planes, *found.shape), np.nan)
    if not found.any():
        return median
    points = np.where(seen[:, None], stack, np.nan).transpose(2, 3, 1, 0)[found].astype(np.float64)
    # Single precision holds the offsets from the mean of a pixel, in units of its spread, whatever the numbers are.
    middle = np.nanmean(points, axis=-1, keepdims=True)
    spread = np.nanmax(np.abs(points - middle), axis=(-2, -1), keepdims=True)
    spread[spread == 0] = 1.0
    offsets = ((points - middle) / spread).astype(np.float32)
    # Each pixel is a row of its own: in a row, a pixel would start where its neighbour ended.
    result = geomad.nangeomedian_pcm(
        offsets.reshape(-1, 1, planes, times), maxiters=GEOMEDIAN_STEPS, eps=GEOMEDIAN_EPS, num_threads=1, nocheck=True
    )
    median[:, found] = (result[:, 0, :, None].astype(np.float64) * spread + middle)[..., 0].T
    return median


def _finished(values: Array, enough: npt.NDArray[np.bool_], band: Band) -> Array:
    if np.dtype(band.dtype).kind in "iu":
        values = np.rint(values)
    return np.where(enough, np.nan_to_num(values), band.fill).astype(band.dtype)
