"""Hrefs of STAC items are untrusted text: which of them may be opened at all.

Nothing here touches the network. What only an answer can tell (redirects, names that resolve to private addresses,
sizes in headers) is checked by `xcloudmask.stac.guard` when a file is opened.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit
from urllib.request import url2pathname

from xcloudmask.errors import ArgumentError, HrefError
from xcloudmask.stac.addresses import private_host

__all__ = ["HrefPolicy", "allowed_host", "check_href", "redact", "where", "wrong_id"]

_SCHEMES = ("https", "http", "s3", "gs", "az")
_BUCKETS = ("s3", "gs", "az")
_MAX_LENGTH = 8192
_MAX_ID = 1024
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+._-]*):")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NOT_IN_URL = re.compile(r'[\s<>"{}|\\^`#]')
_VSI = re.compile(r"/vsi[a-z0-9_]+[/?]", re.IGNORECASE)
_VRT = re.compile(r"\.vrt(\.\w+)?$", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]+\]")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class HrefPolicy:
    """What the hrefs of items may lead to, and how large a file may be.

    Examples
    --------
    >>> HrefPolicy(hosts=("*.blob.core.windows.net", "s3://sentinel-cogs")).allow_private
    False
    """

    schemes: tuple[str, ...] = ("https", "s3", "gs", "az")
    """Allowed schemes, of https, http, s3, gs and az."""
    hosts: tuple[str, ...] = ()
    """Allowed hosts, also of redirects; ``*.example.org`` allows all below. A bucket is ``s3://name``. Empty: any."""
    credential_hosts: tuple[str, ...] = ()
    """Hosts that HTTP headers, cookies and passwords of the GDAL settings may go to; no other host gets them."""
    allow_private: bool = False
    """Whether private, loopback and link-local addresses are allowed, these also over plain http."""
    allow_files: bool = False
    """Whether files of this machine are allowed."""
    max_pixels: int = 2_000_000_000
    """Most pixels of a band of a file."""
    max_bands: int = 64
    """Most bands of a file."""
    max_bytes: int = 32 * 2**30
    """Most bytes of a file once decompressed."""
    max_block_bytes: int = 512 * 2**20
    """Most bytes of one block once decompressed: the least that any read takes."""

    def __post_init__(self) -> None:
        """Check types and choices."""
        for name in ("schemes", "hosts", "credential_hosts"):
            if not isinstance(getattr(self, name), tuple):
                raise ArgumentError(f"{name}={getattr(self, name)!r} is no tuple. Type: {name}=('one', 'two')")
        if unknown := sorted(set(self.schemes) - set(_SCHEMES)):
            raise ArgumentError(
                f"schemes has {', '.join(map(repr, unknown))}. Expected some of {', '.join(map(repr, _SCHEMES))}; "
                "files are allowed by allow_files=True."
            )
        for name in ("max_pixels", "max_bands", "max_bytes", "max_block_bytes"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name}={getattr(self, name)!r} is too small. Expected at least 1.")


def check_href(href: str, *, item: Any, asset: str, policy: HrefPolicy) -> str:
    """Absolute href of an asset, or an error that says why it is refused.

    Parameters
    ----------
    href
        As the asset has it; a relative one is resolved against the item's self link.
    item
        The item: a pystac Item, its dict, or its id alone.
    asset
        Key of the asset.
    policy
        What is allowed.

    Returns
    -------
    str
        URL, or the path of a local file.

    Raises
    ------
    HrefError
        It is refused.

    Examples
    --------
    >>> check_href("B04.tif", item={"id": "a", "links": [{"rel": "self", "href": "https://example.org/a/a.json"}]},
    ...            asset="red", policy=HrefPolicy())
    'https://example.org/a/B04.tif'
    """
    place = where(item, asset)
    if not isinstance(href, str) or not href or len(href) > _MAX_LENGTH:
        size = f"{len(href)} characters" if isinstance(href, str) else f"a {type(href).__name__}"
        raise HrefError(f"{place}: the href has {size}. Expected text of 1 to {_MAX_LENGTH} characters.")
    if _CONTROL.search(href):
        raise HrefError(f"{place}: the href {redact(href)!r} has control characters. Expected none.")
    _no_chain(href, place=place)
    href = _absolute(href, base=_self_href(item), place=place)
    _no_chain(href, place=place)  # a self link is untrusted too
    if (path := _local_path(href)) is not None:
        return _check_file(path, place=place, policy=policy)
    return _check_url(href, place=place, policy=policy)


