"""Items from files and static catalogues."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from xcloudmask._optional import require
from xcloudmask.errors import ArgumentError, ArgumentTypeError, CatalogueError
from xcloudmask.stac._json import is_web, link_policy, read_json, resolve_link
from xcloudmask.stac.hrefs import HrefPolicy, redact, wrong_id

if TYPE_CHECKING:
    import pystac

__all__ = ["read_items"]

PathLikes = str | PathLike[str] | Sequence[str | PathLike[str]]

_MAX_DOCUMENTS = 100_000

BAD_ITEM = (KeyError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What pystac raises for JSON that is no item, besides errors of its own."""

FROM_FILE = "_xcloudmask_from_file"
"""Attribute of items that were read from a file of this machine; no JSON can set it."""


def read_items(
    paths: PathLikes,
    *,
    collections: Collection[str] | None = None,
    bbox: Sequence[float] | None = None,
    datetime: str | None = None,
    limit: int = 10_000,
) -> list[pystac.Item]:
    """Read items from JSON files, and from the catalogues among them.

    Parameters
    ----------
    paths
        Paths or URLs of items, item collections, collections and catalogues, which are walked through.
    collections
        Ids of collections to keep; None keeps all.
    bbox
        West, south, east, north in degrees: items that touch it are kept.
    datetime
        A date (``"2024-06"``), an instant, or a range ``"2024-06-01/2024-08-31"`` with ``..`` for an open end.
    limit
        Most items.

    Returns
    -------
    list of pystac.Item
        Each with its own address as self link, against which relative hrefs of its assets are resolved.

    Raises
    ------
    CatalogueError
        A document cannot be read or is no STAC; there are more items than `limit`.
    HrefError
        A catalogue from the web links to a file of this machine, or to a private address.
    ArgumentError
        An argument cannot be understood.

    Examples
    --------
    >>> read_items("catalog.json", bbox=(9.0, 47.0, 9.5, 47.5), datetime="2024-06")  # doctest: +SKIP
    """
    keep = _Filter(collections=collections, bbox=bbox, datetime=datetime)
    found: list[pystac.Item] = []
    for path in _as_list(paths):
        for item in _walk(path):
            if not keep(item):
                continue
            if len(found) == limit:
                raise CatalogueError(
                    f"There are more than limit={limit} items. Give a bbox, dates or collections, or a higher limit."
                )
            found.append(item)
    return found


def _as_list(paths: PathLikes) -> list[str]:
    try:
        given = [fspath(path) for path in ([paths] if isinstance(paths, str | PathLike) else paths)]
    except TypeError as error:
        raise ArgumentTypeError(
            f"paths={paths!r:.80} is no path. Expected a path, a URL, or a list of them."
        ) from error
    if not given:
        raise ArgumentError("No paths. Expected at least one.")
    return given


def _walk(root: str) -> Iterator[pystac.Item]:
    """Items in the order of the links, breadth first; no document twice."""
    policy = link_policy(root)
    queue, seen = deque([root]), {root}
    while queue:
        href = queue.popleft()
        document = read_json(href, policy=policy)
        kind = document.get("type")
        if kind == "Feature":
            yield _item(document, href)
        elif kind == "FeatureCollection":
            yield from (_item(feature, href) for feature in _listed(document, "features"))
        elif kind in ("Catalog", "Collection") or "stac_version" in document:
            queue.extend(_new_links(document, href, seen, policy))
        else:
            raise CatalogueError(
                f"{redact(href)} is no STAC: its type is {kind!r:.40}. Expected an item, an item collection or a "
                "catalogue."
            )


def _new_links(document: dict[str, Any], base: str, seen: set[str], policy: HrefPolicy) -> Iterator[str]:
    for link in _listed(document, "links"):
        if isinstance(link, dict) and link.get("rel") in ("child", "item") and isinstance(link.get("href"), str):
            href = resolve_link(link["href"], base=base, policy=policy)
            if href not in seen:
                seen.add(href)
                yield href
    if len(seen) > _MAX_DOCUMENTS:
        raise CatalogueError(
            f"{redact(base)} leads to more than {_MAX_DOCUMENTS} documents. Give a part of the catalogue."
        )


def _listed(document: dict[str, Any], key: str) -> list[Any]:
    found = document.get(key)
    return found if isinstance(found, list) else []


