"""What all simulated time series share: checked settings, and clouds of about a wanted cover (numpy only)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xcloudmask.classes import CloudClass
from xcloudmask.errors import ArgumentError
from xcloudmask.simulate.clouds import CloudScene, Sun, View, add_clouds
from xcloudmask.simulate.layers import CloudKind

__all__ = ["SeriesSettings", "cloudy"]

_SMALLEST_PX = 16
_WEATHER: tuple[tuple[CloudKind, ...], ...] = (("cumulus",), ("cirrus",), ("cumulus", "cirrus"))
"""Kinds of cloud of the first, second and third date, and so on."""
_OVERCAST = 0.85
"""Cover that only a deck has."""
_ATTEMPTS = 6
_TOLERANCE = 0.08

_Image = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesSettings:
    """All that a time series depends on, besides its dates."""

    size_px: int
    """Rows and columns."""
    seed: int
    """Seed of all randomness."""
    resolution_m: float
    """Size of a pixel."""
    cloud_cover: tuple[float, ...]
    """Wanted fraction of clouds on each date, repeated from the start."""
    nodata: bool
    """Whether every second date has nodata."""

    def __post_init__(self) -> None:
        """Refuse what makes no scene."""
        if self.size_px < _SMALLEST_PX:
            raise ArgumentError(f"size_px={self.size_px} is too small. Expected at least {_SMALLEST_PX}.")
        if self.seed < 0:
            raise ArgumentError(f"seed={self.seed} is negative. Expected 0 or more.")
        if not 0 < self.resolution_m < np.inf:
            raise ArgumentError(f"resolution_m={self.resolution_m}: expected a size in metres, above 0.")
        if not self.cloud_cover or not all(0.0 <= cover <= 1.0 for cover in self.cloud_cover):
            raise ArgumentError(f"cloud_cover={self.cloud_cover}: expected fractions from 0 to 1, one or more.")

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x) in px."""
        return self.size_px, self.size_px

    def misses_data(self, index: int) -> bool:
        """Return whether a date has nodata: every second one."""
        return self.nodata and index % 2 == 1


def cloudy(
    clear: _Image,
    settings: SeriesSettings,
    index: int,
    *,
    wavelengths_nm: Sequence[float],
    sun: Sun,
    view: View | None = None,
    kinds: Sequence[CloudKind] | None = None,
) -> tuple[_Image, npt.NDArray[np.uint8], _Image]:
    """Put the clouds of one date over a clear image: of a few draws the one nearest to the wanted cover.

    Parameters
    ----------
    clear
        (band, y, x) reflectance; kelvin in thermal bands.
    settings
        Of the series.
    index
        Number of the date.
    wavelengths_nm
        Centre of each band.
    sun
        Where the sun stands.
    view
        Where the satellite stands; None is overhead.
    kinds
        Layers of cloud; None changes them from date to date.

    Returns
    -------
    image
        (band, y, x), under clouds.
    truth
        (y, x), the codes of the four classes.
    optical_thickness
        (y, x), of all clouds.

    Examples
    --------
    >>> clear = np.full((2, 64, 64), 0.1, np.float32)
    >>> settings = SeriesSettings(size_px=64, seed=0, resolution_m=10.0, cloud_cover=(1.0,), nodata=False)
    >>> sun = Sun(zenith_deg=40.0, azimuth_deg=150.0)
    >>> image, truth, thickness = cloudy(clear, settings, 0, wavelengths_nm=(560, 665), sun=sun)
    >>> image.shape, bool((truth == 1).mean() > 0.9)
    ((2, 64, 64), True)
    """
    wanted = settings.cloud_cover[index % len(settings.cloud_cover)]
    if wanted == 0.0:
        return clear, np.zeros(clear.shape[1:], np.uint8), np.zeros(clear.shape[1:], np.float32)
    usual: tuple[CloudKind, ...] = ("stratus",) if wanted > _OVERCAST else _WEATHER[index % len(_WEATHER)]

    def draw(attempt: int, count: int) -> CloudScene:
        return add_clouds(
            clear[:count],
            wavelengths_nm=wavelengths_nm[:count],
            resolution_m=settings.resolution_m,
            rng=np.random.default_rng([settings.seed, 2, index, attempt]),
            kinds=usual if kinds is None else kinds,
            sun=sun,
            view=view,
        )

    misses: list[float] = []
    for attempt in range(_ATTEMPTS):
        # Where clouds lie does not depend on the bands: one band is enough to choose.
        covered = np.isin(draw(attempt, 1).truth, (CloudClass.THICK_CLOUD, CloudClass.THIN_CLOUD))
        misses.append(abs(float(covered.mean()) - wanted))
        if misses[-1] < _TOLERANCE:
            break
    # Of draws that miss alike, the last.
    best = min(range(len(misses)), key=lambda attempt: (misses[attempt], -attempt))
    scene = draw(best, len(clear))
    return scene.image, scene.truth, scene.optical_thickness
