"""The block engine: numpy in, numpy out. No dask, no xarray.

A block is a stretch of a cube, (time, band, y, x), with as much overlap as the plan asked for. The engine finds the
valid pixels, takes statistics, feeds tiles of one fixed shape to the model in batches, and keeps the part of each tile
that its border cannot have touched.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudmask._feed import feed
from xcloudmask.classes import NODATA, CloudClass, get_style, merge_probabilities, style_lookup
from xcloudmask.halo import BlockPlace, Tile
from xcloudmask.models.backends.protocol import NetRunner
from xcloudmask.models.cache import get_runner
from xcloudmask.models.device_rule import uses_device_engine
from xcloudmask.normalize import BandStatistics
from xcloudmask.resample import bilinear_up, block_mean
from xcloudmask.settings import EngineSettings
from xcloudmask.tiles import Image, Job, Places, batches, fitted, jobs, prepare, times_seen

__all__ = ["predict_block"]

Floats = npt.NDArray[np.float32]


def predict_block(
    block: npt.NDArray[np.generic],
    *,
    places: Places,
    settings: EngineSettings,
    scene: npt.NDArray[np.float64] | None = None,
    scales: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[Any]:
    """Predict a block.

    Parameters
    ----------
    block
        (time, band, y, x): the bands that are present, in the model's order, overlap included.
    places
        Where the block lies along y and x, in pixels of the cube.
    settings
        What to do.
    scene
        (time, band * 3) count, mean and spread of the whole scene, for ``normalize="scene"``.
    scales
        (time, band of the model * 2) all scales, then all offsets, where they differ between time steps; NaN for
        unknown.

    Returns
    -------
    numpy.ndarray
        Without the overlap. Labels: (time, y, x) uint8, 255 for nodata. Percent: (time, code, y, x) uint8, 255 for
        nodata. Probability: (time, code, y, x) float32, NaN for nodata.

    Notes
    -----
    A tile that delivers no valid pixel never reaches the model.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> settings = EngineSettings(spec=get_spec("default"), halo_px=(0, 0), tile_px=(64, 64))
    >>> place = BlockPlace(start=0, stop=64, depth=72, length=64)
    >>> int(predict_block(np.full((1, 3, 64, 64), np.nan), places=(place, place), settings=settings).min())
    255
    """
    if uses_device_engine(settings):
        from xcloudmask.models.device_engine import predict_on_device

        return predict_on_device(block, places=places, settings=settings, scene=scene, scales=scales)
    images = [
        prepare(
            image,
            settings,
            stats=None if scene is None else _as_statistics(scene[index]),
            scale=None if scales is None else scales[index].reshape(2, -1),
        )
        for index, image in enumerate(block)
    ]
    grid = (places[0].coarsened(settings.factor), places[1].coarsened(settings.factor))
    settings = fitted(settings, grid)
    todo = jobs(images, grid, settings)
    if settings.fast_labels:
        result = _labels(images, todo, grid, settings)
        return _with_nodata(result, images, places)
    probabilities = _probabilities(images, todo, grid, settings)
    height, width = (place.stop - place.start for place in places)
    return _with_nodata(_finish(probabilities[:, :, :height, :width], settings), images, places)


def _runner(settings: EngineSettings) -> NetRunner:
    return get_runner(settings.spec, device=settings.device, precision=settings.precision, backend=settings.backend)


def _as_statistics(row: npt.NDArray[np.float64]) -> BandStatistics:
    columns = row.reshape(-1, 3)
    return BandStatistics(int(columns[0, 0]), columns[:, 1], columns[:, 2])


def _target(tile: Tile, place: BlockPlace) -> slice:
    """Where the kept part of a tile goes in the output of the block, in cells."""
    return slice(tile.keep_start - place.start, tile.keep_stop - place.start)


def _labels(images: list[Image], todo: list[Job], grid: Places, settings: EngineSettings) -> npt.NDArray[np.uint8]:
    """Labels straight from the logits; (time, y, x)."""
    result = np.full((len(images), *(place.stop - place.start for place in grid)), NODATA, np.uint8)
    if not todo:
        return result
    runner = _runner(settings)
    lookup = style_lookup(get_style(settings.style))
    halo_y, halo_x = settings.halo_px
    core = (slice(halo_y, halo_y + settings.tile_px[0]), slice(halo_x, halo_x + settings.tile_px[1]))
    for group, size in batches(todo, settings, runner.device):
        predicted = runner.labels(*feed(group, size, images, grid, settings), core)
        for job, labels in zip(group, predicted, strict=False):
            kept = labels[_shift(job.y.crop, -halo_y), _shift(job.x.crop, -halo_x)]
            if settings.style != "4-class":
                kept = lookup[kept]
            result[job.image, _target(job.y, grid[0]), _target(job.x, grid[1])] = kept
    return result


def _shift(stretch: slice, by: int) -> slice:
    return slice(stretch.start + by, stretch.stop + by)


def _probabilities(images: list[Image], todo: list[Job], grid: Places, settings: EngineSettings) -> Floats:
    """Probabilities of the model's classes on the grid of the cube; (time, class, y, x).

    Tiles that keep their core are written once; windows that overlap are averaged.
    """
    factor = settings.factor
    shape = [(place.stop - place.start) * factor for place in grid]
    result = np.zeros((len(images), len(CloudClass), *shape), np.float32)
    if not todo:
        return result
    runner = _runner(settings)
    whole = (slice(0, settings.tile_shape[0]), slice(0, settings.tile_shape[1]))
    for group, size in batches(todo, settings, runner.device):
        predicted = runner.probabilities(*feed(group, size, images, grid, settings), whole)
        for job, points in zip(group, predicted, strict=False):
            values = points if settings.upsample == 1 else block_mean(points, settings.upsample)
            rows, columns = (
                _scaled(_target(tile, place), factor) for tile, place in zip((job.y, job.x), grid, strict=True)
            )
            result[job.image, :, rows, columns] += _kept_pixels(values, job, grid, factor)
    if settings.step_px:
        result /= times_seen(grid, settings).repeat(factor, axis=0).repeat(factor, axis=1)
    return result


def _scaled(stretch: slice, factor: int) -> slice:
    return slice(stretch.start * factor, stretch.stop * factor)


def _kept_pixels(values: Floats, job: Job, grid: Places, factor: int) -> Floats:
    """The kept part of a tile, interpolated to the pixels of the cube."""
    if factor == 1:
        return values[:, job.y.crop, job.x.crop]
    # One more cell on each side where the tile and the cube have one, so that the interpolation has neighbours.
    margins = [
        (
            int(tile.keep_start > max(tile.start, 0)),
            int(tile.keep_stop < min(tile.start + tile.size, place.length)),
        )
        for tile, place in zip((job.y, job.x), grid, strict=True)
    ]
    rows, columns = (
        slice(tile.crop.start - before, tile.crop.stop + after)
        for tile, (before, after) in zip((job.y, job.x), margins, strict=True)
    )
    pixels = bilinear_up(values[:, rows, columns], factor)
    rows, columns = (
        slice(before * factor, side - after * factor)
        for (before, after), side in zip(margins, pixels.shape[1:], strict=True)
    )
    return pixels[:, rows, columns]


def _finish(probabilities: Floats, settings: EngineSettings) -> npt.NDArray[Any]:
    """Turn probabilities of the four classes into what was asked for."""
    style = get_style(settings.style)
    if settings.output == "labels":
        labels: npt.NDArray[np.uint8] = style_lookup(style)[probabilities.argmax(axis=1)]
        return labels
    merged = np.moveaxis(merge_probabilities(np.moveaxis(probabilities, 1, 0), style), 0, 1)
    if settings.output == "percent":
        return np.rint(merged * 100).astype(np.uint8)
    return merged


def _with_nodata(result: npt.NDArray[Any], images: list[Image], places: Places) -> npt.NDArray[Any]:
    """Write nodata (255, or NaN in floats) where the cube has none, in place."""
    rows, columns = (slice(place.start - place.origin, place.stop - place.origin) for place in places)
    value = np.nan if result.dtype.kind == "f" else NODATA
    for image, plane in zip(images, result, strict=True):
        if image.fine_valid is not None:
            plane[..., ~image.fine_valid[rows, columns]] = value
    return result
