"""How sure a model is of a chip, and what the chip looks like: plain numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Uncertainty", "describe", "levelled", "standardised", "uncertainty_of"]

Uncertainty = Literal["entropy", "margin", "disagreement"]
"""What counts as unsure."""

_Floats = npt.NDArray[np.floating]
_FLOOR = 1e-3
_TINY = 1e-12
_OUTLIER = 3.0
_TEXTURES_PX = (1, 4)


def uncertainty_of(probabilities: Sequence[_Floats], *, how: Uncertainty) -> float:
    """Return the mean uncertainty of the valid pixels.

    Parameters
    ----------
    probabilities
        One (class, y, x) array for each member of the model, NaN without data.
    how
        "entropy" of the mean of the members (Shannon, over its largest value); "margin": 1 less the lead of the most
        probable class over the next; "disagreement": entropy of the mean less mean of the entropies, the mutual
        information of class and member (Houlsby et al. 2011, arXiv:1112.5745), which leaves out the noise that all
        members see.

    Returns
    -------
    float
        0 to 1; NaN without a valid pixel.

    Notes
    -----
    Entropy and margin: Settles (2009), Active Learning Literature Survey, University of Wisconsin, TR 1648.

    Examples
    --------
    >>> uncertainty_of([np.full((4, 1, 1), 0.25)], how="entropy")
    1.0
    >>> uncertainty_of([np.array([[[1.0]], [[0.0]]]), np.array([[[0.0]], [[1.0]]])], how="disagreement")
    1.0
    """
    valid = np.isfinite(probabilities[0][0])
    if not valid.any():
        return float("nan")
    members = np.stack([array[:, valid] for array in probabilities]).astype(np.float64)
    mean = members.mean(axis=0)
    if how == "margin":
        best = np.sort(mean, axis=0)
        return float((1.0 - best[-1] + best[-2]).mean())
    value = _entropy(mean).mean()
    if how == "disagreement":
        value -= np.mean([_entropy(member).mean() for member in members])
    return float(max(value, 0.0))


def _entropy(probabilities: _Floats) -> npt.NDArray[np.float64]:
    logs = np.log(np.maximum(probabilities, _TINY))
    result: npt.NDArray[np.float64] = -(probabilities * logs).sum(axis=0) / np.log(len(probabilities))
    return result


def describe(image: _Floats, valid: npt.NDArray[np.bool_], probabilities: _Floats) -> npt.NDArray[np.float64]:
    """Describe a chip by its brightness, its texture and what the model sees in it.

    Parameters
    ----------
    image
        (band, y, x) reflectance, or DN where the scale is unknown; a band given up is 0.
    valid
        (y, x) bool.
    probabilities
        (class, y, x), NaN where not valid.

    Returns
    -------
    numpy.ndarray
        For each band the logs of mean and spread and the roughness at 1 and 4 px (mean difference of neighbours over
        the spread), then for each class its mean probability and how that varies; all 0 without a valid pixel.

    Notes
    -----
    Features of the image and of the answer, not of a layer: so every architecture and ensemble has them.

    Examples
    --------
    >>> image = np.ones((3, 8, 8))
    >>> describe(image, np.ones((8, 8), bool), np.full((4, 8, 8), 0.25)).shape
    (20,)
    """
    parts: list[float] = []
    for band in image:
        values = band[valid].astype(np.float64)
        if not len(values):
            parts += [0.0] * (2 + len(_TEXTURES_PX))
            continue
        spread = max(float(values.std()), _FLOOR)
        parts += [float(np.log(max(values.mean(), _FLOOR))), float(np.log(spread))]
        parts += [_roughness(band, valid, step) / spread for step in _TEXTURES_PX]
    for plane in probabilities:
        values = plane[valid].astype(np.float64)
        parts += [float(values.mean()), float(values.std())] if len(values) else [0.0, 0.0]
    return np.array(parts)


def _roughness(band: _Floats, valid: npt.NDArray[np.bool_], step: int) -> float:
    """Mean difference of pixels that lie `step` apart along a row, both valid."""
    both = valid[:, step:] & valid[:, :-step]
    if not both.any():
        return 0.0
    return float(np.abs(band[:, step:][both].astype(np.float64) - band[:, :-step][both]).mean())


def levelled(
    features: npt.NDArray[np.float64], there: npt.NDArray[np.bool_], scales: Sequence[str], *, bands: int
) -> npt.NDArray[np.float64]:
    """Take the unit of the pixels out of the features: reflectance, DN and 8 bit have logs that lie far apart.

    Parameters
    ----------
    features
        (chip, feature), from `describe`.
    there
        (chip,) bool: the chips that count.
    scales
        For each chip what its unit is; chips of equal text share one.
    bands
        Bands of the images.

    Returns
    -------
    numpy.ndarray
        Logs of mean and spread less their mean over the chips of the same unit.
    """
    result = features.copy()
    logs = [band * (2 + len(_TEXTURES_PX)) + offset for band in range(bands) for offset in (0, 1)]
    columns = np.array(logs, np.intp)
    units = np.array(scales)
    for unit in set(scales):
        own = np.flatnonzero(there & (units == unit))
        if len(own):
            result[np.ix_(own, columns)] -= result[np.ix_(own, columns)].mean(axis=0)
    return result


def standardised(features: npt.NDArray[np.float64], there: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Bring features to one unit: the spread of each in the pool.

    Parameters
    ----------
    features
        (chip, feature).
    there
        (chip,) bool: the chips that count; others become 0.

    Returns
    -------
    numpy.ndarray
        (chip, feature), cut at three spreads, so that a single odd chip is no world of its own; over the root of the
        number of features, so that distances do not grow with it.
    """
    if not there.any():
        return np.zeros_like(features)
    centre, spread = features[there].mean(axis=0), features[there].std(axis=0)
    scaled = (features - centre) / np.where(spread > 0, spread, 1.0)
    scaled = np.clip(scaled, -_OUTLIER, _OUTLIER) / np.sqrt(features.shape[1])
    return np.where(there[:, None], scaled, 0.0)
