"""Which file of an item is which band, and on which grid."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xcloudmask._sensor import Band, Sensor, fold_name
from xcloudmask.errors import BandNotFoundError, InputError
from xcloudmask.stac.items import Scale, band_fields, band_scale

if TYPE_CHECKING:
    import pystac
    from odc.geo.geobox import GeoBox

__all__ = ["Source", "declared_grid", "find_source"]

_FAR = 1e9
"""No number of a grid is as large."""
_NEAR = 1e-9
"""No pixel is as small, in degrees or metres."""
_NAMES_FILES = re.compile(r"grids\s*=\s*(?!@null)|parameter_?file|bound_?crs|init=", re.IGNORECASE)
"""In texts of coordinate systems that let PROJ open files."""
_MAX_CRS = 32_768
_SHOWN = 40
_NOT_IMAGES = ("thumbnail", "overview", "metadata")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One band of one item."""

    asset: str
    """Key of the asset."""
    index: int
    """Band of the file, from 0."""
    band: Band | None
    """The band in the table of the sensor."""
    scale: Scale | None
    """Reflectance or kelvin = DN * scale + offset; None where it cannot be known."""
    dtype: str | None
    """Type of the pixels, where the item or the sensor tells."""
    nodata: float | None
    """The DN that means "no data"."""


def find_source(item: pystac.Item, name: str, sensor: Sensor | None) -> Source:
    """Find the file and band that a name stands for.

    Parameters
    ----------
    item
        Of any catalogue.
    name
        A role (``"nir"``), a band in any spelling, or the key of an asset.
    sensor
        The sensor of the item; None where unknown: the item's own names count alone.

    Returns
    -------
    Source

    Raises
    ------
    BandNotFoundError
        The item has no such band; the message lists its assets.

    Notes
    -----
    The key of an asset comes first, then the bands of the sensor that can play the role, best first, in the spellings
    of `xcloudmask.sensors`, as keys of assets and as names of bands in files with several.
    """
    found = _direct(item, name, sensor) or _by_sensor(item, name, sensor) or _by_common_name(item, name)
    if found is None:
        raise BandNotFoundError(
            f"Item {item.id!r} has no band {name!r}. Found the assets: {_keys(item)}. "
            f"Type bands=[...] with keys of these{_sensor_hint(sensor)}."
        )
    asset, index, band = found
    fields = band_fields(item.assets[asset].to_dict(), index)
    nodata = _number(fields.get("nodata"))
    nodata = nodata if nodata is not None or band is None else band.nodata
    return Source(
        asset=asset,
        index=index,
        band=band,
        scale=band_scale(item, asset, band, sensor, index=index),
        dtype=_dtype(fields.get("data_type"), nodata, sensor),
        nodata=nodata,
    )


def _keys(item: pystac.Item) -> str:
    shown = [f"{key!r:.80}" for key in list(item.assets)[:_SHOWN]]
    more = len(item.assets) - len(shown)
    return (", ".join(shown) or "none") + (f" and {more} more" if more else "")


_Found = tuple[str, int, Band | None]


def _direct(item: pystac.Item, name: str, sensor: Sensor | None) -> _Found | None:
    asset = item.assets.get(name)
    if asset is None or set(asset.roles or ()) & set(_NOT_IMAGES) or _is_role_of(sensor, name):
        return None
    return name, 0, None if sensor is None else sensor.find(name)


def _is_role_of(sensor: Sensor | None, name: str) -> bool:
    """Whether the table decides: what HLS catalogues label nir is not what the sensor's table calls so."""
    return sensor is not None and bool(sensor.candidates(name))


def _by_sensor(item: pystac.Item, name: str, sensor: Sensor | None) -> _Found | None:
    if sensor is None:
        return None
    found = sensor.find(name)
    for band in sensor.candidates(name) or ((found,) if found is not None else ()):
        for spelling in band.names:
            wanted = fold_name(spelling)
            for key in item.assets:
                if fold_name(key) == wanted:
                    return key, 0, band
        inside = _inside(item, tuple(map(fold_name, band.names)))
        if inside is not None:
            return *inside, band
    return None


