"""How samples are normalised: by their own statistics, or by numbers of the whole training data; as the engine does.

What the second kind makes of a window is ``"fixed"`` or ``"percentile"`` in a `xcloudmask.ModelSpec`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from xcloudmask.errors import ArgumentError
from xcloudmask.models.spec import ModelSpec
from xcloudmask.normalize import BandStatistics
from xcloudmask.training.augment import normalize_window
from xcloudmask.training.data import Patch

__all__ = ["Normalizer", "WholeData", "make_normalizer", "measure_numbers", "normalizer_of", "whole_kind"]

_DIGITS = 6


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
    """Whether values are kept between 0 and 1 afterwards."""

    @property
    def spec_fields(self) -> dict[str, Any]:
        """Fields of a `xcloudmask.ModelSpec` by which the engine does the same."""
        if not self.clip:
            return {"normalization": "fixed", "mean": list(self.low), "std": list(self.spread)}
        high = [round(low + spread, _DIGITS) for low, spread in zip(self.low, self.spread, strict=True)]
        return {"normalization": "percentile", "low": list(self.low), "high": high}

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
            scaled = np.clip(scaled, 0.0, 1.0)
        if valid is not None:
            scaled[:, ~valid] = 0.0
        if not nir:
            scaled[-1] = 0.0
        return scaled, np.zeros(1 + 2 * len(image), np.float32)


def make_normalizer(kind: Literal["zscore", "fixed", "percentile", "none"], patches: Sequence[Patch]) -> Normalizer:
    """Return the normaliser of that kind.

    Parameters
    ----------
    kind
        "zscore" takes the statistics of each window; "fixed" the mean and spread of all patches; "percentile" puts
        their percentiles 1 and 99 at 0 and 1 and clips.
    patches
        The training data, all of the same bands. A near infrared that a patch has not is left out.

    Returns
    -------
    Normalizer

    Raises
    ------
    ArgumentError
        No patch has pixels in a band, or patches have other bands than the first.

    Examples
    --------
    >>> make_normalizer("zscore", []) is normalize_window
    True
    """
    if kind == "zscore":
        return normalize_window
    whole = whole_kind(kind)
    odd = [patch for patch in patches if patch.bands != patches[0].bands]
    if odd:
        raise ArgumentError(
            f"Patch {odd[0].name!r} has the bands {', '.join(odd[0].bands)}, and {patches[0].name!r} has "
            f"{', '.join(patches[0].bands)}. Expected patches of the same bands for normalize = {kind!r}."
        )
    values = []
    for index, role in enumerate(patches[0].bands if patches else ()):
        those = [one.image[index, ::4, ::4][one.valid[::4, ::4]] for one in patches if one.nir or role != "nir"]
        values.append(np.concatenate(those) * 1e-4 if those else np.empty(0))
    return measure_numbers(whole, values)


def whole_kind(kind: Literal["fixed", "percentile", "none"]) -> Literal["fixed", "percentile"]:
    """Return a way to normalise by numbers of the whole training data.

    Raises
    ------
    ArgumentError
        Networks of certain bands are not fed reflectance as it is.
    """
    if kind == "none":
        raise ArgumentError(
            "normalize = 'none' under [mixture] is for networks of any bands (sensei-unet). Type 'zscore', 'fixed' or "
            "'percentile'."
        )
    return kind


def measure_numbers(kind: Literal["fixed", "percentile"], values: Sequence[npt.NDArray[np.floating[Any]]]) -> WholeData:
    """Measure the numbers that serve every window.

    Parameters
    ----------
    kind
        "fixed" or "percentile".
    values
        Reflectance of the training data, by band.

    Returns
    -------
    WholeData

    Raises
    ------
    ArgumentError
        A band has no pixels, or but one value.

    Notes
    -----
    Percentiles 1 and 99 of the training data instead of those of each image: contrast between images is kept.

    Examples
    --------
    >>> measure_numbers("percentile", [np.linspace(0.0, 1.0, 101)]).spec_fields
    {'normalization': 'percentile', 'low': [0.01], 'high': [0.99]}
    """
    low, spread = [], []
    for number, pixels in enumerate(values, start=1):
        if pixels.size == 0:
            break
        first, second = (pixels.mean(), pixels.std()) if kind == "fixed" else np.percentile(pixels, (1.0, 99.0))
        low.append(round(float(first), _DIGITS))
        spread.append(round(float(second if kind == "fixed" else second - first), _DIGITS))
        if spread[-1] <= 0:
            raise ArgumentError(
                f"Band {number} of the training data has one value only, {low[-1]}, from which normalize = {kind!r} "
                "cannot be measured. Leave the band out, or type normalize = 'zscore' under [mixture]."
            )
    if not values or len(low) < len(values):
        raise ArgumentError(
            f"normalize = {kind!r} is measured on patches, and there is none with band {len(low) + 1}. Give patches, "
            "or type normalize = 'zscore' under [mixture]."
        )
    return WholeData(low=tuple(low), spread=tuple(spread), clip=kind == "percentile")


def normalizer_of(spec: ModelSpec) -> Normalizer:
    """Return what a model was trained with, to train it further.

    Parameters
    ----------
    spec
        A model of certain bands that is no ensemble.

    Returns
    -------
    Normalizer

    Raises
    ------
    ArgumentError
        It takes reflectance as it is, which training does not feed.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> normalizer_of(get_spec("default")) is normalize_window
    True
    """
    if spec.normalization == "zscore":
        return normalize_window
    if spec.normalization == "none":
        raise ArgumentError(
            f"{spec.name!r} takes reflectance as it is, which training does not feed. Expected a model whose "
            "normalization is 'zscore', 'fixed' or 'percentile'."
        )
    low, spread = spec.zero_and_unit
    return WholeData(low=low, spread=spread, clip=spec.normalization == "percentile")
