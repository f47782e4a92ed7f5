"""Measures with intervals per source and pooled: from counted images, or straight from arrays, to an `Evaluation`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudmask.errors import InputError
from xcloudmask.evaluate.bootstrap import Bootstrap, Estimate, Resampled, estimates, mean_estimates, resample
from xcloudmask.evaluate.counts import Confusion, Kind, confusion, pool, sets_from_labels
from xcloudmask.evaluate.measures import COUNTS, Scores, scores

__all__ = ["POOLED", "Counted", "Evaluation", "Group", "compare", "plain", "resampled", "summarise"]

POOLED = "pooled"
"""What all sources together are called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """One image, counted."""

    name: str
    """Name of the image."""
    source: str
    """Images of one source are summed up together."""
    confusion: Confusion
    """Its pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Measures of the images of one source, or of all."""

    patches: int
    """Number of images."""
    confusion: Confusion
    """Their pixels together."""
    estimates: Mapping[str, Estimate]
    """Every measure of `MEASURES` with its interval."""

    @property
    def scores(self) -> Scores:
        """The measures without intervals."""
        return scores(self.confusion)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON.

        Returns
        -------
        dict
        """
        return {
            "patches": self.patches,
            "measures": plain(self.estimates),
            "confusion": self.confusion.to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Measures of many images against their labels."""

    images: tuple[Counted, ...]
    """Every image, in the order given."""
    sources: Mapping[str, Group]
    """By source, in the order of their first image."""
    pooled: Group
    """All pixels of all sources; images are drawn from all of them. Sources whose labels cannot tell a class from
    others bring false pixels of it but no right ones, so its precision is too low here: read that of `mean`."""
    mean: Mapping[str, Estimate]
    """Mean over the sources that have the measure, each of the same weight."""
    bootstrap: Bootstrap
    """How the intervals were made."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON; what cannot be measured is None.

        Returns
        -------
        dict
            Sources, pooled, mean over sources, and the counts of every image.

        Examples
        --------
        >>> result = compare(np.array([[[0, 1]]]), np.array([[[0, 1]]]), names=["a"])
        >>> result.to_dict()["patches"][0]["confusion"]
        {'clear': [1, 0, 0, 0], 'thick_cloud': [0, 1, 0, 0]}
        """
        return {
            "bootstrap": {
                "draws": self.bootstrap.draws,
                "confidence": self.bootstrap.confidence,
                "seed": self.bootstrap.seed,
            },
            "sources": {name: group.to_dict() for name, group in self.sources.items()},
            "pooled": self.pooled.to_dict(),
            "mean_over_sources": plain(self.mean),
            "patches": [
                {"name": image.name, "source": image.source, "confusion": image.confusion.to_dict()}
                for image in self.images
            ],
        }


def plain(measured: Mapping[str, Estimate]) -> dict[str, Any]:
    """Return measures as plain data, ready for JSON."""
    content: dict[str, Any] = {}
    for name, estimate in measured.items():
        if name in COUNTS:
            content[name] = int(estimate.value)
        else:
            value = None if math.isnan(estimate.value) else estimate.value
            content[name] = {"value": value, "low": estimate.low, "high": estimate.high}
    return content


def summarise(images: Iterable[Counted], *, how: Bootstrap | None = None) -> Evaluation:
    """Measure counted images per source, pooled, and as the mean over sources, with intervals.

    Parameters
    ----------
    images
        Images of one or several sources.
    how
        Draws, confidence and seed of the bootstrap; None takes 2000 draws, 95 % and seed 0.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        There is no image.

    Examples
    --------
    >>> counted = confusion(np.array([0, 1]), np.array([1, 1]))
    >>> images = [Counted(name=name, source="here", confusion=counted) for name in "ab"]
    >>> summarise(images).sources["here"].estimates["agreement"]
    Estimate(value=0.5, low=0.5, high=0.5)
    """
    how = how or Bootstrap()
    every = tuple(images)
    if not every:
        raise InputError("There is no image to measure. Expected at least one mask with labels.")
    parts: dict[str, list[Counted]] = {}
    for image in every:
        parts.setdefault(image.source, []).append(image)
    drawn = {source: resampled(images, how=how, stream=source) for source, images in parts.items()}
    return Evaluation(
        images=every,
        sources={source: _group(parts[source], drawn[source], how) for source in parts},
        pooled=_group(every, resampled(every, how=how, stream=POOLED), how),
        mean=mean_estimates(list(drawn.values()), how=how),
        bootstrap=how,
    )


def resampled(images: Sequence[Counted], *, how: Bootstrap, stream: str) -> Resampled:
    """Draw images with replacement; see `xcloudmask.evaluate.bootstrap.resample`."""
    return resample(np.stack([image.confusion.counts for image in images]), how=how, stream=stream)


def _group(images: Sequence[Counted], drawn: Resampled, how: Bootstrap) -> Group:
    return Group(
        patches=len(images),
        confusion=pool(image.confusion for image in images),
        estimates=estimates(drawn, how=how),
    )


def compare(
    masks: Sequence[npt.NDArray[np.integer]] | npt.NDArray[np.integer],
    labels: Sequence[npt.NDArray[np.integer]] | npt.NDArray[np.integer],
    *,
    kind: Kind = "label4",
    by: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    how: Bootstrap | None = None,
) -> Evaluation:
    """Measure masks against labels.

    Parameters
    ----------
    masks
        (image, y, x), or a sequence of (y, x): codes 0 clear, 1 thick cloud, 2 thin cloud, 3 shadow, 255 nodata.
    labels
        As many labels of the same shapes: codes 0 to 3, anything else is unknown.
    kind
        What the labels mean; see `sets_from_labels`.
    by
        A source for each image, such as a sensor or a region; None takes them all for one.
    names
        A name for each image; None numbers them.
    how
        The bootstrap; see `summarise`.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        Numbers or shapes of masks, labels, `by` or `names` differ, or a mask holds other codes.
    ArgumentError
        The kind is unknown.

    Examples
    --------
    >>> masks = np.array([[[0, 1, 3]], [[0, 0, 3]]])
    >>> labels = np.array([[[0, 2, 3]], [[0, 1, 255]]])
    >>> result = compare(masks, labels, kind="label_cloud_shadow")
    >>> result.pooled.scores.cloud_oa, result.pooled.scores.classes[3].f1
    (0.8, 1.0)
    """
    sources = ["all"] * len(masks) if by is None else list(by)
    called = [str(index) for index in range(len(masks))] if names is None else list(names)
    for what, given in (("labels", labels), ("by", sources), ("names", called)):
        if len(given) != len(masks):
            raise InputError(f"There are {len(masks)} masks and {len(given)} {what}. Expected one for each mask.")
    return summarise(
        (
            Counted(name=name, source=source, confusion=confusion(mask, sets_from_labels(label, kind=kind)))
            for mask, label, source, name in zip(masks, labels, sources, called, strict=True)
        ),
        how=how,
    )
