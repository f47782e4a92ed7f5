"""Search STAC APIs."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

from xcloudmask._optional import require
from xcloudmask.errors import ArgumentError, CatalogueError, XCloudMaskError
from xcloudmask.stac.catalogues import resolve_url
from xcloudmask.stac.hrefs import redact, wrong_id
from xcloudmask.stac.read import BAD_ITEM, check_bbox, parse_range

if TYPE_CHECKING:
    import pystac

__all__ = ["search", "search_pages"]

_LIMIT = 1000
_TIMEOUT_S = 60


def search(
    url: str,
    *,
    collections: str | Sequence[str],
    bbox: Sequence[float] | None = None,
    geometry: Mapping[str, Any] | Any | None = None,
    datetime: str | None = None,
    query: Mapping[str, Any] | None = None,
    filter: str | Mapping[str, Any] | None = None,  # noqa: A002  # as the STAC API calls it
    ids: Sequence[str] | None = None,
    sortby: str | Sequence[str] | None = None,
    limit: int | None = None,
    page_size: int = 100,
    headers: Mapping[str, str] | None = None,
) -> list[pystac.Item]:
    """Search a STAC API.

    Parameters
    ----------
    url
        Root of the API, or the name of a known one: ``"earth-search"``, ``"planetary-computer"`` or ``"cdse"``.
    collections
        Id of a collection, or several.
    bbox
        West, south, east, north in degrees.
    geometry
        GeoJSON geometry, or an object with ``__geo_interface__``, in degrees; instead of `bbox`.
    datetime
        A date (``"2024-06"``), an instant, or a range ``"2024-06-01/2024-08-31"`` with ``..`` for an open end.
    query
        Conditions on properties, such as ``{"eo:cloud_cover": {"lt": 60}}``, for APIs that know the query extension.
    filter
        CQL2, as text or as JSON, for APIs that know the filter extension.
    ids
        Ids of items.
    sortby
        Property to sort by, such as ``"-properties.datetime"``, for APIs that know it.
    limit
        Most items. None: 1000, and more of them are an error.
    page_size
        Items asked for at a time.
    headers
        Sent with each request, such as a token.

    Returns
    -------
    list of pystac.Item
        As the API has them: `dedupe` drops what was processed again, and `load` makes a cube.

    Raises
    ------
    CatalogueError
        The API does not answer, or not as a STAC API does; there are more than 1000 items and no limit was given.
    ArgumentError
        An argument cannot be understood, or the API does not know `query`, `filter` or a collection.

    Examples
    --------
    >>> search("earth-search", collections="sentinel-2-c1-l2a", bbox=(9.0, 47.0, 9.5, 47.5),
    ...        datetime="2024-06", query={"eo:cloud_cover": {"lt": 60}})  # doctest: +SKIP
    """
    most = _LIMIT if limit is None else limit
    if isinstance(most, bool) or not isinstance(most, int) or most < 1 or page_size < 1:
        raise ArgumentError(f"limit={limit!r}, page_size={page_size!r}: expected whole numbers of 1 or more.")
    items: list[pystac.Item] = []
    found = search_pages(
        url,
        collections=collections,
        bbox=bbox,
        geometry=geometry,
        datetime=datetime,
        query=query,
        filter=filter,
        ids=ids,
        sortby=sortby,
        page_size=min(page_size, most + 1),
        headers=headers,
    )
    for page in found:
        items += page
        if len(items) >= most and limit is not None:
            return items[:most]
        if len(items) > most:
            raise CatalogueError(
                f"{redact(resolve_url(url))} has more than {most} items for this search. Narrow it by bbox, dates or "
                "query, or type limit=... for more."
            )
    return items


def search_pages(
    url: str,
    *,
    collections: str | Sequence[str],
    bbox: Sequence[float] | None = None,
    geometry: Mapping[str, Any] | Any | None = None,
    datetime: str | None = None,
    query: Mapping[str, Any] | None = None,
    filter: str | Mapping[str, Any] | None = None,  # noqa: A002  # as the STAC API calls it
    ids: Sequence[str] | None = None,
    sortby: str | Sequence[str] | None = None,
    page_size: int = 100,
    headers: Mapping[str, str] | None = None,
) -> Iterator[list[pystac.Item]]:
    """Search a STAC API page by page, so that any number of items is never in memory at once.

    Parameters
    ----------
    url, collections, bbox, geometry, datetime, query, filter, ids, sortby, page_size, headers
        As in `search`.

    Yields
    ------
    list of pystac.Item

    Raises
    ------
    CatalogueError, ArgumentError
        As `search`.

    Examples
    --------
    >>> for page in search_pages("earth-search", collections="sentinel-2-c1-l2a", datetime="2024"):  # doctest: +SKIP
    ...     print(len(page))
    """
    pystac_client = require("pystac_client", extra="stac")
    root = resolve_url(url)
    if bbox is not None and geometry is not None:
        raise ArgumentError("bbox and geometry are both given. Expected one of them.")
    if datetime is not None:
        parse_range(datetime)
    names = [collections] if isinstance(collections, str) else list(collections)
    options = {
        "collections": names,
        "bbox": None if bbox is None else check_bbox(bbox),
        "intersects": getattr(geometry, "__geo_interface__", geometry),
        "datetime": datetime,
        "query": query,
        "filter": filter,
        "filter_lang": None if filter is None else "cql2-text" if isinstance(filter, str) else "cql2-json",
        "ids": None if ids is None else list(ids),
        "sortby": sortby,
        # The filter extension takes CQL2 as text in GET requests only, and as JSON in the others.
        "method": "GET" if isinstance(filter, str) else "POST",
    }
    with _errors(root):
        client = pystac_client.Client.open(root, headers=dict(headers or {}), timeout=_TIMEOUT_S)
        # pystac-client takes `limit` for the size of a page.
        asked = client.search(**options, limit=page_size, max_items=None)
        _stay(root, asked.url)
    empty = True
    for page in _pages(asked, root):
        empty = empty and not page
        yield page
    if empty:
        _check_collections(root, names, headers)


def _check_collections(root: str, names: Sequence[str], headers: Mapping[str, str] | None) -> None:
    """Nothing was found: say so where a collection is unknown, which APIs take for one without items."""
    known = _get(f"{root.rstrip('/')}/collections", headers)
    listed = known.get("collections") if isinstance(known, dict) else None
    ids = [str(one.get("id")) for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    for name in names:
        if ids and name not in ids and _get(f"{root.rstrip('/')}/collections/{quote(name, safe='')}", headers) is None:
            close = difflib.get_close_matches(name, ids, n=3, cutoff=0.4) or ids[:10]
            shown = ", ".join(f"{one!r:.80}" for one in close)
            raise ArgumentError(f"{redact(root)} has no collection {name!r:.80}. Expected such as {shown}.")


def _get(url: str, headers: Mapping[str, str] | None) -> Any:
    """JSON of the API, an empty dict where it is not to be had, None where there is no such thing."""
    requests = require("requests", extra="stac")
    try:
        answer = requests.get(url, headers=dict(headers or {}), timeout=_TIMEOUT_S, allow_redirects=False)
        return None if answer.status_code == 404 else answer.json() if answer.ok else {}
    except (requests.RequestException, ValueError):
        return {}


def _pages(asked: Any, root: str) -> Iterator[list[pystac.Item]]:
    library: Any = require("pystac", extra="stac")
    # pystac-client ends at a page without items, so that this ends.
    pages = asked.pages_as_dicts()
    while True:
        with _errors(root):
            page = next(pages, None)
            if page is None:
                return
            items = [_item(feature, library, root) for feature in page.get("features") or ()]
        yield items
        for link in page.get("links") or ():
            if link.get("rel") == "next":
                _stay(root, link.get("href"))


def _stay(root: str, href: Any) -> None:
    """Refuse links of an API to other hosts: they would get its headers, and might be hosts of this network."""
    host = urlsplit(urljoin(root, str(href))).hostname
    if host != urlsplit(root).hostname:
        raise CatalogueError(
            f"{redact(root)} leads to another host, {host!r}. If you trust it, search there: give its URL as url=."
        )


def _item(feature: Any, library: Any, root: str) -> pystac.Item:
    try:
        item: pystac.Item = library.Item.from_dict(feature, preserve_dict=False)
    except (library.STACError, library.STACTypeError, *BAD_ITEM) as error:
        name = feature.get("id", "without id") if isinstance(feature, dict) else feature
        raise CatalogueError(f"{redact(root)}: item {name!r:.80} is no valid STAC item ({error!r:.200}).") from error
    if why := wrong_id(item.id):
        raise CatalogueError(f"{redact(root)}: {why}. Expected a plain name.")
    return item


@contextmanager
def _errors(root: str) -> Iterator[None]:
    """Turn what goes wrong, and what the API cannot do, into errors of this package."""
    requests = require("requests", extra="stac")
    pystac = require("pystac", extra="stac")
    from pystac_client.errors import ClientTypeError
    from pystac_client.exceptions import APIError
    from pystac_client.warnings import DoesNotConformTo, FallbackToPystac, MissingLink, NoConformsTo

    shown = redact(root)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DoesNotConformTo)
            for category in (FallbackToPystac, MissingLink, NoConformsTo):
                warnings.simplefilter("ignore", category)
            yield
    except XCloudMaskError:
        raise
    except (DoesNotConformTo, NotImplementedError) as error:
        raise _unable(shown, str(error)) from error
    except (APIError, requests.RequestException) as error:
        raise CatalogueError(_no_answer(shown, error)) from error
    except (
        pystac.STACError,
        pystac.STACTypeError,
        ClientTypeError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise CatalogueError(f"{shown} does not answer as a STAC API does: {error!r:.300}") from error
    except ValueError as error:
        raise ArgumentError(f"The search of {shown} is not understood: {error}") from error


def _no_answer(shown: str, error: Exception) -> str:
    text, status = str(error).strip(), getattr(error, "status_code", None)
    if reason := re.search(r"(Failed to [^\n\"]*?)[\"')]*$", text):
        return f"{shown} cannot be reached ({reason[1]}). Check the address, the network and HTTPS_PROXY."
    told = f" (status {status})" if status else ""
    hint = " Expected the root of a STAC API. Check the address." if status == 404 else ""
    return f"{shown} does not answer the search{told}: {text[:500] or 'it says nothing.'}{hint}"


def _unable(shown: str, reason: str) -> XCloudMaskError:
    for word, argument in (("FILTER", "filter"), ("QUERY", "query"), ("SORT", "sortby")):
        if word in reason:
            return ArgumentError(
                f"{shown} does not know {argument}= (it does not conform to {word}). Leave it out and choose among the "
                "items, such as [item for item in items if item.properties['eo:cloud_cover'] < 60]."
            )
    return ArgumentError(f"{shown} is no API that can be searched. A static catalogue: type read_items({shown!r})")
