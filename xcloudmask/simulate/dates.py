"""One date of a simulated cube: ground, air, clouds, noise, numbers (numpy only)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from xcloudmask._sensor import Band, Sensor
from xcloudmask.classes import NODATA
from xcloudmask.errors import ArgumentError
from xcloudmask.simulate.atmosphere import draw_air, see_through_air
from xcloudmask.simulate.biomes import BIOMES, Biome
from xcloudmask.simulate.clouds import Sun, View
from xcloudmask.simulate.instrument import Instrument, degrade
from xcloudmask.simulate.layers import CLOUD_KINDS, CloudKind
from xcloudmask.simulate.optics import is_cirrus_band
from xcloudmask.simulate.products import Coding, band_coding, coarsen, encode
from xcloudmask.simulate.spectra import is_thermal
from xcloudmask.simulate.surface import Surface, draw_surface
from xcloudmask.simulate.weather import SeriesSettings, cloudy

__all__ = ["SceneSettings", "draw_date", "draw_ground"]

_THERMAL_NOISE_K = 0.1
_RESIDUAL = 0.006
"""What a correction of the atmosphere leaves over, as a reflectance in the blue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSettings(SeriesSettings):
    """All that a cube depends on, besides its dates."""

    sensor: Sensor
    """Whose bands they are."""
    bands: tuple[Band, ...]
    """In the order of the cube."""
    biome: Biome | None
    """None draws one."""
    clouds: tuple[CloudKind, ...] | None
    """Layers on every date; None changes them from date to date."""
    views: tuple[View, ...] | None
    """Where the satellite stands on each date, repeated from the start; None is overhead."""
    striping: float
    """Relative spread of the gains of the detectors."""
    quantisation: Literal[8] | None
    """8 for 8 bits; None as the product does."""

    def __post_init__(self) -> None:
        """Refuse what makes no scene."""
        SeriesSettings.__post_init__(self)  # super() knows no class that was made anew for its slots
        if self.biome is not None and self.biome not in BIOMES:
            raise ArgumentError(f"biome={self.biome!r} is unknown. Expected one of: {', '.join(BIOMES)}.")
        unknown = [kind for kind in self.clouds or () if kind not in CLOUD_KINDS]
        if unknown:
            raise ArgumentError(f"clouds={unknown[0]!r} is unknown. Expected some of: {', '.join(CLOUD_KINDS)}.")
        if self.views is not None and not (self.views and all(isinstance(view, View) for view in self.views)):
            raise ArgumentError(f"view={self.views}: expected a View, or one for each date.")
        if not 0 <= self.striping < 0.5:
            raise ArgumentError(f"striping={self.striping}: expected 0 to 0.5; 0.01 is plain to see.")
        if self.quantisation not in (None, 8):
            raise ArgumentError(f"quantisation={self.quantisation!r}: expected 8 or None.")

    @property
    def wavelengths_nm(self) -> tuple[tuple[float, float, float], ...]:
        """Shortest, central and longest of each band."""
        return tuple(band.wavelength_nm for band in self.bands)

    @property
    def sun(self) -> Sun:
        """One sun for all dates: reliefs keep their light."""
        rng = np.random.default_rng([self.seed, 3])
        return Sun(zenith_deg=float(rng.uniform(25.0, 60.0)), azimuth_deg=float(rng.uniform(120.0, 170.0)))

    def view(self, index: int) -> View | None:
        """Return where the satellite stands on a date."""
        return None if self.views is None else self.views[index % len(self.views)]

    @property
    def codings(self) -> tuple[Coding, ...]:
        """How each band is stored."""
        return tuple(
            band_coding(band, sensor=self.sensor, sun_zenith_deg=self.sun.zenith_deg, quantisation=self.quantisation)
            for band in self.bands
        )


def draw_ground(settings: SceneSettings) -> Surface:
    """Draw what all dates share: the clear ground."""
    return draw_surface(
        settings.shape,
        bands=settings.wavelengths_nm,
        resolution_m=settings.resolution_m,
        rng=np.random.default_rng([settings.seed, 0]),
        biome=settings.biome,
        sun=settings.sun,
    )


def draw_date(land: Surface, settings: SceneSettings, index: int) -> npt.NDArray[np.float32]:
    """Draw one date.

    Parameters
    ----------
    land
        The clear ground.
    settings
        Of the cube.
    index
        Number of the date.

    Returns
    -------
    numpy.ndarray
        (band + 2, y, x) float32: the DN of each band, the codes of the classes, the optical thickness.
    """
    rng = np.random.default_rng([settings.seed, 1, index])
    view = settings.view(index)
    clear = _through_air(land.reflectance, settings, view, rng)
    image, truth, thickness = cloudy(
        clear,
        settings,
        index,
        wavelengths_nm=[centre for _, centre, _ in settings.wavelengths_nm],
        sun=settings.sun,
        view=view,
        kinds=settings.clouds,
    )
    image, received = _measure(image, settings, index, rng)
    count = len(settings.bands)
    scene = np.empty((count + 2, *truth.shape), np.float32)
    for number, (band, coding) in enumerate(zip(settings.bands, settings.codings, strict=True)):
        coarse = coarsen(image[number], factor=max(1, round(band.resolution_m / settings.resolution_m)))
        scene[number] = np.where(received, encode(coarse, coding), coding.nodata)
    scene[count] = np.where(received, truth, NODATA)
    scene[count + 1] = np.where(received, thickness, np.nan)
    return scene


def _through_air(
    ground: npt.NDArray[np.float32], settings: SceneSettings, view: View | None, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Path and gases in bands at the top of the atmosphere, a small rest in bands at the surface."""
    air = draw_air(rng, sun_zenith_deg=settings.sun.zenith_deg)
    if view is not None:
        turn = abs(view.azimuth_deg - settings.sun.azimuth_deg)
        air = replace(air, view_zenith_deg=view.zenith_deg, relative_azimuth_deg=turn)
    seen = see_through_air(ground, bands=settings.wavelengths_nm, air=air)
    rest = _RESIDUAL * float(rng.normal())
    for index, band in enumerate(settings.bands):
        # HLS passes the cirrus band on as it was measured.
        if band.quantity in ("surface_reflectance", "unknown") and not is_cirrus_band(band.wavelength_nm[1]):
            seen[index] = np.maximum(ground[index] + np.float32(rest * (band.wavelength_nm[1] / 490.0) ** -2), 0.0)
    return seen


def _measure(
    image: npt.NDArray[np.float32], settings: SceneSettings, index: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Noise and stripes; every second date lies on the edge of the swath and has lost a block."""
    missing = settings.misses_data(index)
    instrument = Instrument(
        read_noise=0.0007,
        shot_noise=0.004,
        stripes=settings.striping,
        swath_edge=float(rng.uniform(0.08, 0.25)) if missing else 0.0,
        lost_blocks=1 if missing else 0,
    )
    thermal = np.array([is_thermal(band) for band in settings.wavelengths_nm])
    measured = np.array(image, np.float32)
    received = np.ones(image.shape[1:], bool)
    seen, received = degrade(image[~thermal], received, instrument=instrument, rng=rng)
    # `degrade` zeroes what was not received; whoever averages over coarser pixels wants the ground there.
    measured[~thermal] = np.where(received, seen, image[~thermal])
    measured[thermal] += np.float32(_THERMAL_NOISE_K) * rng.standard_normal(image[thermal].shape, np.float32)
    return measured, received
