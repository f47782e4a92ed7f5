"""Filling batches for the model: tiles are cut, normalised and stacked (numpy only).

Where a cell is several pixels of the model, the normalised cells of a tile are interpolated, which needs one more cell
around it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xcloudmask._buffers import Buffers
from xcloudmask.errors import InputError
from xcloudmask.halo import BlockPlace, Tile
from xcloudmask.normalize import BandStatistics, level_vector, rescale, standardised, statistics, zscore
from xcloudmask.resample import interpolate_valid
from xcloudmask.settings import EngineSettings
from xcloudmask.tiles import Image, Job, Places

__all__ = ["feed"]

_buffers = Buffers()


def feed(
    group: Sequence[Job], size: int, images: Sequence[Image], grid: Places, settings: EngineSettings
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Cut, normalise and stack the tiles of a batch.

    Parameters
    ----------
    group
        Jobs of the batch.
    size
        Size of the batch, at least the number of jobs.
    images, grid, settings
        As in `jobs`.

    Returns
    -------
    tiles : numpy.ndarray
        (size, band, y, x) float32; valid until the next call in the same thread.
    level : numpy.ndarray
        (size, 1 + 2 * bands) float32.
    """
    present = list(settings.present)
    up = settings.upsample
    tiles = _buffers.get("tiles", (size, len(present), *settings.tile_shape), _new_tiles)
    level = np.zeros((size, 1 + 2 * len(present)), np.float32)
    for index, job in enumerate(group):
        image = images[job.image]
        (rows, to_rows), (columns, to_columns) = _overlap(job.y, grid[0]), _overlap(job.x, grid[1])
        stats = image.stats
        if stats is None:
            cut = _cut(image, rows, columns)
            stats = statistics(*cut) if settings.takes_statistics else _nothing(len(image.bands))
        inside = _scaled(to_rows, up), _scaled(to_columns, up)
        target = tiles[index, :, *inside]
        if all(present):
            _clear_around(tiles[index], *inside)
        else:
            tiles[index] = 0.0
        if up > 1:
            target[present] = _interpolated(image, rows, columns, stats, settings)
        elif all(present):
            _normalised(*_cut(image, rows, columns), stats, image, settings, out=target)
        else:
            target[present] = _normalised(*_cut(image, rows, columns), stats, image, settings)
        scale, offset = (None, None) if image.scale is None else image.scale
        level[index] = level_vector(_with_absent(stats, present), scale=scale, offset=offset)
    tiles[len(group) :] = 0.0
    return tiles, level


def _clear_around(tile: npt.NDArray[np.float32], rows: slice, columns: slice) -> None:
    """Write zeros to what lies outside the cube; all the rest is about to be written."""
    tile[:, : rows.start] = 0.0
    tile[:, rows.stop :] = 0.0
    tile[:, rows, : columns.start] = 0.0
    tile[:, rows, columns.stop :] = 0.0


def _cut(image: Image, rows: slice, columns: slice) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.bool_] | None]:
    return image.bands[:, rows, columns], None if image.valid is None else image.valid[rows, columns]


def _scaled(stretch: slice, factor: int) -> slice:
    return slice(stretch.start * factor, stretch.stop * factor)


def _interpolated(
    image: Image, rows: slice, columns: slice, stats: BandStatistics, settings: EngineSettings
) -> npt.NDArray[np.float32]:
    """What the network is fed where cells are larger than its pixels: one more cell around gives all a neighbour."""
    up = settings.upsample
    wide = [
        slice(max(0, stretch.start - 1), min(side, stretch.stop + 1))
        for stretch, side in zip((rows, columns), image.bands.shape[1:], strict=True)
    ]
    cells, valid = _cut(image, *wide)
    points = interpolate_valid(_normalised(cells, valid, stats, image, settings), valid, up)
    y, x = (
        _scaled(slice(stretch.start - around.start, stretch.stop - around.start), up)
        for stretch, around in zip((rows, columns), wide, strict=True)
    )
    return points[:, y, x]


def _normalised(
    pixels: npt.NDArray[np.generic],
    valid: npt.NDArray[np.bool_] | None,
    stats: BandStatistics,
    image: Image,
    settings: EngineSettings,
    *,
    out: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """What the network is fed: the z-score, or what fixed numbers make of the reflectance."""
    if settings.spec.normalization == "zscore":
        return zscore(pixels, valid, stats, out=out)
    if image.scale is None:
        raise InputError(
            f"Model {settings.spec.name!r} takes reflectance, and the scale of a time step is not known. Expected "
            "finite coordinates scale_factor and add_offset for every date. Type predict(cube, scale=(1e-4, 0.0)), or "
            "leave those dates out."
        )
    spec = settings.spec
    scale, offset = standardised(image.scale, spec.zero_and_unit)[:, list(settings.present)]
    return rescale(pixels, valid, scale=scale, offset=offset, clip=spec.normalization == "percentile", out=out)


def _nothing(bands: int) -> BandStatistics:
    """What is known where nobody asks."""
    return BandStatistics(0, np.zeros(bands), np.zeros(bands))


def _new_tiles(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    return np.empty(shape, np.float32)


def _overlap(tile: Tile, place: BlockPlace) -> tuple[slice, slice]:
    """The part of a tile that the block has: where it lies in the block, and where in the tile."""
    start, stop = max(tile.start, place.origin), min(tile.start + tile.size, place.end)
    return slice(start - place.origin, stop - place.origin), slice(start - tile.start, stop - tile.start)


def _with_absent(stats: BandStatistics, present: list[bool]) -> BandStatistics:
    """Give bands that were given up a place, with zeros."""
    if all(present):
        return stats
    mean, std = np.zeros(len(present)), np.zeros(len(present))
    mean[present], std[present] = stats.mean, stats.std
    return BandStatistics(stats.count, mean, std)