def _item(document: Any, href: str) -> pystac.Item:
    library: Any = require("pystac", extra="stac")
    if not isinstance(document, dict):
        raise CatalogueError(f"{redact(href)} has a feature that is a {type(document).__name__}. Expected an item.")
    # Where it was read counts: a self link may name any place, also a file of this machine.
    links = [link for link in _listed(document, "links") if isinstance(link, dict) and link.get("rel") == "collection"]
    try:
        item: pystac.Item = library.Item.from_dict({**document, "links": []}, migrate=True)
    except (library.STACError, library.STACTypeError, *BAD_ITEM) as error:
        name = document.get("id", "without id")
        raise CatalogueError(f"{redact(href)}: item {name!r:.80} is no valid STAC item ({error!r:.200}).") from error
    if why := wrong_id(item.id):
        raise CatalogueError(f"{redact(href)}: {why}. Expected a plain name.")
    if item.collection_id is None and links:
        item.collection_id = document.get("collection")
    item.set_self_href(href if is_web(href) else _absolute(href))
    if not is_web(href):
        setattr(item, FROM_FILE, True)
    return item


def _absolute(path: str) -> str:
    from pathlib import Path

    return str(Path(path).absolute())


class _Filter:
    """Which items to keep."""

    def __init__(
        self, *, collections: Collection[str] | None, bbox: Sequence[float] | None, datetime: str | None
    ) -> None:
        self._collections = [collections] if isinstance(collections, str) else collections
        self._box = None if bbox is None else check_bbox(bbox)
        self._range = None if datetime is None else parse_range(datetime)

    def __call__(self, item: pystac.Item) -> bool:
        if self._collections is not None and item.collection_id not in self._collections:
            return False
        return self._in_time(item) and (self._box is None or self._touches(item))

    def _in_time(self, item: pystac.Item) -> bool:
        if self._range is None:
            return True
        common = item.common_metadata
        first, last = item.datetime or common.start_datetime, item.datetime or common.end_datetime
        if first is None or last is None:
            return False
        return _in_utc(first) <= self._range[1] and _in_utc(last) >= self._range[0]

    def _touches(self, item: pystac.Item) -> bool:
        from shapely.errors import ShapelyError
        from shapely.geometry import box, shape

        if item.geometry is None:
            return False
        try:
            return bool(shape(item.geometry).intersects(box(*self._box or ())))
        except (ShapelyError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise CatalogueError(f"Item {item.id!r} has no valid geometry ({error!r:.200}).") from error


def _in_utc(instant: dt.datetime) -> dt.datetime:
    return instant.replace(tzinfo=dt.UTC) if instant.tzinfo is None else instant


def check_bbox(bbox: Sequence[float]) -> tuple[float, float, float, float]:
    """Return a bounding box in degrees, checked.

    Raises
    ------
    ArgumentError
        No four numbers west, south, east, north.

    Examples
    --------
    >>> check_bbox([9, 47, 9.5, 47.5])
    (9.0, 47.0, 9.5, 47.5)
    """
    try:
        west, south, east, north = (float(side) for side in bbox)
    except (TypeError, ValueError):
        west = south = east = north = float("nan")
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise ArgumentError(
            f"bbox={bbox!r:.80}. Expected (west, south, east, north) in degrees, west < east and south < north. "
            "An area across the antimeridian: two searches."
        )
    return west, south, east, north


def parse_range(text: str) -> tuple[dt.datetime, dt.datetime]:
    """Return first and last instant of a date, an instant or a range, in UTC.

    Raises
    ------
    ArgumentError
        It is none of these.

    Examples
    --------
    >>> [str(end) for end in parse_range("2024-02")]
    ['2024-02-01 00:00:00+00:00', '2024-02-29 23:59:59.999999+00:00']
    """
    wrong = ArgumentError(
        f"datetime={text!r:.80} is not understood. Expected '2024-06', '2024-06-01T10:00:00Z' or "
        "'2024-06-01/2024-08-31', with .. for an open end."
    )
    parts = str(text).split("/")
    if len(parts) > 2 or all(part in ("", "..") for part in parts):
        raise wrong
    try:
        first, *_, last = [None if part in ("", "..") else _span(part) for part in (parts[0], parts[-1])]
    except (ValueError, IndexError):
        raise wrong from None
    if first is not None and last is not None and last[1] < first[0]:
        raise ArgumentError(f"datetime={text!r:.80} ends before it begins. Expected the earlier date first.")
    earliest, latest = dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC)
    return (earliest if first is None else first[0]), (latest if last is None else last[1])


def _span(text: str) -> tuple[dt.datetime, dt.datetime]:
    numbers = [int(number) for number in text.split("-")] if "T" not in text.upper() else []
    if not numbers:
        instant = dt.datetime.fromisoformat(text)
        instant = instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)
        return instant, instant
    year, month, day = (*numbers, 1, 1)[:3]
    first = dt.datetime(year, month, day, tzinfo=dt.UTC)
    if len(numbers) == 1:
        after = first.replace(year=year + 1)
    elif len(numbers) == 2:
        after = first.replace(year=year + month // 12, month=month % 12 + 1)
    else:
        after = first + dt.timedelta(days=1)
    return first, after - dt.timedelta(microseconds=1)
