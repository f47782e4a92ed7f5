"""Sentinel-2 products: ``.SAFE`` folders, Level-1C and Level-2A."""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType
from xml.etree.ElementTree import Element

from xcloudmask.errors import ReadError
from xcloudmask.io.products._metadata import first_text, instant, read_xml, to_number
from xcloudmask.io.products._product import Product, ProductLayer
from xcloudmask.sensors import get_sensor

__all__ = ["METADATA_FILES", "is_safe", "read_safe"]

METADATA_FILES = {"MTD_MSIL1C.xml": "Level-1C_User_Product", "MTD_MSIL2A.xml": "Level-2A_User_Product"}
"""Product metadata, and its root element."""

# The order in which offsets are numbered: band_id 0 to 12.
_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
# Level -> elements with the divisor (the second is of Sen2Cor's first products) and the offset.
_QUANTIFICATION = {
    "MTD_MSIL1C.xml": ("QUANTIFICATION_VALUE",),
    "MTD_MSIL2A.xml": ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE"),
}
_OFFSET = {"MTD_MSIL1C.xml": "RADIO_ADD_OFFSET", "MTD_MSIL2A.xml": "BOA_ADD_OFFSET"}
_IMAGE = re.compile(r"_(?P<name>B\d\d|B8A|SCL)(?:_(?P<size>10|20|60)m)?$")
_BASELINE = re.compile(r"\d\d\.\d\d")
_PRODUCT = re.compile(r"[\w\-.]{1,120}")
_FIRST_WITH_OFFSETS = 4.0

_REFLECTANCE = MappingProxyType({"units": "1"})


def is_safe(path: Path) -> bool:
    """Whether a folder is a Sentinel-2 product.

    Parameters
    ----------
    path
        Any path.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_safe(Path("no/such/folder.SAFE"))
    False
    """
    return path.is_dir() and (path.suffix.upper() == ".SAFE" or any((path / name).is_file() for name in METADATA_FILES))


def read_safe(path: Path) -> Product:
    """Read the metadata of a Sentinel-2 product.

    Parameters
    ----------
    path
        The folder.

    Returns
    -------
    Product

    Raises
    ------
    ReadError
        Metadata or images are missing, damaged, or contradict each other.

    Notes
    -----
    reflectance = (DN + offset) / QUANTIFICATION_VALUE, with the offset of each band in RADIO_ADD_OFFSET (Level-1C) or
    BOA_ADD_OFFSET (Level-2A) since processing baseline 04.00, and none before: ESA, Sentinel-2 Products Specification
    Document. DN 0 is nodata (``Special_Values``). Level-2A holds bands in several pixel sizes, Level-1C each in one.
    The instant is that of the tile (SENSING_TIME); the time in the product's name is the start of the datatake.
    """
    metadata = _metadata_file(path)
    root = read_xml(metadata, roots=(METADATA_FILES[metadata.name],))
    granule = _granule(path)
    tile = granule / "MTD_TL.xml"
    facts = read_xml(tile, roots=("Level-1C_Tile_ID", "Level-2A_Tile_ID"))
    baseline = _baseline(root, metadata)
    zenith, azimuth = _sun(facts, tile)
    name = first_text(root, "PRODUCT_URI", "PRODUCT_URI_2A", "PRODUCT_URI_1C") or ""
    return Product(
        path=path,
        item_id=(name if _PRODUCT.fullmatch(name) else path.resolve().name).removesuffix(".SAFE"),
        sensor="sentinel-2-l1c" if metadata.name == "MTD_MSIL1C.xml" else "sentinel-2-l2a",
        platform=_platform(root),
        time=instant(first_text(facts, "SENSING_TIME"), "SENSING_TIME", tile),
        processing_baseline=baseline,
        sun_elevation=None if zenith is None else 90.0 - zenith,
        sun_azimuth=azimuth,
        default_resolution_m=10.0,
        layers=_layers(granule, _scales(root, metadata, baseline), _nodata(root, metadata), metadata),
    )


