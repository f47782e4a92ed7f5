"""The clear ground of any place on Earth as any sensor sees it: reflectance, and temperature (numpy only).

Materials with spectra (`xcloudmask.simulate.spectra`) are laid over each other in shares of a pixel, as the recipe of a
biome says (`xcloudmask.simulate.biomes`). Then come the light on slopes, the shadow of ridges, the grain of each
material, sun glint on water, and the blur of the optics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xcloudmask.errors import ArgumentError
from xcloudmask.simulate.biomes import BIOMES, RECIPES, Biome
from xcloudmask.simulate.canvas import Canvas
from xcloudmask.simulate.clouds import Sun
from xcloudmask.simulate.patterns import Field, blur, cast_shadow, hillshade
from xcloudmask.simulate.spectra import RADIATION_NM_K, is_thermal

__all__ = ["BIOMES", "Biome", "Surface", "brightness_temperature", "draw_surface"]

_BRIGHTEST = 1.2
"""Snow on a slope towards the sun reflects more than a flat white sheet."""

# Biome: kelvin of the air over a clear scene, from and to.
_AIR_K: dict[Biome, tuple[float, float]] = {
    "fields": (278.0, 303.0),
    "forest": (275.0, 302.0),
    "savanna": (293.0, 308.0),
    "desert": (285.0, 312.0),
    "salt_flat": (280.0, 306.0),
    "snow": (243.0, 273.0),
    "mountains": (262.0, 293.0),
    "coast": (278.0, 303.0),
    "ocean": (273.0, 303.0),
    "wetland": (276.0, 304.0),
    "city": (278.0, 305.0),
    "rock": (275.0, 308.0),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """Clear ground."""

    reflectance: npt.NDArray[np.float32]
    """(band, y, x) reflectance at the surface, 0 to 1.2; brightness temperature in kelvin in thermal bands."""
    temperature_k: npt.NDArray[np.float32]
    """(y, x) temperature of the surface."""
    biome: Biome
    """What was drawn."""
    sun: Sun
    """The sun that lit the slopes: give it to `xcloudmask.simulate.add_clouds`, and shadows fall the same way."""


def draw_surface(
    shape: tuple[int, int],
    *,
    bands: Sequence[tuple[float, float, float]],
    resolution_m: float,
    rng: np.random.Generator,
    biome: Biome | None = None,
    sun: Sun | None = None,
) -> Surface:
    """Draw clear ground.

    Parameters
    ----------
    shape
        (y, x) in px, at least 4 each.
    bands
        Shortest, central and longest wavelength of each band, in nm.
    resolution_m
        Size of a pixel, in metres.
    rng
        Source of randomness.
    biome
        None draws one.
    sun
        None draws a zenith angle of 15 to 70 degrees and any azimuth.

    Returns
    -------
    Surface
        With one layer of reflectance per band, in their order.

    Raises
    ------
    ArgumentError
        The shape, the resolution or a band is out of range, or the biome is unknown.

    Notes
    -----
    Shares of materials in a pixel add up linearly: Settle and Drake (1993), International Journal of Remote Sensing 14.
    Glint reflects all wavelengths alike: Kay et al. (2009), Remote Sensing 1. Brightness temperature follows from
    Planck's law and the emissivity.

    Examples
    --------
    >>> bands = [(640.0, 655.0, 670.0), (530.0, 560.0, 590.0), (850.0, 865.0, 880.0)]
    >>> ground = draw_surface((64, 64), bands=bands, resolution_m=30.0, rng=np.random.default_rng(0), biome="desert")
    >>> ground.reflectance.shape, ground.biome
    ((3, 64, 64), 'desert')
    """
    _check(shape, bands, resolution_m, biome)
    kind: Biome = BIOMES[int(rng.integers(len(BIOMES)))] if biome is None else biome
    light = sun or Sun(zenith_deg=float(rng.uniform(15.0, 70.0)), azimuth_deg=float(rng.uniform(0.0, 360.0)))
    canvas = Canvas(shape, bands=bands, resolution_m=resolution_m, rng=rng)
    RECIPES[kind](canvas)
    warming, grain, dry = canvas.channels[-3:]
    lit = _light(canvas, light, dry)
    air_k = np.float32(rng.uniform(*_AIR_K[kind]))
    temperature = _temperature(air_k, warming, lit, melting=kind == "snow")
    shade = lit * _texture(canvas, grain)
    thermal = [is_thermal(band) for band in bands]
    image = np.empty((len(bands), *shape), np.float32)
    for index, band in enumerate(bands):
        if thermal[index]:
            image[index] = brightness_temperature(temperature, canvas.channels[index], wavelength_nm=band[1])
        else:
            np.multiply(canvas.channels[index], shade, out=image[index])
    reflective = np.flatnonzero(~np.asarray(thermal))
    _glint(image, reflective, canvas, dry)
    image = blur(image, share=0.12)
    image[reflective] = np.clip(image[reflective], 0.0, _BRIGHTEST)
    return Surface(reflectance=image, temperature_k=temperature, biome=kind, sun=light)


def brightness_temperature(temperature_k: Field, emissivity: Field, *, wavelength_nm: float) -> Field:
    """Return the temperature of a black body that would shine as bright in one band.

    Parameters
    ----------
    temperature_k
        (y, x) temperature of the surface.
    emissivity
        (y, x), 0 to 1.
    wavelength_nm
        Centre of the band.

    Returns
    -------
    numpy.ndarray
        (y, x) float32, in kelvin.

    Examples
    --------
    >>> warm = np.full((1, 1), 300.0, np.float32)
    >>> seen = brightness_temperature(warm, np.full((1, 1), 0.95, np.float32), wavelength_nm=10_900.0)
    >>> round(float(seen[0, 0]), 1)
    296.6
    """
    scale = np.float32(RADIATION_NM_K / wavelength_nm)
    inner = np.expm1(scale / temperature_k) / np.maximum(emissivity, np.float32(0.3))
    return np.asarray(scale / np.log1p(inner), np.float32)


def _check(
    shape: tuple[int, int],
    bands: Sequence[tuple[float, float, float]],
    resolution_m: float,
    biome: Biome | None,
) -> None:
    if len(shape) != 2 or min(shape) < 4:
        raise ArgumentError(f"shape={shape}: expected (y, x) of at least 4 px each.")
    if not bands:
        raise ArgumentError("bands is empty. Expected (min, centre, max) in nm for one band or more.")
    if not 0 < resolution_m < np.inf:
        raise ArgumentError(f"resolution_m={resolution_m} must be positive.")
    if biome is not None and biome not in RECIPES:
        raise ArgumentError(f"biome={biome!r} is unknown. Expected one of: {', '.join(BIOMES)}.")


def _light(canvas: Canvas, sun: Sun, dry: Field) -> Field:
    """Light on slopes and behind ridges; water lies flat."""
    if canvas.height_m is None:
        return np.ones(canvas.shape, np.float32)
    where = {"resolution_m": canvas.resolution_m, "zenith_deg": sun.zenith_deg, "azimuth_deg": sun.azimuth_deg}
    diffuse = float(canvas.rng.uniform(0.08, 0.25))
    light = hillshade(canvas.height_m, diffuse=diffuse, **where)
    if float(light[::4, ::4].std()) > 0.25:  # only steep ground shades its neighbours
        direct = cast_shadow(canvas.height_m, **where)
        light = np.float32(diffuse) + (light - np.float32(diffuse)) * direct
    np.minimum(light, np.float32(2.2), out=light)
    return np.asarray(1.0 + dry * (light - 1.0), np.float32)


def _texture(canvas: Canvas, grain: Field) -> Field:
    """Grain of the materials. Larger pixels average it out."""
    white = canvas.rng.standard_normal(canvas.shape, np.float32)
    # Neighbours resemble each other: half of the grain is blurred.
    clumps = white + np.roll(white, 1, 0) + np.roll(white, 1, 1) + np.roll(white, (1, 1), (0, 1))
    strength = np.float32(0.55 * (10.0 / canvas.resolution_m) ** 0.3)
    texture = np.maximum(1.0 + strength * grain * clumps, np.float32(0.15))
    return np.asarray(texture if canvas.texture is None else texture * canvas.texture, np.float32)


def _temperature(air_k: np.float32, warming: Field, light: Field, *, melting: bool) -> Field:
    """Sunny slopes are warmer; snow stays below the melting point."""
    temperature = air_k + warming * (np.float32(0.3) + np.float32(0.7) * light)
    return np.asarray(np.minimum(temperature, np.float32(276.0)) if melting else temperature, np.float32)


def _glint(image: Field, reflective: npt.NDArray[np.intp], canvas: Canvas, dry: Field) -> None:
    """Sun (or sky) that water mirrors: the same in all bands, patchy with the waves."""
    wet = np.float32(1.0) - dry
    if not len(reflective) or float(wet[::4, ::4].max()) < 0.05:
        return
    level = canvas.rng.uniform(0.02, 0.2) if canvas.chance(0.25) else canvas.rng.uniform(0.0, 0.012)
    waves = canvas.noise(canvas.rng.uniform(60.0, 2000.0), slope=1.5 + 1.5 * float(canvas.rng.random()))
    mirrored = wet * np.float32(level) * np.exp(np.float32(canvas.rng.uniform(0.05, 0.3)) * waves)
    for index in reflective:
        image[index] += mirrored
