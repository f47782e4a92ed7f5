"""What the pixels of one mask tell: counts, the outline of the data, a small picture. One pass, a slab at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudmask.classes import CLASS_DIM, NODATA
from xcloudmask.errors import ReadError
from xcloudmask.grid import spatial_dims

__all__ = ["Survey", "survey_array", "survey_file", "survey_slabs"]

Codes = npt.NDArray[np.uint8]

SLAB_ROWS = 512
_PIECE_PX = 2**20
_PREVIEW_PX = 512
"""Longest side of a thumbnail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was counted."""

    shape: tuple[int, int]
    """Rows and columns."""
    counts: npt.NDArray[np.int64] | None
    """(256,) pixels of each code; None for percentages."""
    means: tuple[float, ...] | None
    """Mean percentage of each class over the pixels with data; None for codes, NaN where no pixel has data."""
    valid: int
    """Pixels with data."""
    left: npt.NDArray[np.int64]
    """First column with data of each row."""
    right: npt.NDArray[np.int64]
    """Last column with data of each row plus 1; equal to `left` where a row has none."""
    preview: Codes
    """(y, x) codes, every n-th pixel; of percentages the class with most of them."""

    @property
    def valid_percent(self) -> float:
        """Share of the pixels that have data, in percent."""
        return 100.0 * self.valid / (self.shape[0] * self.shape[1])


def survey_slabs(slabs: Iterable[Codes], shape: tuple[int, int], *, shares: bool) -> Survey:
    """Count a mask that comes as slabs of whole rows, from the top.

    Parameters
    ----------
    slabs
        (band, rows, x) uint8.
    shape
        Rows and columns of the mask.
    shares
        Whether the bands are percentages of classes.

    Returns
    -------
    Survey

    Examples
    --------
    >>> found = survey_slabs([np.array([[[255, 0, 1]]], np.uint8)], (1, 3), shares=False)
    >>> found.valid, found.left.tolist(), found.right.tolist()
    (2, [1], [3])
    """
    left, right = np.zeros(shape[0], np.int64), np.zeros(shape[0], np.int64)
    counts, sums, valid, row = np.zeros(256, np.int64), np.zeros(0), 0, 0
    step = max(1, -(-max(shape) // _PREVIEW_PX))
    # The middle of each step, but at least one row and one column.
    top, side = (min(step // 2, size - 1) for size in shape)
    preview = [np.zeros((0, len(range(side, shape[1], step))), np.uint8)]
    for slab in slabs:
        there = slab[0] != NODATA
        rows = slice(row, row + slab.shape[1])
        left[rows], right[rows] = _extents(there)
        valid += int(there.sum())
        if shares:
            sums = (sums if sums.size else np.zeros(slab.shape[0])) + slab.sum(axis=(1, 2), where=there)
        else:
            counts += _counts(slab[0])
        picked = slab[:, (top - row) % step :: step, side::step]
        preview.append(_most(picked) if shares else picked[0])
        row += slab.shape[1]
    return Survey(
        shape=shape,
        counts=None if shares else counts,
        means=tuple((sums / valid if valid else np.full(sums.shape, np.nan)).tolist()) if shares else None,
        valid=valid,
        left=left,
        right=right,
        preview=np.concatenate(preview),
    )


def _counts(codes: Codes) -> npt.NDArray[np.int64]:
    """Count codes a piece at a time: np.bincount makes eight bytes of each."""
    flat, counts = codes.ravel(), np.zeros(256, np.int64)
    for first in range(0, flat.size, _PIECE_PX):
        counts += np.bincount(flat[first : first + _PIECE_PX], minlength=256)
    return counts


def _extents(there: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the first column that is True in each row, and the last one plus 1."""
    some, width = there.any(axis=1), there.shape[1]
    first = np.where(some, there.argmax(axis=1), 0)
    last = np.where(some, width - there[:, ::-1].argmax(axis=1), 0)
    return first, last


def _most(shares: Codes) -> Codes:
    there = shares[0] != NODATA
    return np.where(there, shares.argmax(axis=0), NODATA).astype(np.uint8)


def survey_file(source: Any, path: Any, *, shares: bool) -> Survey:
    """Count an open raster.

    Parameters
    ----------
    source
        Dataset of rasterio.
    path
        Its name, for errors.
    shares
        Whether its bands are percentages.

    Returns
    -------
    Survey

    Raises
    ------
    ReadError
        Its pixels cannot be read.
    """
    from rasterio.errors import RasterioError

    height, width = source.shape
    bands = list(range(1, source.count + 1)) if shares else [1]

    def slabs() -> Iterator[Codes]:
        for first in range(0, height, SLAB_ROWS):
            window = ((first, min(first + SLAB_ROWS, height)), (0, width))
            try:
                yield source.read(bands, window=window)
            except (RasterioError, OSError) as error:
                raise ReadError(f"{path} cannot be read: {error.__cause__ or error}") from error

    return survey_slabs(slabs(), (height, width), shares=shares)


def survey_array(mask: xr.DataArray) -> Survey:
    """Count a mask of one date; dask chunks are computed a row of them at a time.

    Parameters
    ----------
    mask
        (y, x) codes, or (cloud_class, y, x) percentages.

    Returns
    -------
    Survey
    """
    y, x = spatial_dims(mask)
    shares = CLASS_DIM in mask.dims
    ordered = mask.variable.transpose(CLASS_DIM, y, x) if shares else mask.variable.transpose(y, x)
    shape = (ordered.shape[-2], ordered.shape[-1])
    sizes = ordered.chunks[-2] if ordered.chunks is not None else (shape[0],)

    def slabs() -> Iterator[Codes]:
        first = 0
        for size in sizes:
            slab = np.asarray(ordered[..., first : first + size, :].values)
            yield slab if shares else slab[None]
            first += size

    return survey_slabs(slabs(), shape, shares=shares)
