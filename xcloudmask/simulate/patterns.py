"""Shapes that people and rivers draw, the light on slopes, and the blur of the optics (numpy only)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Field", "blur", "cast_shadow", "grid", "hillshade", "parcels", "river_distance", "soft", "streets"]

Field = npt.NDArray[np.float32]
_STEPS = 16
"""Parts of a parcel at which it may end."""


def grid(shape: tuple[int, int], *, angle: float = 0.0) -> tuple[Field, Field]:
    """Return the coordinates (along, across) in px of every pixel in a turned frame, both from 0.

    Parameters
    ----------
    shape
        (y, x) in px.
    angle
        Direction of the first axis, in radians from the x axis towards y.

    Returns
    -------
    along, across
        (y, x) float32.

    Examples
    --------
    >>> along, across = grid((2, 3))
    >>> along.tolist()
    [[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]
    """
    y = np.arange(shape[0], dtype=np.float32)[:, None]
    x = np.arange(shape[1], dtype=np.float32)[None, :]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along, across = cos * x + sin * y, cos * y - sin * x
    return along - along.min(), across - across.min()


def soft(field: Field, width: float) -> Field:
    """Return 0 below 0, 1 above, and a slope of that width between them.

    Parameters
    ----------
    field
        (y, x) float32.
    width
        In the units of the field.

    Returns
    -------
    numpy.ndarray
        (y, x) float32.

    Examples
    --------
    >>> soft(np.array([[-1.0, 0.0, 1.0]], np.float32), 0.1).tolist()
    [[0.0, 0.5, 1.0]]
    """
    return np.asarray(np.clip(field * np.float32(1.0 / width) + np.float32(0.5), 0.0, 1.0), np.float32)


def parcels(
    shape: tuple[int, int],
    *,
    length_px: float,
    width_px: float,
    rng: np.random.Generator,
    bend: Field | None = None,
    count: int = 509,
) -> npt.NDArray[np.intp]:
    """Draw fields: strips side by side, each cut across at its own places.

    Parameters
    ----------
    shape
        (y, x) in px.
    length_px, width_px
        Mean size of a field.
    rng
        Source of randomness.
    bend
        (y, x) px by which borders are moved; None for straight ones.
    count
        Numbers given out; fields far from each other share one.

    Returns
    -------
    numpy.ndarray
        (y, x), a number below `count` for every pixel.

    Examples
    --------
    >>> number = parcels((64, 64), length_px=20, width_px=8, rng=np.random.default_rng(0))
    >>> number.shape, bool(number.max() < 509)
    ((64, 64), True)
    """
    along, across = grid(shape, angle=float(rng.uniform(0.0, np.pi)))
    if bend is not None:
        along, across = along + bend, across + bend
    strip = _ends(across * np.float32(1.0 / max(width_px, 1.0)), rng)
    rows = int(strip.max()) + 1
    stretch = np.exp(rng.normal(0.0, 0.4, rows)).astype(np.float32) / np.float32(max(length_px, 1.0))
    start = rng.uniform(0.0, 40.0, rows).astype(np.float32)
    piece = _ends(along * stretch[strip] + start[strip], rng)
    return np.asarray((strip * 97 + piece) % count, np.intp)


def _ends(position: Field, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Number of the piece in which a position lies; pieces are about 1 long."""
    steps = np.maximum(position * np.float32(_STEPS), 0.0).astype(np.intp)
    size = int(steps.max()) + 1
    ends = np.cumsum(np.exp(rng.normal(0.0, 0.45, size // _STEPS + 60)) * _STEPS)
    lookup = np.searchsorted(ends, np.arange(size), side="right")
    return np.asarray(lookup[steps], np.intp)


def river_distance(shape: tuple[int, int], *, resolution_m: float, rng: np.random.Generator) -> Field:
    """Return the distance in px from the middle of a river that meanders from one side of the image to the other.

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
    numpy.ndarray
        (y, x) float32.

    Examples
    --------
    >>> river_distance((32, 48), resolution_m=10.0, rng=np.random.default_rng(0)).shape
    (32, 48)
    """
    flip = rng.random() < 0.5
    length, across = (shape[1], shape[0]) if not flip else shape
    along = np.arange(length) * resolution_m
    middle = across * (rng.uniform(0.3, 0.7) + rng.uniform(-0.25, 0.25) * np.linspace(-1, 1, length))
    for wave_m, swing_m in ((5200.0, 420.0), (2100.0, 190.0), (900.0, 60.0)):
        phase = rng.uniform(0.0, 2 * np.pi)
        middle += swing_m / resolution_m * np.sin(2 * np.pi * along / (wave_m * rng.uniform(0.8, 1.2)) + phase)
    slant = np.sqrt(1.0 + np.gradient(middle) ** 2)
    offset = np.abs(np.arange(across)[:, None] - middle[None, :]) / slant[None, :]
    return np.asarray(offset.T if flip else offset, np.float32)


def streets(along: Field, across: Field, *, spacing_px: float, width_px: float = 1.0) -> Field:
    """Return the cover of a grid of streets.

    Parameters
    ----------
    along, across
        Coordinates in px, as `grid` returns them.
    spacing_px
        Distance of the streets along; 1.6 times as far across.
    width_px
        Width of a street.

    Returns
    -------
    numpy.ndarray
        (y, x) float32, 0 to 1.

    Examples
    --------
    >>> cover = streets(*grid((16, 16)), spacing_px=8.0)
    >>> float(cover.max())
    1.0
    """
    half = np.float32(spacing_px / 2)
    other = np.float32(0.8 * spacing_px)
    nearest = np.minimum(np.abs(along % (2 * half) - half), np.abs(across % (2 * other) - other))
    return np.asarray(np.clip(np.float32(0.5 + width_px / 2) - nearest, 0.0, 1.0), np.float32)


def hillshade(
    height_m: Field, *, resolution_m: float, zenith_deg: float, azimuth_deg: float, diffuse: float = 0.15
) -> Field:
    """Return the light on slopes, 1 on flat ground.

    Parameters
    ----------
    height_m
        (y, x) height of the terrain.
    resolution_m
        Size of a pixel.
    zenith_deg, azimuth_deg
        Where the sun stands; clockwise from north.
    diffuse
        Share of the light that comes from the sky and does not depend on the slope.

    Returns
    -------
    numpy.ndarray
        (y, x) float32, at least `diffuse`.

    Notes
    -----
    Cosine law of the angle between the sun and the normal of the slope: Teillet et al. (1982), Canadian Journal of
    Remote Sensing 8.

    Examples
    --------
    >>> flat = np.zeros((4, 4), np.float32)
    >>> float(hillshade(flat, resolution_m=10.0, zenith_deg=40, azimuth_deg=150).max())
    1.0
    """
    zenith, azimuth = np.radians(zenith_deg), np.radians(azimuth_deg)
    slope_y, slope_x = (_slope(height_m, axis, resolution_m) for axis in (0, 1))
    # A slope faces the sun when the ground falls towards it: x runs to the east, y to the south.
    towards = np.float32(np.cos(azimuth)) * slope_y - np.float32(np.sin(azimuth)) * slope_x
    steep = np.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y)
    direct = np.maximum(1.0 + np.float32(np.tan(zenith)) * towards, 0.0) / steep
    return np.asarray(np.float32(diffuse) + np.float32(1.0 - diffuse) * direct, np.float32)


def _slope(height_m: Field, axis: int, resolution_m: float) -> Field:
    """Central difference of a periodic field."""
    step = np.float32(0.5 / resolution_m)
    return np.asarray((np.roll(height_m, -1, axis) - np.roll(height_m, 1, axis)) * step, np.float32)


def cast_shadow(height_m: Field, *, resolution_m: float, zenith_deg: float, azimuth_deg: float) -> Field:
    """Return the share of direct sun left behind ridges: 0 in the shadow of the terrain, 1 outside.

    Parameters
    ----------
    height_m
        (y, x) height of the terrain, periodic.
    resolution_m
        Size of a pixel.
    zenith_deg, azimuth_deg
        Where the sun stands; clockwise from north.

    Returns
    -------
    numpy.ndarray
        (y, x) float32.

    Examples
    --------
    >>> wall = np.zeros((1, 16), np.float32)
    >>> wall[0, 12] = 30.0
    >>> cast_shadow(wall, resolution_m=10.0, zenith_deg=45, azimuth_deg=90)[0, 10:13].tolist()
    [0.0, 0.0, 1.0]
    """
    azimuth = np.radians(azimuth_deg)
    rise = resolution_m / max(float(np.tan(np.radians(zenith_deg))), 1e-3)
    reach = min(float(np.ptp(height_m)) / rise, 0.5 * max(height_m.shape))
    horizon = np.full_like(height_m, -np.inf)
    for distance in _distances(reach):
        shift = (round(distance * np.cos(azimuth)), round(-distance * np.sin(azimuth)))
        np.maximum(horizon, np.roll(height_m, shift, (0, 1)) - np.float32(distance * rise), out=horizon)
    return soft(height_m - horizon, 2.0 * rise)


def _distances(reach: float) -> list[float]:
    """Close by every pixel, farther off wider steps: ridges are broad."""
    distances, step = [1.0], 1.0
    while distances[-1] < reach:
        step *= 1.25
        distances.append(float(round(distances[-1] + step)))
    return distances


def blur(image: Field, *, share: float) -> Field:
    """Blur an image as optics do, about half a pixel wide; its borders are neighbours.

    Parameters
    ----------
    image
        (band, y, x).
    share
        What each of two neighbours gives to a pixel, along y and along x.

    Returns
    -------
    numpy.ndarray
        (band, y, x) float32.

    Examples
    --------
    >>> blur(np.array([[[0.0, 1.0, 0.0]]], np.float32), share=0.25).tolist()
    [[[0.25, 0.5, 0.25]]]
    """
    own, other = np.float32(1.0 - 2.0 * share), np.float32(share)
    for axis in (1, 2):
        image = own * image + other * (np.roll(image, 1, axis) + np.roll(image, -1, axis))
    return image
