"""Sentinel-2A, B and C: MSI, Level-1C and Level-2A."""

from __future__ import annotations

from xcloudmask._sensor import Band, Quantity, Sensor
from xcloudmask.sensors._rows import centred

__all__ = ["PLATFORMS", "SENTINEL2", "msi_bands"]

PLATFORMS = ("sentinel-2", "sentinel-2a", "sentinel-2b", "sentinel-2c", "sentinel-2d")

_SOURCE = (
    "Centres and widths of Sentinel-2A: ESA, Sentinel-2 Spectral Response Functions (COPE-GSEG-EOPG-TN-15-0007). The "
    "centres of Sentinel-2B differ by 4 nm at most, but for B12 (2185.7 nm); those of Sentinel-2C are not given. "
    "Scale, nodata and the offset of each processing baseline: Sentinel-2 Products Specification Document. Names: "
    "Copernicus Data Space Ecosystem, Earth Search v0 and v1, Planetary Computer, Earth Engine. "
    "Common names: STAC extension eo."
)

# name, resolution, (centre, width), roles, names in Earth Search v1 and STAC; the last is the common name
_MSI = (
    ("B01", 60.0, (442.7, 20.0), ("coastal",), ("coastal",)),
    ("B02", 10.0, (492.4, 66.0), ("blue",), ("blue",)),
    ("B03", 10.0, (559.8, 36.0), ("green",), ("green",)),
    ("B04", 10.0, (664.6, 31.0), ("red",), ("red",)),
    ("B05", 20.0, (704.1, 15.0), ("rededge1",), ("rededge1", "rededge071")),
    ("B06", 20.0, (740.5, 15.0), ("rededge2",), ("rededge2", "rededge075")),
    ("B07", 20.0, (782.8, 20.0), ("rededge3",), ("rededge3", "rededge078")),
    ("B08", 10.0, (832.8, 106.0), ("nir", "nir08"), ("nir",)),
    ("B8A", 20.0, (864.7, 21.0), ("nir08", "nir"), ("nir08",)),
    ("B09", 60.0, (945.1, 20.0), ("nir09",), ("nir09",)),
    ("B10", 60.0, (1373.5, 31.0), ("cirrus",), ("cirrus",)),
    ("B11", 20.0, (1613.7, 91.0), ("swir16",), ("swir16",)),
    ("B12", 20.0, (2202.4, 175.0), ("swir22",), ("swir22",)),
)


def _aliases(name: str, resolution_m: float, common: tuple[str, ...]) -> tuple[str, ...]:
    """CDSE spells B04_10m (finest copy first), Earth Search red and red-jp2, Earth Engine B4."""
    # Level-2A also has a copy of the 60 m coastal band at 20 m.
    finest = 20 if name == "B01" else resolution_m
    cdse = tuple(f"{name}_{r}m" for r in (10, 20, 60) if r >= finest)
    short = (name.replace("B0", "B"),) if name.startswith("B0") else ()
    return (*cdse, *common, f"{common[0]}-jp2", *short)


def msi_bands(quantity: Quantity) -> tuple[Band, ...]:
    """Return the bands of Level-1C (TOA reflectance) or Level-2A (surface reflectance)."""
    return tuple(
        Band(
            name=name,
            aliases=_aliases(name, resolution_m, common),
            roles=roles,
            wavelength_nm=centred(*wavelength),
            resolution_m=resolution_m,
            scale=1e-4,
            # Baseline 04.00 and later add 1000 DN; reprocessed scenes of older dates too. Only the item knows.
            offset=None,
            nodata=0.0,
            quantity=quantity,
            common_name=common[-1],
        )
        for name, resolution_m, wavelength, roles, common in _MSI
        # Level-2A has no cirrus band; files that carry it are Level-1C.
        if not (quantity == "surface_reflectance" and name == "B10")
    )


SENTINEL2 = (
    Sensor(
        name="sentinel-2-l1c",
        title="Sentinel-2 MSI Level-1C",
        bands=msi_bands("toa_reflectance"),
        aliases=("sentinel-s2-l1c", "s2-l1c"),
        platforms=PLATFORMS,
        source=_SOURCE,
    ),
    Sensor(
        name="sentinel-2-l2a",
        title="Sentinel-2 MSI Level-2A",
        bands=msi_bands("surface_reflectance"),
        aliases=("sentinel-s2-l2a", "sentinel-s2-l2a-cogs", "sentinel-2-c1-l2a", "s2-l2a"),
        platforms=PLATFORMS,
        companions=("SCL", "SCL_20m", "SCL_60m", "AOT_10m", "WVP_10m"),
        source=_SOURCE,
    ),
)
