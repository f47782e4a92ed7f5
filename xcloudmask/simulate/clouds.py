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
from xcloudmask.simulate.layers import CLOUD_KINDS, CloudKind, CloudLayer, draw_layer
from xcloudmask.simulate.optics import cover, layer_reflectance
from xcloudmask.simulate.shadows import Canvas, Sun, View, self_shading, shade_ground
from xcloudmask.simulate.spectra import THERMAL_NM

__all__ = [
    "SHADOW_TRANSMISSION",
    "THICK_ALBEDO",
    "THIN_ALBEDO",
    "CloudScene",
    "Sun",
    "View",
    "add_clouds",
    "cloud_truth",
]

THIN_ALBEDO = 0.04
"""A cloud that reflects less than this (optical thickness below about 0.5) is not told from clear land by an eye."""
THICK_ALBEDO = 0.24
"""The ground shows through a cloud that reflects less: optical thickness 3.6, the border of cirrus and cirrostratus in
ISCCP's classes (Rossow and Schiffer, 1999, BAMS 80)."""
SHADOW_TRANSMISSION = 0.5
"""Share of the sunlight that clouds leave, below which a pixel is called shadow."""

_FIRST = (0.56, 0.19, 0.11, 0.05, 0.03, 0.06)
_SECOND = (0.3, 0.05, 0.4, 0.1, 0.1, 0.05)
"""Shares of the kinds, in the order of CLOUD_KINDS, of the first layer and of a second one."""
_DIFFUSE_ALOFT = 0.35
"""Share of diffuse light on a cloud: its bright surroundings light it."""
_STANDARD_K = 288.15
"""Temperature at sea level of the ICAO Standard Atmosphere."""

_FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudScene:
    """A clouded image with its truth."""

    image: _FloatImage
    """(band, y, x) reflectance; kelvin beyond 3000 nm."""
    truth: npt.NDArray[np.uint8]
    """(y, x), the four classes of `xcloudmask.classes`."""
    optical_thickness: _FloatImage
    """(y, x), of all layers."""
    albedo: _FloatImage
    """(y, x), reflectance of the clouds alone near 550 nm."""
    sun_transmission: _FloatImage
    """(y, x), share of the sunlight, direct and scattered by clouds, that reaches the ground."""
    darkening: _FloatImage
    """(y, x), largest drop of reflectance over the bands that the shadow brings, before clouds cover it."""
    top_height_m: _FloatImage
    """(y, x), height of the highest cloud that an eye would see, above the ground; 0 where there is none."""
    sun: Sun
    """Where the light came from."""
    view: View
    """Where the image was taken from."""


