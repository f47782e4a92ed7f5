"""Landsat 4-5 TM, 7 ETM+ and 8-9 OLI/TIRS: Collection 2, Level 1 and Level 2."""

from __future__ import annotations

from dataclasses import dataclass, replace

from xcloudmask._sensor import Band, Constants, Sensor
from xcloudmask.sensors._rows import between

__all__ = ["LANDSAT", "OLI_PLATFORMS", "THERMAL", "level1_bands"]

OLI_PLATFORMS = ("landsat-8", "landsat-9")
THERMAL = frozenset({"lwir", "lwir11", "lwir12"})
"""Roles of bands that see heat."""

_COMPANIONS = ("QA_PIXEL", "QA_RADSAT", "SR_QA_AEROSOL", "ST_QA", "pixel_qa", "qa_aerosol")

_BANDS = (
    "Wavelengths and pixels: USGS, What are the band designations for the Landsat satellites? Names: file names of "
    "Collection 2, USGS LandsatLook, Planetary Computer, Earth Search, Earth Engine. Common names: USGS's items "
    "(nir08 on all Landsats). "
)
_LEVEL1 = (
    "Irradiances of the sun: USGS, Solar exoatmospheric spectral irradiances (ChKur spectrum; none are published for "
    "OLI, whose metadata lead to reflectance directly). Thermal constants: those in the metadata (MTL) of the scenes."
)
_LEVEL2 = "Scales and offsets: USGS, Landsat Collection 2 Level-2 Science Product Guides."
_OLI_GAINS = " Gains of OLI and TIRS, equal in all scenes: metadata (MTL) of the scenes."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    number: str
    resolution_m: float
    range_nm: tuple[float, float]
    roles: tuple[str, ...]
    common: tuple[str, ...]
    """Names in catalogues; the first is the common name."""


def _row(number: str, resolution_m: float, range_nm: tuple[float, float], *names: str, aliases: str = "") -> _Row:
    """A row whose names are its roles and, unless told otherwise, what catalogues call it."""
    return _Row(
        number=number,
        resolution_m=resolution_m,
        range_nm=range_nm,
        roles=names,
        common=tuple(aliases.split()) or names[:1],
    )


_NIR = {"aliases": "nir08 nir"}
_TM = (
    _row("1", 30.0, (450.0, 520.0), "blue"),
    _row("2", 30.0, (520.0, 600.0), "green"),
    _row("3", 30.0, (630.0, 690.0), "red"),
    _row("4", 30.0, (760.0, 900.0), "nir", "nir08", **_NIR),
    _row("5", 30.0, (1550.0, 1750.0), "swir16"),
    _row("6", 120.0, (10400.0, 12500.0), "lwir"),
    _row("7", 30.0, (2080.0, 2350.0), "swir22"),
)
_ETM = (
    *_TM[:3],
    _row("4", 30.0, (770.0, 900.0), "nir", "nir08", **_NIR),
    _TM[4],
    # Low gain and high gain: where a cube has both, the low one, which hot ground does not saturate.
    _row("6", 60.0, (10400.0, 12500.0), "lwir", aliases="lwir B6_VCID_1 B6_VCID_2"),
    _row("7", 30.0, (2090.0, 2350.0), "swir22"),
    _row("8", 15.0, (520.0, 900.0), "pan"),
)
_OLI = (
    _row("1", 30.0, (430.0, 450.0), "coastal"),
    _row("2", 30.0, (450.0, 510.0), "blue"),
    _row("3", 30.0, (530.0, 590.0), "green"),
    _row("4", 30.0, (640.0, 670.0), "red"),
    _row("5", 30.0, (850.0, 880.0), "nir", "nir08", **_NIR),
    _row("6", 30.0, (1570.0, 1650.0), "swir16"),
    _row("7", 30.0, (2110.0, 2290.0), "swir22"),
    _row("8", 15.0, (500.0, 680.0), "pan"),
    _row("9", 30.0, (1360.0, 1380.0), "cirrus"),
    _row("10", 100.0, (10600.0, 11190.0), "lwir11", "lwir"),
    _row("11", 100.0, (11500.0, 12510.0), "lwir12"),
)
_ROWS = {"tm": _TM, "etm": _ETM, "oli": _OLI}


def _sun(platform: str, **esun: float) -> dict[str, Constants]:
    return {key.removeprefix("b"): Constants(platform=platform, esun=value) for key, value in esun.items()}


def _heat(platform: str, k1: float, k2: float, gain: float | None = None) -> Constants:
    return Constants(platform=platform, k1=k1, k2=k2, level1_gain=None if gain is None else (gain, 0.1))


