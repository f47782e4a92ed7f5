"""What is checked about the files of items, and how GDAL is told to read them."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from xcloudmask._optional import require
from xcloudmask.errors import HrefError, ReadError
from xcloudmask.stac.hrefs import HrefPolicy, allowed_host, check_href, redact, where
from xcloudmask.stac.redirects import USER_AGENT, hosts_of

__all__ = ["DRIVERS", "check_header", "check_header_once", "guard_items", "open_guarded", "probe_items", "reading"]
__all__ += ["safe_env"]

DRIVERS = ("GTiff", "JP2OpenJPEG")
"""GDAL drivers that may open a file; a COG is read by GTiff."""

TUNING: Mapping[str, str] = {
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
}
"""Settings that the user's own come before."""

SAFETY: Mapping[str, str] = {
    # No listing of folders and no files beside the file.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
    "CPL_VSIL_CURL_AUTHORIZATION_HEADER_ALLOWED_IF_REDIRECT": "IF_SAME_HOST",
    "CPL_CURL_ENABLE_VSIMEM": "NO",
    "VSICURL_PC_URL_SIGNING": "NO",
    "GDAL_HTTP_USERAGENT": USER_AGENT,
}
"""Settings that nothing comes before."""

_CREDENTIALS: Mapping[str, str] = {
    "GDAL_HTTP_HEADERS": "",
    "GDAL_HTTP_HEADER_FILE": os.devnull,
    "GDAL_HTTP_BEARER": "",
    "GDAL_HTTP_USERPWD": "",
    "GDAL_HTTP_COOKIE": "",
    "GDAL_HTTP_COOKIEFILE": "",
    "GDAL_HTTP_COOKIEJAR": "",
}
"""Settings that go to every host, and what silences each."""


_AFRESH = {"CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/:/vsigs/:/vsiaz/"}
"""GDAL remembers that a server refused a file, or what it sent of it before it broke off, until it is told not to."""

_FAILED_MOST = 1000
_failed: dict[str, None] = {}
"""URLs that could not be read last time, the oldest first."""
_failed_lock = threading.Lock()


def guard_items(items: Iterable[Any], assets: Sequence[str], *, policy: HrefPolicy) -> None:
    """Check the hrefs, and the sizes that items declare, without touching the network.

    Parameters
    ----------
    items
        pystac Items, or their dicts.
    assets
        Keys of the assets that will be read; an item without one is left to the caller.
    policy
        What is allowed.

    Raises
    ------
    HrefError
        An href is refused; it names the item and the asset.

    Examples
    --------
    >>> guard_items([{"id": "a", "assets": {"red": {"href": "/vsimem/a.tif"}}}], ["red"], policy=HrefPolicy())
    Traceback (most recent call last):
    ...
    xcloudmask.errors.HrefError: Item 'a', asset 'red': the href '/vsimem/a.tif' goes through a virtual file system ...
    """
    for item in items:
        for key, href, shape in _assets(item, assets):
            check_href(href, item=item, asset=key, policy=policy)
            if isinstance(shape, list | tuple) and all(isinstance(side, int | float) for side in shape):
                _limit(math.prod(shape), policy.max_pixels, "pixels", place=where(item, key), name="max_pixels")


def probe_items(items: Iterable[Any], assets: Sequence[str], *, policy: HrefPolicy, threads: int = 8) -> dict[str, str]:
    """Open the header of every asset and return why items cannot be read, by item id.

    Raises
    ------
    HrefError
        An href, or what it leads to, is refused: that is no gap.
    """
    wanted = [(item, key, href) for item in items for key, href, _ in _assets(item, assets)]

    def look(entry: tuple[Any, str, str]) -> tuple[str, str] | None:
        item, key, href = entry
        try:
            with open_guarded(href, item=item, asset=key, policy=policy):
                return None
        except ReadError as error:
            return _id(item), str(error)

    with ThreadPoolExecutor(max_workers=threads) as pool:
        found = [gap for gap in pool.map(look, wanted) if gap is not None]
    return dict(reversed(found))


