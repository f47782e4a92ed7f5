"""Sensors with pixels of some hundred metres: Sentinel-3 SLSTR and MODIS."""

from __future__ import annotations

from xcloudmask._sensor import Band, Sensor
from xcloudmask.sensors._rows import between, centred

__all__ = ["COARSE"]

_SLSTR_SOURCE = (
    "Centres, widths and pixels: ESA, Sentinel-3 SLSTR User Guide, Radiometric resolution (sentinel.esa.int). Names: "
    "files of SL_1_RBT, nadir view, stripe A. No scale and no nodata: the files declare theirs (radiance, kelvin), and "
    "reflectance also needs the irradiance of the sun that their quality files hold for each detector."
)
_MODIS_SOURCE = (
    "Wavelengths, scale and names: NASA LP DAAC, MOD09A1 and MOD09GA version 6.1; fill value: attributes of the files. "
    "Planetary Computer uses the same keys. MOD09GA adds _1 to the names; MOD09GQ and MOD09Q1 hold the first two "
    "bands, at 250 m. Common names: STAC extension eo."
)

# name, (centre, width), roles, common name
_SLSTR = (
    ("S1", (554.27, 19.26), ("green",), "green"),
    ("S2", (659.47, 19.25), ("red",), "red"),
    ("S3", (868.0, 20.6), ("nir", "nir08"), "nir08"),
    ("S4", (1374.8, 20.8), ("cirrus",), "cirrus"),
    ("S5", (1613.4, 60.68), ("swir16",), "swir16"),
    ("S6", (2255.7, 50.15), ("swir22",), "swir22"),
    ("S7", (3742.0, 398.0), ("mwir38",), None),
    ("S8", (10854.0, 776.0), ("lwir11", "lwir"), "lwir11"),
    ("S9", (12022.5, 905.0), ("lwir12",), "lwir12"),
)
# number, range, roles, common name
_MODIS = (
    (1, (620.0, 670.0), ("red",), "red"),
    (2, (841.0, 876.0), ("nir", "nir08"), "nir"),
    (3, (459.0, 479.0), ("blue",), "blue"),
    (4, (545.0, 565.0), ("green",), "green"),
    (5, (1230.0, 1250.0), ("swir12",), None),
    (6, (1628.0, 1652.0), ("swir16",), "swir16"),
    (7, (2105.0, 2155.0), ("swir22",), "swir22"),
)


def _slstr_band(name: str, wavelength: tuple[float, float], roles: tuple[str, ...], common: str | None) -> Band:
    """Stripe A in nadir view has all six solar bands; the oblique view sees other ground through other air."""
    thermal = name in ("S7", "S8", "S9")
    files = (f"{name}_BT_in",) if thermal else (f"{name}_radiance_an", f"{name}_reflectance_an")
    names = () if common is None else tuple(dict.fromkeys((common, *roles[:1])))
    return Band(
        name=name,
        aliases=(*files, *names),
        roles=roles,
        wavelength_nm=centred(*wavelength),
        resolution_m=1000.0 if thermal else 500.0,
        quantity="brightness_temperature" if thermal else "toa_radiance",
        common_name=common,
    )


def _modis_band(number: int, wavelength: tuple[float, float], roles: tuple[str, ...], common: str | None) -> Band:
    name = f"sur_refl_b{number:02d}"
    return Band(
        name=name,
        aliases=(f"{name}_1", *(() if common is None else (common,))),
        roles=roles,
        wavelength_nm=between(*wavelength),
        resolution_m=500.0,
        scale=1e-4,
        offset=0.0,
        nodata=-28672.0,
        quantity="surface_reflectance",
        common_name=common,
    )


COARSE = (
    Sensor(
        name="sentinel-3-slstr-l1b",
        title="Sentinel-3 SLSTR Level-1B (SL_1_RBT, nadir view)",
        bands=tuple(_slstr_band(*row) for row in _SLSTR),
        aliases=("slstr", "sentinel-3-slstr", "SL_1_RBT", "sentinel-3-sl-1-rbt"),
        platforms=("sentinel-3", "sentinel-3a", "sentinel-3b"),
        source=_SLSTR_SOURCE,
    ),
    Sensor(
        name="modis-09",
        title="MODIS surface reflectance, Terra (MOD09) and Aqua (MYD09)",
        bands=tuple(_modis_band(*row) for row in _MODIS),
        aliases=("modis-09A1-061", "MOD09A1", "MYD09A1", "MOD09GA", "MYD09GA", "MOD09Q1", "MYD09Q1"),
        platforms=("terra", "aqua", "modis"),
        companions=("sur_refl_qc_500m", "sur_refl_state_500m", "state_1km_1", "QC_500m_1"),
        source=_MODIS_SOURCE,
    ),
)
