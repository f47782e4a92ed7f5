"""The catalogue that is there already: read by our own layout, never by where its links lead."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from xcloudmask.errors import CatalogueError, WriteError
from xcloudmask.stac.out._disk import read_document
from xcloudmask.stac.out._names import safe_name

__all__ = ["item_href", "read_catalogue", "read_items_there"]

Document = dict[str, Any]

_HREF = re.compile(r"\./([^/\\]+)/([^/\\]+)\.json")


def item_href(name: str) -> str:
    """Return where an item lies, seen from its collection.

    Examples
    --------
    >>> item_href("a")
    './a/a.json'
    """
    return f"./{name}/{name}.json"


def read_catalogue(path: Path, kind: str) -> Document | None:
    """Return a catalogue or collection that may be extended, or None where there is none.

    Parameters
    ----------
    path
        The file.
    kind
        ``"Catalog"`` or ``"Collection"``.

    Returns
    -------
    dict or None

    Raises
    ------
    CatalogueError
        It cannot be read.
    WriteError
        It is something else.
    """
    document = read_document(path)
    if document is None:
        return None
    links = document.get("links")
    fits = document.get("type") == kind and isinstance(links, list) and all(isinstance(link, dict) for link in links)
    parts = ("summaries", "item_assets", "assets")
    if not fits or not all(isinstance(document.get(part, {}), dict) for part in parts):
        raise WriteError(
            f"{path} is there and is no STAC {kind} (its type is {document.get('type')!r:.40}). Give another folder."
        )
    return document


def read_items_there(collection: Document | None, folder: Path, *, replaced: Collection[str]) -> dict[str, Document]:
    """Return the items that a collection lists, but for those that are written anew.

    Parameters
    ----------
    collection
        As it is there, or None.
    folder
        Of the collection.
    replaced
        Names of items that are not read.

    Returns
    -------
    dict
        By href.

    Raises
    ------
    CatalogueError
        One is missing or broken.
    WriteError
        A link leads elsewhere.
    """
    found: dict[str, Document] = {}
    for link in (collection or {}).get("links", []):
        if link.get("rel") != "item":
            continue
        name = _name_in(link.get("href"), folder)
        if name not in replaced:
            found[item_href(name)] = _read_item(folder / name / f"{name}.json")
    return found


def _name_in(href: object, folder: Path) -> str:
    text = href if isinstance(href, str) else ""
    parts = _HREF.fullmatch(text if text.startswith("./") else f"./{text}")
    if parts is None or parts[1] != parts[2] or safe_name(parts[1]) != parts[1]:
        raise WriteError(
            f"{folder / 'collection.json'} links to the item {text!r:.200}, which does not lie where to_stac puts items"
            " (./NAME/NAME.json). Give another collection_id, or another folder."
        )
    return parts[1]


def _read_item(path: Path) -> Document:
    item = read_document(path)
    if item is None or not isinstance(item.get("id"), str) or not isinstance(item.get("properties"), dict):
        raise CatalogueError(
            f"{path}, which its collection lists, is missing or no STAC item. Write that date again in the same call, "
            "or take its link out of collection.json."
        )
    _check_times(item, path)
    return item


def _check_times(item: Document, path: Path) -> None:
    for key in ("datetime", "start_datetime", "end_datetime"):
        value = item["properties"].get(key)
        try:
            if value is not None:
                dt.datetime.fromisoformat(value)
        except (TypeError, ValueError) as error:
            raise CatalogueError(f"{path}: {key} is {value!r:.60}. Expected a date in RFC 3339.") from error