@contextmanager
def open_guarded(href: str, *, item: Any, asset: str, policy: HrefPolicy) -> Iterator[Any]:
    """Open a file of an item with rasterio, its href, redirects and header checked.

    Yields
    ------
    rasterio.DatasetReader

    Raises
    ------
    HrefError
        The href, or what it leads to, is refused.
    ReadError
        The file cannot be read.
    """
    rasterio = require("rasterio", extra="stac")
    url = check_href(href, item=item, asset=asset, policy=policy)
    with (
        rasterio.Env(**safe_env()),
        reading(url, item=_id(item), asset=asset, policy=policy),
        _open(url) as dataset,
    ):
        check_header(dataset, place=where(item, asset), policy=policy)
        yield dataset


@contextmanager
def reading(url: str, *, item: str, asset: str, policy: HrefPolicy) -> Iterator[None]:
    """Settings for one checked URL, and errors that name the file.

    GDAL may open this file alone, and hosts that are not listed get no credentials.
    """
    rasterio = require("rasterio", extra="stac")
    place = where(item, asset)
    failed, withheld = url in _failed, False
    options = dict(_AFRESH) if failed else {}
    if url.startswith(("https://", "http://")):
        hosts = hosts_of(url, item=item, asset=asset, policy=policy, again=failed)
        silenced = _silenced(hosts, url=url, place=place, policy=policy)
        withheld = bool(silenced)
        options |= silenced | {"CPL_VSIL_CURL_ALLOWED_FILENAME": f"/vsicurl/{url}"}
    try:
        with rasterio.Env(session=require("rasterio.session", extra="stac").DummySession(), **options):
            yield
    except (rasterio.errors.RasterioError, rasterio.errors.NotGeoreferencedWarning) as error:
        with _failed_lock:
            _failed[url] = None
            if len(_failed) > _FAILED_MOST:
                del _failed[next(iter(_failed))]
        raise _unreadable(error, url=url, place=place, withheld=withheld) from None
    with _failed_lock:
        _failed.pop(url, None)


