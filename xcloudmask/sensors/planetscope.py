"""PlanetScope: Dove Classic (PS2), Dove-R (PS2.SD) and SuperDove (PSB.SD)."""

from __future__ import annotations

from xcloudmask._sensor import Band, Sensor
from xcloudmask.sensors._rows import between

__all__ = ["PLANETSCOPE"]

_SOURCE = (
    "Wavelengths: Planet, PlanetScope documentation (Dove Classic, Dove-R; article 35928274738333 for SuperDove). Band "
    "names and nodata: Planet, PSScene item type. Common names: STAC extension eo. The pixel is that of ortho scenes. "
    "No scale: analytic assets are radiance, and the metadata of each has its own reflectanceCoefficient; assets "
    "ending in _sr are reflectance * 10,000."
)


def _band(name: str, wavelength: tuple[float, float], *aliases: str, role: str = "", common: str = "") -> Band:
    """Analytic assets are scaled radiance, "_sr" assets reflectance: the sensor alone does not tell the scale."""
    return Band(
        name=name,
        aliases=aliases,
        roles=(role or name,),
        wavelength_nm=between(*wavelength),
        resolution_m=3.0,
        nodata=0.0,
        common_name=common or name,
    )


PLANETSCOPE = (
    Sensor(
        name="planetscope-4b",
        title="PlanetScope, 4 bands (wavelengths of Dove Classic, PS2)",
        bands=(
            _band("blue", (455.0, 515.0)),
            _band("green", (500.0, 590.0)),
            _band("red", (590.0, 670.0)),
            _band("nir", (780.0, 860.0)),
        ),
        aliases=("ps-4b", "PS2", "dove-classic"),
        source=_SOURCE,
    ),
    Sensor(
        name="planetscope-4b-dove-r",
        title="PlanetScope Dove-R, 4 bands (PS2.SD)",
        bands=(
            _band("blue", (464.0, 517.0)),
            _band("green", (547.0, 585.0)),
            _band("red", (650.0, 682.0)),
            _band("nir", (846.0, 888.0), "nir08", common="nir08"),
        ),
        aliases=("PS2.SD", "dove-r"),
        source=_SOURCE,
    ),
    Sensor(
        name="planetscope-8b",
        title="PlanetScope SuperDove, 8 bands (PSB.SD)",
        bands=(
            _band("coastal_blue", (431.0, 452.0), "coastal", role="coastal", common="coastal"),
            _band("blue", (465.0, 515.0)),
            # Green I; the band called green is Green II, the one that resembles the green of other sensors.
            _band("green_i", (513.0, 549.0), "greeni", "green1", "green_1", "green05", common="green05"),
            _band("green", (547.0, 583.0), "green_ii", "greenii", "green2", "green_2"),
            _band("yellow", (600.0, 620.0)),
            _band("red", (650.0, 680.0)),
            _band("rededge", (697.0, 713.0), "red_edge", "rededge071", role="rededge1", common="rededge071"),
            _band("nir", (845.0, 885.0), "nir08", common="nir08"),
        ),
        aliases=("superdove", "ps-8b", "PSB.SD"),
        source=_SOURCE,
    ),
)
