"""The folder of a collection: what is there before, what may join it, and what is there afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xcloudmask.errors import CatalogueError, WriteError
from xcloudmask.stac.out._collection import catalogue_document, check_alike, collection_document
from xcloudmask.stac.out._disk import read_document, write_document
from xcloudmask.stac.out._existing import read_catalogue, read_items_there
from xcloudmask.stac.out._fields import projection_fields
from xcloudmask.stac.out._item import settings_fields
from xcloudmask.stac.out._names import safe_name
from xcloudmask.stac.out._plan import Planned

__all__ = ["Before", "Home", "check_new"]

Document = dict[str, Any]

_SAME_PX = 1e-3
"""Share of a pixel up to which two grids are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What was there."""

    catalogue: Document | None
    """catalog.json."""
    collection: Document | None
    """collection.json."""
    others: Mapping[str, Document]
    """Items that stay, by href."""
    same: Mapping[str, Document]
    """Items that are replaced, by id, as far as they can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A collection in the folder of a catalogue."""

    root: Path
    """Of the catalogue."""
    collection: str
    """Id of the collection, and name of its folder."""

    @property
    def folder(self) -> Path:
        """Of the collection."""
        return self.root / self.collection

    def read(self, planned: Sequence[Planned]) -> Before:
        """Read what is there.

        Raises
        ------
        CatalogueError, WriteError
            It cannot be read, or is nothing that can be extended.
        """
        names = [one.name for one in planned]
        collection = read_catalogue(self.folder / "collection.json", "Collection")
        same: dict[str, Document] = {}
        for name in names:
            # One that is broken is written anew.
            with suppress(CatalogueError):
                item = read_document(self.folder / name / f"{name}.json")
                if item is not None and isinstance(item.get("properties"), dict):
                    same[name] = item | {"id": name}
        return Before(
            catalogue=read_catalogue(self.root / "catalog.json", "Catalog"),
            collection=collection,
            others=read_items_there(collection, self.folder, replaced=names),
            same=same,
        )

    def links(self, card: str | None) -> list[Document]:
        """Return the links that all items have."""
        up = [("root", "../../catalog.json"), ("parent", "../collection.json"), ("collection", "../collection.json")]
        links = [{"rel": rel, "href": href, "type": "application/json"} for rel, href in up]
        if card is not None:
            links.append(
                {"rel": "describedby", "href": f"../{card}", "type": "application/json", "title": "Model card"}
            )
        return links

    def write(
        self,
        items: Mapping[str, Document],
        before: Before,
        *,
        told: Mapping[str, str],
        assets: Mapping[str, Any],
        card: str | None,
    ) -> None:
        """Write collection and catalogue, the catalogue last.

        Raises
        ------
        WriteError
            One cannot be written; what was there stays.
        """
        document = collection_document(
            dict(sorted(items.items())),
            existing=before.collection,
            name=self.collection,
            told=told,
            assets=assets,
            card=None if card is None else f"./{card}",
        )
        write_document(self.folder / "collection.json", document)
        name = safe_name(self.root.absolute().name or "masks")
        title = str(document["title"])
        above = catalogue_document(before.catalogue, name=name, collection=self.collection, title=title)
        write_document(self.root / "catalog.json", above)


def check_new(planned: Sequence[Planned], before: Before) -> None:
    """Refuse masks that were made in another way than those they join, and items that would move.

    Parameters
    ----------
    planned
        The new ones.
    before
        What is there.

    Raises
    ------
    WriteError
        The message says what differs, and how to go on.
    """
    documents = [{"id": one.name, "properties": settings_fields(one.facts)} for one in planned]
    there = next(iter([*before.others.values(), *before.same.values()]), None)
    check_alike(documents, existing=there)
    for one in planned:
        if one.name in before.same and not _same_grid(before.same[one.name]["properties"], one):
            raise WriteError(
                f"The item {one.name!r} is there already, on another grid. Give this one a name of its own: "
                "ids=['...'], or another collection_id."
            )


def _same_grid(there: Mapping[str, Any], one: Planned) -> bool:
    here = projection_fields(one.facts)
    if "proj:shape" not in there:  # broken, or of others
        return True
    if there["proj:shape"] != here["proj:shape"]:
        return False
    if any(there.get(key) != here.get(key) for key in ("proj:code", "proj:wkt2")):
        return False
    # The COG of rows that run north is turned over: boxes are the same then.
    old, new = there.get("proj:bbox"), here.get("proj:bbox")
    if not isinstance(old, list) or new is None:
        return old == new
    width = (new[2] - new[0]) / max(one.facts.shape)
    return len(old) == 4 and bool(np.abs(np.array(old) - np.array(new)).max() < _SAME_PX * width)
