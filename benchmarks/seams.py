"""Seams: do labels change on the borders of chunks more often than elsewhere? On real scenes.

The seam ratio is how often neighbouring pixels differ across a border of chunks, over how often they do elsewhere. It
is given relative to that of the unchunked mask at the same places, which is what the scene itself does there.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

import xcloudmask
from benchmarks.core import Figure, benchmark, data_dir, note
from xcloudmask.classes import NODATA
from xcloudmask.grid import spatial_dims
from xcloudmask.models.registry import get_spec

Labels = list[npt.NDArray[np.uint8]]
Borders = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]

SCENES = ("sentinel2_l1c_10m", "sentinel2_wgs84_20190522", "sentinel2_20m_series/*.tif", "landsat/*")
CHUNKS_PX = (256, 512)
HOW = {"lattice": "<= 1.02", "scene": "<= 1.02", "chunk": ""}
"""Normalisations, and what their seam ratio may be at most."""


@dataclass(slots=True)
class Changes:
    """Pairs of neighbouring pixels with data, and those whose labels differ; on borders and elsewhere."""

    border_pairs: int = 0
    border: int = 0
    other_pairs: int = 0
    other: int = 0

    def add(self, labels: npt.NDArray[np.uint8], borders: Borders) -> None:
        """Count a mask (y, x); a border along an axis lies before the pixel of its number."""
        for axis, at in enumerate(borders):
            lines = np.moveaxis(labels, axis, 0)
            known = (lines[1:] != NODATA) & (lines[:-1] != NODATA)
            differ = known & (lines[1:] != lines[:-1])
            on_border = np.isin(np.arange(1, len(lines)), at)
            self.border_pairs += int(known[on_border].sum())
            self.border += int(differ[on_border].sum())
            self.other_pairs += int(known[~on_border].sum())
            self.other += int(differ[~on_border].sum())

    @property
    def ratio(self) -> float:
        """Share of pairs that differ on borders, over the share elsewhere; 0 where none differ."""
        if not (self.border and self.other):
            return 0.0
        return (self.border / self.border_pairs) / (self.other / self.other_pairs)


def scenes(root: Path) -> Iterator[tuple[xr.Dataset, dict[str, Any]]]:
    """Cubes in memory, and arguments of predict."""
    for path in (path for pattern in SCENES for path in sorted((root / "scenes").glob(pattern))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # auxiliary rasters left out, no georeference
            cube = xcloudmask.open_cube(path)
        yield cube.compute(), {"resolution_m": 30.0} if "landsat" in str(path) else {}


def chunked(cube: xr.Dataset, chunk_px: int) -> xr.Dataset:
    return cube.chunk(dict.fromkeys(spatial_dims(cube), chunk_px))


def mask_of(cube: xr.Dataset, how: str, arguments: dict[str, Any]) -> Labels:
    """Labels of each date, (y, x)."""
    mask = cube.cloudmask.predict(normalize=how, **arguments).compute(scheduler="synchronous")
    return list(mask.values.reshape(-1, *mask.shape[-2:]))


def chunk_borders(cube: xr.Dataset, arguments: dict[str, Any]) -> Borders:
    """Where the chunks that are worked in begin: one that is smaller than the halo is joined to its neighbour."""
    y, x = cube.cloudmask.predict(**arguments).chunks[-2:]
    return np.cumsum(y)[:-1], np.cumsum(x)[:-1]


def lattice_borders(shape: tuple[int, ...]) -> Borders:
    """Where the tiles of the lattice begin."""
    side = get_spec("default").tile_px
    return np.arange(side, shape[0], side), np.arange(side, shape[1], side)


@benchmark
def seams(*, quick: bool) -> Iterator[Figure]:
    root = data_dir()
    cubes = [] if root is None else list(scenes(root))
    if not cubes:
        note("seams: not measured: no real scenes. Type --data DIR, a folder with scenes/.")
        return
    if quick:
        cubes = [
            (cube.isel({dim: slice(-192, None) for dim in spatial_dims(cube)}), given) for cube, given in cubes[:1]
        ]
    places = ["lattice.tiles", *(f"{how}.{chunk_px}" for how in HOW for chunk_px in ((96,) if quick else CHUNKS_PX))]
    cut, whole = ({place: Changes() for place in places} for _ in range(2))
    for cube, given in cubes:
        unchunked = {how: mask_of(cube, how, given) for how in HOW}
        for place in places:
            how, size = place.split(".")
            if size == "tiles":
                # The lattice has seams of its own, the same for all chunks. The mask of the scene has none.
                labels, reference, borders = unchunked["lattice"], unchunked["scene"], None
            else:
                pieces = chunked(cube, int(size))
                labels, reference = mask_of(pieces, how, given), unchunked[how]
                borders = chunk_borders(pieces, given)
            for one, other in zip(labels, reference, strict=True):
                at = lattice_borders(one.shape) if borders is None else borders
                cut[place].add(one, at)
                whole[place].add(other, at)
    for place in places:
        if cut[place].border_pairs and not whole[place].ratio:
            note(f"seams.{place}: not measured: no label of the unchunked mask changes where the borders lie.")
        elif cut[place].border_pairs:
            value = cut[place].ratio / whole[place].ratio
            target = "" if place == "lattice.tiles" else HOW[place.split(".")[0]]
            yield Figure(name=f"seams.{place}", value=value, unit="times", target=target)
            yield Figure(name=f"seams.{place}.pairs", value=cut[place].border_pairs, unit="pairs")
