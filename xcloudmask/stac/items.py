"""What an item says about its sensor, its processing and the scale of its pixels, in the spelling of each catalogue."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xcloudmask._sensor import Band, Sensor, fold_name
from xcloudmask.errors import ArgumentError
from xcloudmask.radiometry import declared_pair, leads_to_quantity, toa_reflectance_scale
from xcloudmask.sensors import get_sensor

if TYPE_CHECKING:
    import pystac

__all__ = ["Scale", "band_fields", "band_scale", "platform_of", "processing_baseline", "product_name", "sensor_of"]

Scale = tuple[float, float]
"""(scale, offset): reflectance or kelvin = DN * scale + offset."""

OFFSET_BASELINE = (4, 0)
"""Sentinel-2 products have 1000 DN added since this processing baseline (25 January 2022)."""

_OFFSET_FLAGS = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_UNTRUSTED_FLAG = ("sentinel-2-l2a", "sentinel-s2-l2a-cogs")
_PRODUCT = re.compile(r"S2[A-D]_MSI(L1C|L2A)_(\d{8}T\d{6})_N(\d{2})(\d{2})_R\d{3}_T(\w{5})_(\d{8}T\d{6})")
_LANDSAT = re.compile(r"L([COTEM])(\d{2})_(L[12])\w{2}_")
_LANDSAT_KINDS = {"TM": "tm", "ETM": "etm", "ETM+": "etm", "OLI": "oli", "OLI_TIRS": "oli"}


def sensor_of(item: pystac.Item) -> Sensor | None:
    """Return the sensor of an item, or None where it is none that is known.

    Parameters
    ----------
    item
        Of any catalogue.

    Returns
    -------
    Sensor or None

    Notes
    -----
    The collection's id, where it is a name of one sensor; else platform, instruments and level of processing.

    Examples
    --------
    >>> import datetime as dt, pystac
    >>> platform = {"platform": "LANDSAT_9"}
    >>> item = pystac.Item("a", None, None, dt.datetime(2024, 1, 1), platform, collection="landsat-c2l2-sr")
    >>> sensor_of(item).name
    'landsat-oli-c2-l2'
    """
    name = _landsat(item) or _planetscope(item) or item.collection_id or _sentinel2(item)
    for text in (name, _sentinel2(item)):
        if text:
            try:
                return get_sensor(text)
            except ArgumentError:
                continue
    return None


def _landsat(item: pystac.Item) -> str | None:
    named = _LANDSAT.match(item.id)
    platform = platform_of(item) or ""
    if named is None and not (platform.startswith("landsat-") and "landsat" in (item.collection_id or "")):
        return None
    level = named[3].lower() if named else _landsat_level(item)
    number = int(named[2] if named else platform.rpartition("-")[2] or 0)
    kind = "oli" if number >= 8 else "etm" if number == 7 else "tm"
    instruments = {str(name).upper() for name in item.properties.get("instruments") or ()}
    known = {_LANDSAT_KINDS[name] for name in instruments if name in _LANDSAT_KINDS}
    # The multispectral scanner flew on Landsat 1 to 5 and has other bands.
    if number < 4 or (named and named[1] == "M") or ("MSS" in instruments and not known):
        return None
    return f"landsat-{kind}-c2-{level}"


def _landsat_level(item: pystac.Item) -> str:
    texts = (item.properties.get("landsat:correction"), item.properties.get("processing:level"), item.collection_id)
    return "l1" if any("l1" in str(text).casefold() for text in texts if text) else "l2"


def _planetscope(item: pystac.Item) -> str | None:
    """PSScene items: the instrument tells the generation; 4-band files of a SuperDove are not its 8 bands."""
    properties = item.properties
    constellation = str(properties.get("constellation", "")).casefold()
    is_scene = "planetscope" in (constellation, fold_name(item.collection_id or "")) or item.collection_id == "PSScene"
    if not (is_scene or any(key.startswith("ortho_analytic") for key in item.assets)):
        return None
    if any("8b" in key for key in item.assets):
        return "planetscope-8b"
    instruments = {str(name).upper() for name in properties.get("instruments") or ()}
    return "planetscope-4b-dove-r" if "PS2.SD" in instruments else "planetscope-4b"


def _sentinel2(item: pystac.Item) -> str | None:
    product = _PRODUCT.search(product_name(item))
    return f"sentinel-2-{product[1].lower()}" if product else None


def platform_of(item: pystac.Item) -> str | None:
    """Return the platform as STAC spells it: ``"landsat-8"``, also where the catalogue has LANDSAT_8.

    Examples
    --------
    >>> import datetime as dt, pystac
    >>> platform_of(pystac.Item("a", None, None, dt.datetime(2024, 1, 1), {"platform": "LANDSAT_8"}))
    'landsat-8'
    """
    text = item.properties.get("platform") or item.properties.get("eo:platform")
    return str(text).casefold().replace("_", "-") if isinstance(text, str) and text else None


def product_name(item: pystac.Item) -> str:
    """Return the provider's name of the product, from a property or the id."""
    for key in ("s2:product_uri", "sentinel:product_id", "landsat:product_id", "title"):
        text = item.properties.get(key)
        if isinstance(text, str) and text:
            return text
    return item.id