def _by_common_name(item: pystac.Item, name: str) -> _Found | None:
    inside = _inside(item, (fold_name(name),))
    return None if inside is None else (*inside, None)


def _inside(item: pystac.Item, names: Sequence[str]) -> tuple[str, int] | None:
    """Asset and index of a band that has one of the names; files with the fewest bands first, reflectance first."""
    found: list[tuple[int, bool, int, str]] = []
    for key, asset in item.assets.items():
        if set(asset.roles or ()) & set(_NOT_IMAGES) or key.casefold() in (
            "visual",
            "ortho_visual",
            "rendered_preview",
        ):
            continue
        fields = asset.to_dict()
        bands = fields.get("bands") or fields.get("eo:bands") or ()
        for index, band in enumerate(bands if isinstance(bands, list) else ()):
            if isinstance(band, Mapping) and _names(band) & set(names):
                found.append((len(bands), not key.casefold().endswith("_sr"), index, key))
    if not found:
        return None
    _, _, index, key = min(found)
    return key, index


def _names(band: Mapping[str, Any]) -> set[str]:
    texts = (band.get("name"), band.get("common_name"), band.get("eo:common_name"))
    return {fold_name(text) for text in texts if isinstance(text, str)}


def _sensor_hint(sensor: Sensor | None) -> str:
    return ", or sensor= if they are those of a known sensor" if sensor is None else f" (sensor {sensor.name!r})"


def _number(value: Any) -> float | None:
    """Nodata, which JSON has as a number, or as text where it is no finite one."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _dtype(declared: Any, nodata: float | None, sensor: Sensor | None) -> str | None:
    """Type of the pixels: as declared, else as the product is; 8 bits on the old Landsats' Level 1."""
    if isinstance(declared, str) and declared in ("uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"):
        return declared
    if sensor is None:
        return None
    if sensor.name in ("landsat-tm-c2-l1", "landsat-etm-c2-l1"):
        return "uint8"
    return "int16" if nodata is not None and nodata < 0 else "uint16"


def declared_grid(item: pystac.Item, asset: str) -> GeoBox | None:
    """Return the grid of an asset as the projection extension declares it, or None.

    Raises
    ------
    InputError
        The grid is rotated.
    """
    from odc.geo import CRS
    from odc.geo.geobox import GeoBox

    fields = {**item.properties, **item.assets[asset].to_dict()}
    shape: Any = fields.get("proj:shape")
    transform: Any = fields.get("proj:transform")
    code = fields.get("proj:code") or fields.get("proj:epsg") or fields.get("proj:wkt2") or fields.get("proj:projjson")
    if code is None or not _numbers(shape, (2,)) or not _numbers(transform, (6, 9)) or min(shape) < 1:
        return None
    from affine import Affine

    affine = Affine(*(float(value) for value in transform[:6]))
    if affine.b != 0 or affine.d != 0 or affine.a < _NEAR or affine.e > -_NEAR:
        raise InputError(
            f"Item {item.id!r}, asset {asset!r:.200}: the grid is rotated or flipped. Type crs= and resolution=."
        )
    if len(text := str(code)) > _MAX_CRS or _NAMES_FILES.search(text):
        raise InputError(
            f"Item {item.id!r}, asset {asset!r:.200}: the coordinate system {text!r:.80} is too long or may name "
            "files of grids. Expected an EPSG code or plain WKT. Type: item.properties['proj:code'] = 'EPSG:...'"
        )
    try:
        crs = CRS(f"EPSG:{code}" if isinstance(code, int) else code)
    except (RuntimeError, ValueError, TypeError) as error:  # pyproj's error is a RuntimeError
        raise InputError(f"Item {item.id!r}, asset {asset!r:.200}: {code!r:.80} is no CRS ({error!r:.100}).") from error
    return GeoBox((int(shape[0]), int(shape[1])), affine, crs)


def _numbers(values: Any, lengths: tuple[int, ...]) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) in lengths
        and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        and all(-_FAR < value < _FAR for value in values)
    )
