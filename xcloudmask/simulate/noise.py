"""Fractal noise by spectral synthesis: white noise, filtered to a power law."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["filtered", "fractal_noise", "wave_number_squared"]


def fractal_noise(
    shape: tuple[int, int],
    *,
    rng: np.random.Generator,
    slope: float = 8 / 3,
    outer_px: float | None = None,
    stretch: float = 1.0,
    angle: float = 0.0,
) -> npt.NDArray[np.float32]:
    """Draw a periodic field whose power falls with the wave number as ``k ** -slope``.

    Parameters
    ----------
    shape
        (y, x) size in px.
    rng
        Source of randomness.
    slope
        Exponent of the two-dimensional power spectrum. 8/3 is the -5/3 law of one-dimensional transects of cloud water
        and brightness; larger is smoother.
    outer_px
        Outer scale: structures larger than this have no more power. None for the whole field.
    stretch
        Ratio of the lengths of structures along and across `angle`.
    angle
        Direction of the long axis, in radians from the x axis towards y.

    Returns
    -------
    numpy.ndarray
        (y, x) float32 with mean 0 and standard deviation 1; all zeros where the shape leaves no freedom.

    Notes
    -----
    Spectral synthesis: Saupe (1988), The Science of Fractal Images, chapter 2. The -5/3 law of cloud fields: Cahalan
    and Snider (1989), Remote Sensing of Environment 28; Davis et al. (1997), J. Atmos. Sci. 54. The field is periodic,
    so that a shifted copy (a shadow) needs no margin.

    Examples
    --------
    >>> field = fractal_noise((64, 48), rng=np.random.default_rng(0))
    >>> field.shape, bool(abs(field.std() - 1) < 1e-3)
    ((64, 48), True)
    """
    white = rng.standard_normal(shape, np.float32)
    power = wave_number_squared(shape, stretch=stretch, angle=angle)
    floor = (1.0 / (outer_px or 4.0 * max(shape))) ** 2
    amplitude = (power + np.float32(floor)) ** np.float32(-slope / 4)
    return filtered(white, amplitude, least=0.0)


def filtered(
    white: npt.NDArray[np.float32], amplitude: npt.NDArray[np.float32], *, least: float
) -> npt.NDArray[np.float32]:
    """Return white noise filtered in the frequency domain, with mean 0 and standard deviation 1.

    Parameters
    ----------
    white
        (y, x) white noise.
    amplitude
        Factor for every wave, as `numpy.fft.rfft2` orders them. Its mean, the first one, is set to 0.
    least
        Standard deviation up to which nothing is taken to be left.

    Returns
    -------
    numpy.ndarray
        (y, x) float32; all zeros where the filter leaves nothing.

    Examples
    --------
    >>> white = np.random.default_rng(0).standard_normal((8, 8), np.float32)
    >>> bool(filtered(white, np.ones((8, 5), np.float32), least=0.0).mean() < 1e-6)
    True
    """
    amplitude[0, 0] = 0.0
    field: npt.NDArray[np.float32] = np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=white.shape).astype(np.float32)
    spread = float(field.std())
    return field / np.float32(spread) if spread > least else np.zeros_like(field)


def wave_number_squared(shape: tuple[int, int], *, stretch: float, angle: float) -> npt.NDArray[Any]:
    """Return the squares of the wave numbers in a stretched and turned frame.

    Parameters
    ----------
    shape
        (y, x) size in px.
    stretch, angle
        As in `fractal_noise`.

    Returns
    -------
    numpy.ndarray
        (y, x // 2 + 1), in cycles per pixel, as `numpy.fft.rfft2` orders them.

    Examples
    --------
    >>> wave_number_squared((2, 4), stretch=1.0, angle=0.0)[0].tolist()
    [0.0, 0.0625, 0.25]
    """
    ky = np.fft.fftfreq(shape[0]).astype(np.float32)[:, None]
    kx = np.fft.rfftfreq(shape[1]).astype(np.float32)[None, :]
    along = np.float32(np.cos(angle)) * kx + np.float32(np.sin(angle)) * ky
    across = np.float32(np.cos(angle)) * ky - np.float32(np.sin(angle)) * kx
    return along * along * np.float32(stretch) + across * across / np.float32(stretch)