def safe_env(user: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """GDAL settings for files that are not trusted.

    Parameters
    ----------
    user
        Settings of the user. They come before times and retries, not before what is for safety; so do environment
        variables.

    Returns
    -------
    dict
        For `rasterio.Env`.

    Notes
    -----
    GDAL 3.10 tries again after 429 and 502 to 504 by itself, at most ``GDAL_HTTP_MAX_RETRY`` times, each wait longer.

    Examples
    --------
    >>> safe_env({"GDAL_HTTP_MAX_RETRY": "1"})["GDAL_HTTP_MAX_RETRY"]
    '1'
    """
    tuning = {name: value for name, value in TUNING.items() if name not in os.environ}
    return tuning | dict(user or {}) | dict(SAFETY)


@lru_cache(maxsize=4096)
def check_header_once(url: str, item: str, asset: str, policy: HrefPolicy) -> None:
    """Check the header of a checked URL, inside of `reading`; a second time costs nothing."""
    with _open(url) as dataset:
        check_header(dataset, place=where(item, asset), policy=policy)


def check_header(dataset: Any, *, place: str, policy: HrefPolicy) -> None:
    """Refuse a file whose header says that it is too large; no pixel is read.

    Parameters
    ----------
    dataset
        An open rasterio dataset.
    place
        Item and asset, for errors.
    policy
        The limits.

    Raises
    ------
    HrefError
        A limit is passed.
    ReadError
        The file does not say where on Earth it is: it would silently be nodata.
    """
    pixels = dataset.width * dataset.height
    cell = max(_itemsize(name) for name in dataset.dtypes)
    together = dataset.count if str(dataset.profile.get("interleave", "")).lower() == "pixel" else 1
    block = max(math.prod(shape) for shape in dataset.block_shapes) * cell * together
    _limit(dataset.count, policy.max_bands, "bands", place=place, name="max_bands")
    _limit(pixels, policy.max_pixels, "pixels", place=place, name="max_pixels")
    _limit(pixels * dataset.count * cell, policy.max_bytes, "bytes", place=place, name="max_bytes")
    _limit(block, policy.max_block_bytes, "bytes in a block", place=place, name="max_block_bytes")
    if dataset.crs is None or dataset.transform.is_identity:
        raise ReadError(
            f"{place}: the file has no coordinate system or grid. Expected both; the file may be truncated."
        )


def _open(url: str) -> Any:
    """Open with one of the allowed drivers; `rasterio.open` takes one name at a time."""
    rasterio = require("rasterio", extra="stac")
    first, second = DRIVERS if not url.partition("?")[0].lower().endswith(".jp2") else reversed(DRIVERS)
    try:
        return rasterio.open(url, driver=first, sharing=False)
    except rasterio.errors.RasterioIOError as error:
        if "not recognized" not in str(error):
            raise
        return rasterio.open(url, driver=second, sharing=False)


def _itemsize(dtype: str) -> int:
    try:
        return np.dtype(dtype).itemsize
    except TypeError:
        return 16  # complex_int16 is known to GDAL alone; nothing is larger than complex128


def _limit(found: float, most: int, unit: str, *, place: str, name: str) -> None:
    if not 0 <= found <= most:
        raise HrefError(
            f"{place}: the file has {found:,.0f} {unit}, the limit is {most:,}. If you trust it, type: "
            f"HrefPolicy({name}={found:.0f})"
        )


def _silenced(hosts: tuple[str, ...], *, url: str, place: str, policy: HrefPolicy) -> dict[str, str]:
    """Settings that keep credentials from hosts that are not listed."""
    from rasterio.env import get_gdal_config

    there = {name: quiet for name, quiet in _CREDENTIALS.items() if get_gdal_config(name)}
    if not there or all(allowed_host(host, policy.credential_hosts) for host in hosts):
        return {}
    if allowed_host(hosts[0], policy.credential_hosts):
        other = next(host for host in hosts if not allowed_host(host, policy.credential_hosts))
        raise HrefError(
            f"{place}: {redact(url)!r} redirects to {other!r}, which would get the credentials of "
            f"{', '.join(there)}. If it may, type: HrefPolicy(credential_hosts=(..., {other!r}))"
        )
    # With an empty password or token alone, an empty Authorization header would still be sent.
    return there | {"GDAL_HTTP_AUTH": "ANYSAFE"}


def _unreadable(error: Exception, *, url: str, place: str, withheld: bool) -> ReadError:
    causes = [str(error), *(str(cause) for cause in (error.__cause__, error.__context__) if cause is not None)]
    text = "; ".join(dict.fromkeys(cause for cause in causes if cause))
    if query := urlsplit(url).query:
        text = text.replace(query, "...")  # signatures are secrets
    hint = "Check the address, the network and, where addresses are signed, that they have not expired."
    if withheld:
        host = urlsplit(url).hostname
        hint = (
            f"It got none of the credentials in the GDAL settings. If it may: HrefPolicy(credential_hosts=({host!r},))"
        )
    return ReadError(f"{place}: {redact(url)!r} cannot be read ({text}). {hint}")


def _id(item: Any) -> str:
    return str(item.get("id") if isinstance(item, Mapping) else getattr(item, "id", item))


def _assets(item: Any, keys: Sequence[str]) -> Iterator[tuple[str, str, Any]]:
    """Key, href and declared shape of the wanted assets that an item has."""
    if isinstance(item, Mapping):
        known = {key: (asset.get("href"), asset) for key, asset in item.get("assets", {}).items()}
        properties = item.get("properties", {})
    else:
        known = {key: (asset.href, asset.extra_fields) for key, asset in item.assets.items()}
        properties = item.properties
    for key in keys:
        if key in known:
            href, fields = known[key]
            yield key, href, fields.get("proj:shape", properties.get("proj:shape"))
