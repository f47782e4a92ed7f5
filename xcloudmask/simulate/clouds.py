"""Clouds and their shadows over a clear image of reflectance, with the truth of every pixel (numpy only).

Clouds are plane layers with a field of optical thickness. Each reflects by the two-stream solution of a layer that
absorbs nothing, layers and surface are joined by the adding method, and the shadow is the field moved along the sun's
direction by the height of the layer, weakening the direct part of the sunlight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xcloudmask.classes import CloudClass
from xcloudmask.errors import ArgumentError
from xcloudmask.simulate.layers import CLOUD_KINDS, CloudKind, CloudLayer, cloud_layer

__all__ = [
    "SHADOW_TRANSMISSION",
    "THICK_ALBEDO",
    "THIN_ALBEDO",
    "CloudScene",
    "Sun",
    "add_clouds",
    "cloud_truth",
]

THIN_ALBEDO = 0.04
"""A cloud that reflects less than this (optical thickness below about 0.5) is not told from clear land by an eye."""
THICK_ALBEDO = 0.24
"""The ground shows through a cloud that reflects less: optical thickness 3.6, the border of cirrus and cirrostratus in
ISCCP's classes (Rossow and Schiffer, 1999, BAMS 80)."""
SHADOW_TRANSMISSION = 0.6
"""Share of the direct sunlight below which a pixel is called shadow."""

_FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sun:
    """Where the sun stands."""

    zenith_deg: float
    """Angle from the vertical."""
    azimuth_deg: float
    """Clockwise from north; the image has north at its top."""

    def shadow_shift_px(self, height_m: float, *, resolution_m: float) -> tuple[float, float]:
        """Return how far (y, x), in px, the shadow of something at that height lies from it."""
        length = height_m * np.tan(np.radians(self.zenith_deg)) / resolution_m
        azimuth = np.radians(self.azimuth_deg)
        return float(length * np.cos(azimuth)), float(-length * np.sin(azimuth))


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudScene:
    """A clouded image with its truth."""

    image: _FloatImage
    """(band, y, x) reflectance."""
    truth: npt.NDArray[np.uint8]
    """(y, x), the four classes of `xcloudmask.classes`."""
    optical_thickness: _FloatImage
    """(y, x), of all layers."""
    albedo: _FloatImage
    """(y, x), reflectance of the clouds alone near 650 nm."""
    sun_transmission: _FloatImage
    """(y, x), share of direct sunlight that reaches the ground."""
    darkening: _FloatImage
    """(y, x), largest drop of reflectance over the bands that the shadow brings, before clouds cover it."""


