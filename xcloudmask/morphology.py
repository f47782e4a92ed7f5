"""Dilation of flags by a disc, in plain numpy: no image library is needed for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xcloudmask.classes import NODATA, CloudClass

__all__ = ["dilate_codes", "dilate_disc", "flag_codes"]

BoolArray = npt.NDArray[np.bool_]
CodeArray = npt.NDArray[np.uint8]


def dilate_disc(flags: BoolArray, *, radius_px: int) -> BoolArray:
    """Grow the flagged pixels by a disc.

    A pixel is flagged afterwards when a flagged pixel lies within `radius_px` of it (Euclidean distance between
    pixel centres). The disc is cut into rows: each is a running maximum along x, taken from a cumulative sum, so the
    cost grows with the radius and not with the area of the disc.

    Parameters
    ----------
    flags
        (..., y, x) bool.
    radius_px
        Radius of the disc; 0 changes nothing.

    Returns
    -------
    numpy.ndarray
        (..., y, x) bool.

    Examples
    --------
    >>> point = np.zeros((3, 3), bool)
    >>> point[1, 1] = True
    >>> dilate_disc(point, radius_px=1).astype(int).tolist()
    [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    """
    if radius_px <= 0 or not flags.any():
        return flags.copy()
    height = flags.shape[-2]
    counts = _running_counts(flags)
    grown = np.zeros_like(flags)
    for dy in range(min(radius_px, height - 1) + 1):
        row = _any_within(counts, math.isqrt(radius_px**2 - dy**2))
        grown[..., dy:, :] |= row[..., : height - dy, :]
        grown[..., : height - dy, :] |= row[..., dy:, :]
    return grown


def flag_codes(codes: CodeArray, *, flagged: Sequence[int], radius_px: int = 0, flag_nodata: bool = False) -> BoolArray:
    """Flag the pixels of some codes, and those near them.

    Parameters
    ----------
    codes
        (..., y, x) uint8 mask.
    flagged
        The codes to flag.
    radius_px
        Distance up to which neighbours are flagged as well.
    flag_nodata
        Whether nodata is flagged too; it is never dilated.

    Returns
    -------
    numpy.ndarray
        (..., y, x) bool.

    Examples
    --------
    >>> flag_codes(np.array([[0, 1, 0, 255]], np.uint8), flagged=[1], flag_nodata=True).tolist()
    [[False, True, False, True]]
    """
    flags = dilate_disc(np.isin(codes, list(flagged)), radius_px=radius_px)
    if flag_nodata:
        flags |= codes == NODATA
    return flags


def dilate_codes(codes: CodeArray, *, grown: Sequence[int], radius_px: int) -> CodeArray:
    """Let some classes grow into the clear pixels around them.

    Parameters
    ----------
    codes
        (..., y, x) uint8 mask.
    grown
        The codes that grow; where two would meet, the one named first wins.
    radius_px
        Distance by which they grow.

    Returns
    -------
    numpy.ndarray
        (..., y, x) uint8; only clear pixels differ from the input.

    Examples
    --------
    >>> dilate_codes(np.array([[0, 1, 0, 0, 3, 255]], np.uint8), grown=[1], radius_px=1).tolist()
    [[1, 1, 1, 0, 3, 255]]
    """
    result = codes.copy()
    for code in grown:
        near = dilate_disc(codes == code, radius_px=radius_px)
        result[near & (result == CloudClass.CLEAR)] = code
    return result


def _running_counts(flags: BoolArray) -> npt.NDArray[np.int32]:
    """Count the flags left of each pixel edge: (..., y, x + 1)."""
    counts = np.zeros((*flags.shape[:-1], flags.shape[-1] + 1), np.int32)
    np.cumsum(flags, axis=-1, dtype=np.int32, out=counts[..., 1:])
    return counts


def _any_within(counts: npt.NDArray[np.int32], reach_px: int) -> BoolArray:
    """Whether a flag lies within `reach_px` along the row."""
    width = counts.shape[-1] - 1
    x = np.arange(width)
    right = counts[..., np.minimum(x + reach_px + 1, width)]
    left = counts[..., np.maximum(x - reach_px, 0)]
    within: BoolArray = right > left
    return within
