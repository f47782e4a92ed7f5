"""Area averages over whole cells, and bilinear interpolation of cells (numpy only)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["area_mean", "bilinear_up", "block_mean", "interpolate_valid"]


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


def interpolate_valid(
    bands: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_] | None, factor: int
) -> npt.NDArray[np.float32]:
    """Interpolate between the centres of valid pixels.

    Parameters
    ----------
    bands
        (band, y, x) float32, 0 where invalid.
    valid
        (y, x) bool; None where all pixels are valid.
    factor
        Points per pixel along each axis.

    Returns
    -------
    numpy.ndarray
        (band, y * factor, x * factor) float32. Invalid neighbours have no weight; all points of an invalid pixel are 0.

    Examples
    --------
    >>> bands = np.array([[[1.0, 0.0]]], np.float32)
    >>> interpolate_valid(bands, np.array([[True, False]]), 2)[0, 0].tolist()
    [1.0, 1.0, 0.0, 0.0]
    """
    result = bilinear_up(bands, factor)
    if valid is not None:
        weight = bilinear_up(valid.astype(np.float32), factor)
        inside = valid.repeat(factor, axis=0).repeat(factor, axis=1)
        np.divide(result, weight, out=result, where=inside)
        result[:, ~inside] = 0.0
    return result


def block_mean(values: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    """Average blocks of `factor` x `factor` points.

    Parameters
    ----------
    values
        (..., y, x) float32, whose sides are multiples of the factor.
    factor
        Points per pixel along each axis.

    Returns
    -------
    numpy.ndarray
        (..., y / factor, x / factor) float32.

    Examples
    --------
    >>> block_mean(np.arange(4, dtype=np.float32).reshape(1, 2, 2), 2).tolist()
    [[[1.5]]]
    """
    rows, columns = (side // factor for side in values.shape[-2:])
    split = values.reshape(*values.shape[:-2], rows, factor, columns, factor)
    result: npt.NDArray[np.float32] = split.mean(axis=(-3, -1), dtype=np.float32)
    return result


def _linear_up(cells: npt.NDArray[np.float32], factor: int, *, axis: int) -> npt.NDArray[np.float32]:
    length = cells.shape[axis]
    # Weights follow from the place in the cell alone: to the last bit the same wherever a window of a cube begins.
    phase = (np.arange(factor) + 0.5) / factor - 0.5
    shift = np.floor(phase).astype(int)
    below = np.arange(length).repeat(factor) + np.tile(shift, length)
    weight = np.tile((phase - shift).astype(np.float32), length)
    weight = weight[:, None] if axis == -2 else weight
    lower = np.take(cells, np.maximum(below, 0), axis=axis)
    upper = np.take(cells, np.minimum(below + 1, length - 1), axis=axis)
    result: npt.NDArray[np.float32] = lower + (upper - lower) * weight
    return result
