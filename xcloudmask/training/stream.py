"""The stream of training samples: sample `i` depends on the seed and on `i` alone, so a resumed run sees the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xcloudmask.normalize import BandStatistics
from xcloudmask.simulate.clouds import add_clouds
from xcloudmask.training import augment
from xcloudmask.training.data import WAVELENGTHS_NM, Patch
from xcloudmask.training.labels import ANY, CLEAR, SHADOW, allowed_from_scene

__all__ = ["Mixture", "SampleStream"]

_BLANK = 2e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """How samples are drawn."""

    simulated: float = 0.45
    """Share with simulated clouds on clear patches."""
    simulated_clear: float = 0.2
    """Share of those that stay without a cloud."""
    real: float = 0.3
    """Share of labelled patches; the rest are thumbnails."""
    level_dropped: float = 0.35
    """Share of samples whose level is kept from the network."""
    nir_dropped: float = 0.15
    """Share of samples whose near infrared is given up."""
    size_px: int = 192
    """Side of a sample; a multiple of the network's stride."""


@dataclass(slots=True)
class _Window:
    image: npt.NDArray[np.float32]
    valid: npt.NDArray[np.uint8]
    allowed: npt.NDArray[np.uint8]
    resolution_m: float
    patch: Patch


class SampleStream(torch.utils.data.Dataset[tuple[Tensor, Tensor, Tensor, Tensor]]):
    """Map from a sample's number to (image, level, allowed, weight).

    Parameters
    ----------
    labelled
        Labelled patches; the fully clear ones also serve as backgrounds.
    thumbnails
        Patches without near infrared.
    backgrounds
        Clear patches.
    mixture
        Shares.
    seed
        Seed of all samples.
    length
        Number of samples.
    """

    def __init__(
        self,
        *,
        labelled: Sequence[Patch],
        thumbnails: Sequence[Patch],
        backgrounds: Sequence[Patch],
        mixture: Mixture,
        seed: int,
        length: int,
    ) -> None:
        self.mixture, self.seed, self.length = mixture, seed, length
        # Real shadows are few: those patches are drawn three times as often.
        self.labelled = [*labelled, *(2 * [patch for patch in labelled if (patch.allowed == SHADOW).any()])]
        self.thumbnails = list(thumbnails)
        self.backgrounds = [*backgrounds, *(patch for patch in labelled if patch.is_clear)]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return image (3, y, x), level (7,), allowed (y, x) and weight of sample `index`."""
        rng = np.random.default_rng((self.seed, index))
        pool, simulated = self._draw_pool(rng)
        window = self._window(pool, rng)
        if simulated:
            self._simulate(window, rng)
        other = None
        if rng.random() < 0.3:
            far = pool[rng.integers(len(pool))]
            other = (_patch_statistics(far, rng), float(rng.uniform(0.1, 0.7)))
        return self._finish(window, other, rng)

    def _draw_pool(self, rng: np.random.Generator) -> tuple[list[Patch], bool]:
        draw = rng.random()
        if self.backgrounds and draw < self.mixture.simulated:
            return self.backgrounds, True
        if self.labelled and draw < self.mixture.simulated + self.mixture.real:
            return self.labelled, False
        return self.thumbnails or self.labelled or self.backgrounds, not (self.thumbnails or self.labelled)

    def _window(self, pool: list[Patch], rng: np.random.Generator) -> _Window:
        """Cut a window at a random scale; where the patch is too small, join patches of the same source."""
        size = self.mixture.size_px
        patch = pool[rng.integers(len(pool))]
        steps = (0.55, 0.75, 1.0, 1.5, 2.0, 3.0) if patch.resolution_m < 25 else (0.4, 0.6, 1.0, 1.0, 1.0, 1.5)
        scale = steps[rng.choice(6, p=(0.06, 0.1, 0.42, 0.14, 0.2, 0.08))]
        wide = round(size * scale)
        siblings = [other for other in pool if other.source == patch.source]
        image, valid, allowed = _mosaic(patch, siblings, wide, rng)
        pixels, codes = augment.resize(
            image.astype(np.float32) * np.float32(1e-4), [valid.view(np.uint8), allowed], size
        )
        return _Window(pixels, codes[0], codes[1], patch.resolution_m * scale, patch)

    def _simulate(self, window: _Window, rng: np.random.Generator) -> None:
        if rng.random() < 0.2:
            window.image = augment.water(window.image, rng)
        if rng.random() < 0.2:
            window.image = augment.relief(window.image, rng)
        if rng.random() < 0.08:
            window.image = augment.snow(window.image, rng)
        if rng.random() < self.mixture.simulated_clear:
            window.allowed = np.full(window.valid.shape, CLEAR, np.uint8)
            return
        scene = add_clouds(window.image, wavelengths_nm=WAVELENGTHS_NM, resolution_m=window.resolution_m, rng=rng)
        window.image, window.allowed = scene.image, allowed_from_scene(scene)

    def _finish(
        self, window: _Window, other: tuple[BandStatistics, float] | None, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        image = augment.radiometry(window.image, rng)
        valid = window.valid.astype(bool)
        if rng.random() < 0.1:
            valid &= augment.wedge((image.shape[1], image.shape[2]), rng)
        known = window.patch.level_known and rng.random() >= self.mixture.level_dropped
        nir = window.patch.nir and rng.random() >= self.mixture.nir_dropped
        scored, level = augment.normalize_window(
            image, None if valid.all() else valid, other=other, level_known=known, nir=nir
        )
        # A saturated window whose level is unknown says nothing.
        blank = not known and float(image[:2].std(axis=(1, 2)).max()) < _BLANK
        allowed = np.where(valid & (not blank), window.allowed, ANY).astype(np.uint8)
        weight = torch.tensor(window.patch.weight)
        return torch.from_numpy(scored), torch.from_numpy(level), torch.from_numpy(allowed), weight


def _mosaic(
    patch: Patch, siblings: list[Patch], size: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
    tile = min(size, *patch.valid.shape, *(min(other.valid.shape) for other in siblings))
    count = -(-size // tile) if tile < size and min(patch.valid.shape) < size else 1
    side = size if count == 1 else tile
    image = np.empty((len(patch.image), count * side, count * side), np.uint16)
    valid = np.empty(image.shape[1:], bool)
    allowed = np.empty(image.shape[1:], np.uint8)
    for row in range(count):
        for column in range(count):
            chosen = patch if row == column == 0 else siblings[rng.integers(len(siblings))]
            y, x = (int(rng.integers(extent - side + 1)) for extent in chosen.valid.shape)
            cut = (slice(y, y + side), slice(x, x + side))
            place = (slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side))
            parts = augment.dihedral([chosen.image[:, *cut], chosen.valid[cut], chosen.allowed[cut]], rng)
            image[:, *place], valid[place], allowed[place] = parts
    y, x = rng.integers(count * side - size + 1, size=2)
    cut = (slice(y, y + size), slice(x, x + size))
    return image[:, *cut], valid[cut], allowed[cut]


def _patch_statistics(patch: Patch, rng: np.random.Generator) -> BandStatistics:
    """Statistics of another place of the same sensor, from a coarse sample of its pixels."""
    start = rng.integers(5, size=2)
    pixels = patch.image[:, start[0] :: 5, start[1] :: 5].astype(np.float32) * np.float32(1e-4)
    return augment.window_statistics(pixels, patch.valid[start[0] :: 5, start[1] :: 5])