def processing_baseline(item: pystac.Item) -> tuple[int, int] | None:
    """Return the processing baseline of a Sentinel-2 product.

    Parameters
    ----------
    item
        Of any catalogue: a property, or the ``N0510`` in the name of the product.

    Returns
    -------
    tuple of int or None
        (5, 10) for 05.10.

    Examples
    --------
    >>> import datetime as dt, pystac
    >>> item = pystac.Item("a", None, None, dt.datetime(2024, 1, 1), {"s2:processing_baseline": "05.10"})
    >>> processing_baseline(item)
    (5, 10)
    """
    for key in ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version"):
        found = re.fullmatch(r"v?(\d{1,2})\.(\d{1,2})", str(item.properties.get(key, "")))
        if found:
            return int(found[1]), int(found[2])
    product = _PRODUCT.search(product_name(item)) or _PRODUCT.search(item.id)
    return (int(product[3]), int(product[4])) if product else None


def band_fields(asset: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Return what an asset says of one of its bands: STAC 1.1 and raster v2 before raster v1.

    Parameters
    ----------
    asset
        The asset as JSON.
    index
        Band of the file, from 0.

    Returns
    -------
    dict
        ``nodata``, ``data_type``, ``scale``, ``offset`` and ``unit`` where they are said.

    Examples
    --------
    >>> band_fields({"raster:bands": [{"scale": 0.0001, "nodata": 0}]}, 0)
    {'nodata': 0, 'scale': 0.0001}
    """
    own = _at(asset.get("bands"), index)
    old = _at(asset.get("raster:bands"), index)
    found = {}
    for name in ("nodata", "data_type", "scale", "offset", "unit"):
        for source, key in (
            (own, name),
            (own, f"raster:{name}"),
            (asset, name),
            (asset, f"raster:{name}"),
            (old, name),
        ):
            # "scale" alone is the name in raster v1.
            if source.get(key) is not None and (source is old or name not in ("scale", "offset") or ":" in key):
                found[name] = source[key]
                break
    return found


def _at(entries: Any, index: int) -> Mapping[str, Any]:
    if not isinstance(entries, list) or not entries:
        return {}
    entry = entries[min(index, len(entries) - 1)] if len(entries) == 1 or index < len(entries) else {}
    return entry if isinstance(entry, Mapping) else {}


def band_scale(
    item: pystac.Item, asset_key: str, band: Band | None, sensor: Sensor | None, *, index: int = 0
) -> Scale | None:
    """Return scale and offset of a band of an item, or None where they cannot be known.

    Parameters
    ----------
    item
        Of any catalogue.
    asset_key
        Key of the asset.
    band
        The band in the table of the sensor.
    sensor
        The sensor.
    index
        Band of the file, from 0.

    Returns
    -------
    tuple of float or None
        Reflectance (or kelvin) = DN * scale + offset.

    Notes
    -----
    Sentinel-2: 1000 DN are added since processing baseline 04.00 (Sentinel-2 Products Specification Document), unless
    the catalogue took them off. Earth Search says so by a flag. Where the flag is true, it is believed, and a declared
    offset is not. Where it is false in ``sentinel-2-l2a``, the offset may have been applied all the same
    (https://github.com/Element84/earth-search/issues/71), and nothing is known; ``sentinel-2-c1-l2a`` never applies it
    (https://github.com/Element84/earth-search/issues/41). Landsat Level 1: the reflectance of OLI over the sine of the
    sun's elevation (USGS, Landsat 8-9 Data Users Handbook). PlanetScope: "_sr" assets hold reflectance times 10,000,
    the others radiance.

    Examples
    --------
    >>> import datetime as dt, pystac
    >>> item = pystac.Item("a", None, None, dt.datetime(2024, 1, 1), {"s2:processing_baseline": "05.10"})
    >>> item.add_asset("B04", pystac.Asset("B04.tif"))
    >>> sensor = get_sensor("sentinel-2-l2a")
    >>> band_scale(item, "B04", sensor.find("B04"), sensor)
    (0.0001, -0.1)
    """
    declared = _declared(item, asset_key, index)
    name = "" if sensor is None else sensor.name
    if name.startswith("sentinel-2"):
        stated = "offset" in band_fields(item.assets[asset_key].to_dict(), index)
        return _sentinel2_scale(item, declared, stated=stated)
    if name.startswith("planetscope"):
        return (declared or (1e-4, 0.0)) if asset_key.casefold().endswith("_sr") else None
    if name.startswith("landsat") and name.endswith("-l1"):
        return _level1_scale(item, band)
    if declared is not None:
        return declared
    return None if band is None or band.scale is None or band.offset is None else (band.scale, band.offset)


def _declared(item: pystac.Item, asset_key: str, index: int) -> Scale | None:
    """What the item declares; a scale of 1 with an offset of 0 declares nothing, and radiance is no reflectance."""
    fields = band_fields(item.assets[asset_key].to_dict(), index)
    scale, offset = _number(fields.get("scale", 1.0)), _number(fields.get("offset", 0.0))
    if scale is None or offset is None or not leads_to_quantity(fields.get("unit")):
        return None
    return declared_pair(scale, offset)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _sentinel2_scale(item: pystac.Item, declared: Scale | None, *, stated: bool) -> Scale | None:
    baseline = processing_baseline(item)
    flag = next((item.properties[key] for key in _OFFSET_FLAGS if key in item.properties), None)
    scale = 1e-4 if declared is None else declared[0]
    if flag is True:
        return scale, 0.0
    if baseline is None:
        return declared if flag is None and stated else None
    if baseline < OFFSET_BASELINE:
        # Some catalogues declare -0.1 for every scene.
        return scale, 0.0
    if flag is False and item.collection_id in _UNTRUSTED_FLAG:
        return None
    if declared is None or not stated:
        return scale, -0.1
    # A declared offset of 0 contradicts the baseline: it was applied, or it was forgotten.
    return declared if declared[1] != 0 else None


def _level1_scale(item: pystac.Item, band: Band | None) -> Scale | None:
    elevation = _number(item.properties.get("view:sun_elevation", item.properties.get("eo:sun_elevation")))
    if (
        band is None
        or band.level1_gain is None
        or band.quantity != "toa_reflectance"
        or not elevation
        or elevation <= 0
    ):
        return None
    mult, add = band.level1_gain
    return toa_reflectance_scale(mult=mult, add=add, sun_elevation=elevation)
