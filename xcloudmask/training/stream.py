"""The stream of training samples: sample `i` depends on the seed and on `i` alone, so a resumed run sees the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xcloudmask.errors import ArgumentError
from xcloudmask.normalize import BandStatistics
from xcloudmask.sensors import get_sensor
from xcloudmask.simulate.atmosphere import draw_air, see_through_air
from xcloudmask.simulate.clouds import Sun, add_clouds
from xcloudmask.simulate.instrument import degrade, draw_instrument
from xcloudmask.simulate.surface import draw_surface
from xcloudmask.training import augment
from xcloudmask.training.config import Mixture
from xcloudmask.training.data import BANDS, GUESS_DROPPED, WAVELENGTHS_NM, Patch
from xcloudmask.training.labels import ANY, CLEAR, NOT_CLOUD, SHADOW, allowed_from_scene, guess_one
from xcloudmask.training.normalizers import Normalizer, make_normalizer, measure_numbers, whole_kind
from xcloudmask.training.paste import paste_clouds
from xcloudmask.training.patchwindow import cut_window

__all__ = ["Mixture", "SampleStream"]

_BLANK = 2e-3
_KINDS = ("real", "thumbnails", "clouded", "landscapes", "pasted")
_BAND_SETS = tuple(
    tuple(get_sensor(sensor).candidates(role)[0].wavelength_nm for role in BANDS)
    for sensor in ("sentinel-2-l1c", "landsat-oli-c2-l1", "landsat-tm-c2-l1", "planetscope-4b", "planetscope-8b")
)
"""Red, green and near infrared of several sensors: (shortest, centre, longest) in nm."""
_FRAMED = 0.15
"""Share of samples at the border of a cube."""
_TOP_OF_ATMOSPHERE = 0.5
"""Share of simulated surfaces seen through the air."""
_SNOW_NIR_KEPT = 0.6
"""Share of these that keep their near infrared."""
_MEASURED = 64
"""Simulated scenes that stand for the training data where there is nothing else."""


@dataclass(slots=True)
class _Window:
    image: npt.NDArray[np.float32]
    valid: npt.NDArray[np.uint8]
    allowed: npt.NDArray[np.uint8]
    resolution_m: float
    sun: Sun | None = None
    level_known: bool = True
    nir_kept: float = 1.0
    weight: float = 1.0


class SampleStream(torch.utils.data.Dataset[tuple[Tensor, Tensor, Tensor, Tensor]]):
    """Map from a sample's number to (image, level, allowed, weight).

    Parameters
    ----------
    labelled
        Labelled patches; the fully clear ones also serve as backgrounds.
    thumbnails
        Labelled pictures without near infrared, or with a guess of it.
    backgrounds
        Clear patches.
    mixture
        Shares.
    seed
        Seed of all samples.
    length
        Number of samples.
    normalizer
        None for the one that the mixture names, measured on the patches; without patches, on simulated scenes.

    Raises
    ------
    ArgumentError
        No kind of sample that has a share has patches to draw from.
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
        normalizer: Normalizer | None = None,
    ) -> None:
        self.mixture, self.seed, self.length = mixture, seed, length
        # Real shadows are few: those patches are drawn twice as often. Not more: their outlines are coarse.
        self.labelled = [*labelled, *(patch for patch in labelled if (patch.allowed == SHADOW).any())]
        self.thumbnails = list(thumbnails)
        # Simulated clouds, and those of another image, need values that are reflectance.
        every = [patch for patch in (*labelled, *thumbnails) if patch.level_known]
        self.backgrounds = [*backgrounds, *(patch for patch in every if patch.is_clear and patch.nir)]
        self.donors = [patch for patch in every if patch.nir and 0.02 < _cloud_share(patch) < 0.75]
        self._kinds, self._shares = self._possible_kinds()
        self.normalizer: Normalizer = normalizer or self._normalizer([*labelled, *backgrounds])

    def _normalizer(self, patches: list[Patch]) -> Normalizer:
        kind = self.mixture.normalize
        if patches or kind == "zscore":
            return make_normalizer(kind, patches)
        whole = whole_kind(kind)
        drawn = (np.random.default_rng((self.seed, index)) for index in range(_MEASURED))
        images = [self._draw("landscapes", rng).image for rng in drawn]
        return measure_numbers(whole, [np.concatenate([one[band].ravel() for one in images]) for band in range(3)])

    def _possible_kinds(self) -> tuple[list[str], npt.NDArray[np.float64]]:
        there = {
            "real": bool(self.labelled),
            "thumbnails": bool(self.thumbnails),
            "clouded": bool(self.backgrounds),
            "landscapes": True,
            "pasted": bool(self.backgrounds and self.donors),
        }
        shares = {
            kind: getattr(self.mixture, kind) for kind in _KINDS if there[kind] and getattr(self.mixture, kind) > 0
        }
        if not shares:
            wanted = [kind for kind in _KINDS if getattr(self.mixture, kind) > 0]
            raise ArgumentError(
                f"There is nothing to draw samples from: the mixture wants {', '.join(wanted) or 'nothing'}, and there "
                f"are {len(self.labelled)} labelled patches, {len(self.thumbnails)} thumbnails and "
                f"{len(self.backgrounds)} clear ones. Give such data, or landscapes = 1 under [mixture]."
            )
        return list(shares), np.array(list(shares.values())) / sum(shares.values())

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return image (3, y, x), level (7,), allowed (y, x) and weight of sample `index`."""
        rng = np.random.default_rng((self.seed, index))
        kind = self._kinds[rng.choice(len(self._kinds), p=self._shares)]
        window = self._draw(kind, rng)
        other = None
        pool = self._pool(kind)
        if rng.random() < self.mixture.statistics_mixed and pool:
            far = pool[rng.integers(len(pool))]
            other = (_patch_statistics(far, rng), float(rng.uniform(0.1, 0.7)))
        return self._finish(window, other, rng)

    def _pool(self, kind: str) -> list[Patch]:
        return {"real": self.labelled, "thumbnails": self.thumbnails}.get(kind, self.backgrounds)

    def _draw(self, kind: str, rng: np.random.Generator) -> _Window:
        if kind == "landscapes":
            return self._simulate(self._landscape(rng), rng)
        window = self._window(self._pool(kind), rng)
        if kind == "clouded":
            return self._simulate(self._vary_surface(window, rng), rng)
        if kind == "pasted":
            donor = self._window(self.donors, rng)
            window.image, window.allowed = paste_clouds(
                window.image, donor.image, donor.allowed, resolution_m=window.resolution_m, rng=rng
            )
            window.valid &= donor.valid
            window.weight = min(window.weight, donor.weight)
            window.nir_kept = min(window.nir_kept, donor.nir_kept)
        return window

    def _window(self, pool: list[Patch], rng: np.random.Generator) -> _Window:
        """Cut a window at a random scale; where the patch is too small, join patches of the same source."""
        patch = pool[rng.integers(len(pool))]
        siblings = [other for other in pool if other.source == patch.source]
        pixels, valid, allowed, resolution_m = cut_window(
            patch, siblings, size_px=self.mixture.size_px, mixed=self.mixture.mixed_resolution, rng=rng
        )
        return _Window(
            image=pixels,
            valid=valid.view(np.uint8),
            allowed=allowed,
            resolution_m=resolution_m,
            level_known=patch.level_known,
            nir_kept=(1.0 - GUESS_DROPPED if patch.nir_guessed else 1.0) if patch.nir else 0.0,
            weight=patch.weight,
        )

    def _landscape(self, rng: np.random.Generator) -> _Window:
        size = self.mixture.size_px
        resolution_m = float(np.exp(rng.uniform(np.log(9.0), np.log(50.0)))) if self.mixture.mixed_resolution else 20.0
        bands = _BAND_SETS[rng.integers(len(_BAND_SETS))]
        surface = draw_surface((size, size), bands=bands, resolution_m=resolution_m, rng=rng)
        image = surface.reflectance
        if rng.random() < _TOP_OF_ATMOSPHERE:
            image = see_through_air(image, bands=bands, air=draw_air(rng, sun_zenith_deg=surface.sun.zenith_deg))
        everywhere = np.ones((size, size), np.uint8)
        return _Window(
            image=image, valid=everywhere, allowed=everywhere * CLEAR, resolution_m=resolution_m, sun=surface.sun
        )

    def _vary_surface(self, window: _Window, rng: np.random.Generator) -> _Window:
        for chance, vary in ((0.12, augment.water), (0.1, augment.relief), (self.mixture.snow, augment.snow)):
            if rng.random() < chance:
                window.image = vary(window.image, rng)
                # Without near infrared, snow is what a network takes for clouds first.
                window.nir_kept = _SNOW_NIR_KEPT if vary is augment.snow else window.nir_kept
        return window

    def _simulate(self, window: _Window, rng: np.random.Generator) -> _Window:
        if rng.random() < self.mixture.clear:
            window.allowed = np.full(window.valid.shape, CLEAR, np.uint8)
            return window
        scene = add_clouds(
            window.image, wavelengths_nm=WAVELENGTHS_NM, resolution_m=window.resolution_m, rng=rng, sun=window.sun
        )
        window.image, window.allowed = scene.image, allowed_from_scene(scene)
        return window

    def _finish(
        self, window: _Window, other: tuple[BandStatistics, float] | None, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        image, valid = degrade(
            augment.radiometry(window.image, rng), window.valid.astype(bool), instrument=draw_instrument(rng), rng=rng
        )
        if rng.random() < _FRAMED:
            valid &= augment.frame((image.shape[1], image.shape[2]), rng)
        known = window.level_known and rng.random() >= self.mixture.level_dropped
        nir = rng.random() < window.nir_kept * (1.0 - self.mixture.nir_dropped)
        known = known and bool(nir or not self.mixture.level_complete)
        scored, level = self.normalizer(image, None if valid.all() else valid, other=other, level_known=known, nir=nir)
        if known and self.mixture.level_jitter > 0:
            level = augment.jitter_level(level, spread=self.mixture.level_jitter, rng=rng)
        # A saturated window whose level is unknown says nothing.
        blank = not known and float(image[:2].std(axis=(1, 2)).max()) < _BLANK
        sets = window.allowed if self.mixture.partial_labels else guess_one(window.allowed)
        allowed = np.where(valid & (not blank), sets, ANY).astype(np.uint8)
        weight = torch.tensor(window.weight, dtype=torch.float32)
        return torch.from_numpy(scored), torch.from_numpy(level), torch.from_numpy(allowed), weight


def _cloud_share(patch: Patch) -> float:
    return float(((patch.allowed & NOT_CLOUD) == 0).mean())


def _patch_statistics(patch: Patch, rng: np.random.Generator) -> BandStatistics:
    """Statistics of another place of the same sensor, from a coarse sample of its pixels."""
    start = rng.integers(5, size=2)
    pixels = patch.image[:, start[0] :: 5, start[1] :: 5].astype(np.float32) * np.float32(1e-4)
    return augment.window_statistics(pixels, patch.valid[start[0] :: 5, start[1] :: 5])
