"""Statistics of whole scenes in two passes (numpy only), for ``normalize="scene"``.

The first pass takes moments of each tile of the lattice, the second puts them together in the lattice's order. Neither
depends on chunks or workers, so the result is the same to the last bit for every layout.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt

from xcloudmask.halo import core_tiles
from xcloudmask.normalize import BandStatistics, combine_moments, moments
from xcloudmask.settings import EngineSettings
from xcloudmask.tiles import Places, prepare

__all__ = ["reduce_scene_moments", "scene_moments_block", "uses_scene"]

_NONE = BandStatistics(0, np.zeros(0), np.zeros(0))


def uses_scene(settings: EngineSettings) -> bool:
    """Whether the pixels of a scene are read once more, for its statistics."""
    return settings.normalize == "scene" and settings.takes_statistics


def scene_moments_block(
    block: npt.NDArray[np.generic], *, places: Places, settings: EngineSettings
) -> npt.NDArray[np.float64]:
    """First pass: moments of each tile of the lattice.

    Parameters
    ----------
    block
        (time, band, y, x) without overlap; starts on the lattice.
    places
        Where the block lies, with depth 0.
    settings
        What to do.

    Returns
    -------
    numpy.ndarray
        (time, band * 4, tiles y, tiles x) float64.

    Examples
    --------
    >>> from xcloudmask.halo import BlockPlace
    >>> from xcloudmask.models.registry import get_spec
    >>> settings = EngineSettings(spec=get_spec("default"), halo_px=(72, 72), tile_px=(8, 8))
    >>> place = BlockPlace(start=0, stop=16, depth=0, length=16)
    >>> scene_moments_block(np.ones((1, 3, 16, 16)), places=(place, place), settings=settings).shape
    (1, 12, 2, 2)
    """
    grid = (places[0].coarsened(settings.factor), places[1].coarsened(settings.factor))
    rows, columns = (
        [
            slice(tile.keep_start - place.start, tile.keep_stop - place.start)
            for tile in core_tiles(place, core=settings.tile_px[axis], halo=0, anchor=0)
        ]
        for axis, place in enumerate(grid)
    )
    result = np.empty((block.shape[0], block.shape[1] * 4, len(rows), len(columns)))
    for index, pixels in enumerate(block):
        image = prepare(pixels, settings, stats=_NONE)
        for (j, row), (i, column) in product(enumerate(rows), enumerate(columns)):
            valid = None if image.valid is None else image.valid[row, column]
            result[index, :, j, i] = moments(image.bands[:, row, column], valid).ravel()
    return result


def reduce_scene_moments(parts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Second pass: put the moments of all tiles together.

    Parameters
    ----------
    parts
        (time, band * 4, tiles y, tiles x) float64.

    Returns
    -------
    numpy.ndarray
        (time, band * 3, 1, 1) float64: count, mean and spread of each band.

    Examples
    --------
    >>> reduce_scene_moments(np.array([2.0, 1.0, 2.0, 4.0]).reshape(1, 4, 1, 1)).ravel().tolist()
    [2.0, 2.0, 1.0]
    """
    result = np.empty((parts.shape[0], parts.shape[1] // 4 * 3, 1, 1))
    for index, part in enumerate(parts):
        tiles = part.reshape(-1, 4, part.shape[1] * part.shape[2]).transpose(2, 0, 1)
        stats = combine_moments(tiles)
        rows = np.stack([np.full_like(stats.mean, stats.count), stats.mean, stats.std], axis=1)
        result[index, :, 0, 0] = rows.ravel()
    return result
