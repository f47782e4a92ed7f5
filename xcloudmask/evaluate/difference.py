"""Two evaluations of the same images, one less the other: whether a change helps, or was lucky with its patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xcloudmask.errors import InputError
from xcloudmask.evaluate.bootstrap import Bootstrap, Estimate, estimates, subtract
from xcloudmask.evaluate.counts import confusion_from_dict
from xcloudmask.evaluate.summary import POOLED, Counted, Evaluation, plain, resampled, summarise

__all__ = ["Difference", "difference", "evaluation_from_dict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What one evaluation has more than another."""

    sources: Mapping[str, Mapping[str, Estimate]]
    """By source, and pooled where there are several: each measure with its interval."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON; what cannot be measured is None.

        Returns
        -------
        dict
            By source, then by measure.
        """
        return {source: plain(measured) for source, measured in self.sources.items()}


def difference(first: Evaluation, second: Evaluation) -> Difference:
    """Subtract an evaluation from another of the same images.

    Parameters
    ----------
    first, second
        Evaluations of the same images in the same order. The bootstrap of the first is used.

    Returns
    -------
    Difference
        First less second. The same images are drawn for both (a paired bootstrap), so the intervals are narrower than
        those of the two evaluations suggest.

    Raises
    ------
    InputError
        The images differ.

    Examples
    --------
    >>> import numpy as np
    >>> from xcloudmask.evaluate import compare
    >>> labels = np.array([[[0, 1]], [[0, 1]]])
    >>> better, worse = compare(labels, labels), compare(0 * labels, labels)
    >>> difference(better, worse).sources["all"]["cloud_oa"]
    Estimate(value=0.5, low=0.5, high=0.5)
    """
    own, other = ([(image.source, image.name) for image in result.images] for result in (first, second))
    if own != other:
        strange = next(iter(set(own) ^ set(other)), own[0])
        raise InputError(
            f"The evaluations are of different images: {len(own)} and {len(other)}, for instance {strange[1]!r} of "
            f"source {strange[0]!r}. Expected the same data and split."
        )
    several = len(first.sources) > 1
    names = [*first.sources, *([POOLED] if several else [])]
    return Difference(sources={name: _paired(name, first, second) for name in names})


def _paired(name: str, first: Evaluation, second: Evaluation) -> dict[str, Estimate]:
    how = first.bootstrap
    drawn = (resampled(_images_of(name, result), how=how, stream=name) for result in (first, second))
    return estimates(subtract(*drawn), how=how)


def _images_of(name: str, result: Evaluation) -> Sequence[Counted]:
    if name == POOLED and name not in result.sources:
        return result.images
    return [image for image in result.images if image.source == name]


def evaluation_from_dict(content: Mapping[str, Any]) -> Evaluation:
    """Make an evaluation again of what `Evaluation.to_dict` returned, from the counts of its images.

    Parameters
    ----------
    content
        One of the `results` of ``xcloudmask evaluate --json``.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        This is no evaluation.

    Examples
    --------
    >>> import numpy as np
    >>> from xcloudmask.evaluate import compare
    >>> result = compare(np.array([[[0, 1]]]), np.array([[[0, 0]]]))
    >>> evaluation_from_dict(result.to_dict()).pooled.scores.cloud_oa
    0.5
    """
    try:
        how = Bootstrap(**content["bootstrap"])
        images = [
            Counted(name=row["name"], source=row["source"], confusion=confusion_from_dict(row["confusion"]))
            for row in content["patches"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"This is no evaluation: {error!r}. Expected what xcloudmask evaluate --json writes."
        ) from error
    return summarise(images, how=how)
