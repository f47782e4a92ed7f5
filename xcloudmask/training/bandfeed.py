"""What a network of many bands is fed: the bands of a window, and what it is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from xcloudmask.errors import ArgumentError
from xcloudmask.models.anybands import SIDE_VALUES
from xcloudmask.models.sensei import OFFSET, THERMAL_K, describe
from xcloudmask.normalize import level_vector
from xcloudmask.training import augment
from xcloudmask.training.bandwindow import BandWindow
from xcloudmask.training.normalizers import WholeData

__all__ = ["AnyBands", "BandFeed", "FixedBands", "measure_whole"]

_Image = npt.NDArray[np.float32]


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

    def __call__(
        self, window: BandWindow, *, level_known: bool = True, rng: np.random.Generator | None = None
    ) -> tuple[_Image, _Image]:
        """Return values plus `OFFSET` (most, y, x), 0 without data, and (most, 4) descriptors."""
        del level_known, rng  # reflectance itself tells the level
        count = len(window.image)
        unit = np.where(window.thermal, np.float32(THERMAL_K), np.float32(1.0))[:, None, None]
        image = np.zeros((self.most, *window.valid.shape), np.float32)
        image[:count] = np.where(window.valid, window.image / unit + np.float32(OFFSET), np.float32(0.0))
        side = np.zeros((self.most, SIDE_VALUES), np.float32)
        side[:count, :-1] = describe(window.wavelengths_nm).numpy()
        side[:count, -1] = 1.0
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

    def __call__(
        self, window: BandWindow, *, level_known: bool = True, rng: np.random.Generator | None = None
    ) -> tuple[_Image, _Image]:
        """Return the bands (role, y, x), 0 where given up, and the level (1 + 2 * roles,)."""
        there = np.array([role in window.roles for role in self.roles])
        image = np.zeros((len(self.roles), *window.valid.shape), np.float32)
        image[there] = window.image[[window.roles.index(role) for role in self.roles if role in window.roles]]
        valid = None if window.valid.all() else window.valid
        if self.normalizer is not None:
            scaled, level = self.normalizer(image, valid, level_known=level_known, nir=True)
        else:
            stats = augment.window_statistics(image, valid)
            spread = np.where(stats.std > 0, stats.std, 1.0)
            scaled = (image - stats.mean.astype(np.float32)[:, None, None]) / spread.astype(np.float32)[:, None, None]
            if valid is not None:
                scaled[:, ~valid] = 0.0
            scale = tuple(there.astype(float)) if level_known else None
            level = level_vector(stats, scale=scale, offset=(0.0,) * len(image))
            if rng is not None and level_known and self.level_jitter > 0:
                level = augment.jitter_level(level, spread=self.level_jitter, rng=rng)
        scaled[~there] = 0.0
        return scaled, level


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
    low, spread = [], []
    for role in roles:
        values = [one.image[one.roles.index(role)][one.valid][::7] for one in windows if role in one.roles]
        if not values:
            raise ArgumentError(
                f"No training sample has the band {role!r}. Leave it out of bands under [model], or add a sensor that "
                "has it to sensors under [mixture]."
            )
        pixels = np.concatenate(values)
        first, last = np.percentile(pixels, (1.0, 99.0)) if kind == "percentile" else (pixels.mean(), pixels.std())
        low.append(round(float(first), 6))
        spread.append(round(float(last - first if kind == "percentile" else last), 6))
    return WholeData(low=tuple(low), spread=tuple(spread), clip=kind == "percentile")
