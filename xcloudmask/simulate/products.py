"""From reflectance and kelvin to the numbers (DN) that a product stores (numpy only)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from xcloudmask._sensor import Band, Sensor
from xcloudmask.simulate.spectra import is_thermal

__all__ = ["Coding", "band_coding", "coarsen", "encode"]

DType = Literal["uint8", "uint16", "int16"]

_BASELINE_OFFSET = -0.1
"""Sentinel-2 since processing baseline 04.00 (January 2022): DN = 10,000 * reflectance + 1000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """How one band is stored: value = DN * scale + offset."""

    scale: float
    """Reflectance or kelvin per DN."""
    offset: float
    """Reflectance or kelvin at DN 0."""
    nodata: float
    """The DN that means "no data"."""
    dtype: DType
    """Type of the DN."""
    units: Literal["1", "K"]
    """1 for reflectance, K for brightness temperature."""

    @property
    def attrs(self) -> dict[str, float | int | str]:
        """Attributes of the variable."""
        return {
            "units": self.units,
            "nodata": int(self.nodata),
            "scale_factor": self.scale,
            "add_offset": self.offset,
        }


def band_coding(band: Band, *, sensor: Sensor, sun_zenith_deg: float, quantisation: Literal[8] | None = None) -> Coding:
    """Return how a product stores a band.

    Parameters
    ----------
    band
        A band of the sensor.
    sensor
        The sensor.
    sun_zenith_deg
        Landsat Level 1 is not divided by the cosine of the sun's zenith angle, so that its scale holds it.
    quantisation
        8 stores every band in uint8, whatever the product does; None as the product does.

    Returns
    -------
    Coding

    Notes
    -----
    Scale, offset and nodata come from `xcloudmask.sensors` where they stand there. Where they do not: Sentinel-2 has
    the offset of processing baseline 04.00 (Sentinel-2 Products Specification Document); OLI and TIRS Level 1 have 2e-5
    and -0.1 over the cosine of the sun's zenith angle (USGS, Landsat 8-9 Data Users Handbook) and, for kelvin, which
    are not linear in the DN of Level 1, the scale of Level 2; TM and ETM+ Level 1 are 8-bit, here of 0.4 percent and
    half a kelvin a step; PlanetScope is a surface reflectance asset times 10,000.

    Examples
    --------
    >>> from xcloudmask.sensors import get_sensor
    >>> sensor = get_sensor("sentinel-2-l2a")
    >>> band_coding(sensor.bands[3], sensor=sensor, sun_zenith_deg=40.0).offset
    -0.1
    """
    thermal = is_thermal(band.wavelength_nm)
    units: Literal["1", "K"] = "K" if thermal else "1"
    nodata = 0.0 if band.nodata is None else band.nodata
    eight_bit = quantisation == 8 or (sensor.name.startswith(("landsat-tm", "landsat-etm")) and band.scale is None)
    if eight_bit:
        scale, offset = (0.5, 200.0) if thermal else (0.004, -0.004)
        return Coding(scale=scale, offset=offset, nodata=0.0, dtype="uint8", units=units)
    dtype: DType = "int16" if nodata < 0 else "uint16"
    if band.scale is not None:
        offset = _BASELINE_OFFSET if band.offset is None else band.offset
        return Coding(scale=band.scale, offset=offset, nodata=nodata, dtype=dtype, units=units)
    if not sensor.name.startswith("landsat"):
        return Coding(scale=1e-4, offset=0.0, nodata=nodata, dtype=dtype, units=units)
    if thermal:
        return Coding(scale=0.00341802, offset=149.0, nodata=nodata, dtype=dtype, units=units)
    height = float(np.cos(np.radians(sun_zenith_deg)))
    return Coding(scale=2e-5 / height, offset=-0.1 / height, nodata=nodata, dtype=dtype, units=units)


def encode(values: npt.NDArray[np.float32], coding: Coding) -> npt.NDArray[np.float32]:
    """Return the DN of reflectance or kelvin, as whole numbers in float32; never the nodata value.

    Parameters
    ----------
    values
        (y, x) reflectance or kelvin.
    coding
        How the band is stored.

    Returns
    -------
    numpy.ndarray
        (y, x) float32, within the range of the type: what is too bright saturates.

    Examples
    --------
    >>> coding = Coding(scale=1e-4, offset=-0.1, nodata=0.0, dtype="uint16", units="1")
    >>> encode(np.array([[0.0, 0.25]], np.float32), coding).tolist()
    [[1000.0, 3500.0]]
    """
    limits = np.iinfo(coding.dtype)
    lowest = limits.min + 1 if coding.nodata < 0 else 1
    numbers = np.round((values.astype(np.float64) - coding.offset) / coding.scale)
    numbers[numbers == coding.nodata] += 1
    return np.asarray(np.clip(numbers, lowest, limits.max), np.float32)


def coarsen(image: npt.NDArray[np.float32], *, factor: int) -> npt.NDArray[np.float32]:
    """Return an image of coarser pixels on the same grid: means of blocks, repeated, as loaders that take the nearest.

    Parameters
    ----------
    image
        (y, x).
    factor
        Pixels along a side of a block.

    Returns
    -------
    numpy.ndarray
        (y, x) float32.

    Examples
    --------
    >>> coarsen(np.array([[0.0, 2.0], [4.0, 6.0]], np.float32), factor=2).tolist()
    [[3.0, 3.0], [3.0, 3.0]]
    """
    if factor <= 1:
        return image
    height, width = image.shape
    padded = np.pad(image, ((0, -height % factor), (0, -width % factor)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor).mean(axis=(1, 3))
    wide = np.repeat(np.repeat(blocks, factor, 0), factor, 1)
    return np.asarray(wide[:height, :width], np.float32)