def _metadata_file(path: Path) -> Path:
    found = [path / name for name in METADATA_FILES if (path / name).is_file()]
    if len(found) == 1:
        return found[0]
    what = "both" if found else "neither"
    raise ReadError(
        f"{path} holds {what} of {' and '.join(METADATA_FILES)}. Expected one of them: the product is incomplete, or "
        "in the layout of before December 2016, which is not read. Its DN alone: xcloudmask.open_cube(path)."
    )


def _granule(path: Path) -> Path:
    """The folder of the tile."""
    parent = path / "GRANULE"
    found = sorted(entry for entry in parent.iterdir() if entry.is_dir()) if parent.is_dir() else []
    if len(found) == 1:
        return found[0]
    raise ReadError(f"{parent} holds {len(found)} tiles. Expected one, as in all products since December 2016.")


def _baseline(root: Element, path: Path) -> str:
    text = first_text(root, "PROCESSING_BASELINE") or ""
    if _BASELINE.fullmatch(text):
        return text
    raise ReadError(f"{path}: PROCESSING_BASELINE is {text[:80]!r}. Expected a version such as 05.09.")


def _platform(root: Element) -> str | None:
    found = re.fullmatch(r"Sentinel-2([A-D])", first_text(root, "SPACECRAFT_NAME") or "")
    return None if found is None else f"sentinel-2{found[1].lower()}"


def _sun(facts: Element, path: Path) -> tuple[float | None, float | None]:
    """Zenith and azimuth of the sun; older products lack them in rare cases."""
    mean = next(facts.iter("Mean_Sun_Angle"), None)
    if mean is None:
        return None, None
    zenith, azimuth = (to_number(first_text(mean, name), name, path) for name in ("ZENITH_ANGLE", "AZIMUTH_ANGLE"))
    return zenith, azimuth


def _nodata(root: Element, path: Path) -> float:
    for special in root.iter("Special_Values"):
        if first_text(special, "SPECIAL_VALUE_TEXT") == "NODATA":
            return to_number(first_text(special, "SPECIAL_VALUE_INDEX"), "SPECIAL_VALUE_INDEX", path)
    return 0.0


def _scales(root: Element, path: Path, baseline: str) -> dict[str, tuple[float, float]]:
    """Scale and offset of each band."""
    names, tag = _QUANTIFICATION[path.name], _OFFSET[path.name]
    quantification = to_number(first_text(root, *names), names[0], path)
    if quantification <= 0:
        raise ReadError(f"{path}: {names[0]} is {quantification:g}. Expected a number above 0.")
    offsets = {
        element.get("band_id"): to_number(element.text, f"{tag} of band_id {element.get('band_id')}", path)
        for element in root.iter(tag)
    }
    missing = [name for number, name in enumerate(_BANDS) if str(number) not in offsets]
    if missing and (offsets or float(baseline) >= _FIRST_WITH_OFFSETS):
        raise ReadError(
            f"{path} has no {tag} for {', '.join(missing)}, which processing baseline "
            f"{baseline} has. The file is damaged."
        )
    return {
        name: (1.0 / quantification, offsets.get(str(number), 0.0) / quantification)
        for number, name in enumerate(_BANDS)
    }


def _layers(
    granule: Path, scales: dict[str, tuple[float, float]], nodata: float, metadata: Path
) -> tuple[ProductLayer, ...]:
    """The images that are there: what the metadata say of paths is not followed."""
    table = get_sensor("sentinel-2-l1c")
    layers = []
    for path in sorted((granule / "IMG_DATA").glob("**/*.jp2")):
        found = _IMAGE.search(path.stem)
        band = None if found is None else table.find(found["name"])
        if found is None or (band is None and found["size"] is None):
            continue
        image = band is not None
        native = 0.0 if band is None else band.resolution_m
        layers.append(
            ProductLayer(
                name=found["name"],
                path=path,
                resolution_m=float(found["size"] or native),
                scale=scales[found["name"]] if image else None,
                nodata=nodata if image else 0.0,
                attrs=_REFLECTANCE if image else MappingProxyType({}),
                image=image,
            )
        )
    if not layers:
        raise ReadError(f"{granule / 'IMG_DATA'} holds no image. {metadata.name} is there: was the download cut short?")
    return tuple(layers)
