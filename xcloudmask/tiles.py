"""From images to batches of tiles for the model (numpy only).

An image is one time step of a block, in cells; a job is one tile of one image. What lies outside the cube is fed as
zeros, like invalid pixels, so the amount of nodata never changes the geometry. Statistics are those of the cells.
`_feed` fills the batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from xcloudmask.halo import BlockPlace, Tile, core_tiles, fitting_core, window_tiles
from xcloudmask.normalize import BandStatistics, statistics
from xcloudmask.resample import area_mean
from xcloudmask.settings import EngineSettings

__all__ = [
    "Image",
    "Job",
    "Places",
    "batches",
    "fitted",
    "jobs",
    "prepare",
    "tiles_along",
    "times_seen",
    "valid_pixels",
]

Places = tuple[BlockPlace, BlockPlace]

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
    if stats is None and settings.normalize == "chunk" and settings.takes_statistics:
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


def times_seen(places: Places, settings: EngineSettings) -> npt.NDArray[np.float32]:
    """Count the moving windows that cover each cell of a block.

    Parameters
    ----------
    places
        The block along y and x, in cells.
    settings
        What to do; its windows have a step.

    Returns
    -------
    numpy.ndarray
        (y, x) float32.

    Examples
    --------
    >>> from xcloudmask.halo import BlockPlace
    >>> from xcloudmask.models.registry import get_spec
    >>> settings = EngineSettings(spec=get_spec("default"), halo_px=(0, 0), tile_px=(16, 16), step_px=8)
    >>> place = BlockPlace(start=0, stop=24, depth=16, length=24)
    >>> times_seen((place, place), settings)[0, ::8].tolist()
    [1.0, 2.0, 1.0]
    """
    along = []
    for axis, place in enumerate(places):
        seen = np.zeros(place.stop - place.start, np.float32)
        for tile in tiles_along(place, settings, axis):
            seen[tile.keep_start - place.start : tile.keep_stop - place.start] += 1
        along.append(seen)
    result: npt.NDArray[np.float32] = along[0][:, None] * along[1]
    return result


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