def where(item: Any, asset: str) -> str:
    """Item and asset, as errors name them.

    Examples
    --------
    >>> where({"id": "S2A_T30TVK"}, "red")
    "Item 'S2A_T30TVK', asset 'red'"
    """
    name = item.get("id") if isinstance(item, Mapping) else getattr(item, "id", item)
    return f"Item {str(name)[:200]!r}, asset {str(asset)[:200]!r}"


def wrong_id(value: object) -> str | None:
    """Return what is wrong with the id of an item, or None: it goes to terminals, logs and names of files.

    Examples
    --------
    >>> wrong_id("S2A_T30TVK"), wrong_id("")
    (None, "the id '' is no text of 1 to 1024 characters")
    """
    if not isinstance(value, str) or not value or len(value) > _MAX_ID:
        return f"the id {value!r:.80} is no text of 1 to {_MAX_ID} characters"
    return f"the id {value!r:.80} has control characters" if _CONTROL.search(value) else None


def redact(href: str) -> str:
    """Href without what may be secret: user, password, and the query, where signatures are.

    Examples
    --------
    >>> redact("https://user:word@example.org/a.tif?sig=secret")
    'https://...@example.org/a.tif?...'
    """
    short = re.sub(r"//[^/?#]*@", "//...@", href)
    short = re.sub(r"\?.*", "?...", short, flags=re.DOTALL)
    return short if len(short) <= 300 else short[:300] + "..."


def allowed_host(host: str, hosts: tuple[str, ...]) -> bool:
    """Whether a host, or a bucket with its scheme, is on a list.

    Examples
    --------
    >>> allowed_host("a.example.org", ("*.example.org",)), allowed_host("example.org.evil.net", ("example.org",))
    (True, False)
    """
    name = host.lower().rstrip(".")
    for entry in hosts:
        wanted = entry.lower().rstrip(".")
        if name == wanted or (wanted.startswith("*.") and name.endswith(wanted[1:])):
            return True
    return False


def _self_href(item: Any) -> str | None:
    if isinstance(item, Mapping):
        links = item.get("links") or ()
        return next((link.get("href") for link in links if link.get("rel") == "self"), None)
    get = getattr(item, "get_self_href", None)
    return get() if callable(get) else None


def _absolute(href: str, *, base: str | None, place: str) -> str:
    """Resolve a relative href; urljoin knows the web's schemes alone."""
    if _SCHEME.match(href) or (href.startswith("/") and not href.startswith("//") and base is None):
        return href
    if base is None:
        raise HrefError(
            f"{place}: the href {redact(href)!r} is relative and the item has no self link to resolve it against. "
            "Type: item.set_self_href('https://...')"
        )
    if base.startswith(("https://", "http://")):
        return urljoin(base, href)
    if href.startswith("//"):
        raise HrefError(f"{place}: the href {redact(href)!r} names a host and no scheme. Expected https://...")
    parts = urlsplit(base)
    if parts.scheme in _BUCKETS:
        folder = posixpath.dirname(parts.path) or "/"
        return f"{parts.scheme}://{parts.netloc}{posixpath.normpath(posixpath.join(folder, href))}"
    local = _local_path(base)
    if local is None:
        raise HrefError(f"{place}: the item's self link {redact(base)!r} has a scheme that is not allowed.")
    return str(Path(local).absolute().parent / href)


def _no_chain(href: str, *, place: str) -> None:
    """Refuse GDAL's virtual file systems and virtual rasters, also behind percent signs."""
    text = href
    for _ in range(4):
        if _CONTROL.search(text):
            raise HrefError(f"{place}: the href {redact(href)!r} hides control characters. Expected none.")
        if _VSI.search(text + "/"):
            raise HrefError(
                f"{place}: the href {redact(href)!r} goes through a virtual file system of GDAL (/vsi...). "
                "Expected the plain address of the file."
            )
        if _VRT.search(text.partition("?")[0]):
            raise HrefError(
                f"{place}: the href {redact(href)!r} is a virtual raster (VRT), which may point anywhere. "
                "Expected a GeoTIFF or JPEG 2000 file."
            )
        text = unquote(text)


