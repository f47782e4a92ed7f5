"""Harmonized Landsat Sentinel-2 2.0: L30 (OLI) and S30 (MSI), surface reflectance on one 30 m grid."""

from __future__ import annotations

from dataclasses import replace

from xcloudmask._sensor import Band, Sensor
from xcloudmask.sensors.landsat import OLI_PLATFORMS, THERMAL, level1_bands, without_constants
from xcloudmask.sensors.sentinel2 import PLATFORMS, msi_bands

__all__ = ["HLS"]

_SOURCE = (
    "Scale, offset, nodata and names: NASA, HLS User Guide 2.0 (LP DAAC). Planetary Computer uses the same keys. "
    "Wavelengths: those of the instrument. Common names as the STAC extension eo has them: some catalogues label B05 "
    "of L30 nir instead of nir08 and leave B8A of S30 without a name "
    "(https://github.com/microsoft/PlanetaryComputerDataCatalog/issues/506)."
)
_COMPANIONS = ("Fmask",)


def _reflectance(bands: tuple[Band, ...]) -> tuple[Band, ...]:
    """Surface reflectance times 10,000 in int16, fill value -9999."""
    return tuple(
        replace(band, resolution_m=30.0, scale=1e-4, offset=0.0, nodata=-9999.0, quantity="surface_reflectance")
        for band in bands
        if band.role not in THERMAL
    )


def _l30_bands() -> tuple[Band, ...]:
    """OLI bands in the spelling of HLS (B04; Earth Engine: B4); thermal bands are degrees Celsius times 100."""
    renamed = tuple(
        replace(
            without_constants(band),
            name=f"B{int(band.name[1:]):02d}",
            aliases=(*band.aliases[1:], *((band.name,) if len(band.name) == 2 else ())),
        )
        for band in level1_bands("oli")
        if band.role != "pan"
    )
    thermal = tuple(
        replace(band, resolution_m=30.0, scale=0.01, offset=273.15, nodata=-9999.0)
        for band in renamed
        if band.role in THERMAL
    )
    return _reflectance(renamed) + thermal


HLS = (
    Sensor(
        name="hls-l30",
        title="Harmonized Landsat Sentinel-2 2.0, L30 (OLI)",
        bands=_l30_bands(),
        aliases=("hlsl30", "HLSL30.v2.0", "HLSL30_2.0", "hls2-l30"),
        platforms=OLI_PLATFORMS,
        companions=_COMPANIONS,
        source=_SOURCE,
    ),
    Sensor(
        name="hls-s30",
        title="Harmonized Landsat Sentinel-2 2.0, S30 (MSI)",
        bands=_reflectance(msi_bands("toa_reflectance")),
        aliases=("hlss30", "HLSS30.v2.0", "HLSS30_2.0", "hls2-s30"),
        platforms=PLATFORMS,
        companions=_COMPANIONS,
        source=_SOURCE,
    ),
)
