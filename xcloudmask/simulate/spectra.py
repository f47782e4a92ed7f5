"""Spectra of the ground over 400 to 2500 nm, its emissivity beyond, and how warm it gets (numpy only).

The figures are the package's own: rounded, approximate knots, drawn so that level, slope and absorption features agree
with what libraries and papers show for the class. They are no copy of any sample. What they follow:

- vegetation, soils, rocks, minerals, roofs and roads: USGS Spectral Library Version 7 (Kokaly et al., 2017, USGS Data
  Series 1035) and the ECOSTRESS Spectral Library 1.0 (Meerdink et al., 2019, Remote Sensing of Environment 230).
  Features kept: the green peak and the red edge; leaf water at 970, 1200, 1450 and 1940 nm; cellulose at 2100 and
  2300 nm in dry plants; iron at 500 and 900 nm; clay at 2200 nm; carbonate at 2330 nm; water of crystals in gypsum;
- snow: Wiscombe and Warren (1980), J. Atmos. Sci. 37, grain radii of about 0.1 and 1 mm; glacier ice: Grenfell and
  Perovich (1984), J. Geophys. Res. 89; Cuffey and Paterson (2010), The Physics of Glaciers, chapter 5;
- water: absorption of Pope and Fry (1997), Applied Optics 36, and Kou et al. (1993), Applied Optics 32; level of
  coastal and turbid water: Mobley (1994), Light and Water; foam: Koepke (1984), Applied Optics 23, and Frouin et al.
  (1996), J. Geophys. Res. 101;
- burnt ground: Pereira et al. (1999), in Remote Sensing of Large Wildfires;
- emissivity near 11 micrometres: Snyder et al. (1998), International Journal of Remote Sensing 19.

How much warmer than the air a surface is on a clear late morning follows the order of magnitude of published
temperatures: dry and dark ground is the warmest, water stays near the air, and snow does not pass melting point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from xcloudmask.errors import ArgumentError

__all__ = ["KNOTS_NM", "RADIATION_NM_K", "SPECTRA", "THERMAL_NM", "Group", "Spectrum", "is_thermal", "sample"]

THERMAL_NM = 3000.0
"""Bands with a longer centre see heat, not sunlight: brightness temperatures in kelvin."""
RADIATION_NM_K = 1.438777e7
"""Second radiation constant, in nanometres times kelvin (CODATA 2018)."""

Group = Literal["vegetation", "soil", "mineral", "water", "snow", "urban", "burnt"]

KNOTS_NM = (
    *(400.0, 450.0, 500.0, 550.0, 600.0, 650.0, 680.0, 700.0, 740.0, 800.0, 900.0, 970.0),
    *(1070.0, 1200.0, 1300.0, 1450.0, 1650.0, 1800.0, 1940.0, 2100.0, 2200.0, 2300.0, 2500.0),
)
"""Wavelengths at which the spectra are given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """What one material sends back."""

    name: str
    """Such as ``"loam"``."""
    group: Group
    """What sort of ground it is."""
    reflectance: tuple[float, ...]
    """At `KNOTS_NM`, 0 to 1."""
    emissivity: float
    """Near 11 micrometres."""
    warming_k: float
    """Kelvin above the air on a clear late morning in summer."""
    grain: float
    """Relative spread of brightness between neighbouring pixels of 10 m."""


