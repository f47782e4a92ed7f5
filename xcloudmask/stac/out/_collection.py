"""The collection and the catalogue above the items: built from all items there are, old ones and new ones."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xcloudmask.errors import WriteError
from xcloudmask.stac.out._fields import EXTENSIONS
from xcloudmask.stac.out._item import STAC_VERSION

__all__ = ["catalogue_document", "check_alike", "collection_document"]

Document = dict[str, Any]

_ALIKE = (
    "xcloudmask:output_style",
    "xcloudmask:percent_of",
    "xcloudmask:model",
    "xcloudmask:model_sha256",
    "xcloudmask:normalize",
    "xcloudmask:processing",
    "xcloudmask:settings",
)
"""What all items of a collection share."""
_NEVER_LEFT_OUT = ("percent_of", "processing")
_SETS = ("platform", "gsd", "proj:code", "processing:level", "processing:software", *_ALIKE)
_RANGES = ("eo:cloud_cover",)
_PER_ITEM = ("statistics", "spatial_resolution")
_PER_ITEM_CLASS = ("percentage", "count")
_WORLD = [-180.0, -90.0, 180.0, 90.0]
_COMPUTED_LINKS = ("self", "root", "parent", "item", "describedby")


def check_alike(items: Sequence[Document], *, existing: Document | None) -> None:
    """Refuse items that were made in another way than those of the collection they join.

    Parameters
    ----------
    items
        The new ones.
    existing
        One item of the collection that is there, or None.

    Raises
    ------
    WriteError
        They differ in style, model or settings.
    """
    first = existing or items[0]
    for item in items:
        there, here = (_flat(document["properties"]) for document in (first, item))
        for key in dict.fromkeys((*there, *here)):
            # Files of others may leave out how they were made, but not what they are.
            known = (key in there and key in here) or key in _NEVER_LEFT_OUT
            old, new = there.get(key, "nothing"), here.get(key, "nothing")
            if known and old != new:
                raise WriteError(
                    f"The collection holds masks with {key} = {old!r}, and item {item['id']!r} has {new!r}. All masks "
                    "of a collection are made in the same way. Give another name: collection_id='...'"
                )


def _flat(properties: Mapping[str, Any]) -> dict[str, Any]:
    found = {key.removeprefix("xcloudmask:"): properties[key] for key in _ALIKE if key in properties}
    settings = found.pop("settings", {})
    return found | (settings if isinstance(settings, dict) else {"settings": settings})


def collection_document(
    items: Mapping[str, Document],
    *,
    existing: Document | None,
    name: str,
    told: Mapping[str, str],
    assets: Mapping[str, Any],
    card: str | None,
) -> Document:
    """Build the collection.

    Parameters
    ----------
    items
        All of them, by href relative to the collection.
    existing
        The collection that is there: what its owner added stays.
    name
        Its id.
    told
        Title, description and license, as far as the user gave them.
    assets
        Of the collection itself, such as a store that holds all dates.
    card
        Href of the card of the model, or None.

    Returns
    -------
    dict
    """
    old = existing or {}
    documents = list(items.values())
    defaults = {
        "title": "Cloud masks",
        "description": "Cloud and cloud shadow masks made with xcloudmask.",
        "license": "other",
    }
    texts = {key: told.get(key, old.get(key, text)) for key, text in defaults.items()}
    definitions = _item_assets(documents)
    kept = {key: value for key, value in old.items() if key not in ("links", *texts)}
    document = {"type": "Collection", "id": name, "stac_version": STAC_VERSION, **texts, **kept}
    document |= {
        "id": name,
        "stac_version": STAC_VERSION,
        "stac_extensions": _extensions(old, documents, definitions),
        "extent": _extent(documents),
        "summaries": old.get("summaries", {}) | _summaries(documents),
        "item_assets": old.get("item_assets", {}) | definitions,
        "links": _links(old, items, card),
    }
    if assets:
        document["assets"] = old.get("assets", {}) | dict(assets)
    return document


def catalogue_document(existing: Document | None, *, name: str, collection: str, title: str) -> Document:
    """Build the catalogue, or add a collection to the one that is there.

    Parameters
    ----------
    existing
        The catalogue that is there, or None.
    name
        Its id, where it is new.
    collection
        Id and folder of the collection.
    title
        Of the collection.

    Returns
    -------
    dict
    """
    old = existing or {
        "type": "Catalog",
        "id": name,
        "stac_version": STAC_VERSION,
        "description": "Cloud masks made with xcloudmask.",
        "links": [],
    }
    href = f"./{collection}/collection.json"
    links = [link for link in old.get("links", []) if link.get("rel") not in ("self", "root")]
    links = [link for link in links if not (link.get("rel") == "child" and link.get("href") == href)]
    child = {"rel": "child", "href": href, "type": "application/json", "title": title}
    others = [link for link in links if link.get("rel") == "child"]
    children = sorted([*others, child], key=lambda link: str(link.get("href")))
    root = {"rel": "root", "href": "./catalog.json", "type": "application/json"}
    return old | {"links": [root, *(link for link in links if link.get("rel") != "child"), *children]}


def _links(old: Document, items: Iterable[str], card: str | None) -> list[dict[str, Any]]:
    links: list[dict[str, Any]] = [
        {"rel": "root", "href": "../catalog.json", "type": "application/json"},
        {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
    ]
    links += [link for link in old.get("links", []) if link.get("rel") not in _COMPUTED_LINKS]
    links += [link for link in old.get("links", []) if link.get("rel") == "describedby" and link.get("href") != card]
    if card is not None:
        links.append({"rel": "describedby", "href": card, "type": "application/json", "title": "Model card"})
    return links + [{"rel": "item", "href": href, "type": "application/geo+json"} for href in sorted(items)]


def _extensions(old: Document, documents: Sequence[Document], definitions: Mapping[str, Any]) -> list[str]:
    used = {"processing"}
    for definition in definitions.values():
        used |= {key.partition(":")[0] for key in definition if ":" in key}
    for prefix in ("eo", "proj"):
        if any(key.startswith(f"{prefix}:") for item in documents for key in item["properties"]):
            used.add({"proj": "projection"}.get(prefix, prefix))
    ours = {EXTENSIONS[name] for name in used if name in EXTENSIONS}
    return sorted(ours | set(old.get("stac_extensions", [])))


def _extent(documents: Sequence[Document]) -> Document:
    boxes = [box for item in documents if (box := _flat_box(item.get("bbox"))) is not None]
    ends = [_span(item["properties"]) for item in documents]
    first = min((start for start, _ in ends if start), key=_moment, default=None)
    last = max((end for _, end in ends if end), key=_moment, default=None)
    return {"spatial": {"bbox": [_around(boxes)]}, "temporal": {"interval": [[first, last]]}}


def _flat_box(box: Any) -> list[float] | None:
    """Return west, south, east, north; items of others may have heights as well, or none of it."""
    if not isinstance(box, list) or not all(isinstance(side, int | float) for side in box):
        return None
    return {4: box, 6: [*box[:2], *box[3:5]]}.get(len(box))


def _span(properties: Mapping[str, Any]) -> tuple[str | None, str | None]:
    instant = properties.get("datetime")
    return properties.get("start_datetime") or instant, properties.get("end_datetime") or instant


def _moment(text: str) -> dt.datetime:
    found = dt.datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)


def _around(boxes: Sequence[Sequence[float]]) -> list[float]:
    """Return the box around all boxes: across the antimeridian where that is the shorter way."""
    if not boxes:
        return list(_WORLD)
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    spans = sorted((box[0], box[2] if box[2] >= box[0] else box[2] + 360.0) for box in boxes)
    # The widest gap between the longitudes that are covered, going once around; before the first, by the turn before.
    reach, gaps = max(east for _, east in spans) - 360.0, []
    for west, east in spans:
        gaps.append((west - reach, reach, west))
        reach = max(reach, east)
    width, east, west = max(gaps)
    if width <= 0:
        return [-180.0, south, 180.0, north]
    return [_wrapped(west), south, _wrapped(east, high=True), north]


def _wrapped(longitude: float, *, high: bool = False) -> float:
    """Return a longitude between -180 and 180; the east of a box is never -180."""
    if (longitude > -180.0 if high else longitude >= -180.0) and longitude <= 180.0:
        return longitude
    found = round((longitude + 180.0) % 360.0 - 180.0, 7)
    return 180.0 if high and found == -180.0 else found


def _summaries(documents: Sequence[Document]) -> Document:
    found: Document = {}
    for key in _SETS:
        values = [item["properties"][key] for item in documents if item["properties"].get(key) is not None]
        unique = {json.dumps(value, sort_keys=True): value for value in values}
        if unique:
            found[key] = [unique[text] for text in sorted(unique)]
    for key in _RANGES:
        numbers = [item["properties"][key] for item in documents if key in item["properties"]]
        if numbers:
            found[key] = {"minimum": min(numbers), "maximum": max(numbers)}
    return found


def _item_assets(documents: Iterable[Document]) -> Document:
    """Return what the assets of all items have in common, without what differs between them."""
    found: Document = {}
    for item in documents:
        for key, asset in item.get("assets", {}).items():
            found.setdefault(key, _definition(asset))
    return dict(sorted(found.items()))


def _definition(asset: Mapping[str, Any]) -> Document:
    definition = {key: value for key, value in asset.items() if key != "href"}
    for key, dropped in (
        ("bands", _PER_ITEM),
        ("raster:bands", _PER_ITEM),
        ("classification:classes", _PER_ITEM_CLASS),
    ):
        if key in definition:
            definition[key] = [
                {name: value for name, value in entry.items() if name not in dropped} for entry in definition[key]
            ]
    return definition