def _local_path(href: str) -> str | None:
    if href.lower().startswith("file:"):
        parts = urlsplit(href)
        return url2pathname(parts.path) if parts.netloc in ("", "localhost") else None
    return href if href.startswith("/") or _DRIVE.match(href) else None


def _check_file(path: str, *, place: str, policy: HrefPolicy) -> str:
    if not policy.allow_files:
        raise HrefError(
            f"{place}: {path!r} is a file of this machine, which an item from elsewhere must not name. "
            "If you trust the items, type: HrefPolicy(allow_files=True)"
        )
    return path


def _check_url(href: str, *, place: str, policy: HrefPolicy) -> str:
    shown = redact(href)
    if bad := _NOT_IN_URL.search(href):
        raise HrefError(f"{place}: the href {shown!r} has {bad.group()!r}. Expected it as %{ord(bad.group()):02X}.")
    try:
        parts = urlsplit(href)
        _ = parts.port
    except ValueError as error:
        raise HrefError(f"{place}: the href {shown!r} is no URL ({error}). Expected https://host/path") from error
    scheme = parts.scheme.lower()
    if scheme not in _SCHEMES or not href.lower().startswith(f"{scheme}://"):
        prefix = href.partition(":")[0][:40]
        raise HrefError(
            f"{place}: the href {shown!r} begins with {prefix + ':'!r}. Expected one of "
            f"{', '.join(f'{name}://' for name in policy.schemes)}."
        )
    if "@" in unquote(parts.netloc):
        raise HrefError(f"{place}: the href {shown!r} has a user or password. Expected none in the address.")
    host = _check_host(parts, scheme=scheme, place=place, policy=policy)
    if policy.hosts and not allowed_host(host, policy.hosts):
        raise HrefError(
            f"{place}: {host!r} of the href {shown!r} is not on the list of hosts. Expected one of "
            f"{', '.join(map(repr, policy.hosts))}; to allow it, type: HrefPolicy(hosts=(..., {host!r}))"
        )
    return urlunsplit(parts._replace(scheme=scheme))


def _check_host(parts: SplitResult, *, scheme: str, place: str, policy: HrefPolicy) -> str:
    """Host of a web address, or bucket with its scheme, as the lists of hosts have them."""
    shown = redact(urlunsplit(parts))
    if scheme in _BUCKETS:
        if scheme not in policy.schemes:
            raise _scheme_refused(scheme, shown, place=place, policy=policy)
        if not _BUCKET.fullmatch(parts.netloc):
            raise HrefError(
                f"{place}: the href {shown!r} has no plain name of a bucket. Expected {scheme}://bucket/key"
            )
        return f"{scheme}://{parts.netloc}"
    host = parts.hostname or ""
    name = parts.netloc.rpartition("]")[0] + "]" if parts.netloc.startswith("[") else host
    if not (_IPV6.fullmatch(name) or _HOST.fullmatch(name)):
        raise HrefError(f"{place}: the href {shown!r} has no plain host. Expected letters, digits, dots and hyphens.")
    try:
        private = private_host(host)
    except ValueError as error:
        raise HrefError(f"{place}: the host of the href {shown!r} is no address ({error}).") from error
    if private and not policy.allow_private:
        raise HrefError(
            f"{place}: the href {shown!r} leads to a private address. Expected a host of the public internet. "
            "If you trust the items, type: HrefPolicy(allow_private=True)"
        )
    if scheme not in policy.schemes and not (scheme == "http" and private):
        raise _scheme_refused(scheme, shown, place=place, policy=policy)
    return host


def _scheme_refused(scheme: str, shown: str, *, place: str, policy: HrefPolicy) -> HrefError:
    known = ", ".join(map(repr, (*policy.schemes, scheme)))
    return HrefError(
        f"{place}: the href {shown!r} has the scheme {scheme!r}. Expected one of {', '.join(policy.schemes)}; to allow "
        f"it, type: HrefPolicy(schemes=({known}))"
    )
