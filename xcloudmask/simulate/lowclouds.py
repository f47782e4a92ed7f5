"""Textures of low clouds: cumulus fields, decks, haze (numpy only).

Each maker takes the size of its canvas as a function of base and top (m), the size of a pixel (m) and the randomness.
"""

from __future__ import annotations

import numpy as np

from xcloudmask.simulate._layer import CanvasSize, CloudLayer, Field
from xcloudmask.simulate.noise import fractal_noise
from xcloudmask.simulate.textures import cell_noise, coarse_noise, soft_positive, soften

__all__ = ["cumulus", "draw_tilt", "haze", "log_uniform", "stratus"]


_SPARSE = 0.35
"""Share of the cumulus fields that are a few clouds in an otherwise clear image."""
_FAIR = 0.5
"""Share of the cumulus fields that are those of fair weather: small, low, each with its shadow beside it."""
_BROKEN = 0.4
"""Share of the decks with gaps."""


def cumulus(size: CanvasSize, resolution_m: float, rng: np.random.Generator) -> CloudLayer:
    """Draw a field of cumulus: the part of a fractal field above a threshold.

    Parameters
    ----------
    size
        Gives (y, x) in px for the heights of base and top.
    resolution_m
        Size of a pixel.
    rng
        Source of randomness.

    Returns
    -------
    CloudLayer

    Notes
    -----
    Islands of a fractal field are many small and few large, by a power law, as cumulus are: Benner and Curry (1998), J.
    Geophys. Res. 103; Wood and Field (2011), J. Climate 24. Power-law spectra inside of clouds: Davis, Marshak et al.
    (1997), J. Atmos. Sci. 54. Thickness grows with the distance from the rim, as cumulus are as deep as they are wide.
    Those of fair weather over land are up to 3.5 km wide: Kleiss et al. (2018), Atmosphere 9, doi:10.3390/atmos9070258.
    """
    fair = rng.random() < _FAIR
    cell_m = log_uniform(rng, 250.0, 3000.0) if fair else log_uniform(rng, 150.0, 8000.0)
    base = log_uniform(rng, 300.0, 1600.0) if fair else log_uniform(rng, 300.0, 2800.0)
    depth = min(1.5 * base, 0.5 * cell_m) * rng.uniform(0.15, 0.9)
    shape = size(base, base + depth)
    cell_px = float(np.clip(cell_m / resolution_m, 6.0, 400.0))
    # Outside of one cell power falls steeply; the detail moves the rims too: cauliflowers, not smooth contours.
    cells = fractal_noise(shape, rng=rng, slope=rng.uniform(3.0, 4.0), outer_px=cell_px)
    detail = fractal_noise(shape, rng=rng, slope=rng.uniform(2.5, 3.1), outer_px=0.7 * cell_px)
    clusters = coarse_noise(shape, rng=rng, slope=4.0, outer_px=6.0 * cell_px)
    field = cells + np.float32(rng.uniform(0.2, 0.5)) * detail + np.float32(rng.uniform(0.0, 0.7)) * clusters
    cover = rng.uniform(0.003, 0.08) if rng.random() < _SPARSE else rng.beta(1.4, 4.0) if fair else rng.beta(1.1, 2.4)
    excess = soft_positive(field - np.quantile(field[::3, ::3], 1.0 - cover), rng.uniform(0.03, 0.3))
    peak = max(float(np.quantile(excess[::2, ::2], 0.998)), 1e-3)
    lumps = np.exp(np.float32(rng.uniform(0.2, 0.5)) * detail)
    thickest = log_uniform(rng, 5.0, 40.0) if fair else log_uniform(rng, 8.0, 90.0)
    tau = thickest * (excess / peak) ** rng.uniform(0.8, 1.5) * lumps
    return CloudLayer(
        optical_thickness=soften(tau.astype(np.float32), 1.7),
        height_m=base,
        depth_m=depth,
        asymmetry=0.85,
        tilt=draw_tilt(rng),
        tall_tau=0.5 * thickest,
    )


