"""From images to batches of tiles for the model (numpy only).

An image is one time step of a block, in cells; a job is one tile of one image. What lies outside the cube is fed as
zeros, like invalid pixels, so the amount of nodata never changes the geometry. Statistics are those of the cells.
Where a cell is several pixels of the model, the normalised cells of a tile are interpolated, which needs one more cell
around it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from xcloudmask._buffers import Buffers
from xcloudmask.errors import InputError
from xcloudmask.halo import BlockPlace, Tile, core_tiles, fitting_core, window_tiles
from xcloudmask.normalize import BandStatistics, level_vector, rescale, statistics, zscore
from xcloudmask.resample import area_mean, interpolate_valid
from xcloudmask.settings import EngineSettings

__all__ = ["Image", "Job", "Places", "batches", "feed", "fitted", "jobs", "prepare", "tiles_along", "valid_pixels"]

Places = tuple[BlockPlace, BlockPlace]

_buffers = Buffers()

_FLOAT32_MAX = float(np.finfo(np.float32).max)

_BATCH_PX = {"cpu": 1_500_000, "accelerator": 16_000_000}
"""Cells fed at once where the batch size is automatic."""


@dataclass(frozen=True, slots=True)
class Image:
    """One time step of a block, in cells."""

    bands: npt.NDArray[np.generic]
    """(band, y, x) of the bands that are present."""
    valid: npt.NDArray[np.bool_] | None
    """(y, x); None where all cells are valid."""
    fine_valid: npt.NDArray[np.bool_] | None
    """(y, x) on the grid of the cube; None where all pixels are valid."""
    stats: BandStatistics | None
    """Statistics for every tile of the image; None where each tile takes its own."""
    scale: npt.NDArray[np.float64] | None = None
    """(2, band of the model) scale and offset; None where unknown."""


@dataclass(frozen=True, slots=True)
class Job:
    """One tile of one image."""

    image: int
    """Index of the image."""
    y: Tile
    """The tile along y."""
    x: Tile
    """The tile along x."""


def valid_pixels(bands: npt.NDArray[np.generic], nodata: Sequence[float | None]) -> npt.NDArray[np.bool_] | None:
    """Find the pixels that every band has data for.

    Parameters
    ----------
    bands
        (band, y, x), any real dtype.
    nodata
        Declared value per band, or None.

    Returns
    -------
    numpy.ndarray or None
        (y, x) bool, False where any band is NaN, infinite, beyond float32 or nodata; None where all pixels are valid.

    Examples
    --------
    >>> valid_pixels(np.array([[[0, 7]]], np.uint16), [0]).tolist()
    [[False, True]]
    """
    invalid = np.zeros(bands.shape[1:], bool)
    for band, value in zip(bands, nodata, strict=True):
        if band.dtype.kind == "f":
            # What float32 cannot hold is no measurement either: -1.8e308 is a common fill value of float64 rasters.
            invalid |= ~(np.abs(band) <= _FLOAT32_MAX)
        if value is not None and not np.isnan(value):
            invalid |= band == value
    return ~invalid if invalid.any() else None


def prepare(
    image: npt.NDArray[np.generic],
    settings: EngineSettings,
    *,
    stats: BandStatistics | None = None,
    scale: npt.NDArray[np.float64] | None = None,
) -> Image:
    """Find the valid pixels of an image, and average them to cells.

    Parameters
    ----------
    image
        (band, y, x) of the bands that are present.
    settings
        What to do.
    stats
        Statistics of the scene; without them, ``normalize="chunk"`` takes those of the image.
    scale
        (2, band of the model) scale and offset of this time step, NaN where unknown; without them, those of the
        settings.

    Returns
    -------
    Image
    """
    fine_valid = valid_pixels(image, settings.nodata)
    bands, valid = image, fine_valid
    if settings.factor > 1:
        bands, valid = area_mean(image, fine_valid, settings.factor)
    if stats is None and settings.normalize == "chunk":
        stats = statistics(bands, valid)
    return Image(bands, valid, fine_valid, stats, _known_scale(scale, settings))


def _known_scale(scale: npt.NDArray[np.float64] | None, settings: EngineSettings) -> npt.NDArray[np.float64] | None:
    if scale is None:
        return None if settings.scale is None else np.array([settings.scale, settings.offset])
    present = np.array(settings.present)
    known = np.isfinite(scale).all() and (scale[0, present] > 0).all()
    return np.where(present, scale, 0.0) if known else None


def tiles_along(place: BlockPlace, settings: EngineSettings, axis: int) -> list[Tile]:
    """Tiles that a block needs along an axis (0 is y).

    Parameters
    ----------
    place
        The block, in cells.
    settings
        What to do.
    axis
        0 for y, 1 for x.

    Returns
    -------
    list of Tile
    """
    side = settings.tile_px[axis]
    if settings.step_px:
        return list(window_tiles(place, window=side, step=settings.step_px))
    anchor = place.start if settings.normalize == "chunk" else 0
    return list(core_tiles(place, core=side, halo=settings.halo_px[axis], anchor=anchor))


def fitted(settings: EngineSettings, grid: Places) -> EngineSettings:
    """Cut a block into equal tiles of its own, where the labels follow the chunks anyway.

    Parameters
    ----------
    settings
        What to do.
    grid
        The block along y and x, in cells.

    Returns
    -------
    EngineSettings
        With smaller tiles where the block is the last of a row or a column; where labels are the same for every layout,
        with those of all blocks.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> settings = EngineSettings(spec=get_spec("default"), halo_px=(72, 72), tile_px=(1832, 1832))
    >>> full, last = (BlockPlace(start=0, stop=side, depth=72, length=9000) for side in (1832, 452))
    >>> fitted(settings, (full, last)).tile_px
    (1832, 512)
    """
    if settings.normalize != "chunk" or settings.step_px:
        return settings
    stride = settings.spec.stride_px // math.gcd(settings.spec.stride_px, settings.upsample)
    tile_y, tile_x = (
        fitting_core(place.stop - place.start, core=core, stride=stride)
        for place, core in zip(grid, settings.tile_px, strict=True)
    )
    return settings if (tile_y, tile_x) == settings.tile_px else replace(settings, tile_px=(tile_y, tile_x))


def jobs(images: Sequence[Image], grid: Places, settings: EngineSettings) -> list[Job]:
    """List the tiles to predict, leaving out those that deliver no valid pixel.

    Parameters
    ----------
    images
        The time steps of the block.
    grid
        The block along y and x, in cells.
    settings
        What to do.

    Returns
    -------
    list of Job
    """
    rows, columns = (tiles_along(place, settings, axis) for axis, place in enumerate(grid))
    every = (Job(index, y, x) for index, y, x in product(range(len(images)), rows, columns))
    return [job for job in every if _delivers(images[job.image], job, grid)]


def _delivers(image: Image, job: Job, grid: Places) -> bool:
    if image.valid is None:
        return True
    rows, columns = (
        slice(tile.keep_start - place.origin, tile.keep_stop - place.origin)
        for tile, place in zip((job.y, job.x), grid, strict=True)
    )
    return bool(image.valid[rows, columns].any())


def batches(todo: Sequence[Job], settings: EngineSettings, device: str) -> Iterator[tuple[Sequence[Job], int]]:
    """Group jobs, with the size of the batch that each group is fed in.

    A batch of another size can give other last bits. Where labels are promised to be the same for any layout of chunks,
    all batches have one size, and the last one is filled up with zeros.

    Parameters
    ----------
    todo
        The jobs.
    settings
        What to do.
    device
        Where the model runs.

    Yields
    ------
    tuple
        Jobs, and the size of their batch.
    """
    fixed = settings.normalize != "chunk"
    size = settings.batch_size
    if size is None:
        budget = _BATCH_PX["cpu" if device == "cpu" else "accelerator"]
        size = max(1, budget // int(np.prod(settings.tile_shape)))
    if fixed and device == "cpu":
        size = 1  # then the bits are the same whatever the caller asks for; more at once is no faster here
    for first in range(0, len(todo), size):
        group = todo[first : first + size]
        yield group, size if fixed else len(group)


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
            stats = statistics(*_cut(image, rows, columns))
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
    """What the network is fed: the z-score, or reflectance as it is."""
    if settings.spec.normalization == "zscore":
        return zscore(pixels, valid, stats, out=out)
    if image.scale is None:
        raise InputError(
            f"Model {settings.spec.name!r} takes reflectance, and the scale of a time step is not known. Expected "
            "finite coordinates scale_factor and add_offset for every date. Type predict(cube, scale=(1e-4, 0.0)), or "
            "leave those dates out."
        )
    scale, offset = image.scale[:, list(settings.present)]
    return rescale(pixels, valid, scale=scale, offset=offset, out=out)


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
