"""Area averages over whole cells, and bilinear interpolation back (numpy only)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["area_mean", "bilinear_up"]


def area_mean(
    bands: npt.NDArray[np.generic],
    valid: npt.NDArray[np.bool_] | None,
    factor: int,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_] | None]:
    """Average each cell of `factor` x `factor` pixels over its valid pixels.

    Parameters
    ----------
    bands
        (band, y, x), any real dtype. Sides that are no multiple of the factor end in smaller cells.
    valid
        (y, x) bool; None where all pixels are valid.
    factor
        Pixels per cell along each axis.

    Returns
    -------
    means : numpy.ndarray
        (band, cells y, cells x) float32; 0 in cells without a valid pixel.
    valid : numpy.ndarray or None
        (cells y, cells x) bool, False in cells without a valid pixel; None where all pixels are valid.

    Examples
    --------
    >>> area_mean(np.arange(4.0).reshape(1, 2, 2), None, 2)[0].tolist()
    [[[1.5]]]
    """
    rows, columns = (np.arange(0, side, factor) for side in bands.shape[1:])

    def cell_sums(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        sums: npt.NDArray[np.float64] = np.add.reduceat(
            np.add.reduceat(plane.astype(np.float64), rows, axis=0), columns, axis=1
        )
        return sums

    everything = np.ones(bands.shape[1:], bool) if valid is None else valid
    counts = cell_sums(everything)
    means = np.empty((bands.shape[0], *counts.shape), np.float32)
    for index, band in enumerate(bands):
        filled = band if valid is None else np.where(valid, band, 0)
        means[index] = cell_sums(filled) / np.maximum(counts, 1)
    return means, None if valid is None else counts > 0


def bilinear_up(cells: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    """Interpolate between the centres of cells, for every pixel of every cell.

    Parameters
    ----------
    cells
        (..., y, x) float32.
    factor
        Pixels per cell along each axis.

    Returns
    -------
    numpy.ndarray
        (..., y * factor, x * factor) float32. Values beyond the outermost centres are those of the centres.

    Examples
    --------
    >>> bilinear_up(np.array([[0.0, 1.0]], np.float32), 2)[0].tolist()
    [0.0, 0.25, 0.75, 1.0]
    """
    return _linear_up(_linear_up(cells, factor, axis=-1), factor, axis=-2)


def _linear_up(cells: npt.NDArray[np.float32], factor: int, *, axis: int) -> npt.NDArray[np.float32]:
    length = cells.shape[axis]
    position = (np.arange(length * factor) + 0.5) / factor - 0.5
    below = np.clip(np.floor(position).astype(int), 0, length - 1)
    above = np.minimum(below + 1, length - 1)
    weight = np.clip(position - below, 0.0, 1.0).astype(np.float32)
    weight = weight[:, None] if axis == -2 else weight
    lower, upper = np.take(cells, below, axis=axis), np.take(cells, above, axis=axis)
    result: npt.NDArray[np.float32] = lower + (upper - lower) * weight
    return result
