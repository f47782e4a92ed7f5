"""Clear air between the ground and the satellite: path radiance, transmission, absorbing gases (numpy only)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xcloudmask.errors import ArgumentError
from xcloudmask.simulate.spectra import is_thermal

__all__ = ["Air", "draw_air", "gas_transmission", "path_reflectance", "rayleigh_optical_depth", "see_through_air"]

_AEROSOL_ASYMMETRY = 0.65
_AEROSOL_BACKSCATTER = 0.18
_RAYLEIGH_BACKSCATTER = 0.5

# (nm, absorption by one centimetre of water on the vertical way, by the other gases on the vertical way): knots of the
# mean over some 20 nm, so that 1375 nm is black and 945 nm loses about half.
_GASES = (
    (400.0, 0.0, 0.0),
    (500.0, 0.0, 0.012),
    (600.0, 0.0, 0.038),
    (660.0, 0.002, 0.018),
    (700.0, 0.01, 0.006),
    (720.0, 0.06, 0.003),
    (740.0, 0.01, 0.002),
    (820.0, 0.05, 0.001),
    (865.0, 0.002, 0.001),
    (900.0, 0.12, 0.0),
    (945.0, 0.34, 0.0),
    (990.0, 0.03, 0.0),
    (1040.0, 0.001, 0.0),
    (1130.0, 0.4, 0.0),
    (1240.0, 0.01, 0.01),
    (1330.0, 0.8, 0.0),
    (1355.0, 3.0, 0.0),
    (1400.0, 4.0, 0.0),
    (1480.0, 0.4, 0.0),
    (1550.0, 0.01, 0.01),
    (1610.0, 0.005, 0.02),
    (1680.0, 0.01, 0.01),
    (1780.0, 0.4, 0.0),
    (1850.0, 4.0, 0.0),
    (1950.0, 1.5, 0.1),
    (2050.0, 0.06, 0.12),
    (2120.0, 0.02, 0.02),
    (2200.0, 0.02, 0.02),
    (2300.0, 0.05, 0.06),
    (2450.0, 0.3, 0.03),
    (2600.0, 3.0, 0.1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Air:
    """The clear air over a scene."""

    sun_zenith_deg: float = 40.0
    """Angle of the sun from the vertical."""
    view_zenith_deg: float = 0.0
    """Angle of the satellite from the vertical."""
    relative_azimuth_deg: float = 90.0
    """Between the directions to the sun and to the satellite."""
    pressure_hpa: float = 1013.25
    """At the ground."""
    aerosol_optical_depth: float = 0.1
    """At 550 nm."""
    angstrom: float = 1.2
    """Exponent by which the aerosol's optical depth falls with the wavelength."""
    water_cm: float = 1.5
    """Column of water vapour."""


def draw_air(rng: np.random.Generator, *, sun_zenith_deg: float) -> Air:
    """Draw the air of a clear day.

    Parameters
    ----------
    rng
        Source of randomness.
    sun_zenith_deg
        Angle of the sun from the vertical.

    Returns
    -------
    Air

    Examples
    --------
    >>> draw_air(np.random.default_rng(0), sun_zenith_deg=30.0).sun_zenith_deg
    30.0
    """
    return Air(
        sun_zenith_deg=sun_zenith_deg,
        view_zenith_deg=float(rng.uniform(0.0, 10.0)),
        relative_azimuth_deg=float(rng.uniform(0.0, 180.0)),
        pressure_hpa=float(rng.uniform(850.0, 1020.0)),
        aerosol_optical_depth=float(np.clip(np.exp(rng.normal(np.log(0.1), 0.6)), 0.02, 0.5)),
        angstrom=float(rng.uniform(0.6, 1.7)),
        water_cm=float(rng.uniform(0.5, 4.0)),
    )


def rayleigh_optical_depth(wavelength_nm: float, *, pressure_hpa: float = 1013.25) -> float:
    """Return the optical depth of the air molecules.

    Parameters
    ----------
    wavelength_nm
        In vacuum.
    pressure_hpa
        At the ground.

    Returns
    -------
    float

    Notes
    -----
    Hansen and Travis (1974), Space Science Reviews 16, equation 2.30. Bodhaine et al. (1999), J. Atmos. Oceanic
    Technol. 16, agree with it to about one percent.

    Examples
    --------
    >>> round(rayleigh_optical_depth(550.0), 3)
    0.097
    """
    inverse = (wavelength_nm / 1000.0) ** -2
    standard = 0.008569 * inverse**2 * (1.0 + 0.0113 * inverse + 0.00013 * inverse**2)
    return float(standard * pressure_hpa / 1013.25)


