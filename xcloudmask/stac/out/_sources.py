"""Links from a mask to the items that it was made from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from urllib.request import url2pathname

from xcloudmask.errors import ArgumentError, ArgumentTypeError
from xcloudmask.stac.out._facts import Facts
from xcloudmask.stac.out._names import shown_text

__all__ = ["known_sources", "source_links", "sources_of"]

Hrefs = dict[str, str | None]


def known_sources(source_items: Iterable[Any] | None) -> Hrefs:
    """Return the self href of each source item, by id.

    Parameters
    ----------
    source_items
        pystac Items or dictionaries.

    Returns
    -------
    dict

    Raises
    ------
    ArgumentTypeError
        One is no item.
    """
    found: Hrefs = {}
    for item in source_items or ():
        if isinstance(item, Mapping):
            links = item.get("links") or ()
            href = next((link.get("href") for link in links if link.get("rel") == "self"), None)
            name = item.get("id")
        else:
            name, get = getattr(item, "id", None), getattr(item, "get_self_href", None)
            href = get() if callable(get) else None
        if not isinstance(name, str):
            raise ArgumentTypeError(f"source_items has a {type(item).__name__}. Expected pystac Items.")
        found[name] = href
    return found


def sources_of(facts: Sequence[Facts], known: Hrefs) -> list[tuple[str, ...]]:
    """Return the ids of the source items of each mask.

    Parameters
    ----------
    facts
        Of all masks.
    known
        The items that were given.

    Returns
    -------
    list of tuple
        By the id that the mask keeps; where no mask keeps one, in order.

    Raises
    ------
    ArgumentError
        Items were given, and none can be told to belong to a mask.
    """
    if not any(one.source for one in facts):
        if known and len(known) != len(facts):
            raise ArgumentError(
                f"source_items has {len(known)} items for {len(facts)} masks that do not say which item they are from "
                "(no coordinate item_id). Give one for each, in the order of time."
            )
        return [(name,) for name in known] or [()] * len(facts)
    found = [(one.source,) if one.source in known else tuple(one.source.split()) for one in facts]
    if known and not any(name in known for names in found for name in names):
        raise ArgumentError(
            f"None of source_items is an item of these masks: they are from {facts[0].source!r:.80}, and "
            f"{next(iter(known))!r:.80} was given. Give the items that the cube was loaded from."
        )
    return found


def source_links(names: Sequence[str], known: Hrefs, *, folder: Path | None) -> list[dict[str, Any]]:
    """Return the links to source items whose address is known.

    Parameters
    ----------
    names
        Ids.
    known
        Hrefs by id.
    folder
        Of the new item: files of this machine are told relative to it. None leaves them absolute.

    Returns
    -------
    list of dict
        Without the user, password, query and fragment of an address: signatures and tokens are not published.
    """
    links = []
    for name in names:
        href = known.get(name)
        if href:
            place = _plain(href, folder)
            links.append(
                {"rel": "derived_from", "href": place, "type": "application/geo+json", "title": shown_text(name)}
            )
    return links


def _plain(href: str, folder: Path | None) -> str:
    parts = urlsplit(href)
    if parts.scheme == "file" or "://" not in href:
        path = url2pathname(parts.path) if parts.scheme == "file" else href
        return path if folder is None else relative_href(Path(path), folder)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def relative_href(path: Path, folder: Path) -> str:
    """Return where a file lies, seen from a folder; absolute where there is no way (another drive).

    Examples
    --------
    >>> relative_href(Path("/masks/a.tif"), Path("/stac/cloud-masks/a"))
    '../../../masks/a.tif'
    """
    try:
        found = Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()
    except ValueError:
        return path.absolute().as_posix()
    return found if found.startswith("../") else f"./{found}"
