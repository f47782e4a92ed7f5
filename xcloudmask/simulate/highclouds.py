"""Textures of high clouds: cirrus, contrails, and cumulonimbus, which reaches up to them (numpy only).

Each maker takes the size of its canvas as a function of base and top (m), the size of a pixel (m) and the randomness.
"""

from __future__ import annotations

import numpy as np

from xcloudmask.simulate._layer import CanvasSize, CloudLayer, Field
from xcloudmask.simulate.lowclouds import draw_tilt, log_uniform
from xcloudmask.simulate.noise import fractal_noise
from xcloudmask.simulate.textures import coarse_noise, soft_positive, soften

__all__ = ["cirrus", "contrail", "cumulonimbus"]


_ICE = 0.78
"""Asymmetry of scattering by crystals, below that of droplets: Gerber et al. (2000), J. Atmos. Sci. 57, measured about
0.75."""


def cirrus(size: CanvasSize, resolution_m: float, rng: np.random.Generator) -> CloudLayer:
    """Draw a veil that covers all, or streaks.

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
    Thickness 0.1 to 3: Sassen and Cho (1992), J. Appl. Meteor. 31.
    """
    base, depth = rng.uniform(5000.0, 11_000.0), rng.uniform(300.0, 2000.0)
    shape = size(base, base + depth)
    angle = rng.uniform(0.0, np.pi)
    streaks = fractal_noise(
        shape,
        rng=rng,
        slope=rng.uniform(2.8, 3.8),
        outer_px=float(np.clip(rng.uniform(1000.0, 15_000.0) / resolution_m, 30.0, 1000.0)),
        stretch=np.exp(rng.uniform(0.0, 2.5)),
        angle=angle,
    )
    patches = coarse_noise(shape, rng=rng, slope=4.0, outer_px=20_000.0 / resolution_m)
    field = np.float32(0.7) * streaks + np.float32(0.7) * patches
    if rng.random() < 0.4:  # a veil: thin everywhere, with little contrast
        thin = np.float32(log_uniform(rng, 0.3, 3.0)) * np.exp(np.float32(rng.uniform(0.1, 0.5)) * field)
    else:
        streaky = soft_positive(field + np.float32(rng.uniform(-1.2, 0.8)), rng.uniform(0.2, 0.8))
        thin = np.float32(log_uniform(rng, 0.3, 2.5)) * streaky ** np.float32(rng.uniform(1.0, 1.5))
    return CloudLayer(
        optical_thickness=np.asarray(thin, np.float32),
        height_m=base,
        depth_m=depth,
        asymmetry=_ICE,
        tilt=draw_tilt(rng),
        ice=True,
    )


def contrail(size: CanvasSize, resolution_m: float, rng: np.random.Generator) -> CloudLayer:
    """Draw one to six lines, sharp or spread out, most of them along one airway.

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
    Width about 0.1 to 3 km, thickness about 0.2 to 1: after Atlas, Wang and Duda (2006), J. Appl. Meteor. Climatol. 45,
    and Kärcher et al. (2009), Atmos. Chem. Phys. 9 (means of 0.2 to 0.3). Height 8 to 12 km, where aircraft cruise.
    """
    base = rng.uniform(8000.0, 12_000.0)
    shape = size(base, base + 200.0)
    y, x = (np.arange(extent, dtype=np.float32) - np.float32(extent / 2) for extent in shape)
    airway = rng.uniform(0.0, np.pi)
    tau = np.zeros(shape, np.float32)
    for _ in range(rng.integers(1, 7)):
        angle = airway + rng.normal(0.0, 0.15) if rng.random() < 0.7 else rng.uniform(0.0, np.pi)
        tau += _line(y, x, float(angle), resolution_m, rng)
    # Old trails fray.
    frayed = fractal_noise(shape, rng=rng, slope=3.0, outer_px=1500.0 / resolution_m)
    return CloudLayer(
        optical_thickness=tau * np.exp(np.float32(rng.uniform(0.0, 0.5)) * frayed),
        height_m=base,
        depth_m=200.0,
        asymmetry=_ICE,
        tilt=draw_tilt(rng),
        ice=True,
    )