def path_reflectance(wavelength_nm: float, *, air: Air) -> float:
    """Return what the air alone reflects towards the satellite.

    Parameters
    ----------
    wavelength_nm
        Centre of a band.
    air
        The clear air.

    Returns
    -------
    float
        As a reflectance, 0 to about 0.2.

    Notes
    -----
    Single scattering by molecules and aerosol, the phase function of Henyey and Greenstein (1941), Astrophysical
    Journal 93, for the aerosol. Light scattered twice is left out: a fifth or more of the path in the blue.

    Examples
    --------
    >>> 0.04 < path_reflectance(490.0, air=Air()) < 0.1
    True
    """
    sun, view, cosine = _geometry(air)
    molecules = rayleigh_optical_depth(wavelength_nm, pressure_hpa=air.pressure_hpa)
    aerosol = _aerosol_optical_depth(wavelength_nm, air)
    asymmetry = _AEROSOL_ASYMMETRY
    rayleigh = 0.75 * (1.0 + cosine**2)
    henyey = (1.0 - asymmetry**2) / (1.0 + asymmetry**2 - 2.0 * asymmetry * cosine) ** 1.5
    depth = molecules + aerosol
    phase = (molecules * rayleigh + aerosol * henyey) / depth
    return float(phase / (4.0 * (sun + view)) * -np.expm1(-depth * (1.0 / sun + 1.0 / view)))


def gas_transmission(wavelength_nm: float, *, air: Air) -> float:
    """Return the share of light that absorbing gases leave on the way down and up.

    Parameters
    ----------
    wavelength_nm
        Centre of a band of some tens of nm.
    air
        The clear air.

    Returns
    -------
    float
        0 to 1: near 0 at 1375 nm, about 0.5 at 945 nm, near 1 in the windows.

    Notes
    -----
    Approximate knots after the transmittance of MODTRAN's standard atmospheres (Berk et al., 2014, SPIE 9088); square
    root growth with the amount of vapour for bands of strong lines (Goody and Yung, 1989, Atmospheric Radiation). The
    band at 1380 nm is black below the clouds: Gao et al. (1993), Geophysical Research Letters 20.

    Examples
    --------
    >>> gas_transmission(1375.0, air=Air()) < 0.01, gas_transmission(865.0, air=Air()) > 0.98
    (True, True)
    """
    sun, view, _ = _geometry(air)
    known, vapour, others = np.array(_GASES).T
    way = 1.0 / sun + 1.0 / view
    depth = np.interp(wavelength_nm, known, vapour) * np.sqrt(air.water_cm * way)
    return float(np.exp(-depth - 0.5 * np.interp(wavelength_nm, known, others) * way))


def see_through_air(
    image: npt.NDArray[np.float32], *, bands: Sequence[tuple[float, float, float]], air: Air
) -> npt.NDArray[np.float32]:
    """Return reflectance at the top of the atmosphere.

    Parameters
    ----------
    image
        (band, y, x) reflectance at the surface; thermal bands in kelvin stay as they are.
    bands
        Shortest, central and longest wavelength of each band, in nm.
    air
        The clear air.

    Returns
    -------
    numpy.ndarray
        (band, y, x) float32.

    Raises
    ------
    ArgumentError
        The number of bands differs.

    Notes
    -----
    Path, transmission down and up, and the sky's reflection of light that comes back from the ground: Vermote et al.
    (1997), IEEE Transactions on Geoscience and Remote Sensing 35 (6S).

    Examples
    --------
    >>> dark = np.full((1, 2, 2), 0.02, np.float32)
    >>> bool((see_through_air(dark, bands=[(457.5, 490.0, 522.5)], air=Air()) > 0.05).all())
    True
    """
    if len(bands) != len(image):
        raise ArgumentError(f"The image has {len(image)} bands and bands= has {len(bands)}: give one per band.")
    seen = np.array(image, np.float32)
    sun, view, _ = _geometry(air)
    for index, band in enumerate(bands):
        if is_thermal(band):
            continue
        molecules = rayleigh_optical_depth(band[1], pressure_hpa=air.pressure_hpa)
        # What is scattered forwards still arrives.
        lost = _RAYLEIGH_BACKSCATTER * molecules + _AEROSOL_BACKSCATTER * _aerosol_optical_depth(band[1], air)
        through = np.float32(np.exp(-lost * (1.0 / sun + 1.0 / view)))
        sky = np.float32(1.0 - np.exp(-1.5 * lost))
        path = np.float32(path_reflectance(band[1], air=air))
        gases = np.float32(gas_transmission(band[1], air=air))
        seen[index] = gases * (path + through * seen[index] / (1.0 - sky * np.minimum(seen[index], 1.0)))
    return seen


def _geometry(air: Air) -> tuple[float, float, float]:
    """Cosines of sun and view zenith, and of the angle of scattering."""
    sun, view, azimuth = np.radians((air.sun_zenith_deg, air.view_zenith_deg, air.relative_azimuth_deg))
    cosine = -np.cos(sun) * np.cos(view) - np.sin(sun) * np.sin(view) * np.cos(azimuth)
    return float(np.cos(sun)), float(np.cos(view)), float(cosine)


def _aerosol_optical_depth(wavelength_nm: float, air: Air) -> float:
    return float(air.aerosol_optical_depth * (wavelength_nm / 550.0) ** -air.angstrom)