def add_clouds(
    image: _FloatImage,
    *,
    wavelengths_nm: Sequence[float],
    resolution_m: float,
    rng: np.random.Generator,
    kinds: Sequence[CloudKind] | None = None,
    sun: Sun | None = None,
) -> CloudScene:
    """Put clouds and their shadows over a clear image.

    Parameters
    ----------
    image
        (band, y, x) reflectance, 0 to 1.
    wavelengths_nm
        Centre of each band.
    resolution_m
        Size of a pixel, in metres.
    rng
        Source of randomness.
    kinds
        The layers; None draws one or two.
    sun
        None draws a zenith angle of 15 to 70 degrees and any azimuth.

    Returns
    -------
    CloudScene

    Raises
    ------
    ArgumentError
        The number of wavelengths is not the number of bands, or a kind is unknown.

    Notes
    -----
    Two-stream layers and the adding method: Lacis and Hansen (1974), J. Atmos. Sci. 31. Shadows keep their diffuse
    light, which is stronger in the blue: Zhu and Woodcock (2012), Remote Sensing of Environment 118
    (Fmask, whose shadow test is on the near infrared for this reason).

    Examples
    --------
    >>> clear = np.full((3, 64, 64), 0.1, np.float32)
    >>> scene = add_clouds(clear, wavelengths_nm=(665, 560, 842), resolution_m=10.0, rng=np.random.default_rng(1))
    >>> scene.image.shape, scene.truth.dtype
    ((3, 64, 64), dtype('uint8'))
    """
    if len(wavelengths_nm) != len(image):
        raise ArgumentError(
            f"The image has {len(image)} bands and there are {len(wavelengths_nm)} wavelengths: give one per band."
        )
    shape = (int(image.shape[1]), int(image.shape[2]))
    sun = sun or Sun(zenith_deg=float(rng.uniform(15.0, 70.0)), azimuth_deg=float(rng.uniform(0.0, 360.0)))
    drawn = _draw_kinds(rng) if kinds is None else kinds
    layers = [cloud_layer(kind, shape, resolution_m=resolution_m, rng=rng) for kind in drawn]
    layers.sort(key=lambda layer: layer.height_m)
    transmission = np.ones(shape, np.float32)
    for layer in layers:
        transmission *= _sun_transmission(layer, sun, resolution_m)
    waves = np.asarray(wavelengths_nm, np.float32)[:, None, None]
    shaded = _shade(image, transmission, waves, diffuse=float(rng.uniform(0.15, 0.42)))
    darkening = (image - shaded).max(axis=0)
    relief = float(rng.uniform(0.0, 0.3))
    for layer in layers:
        shaded = _cover(shaded, layer, waves, shading=_self_shading(layer, sun, strength=relief))
    albedo = _joint_albedo(layers)
    return CloudScene(
        image=shaded,
        truth=cloud_truth(albedo, transmission),
        optical_thickness=np.sum([layer.optical_thickness for layer in layers], axis=0, dtype=np.float32),
        albedo=albedo,
        sun_transmission=transmission,
        darkening=darkening,
    )


def cloud_truth(albedo: _FloatImage, sun_transmission: _FloatImage) -> npt.NDArray[np.uint8]:
    """Classes from the reflectance of the clouds and the light that reaches the ground.

    Parameters
    ----------
    albedo
        (y, x) reflectance of the clouds alone.
    sun_transmission
        (y, x) share of direct sunlight that reaches the ground.

    Returns
    -------
    numpy.ndarray
        (y, x) uint8; cloud goes before shadow.

    Examples
    --------
    >>> cloud_truth(np.array([[0.0, 0.5, 0.1, 0.0]]), np.array([[1.0, 0.1, 1.0, 0.2]])).tolist()
    [[0, 1, 2, 3]]
    """
    truth = np.where(sun_transmission < SHADOW_TRANSMISSION, CloudClass.CLOUD_SHADOW, CloudClass.CLEAR).astype(np.uint8)
    truth[albedo >= THIN_ALBEDO] = CloudClass.THIN_CLOUD
    truth[albedo >= THICK_ALBEDO] = CloudClass.THICK_CLOUD
    return truth


def _draw_kinds(rng: np.random.Generator) -> list[CloudKind]:
    kinds: list[CloudKind] = [CLOUD_KINDS[rng.choice(len(CLOUD_KINDS), p=(0.6, 0.2, 0.13, 0.07))]]
    if rng.random() < 0.25:
        kinds.append(CLOUD_KINDS[rng.choice(len(CLOUD_KINDS), p=(0.4, 0.0, 0.45, 0.15))])
    return kinds


def _reflectance(optical_thickness: _FloatImage, asymmetry: float) -> _FloatImage:
    """Two-stream reflectance of a layer without absorption."""
    scaled = np.float32(1.0 - asymmetry) * optical_thickness
    return np.asarray(scaled / (2.0 + scaled), np.float32)


def _joint_albedo(layers: Sequence[CloudLayer]) -> _FloatImage:
    """Reflectance of all layers over a black surface, by the adding method."""
    joint = _reflectance(layers[0].optical_thickness, layers[0].asymmetry)
    for layer in layers[1:]:
        upper = _reflectance(layer.optical_thickness, layer.asymmetry)
        joint = upper + (1.0 - upper) ** 2 * joint / (1.0 - upper * joint)
    return joint


