"""From counts to measures; what has no support has no measure.

A pixel counts for a measure only where its set decides it: cloud against not cloud where all allowed classes lie on one
side, a class where it is known to be that class or known not to be. Precision, recall, F1 and IoU of a class need
pixels known to be of it: without them there is nothing to find, and the measure is NaN, not 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from xcloudmask.classes import CloudClass
from xcloudmask.evaluate.counts import ANY, CLOUD, Confusion

__all__ = ["COUNTS", "MEANS", "MEASURES", "TARGETS", "Binary", "Scores", "measures", "scores"]

Floats = npt.NDArray[np.float64]

TARGETS: Mapping[str, int] = MappingProxyType({"cloud": CLOUD} | {c.name.lower(): 1 << c for c in CloudClass})
"""What is measured against the rest, as sets of classes."""

_PER_TARGET = ("found", "support", "false", "negatives")
_BINARY = ("precision", "recall", "f1", "iou")
_MEANS = tuple(f"mean_{key}" for key in _BINARY)
_SHARES = ("agreement", "cloud_oa", "cloud_ba", "cloud_specificity", *_MEANS)

COUNTS = ("pixels", *(f"{name}_support" for name in TARGETS))
"""Measures that are numbers of pixels."""
MEASURES = (
    "pixels",
    *_SHARES,
    *(f"{name}_{key}" for name in TARGETS for key in (*_BINARY, "support")),
)
"""Names of all measures."""
MEANS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"cloud_ba": ("cloud_recall", "cloud_specificity")}
    | {f"mean_{key}": tuple(f"{c.name.lower()}_{key}" for c in CloudClass) for key in _BINARY}
)
"""Measures that are means of others, of those that have a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """Measures of one class against the rest; NaN where there is nothing to measure."""

    precision: float
    """Share of the predicted pixels that are right; NaN where nothing is predicted, too."""
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
    """Balanced accuracy of cloud against not cloud: the mean of the recalls of both sides, or of the one there is."""
    cloud_specificity: float
    """Recall of not cloud: share of the pixels without cloud that are not called cloud."""
    mean_precision: float
    """Mean of the precisions of the four classes, over those that have one."""
    mean_recall: float
    """Mean recall of the four classes that have support: balanced accuracy over the classes."""
    mean_f1: float
    """Mean F1 of the four classes that have support."""
    mean_iou: float
    """Mean intersection over union of the four classes that have support."""
    cloud: Binary
    """Cloud, thick or thin."""
    classes: tuple[Binary, Binary, Binary, Binary]
    """Clear, thick cloud, thin cloud, cloud shadow."""

    def to_dict(self) -> dict[str, float]:
        """Return the measures under flat names, those of `MEASURES`.

        Returns
        -------
        dict

        Examples
        --------
        >>> from xcloudmask.evaluate import confusion
        >>> scores(confusion(np.zeros((1, 2)), np.array([[1, 2]]))).to_dict()["cloud_oa"]
        0.5
        """
        flat = {name: float(getattr(self, name)) for name in ("pixels", *_SHARES)}
        for name, measured in zip(TARGETS, (self.cloud, *self.classes), strict=True):
            flat |= {f"{name}_{field.name}": float(getattr(measured, field.name)) for field in fields(Binary)}
        return flat


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
    >>> from xcloudmask.evaluate import confusion
    >>> result = scores(confusion(np.array([[0, 1, 2, 3]]), np.array([[1, 6, 6, 9]])))
    >>> result.cloud_oa, result.agreement
    (1.0, 1.0)
    """
    flat = {name: float(value) for name, value in measures(counted.counts).items()}
    cloud, clear, thick, thin, shadow = (
        Binary(support=int(flat[f"{name}_support"]), **{key: flat[f"{name}_{key}"] for key in _BINARY})
        for name in TARGETS
    )
    return Scores(
        pixels=int(flat["pixels"]),
        **{name: flat[name] for name in _SHARES},
        cloud=cloud,
        classes=(clear, thick, thin, shadow),
    )


def measures(counts: npt.NDArray[np.integer] | Floats) -> dict[str, Floats]:
    """Turn many counts into measures at once.

    Parameters
    ----------
    counts
        (..., 16, 4): pixels by set of allowed classes and by predicted class.

    Returns
    -------
    dict
        By the names of `MEASURES`, float64 arrays of the leading shape; NaN where nothing can be measured.

    Examples
    --------
    >>> from xcloudmask.evaluate import confusion
    >>> counted = confusion(np.array([[0, 1]]), np.array([[1, 2]])).counts
    >>> measures(np.stack([counted, 0 * counted]))["agreement"].tolist()
    [1.0, nan]
    """
    # One product for all sums: exact, because sums of pixels stay far below 2^53.
    sums = counts.reshape(*counts.shape[:-2], -1).astype(np.float64) @ _SUMMANDS
    tally = dict(zip(_TALLIES, np.moveaxis(sums, -1, 0), strict=True))
    right_ground = tally["cloud_negatives"] - tally["cloud_false"]
    found = {
        "pixels": tally["pixels"],
        "agreement": _ratio(tally["right"], tally["pixels"]),
        "cloud_oa": _ratio(tally["cloud_found"] + right_ground, tally["cloud_support"] + tally["cloud_negatives"]),
        "cloud_specificity": _ratio(right_ground, tally["cloud_negatives"]),
    }
    for name in TARGETS:
        found |= {f"{name}_{key}": value for key, value in _binary(tally, name).items()}
    found |= {name: _mean([found[part] for part in parts]) for name, parts in MEANS.items()}
    return {name: found[name] for name in MEASURES}


def _binary(tally: Mapping[str, Floats], name: str) -> dict[str, Floats]:
    """Measures of a set of classes against the rest."""
    found, support, false, _ = (tally[f"{name}_{key}"] for key in _PER_TARGET)
    there = support > 0
    return {
        "precision": _ratio(found, np.where(there, found + false, 0.0)),
        "recall": _ratio(found, support),
        "f1": _ratio(2.0 * found, np.where(there, found + false + support, 0.0)),
        "iou": _ratio(found, np.where(there, false + support, 0.0)),
        "support": support,
    }


def _ratio(part: Floats, whole: Floats) -> Floats:
    there = whole > 0
    return np.where(there, part / np.where(there, whole, 1.0), np.nan)


def _mean(parts: Sequence[Floats]) -> Floats:
    """Mean over those that have a value."""
    stacked = np.stack(parts)
    there = ~np.isnan(stacked)
    return _ratio(np.where(there, stacked, 0.0).sum(axis=0), there.sum(axis=0).astype(np.float64))


def _summands() -> dict[str, npt.NDArray[np.bool_]]:
    """Which of the (16, 4) counts each sum takes."""
    sets = np.arange(ANY + 1)
    bits = np.arange(len(CloudClass))
    allowed = ((sets[:, None] >> bits) & 1).astype(bool)
    informative = ((sets != 0) & (sets != ANY))[:, None] & np.ones(len(CloudClass), bool)
    parts: dict[str, npt.NDArray[np.bool_]] = {"pixels": informative, "right": informative & allowed}
    for name, wanted in TARGETS.items():
        predicted = ((wanted >> bits) & 1).astype(bool)
        inside = ((sets != 0) & ((sets & ~wanted) == 0))[:, None]
        outside = ((sets != 0) & ((sets & wanted) == 0))[:, None]
        every = np.ones_like(predicted)
        sides = (inside & predicted, inside & every, outside & predicted, outside & every)
        parts |= {f"{name}_{key}": side for key, side in zip(_PER_TARGET, sides, strict=True)}
    return parts


_TALLIES = tuple(_summands())
_SUMMANDS = np.stack([part.ravel() for part in _summands().values()], axis=1).astype(np.float64)
