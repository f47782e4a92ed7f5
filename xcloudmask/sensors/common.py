"""Common names of bands, and the range of wavelengths that each stands for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from xcloudmask.sensors._rows import between

__all__ = ["COMMON_NM"]

# Micrometres: STAC extension eo, version 2.0, table of common band names
# (https://github.com/stac-extensions/eo#common-band-names).
_RANGES_UM = {
    "pan": (0.40, 1.00),
    "coastal": (0.40, 0.45),
    "blue": (0.45, 0.53),
    "green": (0.51, 0.60),
    "green05": (0.51, 0.55),
    "yellow": (0.58, 0.62),
    "red": (0.62, 0.69),
    "rededge": (0.69, 0.79),
    "rededge071": (0.69, 0.73),
    "rededge075": (0.73, 0.76),
    "rededge078": (0.76, 0.79),
    "nir": (0.76, 1.00),
    "nir08": (0.80, 0.90),
    "nir09": (0.90, 1.00),
    "cirrus": (1.35, 1.40),
    "swir16": (1.55, 1.75),
    "swir22": (2.08, 2.35),
    "lwir": (10.4, 12.5),
    "lwir11": (10.5, 11.5),
    "lwir12": (11.5, 12.5),
}

# Earth Search calls these bands of Sentinel-2 so.
_ALSO = {"rededge1": "rededge071", "rededge2": "rededge075", "rededge3": "rededge078"}

COMMON_NM: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        name: between(*(round(1000 * end, 1) for end in _RANGES_UM[known]))
        for name, known in ({name: name for name in _RANGES_UM} | _ALSO).items()
    }
)
"""Common name -> shortest, middle and longest wavelength, in nm. They are those of many sensors: where a band's own
wavelengths are known, these are better."""
