"""The block engine on a device: the numbers of the cube go there as they came, and labels come back.

Validity, statistics, normalisation, the network, the crop and the choice of the class all happen on the device. The
time steps of a block are sent one after the other through page-locked buffers, while the network is at work on the
tiles of those before; a batch takes tiles of several steps. The results are those of `blocks.predict_block`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xcloudmask.classes import NODATA, CloudClass, get_style, style_lookup
from xcloudmask.errors import ModelError
from xcloudmask.halo import BlockPlace, Tile
from xcloudmask.models._foreignspec import FOREIGN
from xcloudmask.models.batch_ladder import rung
from xcloudmask.models.cache import get_runner
from xcloudmask.models.device_math import Numbers, Statistics, level_vectors, rescale, statistics, zscore
from xcloudmask.models.device_rule import compile_mode
from xcloudmask.models.device_steps import Step, Stepper
from xcloudmask.models.devices import resolve_device, turn_on
from xcloudmask.models.process import limit_torch_threads
from xcloudmask.models.runner import Runner
from xcloudmask.models.transfer import Uploader, fetch_array, start_download, uploader_of
from xcloudmask.settings import EngineSettings
from xcloudmask.tiles import Job, Places, tiles_along

__all__ = ["predict_on_device"]

_GROUP_BYTES = 2**30
"""Bytes of a block that are on the device at once."""
_BATCH_PX = {"cpu": 1_500_000, "free": 16_000_000, "fixed": 4_000_000}
"""Pixels fed at once where the batch size is automatic: on the processor; where batches may have any size; and where
all have one, so that the last one is filled up with nothing."""


def predict_on_device(
    block: npt.NDArray[Any],
    *,
    places: Places,
    settings: EngineSettings,
    scene: npt.NDArray[np.float64] | None = None,
    scales: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[Any]:
    """Predict a block; arguments and result are those of `blocks.predict_block`.

    Parameters
    ----------
    block
        (time, band, y, x), overlap included.
    places
        Where the block lies along y and x.
    settings
        What to do; its cells are pixels of the cube.
    scene
        (time, band * 3) count, mean and spread of the whole scene.
    scales
        (time, band of the model * 2) scales, then offsets, where they differ between time steps.

    Returns
    -------
    numpy.ndarray
        Without the overlap.

    Raises
    ------
    ModelError
        A single tile does not fit into the memory of the device.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> settings = EngineSettings(spec=get_spec("default"), device="cpu", halo_px=(0, 0), tile_px=(64, 64))
    >>> place = BlockPlace(start=0, stop=64, depth=72, length=64)
    >>> int(predict_on_device(np.full((1, 3, 64, 64), np.nan), places=(place, place), settings=settings).min())
    255
    """
    limit_torch_threads()
    steps = max(1, _GROUP_BYTES // max(1, block[:1].nbytes))
    groups = [slice(first, first + steps) for first in range(0, len(block), steps)]
    tables = [[None if table is None else table[group] for table in (scene, scales)] for group in groups]
    with torch.inference_mode():
        parts = [_predict(block[group], places, settings, *table) for group, table in zip(groups, tables, strict=True)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _predict(
    block: npt.NDArray[Any],
    places: Places,
    settings: EngineSettings,
    scene: npt.NDArray[np.float64] | None,
    scales: npt.NDArray[np.float64] | None,
) -> npt.NDArray[Any]:
    device = resolve_device(settings.device)
    numbers, uploader = Numbers(block.dtype), uploader_of(device)
    stepper = Stepper(settings=settings, places=places, numbers=numbers, uploader=uploader)
    work: _Work | None = None
    steps: list[Step] = []
    for index, pixels in enumerate(block):
        step = stepper.send(
            index,
            pixels,
            scene=None if scene is None else scene[index],
            scale=None if scales is None else scales[index].reshape(2, -1),
        )
        steps.append(step)
        if step.jobs and work is None:
            # The model is loaded when there is something to predict.
            work = _Work(settings, places, numbers, uploader, _runner(settings), steps, count=len(block))
        if work is not None:
            work.add(step.jobs)
    if work is None:
        return _nothing(len(block), places, settings)
    work.finish()
    with turn_on(device):
        download = start_download(work.result())
    # Steps stay until the result is here: the copy stream would give their memory to the next ones.
    return fetch_array(*download)


def _runner(settings: EngineSettings) -> Runner:
    runner = get_runner(settings.spec, device=settings.device, precision=settings.precision, backend=settings.backend)
    if not isinstance(runner, Runner):
        raise ModelError(f"{type(runner).__name__} does not run on a device. Expected torch. Type backend='torch'.")
    return runner


def _shape(count: int, places: Places, settings: EngineSettings) -> tuple[int, ...]:
    codes = () if settings.output == "labels" else (settings.codes,)
    return count, *codes, *(place.stop - place.start for place in places)


def _nothing(count: int, places: Places, settings: EngineSettings) -> npt.NDArray[Any]:
    """What a block without a valid pixel gives."""
    if settings.output == "probability":
        return np.full(_shape(count, places, settings), np.nan, np.float32)
    return np.full(_shape(count, places, settings), NODATA, np.uint8)


@dataclass(slots=True)
class _Work:
    """Tiles that wait for a batch, and the result so far."""

    settings: EngineSettings
    places: Places
    numbers: Numbers
    uploader: Uploader
    runner: Runner
    steps: list[Step]
    """Those sent so far; grows while there are more."""
    count: int
    """Steps of the block."""
    compiled: str = field(init=False)
    canvas: Tensor = field(init=False)
    """Labels (time, y, x), or sums of probabilities (time, class, y, x)."""
    _waiting: list[Job] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.compiled = compile_mode(self.settings.spec.architecture)
        sides = tuple(place.stop - place.start for place in self.places)
        device = self.uploader.device
        if self.settings.fast_labels:
            self.canvas = torch.full((self.count, *sides), NODATA, dtype=torch.uint8, device=device)
        else:
            self.canvas = torch.zeros((self.count, len(CloudClass), *sides), device=device)

    @property
    def _fixed(self) -> bool:
        """Whether all batches have one size: another one can give other last bits, or is compiled anew."""
        return self.settings.normalize != "chunk" or bool(self.compiled)

    def add(self, jobs: list[Job]) -> None:
        """Take more tiles, and predict as many as fill a batch."""
        self._waiting += jobs
        self._predict(at_least=self._size())

    def finish(self) -> None:
        """Predict what is left."""
        self._predict(at_least=1)

    def result(self) -> Tensor:
        """Return what was asked for."""
        result = _outcome(self.canvas, self.places, self.settings)
        rows, columns = (slice(place.start - place.origin, place.stop - place.origin) for place in self.places)
        for step, plane in zip(self.steps, result, strict=True):
            self.uploader.await_upload(step.ready)
            if step.valid is not None:
                plane.masked_fill_(~step.valid[rows, columns], torch.nan if plane.is_floating_point() else NODATA)
        return result

    def _size(self) -> int:
        return self.runner.ladder.size(self.settings.tile_shape, _wanted(self.settings, self.runner, fixed=self._fixed))

    def _predict(self, *, at_least: int) -> None:
        while len(self._waiting) >= at_least:
            size = self._size()
            group = self._waiting[:size]
            fed = size if self._fixed else len(group)
            with turn_on(self.runner.device):
                predicted = self._tried(group, fed)
                if predicted is not None:
                    self._paste(group, predicted)
                    self._waiting = self._waiting[size:]
            at_least = min(at_least, self._size())

    def _tried(self, group: list[Job], size: int) -> Tensor | None:
        """What the network says; None where the memory did not suffice."""
        try:
            return self._forward(group, size)
        except torch.OutOfMemoryError as error:
            self.runner.ladder.lower(self.settings.tile_shape, size, error)
        if self.uploader.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _forward(self, group: list[Job], size: int) -> Tensor:
        sent, inside = self._gathered(group, size)
        stats = self._statistics(group, sent, inside)
        scales, known = self._scales(group, size)
        present = list(self.settings.present)
        if self.settings.spec.normalization == "zscore":
            tiles = zscore(sent, inside, stats.mean, stats.std, self.numbers)
        else:
            tiles = rescale(sent, inside, scales[:, :, present], self.numbers)
        levels = None
        if self.runner.takes_level:
            levels = level_vectors(_with_absent(stats, present), scales, known).to(self.runner.dtype)
        batch = self._batch(tiles, present)
        if not self.settings.fast_labels:
            height, width = self.settings.tile_shape
            logits = self.runner.forward(batch, levels, (slice(0, height), slice(0, width)), compiled=self.compiled)
            return torch.softmax(logits.float(), dim=1)
        (y, x), (core_y, core_x) = self.settings.halo_px, self.settings.tile_px
        logits = self.runner.forward(
            batch, levels, (slice(y, y + core_y), slice(x, x + core_x)), compiled=self.compiled
        )
        return logits.argmax(dim=1).to(torch.uint8)

    def _gathered(self, group: list[Job], size: int) -> tuple[Tensor, Tensor]:
        """Pixels (size, band, y, x) of the tiles as they came, 0 outside the cube, and which are valid (size, y, x)."""
        first = self.steps[group[0].image].sent
        shape = self.settings.tile_shape
        sent = first.new_zeros((size, len(first), *shape))
        inside = torch.zeros((size, *shape), dtype=torch.bool, device=first.device)
        for index, job in enumerate(group):
            step = self.steps[job.image]
            self.uploader.await_upload(step.ready)
            (rows, to_rows), (columns, to_columns) = (
                _overlap(tile, place) for tile, place in zip((job.y, job.x), self.places, strict=True)
            )
            sent[index, :, to_rows, to_columns] = step.sent[:, rows, columns]
            inside[index, to_rows, to_columns] = True if step.valid is None else step.valid[rows, columns]
        return sent, inside

    def _statistics(self, group: list[Job], sent: Tensor, inside: Tensor) -> Statistics:
        given = [self.steps[job.image].stats for job in group]
        known = [stats for stats in given if stats is not None]
        if len(known) < len(given):
            return statistics(sent, inside, self.numbers)
        # Those of the first one fill the batch up: its empty tiles have no valid pixel.
        known += known[:1] * (len(sent) - len(known))
        return Statistics(
            torch.cat([stats.count for stats in known]),
            torch.cat([stats.mean for stats in known]),
            torch.cat([stats.std for stats in known]),
        )

    def _scales(self, group: list[Job], size: int) -> tuple[Tensor, Tensor]:
        """Scale and offset of each tile (size, 2, band of the model), and whether they are known (size)."""
        device = self.uploader.device
        scales = torch.zeros((size, 2, len(self.settings.present)), dtype=torch.float64, device=device)
        for index, job in enumerate(group):
            known = self.steps[job.image].scales
            if known is not None:
                scales[index] = known
        flags = [self.steps[job.image].scales is not None for job in group]
        return scales, torch.tensor([*flags, *[False] * (size - len(group))], device=device)

    def _batch(self, tiles: Tensor, present: list[bool]) -> Tensor:
        """What the network is fed: all its bands, in its numbers and the layout that it is fastest with."""
        if not all(present):
            whole = tiles.new_zeros((len(tiles), len(present), *tiles.shape[2:]))
            whole[:, present] = tiles
            tiles = whole
        foreign = self.settings.spec.architecture in FOREIGN
        layout = torch.contiguous_format if foreign or self.uploader.device.type == "cpu" else torch.channels_last
        return tiles.to(dtype=self.runner.dtype, memory_format=layout)

    def _paste(self, group: list[Job], predicted: Tensor) -> None:
        halo_y, halo_x = self.settings.halo_px if self.settings.fast_labels else (0, 0)
        for job, values in zip(group, predicted, strict=False):
            rows, columns = (
                slice(tile.keep_start - place.start, tile.keep_stop - place.start)
                for tile, place in zip((job.y, job.x), self.places, strict=True)
            )
            kept = values[..., _moved(job.y.crop, -halo_y), _moved(job.x.crop, -halo_x)]
            if self.settings.fast_labels:
                self.canvas[job.image, rows, columns] = kept
            else:
                self.canvas[job.image, :, rows, columns] += kept


def _wanted(settings: EngineSettings, runner: Runner, *, fixed: bool) -> int:
    """Tiles fed at once where memory sets no limit."""
    if runner.device == "cpu" and settings.normalize != "chunk":
        return 1  # as `tiles.batches` has it
    if settings.batch_size is not None:
        return settings.batch_size
    tile_px = int(np.prod(settings.tile_shape))
    if runner.device == "cpu":
        return max(1, _BATCH_PX["cpu"] // tile_px)
    return rung(max(1, _BATCH_PX["fixed" if fixed else "free"] // tile_px))


def _overlap(tile: Tile, place: BlockPlace) -> tuple[slice, slice]:
    """The part of a tile that the block has: where it lies in the block, and where in the tile."""
    start, stop = max(tile.start, place.origin), min(tile.start + tile.size, place.end)
    return slice(start - place.origin, stop - place.origin), slice(start - tile.start, stop - tile.start)


def _moved(stretch: slice, by: int) -> slice:
    return slice(stretch.start + by, stretch.stop + by)


def _with_absent(stats: Statistics, present: list[bool]) -> Statistics:
    """Give bands that were given up a place, with zeros."""
    if all(present):
        return stats
    mean, std = (stats.mean.new_zeros((len(stats.mean), len(present))) for _ in range(2))
    mean[:, present], std[:, present] = stats.mean, stats.std
    return Statistics(stats.count, mean, std)


def _outcome(canvas: Tensor, places: Places, settings: EngineSettings) -> Tensor:
    """Turn the canvas into what was asked for."""
    style = get_style(settings.style)
    lookup = torch.from_numpy(style_lookup(style)).to(canvas.device)
    if settings.fast_labels:
        return canvas if settings.style == "4-class" else lookup[canvas.long()]
    if settings.step_px:
        rows, columns = (_times_seen(place, settings, axis) for axis, place in enumerate(places))
        canvas /= torch.from_numpy(rows[:, None] * columns).to(canvas.device)
    if settings.output == "labels":
        return lookup[canvas.argmax(dim=1)]
    if settings.style != "4-class":
        merged = canvas.new_zeros((len(canvas), len(style.meanings), *canvas.shape[2:]))
        for class_index, code in enumerate(style.code_of_class):
            merged[:, code] += canvas[:, class_index]
        canvas = merged
    return (canvas * 100).round_().to(torch.uint8) if settings.output == "percent" else canvas


def _times_seen(place: BlockPlace, settings: EngineSettings, axis: int) -> npt.NDArray[np.float32]:
    """How many windows cover each pixel of the block along an axis."""
    seen = np.zeros(place.stop - place.start, np.float32)
    for tile in tiles_along(place, settings, axis):
        seen[tile.keep_start - place.start : tile.keep_stop - place.start] += 1
    return seen
