"""A clear landscape: fields, woods, a river, a lake or the sea, villages and roads (numpy only).

The ground is a mixture of materials in every pixel; what it reflects follows from the date (crops grow) and from the
slope towards the sun. Spectra are rounded means of the classes in the ECOSTRESS Spectral Library 1.0 (Meerdink et al.,
2019, Remote Sensing of Environment 230) at the centres of blue, green, red and near infrared of Sentinel-2.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from xcloudmask.simulate.noise import fractal_noise
from xcloudmask.simulate.patterns import Field, blur, river_distance

__all__ = ["BANDS", "Landscape", "draw_landscape", "render"]

BANDS = ("blue", "green", "red", "nir")
"""The bands of `render`, in order."""

_SPECTRA = {
    "dry soil": (0.090, 0.130, 0.180, 0.260),
    "wet soil": (0.050, 0.070, 0.090, 0.150),
    "crop": (0.024, 0.058, 0.028, 0.450),
    "pasture": (0.036, 0.074, 0.052, 0.330),
    "ripe crop": (0.075, 0.115, 0.145, 0.290),
    "broadleaf wood": (0.018, 0.038, 0.020, 0.310),
    "conifer wood": (0.015, 0.027, 0.017, 0.190),
    "river": (0.042, 0.066, 0.050, 0.024),
    "lake": (0.030, 0.034, 0.018, 0.008),
    "sea": (0.034, 0.030, 0.012, 0.005),
    "shore": (0.150, 0.190, 0.230, 0.290),
    "roofs": (0.095, 0.125, 0.175, 0.230),
    "bright roofs": (0.300, 0.310, 0.320, 0.350),
    "asphalt": (0.080, 0.090, 0.100, 0.130),
}
"""Surface reflectance in blue, green, red, near infrared."""

_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Landscape:
    """What does not change from date to date; all arrays are (y, x)."""

    relief: Field
    """Height of the terrain, standard deviation 1."""
    texture: Field
    """Relative brightness of the ground, around 1."""
    parcel: npt.NDArray[np.int64]
    """Number of the field that a pixel belongs to."""
    crop_peak: npt.NDArray[np.float64]
    """Per parcel: day of the year on which its crop is greenest."""
    soil_wetness: Field
    """Per parcel, 0 to 1."""
    pasture: _Mask
    """Per parcel: grass all the year."""
    layers: tuple[tuple[str, Field], ...]
    """(material, cover 0 to 1) of what lies over the fields, from the bottom to the top."""


def draw_landscape(shape: tuple[int, int], *, resolution_m: float, rng: np.random.Generator) -> Landscape:
    """Draw a landscape.

    Parameters
    ----------
    shape
        (y, x) in px.
    resolution_m
        Size of a pixel.
    rng
        Source of randomness.

    Returns
    -------
    Landscape

    Examples
    --------
    >>> land = draw_landscape((64, 64), resolution_m=10.0, rng=np.random.default_rng(0))
    >>> land.parcel.shape
    (64, 64)
    """
    relief = fractal_noise(shape, rng=rng, slope=3.6, outer_px=4000.0 / resolution_m)
    fine = fractal_noise(shape, rng=rng, slope=1.6, outer_px=300.0 / resolution_m)
    parcel, border = _parcels(shape, resolution_m, rng)
    count = int(parcel.max()) + 1
    woods = fractal_noise(shape, rng=rng, slope=3.0, outer_px=1800.0 / resolution_m) + np.float32(0.5) * relief
    # A wood ends where a field ends: most of its edges are those of parcels.
    woods = np.asarray(0.75 * _parcel_mean(woods, parcel, count) + 0.25 * woods, np.float32)
    layers = [
        ("broadleaf wood", _soft(woods - np.float32(np.quantile(woods, 0.76)), 0.02)),
        ("conifer wood", _soft(woods - np.float32(np.quantile(woods, 0.91)), 0.02)),
        ("broadleaf wood", 0.7 * border * (rng.random(count) < 0.45)[parcel]),
        *_settlements(shape, resolution_m, rng),
        *_water(shape, relief, resolution_m, rng),
    ]
    return Landscape(
        relief=relief,
        texture=1.0 + np.float32(0.05) * fine,
        parcel=parcel,
        crop_peak=rng.choice((110.0, 135.0, 150.0, 170.0, 205.0), count) + rng.normal(0, 8, count),
        soil_wetness=np.clip(rng.normal(0.45, 0.3, count), 0.0, 1.0).astype(np.float32),
        pasture=rng.random(count) < 0.3,
        layers=tuple((name, np.asarray(cover, np.float32)) for name, cover in layers),
    )


def render(
    land: Landscape, *, day_of_year: float, sun_zenith_deg: float, sun_azimuth_deg: float, rng: np.random.Generator
) -> Field:
    """Surface reflectance on one date under a clear sky.

    Parameters
    ----------
    land
        The landscape.
    day_of_year
        1 to 366; crops green up and ripen.
    sun_zenith_deg, sun_azimuth_deg
        Light on slopes; clockwise from north.
    rng
        Source of the noise of the sensor.

    Returns
    -------
    numpy.ndarray
        (band, y, x) float32 reflectance in `BANDS`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> land = draw_landscape((64, 64), resolution_m=10.0, rng=rng)
    >>> render(land, day_of_year=150, sun_zenith_deg=30, sun_azimuth_deg=150, rng=rng).shape
    (4, 64, 64)
    """
    image = _fields(land, day_of_year)[:, land.parcel]
    dry = np.ones_like(land.relief)
    for material, cover in land.layers:
        image += cover * (_spectrum(material)[:, None, None] - image)
        if material in ("river", "lake", "sea"):
            dry = dry * (1.0 - cover)
    light = _hillshade(land.relief, sun_zenith_deg, sun_azimuth_deg) * land.texture
    image *= 1.0 + dry * (light - 1.0)
    image = blur(image, share=0.1)
    noise = rng.standard_normal(image.shape, np.float32)
    return np.asarray(np.clip(image + (0.0012 + 0.012 * image) * noise, 0.001, 1.0), np.float32)


def _spectrum(material: str) -> Field:
    return np.asarray(_SPECTRA[material], np.float32)


def _fields(land: Landscape, day: float) -> Field:
    """(band, parcel) reflectance: soil under a canopy that closes, then ripens."""
    wet = land.soil_wetness
    soil = _spectrum("dry soil")[:, None] * (1 - wet) + _spectrum("wet soil")[:, None] * wet
    age = (day - land.crop_peak) / 32.0
    cover = np.where(age < 0, np.exp(-(age**2)), np.exp(-((age / 1.6) ** 2)))
    ripe = np.clip((age - 0.7) / 0.6, 0.0, 1.0) * np.exp(-((np.maximum(age - 1.2, 0.0) / 1.5) ** 2))
    crop = _spectrum("crop")[:, None] * (1 - ripe) + _spectrum("ripe crop")[:, None] * ripe
    cover = np.maximum(0.95 * cover, 0.9 * ripe)
    fields = soil * (1 - cover) + crop * cover
    vigour = 0.75 + 0.5 * wet
    fields[:, land.pasture] = _spectrum("pasture")[:, None] * vigour[land.pasture]
    return np.asarray(fields, np.float32)


def _parcels(
    shape: tuple[int, int], resolution_m: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], Field]:
    """Fields: cells nearest to points of a jittered, rotated and stretched lattice; and their borders, 0 to 1.

    Worley (1996), A cellular texture basis function, with the maximum norm, so that cells are boxes.
    """
    angle = rng.uniform(0.0, np.pi)
    y, x = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    bend = 9.0 * fractal_noise(shape, rng=rng, slope=5.0, outer_px=2500.0 / resolution_m)
    u = (np.cos(angle) * x + np.sin(angle) * y + bend) * resolution_m / 330.0
    v = (np.cos(angle) * y - np.sin(angle) * x + bend) * resolution_m / 190.0
    iu, iv = np.floor(u - u.min()).astype(int), np.floor(v - v.min()).astype(int)
    columns = int(iv.max()) + 3
    jitter = rng.uniform(0.05, 0.95, (2, (int(iu.max()) + 3) * columns)).astype(np.float32)
    nearest = np.full(shape, np.inf, np.float32)
    second = nearest.copy()
    parcel = np.zeros(shape, np.int64)
    for du in (0, 1, 2):
        for dv in (0, 1, 2):
            cell = (iu + du) * columns + iv + dv
            across = np.abs(u - u.min() + 1 - (iu + du) - jitter[0, cell])
            along = np.abs(v - v.min() + 1 - (iv + dv) - jitter[1, cell])
            distance = np.maximum(across, along).astype(np.float32)
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            nearest = np.where(closer, distance, nearest)
            parcel[closer] = cell[closer]
    border = np.clip(1.3 - (second - nearest) * 190.0 / resolution_m / 1.6, 0.0, 1.0)
    return parcel, border


def _parcel_mean(field: Field, parcel: npt.NDArray[np.int64], count: int) -> Field:
    total = np.bincount(parcel.ravel(), field.ravel(), count)
    pixels = np.maximum(np.bincount(parcel.ravel(), minlength=count), 1)
    return np.asarray((total / pixels)[parcel], np.float32)


def _water(
    shape: tuple[int, int], relief: Field, resolution_m: float, rng: np.random.Generator
) -> list[tuple[str, Field]]:
    """A river, and a lake or the sea, each with a thin shore."""
    river = river_distance(shape, resolution_m=resolution_m, rng=rng)
    width_px = rng.uniform(50.0, 110.0) / resolution_m
    smooth = fractal_noise(shape, rng=rng, slope=4.6, outer_px=1500.0 / resolution_m)
    lows = smooth - np.float32(0.12) * relief
    if rng.random() < 0.4:
        y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
        angle = rng.uniform(0.0, 2 * np.pi)
        lows = 5.0 * (np.cos(angle) * x + np.sin(angle) * y) + lows
        body, level = "sea", float(np.quantile(lows, rng.uniform(0.75, 0.85)))
    else:
        body, level = "lake", float(np.quantile(lows, rng.uniform(0.95, 0.98)))
    shore = _soft(lows - np.float32(level) + 0.04, 0.04)
    return [
        ("shore", 0.3 * np.clip(2.5 + width_px / 2 - river, 0.0, 1.0)),
        ("river", np.clip(0.5 + width_px / 2 - river, 0.0, 1.0)),
        ("shore", 0.6 * shore if body == "sea" else 0.25 * shore),
        (body, _soft(lows - np.float32(level), 0.04)),
    ]


def _settlements(shape: tuple[int, int], resolution_m: float, rng: np.random.Generator) -> list[tuple[str, Field]]:
    """Villages and a town as discs with ragged edges, streets inside them, and straight roads between them."""
    y, x = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    ragged = fractal_noise(shape, rng=rng, slope=2.6, outer_px=500.0 / resolution_m)
    area_km2 = shape[0] * shape[1] * resolution_m**2 / 1e6
    count = int(np.clip(area_km2 / 4.0, 2, 60))
    centres = rng.uniform(0.04, 0.96, (count, 2)) * shape
    radii = rng.uniform(90.0, 260.0, count) / resolution_m
    radii[0] = rng.uniform(400.0, 650.0) / resolution_m
    built = np.zeros(shape, np.float32)
    for (cy, cx), radius in zip(centres, radii, strict=True):
        distance = np.hypot((y - cy) * rng.uniform(0.8, 1.25), x - cx) / radius
        built = np.maximum(built, _soft(1.0 - distance + 0.35 * ragged, 0.15))
    roads = np.zeros(shape, np.float32)
    for start, end in pairwise(centres):
        roads = np.maximum(roads, _road(y, x, start, end))
    streets = _streets(y, x, rng.uniform(0.0, np.pi), resolution_m)
    roofs = _blocks(shape, rng)
    return [
        ("asphalt", 0.8 * roads),
        ("pasture", built),
        ("asphalt", built * np.maximum(0.25, 0.85 * streets)),
        ("roofs", built * (roofs > 0.4) * (1.0 - streets) * 0.6),
        ("bright roofs", built * (roofs > 0.97) * (1.0 - streets) * 0.7),
    ]


def _road(y: npt.NDArray[np.int64], x: npt.NDArray[np.int64], start: Field, end: Field) -> Field:
    step = end - start
    length = max(float(np.hypot(*step)), 1.0)
    across = np.abs((y - start[0]) * step[1] - (x - start[1]) * step[0]) / length
    along = ((y - start[0]) * step[0] + (x - start[1]) * step[1]) / length
    return np.asarray(np.clip(1.0 - across, 0.0, 1.0) * ((along >= 0) & (along <= length)), np.float32)


def _streets(y: npt.NDArray[np.int64], x: npt.NDArray[np.int64], angle: float, resolution_m: float) -> Field:
    spacing = max(90.0 / resolution_m, 4.0)
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    nearest = np.minimum(np.abs(u % spacing - spacing / 2), np.abs(v % (1.6 * spacing) - 0.8 * spacing))
    return np.asarray(np.clip(1.0 - nearest, 0.0, 1.0), np.float32)


def _blocks(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    """Noise in blocks of 2 x 2 px: houses."""
    coarse = rng.random((shape[0] // 2 + 1, shape[1] // 2 + 1), np.float32)
    return np.repeat(np.repeat(coarse, 2, 0), 2, 1)[: shape[0], : shape[1]]


def _soft(field: Field, width: float) -> Field:
    """0 below, 1 above, and a slope of that width around 0."""
    return np.asarray(np.clip(0.5 + field / np.float32(width), 0.0, 1.0), np.float32)


def _hillshade(relief: Field, zenith_deg: float, azimuth_deg: float) -> Field:
    zenith, azimuth = np.radians(zenith_deg), np.radians(azimuth_deg)
    slope_y, slope_x = np.gradient(relief)
    towards = -np.sin(azimuth) * slope_x + np.cos(azimuth) * slope_y
    return np.asarray(np.clip(1.0 + 2.5 * np.tan(zenith) * towards, 0.6, 1.4), np.float32)
