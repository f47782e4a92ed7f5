"""Recipes of landscapes: which materials lie where (numpy only).

Sizes are in metres, so that a landscape looks its part at 3 m and at 60 m. Every recipe draws its shares, colours and
sizes anew, over wide ranges: a network that learns from them should not know one desert, but deserts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from xcloudmask.simulate.canvas import Canvas
from xcloudmask.simulate.patterns import Field, grid, parcels, river_distance, soft, streets

__all__ = ["BIOMES", "RECIPES", "Biome"]

Biome = Literal[
    "fields",
    "forest",
    "savanna",
    "desert",
    "salt_flat",
    "snow",
    "mountains",
    "coast",
    "ocean",
    "wetland",
    "city",
    "rock",
]
BIOMES: tuple[Biome, ...] = get_args(Biome)
"""All kinds of landscape."""

_SOILS = ("dark soil", "loam", "red soil", "light soil", "wet soil")
_GREEN = ("crop", "grass", "crop", "broadleaf")
_DRY = ("dry grass", "stubble")
_ROCKS = ("granite", "basalt", "limestone", "red sandstone")
_WATERS = ("clear water", "green water", "turbid water", "peat water", "shallow water")


def _fields(canvas: Canvas) -> None:
    smooth = canvas.noise(3000.0, slope=4.0)
    _draw_fields(canvas, smooth)
    if canvas.chance(0.4):  # another village's fields run another way
        _draw_fields(canvas, smooth, cover=canvas.share(canvas.again(smooth), canvas.rng.uniform(0.2, 0.6)))
    woods = canvas.noise(1500.0, slope=3.0)
    canvas.lay(canvas.share(woods, canvas.rng.beta(1.0, 4.0)), canvas.pick("broadleaf", "conifer"))
    if canvas.chance(0.4):
        _villages(canvas, canvas.again(woods))
    _extras(canvas, smooth, woods)
    if canvas.chance(0.5):
        canvas.terrain(smooth, slope=canvas.rng.uniform(0.01, 0.12))


def _forest(canvas: Canvas) -> None:
    smooth = canvas.noise(2500.0, slope=4.0)
    rough = canvas.noise(600.0, slope=2.4)
    names = ("conifer", "broadleaf") if canvas.chance(0.5) else ("broadleaf", "conifer")
    canvas.fill(canvas.colour(names[0]))
    canvas.lay(
        canvas.share(smooth + np.float32(0.6) * rough, canvas.rng.uniform(0.0, 0.6), width=0.8), canvas.colour(names[1])
    )
    if canvas.chance(0.5):  # clear cuts and plantations
        number = _parcels(canvas, 350.0, 220.0, bend=smooth)
        cut = canvas.rng.random(509) < canvas.rng.uniform(0.02, 0.3)
        colours = canvas.colours(("grass", "loam", "conifer", "dry grass", "broadleaf"), 509)
        canvas.paint(number, colours, cover=cut[number].astype(np.float32))
    else:
        canvas.lay(canvas.share(rough, canvas.rng.uniform(0.0, 0.15), width=0.3), canvas.pick("grass", *_SOILS))
    canvas.roughen(canvas.again(rough), canvas.rng.uniform(0.03, 0.12))
    _extras(canvas, smooth, rough)
    if canvas.chance(0.7):
        canvas.terrain(_ridged(smooth, canvas), slope=canvas.rng.uniform(0.03, 0.4))


def _savanna(canvas: Canvas) -> None:
    smooth = canvas.noise(2500.0, slope=3.8)
    rough = canvas.noise(500.0, slope=2.7)
    canvas.fill(canvas.pick("dry grass", "dry grass", "grass"))
    canvas.lay(
        canvas.share(smooth, canvas.rng.uniform(0.1, 0.7), width=1.5), canvas.pick("red soil", "light soil", "loam")
    )
    # Single crowns at 3 m; a share of each pixel at 30 m.
    trees = canvas.rng.standard_normal(canvas.shape, np.float32) + canvas.again(rough)
    width = 0.2 + 0.1 * canvas.resolution_m
    canvas.lay(canvas.share(trees, canvas.rng.beta(1.2, 6.0), width=width), canvas.pick("broadleaf", "conifer"))
    canvas.lay(canvas.share(rough, canvas.rng.beta(1.0, 8.0), width=0.4), canvas.pick("broadleaf", "grass"))
    if canvas.chance(0.3):
        canvas.lay(
            canvas.share(canvas.again(smooth) + np.float32(0.2) * rough, canvas.rng.uniform(0.05, 0.4)),
            canvas.colour("burnt"),
        )
    _extras(canvas, smooth, rough)
    if canvas.chance(0.5):
        canvas.terrain(smooth, slope=canvas.rng.uniform(0.01, 0.1))


def _desert(canvas: Canvas) -> None:
    smooth = canvas.noise(4000.0, slope=4.0)
    angle = float(canvas.rng.uniform(0.0, np.pi))
    canvas.fill(canvas.pick("sand", "sand", "light soil", "white sand", "red soil"))
    canvas.lay(
        canvas.share(smooth, canvas.rng.uniform(0.1, 0.6), width=1.5),
        canvas.pick("sand", "light soil", "red soil", "loam"),
    )
    dunes = canvas.noise(
        canvas.rng.uniform(150.0, 1200.0), slope=3.2, stretch=canvas.rng.uniform(1.0, 12.0), angle=angle
    )
    if canvas.chance(0.6):
        crests = np.asarray(-np.abs(dunes), np.float32)
        canvas.terrain(crests, slope=canvas.rng.uniform(0.05, 0.35))
    else:
        canvas.roughen(dunes, canvas.rng.uniform(0.02, 0.1))
    if canvas.chance(0.5):
        rocks = canvas.again(smooth) + np.float32(0.35) * canvas.noise(800.0, slope=2.8)
        canvas.lay(canvas.share(rocks, canvas.rng.beta(1.0, 3.0), width=0.3), canvas.pick(*_ROCKS))
    if canvas.chance(0.3):
        _wadis(canvas, dunes)
    if canvas.chance(0.2):
        canvas.lay(
            canvas.share(-smooth, canvas.rng.uniform(0.02, 0.15), width=0.2),
            canvas.pick("salt", "brine mud", "white sand"),
        )
    if canvas.chance(0.2):
        _pivots(canvas)
    if canvas.chance(0.2):
        _roads(canvas)


def _salt_flat(canvas: Canvas) -> None:
    smooth = canvas.noise(5000.0, slope=4.2)
    rough = canvas.noise(700.0, slope=2.8)
    canvas.fill(canvas.colour("salt", gain=canvas.rng.uniform(0.7, 1.35)))
    canvas.lay(
        canvas.share(rough, canvas.rng.uniform(0.0, 0.5), width=2.0), canvas.pick("brine mud", "white sand", "salt")
    )
    # Polygons of the crust.
    cracks = soft(0.03 - np.abs(canvas.noise(250.0, slope=3.0)), 0.06)
    canvas.lay(np.float32(canvas.rng.uniform(0.0, 0.4)) * cracks, canvas.colour("brine mud"))
    edge = smooth + np.float32(0.15) * rough
    canvas.lay(
        canvas.share(edge, canvas.rng.beta(1.0, 2.0), width=0.4), canvas.pick("brine mud", "light soil", "loam", "sand")
    )
    if canvas.chance(0.5):
        canvas.lay(canvas.share(-edge, canvas.rng.beta(1.0, 4.0), width=0.3), canvas.pick(*_WATERS))
    if canvas.chance(0.25):  # evaporation ponds
        number = _parcels(canvas, 500.0, 350.0)
        pond = canvas.rng.random(509) < 0.8
        where = canvas.share(canvas.again(smooth), canvas.rng.uniform(0.1, 0.5)) * pond[number]
        canvas.paint(number, canvas.colours(("shallow water", "green water", "salt", "turbid water"), 509), cover=where)


def _snow(canvas: Canvas) -> None:
    smooth = canvas.noise(3000.0, slope=4.1)
    rough = canvas.noise(600.0, slope=2.8)
    drift = canvas.noise(300.0, slope=2.8, stretch=canvas.rng.uniform(1.0, 10.0))
    kind = canvas.rng.random()
    canvas.fill(canvas.pick("fine snow", "fine snow", "coarse snow"))
    canvas.lay(canvas.share(smooth, canvas.rng.uniform(0.1, 0.7), width=1.5), canvas.pick("coarse snow", "fine snow"))
    canvas.roughen(drift, canvas.rng.uniform(0.005, 0.04))
    if kind < 0.35:  # snow over fields: stubble and borders show through
        number = _parcels(canvas, 300.0, 180.0, bend=smooth)
        bare = np.clip(canvas.rng.normal(0.05, 0.25, 509), 0.0, 0.9).astype(np.float32)
        canvas.paint(number, canvas.colours(("stubble", "loam", "dry grass", "fine snow"), 509), cover=bare[number])
    elif kind < 0.5:  # an ice cap
        canvas.lay(canvas.share(smooth, canvas.rng.uniform(0.1, 0.6), width=0.6), canvas.colour("glacier ice"))
        crevasses = soft(0.05 - np.abs(canvas.again(drift)), 0.08)
        canvas.lay(np.float32(0.4) * crevasses, canvas.colour("glacier ice", gain=0.7))
    if kind > 0.2:
        # Crowns stand out of the snow; the ground between them is bright.
        woods = canvas.share(smooth + np.float32(0.4) * rough, canvas.rng.beta(1.0, 2.5), width=0.2)
        canvas.lay(np.float32(canvas.rng.uniform(0.5, 0.95)) * woods, canvas.pick("conifer", "conifer", "broadleaf"))
    if canvas.chance(0.3):
        canvas.lay(
            canvas.share(canvas.again(smooth), canvas.rng.uniform(0.05, 0.3), width=0.05),
            canvas.pick("glacier ice", "fine snow", "clear water"),
        )
    if canvas.chance(0.4):  # half melted
        bare = canvas.share(rough + np.float32(0.5) * canvas.again(smooth), canvas.rng.beta(1.0, 3.0), width=0.3)
        canvas.lay(bare, canvas.pick("wet soil", "dry grass", "granite", "grass"))
    if canvas.chance(0.3):
        _roads(canvas)
    if canvas.chance(0.6):
        canvas.terrain(_ridged(smooth, canvas) + np.float32(0.01) * drift, slope=canvas.rng.uniform(0.02, 0.35))


def _mountains(canvas: Canvas) -> None:
    broad = canvas.noise(4000.0, slope=canvas.rng.uniform(3.6, 4.3))
    height = np.asarray(-np.abs(broad) + np.float32(0.12) * canvas.again(broad), np.float32)
    rough = canvas.noise(500.0, slope=2.8)
    level = height + np.float32(0.06) * rough
    canvas.fill(canvas.pick(*_ROCKS))
    canvas.lay(canvas.share(canvas.again(broad), canvas.rng.uniform(0.2, 0.6), width=0.8), canvas.pick(*_ROCKS))
    canvas.lay(
        canvas.share(-level, canvas.rng.uniform(0.1, 0.9), width=0.25), canvas.pick("grass", "dry grass", "grass")
    )
    canvas.lay(
        canvas.share(-level - np.float32(0.1) * canvas.again(rough), canvas.rng.beta(1.5, 2.0), width=0.15),
        canvas.pick("conifer", "broadleaf"),
    )
    if canvas.chance(0.65):
        snow = canvas.share(level, canvas.rng.beta(1.2, 2.0), width=canvas.rng.uniform(0.05, 0.25))
        canvas.lay(snow, canvas.pick("fine snow", "coarse snow"))
    if canvas.chance(0.25):
        canvas.lay(
            canvas.share(-height, canvas.rng.uniform(0.02, 0.1), width=0.02), canvas.pick("glacier ice", *_WATERS)
        )
    canvas.roughen(rough, canvas.rng.uniform(0.03, 0.1))
    canvas.terrain(height, slope=canvas.rng.uniform(0.25, 0.8))


def _coast(canvas: Canvas) -> None:
    smooth = canvas.noise(3000.0, slope=canvas.rng.uniform(3.4, 4.4))
    rough = canvas.noise(700.0, slope=3.0)
    land = canvas.rng.random()
    if land < 0.4:
        _draw_fields(canvas, smooth)
    else:
        canvas.fill(canvas.pick("grass", "dry grass", "broadleaf", "sand", "light soil", "conifer"))
        canvas.lay(
            canvas.share(rough, canvas.rng.uniform(0.1, 0.6), width=0.6), canvas.pick(*_GREEN, *_DRY, *_ROCKS, *_SOILS)
        )
    if canvas.chance(0.3):
        _villages(canvas, canvas.again(rough))
    along, _ = grid(canvas.shape, angle=float(canvas.rng.uniform(0.0, 2 * np.pi)))
    tilt = np.float32(canvas.rng.uniform(0.0, 6.0) / max(canvas.shape))
    depth = tilt * (along - along.mean()) + smooth + np.float32(0.05) * rough
    depth = np.asarray(depth - np.float32(np.quantile(depth[::3, ::3], canvas.rng.uniform(0.15, 0.8))), np.float32)
    # A pixel's worth of depth: beach and surf are bands of some metres.
    step = float(np.abs(np.diff(depth[::4], axis=1)).mean()) * 1.3 + 1e-4
    beach = canvas.px(canvas.rng.uniform(10.0, 80.0)) * step
    if canvas.chance(0.7):
        canvas.lay(
            soft(depth + np.float32(beach), step), canvas.pick("sand", "white sand", "basalt", "wet soil", "light soil")
        )
    canvas.lay(soft(depth, step), canvas.pick("turbid water", "shallow water", "green water"))
    deep = canvas.px(canvas.rng.uniform(100.0, 2500.0)) * step
    canvas.lay(soft(depth - np.float32(deep / 2), deep), canvas.colour("clear water"))
    if canvas.chance(0.5):
        surf = soft(depth, step) * soft(np.float32(canvas.px(40.0) * step) - depth, step) * soft(rough, 1.0)
        canvas.lay(np.float32(canvas.rng.uniform(0.3, 1.0)) * surf, canvas.colour("foam"))
    if canvas.chance(0.4):
        _boats(canvas, depth)
    if canvas.chance(0.3):
        canvas.terrain(np.maximum(-smooth, 0.0), slope=canvas.rng.uniform(0.05, 0.3))


def _ocean(canvas: Canvas) -> None:
    smooth = canvas.noise(8000.0, slope=4.0)
    canvas.fill(canvas.pick("clear water", "clear water", *_WATERS))
    streaks = canvas.noise(5000.0, slope=3.0, stretch=canvas.rng.uniform(1.0, 8.0))
    canvas.lay(canvas.share(smooth, canvas.rng.uniform(0.0, 0.8), width=2.5), canvas.pick(*_WATERS))
    if canvas.chance(0.3):  # plankton or silt in eddies
        canvas.lay(
            np.float32(0.6) * soft(0.2 - np.abs(streaks), 0.4),
            canvas.pick("green water", "turbid water", "shallow water"),
        )
    if canvas.chance(0.3):
        foam = canvas.rng.standard_normal(canvas.shape, np.float32) + np.float32(0.7) * streaks
        canvas.lay(canvas.share(foam, canvas.rng.uniform(0.0, 0.02), width=0.4), canvas.colour("foam", gain=0.8))
    if canvas.chance(0.2):
        _floes(canvas, smooth)
    elif canvas.chance(0.4):
        _boats(canvas, np.ones_like(smooth))
    elif canvas.chance(0.2):
        island = smooth + np.float32(0.2) * canvas.noise(500.0, slope=3.0)
        canvas.lay(canvas.share(island, 0.07, width=0.3), canvas.pick("shallow water", "turbid water"))
        canvas.lay(canvas.share(island, 0.05, width=0.1), canvas.pick("sand", "white sand", "basalt"))
        canvas.lay(canvas.share(island, 0.04, width=0.1), canvas.pick("broadleaf", "grass", "granite"))


def _wetland(canvas: Canvas) -> None:
    smooth = canvas.noise(2000.0, slope=4.0)
    rough = canvas.noise(600.0, slope=3.0)
    canvas.fill(canvas.pick("grass", "broadleaf", "dry grass", "conifer"))
    canvas.lay(
        canvas.share(rough, canvas.rng.uniform(0.2, 0.7), width=1.0),
        canvas.pick("wet soil", "grass", "dry grass", "dark soil"),
    )
    water = canvas.pick("peat water", "green water", "turbid water", "clear water")
    pools = smooth + np.float32(0.3) * rough
    canvas.lay(canvas.share(pools, canvas.rng.beta(1.5, 3.0), width=0.2), water)
    # Channels that wind between the pools, the wider the lower.
    creek = canvas.again(smooth)
    canvas.lay(soft(np.float32(canvas.rng.uniform(0.01, 0.06)) - np.abs(creek), 0.04), water)
    if canvas.chance(0.5):
        canvas.lay(
            canvas.share(-pools, canvas.rng.beta(1.0, 3.0), width=0.3), canvas.pick("conifer", "broadleaf", "crop")
        )
    _extras(canvas, smooth, rough)


def _city(canvas: Canvas) -> None:
    smooth = canvas.noise(2500.0, slope=4.2)
    angle = float(canvas.rng.uniform(0.0, np.pi))
    canvas.fill(canvas.pick("grass", "loam", "dry grass", "asphalt", "concrete"))
    houses = parcels(canvas.shape, length_px=canvas.px(28.0), width_px=canvas.px(16.0), rng=canvas.rng)
    dense = canvas.share(smooth, canvas.rng.uniform(0.5, 1.0), width=0.3)
    roofs = ("tiles", "grey roof", "concrete", "asphalt", "grass", "broadleaf", "light soil")
    canvas.paint(houses, canvas.colours(roofs, 509, evenness=1.5), cover=np.float32(0.85) * dense)
    along, across = grid(canvas.shape, angle=angle)
    for spacing_m, width_m in ((90.0, 9.0), (600.0, 22.0)):
        width_px = max(width_m * canvas.scale / canvas.resolution_m, 0.3)
        cover = streets(along, across, spacing_px=max(canvas.px(spacing_m), 6.0), width_px=width_px)
        canvas.lay(cover * dense * np.float32(min(1.0, width_px)), canvas.pick("asphalt", "asphalt", "concrete"))
    big = _parcels(canvas, 140.0, 80.0)
    halls = (canvas.rng.random(509) < canvas.rng.uniform(0.05, 0.5)).astype(np.float32)
    works = canvas.share(canvas.again(smooth), canvas.rng.uniform(0.02, 0.25))
    canvas.paint(
        big, canvas.colours(("bright roof", "concrete", "grey roof", "asphalt"), 509), cover=works * halls[big]
    )
    canvas.lay(
        canvas.share(canvas.again(smooth), canvas.rng.beta(1.0, 6.0), width=0.1), canvas.pick("broadleaf", "grass")
    )
    _extras(canvas, smooth, canvas.again(smooth))


def _rock(canvas: Canvas) -> None:
    smooth = canvas.noise(3000.0, slope=canvas.rng.uniform(3.6, 4.2))
    rough = canvas.noise(700.0, slope=3.0)
    # Beds of rock, cut by the surface: bands that follow the folds.
    beds = smooth * np.float32(canvas.rng.uniform(3.0, 16.0)) + rough
    number = np.asarray(np.floor(beds).astype(np.int64) % 61, np.intp)
    canvas.paint(number, canvas.colours((*_ROCKS, "red soil", "light soil"), 61))
    canvas.lay(
        canvas.share(canvas.again(smooth) + np.float32(0.2) * rough, canvas.rng.beta(1.0, 2.0), width=0.3),
        canvas.pick(*_ROCKS, "basalt", "sand"),
    )
    canvas.lay(
        canvas.share(canvas.again(rough), canvas.rng.beta(1.0, 5.0), width=0.8),
        canvas.pick("dry grass", "grass", "conifer"),
    )
    if canvas.chance(0.5):
        _wadis(canvas, canvas.again(smooth))
    canvas.roughen(canvas.again(rough), canvas.rng.uniform(0.03, 0.12))
    canvas.terrain(_ridged(smooth, canvas) + np.float32(0.05) * rough, slope=canvas.rng.uniform(0.05, 0.5))


RECIPES: Mapping[Biome, Callable[[Canvas], None]] = MappingProxyType(
    {
        "fields": _fields,
        "forest": _forest,
        "savanna": _savanna,
        "desert": _desert,
        "salt_flat": _salt_flat,
        "snow": _snow,
        "mountains": _mountains,
        "coast": _coast,
        "ocean": _ocean,
        "wetland": _wetland,
        "city": _city,
        "rock": _rock,
    }
)
"""Biome -> function that draws it."""


def _parcels(canvas: Canvas, length_m: float, width_m: float, *, bend: Field | None = None) -> npt.NDArray[np.intp]:
    bent = None if bend is None else bend * np.float32(canvas.px(canvas.rng.uniform(0.0, 150.0)))
    return parcels(canvas.shape, length_px=canvas.px(length_m), width_px=canvas.px(width_m), rng=canvas.rng, bend=bent)


def _draw_fields(canvas: Canvas, bend: Field, *, cover: Field | None = None) -> None:
    size = canvas.rng.uniform(0.5, 2.5)
    number = _parcels(canvas, 420.0 * size, 160.0 * size, bend=bend)
    season = canvas.rng.random()
    names = (*_GREEN, *_SOILS, *_DRY) if season < 0.5 else (*_GREEN, "loam") if season < 0.75 else (*_DRY, *_SOILS)
    colours = canvas.colours(names, 509)
    canvas.paint(number, colours, cover=cover)
    if cover is None and canvas.chance(0.7):  # hedges, ditches and tracks
        border = (number != np.roll(number, 1, 0)) | (number != np.roll(number, 1, 1))
        strength = canvas.rng.uniform(0.2, 0.8) * min(1.0, 8.0 / canvas.resolution_m)
        canvas.lay(
            border.astype(np.float32) * np.float32(strength),
            canvas.pick("broadleaf", "grass", "light soil", "wet soil"),
        )


def _villages(canvas: Canvas, field: Field) -> None:
    where = canvas.share(field, canvas.rng.uniform(0.01, 0.08), width=0.2)
    houses = parcels(canvas.shape, length_px=canvas.px(22.0), width_px=canvas.px(14.0), rng=canvas.rng)
    names = ("tiles", "grey roof", "grass", "asphalt", "bright roof", "broadleaf")
    canvas.paint(houses, canvas.colours(names, 509, evenness=2.0), cover=np.float32(0.8) * where)


def _extras(canvas: Canvas, smooth: Field, rough: Field) -> None:
    """What any green land may have: a river, lakes, burnt ground, roads, a dusting of snow."""
    if canvas.chance(0.25):
        _river(canvas)
    if canvas.chance(0.2):
        lows = canvas.again(smooth) + np.float32(0.05) * rough
        canvas.lay(canvas.share(lows, canvas.rng.beta(1.0, 8.0), width=0.06), canvas.pick(*_WATERS))
    if canvas.chance(0.1):
        scar = canvas.again(smooth) + np.float32(0.2) * canvas.again(rough)
        canvas.lay(canvas.share(scar, canvas.rng.uniform(0.03, 0.4), width=0.15), canvas.colour("burnt"))
    if canvas.chance(0.35):
        _roads(canvas)
    if canvas.chance(0.03):
        # Ragged, and seldom: a soft white patch on green is a cloud to any eye.
        fallen = canvas.share(rough, canvas.rng.uniform(0.5, 1.0), width=0.2)
        canvas.lay(np.float32(canvas.rng.uniform(0.3, 0.9)) * fallen, canvas.pick("fine snow", "coarse snow"))


def _river(canvas: Canvas) -> None:
    distance = river_distance(canvas.shape, resolution_m=canvas.resolution_m / canvas.scale, rng=canvas.rng)
    half = np.float32(canvas.px(np.exp(canvas.rng.uniform(np.log(15.0), np.log(400.0)))) / 2)
    shore = half + np.float32(canvas.px(25.0))
    canvas.lay(
        np.float32(canvas.rng.uniform(0.0, 0.7)) * soft(shore - distance, 2.0),
        canvas.pick("light soil", "broadleaf", "sand", "wet soil"),
    )
    canvas.lay(soft(half - distance, 1.0), canvas.pick(*_WATERS))


def _roads(canvas: Canvas) -> None:
    colour = canvas.pick("asphalt", "concrete", "light soil")
    width_px = max(12.0 / canvas.resolution_m, 0.25)
    for _ in range(int(canvas.rng.integers(1, 4))):
        along, across = grid(canvas.shape, angle=float(canvas.rng.uniform(0.0, np.pi)))
        wave = canvas.rng.uniform(0.0, 12.0) * np.sin(along[0] * np.float32(canvas.rng.uniform(0.005, 0.04)))
        middle = np.float32(canvas.rng.uniform(0.1, 0.9) * float(across.max()))
        cover = np.clip(0.5 + max(width_px, 1.0) / 2 - np.abs(across - middle + wave.astype(np.float32)), 0.0, 1.0)
        canvas.lay(np.asarray(cover, np.float32) * np.float32(min(width_px, 1.0)), colour)


def _pivots(canvas: Canvas) -> None:
    """Fields watered in circles by an arm that turns about its end."""
    spacing = np.float32(max(canvas.px(850.0), 8.0))
    along, across = grid(canvas.shape, angle=float(canvas.rng.uniform(0.0, np.pi)))
    column, row = np.floor(along / spacing), np.floor(across / spacing)
    radius = np.hypot(along - (column + np.float32(0.5)) * spacing, across - (row + np.float32(0.5)) * spacing)
    number = np.asarray((column * 31 + row * 7).astype(np.int64) % 509, np.intp)
    used = (canvas.rng.random(509) < canvas.rng.uniform(0.1, 0.9)).astype(np.float32)
    circle = soft(np.float32(0.46) * spacing - radius, 1.5) * used[number]
    canvas.paint(number, canvas.colours((*_GREEN, *_DRY, "loam"), 509), cover=circle)


def _wadis(canvas: Canvas, field: Field) -> None:
    """Dry river beds: where a smooth field passes zero."""
    bed = soft(np.float32(canvas.rng.uniform(0.01, 0.05)) - np.abs(field), 0.04)
    canvas.lay(
        np.float32(canvas.rng.uniform(0.3, 0.9)) * bed, canvas.pick("sand", "light soil", "white sand", "dry grass")
    )


def _boats(canvas: Canvas, depth: Field) -> None:
    """Some bright points with their wakes."""
    cover = np.zeros(canvas.shape, np.float32)
    for _ in range(int(canvas.rng.integers(1, 12))):
        y, x = (int(canvas.rng.integers(size)) for size in canvas.shape)
        length = int(np.clip(canvas.px(canvas.rng.uniform(5.0, 60.0)), 1, 20))
        cut = (slice(y, y + max(1, length // 3)), slice(x, x + length))
        cover[cut if canvas.chance(0.5) else cut[::-1]] = canvas.rng.uniform(0.3, 1.0)
    canvas.lay(cover * (depth > 0), canvas.pick("bright roof", "foam", "concrete"))


def _floes(canvas: Canvas, smooth: Field) -> None:
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


def _ridged(field: Field, canvas: Canvas) -> Field:
    """Smooth hills, or ridges and valleys."""
    return np.asarray(-np.abs(field) if canvas.chance(0.5) else field, np.float32)
