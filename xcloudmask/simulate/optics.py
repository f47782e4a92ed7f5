"""What a layer of cloud does to each band: scattering, absorption, vapour above it, thermal emission (numpy only).

Two-stream layers joined with the ground by the adding method (Lacis and Hansen, 1974, J. Atmos. Sci. 31), in the form
of Bohren (1987), American Journal of Physics 55.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xcloudmask.simulate._layer import CloudLayer
from xcloudmask.simulate.spectra import RADIATION_NM_K, THERMAL_NM

__all__ = ["cover", "is_cirrus_band", "layer_reflectance", "two_stream"]

_CIRRUS_NM = (1350.0, 1400.0)
_VAPOUR_DEPTH = 12.0
"""Optical depth of all water vapour at 1375 nm: the ground is not seen (Gao, Goetz and Wiscombe, 1993, Geophys. Res.
Lett. 20)."""
_VAPOUR_SCALE_M = 2000.0
"""Height over which water vapour falls to 1/e: Gueymard (1994), Solar Energy 53, gives 2 to 2.5 km."""

_LAPSE_K_M = 6.5e-3
_TROPOPAUSE_M = 11_000.0
"""Lapse rate and tropopause of the ICAO Standard Atmosphere (Doc 7488)."""

_COALBEDO_NM = (900.0, 1050.0, 1250.0, 1375.0, 1610.0, 2200.0)
_COALBEDO = {
    False: (0.0, 2e-4, 1e-3, 3e-3, 7e-3, 2e-2),
    True: (0.0, 1e-3, 8e-3, 1e-2, 5e-2, 7e-2),
}
"""1 - single scattering albedo of droplets of 10 um and of crystals of about 30 um effective radius, after
Pilewskie and Twomey (1987), Atmos. Res. 21, and Yang et al. (2013), J. Atmos. Sci. 70, and rounded."""

_Field = npt.NDArray[np.float32]


def two_stream(tau: _Field, *, asymmetry: float, coalbedo: float = 0.0) -> tuple[_Field, _Field]:
    """Reflectance and transmittance of a layer in diffuse light.

    Parameters
    ----------
    tau
        (y, x) optical thickness.
    asymmetry
        Asymmetry of scattering.
    coalbedo
        Share of each extinction that is absorbed.

    Returns
    -------
    reflectance, transmittance
        (y, x) float32 each; their sum is 1 where nothing is absorbed.

    Examples
    --------
    >>> r, t = two_stream(np.array([20.0], np.float32), asymmetry=0.85)
    >>> r.round(2), t.round(2)
    (array([0.6], dtype=float32), array([0.4], dtype=float32))
    """
    if coalbedo < 1e-4:
        scaled = np.float32(1.0 - asymmetry) * tau
        reflectance = np.asarray(scaled / (2.0 + scaled), np.float32)
        return reflectance, 1.0 - reflectance
    scatter = 1.0 - (1.0 - coalbedo) * asymmetry
    deep = (np.sqrt(scatter) - np.sqrt(coalbedo)) / (np.sqrt(scatter) + np.sqrt(coalbedo))
    # exp(-K) alone, so that a very thick layer does not overflow.
    fall = np.exp(np.float32(-np.sqrt(coalbedo * scatter)) * tau)
    below = 1.0 - np.float32(deep**2) * fall * fall
    reflectance = np.float32(deep) * (1.0 - fall * fall) / below
    transmittance = np.float32(1.0 - deep**2) * fall / below
    return np.asarray(reflectance, np.float32), np.asarray(transmittance, np.float32)


def layer_reflectance(layer: CloudLayer) -> _Field:
    """Reflectance of a layer alone near 550 nm.

    Parameters
    ----------
    layer
        A layer.

    Returns
    -------
    numpy.ndarray
        (y, x).
    """
    return two_stream(layer.optical_thickness, asymmetry=layer.asymmetry)[0]


def cover(
    below: _Field,
    layer: CloudLayer,
    *,
    wave_nm: float,
    shading: _Field | np.float32,
    airmass: float = 2.0,
    surface_k: float = 288.15,
) -> _Field:
    """Lay a layer over what is below it, in one band.

    Parameters
    ----------
    below
        (y, x) reflectance of all that is below, or brightness temperature in kelvin beyond 3000 nm.
    layer
        A layer of the same shape.
    wave_nm
        Centre of the band.
    shading
        Factor on the light that the layer reflects: its own relief, and shadows of higher clouds.
    airmass
        Path down and up through the atmosphere, in vertical ones; 2 is sun and satellite overhead.
    surface_k
        Temperature of the air at the ground, where the lapse rate starts.

    Returns
    -------
    numpy.ndarray
        (y, x), in the unit of `below`.

    Notes
    -----
    Between 1350 and 1400 nm the ground is not seen, and the cloud through the water vapour above it: Gao, Goetz and
    Wiscombe (1993). Thermal emissivity is ``1 - exp(-tau / 2)``, since absorption at 11 um is half of the extinction
    at 550 nm: Minnis et al. (1993), J. Atmos. Sci. 50. Absorption by droplets and
    crystals: Pilewskie and Twomey (1987).

    Examples
    --------
    >>> tau = np.array([[0.0, 50.0]], np.float32)
    >>> layer = CloudLayer(optical_thickness=tau, height_m=9000.0, depth_m=0.0, asymmetry=0.78, ice=True)
    >>> one = np.float32(1.0)
    >>> cover(np.full((1, 2), 290.0, np.float32), layer, wave_nm=11_000.0, shading=one).round()
    array([[290., 230.]], dtype=float32)
    """
    if wave_nm > THERMAL_NM:
        return _emit(below, layer, wave_nm=wave_nm, surface_k=surface_k)
    tau = layer.optical_thickness
    if layer.angstrom:
        tau = tau * np.float32((wave_nm / 550.0) ** -layer.angstrom)
    coalbedo = float(np.interp(wave_nm, _COALBEDO_NM, _COALBEDO[layer.ice]))
    reflectance, transmittance = two_stream(tau, asymmetry=layer.asymmetry, coalbedo=coalbedo)
    # The tilt is seen up to the near infrared; further on absorption has its say.
    bright = reflectance * (np.float32((min(wave_nm, 1000.0) / 650.0) ** layer.tilt) * shading)
    if is_cirrus_band(wave_nm):
        top_m = layer.height_m + layer.depth_m
        seen = np.exp(-_VAPOUR_DEPTH * 0.5 * airmass * np.exp(-top_m / _VAPOUR_SCALE_M))
        return np.asarray(np.float32(seen) * bright + transmittance * transmittance * below, np.float32)
    ground = np.clip(below, 0.0, 1.0)
    through = transmittance * transmittance * ground / (1.0 - reflectance * ground)
    # Reflectance below 0 (L2A over water) or above 1 stays where there is no cloud.
    return np.asarray(bright + through + transmittance * transmittance * (below - ground), np.float32)


def is_cirrus_band(wave_nm: float) -> bool:
    """Whether water vapour hides the ground in a band.

    Parameters
    ----------
    wave_nm
        Centre of the band.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_cirrus_band(1373.5), is_cirrus_band(1613.7)
    (True, False)
    """
    return _CIRRUS_NM[0] <= wave_nm <= _CIRRUS_NM[1]


def _emit(below_k: _Field, layer: CloudLayer, *, wave_nm: float, surface_k: float) -> _Field:
    """Mix the radiance of the cloud and of what it lets through, and turn it back into a temperature."""
    emissivity = 1.0 - np.exp(np.float32(-0.5) * layer.optical_thickness)
    cold = np.float32(surface_k - _LAPSE_K_M * np.minimum(layer.top_m(), _TROPOPAUSE_M))
    c2 = np.float32(RADIATION_NM_K / wave_nm)
    own, through = (1.0 / np.expm1(c2 / np.maximum(kelvin, 1.0)) for kelvin in (np.maximum(cold, 180.0), below_k))
    radiance = emissivity * own + (1.0 - emissivity) * through
    return np.where(emissivity > 0, c2 / np.log1p(1.0 / radiance), below_k).astype(np.float32)
