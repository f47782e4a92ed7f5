"""k-means in plain numpy, with centres that may be held in place."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["kmeans", "squared_distances"]

_STARTS = 4
_STEPS = 30
_Floats = npt.NDArray[np.float64]


def kmeans(
    points: _Floats, *, count: int, rng: np.random.Generator, fixed: _Floats | None = None
) -> tuple[_Floats, npt.NDArray[np.intp]]:
    """Find centres such that points lie near one.

    Parameters
    ----------
    points
        (point, feature), at least one.
    count
        Centres to find, at least one.
    rng
        Draws the first centres.
    fixed
        (centre, feature) of further centres that do not move.

    Returns
    -------
    numpy.ndarray
        (count, feature) the centres found.
    numpy.ndarray
        (point,) the nearest centre of each point; those in `fixed` have the numbers from `count` on.

    Notes
    -----
    Lloyd (1982), doi:10.1109/TIT.1982.1056489, started as Arthur and Vassilvitskii (2007), k-means++, SODA: each first
    centre is a point, drawn by its squared distance to those that are there. The best of four starts counts. scipy has
    no centres that stay.

    Examples
    --------
    >>> points = np.array([[0.0], [0.2], [9.0], [9.2]])
    >>> centres, nearest = kmeans(points, count=2, rng=np.random.default_rng(0))
    >>> sorted(centres.ravel().round(1).tolist())
    [0.1, 9.1]
    """
    held = np.empty((0, points.shape[1])) if fixed is None else fixed
    best, least = _first(points, held, count, rng), np.inf
    for start in range(_STARTS):
        centres = best if start == 0 else _first(points, held, count, rng)
        centres = _moved(points, centres, held)
        cost = float(squared_distances(points, np.concatenate([centres, held])).min(axis=1).sum())
        if cost < least:
            best, least = centres, cost
    return best, squared_distances(points, np.concatenate([best, held])).argmin(axis=1)


def squared_distances(points: _Floats, centres: _Floats) -> _Floats:
    """Return (point, centre) squared distances.

    Parameters
    ----------
    points, centres
        (point, feature) and (centre, feature).

    Returns
    -------
    numpy.ndarray

    Examples
    --------
    >>> squared_distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])).tolist()
    [[25.0]]
    """
    # One centre after the other: (point, centre, feature) at once would not fit for large pools.
    return np.stack([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=1)


def _first(points: _Floats, held: _Floats, count: int, rng: np.random.Generator) -> _Floats:
    centres: list[_Floats] = []
    far = squared_distances(points, held).min(axis=1) if len(held) else np.ones(len(points))
    while len(centres) < count:
        total = far.sum()
        drawn = rng.choice(len(points), p=far / total) if total > 0 else rng.integers(len(points))
        centres.append(points[drawn])
        away = ((points - points[drawn]) ** 2).sum(axis=1)
        far = away if not len(held) and len(centres) == 1 else np.minimum(far, away)
    return np.stack(centres)


def _moved(points: _Floats, centres: _Floats, held: _Floats) -> _Floats:
    """Each centre to the middle of its points, until none moves; one without points stays."""
    for _ in range(_STEPS):
        nearest = squared_distances(points, np.concatenate([centres, held])).argmin(axis=1)
        middles = np.stack(
            [
                points[nearest == index].mean(axis=0) if (nearest == index).any() else centre
                for index, centre in enumerate(centres)
            ]
        )
        if np.array_equal(middles, centres):
            break
        centres = middles
    return centres
