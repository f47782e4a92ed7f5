"""Measures of a mask against labels that may be partial: a pixel carries the set of classes it may have (numpy only).

A pixel counts for a measure only where its set decides it: cloud against not cloud where all allowed classes lie on one
side, a class where it is known to be that class or known not to be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xcloudmask.classes import NODATA, CloudClass
from xcloudmask.errors import InputError

__all__ = ["Confusion", "Scores", "confusion", "pool", "scores", "sets_from_labels"]

_CLOUD = (1 << CloudClass.THICK_CLOUD) | (1 << CloudClass.THIN_CLOUD)
_ALL = (1 << len(CloudClass)) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Counts from which every measure is made; counts of several images add up."""

    counts: npt.NDArray[np.int64]
    """(16, 4): pixels by set of allowed classes and by predicted class."""

    def __add__(self, other: Confusion) -> Confusion:
        """Pool the counts of two images."""
        return Confusion(counts=self.counts + other.counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """Measures of one class against the rest; NaN where there is nothing to measure."""

    precision: float
    """Share of the predicted pixels that are right."""
    recall: float
    """Share of the true pixels that are found."""
    f1: float
    """Harmonic mean of the two."""
    iou: float
    """Intersection over union."""
    support: int
    """Pixels known to be of the class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Measures of one image, or of a pool of images; shares from 0 to 1, NaN where nothing can be measured."""

    pixels: int
    """Pixels whose set excludes at least one class."""
    agreement: float
    """Overall accuracy over the four classes: the prediction is among the allowed classes."""
    cloud_oa: float
    """Overall accuracy of cloud against not cloud."""
    cloud_ba: float
    """Balanced accuracy of cloud against not cloud: the mean of the recalls of both."""
    cloud: Binary
    """Cloud, thick or thin."""
    classes: tuple[Binary, Binary, Binary, Binary]
    """Clear, thick cloud, thin cloud, cloud shadow."""

    def to_dict(self) -> dict[str, float]:
        """Return the measures under flat names.

        Returns
        -------
        dict

        Examples
        --------
        >>> scores(confusion(np.zeros((1, 2)), np.array([[1, 2]]))).to_dict()["cloud_oa"]
        0.5
        """
        flat = {
            "pixels": float(self.pixels),
            "agreement": self.agreement,
            "cloud_oa": self.cloud_oa,
            "cloud_ba": self.cloud_ba,
        }
        named = {"cloud": self.cloud} | {c.name.lower(): self.classes[c] for c in CloudClass}
        for name, measures in named.items():
            for key in Binary.__dataclass_fields__:
                flat[f"{name}_{key}"] = float(getattr(measures, key))
        return flat


def sets_from_labels(label: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """Turn exact labels into sets of one class; other codes allow every class.

    Parameters
    ----------
    label
        Codes 0 to 3, 255 unknown.

    Returns
    -------
    numpy.ndarray
        uint8 sets, bit k for class k.

    Examples
    --------
    >>> sets_from_labels(np.array([0, 3, 255])).tolist()
    [1, 8, 15]
    """
    known = (label >= 0) & (label < len(CloudClass))
    return np.where(known, 1 << np.where(known, label, 0), _ALL).astype(np.uint8)


def confusion(mask: npt.NDArray[np.generic], allowed: npt.NDArray[np.generic]) -> Confusion:
    """Count pixels by allowed set and predicted class; nodata pixels of the mask are left out.

    Parameters
    ----------
    mask
        Predicted classes 0 to 3; 255 nodata.
    allowed
        Sets of allowed classes, of the same shape: bit k set where class k is possible. See `sets_from_labels`.

    Returns
    -------
    Confusion

    Raises
    ------
    InputError
        Shapes differ, or the mask holds other codes.

    Examples
    --------
    >>> int(confusion(np.array([[0, 255]]), np.array([[1, 1]])).counts.sum())
    1
    """
    if mask.shape != allowed.shape:
        raise InputError(
            f"The mask has shape {mask.shape} and the labels {allowed.shape}. Expected the same: crop one of them."
        )
    codes, sets = mask.astype(np.int64).ravel(), allowed.astype(np.int64).ravel()
    used = codes != NODATA
    codes, sets = codes[used], sets[used]
    if codes.size and (codes.min() < 0 or codes.max() >= len(CloudClass)):
        found = sorted(set(np.unique(codes).tolist()))
        raise InputError(
            f"The mask holds the codes {found}. Expected the 4 classes 0 to 3, and 255: "
            "predict with output_style='4-class'."
        )
    if sets.size and (sets.min() < 0 or sets.max() > _ALL):
        raise InputError(
            f"The sets of allowed classes reach from {sets.min()} to {sets.max()}. Expected 0 to {_ALL}: "
            "see sets_from_labels."
        )
    counts = np.bincount(sets * len(CloudClass) + codes, minlength=(_ALL + 1) * len(CloudClass))
    return Confusion(counts=counts.reshape(_ALL + 1, len(CloudClass)))


def pool(parts: Iterable[Confusion]) -> Confusion:
    """Add up the counts of several images.

    Parameters
    ----------
    parts
        Counts.

    Returns
    -------
    Confusion
    """
    total = Confusion(counts=np.zeros((_ALL + 1, len(CloudClass)), np.int64))
    for part in parts:
        total = total + part
    return total


def scores(counted: Confusion) -> Scores:
    """Turn counts into measures.

    Parameters
    ----------
    counted
        Counts of one image or of a pool.

    Returns
    -------
    Scores

    Examples
    --------
    >>> result = scores(confusion(np.array([[0, 1, 2, 3]]), np.array([[1, 6, 6, 9]])))
    >>> result.cloud_oa, result.agreement
    (1.0, 1.0)
    """
    sets = np.arange(_ALL + 1)
    informative = (sets != 0) & (sets != _ALL)
    allowed = ((sets[:, None] >> np.arange(len(CloudClass))) & 1).astype(bool)
    total = int(counted.counts[informative].sum())
    right = int((counted.counts * allowed)[informative].sum())
    cloud, true_negative, negatives = _binary(counted.counts, _CLOUD)
    positives = round(cloud.support * cloud.recall) if cloud.support else 0
    recalls = [cloud.recall] if cloud.support else []
    recalls += [_ratio(true_negative, negatives)] if negatives else []
    return Scores(
        pixels=total,
        agreement=_ratio(right, total),
        cloud_oa=_ratio(positives + true_negative, cloud.support + negatives),
        cloud_ba=_ratio(sum(recalls), len(recalls)),
        cloud=cloud,
        classes=tuple(_binary(counted.counts, 1 << c)[0] for c in CloudClass),  # type: ignore[arg-type]
    )


def _binary(counts: npt.NDArray[np.int64], wanted: int) -> tuple[Binary, int, int]:
    """Measures of a set of classes against the rest; also the true negatives and all negatives."""
    sets = np.arange(_ALL + 1)
    inside = (sets != 0) & ((sets & ~wanted) == 0)
    outside = (sets != 0) & ((sets & wanted) == 0)
    predicted = ((wanted >> np.arange(len(CloudClass))) & 1).astype(bool)
    found = int(counts[np.ix_(inside, predicted)].sum())
    support = int(counts[inside].sum())
    false = int(counts[np.ix_(outside, predicted)].sum())
    negatives = int(counts[outside].sum())
    measures = Binary(
        precision=_ratio(found, found + false),
        recall=_ratio(found, support),
        f1=_ratio(2 * found, found + false + support),
        iou=_ratio(found, false + support),
        support=support,
    )
    return measures, negatives - false, negatives


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
