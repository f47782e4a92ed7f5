"""The choice among chips of which uncertainty and features are known: plain numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xcloudmask.errors import ArgumentError
from xcloudmask.training.selection.kmeans import kmeans, squared_distances

__all__ = ["Choice", "choose"]

_Floats = npt.NDArray[np.float64]
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One chosen chip."""

    index: int
    """Its place among the candidates."""
    distance: float
    """Distance of its features to the nearest chip chosen or labelled before; NaN where there is none."""
    score: float
    """Rank of its uncertainty among the candidates, 0 to 1; 1 is the most uncertain."""


def choose(
    uncertainty: _Floats,
    features: _Floats,
    *,
    count: int,
    diversity: float,
    seed: int = 0,
    labelled: _Floats | None = None,
) -> list[Choice]:
    """Choose chips that are uncertain, differ from each other and stand for others.

    Parameters
    ----------
    uncertainty
        (chip,) any unit; NaN is never chosen.
    features
        (chip, feature) in comparable units.
    count
        How many; fewer where fewer can be chosen.
    diversity
        Share of the other candidates that may come in: 0 takes the `count` most uncertain ones, whatever they look
        like; 1 goes by looks alone.
    seed
        Decides between chips that are equal in everything, and starts the clusters.
    labelled
        (chip, feature) of chips that have labels already.

    Returns
    -------
    list of Choice
        The most uncertain first.

    Raises
    ------
    ArgumentError
        `diversity` is outside 0 to 1, or `count` is below 1.

    Notes
    -----
    The most uncertain candidates are clustered by k-means, and the chip nearest to the centre of each cluster is
    chosen: it stands for others, where the farthest chip (k-center) would be an odd one. That labels of uncertain
    chips pay only if those differ, and how to have both: Zhdanov (2019), arXiv:1901.05954, and Citovsky et al. (2021),
    arXiv:2107.14263. Why small budgets want typical chips: Hacohen, Dekel and Weinshall (2022), arXiv:2202.02794.
    Labelled chips are centres that do not move, so chips like them are not chosen again.

    Examples
    --------
    >>> features = np.array([[0.0], [0.1], [5.0], [5.1]])
    >>> uncertainty = np.array([0.9, 0.8, 0.2, 0.1])
    >>> [choice.index for choice in choose(uncertainty, features, count=2, diversity=0.0)]
    [0, 1]
    >>> [choice.index for choice in choose(uncertainty, features, count=2, diversity=1.0)]
    [0, 2]
    """
    if not 0.0 <= diversity <= 1.0:
        raise ArgumentError(f"diversity={diversity:g} is not possible. Expected 0 (uncertainty alone) to 1.")
    if count < 1:
        raise ArgumentError(f"count={count} is not possible. Expected 1 or more.")
    rng = np.random.default_rng(seed)
    there = np.isfinite(uncertainty)
    # The last key counts first; a random order decides between equal chips.
    order = np.lexsort((rng.permutation(len(uncertainty)), -np.where(there, uncertainty, -np.inf)))[: int(there.sum())]
    short = order[: count + round(diversity * max(0, len(order) - count))]
    known = np.empty((0, features.shape[1])) if labelled is None else labelled
    typical: set[int] = set() if len(short) <= count else _typical(features[short], count, known, rng)
    chosen = [int(index) for place, index in enumerate(short) if place in typical]
    # Where clusters are empty, because chips are alike or labelled ones lie nearer, the most uncertain ones fill up.
    chosen += [int(index) for index in short if index not in chosen][: count - len(chosen)]
    chosen.sort(key=[int(index) for index in order].index)
    return _described(chosen, features, known, _ranks(uncertainty, there))


def _typical(points: _Floats, count: int, known: _Floats, rng: np.random.Generator) -> set[int]:
    """Return the point nearest to the centre of each cluster; of equal ones the first."""
    centres, nearest = kmeans(points, count=count, rng=rng, fixed=known)
    distances = squared_distances(points, centres)
    members = (np.flatnonzero(nearest == cluster) for cluster in range(count))
    return {int(own[_first_least(distances[own, cluster])]) for cluster, own in enumerate(members) if len(own)}


def _first_least(values: _Floats) -> int:
    """Return the place of the least value; those that differ by rounding alone are equal."""
    return int(np.flatnonzero(values <= values.min() + _ROUNDING)[0])


def _described(chosen: list[int], features: _Floats, known: _Floats, ranks: _Floats) -> list[Choice]:
    choices = []
    for place, index in enumerate(chosen):
        before = np.concatenate([known, features[chosen[:place]]])
        distance = np.sqrt(squared_distances(before, features[[index]]).min()) if len(before) else np.nan
        choices.append(Choice(index=index, distance=float(distance), score=float(ranks[index])))
    return choices


def _ranks(values: _Floats, there: npt.NDArray[np.bool_]) -> _Floats:
    """Ranks from 0 to 1, equal for equal values; 0 where nothing is there."""
    ranks = np.zeros(len(values))
    if there.any():
        _, dense = np.unique(values[there], return_inverse=True)
        ranks[there] = (dense + 1) / (dense.max() + 1)
    return ranks
