"""Time steps of a block on a device: pixels, validity, statistics, and the tiles that have something to deliver."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xcloudmask.errors import InputError
from xcloudmask.halo import Tile
from xcloudmask.models.device_math import Numbers, Statistics, statistics, valid_pixels
from xcloudmask.models.transfer import Uploader
from xcloudmask.normalize import standardised
from xcloudmask.settings import EngineSettings
from xcloudmask.tiles import Job, Places, tiles_along

__all__ = ["Step", "Stepper"]


@dataclass(frozen=True, slots=True)
class Step:
    """One time step of a block."""

    sent: Tensor
    """(band, y, x) as it came to the device."""
    valid: Tensor | None
    """(y, x) bool; None where all pixels are valid."""
    stats: Statistics | None
    """For every tile of the step; None where each tile takes its own."""
    scales: Tensor
    """(2, band of the model) float64 scale and offset; NaN where unknown."""
    gains: Tensor
    """(2, band of the model) float64 what pixels are multiplied by, and what is added, where reflectance is fed."""
    jobs: list[Job]
    """Tiles that deliver a valid pixel."""
    ready: Any
    """Event of the copy stream after which all this is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepper:
    """Sends the time steps of a block to a device."""

    settings: EngineSettings
    """What to do."""
    places: Places
    """Where the block lies."""
    numbers: Numbers
    """What the cube holds."""
    uploader: Uploader
    """Of this thread."""

    def send(
        self,
        index: int,
        pixels: npt.NDArray[Any],
        *,
        scene: npt.NDArray[np.float64] | None,
        scale: npt.NDArray[np.float64] | None,
    ) -> Step:
        """Send a time step, while the device may still compute.

        Parameters
        ----------
        index
            Number of the step, for its jobs.
        pixels
            (band, y, x).
        scene
            (band * 3) count, mean and spread of the scene; None where they are not given.
        scale
            (2, band of the model) scale and offset of this step, NaN for unknown; None for those of the settings.

        Returns
        -------
        Step
        """
        with self.uploader.stream():
            sent, _ = self.uploader.upload(self.numbers.for_device(pixels))
            valid = valid_pixels(sent, self.numbers, self.settings.nodata)
            jobs, everywhere = self._jobs(index, valid)
            valid = None if everywhere else valid
            stats = None
            if scene is not None:
                stats = _given(scene, sent.device)
            elif self.settings.normalize == "chunk" and jobs and self.settings.takes_statistics:
                stats = statistics(sent[None], None if valid is None else valid[None], self.numbers)
            known = _known_scale(scale, self.settings, needed=bool(jobs))
            # What is fed is worked out as the numpy path does it.
            fed = standardised(known, self.settings.spec.zero_and_unit)
            scales, gains = (torch.from_numpy(part).to(sent.device) for part in (known, fed))
            return Step(sent, valid, stats, scales, gains, jobs, self.uploader.event())

    def _jobs(self, index: int, valid: Tensor | None) -> tuple[list[Job], bool]:
        """Tiles that deliver a valid pixel, and whether all pixels are valid; waits for the copy stream if it must."""
        rows, columns = (tiles_along(place, self.settings, axis) for axis, place in enumerate(self.places))
        every = [Job(index, y, x) for y, x in product(rows, columns)]
        if valid is None:
            return every, True
        kept = (tuple(_kept(tile, place.origin) for tile, place in self._tiles(job)) for job in every)
        flags = torch.stack([valid.all(), *(valid[y, x].any() for y, x in kept)]).tolist()
        return [job for job, delivers in zip(every, flags[1:], strict=True) if delivers], flags[0]

    def _tiles(self, job: Job) -> Any:
        return zip((job.y, job.x), self.places, strict=True)


def _kept(tile: Tile, origin: int) -> slice:
    return slice(tile.keep_start - origin, tile.keep_stop - origin)


def _given(row: npt.NDArray[np.float64], device: torch.device) -> Statistics:
    """Statistics of a scene that were computed before."""
    count, mean, std = torch.from_numpy(row.reshape(-1, 3).T.copy()).to(device)
    return Statistics(count[:1], mean[None], std[None])


def _known_scale(
    scale: npt.NDArray[np.float64] | None, settings: EngineSettings, *, needed: bool
) -> npt.NDArray[np.float64]:
    """Scale and offset (2, band of the model), 0 for a band that was given up; all NaN where they are not known."""
    present = np.array(settings.present)
    if scale is not None:
        if np.isfinite(scale).all() and (scale[0, present] > 0).all():
            return np.where(present, scale, 0.0)
    elif settings.scale is not None:
        return np.array([settings.scale, settings.offset], np.float64)
    if needed and settings.spec.takes_reflectance:
        raise InputError(
            f"Model {settings.spec.name!r} takes reflectance, and the scale of a time step is not known. Expected "
            "finite coordinates scale_factor and add_offset for every date. Type predict(cube, scale=(1e-4, 0.0)), or "
            "leave those dates out."
        )
    return np.full((2, len(present)), np.nan)
