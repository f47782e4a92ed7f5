"""Distances to the nearest pixel of some codes, in numpy and scipy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xcloudmask.classes import NODATA
from xcloudmask.morphology import BoolArray, CodeArray

__all__ = ["cap_distances"]


def cap_distances(
    codes: CodeArray, *, to: Sequence[int], cap: float, pixel: tuple[float, float]
) -> npt.NDArray[np.float32]:
    """Return the Euclidean distance to the nearest pixel of some codes, at most the cap.

    Parameters
    ----------
    codes
        (..., y, x) uint8 mask.
    to
        The codes that are measured to.
    cap
        The largest distance told.
    pixel
        Size of a pixel along y and x, in the unit of the cap.

    Returns
    -------
    numpy.ndarray
        (..., y, x) float32, between pixel centres; NaN for nodata.

    Notes
    -----
    `scipy.ndimage.distance_transform_edt` finds the nearest pixel. The distance is taken from whole numbers of rows
    and columns, so that it is the same in each block that sees the two pixels.

    Examples
    --------
    >>> cap_distances(np.array([[1, 0, 0, 0, 255]], np.uint8), to=[1], cap=2.5, pixel=(1.0, 1.0)).tolist()
    [[0.0, 1.0, 2.0, 2.5, nan]]
    """
    result = np.full(codes.shape, cap, np.float32)
    for index in np.ndindex(codes.shape[:-2]):
        flags = np.isin(codes[index], list(to))
        if flags.any():
            np.minimum(_distances(flags, pixel), np.float32(cap), out=result[index])
    result[codes == NODATA] = np.nan
    return result


def _distances(flags: BoolArray, pixel: tuple[float, float]) -> npt.NDArray[np.float32]:
    from scipy import ndimage

    pixel_y, pixel_x = pixel
    square = pixel_y == pixel_x
    # Without the distances, which scipy gives as float64, a third of the memory.
    rows, columns = ndimage.distance_transform_edt(
        ~flags, sampling=None if square else pixel, return_distances=False, return_indices=True
    )
    rows -= np.arange(flags.shape[0], dtype=rows.dtype)[:, None]
    columns -= np.arange(flags.shape[1], dtype=columns.dtype)
    distances: npt.NDArray[np.float32]
    if square:
        distances = np.sqrt(rows * rows + columns * columns, dtype=np.float32) * np.float32(pixel_y)
    else:
        distances = np.hypot(rows * np.float32(pixel_y), columns * np.float32(pixel_x), dtype=np.float32)
    return distances
