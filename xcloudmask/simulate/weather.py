"""Clouds of about a wanted cover over a clear image (numpy only)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xcloudmask.classes import CloudClass
from xcloudmask.simulate.clouds import CloudScene, Sun, add_clouds
from xcloudmask.simulate.layers import CloudKind

__all__ = ["OVERCAST", "WEATHER", "cloudy"]

WEATHER: tuple[tuple[CloudKind, ...], ...] = (("cumulus",), ("cirrus",), ("cumulus", "cirrus"))
"""Kinds of cloud of the first, second and third date, and so on."""
OVERCAST = 0.85
"""Cover that only a deck has."""
_ATTEMPTS = 6
_TOLERANCE = 0.08


def cloudy(
    clear: npt.NDArray[np.float32],
    *,
    wavelengths_nm: Sequence[float],
    resolution_m: float,
    sun: Sun,
    kinds: Sequence[CloudKind],
    cover: float,
    seed: Sequence[int],
) -> CloudScene:
    """Put clouds of about the wanted cover over a clear image: the nearest of a few draws.

    Parameters
    ----------
    clear
        (band, y, x) reflectance; kelvin in thermal bands.
    wavelengths_nm
        Centre of each band.
    resolution_m
        Size of a pixel.
    sun
        Where the sun stands.
    kinds
        Layers of cloud.
    cover
        Wanted fraction of clouds, thin ones included.
    seed
        Seed of all randomness.

    Returns
    -------
    CloudScene

    Examples
    --------
    >>> clear = np.full((2, 64, 64), 0.1, np.float32)
    >>> sun = Sun(zenith_deg=40.0, azimuth_deg=150.0)
    >>> arguments = {"resolution_m": 10.0, "sun": sun, "kinds": ["stratus"], "cover": 1.0, "seed": [0]}
    >>> cloudy(clear, wavelengths_nm=(560, 665), **arguments).image.shape
    (2, 64, 64)
    """

    def draw(image: npt.NDArray[np.float32], waves: Sequence[float], attempt: int) -> CloudScene:
        rng = np.random.default_rng([*seed, attempt])
        return add_clouds(image, wavelengths_nm=waves, resolution_m=resolution_m, rng=rng, kinds=kinds, sun=sun)

    misses: list[float] = []
    for attempt in range(_ATTEMPTS):
        # Where clouds lie does not depend on the bands: one band is enough to choose.
        truth = draw(clear[:1], wavelengths_nm[:1], attempt).truth
        covered = float(np.isin(truth, (CloudClass.THICK_CLOUD, CloudClass.THIN_CLOUD)).mean())
        misses.append(abs(covered - cover))
        if misses[-1] < _TOLERANCE:
            break
    return draw(clear, wavelengths_nm, int(np.argmin(misses)))
