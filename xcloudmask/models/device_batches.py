"""Tiles of several time steps in batches through the network, and what comes back put in its place on the device.

Nothing here waits for the device: while it works on a batch, the host prepares the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from xcloudmask.classes import NODATA, CloudClass
from xcloudmask.halo import BlockPlace, Tile
from xcloudmask.models._foreignspec import FOREIGN
from xcloudmask.models.batch_ladder import rung
from xcloudmask.models.device_math import Numbers, Statistics, level_vectors, rescale, statistics, zscore
from xcloudmask.models.device_rule import compile_mode
from xcloudmask.models.device_steps import Step
from xcloudmask.models.devices import turn_on
from xcloudmask.models.runner import Runner
from xcloudmask.models.transfer import Uploader
from xcloudmask.settings import EngineSettings
from xcloudmask.tiles import Job, Places, times_seen

__all__ = ["Batches"]

_BATCH_PX = {"cpu": 1_500_000, "free": 16_000_000, "fixed": 4_000_000}
"""Pixels fed at once where the batch size is automatic: on the processor; where batches may have any size; and where
all have one, so that the last one is filled up with nothing."""


@dataclass(slots=True, kw_only=True)
class Batches:
    """Tiles that wait for a batch, and the result so far."""

    settings: EngineSettings
    """What to do."""
    places: Places
    """Where the block lies."""
    numbers: Numbers
    """What the cube holds."""
    uploader: Uploader
    """Of this thread."""
    runner: Runner
    """The model."""
    steps: list[Step]
    """Those sent so far; grows while there are more."""
    count: int
    """Steps of the block."""
    _compiled: str = field(init=False)
    _canvas: Tensor = field(init=False)
    _seen: Tensor | None = field(init=False, default=None)
    _waiting: list[Job] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._compiled = compile_mode(self.settings.spec.architecture)
        sides = tuple(place.stop - place.start for place in self.places)
        device = self.uploader.device
        if self.settings.fast_labels:
            self._canvas = torch.full((self.count, *sides), NODATA, dtype=torch.uint8, device=device)
            return
        self._canvas = torch.zeros((self.count, len(CloudClass), *sides), device=device)
        if self.settings.step_px:
            # On the copy stream, so that nobody waits for the network.
            with self.uploader.stream():
                self._seen = torch.from_numpy(times_seen(self.places, self.settings)).to(device)

    @property
    def _fixed(self) -> bool:
        """Whether all batches have one size: another one can give other last bits, or is compiled anew."""
        return self.settings.normalize != "chunk" or bool(self._compiled)

    def add(self, jobs: list[Job]) -> None:
        """Take more tiles, and predict as many as fill batches.

        Parameters
        ----------
        jobs
            Of the step that was sent last.
        """
        self._waiting += jobs
        self._predict(at_least=self._size())

    def finished(self) -> tuple[Tensor, Tensor | None]:
        """Predict what is left.

        Returns
        -------
        canvas
            (time, y, x) labels of the four classes, or (time, class, y, x) sums of probabilities.
        seen
            (y, x) how many windows were added up; None where they do not overlap.
        """
        self._predict(at_least=1)
        return self._canvas, self._seen

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
        stats = self._statistics(group, sent, inside) if self.settings.takes_statistics else None
        tiles = self._normalised(group, sent, inside, stats)
        levels = None
        if self.runner.takes_level and stats is not None:
            stats = Statistics(stats.count, self._all_bands(stats.mean), self._all_bands(stats.std))
            scales = self._along([self.steps[job.image].scales for job in group], size)
            levels = level_vectors(stats, scales).to(self.runner.dtype)
        batch = self._in_layout(self._all_bands(tiles))
        if not self.settings.fast_labels:
            height, width = self.settings.tile_shape
            logits = self.runner.forward(batch, levels, (slice(0, height), slice(0, width)), compiled=self._compiled)
            return torch.softmax(logits.float(), dim=1)
        (y, x), (core_y, core_x) = self.settings.halo_px, self.settings.tile_px
        logits = self.runner.forward(
            batch, levels, (slice(y, y + core_y), slice(x, x + core_x)), compiled=self._compiled
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

    def _normalised(self, group: list[Job], sent: Tensor, inside: Tensor, stats: Statistics | None) -> Tensor:
        """What the network is fed (size, band, y, x): the z-score, or what fixed numbers make of the reflectance."""
        spec = self.settings.spec
        if stats is not None and not spec.takes_reflectance:
            return zscore(sent, inside, stats.mean, stats.std, self.numbers)
        gains = self._along([self.steps[job.image].gains for job in group], len(sent))
        bands = [gains[:, :, band] for band, there in enumerate(self.settings.present) if there]
        clip = spec.normalization == "percentile"
        return rescale(sent, inside, torch.stack(bands, dim=2), self.numbers, clip=clip)

    @staticmethod
    def _along(known: list[Tensor], size: int) -> Tensor:
        """Scale and offset of each tile, (size, 2, band of the model); NaN for unknown."""
        return torch.stack(known + known[:1] * (size - len(known)))

    def _all_bands(self, values: Tensor) -> Tensor:
        """Give the bands that were given up a place (n, band, ...), with zeros.

        Band by band: an index that is a list would be sent to the device, and the host would wait for it.
        """
        present = self.settings.present
        if all(present):
            return values
        rest = iter(values.unbind(1))
        nothing = torch.zeros_like(values[:, 0])
        return torch.stack([next(rest) if there else nothing for there in present], dim=1)

    def _in_layout(self, tiles: Tensor) -> Tensor:
        """In the numbers of the network, and the layout that it is fastest with."""
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
                self._canvas[job.image, rows, columns] = kept
            else:
                self._canvas[job.image, :, rows, columns] += kept


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
