"""What the manifest holds, and its tables."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from xcloudmask.errors import ReadError
from xcloudmask.run.task import Cell

__all__ = ["SCHEMA", "Changes", "Skip", "Source", "Step", "Tally", "pack", "unpack"]

SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE cells (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, grid BLOB NOT NULL, family TEXT NOT NULL);
CREATE TABLE sources (
    id INTEGER PRIMARY KEY, collection TEXT NOT NULL, name TEXT NOT NULL, fingerprint TEXT NOT NULL,
    place TEXT NOT NULL, family TEXT NOT NULL, time TEXT NOT NULL, grid BLOB NOT NULL, document BLOB NOT NULL,
    replaced_by INTEGER, slot TEXT, cell INTEGER, scale TEXT NOT NULL DEFAULT '', UNIQUE (collection, name)
);
CREATE INDEX sources_place ON sources (place, time);
CREATE INDEX sources_family ON sources (family);
CREATE INDEX sources_cell ON sources (cell, slot);
CREATE TABLE steps (id INTEGER PRIMARY KEY, cell INTEGER NOT NULL, time TEXT NOT NULL, UNIQUE (cell, time));
CREATE TABLE tasks (
    step INTEGER NOT NULL, y0 INTEGER NOT NULL, x0 INTEGER NOT NULL, y1 INTEGER NOT NULL, x1 INTEGER NOT NULL,
    key TEXT NOT NULL UNIQUE, sources TEXT NOT NULL, PRIMARY KEY (step, y0, x0)
) WITHOUT ROWID;
CREATE TABLE skips (collection TEXT NOT NULL, name TEXT NOT NULL, why TEXT NOT NULL, PRIMARY KEY (collection, name));
"""

_DOCUMENT_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A scene: a STAC item, or a time step of a cube."""

    name: str
    """Id of the item, or name of the cube."""
    collection: str = ""
    """Of the item. With the name it is unique; for a cube, its time."""
    fingerprint: str
    """Other where the scene was processed anew."""
    place: str
    """Where it lies, in words: scenes that replace one another have it in common."""
    family: str
    """What scenes have in common that may lie in one cell: sensor, name of the cell, and pixels that coincide."""
    time: str
    """ISO 8601, UTC, without zone."""
    cell: Cell
    """Its own grid, and the name that its cell gets."""
    document: Mapping[str, Any]
    """What a task needs to read it: see `Task.sources`."""
    scale: str = ""
    """What its DN mean, in words; those of scenes with another one do not fit into one image. Empty for unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A time step of a cell."""

    cell: str
    """Name of the cell."""
    time: str
    """ISO 8601, UTC, without zone."""
    ids: tuple[str, ...]
    """Of its scenes."""
    tasks: int
    """How many regions there are to mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A scene that could not be planned."""

    name: str
    """Id of the item."""
    collection: str = ""
    """Of the item."""
    why: str
    """Why."""


class Changes(NamedTuple):
    """What adding scenes did."""

    new: int
    """Scenes that were not there."""
    changed: int
    """Scenes that were there with another fingerprint."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How much there is of everything."""

    TABLES: ClassVar[tuple[str, ...]] = ("sources", "cells", "steps", "tasks", "skips")

    sources: int
    """Scenes, also those that others replace."""
    cells: int
    """Grids, each with a store of its own."""
    steps: int
    """Time steps of all cells."""
    tasks: int
    """Regions of steps."""
    skips: int
    """Scenes that could not be planned."""
    replaced: int = field(default=0, kw_only=True)
    """Scenes that others replace."""
    pixels: int = field(default=0, kw_only=True)
    """Of all tasks."""


def pack(document: Mapping[str, Any]) -> bytes:
    """Return a document as compressed JSON; equal documents are equal bytes.

    Examples
    --------
    >>> unpack(pack({"id": "a"}))
    {'id': 'a'}
    """
    return zlib.compress(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())


def unpack(data: bytes) -> dict[str, Any]:
    """Return the document that `pack` made.

    Raises
    ------
    ReadError
        It is none.
    """
    try:
        reader = zlib.decompressobj()
        text = reader.decompress(data, _DOCUMENT_BYTES)
        if reader.unconsumed_tail or not reader.eof:
            raise ReadError(f"The manifest has a document of more than {_DOCUMENT_BYTES} bytes, or half of one.")
        document: dict[str, Any] = json.loads(text)
    except (zlib.error, ValueError, TypeError) as error:
        raise ReadError(
            f"The manifest has a broken document ({error}). Type: xcloudmask run plan CONFIG.toml"
        ) from error
    return document
