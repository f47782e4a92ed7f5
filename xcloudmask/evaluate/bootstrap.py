"""Intervals by the bootstrap over patches.

Pixels of one patch are alike, so pixels cannot be drawn one by one: whole patches are drawn with replacement, their
counts added up, and the measure taken anew. The interval lies between two percentiles of many such draws. Method:
Efron (1979), Bootstrap Methods: Another Look at the Jackknife, The Annals of Statistics 7(1); percentile intervals:
Efron (1981), Canadian Journal of Statistics 9(2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xcloudmask.errors import ArgumentError
from xcloudmask.evaluate.measures import COUNTS, MEANS, MEASURES, measures

__all__ = ["Bootstrap", "Estimate", "Resampled", "estimates", "mean_estimates", "resample", "subtract"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """How intervals are made."""

    draws: int = 2000
    """Times that the patches are drawn anew."""
    confidence: float = 0.95
    """Share of the draws inside the interval."""
    seed: int = 0
    """The same seed gives the same intervals."""

    def __post_init__(self) -> None:
        """Refuse what makes no interval."""
        if self.draws < 2:
            raise ArgumentError(f"draws={self.draws} is too few. Expected 2 or more; 2000 is usual.")
        if not 0.0 < self.confidence < 1.0:
            raise ArgumentError(f"confidence={self.confidence} is no share. Expected a number between 0 and 1.")
        if self.seed < 0:
            raise ArgumentError(f"seed={self.seed} is negative. Expected 0 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A measure and its interval."""

    value: float
    """The measure of all patches together; NaN where nothing can be measured."""
    low: float | None = None
    """Lower end; None where there is no interval."""
    high: float | None = None
    """Upper end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampled:
    """Measures of a group of patches, as they are and drawn anew."""

    values: Mapping[str, float]
    """Of all patches."""
    draws: Mapping[str, Floats]
    """(draws,) of each measure."""
    varies: Mapping[str, bool]
    """Whether at least two patches have the measure: what rests on one patch has no interval."""


def resample(counts: npt.NDArray[np.integer], *, how: Bootstrap, stream: str = "") -> Resampled:
    """Draw patches with replacement and measure each draw.

    Parameters
    ----------
    counts
        (patch, 16, 4) counts of each patch; see `Confusion`.
    how
        Draws and seed.
    stream
        A name for the random numbers: one group has the same intervals whatever stands beside it.

    Returns
    -------
    Resampled

    Examples
    --------
    >>> resample(np.ones((3, 16, 4), int), how=Bootstrap(draws=5)).draws["cloud_oa"].tolist()
    [0.5, 0.5, 0.5, 0.5, 0.5]
    """
    n = len(counts)
    rng = np.random.default_rng([how.seed, *stream.encode()])
    times = rng.multinomial(n, np.full(n, 1.0 / n), size=how.draws)
    totals = times.astype(np.float64) @ counts.reshape(n, -1).astype(np.float64)
    values = {name: float(value) for name, value in measures(counts.sum(axis=0)).items()}
    draws = measures(totals.reshape(how.draws, *counts.shape[1:]))
    varies = {name: int(np.isfinite(each).sum()) > 1 for name, each in measures(counts).items()}
    for name, parts in MEANS.items():
        # A mean over other parts than those of all patches is another measure: such draws tell nothing.
        having = [part for part in parts if not np.isnan(values[part])]
        if having:
            draws[name] = np.mean([draws[part] for part in having], axis=0)
            varies[name] = all(varies[part] for part in having)
    return Resampled(values=values, draws=draws, varies=varies)


def estimates(group: Resampled, *, how: Bootstrap) -> dict[str, Estimate]:
    """Turn draws into intervals.

    Parameters
    ----------
    group
        Of `resample`.
    how
        The confidence.

    Returns
    -------
    dict
        By the names of `MEASURES`. Numbers of pixels have no interval, nor has what rests on a single patch.

    Examples
    --------
    >>> how = Bootstrap(draws=5)
    >>> estimates(resample(np.ones((3, 16, 4), int), how=how), how=how)["cloud_oa"]
    Estimate(value=0.5, low=0.5, high=0.5)
    """
    return {
        name: _estimate(group.values[name], group.draws[name] if group.varies[name] else None, name=name, how=how)
        for name in MEASURES
    }


def subtract(first: Resampled, second: Resampled) -> Resampled:
    """Measures of one group less those of another, draw by draw.

    Parameters
    ----------
    first, second
        Of `resample`, of the same patches in the same order, with the same settings and stream: both then have the same
        patches in each draw, and what makes a patch easy or hard for both cancels.

    Returns
    -------
    Resampled

    Examples
    --------
    >>> group = resample(np.ones((3, 16, 4), int), how=Bootstrap(draws=5))
    >>> subtract(group, group).values["cloud_oa"]
    0.0
    """
    return Resampled(
        values={name: first.values[name] - second.values[name] for name in MEASURES},
        draws={name: first.draws[name] - second.draws[name] for name in MEASURES},
        varies={name: first.varies[name] and second.varies[name] for name in MEASURES},
    )


def mean_estimates(groups: Sequence[Resampled], *, how: Bootstrap) -> dict[str, Estimate]:
    """Average measures over groups, each of the same weight, with patches drawn within the groups.

    Parameters
    ----------
    groups
        Of `resample`, with the same number of draws.
    how
        The confidence.

    Returns
    -------
    dict
        By the names of `MEASURES`, without numbers of pixels. A measure is averaged over the groups that have it, and
        has an interval if it has one in each of these.

    Examples
    --------
    >>> how = Bootstrap(draws=5)
    >>> mean_estimates([resample(np.ones((3, 16, 4), int), how=how)], how=how)["cloud_oa"].value
    0.5
    """
    result = {}
    for name in MEASURES:
        having = [group for group in groups if not np.isnan(group.values[name])]
        if name in COUNTS or not having:
            continue
        value = float(np.mean([group.values[name] for group in having]))
        varies = all(group.varies[name] for group in having)
        draws = np.mean([group.draws[name] for group in having], axis=0) if varies else None
        result[name] = _estimate(value, draws, name=name, how=how)
    return result


def _estimate(value: float, draws: Floats | None, *, name: str, how: Bootstrap) -> Estimate:
    if draws is None or name in COUNTS or np.isnan(value):
        return Estimate(value=value)
    # A draw can miss all patches that have the class: it has no measure and tells nothing.
    there = draws[~np.isnan(draws)]
    if there.size < 2:
        return Estimate(value=value)
    tail = 50.0 * (1.0 - how.confidence)
    low, high = np.percentile(there, (tail, 100.0 - tail))
    return Estimate(value=value, low=float(low), high=float(high))
