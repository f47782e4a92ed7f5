"""Level 1 of Landsat Collection 2: radiance, reflectance at the top of the atmosphere, brightness temperature.

The formulas are those of the USGS, "Using the USGS Landsat Level-1 Data Product"
(https://www.usgs.gov/landsat-missions/using-usgs-landsat-level-1-data-product), and, for ESUN, those of the Landsat 7
Data Users Handbook (LSDS-1927). The coefficients come from the MTL file of each scene.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from xcloudmask.errors import ArgumentError

__all__ = ["brightness_temperature", "radiance_to_reflectance", "toa_reflectance_scale"]

Array = TypeVar("Array", bound=Any)


def toa_reflectance_scale(*, mult: float, add: float, sun_elevation: float) -> tuple[float, float]:
    """Return scale and offset from DN to reflectance at the top of the atmosphere.

    Parameters
    ----------
    mult, add
        ``REFLECTANCE_MULT_BAND_x`` and ``REFLECTANCE_ADD_BAND_x`` of the MTL file; they leave the sun out.
    sun_elevation
        ``SUN_ELEVATION`` of the MTL file, in degrees.

    Returns
    -------
    tuple of float
        (scale, offset), both divided by the sine of the sun's elevation: reflectance = DN * scale + offset.

    Raises
    ------
    ArgumentError
        The sun is not above the horizon.

    Notes
    -----
    USGS, "Using the USGS Landsat Level-1 Data Product", conversion to TOA reflectance.

    Examples
    --------
    >>> scale, offset = toa_reflectance_scale(mult=2e-5, add=-0.1, sun_elevation=30.0)
    >>> round(10_000 * scale + offset, 6)
    0.2
    """
    sine = _sine(sun_elevation)
    return mult / sine, add / sine


def radiance_to_reflectance(
    radiance: Array, *, esun: float, sun_elevation: float, earth_sun_distance: float = 1.0
) -> Array:
    """Turn radiance into reflectance at the top of the atmosphere, as older products need.

    Parameters
    ----------
    radiance
        W m-2 sr-1 um-1 (DN * ``RADIANCE_MULT_BAND_x`` + ``RADIANCE_ADD_BAND_x``); a number, an array, or a DataArray of
        floats.
    esun
        Mean solar irradiance of the band above the atmosphere, in W m-2 um-1.
    sun_elevation
        Degrees above the horizon.
    earth_sun_distance
        ``EARTH_SUN_DISTANCE`` of the MTL file, in astronomical units.

    Returns
    -------
    same as `radiance`
        Reflectance (1 = all light is reflected).

    Raises
    ------
    ArgumentError
        The sun is not above the horizon, or `esun` or the distance is not positive.

    Notes
    -----
    pi * L * d**2 / (ESUN * sin(sun elevation)): Landsat 7 Data Users Handbook (LSDS-1927), radiance to reflectance.

    Examples
    --------
    >>> round(radiance_to_reflectance(100.0, esun=1536.0, sun_elevation=45.0), 4)
    0.2893
    """
    if not (esun > 0 and earth_sun_distance > 0):
        raise ArgumentError(
            f"esun={esun!r} W m-2 um-1 and earth_sun_distance={earth_sun_distance!r} must be positive: type those of "
            "the band and of the MTL file."
        )
    gain = math.pi * earth_sun_distance**2 / (esun * _sine(sun_elevation))
    result: Array = radiance * gain
    return result


def brightness_temperature(radiance: Array, *, k1: Any, k2: Any) -> Array:
    """Turn thermal radiance into brightness temperature.

    Parameters
    ----------
    radiance
        W m-2 sr-1 um-1 (DN * ``RADIANCE_MULT_BAND_x`` + ``RADIANCE_ADD_BAND_x``); a number, an array, or a DataArray of
        floats.
    k1
        ``K1_CONSTANT_BAND_x`` of the MTL file, in W m-2 sr-1 um-1.
    k2
        ``K2_CONSTANT_BAND_x`` of the MTL file, in kelvin.

    Returns
    -------
    same as `radiance`
        Kelvin, as seen from above the atmosphere; NaN where the radiance is not positive.

    Notes
    -----
    K2 / ln(K1 / L + 1): USGS, "Using the USGS Landsat Level-1 Data Product", conversion to TOA brightness temperature.

    Examples
    --------
    >>> float(brightness_temperature(10.0, k1=774.8853, k2=1321.0789).round(1))
    302.8
    """
    # A radiance of 0 or less has no temperature: NaN goes through the logarithm without a warning.
    positive = radiance.where(radiance > 0) if hasattr(radiance, "where") else np.where(radiance > 0, radiance, np.nan)
    result: Array = k2 / np.log(k1 / positive + 1.0)
    return result


def _sine(sun_elevation: float) -> float:
    if not 0 < sun_elevation <= 90:
        raise ArgumentError(
            f"sun_elevation={sun_elevation!r}: reflectance needs the sun above the horizon, 0 to 90 degrees. Type "
            "SUN_ELEVATION of the MTL file."
        )
    return math.sin(math.radians(sun_elevation))
