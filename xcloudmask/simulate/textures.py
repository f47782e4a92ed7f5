"""Textures of clouds: noise of one size of cell, smooth fields at a low price, soft edges (numpy only)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xcloudmask.simulate.noise import filtered, fractal_noise, wave_number_squared

__all__ = ["cell_noise", "coarse_noise", "soft_positive", "soften"]

_Field = npt.NDArray[np.float32]


def cell_noise(
    shape: tuple[int, int],
    *,
    rng: np.random.Generator,
    cell_px: float,
    spread: float = 0.25,
    stretch: float = 1.0,
    angle: float = 0.0,
) -> _Field:
    """Draw a periodic field whose power lies around one wavelength: cells, or ripples where it is stretched.

    Parameters
    ----------
    shape
        (y, x) size in px.
    rng
        Source of randomness.
    cell_px
        Wavelength, in px.
    spread
        Relative width of the band of wave numbers; small is regular.
    stretch
        Ratio of the lengths of structures along and across `angle`.
    angle
        Direction of the long axis, in radians from the x axis towards y.

    Returns
    -------
    numpy.ndarray
        (y, x) float32 with standard deviation 1; all zeros where no wave of that length fits.

    Notes
    -----
    Closed and open cells have one dominant length, 10 to 40 times the depth of the mixed layer: Wood (2012), Monthly
    Weather Review 140, section 2.

    Examples
    --------
    >>> cell_noise((64, 64), rng=np.random.default_rng(0), cell_px=12.0).shape
    (64, 64)
    """
    white = rng.standard_normal(shape, np.float32)
    k = np.sqrt(wave_number_squared(shape, stretch=stretch, angle=angle))
    amplitude = np.exp(-0.5 * ((k * np.float32(cell_px) - 1.0) / np.float32(spread)) ** 2)
    return filtered(white, amplitude, least=1e-6)


def coarse_noise(
    shape: tuple[int, int], *, rng: np.random.Generator, slope: float, outer_px: float, factor: int = 8
) -> _Field:
    """Draw smooth noise on a coarse grid and interpolate it.

    Parameters
    ----------
    shape
        (y, x) size in px.
    rng
        Source of randomness.
    slope, outer_px
        As in `fractal_noise`, in px of the fine grid.
    factor
        Pixels per coarse cell.

    Returns
    -------
    numpy.ndarray
        (y, x) float32 with mean near 0 and standard deviation near 1.

    Examples
    --------
    >>> coarse_noise((20, 33), rng=np.random.default_rng(0), slope=4.0, outer_px=40.0).shape
    (20, 33)
    """
    small = (max(4, -(-shape[0] // factor)), max(4, -(-shape[1] // factor)))
    field = fractal_noise(small, rng=rng, slope=slope, outer_px=max(outer_px / factor, 1.0))
    for axis in (0, 1):
        place = np.arange(shape[axis], dtype=np.float32) * np.float32(small[axis] / shape[axis])
        low = place.astype(np.intp)
        weight = (place - low)[:, None] if axis == 0 else place - low
        # A smooth step: linear interpolation would show its lattice in the shading.
        weight = weight * weight * (3.0 - 2.0 * weight)
        high = (low + 1) % small[axis]
        field = field.take(low, axis) * (1.0 - weight) + field.take(high, axis) * weight
    return field.astype(np.float32)


def soften(field: _Field, width_px: float) -> _Field:
    """Blur over about `width_px` (full width), at the same price per doubling of the width.

    Parameters
    ----------
    field
        (y, x).
    width_px
        Full width at half maximum; at most one pixel leaves the field as it is.

    Returns
    -------
    numpy.ndarray
        (y, x), same mean but for the border, where the edge is repeated.

    Examples
    --------
    >>> soften(np.eye(5, dtype=np.float32), 2.0)[2, 2] < 1
    np.True_
    """
    step = 1
    # A step of 1, 2, 4, ... adds step**2 / 2 to the variance; the full width at half maximum is 2.35 deviations.
    variance, wanted = 0.0, (width_px / 2.35) ** 2
    while variance + 0.25 * step * step < wanted and step < min(field.shape):
        for axis in (0, 1):
            field = _three_taps(field, step, axis)
        variance += 0.5 * step * step
        step *= 2
    return field


def _three_taps(field: _Field, step: int, axis: int) -> _Field:
    pad = [(0, 0), (0, 0)]
    pad[axis] = (step, step)
    wide = np.pad(field, pad, mode="edge")
    size = field.shape[axis]
    left, right = (
        wide[start : start + size] if axis == 0 else wide[:, start : start + size] for start in (0, 2 * step)
    )
    return np.float32(0.5) * field + np.float32(0.25) * (left + right)


def soft_positive(field: _Field, softness: float) -> _Field:
    """Positive part with a rounded corner: thin edges instead of a contour.

    Parameters
    ----------
    field
        Any shape.
    softness
        Width of the corner, in units of the field.

    Returns
    -------
    numpy.ndarray
        Same shape, not below 0; exactly 0 below ``-softness``.

    Examples
    --------
    >>> soft_positive(np.array([-1.0, 0.0, 1.0]), 0.5).tolist()
    [0.0, 0.125, 1.0]
    """
    s = np.float32(max(softness, 1e-6))
    corner = np.clip(field + s, 0.0, 2.0 * s)
    return np.asarray(corner * corner / (4.0 * s) + np.maximum(field - s, 0.0), field.dtype)