def add_clouds(
    image: _FloatImage,
    *,
    wavelengths_nm: Sequence[float],
    resolution_m: float,
    rng: np.random.Generator,
    kinds: Sequence[CloudKind] | None = None,
    sun: Sun | None = None,
    view: View | None = None,
) -> CloudScene:
    """Put clouds and their shadows over a clear image.

    Parameters
    ----------
    image
        (band, y, x) reflectance, 0 to 1; brightness temperature in kelvin where the wavelength is beyond 3000 nm.
    wavelengths_nm
        Centre of each band.
    resolution_m
        Size of a pixel, in metres.
    rng
        Source of randomness.
    kinds
        The layers; None draws one or two.
    sun
        None draws a zenith angle of 15 to 72 degrees and any azimuth.
    view
        Where the satellite stands: clouds are seen away from it, by their height. None is overhead.

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
    (Fmask, whose shadow test is on the near infrared for this reason). They also get the light that the cloud scatters
    downwards: compact clouds throw dark shadows, broad veils hardly any.

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
    sun = sun or Sun(zenith_deg=float(15.0 + 57.0 * rng.beta(1.5, 2.0)), azimuth_deg=float(rng.uniform(0.0, 360.0)))
    view = view or View()
    window = (int(image.shape[1]), int(image.shape[2]))
    canvas = Canvas(window=window, resolution_m=resolution_m, sun=sun, view=view)
    drawn = _draw_layers(_draw_kinds(rng) if kinds is None else kinds, canvas, rng)
    sunlight = np.ones(window, np.float32)
    for layer in drawn:
        sunlight *= canvas.sunlight(layer)
    waves = np.asarray(wavelengths_nm, np.float32)
    shaded = shade_ground(image, sunlight, wavelengths_nm=waves, diffuse=float(rng.uniform(0.15, 0.42)))
    reflective = (waves <= THERMAL_NM) if (waves <= THERMAL_NM).any() else np.ones(len(waves), bool)
    darkening = (image - shaded)[reflective].max(axis=0)
    relief = float(rng.uniform(0.0, 0.4))
    airmass = float(1.0 / np.cos(np.radians(sun.zenith_deg)) + 1.0 / np.cos(np.radians(view.zenith_deg)))
    surface_k = _surface_k(image, waves)
    layers = [canvas.crop(layer) for layer in drawn]
    for index, layer in enumerate(layers):
        shading = self_shading(layer, sun, strength=relief) * _light_on(index, drawn, canvas)
        for band, wave in enumerate(waves.tolist()):
            shaded[band] = cover(
                shaded[band], layer, wave_nm=wave, shading=shading, airmass=airmass, surface_k=surface_k
            )
    albedo = _joint_albedo(layers) if layers else np.zeros(window, np.float32)
    return CloudScene(
        image=shaded,
        truth=cloud_truth(albedo, sunlight),
        optical_thickness=sum((layer.optical_thickness for layer in layers), np.zeros(window, np.float32)),
        albedo=albedo,
        sun_transmission=sunlight,
        darkening=darkening,
        top_height_m=_top_m(layers, window),
        sun=sun,
        view=view,
    )


def cloud_truth(albedo: _FloatImage, sun_transmission: _FloatImage) -> npt.NDArray[np.uint8]:
    """Classes from the reflectance of the clouds and the light that reaches the ground.

    Parameters
    ----------
    albedo
        (y, x) reflectance of the clouds alone.
    sun_transmission
        (y, x) share of the sunlight that reaches the ground.

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
    kinds: list[CloudKind] = [CLOUD_KINDS[rng.choice(len(CLOUD_KINDS), p=_FIRST)]]
    if rng.random() < 0.3:
        kinds.append(CLOUD_KINDS[rng.choice(len(CLOUD_KINDS), p=_SECOND)])
    return kinds


def _draw_layers(kinds: Sequence[CloudKind], canvas: Canvas, rng: np.random.Generator) -> list[CloudLayer]:
    """All layers on their canvases, the lowest first."""
    layers = []
    for kind in kinds:
        layer = draw_layer(kind, canvas.shape, resolution_m=canvas.resolution_m, rng=rng)
        layers += [layer] if layer.anvil is None else [layer, layer.anvil]
    return sorted(layers, key=lambda layer: layer.height_m)


def _light_on(index: int, layers: Sequence[CloudLayer], canvas: Canvas) -> _FloatImage | np.float32:
    """Share of all light that higher layers leave to a layer: a shadow on a cloud is softer than one on the ground."""
    light: _FloatImage | np.float32 = np.float32(1.0)
    for higher in layers[index + 1 :]:
        direct = canvas.sunlight(higher, onto_m=layers[index].height_m + layers[index].depth_m)
        light = light * (_DIFFUSE_ALOFT + (1.0 - _DIFFUSE_ALOFT) * direct)
    return light


def _joint_albedo(layers: Sequence[CloudLayer]) -> _FloatImage:
    """Reflectance of all layers over a black surface, by the adding method."""
    joint = layer_reflectance(layers[0])
    for layer in layers[1:]:
        upper = layer_reflectance(layer)
        joint = upper + (1.0 - upper) ** 2 * joint / (1.0 - upper * joint)
    return joint


def _surface_k(image: _FloatImage, waves: _FloatImage) -> float:
    """Temperature from which the lapse rate starts: the ground's where a band tells it."""
    thermal = image[waves > THERMAL_NM]
    return float(np.median(thermal[:, ::4, ::4])) if thermal.size else _STANDARD_K


def _top_m(layers: Sequence[CloudLayer], window: tuple[int, int]) -> _FloatImage:
    top = np.zeros(window, np.float32)
    for layer in layers:
        seen = layer_reflectance(layer) >= THIN_ALBEDO
        np.maximum(top, layer.top_m(), out=top, where=seen)
    return top
