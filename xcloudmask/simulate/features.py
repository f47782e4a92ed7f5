"""Parts that many landscapes share: fields, villages, rivers, roads, boats, ice floes (numpy only)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xcloudmask.simulate.canvas import Canvas
from xcloudmask.simulate.patterns import Field, grid, parcels, river_distance, soft

__all__ = [
    "DRY",
    "GREEN",
    "ROCKS",
    "SOILS",
    "WATERS",
    "boats",
    "draw_fields",
    "draw_parcels",
    "extras",
    "floes",
    "pivots",
    "ridged",
    "river",
    "roads",
    "villages",
    "wadis",
]

SOILS = ("dark soil", "loam", "red soil", "light soil", "wet soil")
GREEN = ("crop", "grass", "crop", "broadleaf")
DRY = ("dry grass", "stubble")
ROCKS = ("granite", "basalt", "limestone", "red sandstone")
WATERS = ("clear water", "green water", "turbid water", "peat water", "shallow water")


def draw_parcels(canvas: Canvas, length_m: float, width_m: float, *, bend: Field | None = None) -> npt.NDArray[np.intp]:
    """Number fields of that size; borders bend along with a field."""
    bent = None if bend is None else bend * np.float32(canvas.px(canvas.rng.uniform(0.0, 150.0)))
    return parcels(canvas.shape, length_px=canvas.px(length_m), width_px=canvas.px(width_m), rng=canvas.rng, bend=bent)


def draw_fields(canvas: Canvas, bend: Field, *, cover: Field | None = None) -> None:
    """Draw farmland, everywhere or over a share of each pixel."""
    size = canvas.rng.uniform(0.5, 2.5)
    number = draw_parcels(canvas, 420.0 * size, 160.0 * size, bend=bend)
    season = canvas.rng.random()
    names = (*GREEN, *SOILS, *DRY) if season < 0.5 else (*GREEN, "loam") if season < 0.75 else (*DRY, *SOILS)
    colours = canvas.colours(names, 509)
    canvas.paint(number, colours, cover=cover)
    if cover is None and canvas.chance(0.7):  # hedges, ditches and tracks
        border = (number != np.roll(number, 1, 0)) | (number != np.roll(number, 1, 1))
        strength = canvas.rng.uniform(0.2, 0.8) * min(1.0, 8.0 / canvas.resolution_m)
        canvas.lay(
            border.astype(np.float32) * np.float32(strength),
            canvas.pick("broadleaf", "grass", "light soil", "wet soil"),
        )


def villages(canvas: Canvas, field: Field) -> None:
    """Lay houses and gardens where a field is highest."""
    where = canvas.share(field, canvas.rng.uniform(0.01, 0.08), width=0.2)
    houses = parcels(canvas.shape, length_px=canvas.px(22.0), width_px=canvas.px(14.0), rng=canvas.rng)
    names = ("tiles", "grey roof", "grass", "asphalt", "bright roof", "broadleaf")
    canvas.paint(houses, canvas.colours(names, 509, evenness=2.0), cover=np.float32(0.8) * where)


def extras(canvas: Canvas, smooth: Field, rough: Field) -> None:
    """What any green land may have: a river, lakes, burnt ground, roads, a dusting of snow."""
    if canvas.chance(0.25):
        river(canvas)
    if canvas.chance(0.2):
        lows = canvas.again(smooth) + np.float32(0.05) * rough
        canvas.lay(canvas.share(lows, canvas.rng.beta(1.0, 8.0), width=0.06), canvas.pick(*WATERS))
    if canvas.chance(0.1):
        scar = canvas.again(smooth) + np.float32(0.2) * canvas.again(rough)
        canvas.lay(canvas.share(scar, canvas.rng.uniform(0.03, 0.4), width=0.15), canvas.colour("burnt"))
    if canvas.chance(0.35):
        roads(canvas)
    if canvas.chance(0.03):
        # Ragged, and seldom: a soft white patch on green is a cloud to any eye.
        fallen = canvas.share(rough, canvas.rng.uniform(0.5, 1.0), width=0.2)
        canvas.lay(np.float32(canvas.rng.uniform(0.3, 0.9)) * fallen, canvas.pick("fine snow", "coarse snow"))


def river(canvas: Canvas) -> None:
    """Lay a river with its banks from one side to the other."""
    distance = river_distance(canvas.shape, resolution_m=canvas.resolution_m / canvas.scale, rng=canvas.rng)
    half = np.float32(canvas.px(np.exp(canvas.rng.uniform(np.log(15.0), np.log(400.0)))) / 2)
    shore = half + np.float32(canvas.px(25.0))
    canvas.lay(
        np.float32(canvas.rng.uniform(0.0, 0.7)) * soft(shore - distance, 2.0),
        canvas.pick("light soil", "broadleaf", "sand", "wet soil"),
    )
    canvas.lay(soft(half - distance, 1.0), canvas.pick(*WATERS))


def roads(canvas: Canvas) -> None:
    """Lay one to three roads."""
    colour = canvas.pick("asphalt", "concrete", "light soil")
    width_px = max(12.0 / canvas.resolution_m, 0.25)
    for _ in range(int(canvas.rng.integers(1, 4))):
        along, across = grid(canvas.shape, angle=float(canvas.rng.uniform(0.0, np.pi)))
        wave = canvas.rng.uniform(0.0, 12.0) * np.sin(along[0] * np.float32(canvas.rng.uniform(0.005, 0.04)))
        middle = np.float32(canvas.rng.uniform(0.1, 0.9) * float(across.max()))
        cover = np.clip(0.5 + max(width_px, 1.0) / 2 - np.abs(across - middle + wave.astype(np.float32)), 0.0, 1.0)
        canvas.lay(np.asarray(cover, np.float32) * np.float32(min(width_px, 1.0)), colour)


def pivots(canvas: Canvas) -> None:
    """Fields watered in circles by an arm that turns about its end."""
    spacing = np.float32(max(canvas.px(850.0), 8.0))
    along, across = grid(canvas.shape, angle=float(canvas.rng.uniform(0.0, np.pi)))
    column, row = np.floor(along / spacing), np.floor(across / spacing)
    radius = np.hypot(along - (column + np.float32(0.5)) * spacing, across - (row + np.float32(0.5)) * spacing)
    number = np.asarray((column * 31 + row * 7).astype(np.int64) % 509, np.intp)
    used = (canvas.rng.random(509) < canvas.rng.uniform(0.1, 0.9)).astype(np.float32)
    circle = soft(np.float32(0.46) * spacing - radius, 1.5) * used[number]
    canvas.paint(number, canvas.colours((*GREEN, *DRY, "loam"), 509), cover=circle)


def wadis(canvas: Canvas, field: Field) -> None:
    """Dry river beds: where a smooth field passes zero."""
    bed = soft(np.float32(canvas.rng.uniform(0.01, 0.05)) - np.abs(field), 0.04)
    canvas.lay(
        np.float32(canvas.rng.uniform(0.3, 0.9)) * bed, canvas.pick("sand", "light soil", "white sand", "dry grass")
    )


def boats(canvas: Canvas, depth: Field) -> None:
    """Some bright points with their wakes."""
    cover = np.zeros(canvas.shape, np.float32)
    for _ in range(int(canvas.rng.integers(1, 12))):
        y, x = (int(canvas.rng.integers(size)) for size in canvas.shape)
        length = int(np.clip(canvas.px(canvas.rng.uniform(5.0, 60.0)), 1, 20))
        cut = (slice(y, y + max(1, length // 3)), slice(x, x + length))
        cover[cut if canvas.chance(0.5) else cut[::-1]] = canvas.rng.uniform(0.3, 1.0)
    canvas.lay(cover * (depth > 0), canvas.pick("bright roof", "foam", "concrete"))


def floes(canvas: Canvas, smooth: Field) -> None:
    """Sea ice: plates with leads of open water between them."""
    number = parcels(
        canvas.shape,
        length_px=canvas.px(900.0),
        width_px=canvas.px(600.0),
        rng=canvas.rng,
        bend=smooth * np.float32(canvas.px(400.0)),
    )
    ice = np.clip(canvas.rng.normal(0.7, 0.4, 509), 0.0, 1.0).astype(np.float32)
    rubble = soft(canvas.noise(300.0, slope=2.8) + np.float32(canvas.rng.uniform(-0.5, 1.5)), 0.2)
    edge = canvas.share(canvas.again(smooth), canvas.rng.uniform(0.2, 1.0), width=0.1)
    canvas.paint(
        number, canvas.colours(("fine snow", "coarse snow", "glacier ice"), 509), cover=ice[number] * rubble * edge
    )


def ridged(field: Field, canvas: Canvas) -> Field:
    """Smooth hills, or ridges and valleys."""
    return np.asarray(-np.abs(field) if canvas.chance(0.5) else field, np.float32)
