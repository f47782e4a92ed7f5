"""Sensors with pixels of a few metres, besides PlanetScope: PeruSat-1 and a generic Maxar satellite."""

from __future__ import annotations

from xcloudmask._sensor import Band, Sensor
from xcloudmask.sensors._rows import between

__all__ = ["FINE"]

_PERUSAT_SOURCE = (
    "Wavelengths and pixels: CATALYST Professional, PeruSAT-1. No scale: radiance = DN / gain + bias, and reflectance "
    "also needs the irradiance of the sun (International Charter documentation, PerúSAT-1); all of them are in the "
    "DIMAP metadata of each product. Nodata could not be found."
)
_MAXAR_SOURCE = (
    "Wavelengths: blue, green, red and NIR1 of WorldView-2 and 3 (International Charter documentation, Worldview-3). "
    "Others differ: GeoEye-1 has red 655-690 and NIR 780-920 nm, QuickBird wider bands. Pixel: about 1.2 to 2.6 m, "
    "depending on satellite and product. Names BAND_B and so on: .IMD files. No scale: the factors are in the .IMD of "
    "each scene."
)


def _band(name: str, wavelength: tuple[float, float], resolution_m: float, role: str, *aliases: str) -> Band:
    return Band(
        name=name,
        aliases=tuple(alias for alias in (role, *aliases) if alias != name.casefold()),
        roles=(role,),
        wavelength_nm=between(*wavelength),
        resolution_m=resolution_m,
        quantity="toa_radiance",
        common_name=role,
    )


FINE = (
    Sensor(
        name="perusat-1",
        title="PeruSat-1 NAOMI, 4 bands and panchromatic",
        bands=(
            _band("B1", (450.0, 520.0), 2.8, "blue"),
            _band("B2", (530.0, 590.0), 2.8, "green"),
            _band("B3", (630.0, 700.0), 2.8, "red"),
            _band("B4", (752.0, 885.0), 2.8, "nir"),
            _band("PAN", (450.0, 750.0), 0.7, "pan"),
        ),
        aliases=("PER1", "perusat"),
        platforms=("perusat-1", "per1"),
        source=_PERUSAT_SOURCE,
    ),
    Sensor(
        name="maxar-4b",
        title="Maxar, 4 bands (generic; wavelengths of WorldView-2 and 3)",
        bands=(
            _band("blue", (450.0, 510.0), 2.0, "blue", "BAND_B"),
            _band("green", (510.0, 580.0), 2.0, "green", "BAND_G"),
            _band("red", (630.0, 690.0), 2.0, "red", "BAND_R"),
            _band("nir", (770.0, 895.0), 2.0, "nir", "BAND_N", "nir1"),
        ),
        platforms=("worldview-2", "worldview-3", "worldview-4", "geoeye-1", "quickbird"),
        source=_MAXAR_SOURCE,
    ),
)