def _sun_transmission(layer: CloudLayer, sun: Sun, resolution_m: float) -> _FloatImage:
    """Direct sunlight left on the ground: the layer seen from the sun, from its base to its top."""
    # Light scattered by a few degrees still counts as direct: delta scaling (Joseph et al., 1976, J. Atmos. Sci. 33).
    scaled = (1.0 - layer.asymmetry**2) * layer.optical_thickness / np.cos(np.radians(sun.zenith_deg))
    shadow = np.zeros_like(scaled)
    smear_px = np.hypot(*sun.shadow_shift_px(layer.depth_m, resolution_m=resolution_m))
    for part in np.linspace(0.0, 1.0, int(np.clip(smear_px / 2, 1, 32))):
        dy, dx = sun.shadow_shift_px(layer.height_m + part * layer.depth_m, resolution_m=resolution_m)
        # A cloud is as high as it is thick: the upper part of the layer belongs to its thickest columns.
        slab = scaled if part == 0.0 else scaled * (1.0 - part * np.exp(-scaled))
        np.maximum(shadow, np.roll(slab, (round(dy), round(dx)), (0, 1)), out=shadow)
    direct = np.exp(-shadow)
    return np.asarray(_blur(direct), np.float32)


def _blur(field: _FloatImage) -> _FloatImage:
    """Soften over three pixels each way: the sun is half a degree wide."""
    for axis in (0, 1):
        field = 0.5 * field + 0.25 * (np.roll(field, 1, axis) + np.roll(field, -1, axis))
    return field


def _shade(image: _FloatImage, transmission: _FloatImage, waves: _FloatImage, *, diffuse: float) -> _FloatImage:
    """Weaken the direct light; path radiance (the darkest pixels) and diffuse light stay."""
    path = 0.8 * np.maximum(np.quantile(image[:, ::8, ::8], 0.005, axis=(1, 2), keepdims=True), 0.0)
    share = np.clip(diffuse * (waves / 550.0) ** -1.4, 0.03, 0.8)
    return np.asarray(path + (image - path) * (share + (1.0 - share) * transmission), np.float32)


def _self_shading(layer: CloudLayer, sun: Sun, *, strength: float) -> _FloatImage:
    """Bright flanks towards the sun and dark ones away from it."""
    dy, dx = sun.shadow_shift_px(1.0, resolution_m=max(float(np.tan(np.radians(sun.zenith_deg))), 1e-3))
    height = np.sqrt(layer.optical_thickness)
    slope = dy * (np.roll(height, 1, 0) - np.roll(height, -1, 0)) + dx * (
        np.roll(height, 1, 1) - np.roll(height, -1, 1)
    )
    return np.asarray(1.0 - strength * np.tanh(slope), np.float32)


def _cover(ground: _FloatImage, layer: CloudLayer, waves: _FloatImage, *, shading: _FloatImage) -> _FloatImage:
    """Lay one layer over what is below it (adding method), band by band."""
    covered = np.empty_like(ground)
    for index, wave in enumerate(waves[:, 0, 0]):
        tau = layer.optical_thickness * np.float32((wave / 550.0) ** -layer.angstrom)
        reflectance = _reflectance(tau, layer.asymmetry)
        below = np.clip(ground[index], 0.0, 1.0)
        through = (1.0 - reflectance) ** 2 * below / (1.0 - reflectance * below)
        bright = reflectance * np.float32((wave / 650.0) ** layer.tilt) * shading
        covered[index] = _absorption(float(wave), ice=layer.ice) * (bright + through)
    return covered


def _absorption(wave_nm: float, *, ice: bool) -> np.float32:
    """Share that droplets or crystals leave in the short-wave infrared (Pilewskie and Twomey, 1987, Atmos. Res. 21)."""
    known = (1000.0, 1250.0, 1610.0, 2200.0)
    return np.float32(np.interp(wave_nm, known, (1.0, 0.9, 0.45, 0.3) if ice else (1.0, 0.97, 0.78, 0.55)))
