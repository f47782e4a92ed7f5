"""Dilation and erosion by a disc, in numpy: no image library is needed for them.

A disc is written as the half-widths of its rows, from the middle row outwards: `(1, 0)` is a cross of five pixels. So
is an ellipse, which is what a disc in metres becomes where pixels are not square. Whole numbers travel in a graph, and
no block can round them in another way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xcloudmask.classes import NODATA, CloudClass

__all__ = [
    "Disc",
    "dilate",
    "dilate_codes",
    "disc_m",
    "disc_px",
    "erode",
    "first_code_within",
    "flag_codes",
    "reach_px",
]

BoolArray = npt.NDArray[np.bool_]
CodeArray = npt.NDArray[np.uint8]

Disc = tuple[int, ...]
"""Half-widths of the rows 0, 1, 2, ... pixels off the middle; they never grow."""


def disc_px(radius_px: int) -> Disc:
    """Return the disc of all pixels whose centres lie within a radius.

    Parameters
    ----------
    radius_px
        0 or more.

    Returns
    -------
    tuple of int

    Examples
    --------
    >>> disc_px(2)
    (2, 1, 0)
    """
    return tuple(math.isqrt(radius_px**2 - dy**2) for dy in range(radius_px + 1))


def disc_m(radius_m: float, resolution_m: tuple[float, float]) -> Disc:
    """Return the pixels whose centres lie within so many metres.

    Parameters
    ----------
    radius_m
        0 or more.
    resolution_m
        Size of a pixel along y and x.

    Returns
    -------
    tuple of int
        Rows of an ellipse where pixels are not square.

    Examples
    --------
    >>> disc_m(30.0, (10.0, 10.0)) == disc_px(3)
    True
    >>> disc_m(30.0, (10.0, 30.0))
    (1, 0, 0, 0)
    """
    pixel_y, pixel_x = resolution_m
    # Pixel sizes are differences of coordinates: 9.9999999 and 10.0000001 shall both take three pixels for 30 m.
    radius = radius_m * (1.0 + 1e-6)
    return tuple(
        int(math.sqrt(max(0.0, radius**2 - (dy * pixel_y) ** 2)) / pixel_x) for dy in range(int(radius / pixel_y) + 1)
    )


def reach_px(disc: Disc) -> tuple[int, int]:
    """Return how far a disc reaches along y and x.

    Parameters
    ----------
    disc
        As `disc_px` gives it.

    Returns
    -------
    tuple of int

    Examples
    --------
    >>> reach_px((3, 2, 0))
    (2, 3)
    """
    return len(disc) - 1, disc[0]


def dilate(flags: BoolArray, disc: Disc) -> BoolArray:
    """Grow the flagged pixels by a disc.

    The rows of the disc are taken from the narrowest to the widest. Each widens what the one before left, so the cost
    grows with the radius and not with the area of the disc.

    Parameters
    ----------
    flags
        (..., y, x) bool.
    disc
        The pixels that one flag grows to.

    Returns
    -------
    numpy.ndarray
        (..., y, x) bool, a new array.

    Examples
    --------
    >>> point = np.zeros((3, 3), bool)
    >>> point[1, 1] = True
    >>> dilate(point, disc_px(1)).astype(int).tolist()
    [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    """
    if disc == (0,) or not flags.any():
        return flags.copy()
    height, width = flags.shape[-2:]
    wide, widened = flags.copy(), 0
    grown = np.zeros_like(flags)
    for dy in range(len(disc) - 1, -1, -1):
        for dx in range(widened + 1, min(disc[dy], width - 1) + 1):
            wide[..., dx:] |= flags[..., :-dx]
            wide[..., :-dx] |= flags[..., dx:]
        widened = disc[dy]
        if dy < height:
            grown[..., dy:, :] |= wide[..., : height - dy, :]
            grown[..., : height - dy, :] |= wide[..., dy:, :]
    return grown


def erode(flags: BoolArray, disc: Disc, *, known: BoolArray) -> BoolArray:
    """Keep the flagged pixels that have no known pixel without a flag within the disc.

    What is not known (nodata, and all beyond the edge of the image) takes no part: it neither grows nor gnaws. On the
    known pixels alone, dilation and erosion are adjoint, so opening and closing are idempotent up to the very edge.

    Parameters
    ----------
    flags
        (..., y, x) bool; flags of unknown pixels are ignored.
    disc
        The pixels that must be flagged around one that stays.
    known
        (..., y, x) bool.

    Returns
    -------
    numpy.ndarray
        (..., y, x) bool.

    Notes
    -----
    Serra (1982), Image Analysis and Mathematical Morphology, Academic Press.

    Examples
    --------
    >>> flags = np.array([[True, True, True, False]])
    >>> erode(flags, disc_px(1), known=np.ones_like(flags)).tolist()
    [[True, True, False, False]]
    """
    kept: BoolArray = known & ~dilate(known & ~flags, disc)
    return kept


def flag_codes(codes: CodeArray, *, grown: Sequence[tuple[int, Disc]], flag_nodata: bool = False) -> BoolArray:
    """Flag the pixels of some codes, and those near them.

    Parameters
    ----------
    codes
        (..., y, x) uint8 mask.
    grown
        The codes to flag, each with the disc it grows by.
    flag_nodata
        Whether nodata is flagged too; it is never dilated.

    Returns
    -------
    numpy.ndarray
        (..., y, x) bool.

    Examples
    --------
    >>> flag_codes(np.array([[0, 1, 0, 0, 2, 255]], np.uint8), grown=[(1, (1,)), (2, (0,))], flag_nodata=True).tolist()
    [[True, True, True, False, True, True]]
    """
    flags = codes == NODATA if flag_nodata else np.zeros(codes.shape, bool)
    # Codes that grow alike grow together.
    for disc in dict.fromkeys(disc for _, disc in grown):
        flags |= dilate(np.isin(codes, [code for code, other in grown if other == disc]), disc)
    return flags


def first_code_within(codes: CodeArray, grown: Sequence[tuple[int, Disc]]) -> CodeArray:
    """Return for each pixel the first of some codes that lies within its disc.

    Parameters
    ----------
    codes
        (..., y, x) uint8 mask.
    grown
        Codes and their discs, the one that wins first.

    Returns
    -------
    numpy.ndarray
        (..., y, x) uint8; 0 where there is none.

    Examples
    --------
    >>> first_code_within(np.array([[1, 0, 3, 0, 0]], np.uint8), [(3, (1,)), (1, (1,))]).tolist()
    [[1, 3, 3, 3, 0]]
    """
    found = np.zeros_like(codes)
    for code, disc in grown:
        np.copyto(found, np.uint8(code), where=dilate(codes == code, disc) & (found == 0))
    return found


def dilate_codes(codes: CodeArray, *, grown: Sequence[tuple[int, Disc]]) -> CodeArray:
    """Let some classes grow into the clear pixels around them.

    Parameters
    ----------
    codes
        (..., y, x) uint8 mask.
    grown
        The codes that grow, each with its disc; where two would meet, the one named first wins.

    Returns
    -------
    numpy.ndarray
        (..., y, x) uint8; only clear pixels differ from the input.

    Examples
    --------
    >>> dilate_codes(np.array([[0, 1, 0, 0, 3, 255]], np.uint8), grown=[(1, disc_px(1))]).tolist()
    [[1, 1, 1, 0, 3, 255]]
    """
    return np.where(codes == CloudClass.CLEAR, first_code_within(codes, grown), codes)