# name: (group, emissivity, kelvin above the air, grain)
_PROPERTIES: dict[str, tuple[Group, float, float, float]] = {
    "crop": ("vegetation", 0.985, 1.5, 0.05),
    "grass": ("vegetation", 0.98, 4, 0.07),
    "broadleaf": ("vegetation", 0.985, 0.5, 0.14),
    "conifer": ("vegetation", 0.985, 0, 0.18),
    "dry grass": ("vegetation", 0.965, 12, 0.08),
    "stubble": ("vegetation", 0.96, 11, 0.06),
    "dark soil": ("soil", 0.97, 15, 0.06),
    "wet soil": ("soil", 0.98, 5, 0.06),
    "loam": ("soil", 0.97, 14, 0.06),
    "red soil": ("soil", 0.965, 15, 0.07),
    "light soil": ("soil", 0.965, 12, 0.06),
    "sand": ("mineral", 0.955, 17, 0.03),
    "white sand": ("mineral", 0.96, 9, 0.03),
    "salt": ("mineral", 0.96, 8, 0.04),
    "brine mud": ("mineral", 0.98, 5, 0.05),
    "granite": ("mineral", 0.96, 12, 0.12),
    "basalt": ("mineral", 0.965, 17, 0.12),
    "limestone": ("mineral", 0.96, 10, 0.11),
    "red sandstone": ("mineral", 0.955, 15, 0.10),
    "clear water": ("water", 0.99, -2, 0.015),
    "shallow water": ("water", 0.99, -1, 0.03),
    "green water": ("water", 0.99, -1, 0.02),
    "turbid water": ("water", 0.99, -1, 0.02),
    "peat water": ("water", 0.99, 0, 0.02),
    "foam": ("water", 0.985, -2, 0.10),
    "fine snow": ("snow", 0.99, -3, 0.012),
    "coarse snow": ("snow", 0.985, -1, 0.02),
    "glacier ice": ("snow", 0.98, -1, 0.06),
    "asphalt": ("urban", 0.965, 14, 0.12),
    "concrete": ("urban", 0.95, 11, 0.14),
    "bright roof": ("urban", 0.91, 6, 0.15),
    "tiles": ("urban", 0.94, 13, 0.16),
    "grey roof": ("urban", 0.93, 14, 0.16),
    "burnt": ("burnt", 0.965, 18, 0.10),
}
# name: percent at KNOTS_NM
_PERCENT = {
    "crop": "3 3.5 4.5 8 5.5 4 3.2 9 36 47 49 47 49 44 45 17 27 23 8 13 15 12 6",
    "grass": "3.5 4 5.5 9.5 7.5 6 5 11 31 39 41 40 42 38 39 17 26 22 9 14 16 13 7",
    "broadleaf": "2 2 2.5 4.5 3 2.3 2 5.5 24 33 35 34 36 32 33 11 17 14.5 4.5 7.5 9 7 3.5",
    "conifer": "1.5 1.6 2 3.2 2.4 1.9 1.7 3.5 13 18.5 20 19 20.5 17.5 18 5 8 6.5 2 3.5 4 3 1.5",
    "dry grass": "6 8 10.5 14 18.5 22.5 24 25.5 29 32 36 37.5 40 41 42 34 41 38 25 28 29 25 21",
    "stubble": "7 9.5 13 17.5 23 28 30 32 35 38 42 43.5 46 46.5 48 38 46 43 28 32 33 28.5 23",
    "dark soil": "3 3.5 4.2 5.2 6.5 7.8 8.5 9 10 11.5 14 15.5 17.5 20 22 20.5 26 27 22 27 26 25.5 24",
    "wet soil": "4 5 6.3 8.2 10 11.3 12 12.4 13.3 14.4 16 16 17.3 17.5 17.7 10 15 13.5 6 11 11 10 7",
    "loam": "6 7.5 9.8 12.8 16 18.5 19.7 20.5 22 24 27 28.5 31 34 36 32 40 40.5 31.5 38 36.5 36 32",
    "red soil": "3.5 4 5 7.5 14.5 19.5 21 22.5 25.5 27 26 27.5 32 37 39.5 37 43 43 36 41 37 38 34",
    "light soil": "14 17.5 21.5 26 30 33 34.5 35.5 37.5 39.5 42.5 44 46.5 49.5 51 47 54.5 55 46 52.5 50.5 50 45",
    "sand": "12 16 20.5 26.5 32.5 36.5 38 39 41.5 43.5 46 47.5 50.5 54 56 54 60 60.5 54 59.5 57 58.5 54",
    "white sand": "40 46 51 56 59.5 62 63 63.5 65 66.5 68.5 69 71 71 72.5 56 70 62 46 58 53 57 46",
    "salt": "38 45 51 56 59 61 61.5 62 62.5 63 63 62 62 60 59.5 47 56 53 33 48 48 45 38",
    "brine mud": "9 11 13.5 16.5 19 20.5 21 21.2 21.5 22 22 20.5 21.5 19.5 19 9 14 11 3.5 7.5 8 6.5 4",
    "granite": "11 13 15 17.5 19.5 20.5 21 21.3 22 22.5 23 23.5 24.5 26 27 26.5 29 29.5 28 29.5 28.5 29 27.5",
    "basalt": "4.5 5 5.6 6.2 6.6 6.9 7 7.1 7.3 7.5 7.6 7.6 8 8.8 9.2 9.3 10 10.3 10 10.5 10.5 10 10",
    "limestone": "20 24 28 32 35.5 37.5 38.5 39 40.5 42 44 45 47 49 50 48 53 53 47 51 51 45.5 44",
    "red sandstone": "6 7.5 10 14.5 24.5 31 33 34 36.5 37.5 37 38.5 43 48 50 48 53 53.5 48 52 48.5 50 47",
    "clear water": "4 3.2 2.3 1.5 .7 .5 .45 .4 .3 .25 .2 .15 .12 .1 .1 .05 .05 .05 .05 .05 .05 .05 .05",
    "shallow water": "8 12 14 14.5 7 4 3 2 .9 .6 .3 .2 .2 .1 .1 .05 .05 .05 .05 .05 .05 .05 .05",
    "green water": "2 2.2 3 5.5 3.8 2.8 2.2 3.8 1.8 1.3 .8 .4 .4 .2 .1 .05 .05 .05 .05 .05 .05 .05 .05",
    "turbid water": "4.5 6 8.5 12.5 13 12.5 11.5 9.8 6 5 3.4 1.5 1.9 .6 .4 .1 .1 .1 .05 .1 .1 .1 .1",
    "peat water": ".6 .7 .9 1.2 1.3 1.5 1.4 1.4 .9 .7 .5 .3 .3 .2 .1 .05 .05 .05 .05 .05 .05 .05 .05",
    "foam": "50 50 50 50 49 47 46 45 43 40 33 28 27 18 17 5 8 6 1.5 3 3 2 1",
    "fine snow": "97 97.5 97.5 97.5 97 96.5 96 95.5 95 93.5 90.5 89 84 71 65 14 21 30 8 10 17 17 7",
    "coarse snow": "95 95.5 95.5 95 93.5 92 91 90 87 83 74 70 58 40 31 1.5 4 8 .7 1 3 3 .7",
    "glacier ice": "50 55 57 55 50 44 40 37.5 32 27 19 15.5 10 6 4 .7 1.5 2 .5 .6 1 1 .5",
    "asphalt": "5.5 6.2 7.2 8.3 9.2 9.8 10 10.3 10.8 11.2 12 12.2 12.8 13.7 14.3 15.2 16.3 17 17 17.3 17.3 16.4 15.6",
    "concrete": "14 17 20 23.5 26 27.5 28 28.3 29 29.8 31 31.5 32.5 34 34.5 33.5 36.5 36 32 34 34 31 29.5",
    "bright roof": "35 52 60 63 64 64.5 64.5 64.5 64 63.5 62 61.5 61 60 59 55 54 50 43 43 41 37 33",
    "tiles": "5.5 6.5 8 11.5 21 26.5 28.5 29.5 31 32 31.5 32.5 36 40 41.5 41 45 45 42 44 42 43 41",
    "grey roof": "12 14 15 16 16.5 17 17.2 17.5 18 19 20 21 22 23 24 25 26 26.5 26.5 27 27 27 26",
    "burnt": "3 3.4 3.9 4.4 5 5.6 6 6.3 7 8 9.4 10.2 11.5 13.2 14.5 15.5 18.5 19.5 19 20.5 20.5 20 19",
}

