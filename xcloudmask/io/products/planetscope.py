"""PlanetScope scenes: ``*_AnalyticMS*.tif`` (radiance) and ``*_AnalyticMS_SR*.tif`` with the metadata beside them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from xcloudmask.errors import ReadError
from xcloudmask.io._names import acquisition_time
from xcloudmask.io._raster import inspect
from xcloudmask.io.products._metadata import first_text, instant, read_json, read_xml, to_number
from xcloudmask.io.products._product import Product, ProductLayer
from xcloudmask.sensors import SENSORS

__all__ = ["find_planetscope", "read_planetscope"]

_IMAGE = re.compile(
    r"(?P<scene>[\w\-]+?)_(?P<level>1B|3A|3B)_AnalyticMS(?P<sr>_SR)?(?P<eight>_8b)?(?P<rest>(?:_[a-z]\w*)*)",
)
_MASK = re.compile(r"_udm2?(?:_|$)")
_UNCHANGED = frozenset({"clip", "reproject", "file", "format", "cog"})
"""Tools of Planet's orders that leave the numbers as they are."""

_BANDS = {
    4: ("blue", "green", "red", "nir"),
    8: ("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"),
}
_SR_SCALE = (1e-4, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the metadata of a scene tell; None where they do not."""

    time: np.datetime64 | None = None
    """Acquisition."""
    instrument: str | None = None
    """Generation of the telescope: PS2 (Dove Classic), PS2.SD (Dove-R) or PSB.SD (SuperDove)."""
    sun_elevation: float | None = None
    """Degrees."""
    sun_azimuth: float | None = None
    """Degrees."""


def find_planetscope(path: Path) -> list[Path]:
    """Return the multispectral images of the PlanetScope scenes at a path.

    Parameters
    ----------
    path
        A folder, or an image itself.

    Returns
    -------
    list of pathlib.Path
        Masks of unusable data (udm, udm2) are left out.
    """
    entries = sorted(path.iterdir()) if path.is_dir() else [path]
    return [
        entry
        for entry in entries
        if entry.suffix.lower() in (".tif", ".tiff")
        and _IMAGE.fullmatch(entry.stem)
        and not _MASK.search(entry.stem)
        and entry.is_file()
    ]


def read_planetscope(path: Path) -> Product:
    """Read the metadata of a PlanetScope scene.

    Parameters
    ----------
    path
        Its image.

    Returns
    -------
    Product

    Raises
    ------
    ReadError
        Image or metadata are missing or damaged, or the image does not have 4 or 8 bands.

    Warns
    -----
    UserWarning
        A tool has changed the numbers of a radiance image, so that the scale of reflectance is unknown.

    Notes
    -----
    Order and names of the bands, nodata 0: Planet, PSScene item type, docs.planet.com/data/imagery/planetscope/psscene.
    Radiance images: reflectance at the top of the atmosphere = DN * reflectanceCoefficient, one per band in the XML
    metadata. Surface reflectance images are scaled by 10,000. Both: Planet Labs, Planet Imagery Product Specifications,
    "Radiometric interpretation". Harmonised surface reflectance has the same scale.
    """
    match = _IMAGE.fullmatch(path.stem)
    if match is None:
        raise ReadError(f"{path} is no PlanetScope image. Expected a name such as <scene>_3B_AnalyticMS_SR_8b.tif.")
    header = inspect(str(path))
    names = _BANDS.get(len(header.dtypes))
    if names is None or (match["eight"] is not None and len(names) != 8):
        expected = "8" if match["eight"] is not None else "4 or 8"
        raise ReadError(f"{path} has {len(header.dtypes)} bands. Expected {expected}.")
    metadata = _beside(path, match["scene"])
    root = _xml(metadata, match)
    facts = _facts(root, metadata)
    scales = _scales(path, match, len(names), root)
    attrs = MappingProxyType({"units": "1"} if scales[0] is not None else {})
    size = abs(header.transform[0]) if header.transform is not None else 3.0
    time = facts.time if facts.time is not None else acquisition_time(match["scene"])
    if time is None:
        raise ReadError(
            f"{path}: neither its name nor metadata tell the time. Expected {match['scene']}_metadata.json."
        )
    return Product(
        path=path,
        item_id=match["scene"],
        sensor=_sensor(len(names), facts.instrument),
        platform=None,
        time=time,
        sun_elevation=facts.sun_elevation,
        sun_azimuth=facts.sun_azimuth,
        default_resolution_m=size,
        layers=tuple(
            ProductLayer(
                name=name,
                path=path,
                index=index,
                resolution_m=size,
                scale=scale,
                nodata=0.0 if nodata is None else nodata,
                attrs=attrs,
            )
            for index, (name, scale, nodata) in enumerate(zip(names, scales, header.nodata, strict=True), start=1)
        ),
    )


def _beside(path: Path, scene: str) -> list[Path]:
    """The metadata files of the scene: of the Data API, or a STAC item, which is called as the scene."""
    wanted = re.compile(
        rf"{re.escape(scene)}(?:|_metadata\w*)\.json|{re.escape(scene)}_\w+_metadata\w*\.xml", re.IGNORECASE
    )
    return sorted(entry for entry in path.parent.iterdir() if wanted.fullmatch(entry.name))


def _xml(metadata: list[Path], match: re.Match[str]) -> tuple[Path, Element] | None:
    """The XML metadata that belong to the image: a scene can have those of its 4 and of its 8 bands."""
    found = [path for path in metadata if path.suffix.lower() == ".xml"]
    fitting = [path for path in found if ("_8b_" in path.name) == (match["eight"] is not None)]
    # Surface reflectance needs no coefficients: any metadata of the scene tell time and sun.
    chosen = fitting or (found if match["sr"] is not None else [])
    return (chosen[0], read_xml(chosen[0], roots=("EarthObservation",))) if chosen else None


def _facts(xml: tuple[Path, Element] | None, metadata: list[Path]) -> Facts:
    """Time, instrument and sun, from the item's JSON or the XML."""
    for path in (path for path in metadata if path.suffix.lower() == ".json"):
        properties = read_json(path).get("properties")
        if isinstance(properties, dict) and ({"acquired", "datetime"} & set(properties)):
            return _facts_of_item(properties, path)
    if xml is None:
        return Facts()
    path, root = xml
    instrument = next(root.iter("Instrument"), None)
    elevation, azimuth, time = (
        first_text(root, name)
        for name in ("illuminationElevationAngle", "illuminationAzimuthAngle", "acquisitionDateTime")
    )
    return Facts(
        time=None if time is None else instant(time, "acquisitionDateTime", path),
        instrument=None if instrument is None else first_text(instrument, "shortName"),
        sun_elevation=None if elevation is None else to_number(elevation, "illuminationElevationAngle", path),
        sun_azimuth=None if azimuth is None else to_number(azimuth, "illuminationAzimuthAngle", path),
    )


def _facts_of_item(properties: Mapping[str, Any], path: Path) -> Facts:
    """Properties of the Data API, or of a STAC item, which spells them otherwise."""

    def number(*keys: str) -> float | None:
        key = next((key for key in keys if properties.get(key) is not None), None)
        return None if key is None else to_number(properties[key], key, path)

    several = properties.get("instruments")
    instrument = properties.get("instrument", several[0] if isinstance(several, list) and several else None)
    return Facts(
        time=instant(properties.get("acquired") or properties.get("datetime"), "acquired", path),
        instrument=instrument if isinstance(instrument, str) else None,
        sun_elevation=number("sun_elevation", "view:sun_elevation"),
        sun_azimuth=number("sun_azimuth", "view:sun_azimuth"),
    )


def _sensor(count: int, instrument: str | None) -> str:
    """The sensor's table: of the instrument where there is one, else of the number of bands."""
    of_instrument = (
        sensor.name for sensor in SENSORS.values() if instrument in sensor.aliases and len(sensor.bands) == count
    )
    return next(of_instrument, f"planetscope-{count}b")


def _scales(
    path: Path, match: re.Match[str], count: int, xml: tuple[Path, Element] | None
) -> list[tuple[float, float] | None]:
    tools = set(filter(None, (match["rest"] or "").split("_")))
    if match["sr"] is not None:
        return [_SR_SCALE] * count if tools <= _UNCHANGED | {"harmonized"} else _unknown(path, tools, count)
    if not tools <= _UNCHANGED:
        return _unknown(path, tools, count)
    if xml is None:
        name = f"{match['scene']}_{match['level']}_AnalyticMS{match['eight'] or ''}_metadata.xml"
        raise ReadError(
            f"{path} holds radiance, and {name} with the coefficients of reflectance is not beside it. Its DN alone: "
            "xcloudmask.open_cube(path)."
        )
    metadata, root = xml
    coefficients = {
        first_text(band, "bandNumber"): to_number(
            first_text(band, "reflectanceCoefficient"), "reflectanceCoefficient", metadata
        )
        for band in root.iter("bandSpecificMetadata")
    }
    missing = [str(number) for number in range(1, count + 1) if str(number) not in coefficients]
    if missing:
        raise ReadError(f"{metadata} has no reflectanceCoefficient for band {', '.join(missing)} of {path.name}.")
    return [(coefficients[str(number)], 0.0) for number in range(1, count + 1)]


def _unknown(path: Path, tools: set[str], count: int) -> list[tuple[float, float] | None]:
    changed = ", ".join(sorted(tools - _UNCHANGED))
    warnings.warn(
        f"{path.name} was changed by {changed}: how its numbers relate to reflectance is unknown. Models that need "
        "reflectance will ask for the scale.",
        stacklevel=2,
    )
    return [None] * count