# Constants of Level 1 by satellite and number of the band. The first satellite of a sensor is the one whose constants
# stand in the band itself, for cubes that do not tell theirs. At 290 K, the constants of Landsat 8 in place of those of
# Landsat 9 are wrong by 0.1 K, those of Landsat 5 in place of Landsat 4's by 1.1 K.
_CONSTANTS: dict[str, tuple[dict[str, Constants], ...]] = {
    "tm": (
        _sun("landsat-5", b1=1958.0, b2=1827.0, b3=1551.0, b4=1036.0, b5=214.9, b7=80.65)
        | {"6": _heat("landsat-5", 607.76, 1260.56)},
        _sun("landsat-4", b1=1958.0, b2=1826.0, b3=1554.0, b4=1033.0, b5=214.7, b7=80.70)
        | {"6": _heat("landsat-4", 671.62, 1284.30)},
    ),
    "etm": (
        _sun("landsat-7", b1=1970.0, b2=1842.0, b3=1547.0, b4=1044.0, b5=225.7, b7=82.06, b8=1369.0)
        | {"6": _heat("landsat-7", 666.09, 1282.71)},
    ),
    "oli": (
        {
            "10": _heat("landsat-8", 774.8853, 1321.0789, 3.342e-4),
            "11": _heat("landsat-8", 480.8883, 1201.1442, 3.342e-4),
        },
        {
            "10": _heat("landsat-9", 799.0284, 1329.2405, 3.8e-4),
            "11": _heat("landsat-9", 475.6581, 1198.3494, 3.49e-4),
        },
    ),
}
_OLI_GAIN = (2e-5, -0.1)


def level1_bands(kind: str) -> tuple[Band, ...]:
    """Level 1: reflectance also needs the sun's elevation of the item, so that no scale is known from the sensor."""
    return tuple(_level1_band(row, kind) for row in _ROWS[kind])


def _level1_band(row: _Row, kind: str) -> Band:
    thermal = row.roles[0] in THERMAL
    constants = tuple(table[row.number] for table in _CONSTANTS[kind] if row.number in table)
    default = constants[0] if constants else Constants(platform="")
    return Band(
        name=f"B{row.number}",
        aliases=(f"{kind.upper()}_B{row.number}", *row.common),
        roles=row.roles,
        wavelength_nm=between(*row.range_nm),
        resolution_m=row.resolution_m,
        nodata=0.0,
        quantity="brightness_temperature" if thermal else "toa_reflectance",
        common_name=row.common[0],
        k1=default.k1,
        k2=default.k2,
        esun=default.esun,
        level1_gain=default.level1_gain or (_OLI_GAIN if kind == "oli" and not thermal else None),
        by_platform=constants if len(constants) > 1 else (),
        source=f"Constants of {default.platform}; for_platform() gives the others'." if len(constants) > 1 else "",
    )


def _level2_bands(kind: str) -> tuple[Band, ...]:
    """Level 2: surface reflectance and one surface temperature; no panchromatic, cirrus or second thermal band."""
    bands = [
        replace(
            without_constants(band),
            name=f"{'ST' if band.role in THERMAL else 'SR'}_{band.name}",
            aliases=(band.name, *band.aliases),
            scale=0.00341802 if band.role in THERMAL else 2.75e-5,
            offset=149.0 if band.role in THERMAL else -0.2,
            quantity="brightness_temperature" if band.role in THERMAL else "surface_reflectance",
        )
        for band in level1_bands(kind)
        if band.role not in ("pan", "cirrus", "lwir12")
    ]
    return tuple(bands)


def without_constants(band: Band) -> Band:
    """Return a band of Level 1 as higher levels need it: they are calibrated."""
    return replace(band, k1=None, k2=None, esun=None, level1_gain=None, by_platform=(), source="")


def _landsat(kind: str, title: str, platforms: tuple[str, ...]) -> tuple[Sensor, Sensor]:
    bands = level1_bands(kind), _level2_bands(kind)
    sources = _LEVEL1 + (_OLI_GAINS if kind == "oli" else ""), _LEVEL2
    level1, level2 = (
        Sensor(
            name=f"landsat-{kind}-c2-l{level}",
            title=f"{title}, Collection 2 Level {level}",
            bands=bands[level - 1],
            platforms=platforms,
            companions=_COMPANIONS,
            source=_BANDS + sources[level - 1],
        )
        for level in (1, 2)
    )
    return level1, level2


LANDSAT = (
    *_landsat("tm", "Landsat 4-5 TM", ("landsat-4", "landsat-5")),
    *_landsat("etm", "Landsat 7 ETM+", ("landsat-7",)),
    *_landsat("oli", "Landsat 8-9 OLI/TIRS", OLI_PLATFORMS),
)
