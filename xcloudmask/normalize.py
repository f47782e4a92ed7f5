"""Normalisation of one window of pixels (numpy only): z-score, the level that the z-score throws away, fixed scales.

The z-score is taken per band over the valid pixels with the population standard deviation; a constant band divides by
1, and invalid pixels become 0. It makes any positive gain and any offset per band irrelevant. Method: dynamic z-score
of OmniCloudMask, Wright et al. (2025), Remote Sensing of Environment, doi:10.1016/j.rse.2025.114694.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "LEVEL_UNIT",
    "BandStatistics",
    "combine_moments",
    "level_vector",
    "moments",
    "rescale",
    "standardised",
    "statistics",
    "zscore",
]

LEVEL_UNIT = 1.5
"""What a difference of 1 in a level vector is in natural logs."""
_ROWS = 64
"""Rows worked on at a time: small enough for the cache."""

_FLOOR = 1e-4
"""Smallest reflectance whose logarithm is taken."""


@dataclass(frozen=True, slots=True)
class BandStatistics:
    """Mean and population standard deviation of each band over the valid pixels of a window."""

    count: int
    """Number of valid pixels."""
    mean: npt.NDArray[np.float64]
    """(band,) mean, in the units of the input."""
    std: npt.NDArray[np.float64]
    """(band,) population standard deviation, in the units of the input; 0 for a constant band."""


def moments(bands: npt.NDArray[np.generic], valid: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.float64]:
    """Sum up what mean and standard deviation need.

    Sums are taken around a pivot, so that a constant band has a spread of exactly 0. The order of the additions depends
    on the window alone, never on chunks or threads.

    Parameters
    ----------
    bands
        (band, y, x), any real dtype.
    valid
        (y, x) bool; None where all pixels are valid.

    Returns
    -------
    numpy.ndarray
        (band, 4) float64: count, pivot, sum and sum of squares of the differences from the pivot.

    Examples
    --------
    >>> moments(np.array([[[1.0, 3.0]]]), None).tolist()
    [[2.0, 1.0, 2.0, 4.0]]
    """
    result = np.zeros((bands.shape[0], 4))
    for index, band in enumerate(bands):
        result[index] = _band_moments(band, valid)
    return result


def _band_moments(
    band: npt.NDArray[np.generic], valid: npt.NDArray[np.bool_] | None
) -> tuple[float, float, float, float]:
    if band.dtype.kind == "u" and band.dtype.itemsize <= 2:
        return _whole_moments(band, valid)
    count, total, squares = 0, 0.0, 0.0
    pivot: float | None = None
    for row in range(0, band.shape[0], _ROWS):
        rows = band[row : row + _ROWS]
        values = rows.astype(np.float64) if valid is None else rows[valid[row : row + _ROWS]].astype(np.float64)
        if values.size == 0:
            continue
        if pivot is None:
            pivot = float(values.flat[0])
        values -= pivot
        count += values.size
        total += float(values.sum())
        with np.errstate(over="ignore"):
            np.multiply(values, values, out=values)
        squares += float(values.sum())
    return float(count), pivot or 0.0, total, squares


def _whole_moments(
    band: npt.NDArray[np.generic], valid: npt.NDArray[np.bool_] | None
) -> tuple[float, float, float, float]:
    """Moments of unsigned integers of up to 16 bits, in exact integers: their squares fit 32 bits."""
    count = total = squares = 0
    for row in range(0, band.shape[0], _ROWS):
        rows = band[row : row + _ROWS]
        values = rows.astype(np.uint32) if valid is None else rows[valid[row : row + _ROWS]].astype(np.uint32)
        count += values.size
        total += int(values.sum(dtype=np.uint64))
        np.multiply(values, values, out=values)
        squares += int(values.sum(dtype=np.uint64))
    pivot = total // max(count, 1)
    return (
        float(count),
        float(pivot),
        float(total - count * pivot),
        float(squares - 2 * pivot * total + count * pivot**2),
    )


def combine_moments(parts: npt.NDArray[np.float64]) -> BandStatistics:
    """Turn the moments of one or many windows into statistics, in the order given.

    Parameters
    ----------
    parts
        (window, band, 4) moments; windows without a valid pixel count for nothing.

    Returns
    -------
    BandStatistics

    Notes
    -----
    Parallel variance: Chan, Golub, LeVeque (1983), The American Statistician 37(3).

    Examples
    --------
    >>> combine_moments(moments(np.array([[[1.0, 3.0]]]), None)[None]).std.tolist()
    [1.0]
    """
    count = parts[..., 0]
    safe = np.maximum(count, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        means = parts[..., 1] + parts[..., 2] / safe
        within = np.maximum(parts[..., 3] - parts[..., 2] ** 2 / safe, 0.0)
        total = count.sum(axis=0)
        mean = (means * count).sum(axis=0) / np.maximum(total, 1.0) if len(parts) > 1 else means[0]
        between = count * (means - mean) ** 2
        variance = (within + between).sum(axis=0) / np.maximum(total, 1.0)
    return BandStatistics(count=int(total[0]), mean=mean, std=np.sqrt(variance))


def statistics(bands: npt.NDArray[np.generic], valid: npt.NDArray[np.bool_] | None) -> BandStatistics:
    """Mean and population standard deviation of each band over the valid pixels.

    Parameters
    ----------
    bands
        (band, y, x), any real dtype.
    valid
        (y, x) bool; None where all pixels are valid.

    Returns
    -------
    BandStatistics

    Examples
    --------
    >>> statistics(np.array([[[1.0, 3.0]]]), None).mean.tolist()
    [2.0]
    """
    return combine_moments(moments(bands, valid)[None])


def zscore(
    bands: npt.NDArray[np.generic],
    valid: npt.NDArray[np.bool_] | None,
    stats: BandStatistics,
    *,
    out: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """Subtract the mean and divide by the spread; invalid pixels become 0.

    Parameters
    ----------
    bands
        (band, y, x), any real dtype.
    valid
        (y, x) bool; None where all pixels are valid.
    stats
        Statistics of the window, tile or scene.
    out
        (band, y, x) float32 to write into; None makes one.

    Returns
    -------
    numpy.ndarray
        (band, y, x) float32.

    Examples
    --------
    >>> x = np.array([[[1.0, 3.0]]])
    >>> zscore(x, None, statistics(x, None)).tolist()
    [[[-1.0, 1.0]]]
    """
    result = np.empty(bands.shape, np.float32) if out is None else out
    # A float64 mean keeps a large offset from eating the digits of floats; integers of 16 bits are exact in float32.
    dtype = np.float32 if bands.dtype.kind in "iu" and bands.dtype.itemsize <= 2 else np.float64
    for index, band in enumerate(bands):
        spread = stats.std[index] if stats.std[index] > 0 else 1.0
        mean, gain = dtype(stats.mean[index]), np.float32(1.0 / spread)
        for row in range(0, band.shape[0], _ROWS):
            target = result[index, row : row + _ROWS]
            with np.errstate(invalid="ignore", over="ignore"):
                np.subtract(band[row : row + _ROWS], mean, out=target, dtype=dtype, casting="unsafe")
                target *= gain
    if valid is not None:
        result[:, ~valid] = 0.0
    return result


def standardised(
    scale: npt.NDArray[np.float64], zero_and_unit: tuple[Sequence[float], Sequence[float]]
) -> npt.NDArray[np.float64]:
    """Scale and offset that turn DN into what a network is fed, instead of reflectance.

    Parameters
    ----------
    scale
        (2, band): reflectance = value * scale + offset.
    zero_and_unit
        Per band, the reflectance that is fed as 0, and the difference from it that is fed as 1.

    Returns
    -------
    numpy.ndarray
        (2, band) float64.

    Examples
    --------
    >>> standardised(np.array([[1e-4], [-0.1]]), ([0.1], [0.5])).round(6).tolist()
    [[0.0002], [-0.4]]
    """
    zero, unit = np.asarray(zero_and_unit, np.float64)
    return np.stack([scale[0] / unit, (scale[1] - zero) / unit])


def rescale(
    bands: npt.NDArray[np.generic],
    valid: npt.NDArray[np.bool_] | None,
    *,
    scale: npt.NDArray[np.float64],
    offset: npt.NDArray[np.float64],
    clip: bool = False,
    out: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """Turn DN into reflectance, or what `standardised` makes of it; invalid pixels become 0.

    Parameters
    ----------
    bands
        (band, y, x), any real dtype.
    valid
        (y, x) bool; None where all pixels are valid.
    scale, offset
        (band,) reflectance = value * scale + offset.
    clip
        Whether the result is kept between 0 and 1.
    out
        (band, y, x) float32 to write into; None makes one.

    Returns
    -------
    numpy.ndarray
        (band, y, x) float32.

    Examples
    --------
    >>> dn = np.array([[[1000, 3000]]], np.uint16)
    >>> rescale(dn, None, scale=np.array([1e-4]), offset=np.array([-0.1])).round(3).tolist()
    [[[0.0, 0.20000000298023224]]]
    """
    result = np.empty(bands.shape, np.float32) if out is None else out
    for index, band in enumerate(bands):
        with np.errstate(invalid="ignore", over="ignore"):
            np.multiply(band, scale[index], out=result[index], dtype=np.float64, casting="unsafe")
            result[index] += np.float32(offset[index])
            if clip:
                np.clip(result[index], 0.0, 1.0, out=result[index])
    if valid is not None:
        result[:, ~valid] = 0.0
    return result


def level_vector(
    stats: BandStatistics,
    *,
    scale: npt.ArrayLike | None,
    offset: npt.ArrayLike | None,
) -> npt.NDArray[np.float32]:
    """Level of reflectance of a window: a flag "known", then log mean and log spread of each band.

    Parameters
    ----------
    stats
        Statistics of the window, in the units of the input.
    scale, offset
        Per band, reflectance = value * scale + offset; None where the scale is unknown. A band with scale 0 was given
        up: its two values are 0.

    Returns
    -------
    numpy.ndarray
        (1 + 2 * bands,) float32; all zeros where the scale is unknown or no pixel is valid.

    Examples
    --------
    >>> x = np.full((1, 2, 2), 1000, np.uint16)
    >>> [round(float(v), 2) for v in level_vector(statistics(x, None), scale=(1e-4,), offset=(0.0,))]
    [1.0, -0.2, -4.81]
    """
    bands = len(stats.mean)
    vector = np.zeros(1 + 2 * bands, np.float32)
    if scale is None or offset is None or stats.count == 0:
        return vector
    gains = np.asarray(scale)
    logs = np.stack(
        [
            np.log(np.maximum(stats.mean * gains + np.asarray(offset), _FLOOR)),
            np.log(np.maximum(stats.std * gains, _FLOOR)),
        ],
        axis=1,
    )
    # Centred near the usual reflectance of land (exp(-2) = 0.14), so that the network sees values around 0.
    logs = (logs + 2.0) / LEVEL_UNIT
    logs[gains == 0] = 0.0
    vector[0] = 1.0
    vector[1:] = logs.ravel()
    return vector
