"""Where the scenes of a campaign come from: searched or read from files page by page, trimmed to what a task needs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from xcloudmask.errors import ArgumentError, ReadError
from xcloudmask.run._checks import policy_of
from xcloudmask.run.options import SourceOptions

if TYPE_CHECKING:
    import pystac

__all__ = ["area_of_source", "digest_of", "file_stamp", "fingerprint", "item_pages", "trim_item"]

_PAGE = 250
_GEOMETRY_BYTES = 10_000_000
_KEPT = {
    "datetime", "start_datetime", "end_datetime", "platform", "constellation", "instruments", "gsd", "created",
    "updated", "version", "title", "proj:code", "proj:epsg", "proj:shape", "proj:transform", "proj:wkt2",
    "proj:projjson", "eo:platform", "eo:cloud_cover", "eo:sun_elevation", "eo:sun_azimuth", "view:sun_elevation",
    "view:sun_azimuth", "view:off_nadir", "grid:code", "processing:level", "processing:version",
    "processing:datetime", "s2:product_uri", "s2:processing_baseline", "s2:datatake_id", "s2:datastrip_id",
    "s2:generation_time", "s2:mgrs_tile", "s2:mean_solar_zenith", "s2:mean_solar_azimuth", "s2:sequence",
    "mgrs:utm_zone", "mgrs:latitude_band", "mgrs:grid_square", "sentinel:utm_zone", "sentinel:latitude_band",
    "sentinel:grid_square", "sentinel:product_id", "sentinel:processing_baseline", "sentinel:boa_offset_applied",
    "earthsearch:boa_offset_applied", "landsat:product_id", "landsat:correction", "landsat:wrs_path",
    "landsat:wrs_row", "landsat:collection_category",
}  # fmt: skip
"""Properties by which an item is read, judged, or told from an older processing of the same scene."""
_KEPT_OF_ASSET: tuple[str, ...] = (
    "type",
    "roles",
    "nodata",
    "data_type",
    "unit",
    "gsd",
    "file:checksum",
    "checksum:multihash",
)
_KEPT_OF_ASSET += ("file:size", "etag", "s3:etag", "raster:scale", "raster:offset", "bands", "eo:bands", "raster:bands")
_KEPT_OF_BAND: tuple[str, ...] = (
    "name",
    "common_name",
    "eo:common_name",
    "nodata",
    "data_type",
    "unit",
    "scale",
    "offset",
)
_KEPT_OF_BAND += ("raster:scale", "raster:offset", "spatial_resolution", "gsd")
_CHECKSUMS = ("file:checksum", "checksum:multihash", "etag", "s3:etag")
_VERSIONS: tuple[str, ...] = (
    "version",
    "updated",
    "created",
    "processing:version",
    "processing:datetime",
    "s2:processing_baseline",
)
_VERSIONS += ("s2:generation_time", "s2:product_uri", "sentinel:product_id", "landsat:product_id")


def item_pages(source: SourceOptions) -> Iterator[list[pystac.Item]]:
    """Yield the items of a source, some at a time.

    Parameters
    ----------
    source
        Of kind ``"stac"`` or ``"items"``.

    Yields
    ------
    list of pystac.Item
        In the order of the catalogue; no more than the limit altogether.

    Raises
    ------
    CatalogueError
        The API or a file cannot be read.
    ArgumentError
        The search cannot be understood.
    """
    left = source.limit
    for page in _web_pages(source) if source.kind == "stac" else _file_pages(source):
        part = page if left is None else page[:left]
        if part:
            yield part
        if left is not None:
            left -= len(part)
            if left <= 0:
                return


def _web_pages(source: SourceOptions) -> Iterator[list[pystac.Item]]:
    from xcloudmask.stac.search import search_pages

    yield from search_pages(
        source.url,
        collections=source.collections,
        bbox=source.bbox or None,
        geometry=area_of_source(source) if source.geometry else None,
        datetime=source.datetime or None,
        query=source.query or None,
        filter=source.filter or None,
        page_size=min(source.page_size, source.limit or source.page_size),
        headers=_headers(source),
    )


def _file_pages(source: SourceOptions) -> Iterator[list[pystac.Item]]:
    from xcloudmask.stac.read import read_items

    area, box = area_of_source(source), source.bbox or None
    for path in source.paths:
        items = read_items(
            path,
            collections=source.collections or None,
            bbox=box if box else _bounds(area),
            datetime=source.datetime or None,
            limit=10**9,
        )
        for start in range(0, len(items), _PAGE):
            yield items[start : start + _PAGE]


def _headers(source: SourceOptions) -> dict[str, str]:
    """Headers from the environment: secrets are not written into configurations."""
    found = {}
    for header, variable in source.header_env.items():
        value = os.environ.get(str(variable))
        if value is None:
            raise ArgumentError(
                f"[source] header_env: the environment variable {variable!r} is not set. Type: export {variable}=..."
            )
        found[header] = value
    return found


def area_of_source(source: SourceOptions) -> dict[str, Any] | None:
    """Return the wanted area as a GeoJSON geometry in degrees; None where everything is wanted.

    Raises
    ------
    ReadError
        Its file cannot be read.
    ArgumentError
        It holds no geometry.
    """
    if source.bbox:
        west, south, east, north = source.bbox
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        return {"type": "Polygon", "coordinates": [ring]}
    if not source.geometry:
        return None
    path = Path(source.geometry)
    try:
        if path.stat().st_size > _GEOMETRY_BYTES:
            raise ArgumentError(f"{path} is larger than {_GEOMETRY_BYTES} bytes. Expected an outline; simplify it.")
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise ReadError(f"[source] geometry: {path} cannot be read: {error}") from error
    except ValueError as error:
        raise ArgumentError(f"[source] geometry: {path} is no GeoJSON ({error}).") from error
    return _geometry(document, path)


def _geometry(document: Any, path: Path) -> dict[str, Any]:
    found = document
    if isinstance(found, dict) and found.get("type") == "FeatureCollection":
        features = found.get("features")
        if not isinstance(features, list) or len(features) != 1:
            raise ArgumentError(f"[source] geometry: {path} has several features. Expected one; dissolve them.")
        found = features[0]
    if isinstance(found, dict) and found.get("type") == "Feature":
        found = found.get("geometry")
    if not isinstance(found, dict) or found.get("type") not in ("Polygon", "MultiPolygon"):
        kind = found.get("type") if isinstance(found, dict) else type(found).__name__
        raise ArgumentError(f"[source] geometry: {path} holds a {kind!r:.40}. Expected a Polygon or MultiPolygon.")
    return found


def _bounds(area: Mapping[str, Any] | None) -> tuple[float, float, float, float] | None:
    if area is None:
        return None
    from shapely.geometry import shape

    west, south, east, north = shape(area).bounds
    return west, south, east, north


def trim_item(item: pystac.Item, assets: Sequence[str], *, source: SourceOptions) -> dict[str, Any]:
    """Return an item as JSON, with what is needed to read and to judge it and no more.

    Parameters
    ----------
    item
        Of any catalogue.
    assets
        Keys of the files that will be read.
    source
        What hrefs may lead to.

    Returns
    -------
    dict
        Hrefs are absolute.

    Raises
    ------
    HrefError
        An href is refused.
    """
    from xcloudmask.stac.hrefs import HrefPolicy, check_href
    from xcloudmask.stac.scenes import item_policy

    policy = item_policy(item, HrefPolicy(**policy_of(source) | {"allow_files": False}))
    whole: dict[str, Any] = item.to_dict(include_self_link=False, transform_hrefs=False)
    kept: dict[str, Any] = {}
    for key in dict.fromkeys(assets):
        asset = whole["assets"][key]
        fields = {name: value for name, value in asset.items() if name in _KEPT_OF_ASSET or name.startswith("proj:")}
        for name in ("bands", "eo:bands", "raster:bands"):
            if isinstance(fields.get(name), list):
                fields[name] = [_band(band) for band in fields[name]]
        kept[key] = fields | {"href": check_href(asset.get("href", ""), item=item, asset=key, policy=policy)}
    return {
        "type": "Feature",
        "stac_version": whole["stac_version"],
        "id": item.id,
        "collection": item.collection_id,
        "geometry": item.geometry,
        "bbox": item.bbox,
        "properties": {name: value for name, value in whole["properties"].items() if name in _KEPT},
        "links": _self_link(item),
        "assets": kept,
    }


def _self_link(item: pystac.Item) -> list[dict[str, str]]:
    """Where the item lies, for those who ask what a mask was made from; without user, password and signature.

    Files of this machine are left out: one with many items is no address of one, and may be called otherwise later.
    """
    parts = urlsplit(item.get_self_href() or "")
    if parts.scheme not in ("http", "https", "s3", "gs"):
        return []
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
    return [{"rel": "self", "href": plain, "type": "application/geo+json"}]


def _band(band: Any) -> Any:
    return {name: band[name] for name in _KEPT_OF_BAND if name in band} if isinstance(band, Mapping) else band


def fingerprint(document: Mapping[str, Any]) -> str:
    """Return what changes when a scene is processed anew.

    Parameters
    ----------
    document
        The item, as `trim_item` returns it.

    Returns
    -------
    str
        Made of the checksums of its files where the catalogue has one for each, else of its versions and of where its
        files lie, without signatures. Size and date of files of this machine.

    Raises
    ------
    ReadError
        A file of this machine is missing.

    Examples
    --------
    >>> item = {"properties": {"updated": "1"}, "assets": {"red": {"href": "https://a.org/red.tif?sig=1"}}}
    >>> signed = {**item, "assets": {"red": {"href": "https://a.org/red.tif?sig=2"}}}
    >>> later = {**item, "properties": {"updated": "2"}}
    >>> fingerprint(item) == fingerprint(signed) != fingerprint(later)
    True
    """
    assets = document["assets"]
    parts: Any
    sums = {key: _checksum(asset) for key, asset in assets.items()}
    if sums and all(sums.values()):
        parts = sums
    else:
        properties = document["properties"]
        parts = {name: properties[name] for name in _VERSIONS if name in properties}
        parts["hrefs"] = {key: _file_or_address(asset["href"]) for key, asset in assets.items()}
    return digest_of(parts)


def digest_of(parts: Any) -> str:
    """Return a short checksum of what JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def file_stamp(path: str | os.PathLike[str]) -> list[int]:
    """Return size and date of a file.

    Raises
    ------
    ReadError
        It is missing.
    """
    try:
        found = Path(path).stat()
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error}") from error
    return [found.st_size, found.st_mtime_ns]


def _checksum(asset: Mapping[str, Any]) -> Any:
    return next(([name, asset[name]] for name in _CHECKSUMS if asset.get(name)), None)


def _file_or_address(href: str) -> Any:
    if "://" not in href:
        return [href, *file_stamp(href)]
    return urlunsplit(urlsplit(href)._replace(query="", fragment=""))
