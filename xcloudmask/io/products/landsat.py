"""Landsat Collection 2 products, Level 1 and 2: a folder of GeoTIFFs with ``*_MTL.txt``, ``.xml`` or ``.json``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from xcloudmask.errors import InputError, ReadError
from xcloudmask.io.products._metadata import instant, read_json, read_text, read_xml, to_number
from xcloudmask.io.products._product import Product, ProductLayer
from xcloudmask.radiometry import toa_reflectance_scale
from xcloudmask.sensors import get_sensor

__all__ = ["find_mtl", "read_landsat"]

Groups = Mapping[str, Mapping[str, str]]
"""Group -> key -> value, as text."""

_ROOT = "LANDSAT_METADATA_FILE"
_MTL = re.compile(r"(?P<product>.+)_MTL\.(?P<kind>txt|xml|json)", re.IGNORECASE)
_KINDS = ("txt", "xml", "json")
_FILE_KEY = re.compile(r"FILE_NAME_BAND_(?P<band>\d+(?:_VCID_\d)?|ST_B\d+)")
_LINE = re.compile(r"\s*(?P<key>\w+)\s*=\s*(?P<value>.*?)\s*")
_PLAIN_NAME = re.compile(r"(?=.{1,200}$)[\w\-]+(?:\.[\w\-]+)+")
_LEVELS = {"L1TP": 1, "L1GT": 1, "L1GS": 1, "L2SP": 2, "L2SR": 2}
_INSTRUMENTS = {"OLI_TIRS": "oli", "OLI": "oli", "TIRS": "oli", "ETM": "etm", "TM": "tm"}
_RADIANCE = "W m-2 sr-1 um-1"


def find_mtl(path: Path) -> list[Path]:
    """Return the metadata files of the Landsat products at a path, one per product.

    Parameters
    ----------
    path
        A folder, or a metadata file itself.

    Returns
    -------
    list of pathlib.Path
        Of several spellings of one file, txt comes before xml and json.
    """
    entries = sorted(path.iterdir()) if path.is_dir() else [path]
    found: dict[str, dict[str, Path]] = {}
    for entry in entries:
        match = _MTL.fullmatch(entry.name)
        if match is not None and entry.is_file():
            found.setdefault(match["product"], {})[match["kind"].lower()] = entry
    return [next(kinds[kind] for kind in _KINDS if kind in kinds) for kinds in found.values()]


def read_landsat(path: Path) -> Product:
    """Read the metadata of a Landsat Collection 2 product.

    Parameters
    ----------
    path
        Its ``*_MTL`` file.

    Returns
    -------
    Product

    Raises
    ------
    ReadError
        The file is damaged, or of another collection or instrument.
    InputError
        A scene taken at night, of which there is no reflectance.

    Notes
    -----
    Level 1: reflectance = (REFLECTANCE_MULT * DN + REFLECTANCE_ADD) / sin(SUN_ELEVATION), with the sun at the middle of
    the scene; thermal radiance = RADIANCE_MULT * DN + RADIANCE_ADD, and kelvin = K2 / ln(K1 / radiance + 1): USGS,
    Landsat 8-9 Data Users Handbook (LSDS-1574), chapter 5. Level 2: the factors of its own groups, which have the same
    keys as those of the Level 1 they were made from (USGS, Landsat 8-9 Collection 2 Level 2 Science Product Guide,
    LSDS-1619, and LSDS-1618 for Landsat 4-7). DN 0 is fill. In Collection 2 thermal bands are on the 30 m grid.
    """
    groups = _read_groups(path)
    contents, image = _group(groups, "PRODUCT_CONTENTS", path), _group(groups, "IMAGE_ATTRIBUTES", path)
    collection = contents.get("COLLECTION_NUMBER", "")
    if collection.lstrip("0") != "2":
        raise ReadError(f"{path}: COLLECTION_NUMBER is {collection[:80]!r}. Expected 02: only Collection 2 is read.")
    level = _LEVELS.get(contents.get("PROCESSING_LEVEL", ""))
    if level is None:
        raise ReadError(
            f"{path}: PROCESSING_LEVEL is {contents.get('PROCESSING_LEVEL', '')[:80]!r}. Expected one of: "
            f"{', '.join(_LEVELS)}."
        )
    elevation = to_number(image.get("SUN_ELEVATION"), "SUN_ELEVATION", path)
    if abs(elevation) > 90:
        raise ReadError(f"{path}: SUN_ELEVATION is {elevation:g}. Expected degrees, -90 to 90.")
    sensor = _sensor(image, level, path)
    sizes = _sizes(groups, path)
    taken = f"{image.get('DATE_ACQUIRED', '')}T{image.get('SCENE_CENTER_TIME', '')}"
    return Product(
        path=path,
        item_id=path.name[: -len("_MTL") - len(path.suffix)],
        sensor=sensor,
        platform=_platform(image),
        time=instant(taken, "DATE_ACQUIRED and SCENE_CENTER_TIME", path),
        sun_elevation=elevation,
        sun_azimuth=to_number(image["SUN_AZIMUTH"], "SUN_AZIMUTH", path) if "SUN_AZIMUTH" in image else None,
        default_resolution_m=sizes["reflective"],
        layers=tuple(_layers(groups, path, level=level, sensor=sensor, sizes=sizes, elevation=elevation)),
    )


def _read_groups(path: Path) -> Groups:
    kind = path.suffix.lower()
    if kind == ".xml":
        root = read_xml(path, roots=(_ROOT,))
        return {group.tag: {item.tag: (item.text or "").strip() for item in group} for group in root}
    if kind == ".json":
        content = read_json(path).get(_ROOT)
        if not isinstance(content, dict):
            raise ReadError(f"{path} has no {_ROOT!r}. Expected the metadata of a Landsat Collection 2 product.")
        return {
            group: {key: str(value) for key, value in items.items()}
            for group, items in content.items()
            if isinstance(items, dict)
        }
    return _parse_odl(read_text(path), path)


def _parse_odl(text: str, path: Path) -> Groups:
    """Read lines such as ``KEY = "value"`` between ``GROUP = NAME`` and ``END_GROUP = NAME``."""
    groups: dict[str, dict[str, str]] = {}
    open_groups: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        if line.strip() == "END":
            break
        match = _LINE.fullmatch(line)
        key, value = (None, "") if match is None else (match["key"], match["value"].strip('"'))
        if key == "GROUP":
            open_groups.append(value)
        elif key == "END_GROUP" and open_groups and open_groups[-1] == value:
            open_groups.pop()
        elif key is not None and key != "END_GROUP" and open_groups:
            groups.setdefault(open_groups[-1], {})[key] = value
        else:
            raise ReadError(f"{path}, line {number}: {line.strip()[:80]!r} is not understood. Expected KEY = value.")
    if _ROOT not in text or open_groups:
        raise ReadError(f"{path} is no complete metadata file: expected GROUP = {_ROOT} ... END_GROUP = {_ROOT}.")
    return groups


def _group(groups: Groups, name: str, path: Path) -> Mapping[str, str]:
    if name not in groups:
        raise ReadError(f"{path} has no group {name}. Expected the metadata of a Landsat Collection 2 product.")
    return groups[name]


def _sensor(image: Mapping[str, str], level: int, path: Path) -> str:
    kind = _INSTRUMENTS.get(image.get("SENSOR_ID", ""))
    platform = _platform(image)
    sensor = None if kind is None else get_sensor(f"landsat-{kind}-c2-l{level}")
    if sensor is None or platform not in sensor.platforms:
        raise ReadError(
            f"{path}: SPACECRAFT_ID {image.get('SPACECRAFT_ID', '')[:80]!r} with SENSOR_ID "
            f"{image.get('SENSOR_ID', '')[:80]!r} is no instrument that is read. Expected TM of LANDSAT_4 or 5, ETM of "
            "LANDSAT_7, or OLI_TIRS of LANDSAT_8 or 9."
        )
    return sensor.name


def _platform(image: Mapping[str, str]) -> str | None:
    found = re.fullmatch(r"LANDSAT_(\d)", image.get("SPACECRAFT_ID", ""))
    return None if found is None else f"landsat-{found[1]}"


def _sizes(groups: Groups, path: Path) -> dict[str, float]:
    """Pixel sizes by kind of band."""
    projection = groups.get("PROJECTION_ATTRIBUTES", {})
    usual = {"reflective": 30.0, "thermal": 30.0, "panchromatic": 15.0}
    return {
        kind: to_number(projection.get(f"GRID_CELL_SIZE_{kind.upper()}", size), f"GRID_CELL_SIZE_{kind.upper()}", path)
        for kind, size in usual.items()
    }


def _layers(
    groups: Groups, path: Path, *, level: int, sensor: str, sizes: Mapping[str, float], elevation: float
) -> list[ProductLayer]:
    table = get_sensor(sensor)
    layers = []
    for key, file in groups["PRODUCT_CONTENTS"].items():
        match = _FILE_KEY.fullmatch(key)
        if match is None:
            continue
        number = match["band"]
        name = number if number.startswith("ST_") else f"{'SR_' if level == 2 else ''}B{number}"
        band = table.find(name) or table.find(name.partition("_VCID")[0])
        role = "" if band is None else band.role
        thermal = role.startswith("lwir")
        kind = "thermal" if thermal else "panchromatic" if role == "pan" else "reflective"
        if not thermal and elevation <= 0:
            raise InputError(f"{path}: the sun was at {elevation:g} degrees. Scenes of the night have no reflectance.")
        scale, attrs = _scale(groups, path, level=level, number=number, thermal=thermal, elevation=elevation)
        image = _file(path, file)
        layers.append(
            ProductLayer(name=name, path=image, resolution_m=sizes[kind], scale=scale, nodata=0.0, attrs=attrs)
        )
    quality = groups["PRODUCT_CONTENTS"].get("FILE_NAME_QUALITY_L1_PIXEL")
    if quality is not None:
        # Fill is bit 0 of this layer.
        image, size = _file(path, quality), sizes["reflective"]
        layers.append(ProductLayer(name="QA_PIXEL", path=image, resolution_m=size, scale=None, nodata=1.0, image=False))
    return layers


def _scale(
    groups: Groups, path: Path, *, level: int, number: str, thermal: bool, elevation: float
) -> tuple[tuple[float, float], Mapping[str, Any]]:
    """Scale and offset of a band, and its attributes."""

    def value(group: str, key: str) -> float:
        return to_number(groups.get(group, {}).get(key), f"{key} in {group}", path)

    if level == 2:
        group = f"LEVEL2_SURFACE_{'TEMPERATURE' if thermal else 'REFLECTANCE'}_PARAMETERS"
        quantity = "TEMPERATURE" if thermal else "REFLECTANCE"
        pair = tuple(value(group, f"{quantity}_{what}_BAND_{number}") for what in ("MULT", "ADD"))
        return (pair[0], pair[1]), MappingProxyType({"units": "K" if thermal else "1"})
    quantity = "RADIANCE" if thermal else "REFLECTANCE"
    gain, shift = (
        value("LEVEL1_RADIOMETRIC_RESCALING", f"{quantity}_{what}_BAND_{number}") for what in ("MULT", "ADD")
    )
    if not thermal:
        scale = toa_reflectance_scale(mult=gain, add=shift, sun_elevation=elevation)
        return scale, MappingProxyType({"units": "1"})
    constants = {
        key: value("LEVEL1_THERMAL_CONSTANTS", f"{key.upper()}_CONSTANT_BAND_{number}") for key in ("k1", "k2")
    }
    return (gain, shift), MappingProxyType({"units": _RADIANCE, **constants})


def _file(metadata: Path, name: str) -> Path:
    """The image file beside its metadata, whatever the case of its name: paths to elsewhere are not followed."""
    if not _PLAIN_NAME.fullmatch(name):
        raise ReadError(f"{metadata} names the image {name[:80]!r}. Expected a file of the same folder.")
    path = metadata.parent / name
    if path.exists():
        return path
    return next((entry for entry in metadata.parent.iterdir() if entry.name.casefold() == name.casefold()), path)
