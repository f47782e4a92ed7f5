"""How samples are normalised: by their own statistics, as the engine does, or by those of the whole training data.

The second kind is there to be compared with: nothing that the package ships is trained with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from xcloudmask.normalize import BandStatistics
from xcloudmask.training.augment import normalize_window
from xcloudmask.training.data import Patch

__all__ = ["Normalizer", "WholeData", "make_normalizer"]


class Normalizer(Protocol):
    """Makes of a window what the network sees."""

    def __call__(
        self,
        image: npt.NDArray[np.float32],
        valid: npt.NDArray[np.bool_] | None,
        *,
        other: tuple[BandStatistics, float] | None = None,
        level_known: bool,
        nir: bool,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return the bands and the level vector; see `xcloudmask.training.augment.normalize_window`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeData:
    """Numbers of the training data that serve every window; needs reflectance, and ignores the level."""

    low: tuple[float, ...]
    """By band: what becomes 0."""
    spread: tuple[float, ...]
    """By band: what becomes 1 above that."""
    clip: bool = False
    """Whether values are kept between -1 and 1 afterwards."""

    def __call__(
        self,
        image: npt.NDArray[np.float32],
        valid: npt.NDArray[np.bool_] | None,
        *,
        other: tuple[BandStatistics, float] | None = None,
        level_known: bool,
        nir: bool,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return the bands, and a level vector that says nothing."""
        del other, level_known  # the values themselves tell the level
        low, spread = (np.asarray(part, np.float32)[:, None, None] for part in (self.low, self.spread))
        scaled = (image - low) / spread
        if self.clip:
            scaled = np.clip(scaled, -1.0, 1.0)
        if valid is not None:
            scaled[:, ~valid] = 0.0
        if not nir:
            scaled[-1] = 0.0
        return scaled, np.zeros(1 + 2 * len(image), np.float32)


def make_normalizer(kind: Literal["zscore", "fixed", "percentile"], patches: Sequence[Patch]) -> Normalizer:
    """Return the normaliser of that kind.

    Parameters
    ----------
    kind
        "zscore" takes the statistics of each window; "fixed" the mean and spread of all patches; "percentile" puts
        their percentiles 1 and 99 at -1 and 1 and clips.
    patches
        The training data.

    Returns
    -------
    Normalizer

    Examples
    --------
    >>> make_normalizer("zscore", []) is normalize_window
    True
    """
    if kind == "zscore" or not patches:
        return normalize_window
    pixels = np.concatenate([patch.image[:, ::4, ::4][:, patch.valid[::4, ::4]] for patch in patches], axis=1) * 1e-4
    if kind == "fixed":
        return WholeData(low=_plain(pixels.mean(axis=1)), spread=_plain(pixels.std(axis=1)))
    low, high = np.percentile(pixels, (1.0, 99.0), axis=1)
    return WholeData(low=_plain((low + high) / 2), spread=_plain((high - low) / 2), clip=True)


def _plain(values: npt.NDArray[np.floating]) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)
