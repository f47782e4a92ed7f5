"""The SQLite file of a manifest: opened, its errors, and which tasks are left out."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from xcloudmask.errors import ArgumentError, ReadError
from xcloudmask.run.task import Cell, Job

__all__ = ["FORMAT", "as_cell", "as_job", "connect", "reading", "without_done"]

FORMAT = 1
_TODO = "NOT EXISTS (SELECT 1 FROM {done} AS d WHERE d.key = t.key)"


def connect(path: Path, *, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode={mode}", uri=True, check_same_thread=False)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise ReadError(
            f"{path} is no manifest, or broken ({error}). Type: xcloudmask run plan CONFIG.toml; finished tasks stay "
            "in the ledger."
        ) from error


def without_done(database: sqlite3.Connection, without: Iterable[str] | Path | None) -> str:
    """Condition that leaves tasks out, once their keys can be asked for."""
    if without is None:
        return "true"
    if isinstance(without, str):
        raise ArgumentError(f"without={without!r} is one text. Expected keys, or the Path of an index.")
    if isinstance(without, Path):
        database.execute("ATTACH DATABASE ? AS ledger", (f"file:{quote(str(without.absolute()))}?mode=ro",))
        return _TODO.format(done="ledger.final")
    database.execute("PRAGMA temp_store = FILE")
    database.execute("CREATE TEMP TABLE done (key TEXT PRIMARY KEY) WITHOUT ROWID")
    database.executemany("INSERT OR IGNORE INTO done VALUES (?)", ((key,) for key in without))
    return _TODO.format(done="temp.done")


def as_job(facts: dict[str, str], path: Path) -> Job:
    if facts.get("format") != str(FORMAT):
        raise ReadError(
            f"{path} has format {facts.get('format')}, and this version of xcloudmask knows {FORMAT}. Type: "
            "pip install --upgrade xcloudmask"
        )
    try:
        known = {one.name for one in fields(Job)}
        return Job(**{name: value for name, value in json.loads(facts["job"]).items() if name in known})
    except (ValueError, TypeError, KeyError) as error:
        raise ReadError(f"{path} has no settings of a campaign ({error}).") from error


def as_cell(found: dict[str, Any]) -> Cell:
    a, b, c, d, e, f = map(float, found["transform"])
    rows, columns = map(int, found["shape"])
    return Cell(name=str(found["name"]), crs=str(found["crs"]), transform=(a, b, c, d, e, f), shape=(rows, columns))
