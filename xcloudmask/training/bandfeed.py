"""What a network of many bands is fed: the bands of a window, and what it is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from xcloudmask.errors import ArgumentError
from xcloudmask.models._normalspec import sees_infrared
from xcloudmask.models.anybands import SIDE_VALUES
from xcloudmask.models.sensei import OFFSET, THERMAL_K, describe
from xcloudmask.normalize import BandStatistics, level_vector
from xcloudmask.training import augment
from xcloudmask.training.bandwindow import BandWindow
from xcloudmask.training.normalizers import WholeData, measure_numbers

__all__ = ["AnyBands", "BandFeed", "FixedBands", "measure_whole"]

_Image = npt.NDArray[np.float32]
_BRIGHTER = 0.6
"""Spread of the log of how much brighter another place is."""


class BandFeed(Protocol):
    """Makes of a window what a network takes."""

    def __call__(
        self, window: BandWindow, *, level_known: bool = True, rng: np.random.Generator | None = None
    ) -> tuple[_Image, _Image]:
        """Return the bands (band, y, x) and what the network is told besides; without `rng` nothing is random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyBands:
    """For a network with SEnSeI in front."""

    most: int
    """Places for bands: samples of one batch are filled up to so many."""
    scored: bool = True
    """Whether bands are fed as z-scores, with the level beside; else as reflectance plus `OFFSET`, as in the paper."""
    level_jitter: float = 0.0
    """See `xcloudmask.training.options.Mixture`."""
    mixed: float = 0.0
    """Share of windows that are normalised as a part of a larger one: `statistics_mixed`."""
    level_complete: bool = False
    """Whether the level is told only where there is a band of infrared."""

    def __call__(
        self, window: BandWindow, *, level_known: bool = True, rng: np.random.Generator | None = None
    ) -> tuple[_Image, _Image]:
        """Return the bands (most, y, x), 0 without data, and what `SIDE_VALUES` names of each (most, 7)."""
        count = len(window.image)
        level_known = level_known and (sees_infrared(window.wavelengths_nm) or not self.level_complete)
        unit = np.where(window.thermal, THERMAL_K, 1.0).astype(np.float32)
        values: _Image = window.image / unit[:, None, None]
        image = np.zeros((self.most, *window.valid.shape), np.float32)
        side = np.zeros((self.most, SIDE_VALUES), np.float32)
        side[:count, :3] = describe(window.wavelengths_nm).numpy()
        side[:count, 3] = 1.0
        if not self.scored:
            image[:count] = np.where(window.valid, values + np.float32(OFFSET), np.float32(0.0))
            return image, side
        valid = None if window.valid.all() else window.valid
        known = (1.0,) * count if level_known else None
        image[:count], level = scored_window(values, valid, known=known, mixed=self.mixed, rng=rng)
        if rng is not None and level_known and self.level_jitter > 0:
            level = augment.jitter_level(level, spread=self.level_jitter, rng=rng)
        side[:count, 4] = level[0]
        side[:count, 5:] = level[1:].reshape(count, 2)
        return image, side


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedBands:
    """For a network that takes certain bands; those that a window lacks are given up."""

    roles: tuple[str, ...]
    """In the order of the network."""
    normalizer: WholeData | None = None
    """Numbers of the training data; None takes the z-score of each window."""

    level_jitter: float = 0.0
    """See `xcloudmask.training.options.Mixture`."""
    mixed: float = 0.0
    """Share of windows that are normalised as a part of a larger one: `statistics_mixed`."""
    level_complete: bool = False
    """Whether the level is told only where no band is given up."""

    def __call__(
        self, window: BandWindow, *, level_known: bool = True, rng: np.random.Generator | None = None
    ) -> tuple[_Image, _Image]:
        """Return the bands (role, y, x), 0 where given up, and the level (1 + 2 * roles,)."""
        there = np.array([role in window.roles for role in self.roles])
        level_known = level_known and bool(there.all() or not self.level_complete)
        image = np.zeros((len(self.roles), *window.valid.shape), np.float32)
        image[there] = window.image[[window.roles.index(role) for role in self.roles if role in window.roles]]
        valid = None if window.valid.all() else window.valid
        if self.normalizer is not None:
            scaled, level = self.normalizer(image, valid, level_known=level_known, nir=True)
        else:
            known = tuple(there.astype(float)) if level_known else None
            scaled, level = scored_window(image, valid, known=known, mixed=self.mixed, rng=rng)
            if rng is not None and level_known and self.level_jitter > 0:
                level = augment.jitter_level(level, spread=self.level_jitter, rng=rng)
        scaled[~there] = 0.0
        return scaled, level


def scored_window(
    image: _Image,
    valid: npt.NDArray[np.bool_] | None,
    *,
    known: tuple[float, ...] | None,
    mixed: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[_Image, _Image]:
    """Z-score a window, and build its level as the engine does.

    Parameters
    ----------
    image
        (band, y, x).
    valid
        (y, x), None where all pixels are valid.
    known
        Per band 1, or 0 where it is given up; None where the level is unknown.
    mixed
        Chance that the statistics are those of a larger window, with a brighter or darker place in it.
    rng
        Source of randomness; None mixes nothing.

    Returns
    -------
    image, level
        (band, y, x) and (1 + 2 * bands,) float32.
    """
    stats = augment.window_statistics(image, valid)
    if rng is not None and rng.random() < mixed:
        stats = augment.mix_statistics(stats, _elsewhere(stats, rng), share=float(rng.uniform(0.1, 0.7)))
    return augment.score_window(image, valid, stats), level_vector(stats, scale=known, offset=(0.0,) * len(image))


def _elsewhere(stats: BandStatistics, rng: np.random.Generator) -> BandStatistics:
    """Statistics of another place: as much brighter or darker in all bands, nearly, and of another contrast."""
    bands = len(stats.mean)
    gain = np.exp(rng.normal(0.0, _BRIGHTER) + rng.normal(0.0, _BRIGHTER / 4, bands))
    return BandStatistics(count=stats.count, mean=stats.mean * gain, std=stats.std * np.exp(rng.normal(0.0, 0.5)))


def measure_whole(
    kind: Literal["fixed", "percentile"], windows: Sequence[BandWindow], roles: Sequence[str]
) -> WholeData:
    """Measure the numbers that serve every window.

    Parameters
    ----------
    kind
        "fixed" for mean and spread of each band, "percentile" for its percentiles 1 and 99.
    windows
        Windows of the training data.
    roles
        The bands.

    Returns
    -------
    WholeData

    Raises
    ------
    ArgumentError
        No window has a band.
    """
    values = {
        role: [one.image[one.roles.index(role)][one.valid][::7] for one in windows if role in one.roles]
        for role in roles
    }
    missing = [role for role, pixels in values.items() if not pixels]
    if missing:
        raise ArgumentError(
            f"No training sample has the band {missing[0]!r}. Leave it out of bands under [model], or add a sensor "
            "that has it to sensors under [mixture]."
        )
    return measure_numbers(kind, [np.concatenate(pixels) for pixels in values.values()])