def stratus(size: CanvasSize, resolution_m: float, rng: np.random.Generator) -> CloudLayer:
    """Draw a deck: smooth stratus, cells of stratocumulus, or ripples of altocumulus; whole or broken.

    Parameters
    ----------
    size
        Gives (y, x) in px for the heights of base and top.
    resolution_m
        Size of a pixel.
    rng
        Source of randomness.

    Returns
    -------
    CloudLayer

    Notes
    -----
    Log-normal thickness around 5 to 60, with a spread of 0.15 to 0.6: Cahalan et al. (1994), J. Atmos. Sci. 51. Cells:
    Wood (2012), Monthly Weather Review 140; here 0.3 to 6 km, as images of 3 to 40 km across show them.
    """
    texture = rng.choice(3, p=(0.35, 0.4, 0.25))
    base = rng.uniform(2000.0, 6000.0) if texture == 2 else rng.uniform(200.0, 3500.0)
    depth = rng.uniform(100.0, 600.0)
    shape = size(base, base + depth)
    field = fractal_noise(
        shape,
        rng=rng,
        slope=rng.uniform(2.9, 3.9),
        outer_px=float(np.clip(log_uniform(rng, 400.0, 12_000.0) / resolution_m, 16.0, 600.0)),
        stretch=np.exp(rng.uniform(0.0, 1.2)),
        angle=rng.uniform(0.0, np.pi),
    )
    spread = rng.uniform(0.15, 0.6)
    cells = None
    if texture == 1:
        cells = _cells(shape, resolution_m, rng)
    elif texture == 2:
        cells = _ripples(shape, resolution_m, rng)
    # Cells carry part of the variability, so that the whole keeps its spread.
    pattern = field if cells is None else np.float32(0.6) * field + np.float32(rng.uniform(0.5, 1.3)) * cells
    tau = np.exp(np.float32(rng.uniform(1.7, 4.2)) + np.float32(spread) * pattern)
    if rng.random() < _BROKEN:
        gaps = field if cells is None else field + np.float32(0.4) * cells
        low = np.quantile(gaps[::3, ::3], rng.uniform(0.02, 0.5))
        tau *= np.clip(soft_positive(gaps - low, rng.uniform(0.05, 0.3)) * rng.uniform(0.6, 3.0), 0.0, 1.0)
    return CloudLayer(
        optical_thickness=tau.astype(np.float32), height_m=base, depth_m=depth, asymmetry=0.85, tilt=draw_tilt(rng)
    )


def haze(size: CanvasSize, resolution_m: float, rng: np.random.Generator) -> CloudLayer:
    """Draw haze: smooth, bluish, low.

    Parameters
    ----------
    size
        Gives (y, x) in px for the heights of base and top.
    resolution_m
        Size of a pixel.
    rng
        Source of randomness.

    Returns
    -------
    CloudLayer

    Notes
    -----
    Thickness 0.2 to 1.6 and Angstrom exponents 0 to 1.5 are those of hazy to very hazy days over land: Dubovik et al.
    (2002), J. Atmos. Sci. 59.
    """
    field = coarse_noise(
        size(300.0, 600.0), rng=rng, slope=rng.uniform(3.6, 5.0), outer_px=max(8.0, 15_000.0 / resolution_m), factor=4
    )
    tau = rng.uniform(0.2, 1.6) * soft_positive(1.0 + np.float32(rng.uniform(0.1, 0.7)) * field, 0.3)
    return CloudLayer(
        optical_thickness=tau.astype(np.float32),
        height_m=300.0,
        depth_m=300.0,
        asymmetry=0.68,
        angstrom=rng.uniform(0.0, 1.5),
        tilt=draw_tilt(rng),
    )


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform.

    Parameters
    ----------
    rng
        Source of randomness.
    low, high
        Range; above 0.

    Returns
    -------
    float

    Examples
    --------
    >>> 1.0 <= log_uniform(np.random.default_rng(0), 1.0, 9.0) <= 9.0
    True
    """
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def draw_tilt(rng: np.random.Generator) -> float:
    """Draw how the colour of clouds departs from white.

    Parameters
    ----------
    rng
        Source of randomness.

    Returns
    -------
    float
        Exponent of the wavelength. On overcast patches near infrared over red is 0.92 on L2A (the correction takes off
        too little blue) and 1.05 on Landsat's L1.
    """
    return float(rng.uniform(-0.45, 0.3))


def _cells(shape: tuple[int, int], resolution_m: float, rng: np.random.Generator) -> Field:
    """Closed cells (bright, with dark cracks) or open ones, with mean near 0 and spread near 1."""
    cell_px = float(np.clip(log_uniform(rng, 300.0, 6000.0) / resolution_m, 6.0, 200.0))
    lumps = cell_noise(
        shape,
        rng=rng,
        cell_px=cell_px,
        spread=rng.uniform(0.2, 0.45),
        stretch=rng.uniform(1.0, 1.8),
        angle=rng.uniform(0.0, np.pi),
    )
    # Rough lumps: without, the cracks between them form a labyrinth.
    rough = fractal_noise(shape, rng=rng, slope=rng.uniform(2.6, 3.2), outer_px=1.5 * cell_px)
    lumps = np.float32(0.75) * lumps + np.float32(0.65) * rough
    # The absolute value has sharp valleys: cracks between rounded lumps.
    closed = (np.sqrt(np.abs(lumps) + np.float32(0.03)) - np.float32(0.82)) / np.float32(0.35)
    return closed if rng.random() < 0.75 else -closed


def _ripples(shape: tuple[int, int], resolution_m: float, rng: np.random.Generator) -> Field:
    """Billows 0.2 to 2 km apart, stronger in some places than in others."""
    wave_px = float(np.clip(log_uniform(rng, 200.0, 2000.0) / resolution_m, 4.0, 80.0))
    waves = cell_noise(
        shape,
        rng=rng,
        cell_px=wave_px,
        spread=rng.uniform(0.12, 0.3),
        stretch=rng.uniform(2.0, 8.0),
        angle=rng.uniform(0.0, np.pi),
    )
    strength = 1.0 + np.float32(0.5) * coarse_noise(shape, rng=rng, slope=4.0, outer_px=10.0 * wave_px)
    return np.asarray(waves * np.clip(strength, 0.0, 2.0), np.float32)