SPECTRA: dict[str, Spectrum] = {
    name: Spectrum(
        name=name,
        group=group,
        reflectance=tuple(float(percent) / 100.0 for percent in _PERCENT[name].split()),
        emissivity=emissivity,
        warming_k=warming_k,
        grain=grain,
    )
    for name, (group, emissivity, warming_k, grain) in _PROPERTIES.items()
}
"""All materials by name."""


def is_thermal(wavelength_nm: tuple[float, float, float]) -> bool:
    """Return whether a band sees heat.

    Parameters
    ----------
    wavelength_nm
        Shortest, central and longest wavelength.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_thermal((10600.0, 10895.0, 11190.0)), is_thermal((640.0, 655.0, 670.0))
    (True, False)
    """
    return wavelength_nm[1] > THERMAL_NM


def sample(spectrum: Spectrum | str, *, wavelength_nm: tuple[float, float, float]) -> float:
    """Return what a band sees of a material: the mean reflectance over the band, or the emissivity beyond 3000 nm.

    Parameters
    ----------
    spectrum
        A spectrum, or the name of one in `SPECTRA`.
    wavelength_nm
        Shortest, central and longest wavelength of the band. The response is taken as flat between its ends.

    Returns
    -------
    float
        0 to 1.

    Raises
    ------
    ArgumentError
        No material has that name, or the wavelengths are not in order or lie outside of 350 to 2600 nm and 3000 to
        15,000 nm.

    Examples
    --------
    >>> round(sample("fine snow", wavelength_nm=(640.0, 655.0, 670.0)), 2)
    0.96
    >>> round(sample("fine snow", wavelength_nm=(1570.0, 1610.0, 1650.0)), 2)
    0.2
    """
    known = _named(spectrum)
    shortest, centre, longest = wavelength_nm
    if not (shortest <= centre <= longest):
        raise ArgumentError(f"wavelength_nm={wavelength_nm}: expected the shortest, the central and the longest.")
    if is_thermal(wavelength_nm):
        if longest > 15_000.0:
            raise ArgumentError(f"wavelength_nm={wavelength_nm}: expected at most 15,000 nm.")
        return known.emissivity
    if shortest < 350.0 or longest > 2600.0:
        raise ArgumentError(f"wavelength_nm={wavelength_nm}: expected 350 to 2600 nm, or beyond 3000 nm for heat.")
    return _mean(known.reflectance, shortest, longest)


def _named(spectrum: Spectrum | str) -> Spectrum:
    if isinstance(spectrum, Spectrum):
        return spectrum
    if spectrum not in SPECTRA:
        raise ArgumentError(f"material {spectrum!r} is unknown. Expected one of: {', '.join(SPECTRA)}.")
    return SPECTRA[spectrum]


def _mean(reflectance: tuple[float, ...], shortest: float, longest: float) -> float:
    """Mean of the broken line between two wavelengths: its knots and both ends, by the trapezoidal rule."""
    if shortest == longest:
        return float(np.interp(shortest, KNOTS_NM, reflectance))
    inside = [knot for knot in KNOTS_NM if shortest < knot < longest]
    at: npt.NDArray[np.float64] = np.array([shortest, *inside, longest])
    return float(np.trapezoid(np.interp(at, KNOTS_NM, reflectance), at) / (longest - shortest))
