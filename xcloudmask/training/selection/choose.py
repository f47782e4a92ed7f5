"""The choice among chips of which uncertainty and features are known: plain numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xcloudmask.errors import ArgumentError

__all__ = ["Choice", "choose"]

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One chosen chip."""

    index: int
    """Its place among the candidates."""
    distance: float
    """Distance of its features to the nearest chip chosen or labelled before; NaN where there is none."""
    score: float
    """What it was chosen by, 0 to 1."""


def choose(
    uncertainty: _Floats,
    features: _Floats,
    *,
    count: int,
    diversity: float,
    seed: int = 0,
    labelled: _Floats | None = None,
) -> list[Choice]:
    """Choose chips one after the other, by uncertainty and by distance to those chosen already.

    Parameters
    ----------
    uncertainty
        (chip,) any unit; NaN is never chosen.
    features
        (chip, feature) in comparable units.
    count
        How many; fewer where fewer can be chosen.
    diversity
        0 goes by uncertainty alone, 1 by distance alone.
    seed
        Decides between chips that are equal in everything.
    labelled
        (chip, feature) of chips that have labels already.

    Returns
    -------
    list of Choice
        In the order of the choice.

    Raises
    ------
    ArgumentError
        `diversity` is outside 0 to 1, or `count` is below 1.

    Notes
    -----
    With diversity 1 it is the greedy k-center of Sener and Savarese (2018), arXiv:1708.00489: the chip farthest from
    all chosen ones comes next. Uncertainty enters as the chip's rank in the pool, and distance as a share of the
    largest one left, so neither depends on its unit. Weighing both is as old as Ash et al. (2020), arXiv:1906.03671,
    who draw by the distance of gradients, which holds both.

    Examples
    --------
    >>> features = np.array([[0.0], [0.1], [5.0]])
    >>> [choice.index for choice in choose(np.array([0.9, 0.8, 0.1]), features, count=2, diversity=0.0)]
    [0, 1]
    >>> [choice.index for choice in choose(np.array([0.9, 0.8, 0.1]), features, count=2, diversity=0.7)]
    [0, 2]
    """
    if not 0.0 <= diversity <= 1.0:
        raise ArgumentError(f"diversity={diversity:g} is not possible. Expected 0 (uncertainty alone) to 1.")
    if count < 1:
        raise ArgumentError(f"count={count} is not possible. Expected 1 or more.")
    left = np.isfinite(uncertainty)
    ranks = _ranks(uncertainty, left)
    order = np.random.default_rng(seed).permutation(len(uncertainty))
    nearest = np.full(len(uncertainty), np.inf)
    for known in () if labelled is None else labelled:
        nearest = np.minimum(nearest, _distance(features, known))
    chosen: list[Choice] = []
    while len(chosen) < count and left.any():
        scores = (1.0 - diversity) * ranks + diversity * _share_of_largest(nearest, left)
        # The last key counts first; the random order decides where all else is equal.
        index = int(np.lexsort((order, -ranks, -scores, ~left))[0])
        distance = float(nearest[index]) if np.isfinite(nearest[index]) else float("nan")
        chosen.append(Choice(index=index, distance=distance, score=float(scores[index])))
        left[index] = False
        nearest = np.minimum(nearest, _distance(features, features[index]))
    return chosen


def _ranks(values: _Floats, there: npt.NDArray[np.bool_]) -> _Floats:
    """Ranks from 0 to 1, equal for equal values; 0 where nothing is there."""
    ranks = np.zeros(len(values))
    if there.any():
        _, dense = np.unique(values[there], return_inverse=True)
        ranks[there] = (dense + 1) / (dense.max() + 1)
    return ranks


def _distance(features: _Floats, other: _Floats) -> _Floats:
    result: _Floats = np.sqrt(((features - other) ** 2).sum(axis=1))
    return result


def _share_of_largest(nearest: _Floats, left: npt.NDArray[np.bool_]) -> _Floats:
    if np.isinf(nearest).any():
        return np.ones(len(nearest))  # nothing is chosen yet
    largest = float(nearest[left].max())
    return nearest / largest if largest > 0 else np.zeros(len(nearest))
