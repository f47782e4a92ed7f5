"""Frozen tables of sensors: band names in every catalogue spelling, wavelengths, scale, offset and nodata.

Pure data: nothing but the standard library is imported, and a new sensor is a new entry of `SENSORS`.

Sources. Sentinel-2: ESA, Sentinel-2 Spectral Response Functions, COPE-GSEG-EOPG-TN-15-0007 (S2A centres and widths),
and the Sentinel-2 Products Specification Document. Landsat: USGS, "What are the band designations for the Landsat
satellites?", and the Landsat Collection 2 Level-2 Science Product Guides. HLS: NASA, HLS User Guide 2.0. PlanetScope:
Planet Labs, Planet Imagery Product Specifications (PS2 for the 4 bands, PSB.SD for the 8 bands).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from xcloudmask._sensor import Band, Quantity, Sensor, fold_name
from xcloudmask.errors import ArgumentError, ArgumentTypeError

__all__ = ["SENSORS", "Band", "Sensor", "get_sensor"]


def _centred(centre: float, width: float) -> tuple[float, float, float]:
    return round(centre - width / 2, 1), centre, round(centre + width / 2, 1)


def _range(shortest: float, longest: float) -> tuple[float, float, float]:
    return shortest, (shortest + longest) / 2, longest


# name, resolution, (centre, width), roles, names in Earth Search v1, STAC common names
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


def _msi_aliases(name: str, resolution_m: float, common: tuple[str, ...]) -> tuple[str, ...]:
    """CDSE spells B04_10m (finest copy first), Earth Search red and red-jp2, Earth Engine B4."""
    cdse = tuple(f"{name}_{r}m" for r in (10, 20, 60) if r >= resolution_m)
    short = (name.replace("B0", "B"),) if name.startswith("B0") else ()
    return (*cdse, *common, f"{common[0]}-jp2", *short)


def _msi_bands(quantity: Quantity) -> tuple[Band, ...]:
    return tuple(
        Band(
            name=name,
            aliases=_msi_aliases(name, resolution_m, common),
            roles=roles,
            wavelength_nm=_centred(*wavelength),
            resolution_m=resolution_m,
            scale=1e-4,
            # Baseline 04.00 and later add 1000 DN; reprocessed scenes of older dates too. Only the item knows.
            offset=None,
            nodata=0.0,
            quantity=quantity,
        )
        for name, resolution_m, wavelength, roles, common in _MSI
        # Level-2A has no cirrus band; files that carry it are Level-1C.
        if not (quantity == "surface_reflectance" and name == "B10")
    )


# number, resolution, range, roles, common names
_TM = (
    ("1", 30.0, (450.0, 520.0), ("blue",), ("blue",)),
    ("2", 30.0, (520.0, 600.0), ("green",), ("green",)),
    ("3", 30.0, (630.0, 690.0), ("red",), ("red",)),
    ("4", 30.0, (760.0, 900.0), ("nir", "nir08"), ("nir08", "nir")),
    ("5", 30.0, (1550.0, 1750.0), ("swir16",), ("swir16",)),
    ("6", 120.0, (10400.0, 12500.0), ("lwir",), ("lwir",)),
    ("7", 30.0, (2080.0, 2350.0), ("swir22",), ("swir22",)),
)
_ETM = (
    *_TM[:3],
    ("4", 30.0, (770.0, 900.0), ("nir", "nir08"), ("nir08", "nir")),
    _TM[4],
    ("6", 60.0, (10400.0, 12500.0), ("lwir",), ("lwir", "B6_VCID_1", "B6_VCID_2")),
    ("7", 30.0, (2090.0, 2350.0), ("swir22",), ("swir22",)),
    ("8", 15.0, (520.0, 900.0), ("pan",), ("pan",)),
)
_OLI = (
    ("1", 30.0, (430.0, 450.0), ("coastal",), ("coastal",)),
    ("2", 30.0, (450.0, 510.0), ("blue",), ("blue",)),
    ("3", 30.0, (530.0, 590.0), ("green",), ("green",)),
    ("4", 30.0, (640.0, 670.0), ("red",), ("red",)),
    ("5", 30.0, (850.0, 880.0), ("nir", "nir08"), ("nir08", "nir")),
    ("6", 30.0, (1570.0, 1650.0), ("swir16",), ("swir16",)),
    ("7", 30.0, (2110.0, 2290.0), ("swir22",), ("swir22",)),
    ("8", 15.0, (500.0, 680.0), ("pan",), ("pan",)),
    ("9", 30.0, (1360.0, 1380.0), ("cirrus",), ("cirrus",)),
    ("10", 100.0, (10600.0, 11190.0), ("lwir11", "lwir"), ("lwir11",)),
    ("11", 100.0, (11500.0, 12510.0), ("lwir12",), ("lwir12",)),
)
_LandsatRows = tuple[tuple[str, float, tuple[float, float], tuple[str, ...], tuple[str, ...]], ...]

_THERMAL = frozenset({"lwir", "lwir11", "lwir12"})


def _landsat_l1_bands(rows: _LandsatRows, instrument: str) -> tuple[Band, ...]:
    """Level 1: reflectance also needs the sun elevation of the item, so that no scale is known from the sensor."""
    return tuple(
        Band(
            name=f"B{number}",
            aliases=(f"{instrument}_B{number}", *common),
            roles=roles,
            wavelength_nm=_range(*wavelength),
            resolution_m=resolution_m,
            nodata=0.0,
            quantity="brightness_temperature" if roles[0] in _THERMAL else "toa_reflectance",
        )
        for number, resolution_m, wavelength, roles, common in rows
    )


def _landsat_l2_bands(rows: _LandsatRows, instrument: str) -> tuple[Band, ...]:
    """Level 2: surface reflectance and one surface temperature; no panchromatic, cirrus or second thermal band."""
    bands = [
        replace(
            band,
            name=f"{'ST' if band.role in _THERMAL else 'SR'}_{band.name}",
            aliases=(band.name, *band.aliases),
            scale=0.00341802 if band.role in _THERMAL else 2.75e-5,
            offset=149.0 if band.role in _THERMAL else -0.2,
            quantity="brightness_temperature" if band.role in _THERMAL else "surface_reflectance",
        )
        for band in _landsat_l1_bands(rows, instrument)
        if band.role not in ("pan", "cirrus", "lwir12")
    ]
    return tuple(bands)


def _hls(bands: tuple[Band, ...]) -> tuple[Band, ...]:
    """HLS 2.0: surface reflectance times 10,000 in int16 on a 30 m grid, fill value -9999."""
    return tuple(
        replace(band, resolution_m=30.0, scale=1e-4, offset=0.0, nodata=-9999.0, quantity="surface_reflectance")
        for band in bands
        if band.role not in _THERMAL
    )


def _hls_l30_bands() -> tuple[Band, ...]:
    """OLI bands in the spelling of HLS (B04); thermal bands keep kelvin * 100."""
    renamed = tuple(
        replace(band, name=f"B{int(band.name[1:]):02d}", aliases=band.aliases[1:])
        for band in _landsat_l1_bands(_OLI, "OLI")
        if band.role != "pan"
    )
    thermal = tuple(
        replace(band, resolution_m=30.0, scale=0.01, offset=273.15, nodata=-9999.0)
        for band in renamed
        if band.role in _THERMAL
    )
    return _hls(renamed) + thermal


def _planet(name: str, wavelength: tuple[float, float], *aliases: str, role: str | None = None) -> Band:
    """Analytic assets are scaled radiance, "_sr" assets reflectance: the sensor alone does not tell the scale."""
    return Band(
        name=name,
        aliases=aliases,
        roles=(role or name,),
        wavelength_nm=_range(*wavelength),
        resolution_m=3.0,
        nodata=0.0,
    )


_S2_PLATFORMS = ("sentinel-2", "sentinel-2a", "sentinel-2b", "sentinel-2c", "sentinel-2d")
_OLI_PLATFORMS = ("landsat-8", "landsat-9")
_LANDSAT_COMPANIONS = ("QA_PIXEL", "QA_RADSAT", "SR_QA_AEROSOL", "ST_QA", "pixel_qa", "qa_aerosol")
_HLS_COMPANIONS = ("Fmask",)


def _landsat(kind: str, title: str, rows: _LandsatRows, platforms: tuple[str, ...]) -> tuple[Sensor, Sensor]:
    common = {"platforms": platforms, "companions": _LANDSAT_COMPANIONS}
    bands = _landsat_l1_bands(rows, kind.upper()), _landsat_l2_bands(rows, kind.upper())
    level1, level2 = (
        Sensor(name=f"landsat-{kind}-c2-l{level}", title=f"{title}, Collection 2 Level {level}", bands=rows_, **common)
        for level, rows_ in enumerate(bands, start=1)
    )
    return level1, level2


def _sentinel2() -> tuple[Sensor, Sensor]:
    level1 = Sensor(
        name="sentinel-2-l1c",
        title="Sentinel-2 MSI Level-1C",
        bands=_msi_bands("toa_reflectance"),
        aliases=("sentinel-s2-l1c", "s2-l1c"),
        platforms=_S2_PLATFORMS,
    )
    level2 = Sensor(
        name="sentinel-2-l2a",
        title="Sentinel-2 MSI Level-2A",
        bands=_msi_bands("surface_reflectance"),
        aliases=("sentinel-s2-l2a", "sentinel-s2-l2a-cogs", "sentinel-2-c1-l2a", "s2-l2a"),
        platforms=_S2_PLATFORMS,
        companions=("SCL", "SCL_20m", "SCL_60m", "AOT_10m", "WVP_10m"),
    )
    return level1, level2


def _hls_sensors() -> tuple[Sensor, Sensor]:
    l30 = Sensor(
        name="hls-l30",
        title="Harmonized Landsat Sentinel-2 2.0, L30 (OLI)",
        bands=_hls_l30_bands(),
        aliases=("hlsl30", "HLSL30.v2.0", "HLSL30_2.0", "hls2-l30"),
        platforms=_OLI_PLATFORMS,
        companions=_HLS_COMPANIONS,
    )
    s30 = Sensor(
        name="hls-s30",
        title="Harmonized Landsat Sentinel-2 2.0, S30 (MSI)",
        bands=_hls(_msi_bands("toa_reflectance")),
        aliases=("hlss30", "HLSS30.v2.0", "HLSS30_2.0", "hls2-s30"),
        platforms=_S2_PLATFORMS,
        companions=_HLS_COMPANIONS,
    )
    return l30, s30


_PLANETSCOPE = (
    Sensor(
        name="planetscope-4b",
        title="PlanetScope, 4 bands (wavelengths of Dove Classic, PS2)",
        bands=(
            _planet("blue", (455.0, 515.0)),
            _planet("green", (500.0, 590.0)),
            _planet("red", (590.0, 670.0)),
            _planet("nir", (780.0, 860.0)),
        ),
        aliases=("ps-4b",),
    ),
    Sensor(
        name="planetscope-8b",
        title="PlanetScope SuperDove, 8 bands (PSB.SD)",
        bands=(
            _planet("coastal_blue", (431.0, 452.0), "coastal", role="coastal"),
            _planet("blue", (465.0, 515.0)),
            _planet("green_i", (513.0, 549.0), "greeni", "green1", "green_1"),
            _planet("green", (547.0, 583.0), "green_ii", "greenii", "green2", "green_2"),
            _planet("yellow", (600.0, 620.0)),
            _planet("red", (650.0, 680.0)),
            _planet("rededge", (697.0, 713.0), "red_edge", role="rededge1"),
            _planet("nir", (845.0, 885.0)),
        ),
        aliases=("superdove", "ps-8b"),
    ),
)

SENSORS: Mapping[str, Sensor] = MappingProxyType(
    {
        sensor.name: sensor
        for sensor in (
            *_sentinel2(),
            *_landsat("tm", "Landsat 4-5 TM", _TM, ("landsat-4", "landsat-5")),
            *_landsat("etm", "Landsat 7 ETM+", _ETM, ("landsat-7",)),
            *_landsat("oli", "Landsat 8-9 OLI/TIRS", _OLI, _OLI_PLATFORMS),
            *_hls_sensors(),
            *_PLANETSCOPE,
        )
    }
)
"""All sensors by name."""


def get_sensor(name: str | Sensor) -> Sensor:
    """Return the sensor of that name.

    Parameters
    ----------
    name
        A key of `SENSORS` or another name of the product (case does not matter), or a `Sensor`, which is returned as
        it is.

    Returns
    -------
    Sensor

    Raises
    ------
    ArgumentError
        No such sensor.
    ArgumentTypeError
        Neither a name nor a `Sensor`.

    Examples
    --------
    >>> get_sensor("Sentinel-2 L2A").name
    'sentinel-2-l2a'
    """
    if isinstance(name, Sensor):
        return name
    if not isinstance(name, str):
        raise ArgumentTypeError(
            f"sensor={name!r} is a {type(name).__name__}. Expected a name such as 'sentinel-2-l2a'."
        )
    known = {fold_name(text): sensor for sensor in SENSORS.values() for text in (sensor.name, *sensor.aliases)}
    sensor = known.get(fold_name(name))
    if sensor is not None:
        return sensor
    close = difflib.get_close_matches(fold_name(name), known, n=1, cutoff=0.6)
    hint = f" Did you mean sensor={known[close[0]].name!r}?" if close else ""
    raise ArgumentError(f"sensor={name!r} is unknown.{hint} Expected one of: {', '.join(SENSORS)}.")
