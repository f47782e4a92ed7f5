"""Recipes of landscapes: which materials lie where (numpy only).

Sizes are in metres, so that a landscape looks its part at 3 m and at 60 m. Every recipe draws its shares, colours and
sizes anew, over wide ranges: a network that learns from them should not know one desert, but deserts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np

from xcloudmask.simulate.canvas import Canvas
from xcloudmask.simulate.features import (
    DRY,
    GREEN,
    ROCKS,
    SOILS,
    WATERS,
    boats,
    draw_fields,
    draw_parcels,
    extras,
    floes,
    pivots,
    ridged,
    roads,
    villages,
    wadis,
)
from xcloudmask.simulate.patterns import grid, parcels, soft, streets

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


def _fields(canvas: Canvas) -> None:
    smooth = canvas.noise(3000.0, slope=4.0)
    draw_fields(canvas, smooth)
    if canvas.chance(0.4):  # another village's fields run another way
        draw_fields(canvas, smooth, cover=canvas.share(canvas.again(smooth), canvas.rng.uniform(0.2, 0.6)))
    woods = canvas.noise(1500.0, slope=3.0)
    canvas.lay(canvas.share(woods, canvas.rng.beta(1.0, 4.0)), canvas.pick("broadleaf", "conifer"))
    if canvas.chance(0.4):
        villages(canvas, canvas.again(woods))
    extras(canvas, smooth, woods)
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
        number = draw_parcels(canvas, 350.0, 220.0, bend=smooth)
        cut = canvas.rng.random(509) < canvas.rng.uniform(0.02, 0.3)
        colours = canvas.colours(("grass", "loam", "conifer", "dry grass", "broadleaf"), 509)
        canvas.paint(number, colours, cover=cut[number].astype(np.float32))
    else:
        canvas.lay(canvas.share(rough, canvas.rng.uniform(0.0, 0.15), width=0.3), canvas.pick("grass", *SOILS))
    canvas.roughen(canvas.again(rough), canvas.rng.uniform(0.03, 0.12))
    extras(canvas, smooth, rough)
    if canvas.chance(0.7):
        canvas.terrain(ridged(smooth, canvas), slope=canvas.rng.uniform(0.03, 0.4))


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
    extras(canvas, smooth, rough)
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
        canvas.lay(canvas.share(rocks, canvas.rng.beta(1.0, 3.0), width=0.3), canvas.pick(*ROCKS))
    if canvas.chance(0.3):
        wadis(canvas, dunes)
    if canvas.chance(0.2):
        canvas.lay(
            canvas.share(-smooth, canvas.rng.uniform(0.02, 0.15), width=0.2),
            canvas.pick("salt", "brine mud", "white sand"),
        )
    if canvas.chance(0.2):
        pivots(canvas)
    if canvas.chance(0.2):
        roads(canvas)


def _salt_flat(canvas: Canvas) -> None:
    smooth = canvas.noise(5000.0, slope=4.2)
    rough = canvas.noise(700.0, slope=2.8)
    canvas.fill(canvas.colour("salt", gain=canvas.rng.uniform(0.7, 1.35)))
    canvas.lay(
        canvas.share(rough, canvas.rng.uniform(0.0, 0.5), width=2.0), canvas.pick("brine mud", "white sand", "salt")
    )
    # Polygons of the crust.
    cracks = soft(np.float32(0.03) - np.abs(canvas.noise(250.0, slope=3.0)), 0.06)
    canvas.lay(np.float32(canvas.rng.uniform(0.0, 0.4)) * cracks, canvas.colour("brine mud"))
    edge = smooth + np.float32(0.15) * rough
    canvas.lay(
        canvas.share(edge, canvas.rng.beta(1.0, 2.0), width=0.4), canvas.pick("brine mud", "light soil", "loam", "sand")
    )
    if canvas.chance(0.5):
        canvas.lay(canvas.share(-edge, canvas.rng.beta(1.0, 4.0), width=0.3), canvas.pick(*WATERS))
    if canvas.chance(0.25):  # evaporation ponds
        number = draw_parcels(canvas, 500.0, 350.0)
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
        number = draw_parcels(canvas, 300.0, 180.0, bend=smooth)
        bare = np.clip(canvas.rng.normal(0.05, 0.25, 509), 0.0, 0.9).astype(np.float32)
        canvas.paint(number, canvas.colours(("stubble", "loam", "dry grass", "fine snow"), 509), cover=bare[number])
    elif kind < 0.5:  # an ice cap
        canvas.lay(canvas.share(smooth, canvas.rng.uniform(0.1, 0.6), width=0.6), canvas.colour("glacier ice"))
        crevasses = soft(np.float32(0.05) - np.abs(canvas.again(drift)), 0.08)
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
        roads(canvas)
    if canvas.chance(0.6):
        canvas.terrain(ridged(smooth, canvas) + np.float32(0.01) * drift, slope=canvas.rng.uniform(0.02, 0.35))


def _mountains(canvas: Canvas) -> None:
    broad = canvas.noise(4000.0, slope=canvas.rng.uniform(3.6, 4.3))
    height = np.asarray(-np.abs(broad) + np.float32(0.12) * canvas.again(broad), np.float32)
    rough = canvas.noise(500.0, slope=2.8)
    level = height + np.float32(0.06) * rough
    canvas.fill(canvas.pick(*ROCKS))
    canvas.lay(canvas.share(canvas.again(broad), canvas.rng.uniform(0.2, 0.6), width=0.8), canvas.pick(*ROCKS))
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
            canvas.share(-height, canvas.rng.uniform(0.02, 0.1), width=0.02), canvas.pick("glacier ice", *WATERS)
        )
    canvas.roughen(rough, canvas.rng.uniform(0.03, 0.1))
    canvas.terrain(height, slope=canvas.rng.uniform(0.25, 0.8))


def _coast(canvas: Canvas) -> None:
    smooth = canvas.noise(3000.0, slope=canvas.rng.uniform(3.4, 4.4))
    rough = canvas.noise(700.0, slope=3.0)
    land = canvas.rng.random()
    if land < 0.4:
        draw_fields(canvas, smooth)
    else:
        canvas.fill(canvas.pick("grass", "dry grass", "broadleaf", "sand", "light soil", "conifer"))
        canvas.lay(
            canvas.share(rough, canvas.rng.uniform(0.1, 0.6), width=0.6), canvas.pick(*GREEN, *DRY, *ROCKS, *SOILS)
        )
    if canvas.chance(0.3):
        villages(canvas, canvas.again(rough))
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
        boats(canvas, depth)
    if canvas.chance(0.3):
        canvas.terrain(np.maximum(-smooth, 0.0), slope=canvas.rng.uniform(0.05, 0.3))


def _ocean(canvas: Canvas) -> None:
    smooth = canvas.noise(8000.0, slope=4.0)
    canvas.fill(canvas.pick("clear water", "clear water", *WATERS))
    streaks = canvas.noise(5000.0, slope=3.0, stretch=canvas.rng.uniform(1.0, 8.0))
    canvas.lay(canvas.share(smooth, canvas.rng.uniform(0.0, 0.8), width=2.5), canvas.pick(*WATERS))
    if canvas.chance(0.3):  # plankton or silt in eddies
        canvas.lay(
            np.float32(0.6) * soft(np.float32(0.2) - np.abs(streaks), 0.4),
            canvas.pick("green water", "turbid water", "shallow water"),
        )
    if canvas.chance(0.3):
        foam = canvas.rng.standard_normal(canvas.shape, np.float32) + np.float32(0.7) * streaks
        canvas.lay(canvas.share(foam, canvas.rng.uniform(0.0, 0.02), width=0.4), canvas.colour("foam", gain=0.8))
    if canvas.chance(0.2):
        floes(canvas, smooth)
    elif canvas.chance(0.4):
        boats(canvas, np.ones_like(smooth))
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
    extras(canvas, smooth, rough)


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
    big = draw_parcels(canvas, 140.0, 80.0)
    halls = (canvas.rng.random(509) < canvas.rng.uniform(0.05, 0.5)).astype(np.float32)
    works = canvas.share(canvas.again(smooth), canvas.rng.uniform(0.02, 0.25))
    canvas.paint(
        big, canvas.colours(("bright roof", "concrete", "grey roof", "asphalt"), 509), cover=works * halls[big]
    )
    canvas.lay(
        canvas.share(canvas.again(smooth), canvas.rng.beta(1.0, 6.0), width=0.1), canvas.pick("broadleaf", "grass")
    )
    extras(canvas, smooth, canvas.again(smooth))


def _rock(canvas: Canvas) -> None:
    smooth = canvas.noise(3000.0, slope=canvas.rng.uniform(3.6, 4.2))
    rough = canvas.noise(700.0, slope=3.0)
    # Beds of rock, cut by the surface: bands that follow the folds.
    beds = smooth * np.float32(canvas.rng.uniform(3.0, 16.0)) + rough
    number = np.asarray(np.floor(beds).astype(np.int64) % 61, np.intp)
    canvas.paint(number, canvas.colours((*ROCKS, "red soil", "light soil"), 61))
    canvas.lay(
        canvas.share(canvas.again(smooth) + np.float32(0.2) * rough, canvas.rng.beta(1.0, 2.0), width=0.3),
        canvas.pick(*ROCKS, "basalt", "sand"),
    )
    canvas.lay(
        canvas.share(canvas.again(rough), canvas.rng.beta(1.0, 5.0), width=0.8),
        canvas.pick("dry grass", "grass", "conifer"),
    )
    if canvas.chance(0.5):
        wadis(canvas, canvas.again(smooth))
    canvas.roughen(canvas.again(rough), canvas.rng.uniform(0.03, 0.12))
    canvas.terrain(ridged(smooth, canvas) + np.float32(0.05) * rough, slope=canvas.rng.uniform(0.05, 0.5))


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
