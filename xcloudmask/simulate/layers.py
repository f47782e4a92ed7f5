"""Layers of cloud: fields of optical thickness of cumulus, stratus, cirrus and haze (numpy only)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from xcloudmask.errors import ArgumentError
from xcloudmask.simulate.noise import fractal_noise

__all__ = ["CLOUD_KINDS", "CloudKind", "CloudLayer", "cloud_layer"]

CloudKind = Literal["cumulus", "stratus", "cirrus", "haze"]
CLOUD_KINDS: tuple[CloudKind, ...] = get_args(CloudKind)

_SPARSE = 0.35
"""Share of the cumulus fields that are a few clouds in an otherwise clear image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudLayer:
    """One layer of cloud, periodic in y and x."""

    optical_thickness: npt.NDArray[np.float32]
    """(y, x), at 550 nm."""
    height_m: float
    """Height of the base above the ground."""
    depth_m: float
    """Geometrical thickness."""
    asymmetry: float
    """Asymmetry of scattering: 0.85 water droplets, 0.78 ice crystals, 0.65 haze."""
    angstrom: float = 0.0
    """Optical thickness falls with the wavelength to this power; 0 for droplets and crystals."""
    tilt: float = 0.0
    """Brightness changes with the wavelength to this power: what the atmosphere and its correction do to white."""
    ice: bool = False
    """Ice absorbs more of the short-wave infrared than water."""


def cloud_layer(
    kind: CloudKind, shape: tuple[int, int], *, resolution_m: float, rng: np.random.Generator
) -> CloudLayer:
    """Draw one layer of clouds.

    Parameters
    ----------
    kind
        "cumulus" (fields of cells), "stratus" (decks, half of which fill the image), "cirrus" (thin streaks) or "haze".
    shape
        (y, x) in px.
    resolution_m
        Size of a pixel.
    rng
        Source of randomness.

    Returns
    -------
    CloudLayer

    Raises
    ------
    ArgumentError
        The kind is unknown.

    Notes
    -----
    Optical thickness of decks is log-normal around 10 to 60 (Cahalan et al., 1994, J. Atmos. Sci. 51), of cirrus
    0.1 to 3 (Sassen and Cho, 1992, J. Appl. Meteor. 31). Heights follow the low, middle and high clouds of the
    WMO's atlas.

    Examples
    --------
    >>> layer = cloud_layer("cirrus", (64, 64), resolution_m=10.0, rng=np.random.default_rng(0))
    >>> layer.optical_thickness.shape, layer.ice
    ((64, 64), True)
    """
    makers = {"cumulus": _cumulus, "stratus": _stratus, "cirrus": _cirrus, "haze": _haze}
    if kind not in makers:
        raise ArgumentError(f"kind={kind!r} is no kind of cloud. Expected one of {', '.join(map(repr, CLOUD_KINDS))}.")
    return makers[kind](shape, resolution_m, rng)


def _cumulus(shape: tuple[int, int], resolution_m: float, rng: np.random.Generator) -> CloudLayer:
    cell_px = float(np.clip(np.exp(rng.uniform(np.log(150.0), np.log(8000.0))) / resolution_m, 6.0, 400.0))
    cells = fractal_noise(shape, rng=rng, slope=rng.uniform(3.0, 4.2), outer_px=cell_px)
    detail = fractal_noise(shape, rng=rng, slope=rng.uniform(2.2, 2.9), outer_px=cell_px)
    # Detail moves the edges too: cauliflower rims, not smooth contours.
    field = cells + np.float32(rng.uniform(0.1, 0.45)) * detail
    cover = rng.uniform(0.003, 0.08) if rng.random() < _SPARSE else rng.beta(1.1, 2.6)
    excess = np.maximum(field - np.quantile(field, 1.0 - cover), 0.0)
    peak = max(float(excess.max()), 1e-3)
    tau = rng.uniform(15.0, 80.0) * (excess / peak) ** rng.uniform(0.5, 1.2) * np.exp(0.35 * detail)
    base = float(np.exp(rng.uniform(np.log(250.0), np.log(2800.0))))
    return CloudLayer(
        optical_thickness=tau.astype(np.float32),
        height_m=base,
        depth_m=min(base, 0.5 * cell_px * resolution_m) * rng.uniform(0.1, 0.8),
        asymmetry=0.85,
        tilt=_tilt(rng),
    )


def _stratus(shape: tuple[int, int], resolution_m: float, rng: np.random.Generator) -> CloudLayer:
    outer = float(np.clip(np.exp(rng.uniform(np.log(400.0), np.log(12000.0))) / resolution_m, 16.0, 600.0))
    field = fractal_noise(
        shape,
        rng=rng,
        slope=rng.uniform(2.4, 3.8),
        outer_px=outer,
        stretch=np.exp(rng.uniform(0.0, 1.2)),
        angle=rng.uniform(0.0, np.pi),
    )
    tau = np.exp(rng.uniform(2.1, 4.2) + rng.uniform(0.15, 0.6) * field)
    if rng.random() < 0.4:  # gaps
        low = np.quantile(field, rng.uniform(0.02, 0.4))
        tau *= np.clip((field - low) * rng.uniform(1.0, 4.0), 0.0, 1.0)
    base = rng.uniform(200.0, 3500.0)
    return CloudLayer(
        optical_thickness=tau.astype(np.float32),
        height_m=base,
        depth_m=rng.uniform(100.0, 600.0),
        asymmetry=0.85,
        tilt=_tilt(rng),
    )


def _cirrus(shape: tuple[int, int], resolution_m: float, rng: np.random.Generator) -> CloudLayer:
    outer = float(np.clip(rng.uniform(1000.0, 10000.0) / resolution_m, 30.0, 1000.0))
    field = fractal_noise(
        shape,
        rng=rng,
        slope=rng.uniform(2.5, 3.4),
        outer_px=outer,
        stretch=np.exp(rng.uniform(0.0, 2.2)),
        angle=rng.uniform(0.0, np.pi),
    )
    tau = rng.uniform(0.4, 2.5) * np.maximum(field + rng.uniform(-1.0, 1.5), 0.0) ** rng.uniform(1.0, 1.6)
    return CloudLayer(
        optical_thickness=tau.astype(np.float32),
        height_m=rng.uniform(5000.0, 11000.0),
        depth_m=800.0,
        asymmetry=0.78,
        tilt=_tilt(rng),
        ice=True,
    )


def _haze(shape: tuple[int, int], resolution_m: float, rng: np.random.Generator) -> CloudLayer:
    field = fractal_noise(shape, rng=rng, slope=rng.uniform(3.4, 4.5), outer_px=max(8.0, 8000.0 / resolution_m))
    tau = rng.uniform(0.2, 1.6) * np.maximum(1.0 + rng.uniform(0.3, 1.2) * field, 0.0)
    return CloudLayer(
        optical_thickness=tau.astype(np.float32),
        height_m=300.0,
        depth_m=300.0,
        asymmetry=0.68,
        angstrom=rng.uniform(0.0, 1.5),
        tilt=_tilt(rng),
    )


def _tilt(rng: np.random.Generator) -> float:
    # Seen on overcast patches: near infrared over red is 0.92 on L2A (the correction takes off too little blue) and
    # 1.05 on Landsat's L1.
    return float(rng.uniform(-0.45, 0.3))