def cumulonimbus(size: CanvasSize, resolution_m: float, rng: np.random.Generator) -> CloudLayer:
    """Draw a tower in, or next to, the image, with an anvil that the wind draws out.

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
        The tower; the anvil is a layer of its own, since its shadow falls further.

    Notes
    -----
    Thickness above 23 is the deep convection of ISCCP (Rossow and Schiffer, 1999, BAMS 80); tops reach the tropopause.
    """
    base, top = rng.uniform(500.0, 1800.0), rng.uniform(7000.0, 12_000.0)
    shape = size(base, top)
    radius_px = log_uniform(rng, 1200.0, 7000.0) / resolution_m
    centre = [rng.uniform(0.05, 0.95) * extent for extent in shape]
    y, x = (((np.arange(n) - c) / radius_px).astype(np.float32) for n, c in zip(shape, centre, strict=True))
    lumps = fractal_noise(shape, rng=rng, slope=rng.uniform(2.8, 3.4), outer_px=max(6.0, 0.8 * radius_px))
    inside = 1.0 - np.hypot(y[:, None], x) + np.float32(0.28) * lumps
    tau = rng.uniform(60.0, 250.0) * np.minimum(soft_positive(inside, 0.15), 1.5) * np.exp(np.float32(0.35) * lumps)
    anvil = _anvil(y, x, lumps, rng)
    tilt = draw_tilt(rng)
    return CloudLayer(
        optical_thickness=soften(tau.astype(np.float32), 1.7),
        height_m=base,
        depth_m=top - 800.0 - base,
        asymmetry=0.83,
        tall_tau=30.0,
        tilt=tilt,
        ice=True,
        anvil=CloudLayer(
            optical_thickness=anvil, height_m=top - 800.0, depth_m=800.0, asymmetry=_ICE, tilt=tilt, ice=True
        ),
    )


def _anvil(y: Field, x: Field, lumps: Field, rng: np.random.Generator) -> Field:
    """Plume downwind of the tower, in units of its radius: thick at the tower, frayed at its end."""
    wind = rng.uniform(0.0, 2.0 * np.pi)
    along = np.float32(np.cos(wind)) * x + np.float32(np.sin(wind)) * y[:, None]
    across = np.float32(np.cos(wind)) * y[:, None] - np.float32(np.sin(wind)) * x
    length = np.float32(rng.uniform(2.0, 5.0))
    spread = 1.0 + np.float32(0.3) * np.clip(along, 0.0, None)
    behind = np.where(along < 0, -along / np.float32(1.2), along / length)
    inside = 1.0 - np.sqrt(behind**2 + (across / (np.float32(1.2) * spread)) ** 2) + np.float32(0.12) * lumps
    thick = soft_positive(inside, 0.25)
    tau = log_uniform(rng, 6.0, 50.0) * thick ** np.float32(1.3) * np.exp(np.float32(0.15) * lumps)
    return soften(tau.astype(np.float32), 2.5)


def _line(y: Field, x: Field, angle: float, resolution_m: float, rng: np.random.Generator) -> Field:
    """One trail: a ridge along a slightly bent line, thicker in some places than in others, sometimes with an end."""
    half = 0.5 * max(len(y), len(x))
    width_px = max(log_uniform(rng, 40.0, 600.0) / resolution_m, 0.05)
    # Narrower than a pixel, it is seen as one pixel and thinner.
    seen_px = float(np.hypot(width_px, 0.7))
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along, across = cos * x + sin * y[:, None], cos * y[:, None] - sin * x
    along = along / np.float32(half)
    bend = rng.normal(0.0, 0.04) * half
    distance = (across - np.float32(rng.uniform(-0.6, 0.6) * half) - np.float32(bend) * along * along) / np.float32(
        seen_px
    )
    knots = np.exp(rng.normal(0.0, 0.35, 24))
    if rng.random() < 0.3:
        knots[: rng.integers(4, 20)] = 0.0
    strength = np.interp(np.linspace(-1.5, 1.5, 512), np.linspace(-1.5, 1.5, 24), knots).astype(np.float32)
    place = np.clip((along + 1.5) * np.float32(511 / 3), 0, 511).astype(np.intp)
    peak = np.float32(log_uniform(rng, 0.25, 1.5) * width_px / seen_px)
    return np.asarray(peak * strength[place] * np.exp(-0.5 * distance * distance), np.float32)
