"""The file of an index: its tables, and how the objects of one prefix of the ledger get into them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xcloudmask.errors import ReadError
from xcloudmask.run._segments import RANK, Line
from xcloudmask.run.ledger import RECORD_BYTES, Ledger, parse_name, read_record
from xcloudmask.run.objects import get_many
from xcloudmask.run.task import Record

__all__ = ["Read", "open_file", "remove_file", "update_prefix"]

_VERSION = 1
_WAIT_S = 30
_TRIES = 5
_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE objects (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, prefix TEXT NOT NULL, whole INTEGER NOT NULL);
CREATE INDEX objects_prefix ON objects (prefix);
CREATE TABLE settings (id INTEGER PRIMARY KEY, json TEXT UNIQUE NOT NULL);
CREATE TABLE lines (
    object INTEGER NOT NULL REFERENCES objects (id), prefix TEXT NOT NULL, key TEXT NOT NULL, status TEXT NOT NULL,
    rank INTEGER NOT NULL, counts INTEGER NOT NULL DEFAULT 0, finished TEXT NOT NULL DEFAULT '',
    cell TEXT NOT NULL DEFAULT '', worker TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '',
    pixels INTEGER NOT NULL DEFAULT 0, settings INTEGER REFERENCES settings (id), json TEXT NOT NULL DEFAULT '');
CREATE INDEX lines_object ON lines (object);
CREATE INDEX lines_prefix ON lines (prefix);
CREATE UNIQUE INDEX lines_counting ON lines (key) WHERE counts;
CREATE VIEW states AS SELECT key, status FROM lines WHERE counts;
CREATE VIEW final AS SELECT key, status FROM lines WHERE counts AND status <> 'failed';
"""
_CHOOSE = """
UPDATE lines SET counts = 1 WHERE rowid IN (SELECT rowid FROM (
    SELECT rowid, row_number() OVER (PARTITION BY key ORDER BY rank, finished DESC, json DESC, object) AS place
    FROM lines WHERE prefix = ?) WHERE place = 1)
"""
_INSERT = """
INSERT INTO lines (object, prefix, key, status, rank, finished, cell, worker, reason, pixels, settings, json)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


@dataclass(slots=True, kw_only=True)
class Read:
    """What came of the objects of a prefix."""

    new: dict[str, tuple[bool, Sequence[Line]]] = field(default_factory=dict)
    """Object -> whether it was read whole, and its records."""
    gone: tuple[str, ...] = ()
    """Objects that are not there any more."""
    damaged: list[str] = field(default_factory=list)
    """Objects that are no records."""
    vanished: bool = False
    """Whether something went while it was being read."""


def open_file(path: Path, label: str) -> sqlite3.Connection:
    """Open an index; one that is damaged, of another version or of another ledger is made anew.

    Parameters
    ----------
    path
        Of the file.
    label
        What the ledger is called.

    Returns
    -------
    sqlite3.Connection

    Raises
    ------
    sqlite3.OperationalError
        It cannot be written, or another process is at it.
    """
    connection = _connect(path)
    try:
        if _fits(connection, label):
            return connection
        connection.close()
    except sqlite3.DatabaseError as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):
            raise
    remove_file(path)
    connection = _connect(path)
    with connection:
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("INSERT INTO about VALUES ('label', ?)", (label,))
    return connection


def remove_file(path: Path) -> None:
    """Remove an index and what SQLite keeps beside it."""
    for name in (path.name, f"{path.name}-journal"):
        path.with_name(name).unlink(missing_ok=True)


def update_prefix(connection: sqlite3.Connection, ledger: Ledger, prefix: str, *, contents: bool) -> Read:
    """Bring one prefix up to date, in the transaction of the caller.

    Parameters
    ----------
    connection
        From `open_file`.
    ledger
        Of the campaign.
    prefix
        One of `Ledger.prefixes`, or one that the index had.
    contents
        Whether records are read; otherwise their names say what there is.

    Returns
    -------
    Read
        Of the last pass: there is another one where somebody compacted meanwhile.
    """
    result = Read()
    for _ in range(_TRIES):
        result = _read_prefix(connection, ledger, prefix, contents=contents)
        _store(connection, prefix, result)
        if not result.vanished:
            break
    return result


def _read_prefix(connection: sqlite3.Connection, ledger: Ledger, prefix: str, *, contents: bool) -> Read:
    known = dict(connection.execute("SELECT name, whole FROM objects WHERE prefix = ?", (prefix,)).fetchall())
    # Records before segments: what is compacted in between is in both lists, and not in none.
    records, segments = ledger.record_names(prefix), ledger.segment_names(prefix)
    result = Read(gone=tuple(sorted(known.keys() - {*records, *segments})))

    def wanted(names: Iterable[str]) -> list[str]:
        return [name for name in names if name not in known or (contents and not known[name])]

    if contents:
        _read_records(ledger, wanted(records), result)
    else:
        result.new |= {name: (False, _named(name)) for name in wanted(records)}
    for name in wanted(segments):
        lines = ledger.read_segment(name)
        result.vanished |= lines is None
        if lines is not None:
            result.new[name] = (contents, lines)
    return result


def _read_records(ledger: Ledger, names: list[str], result: Read) -> None:
    for name, data in get_many(ledger.objects, names, limit=RECORD_BYTES):
        line = read_record(name, data)
        result.vanished |= data is None
        if line is not None:
            result.new[name] = (True, [line])
        elif data is not None:
            # Not whole: it is looked at again each time, as the task may write it anew.
            result.new[name] = (False, [])
            result.damaged.append(name)


def _named(name: str) -> list[Line]:
    parsed = parse_name(name)
    return [] if parsed is None else [Line(*parsed, "", b"")]


def _store(connection: sqlite3.Connection, prefix: str, result: Read) -> None:
    for name in (*result.gone, *result.new):
        connection.execute("DELETE FROM lines WHERE object = (SELECT id FROM objects WHERE name = ?)", (name,))
        connection.execute("DELETE FROM objects WHERE name = ?", (name,))
    for name, (whole, lines) in result.new.items():
        added = connection.execute("INSERT INTO objects VALUES (NULL, ?, ?, ?)", (name, prefix, whole))
        connection.executemany(_INSERT, (_row(connection, added.lastrowid, prefix, line) for line in lines))
    if result.new or result.gone:
        connection.execute("UPDATE lines SET counts = 0 WHERE prefix = ? AND counts", (prefix,))
        connection.execute(_CHOOSE, (prefix,))


def _row(connection: sqlite3.Connection, number: int | None, prefix: str, line: Line) -> tuple[Any, ...]:
    start = (number, prefix, line.key, line.status, RANK[line.status], line.finished)
    try:
        record = Record.from_json(line.data)
    except ReadError:  # known by its name only, or of a newer version: status and key count all the same
        return (*start, "", "", "", 0, None, "")
    fields = json.loads(line.data)
    settings = json.dumps(fields.pop("settings", {}), sort_keys=True)
    connection.execute("INSERT OR IGNORE INTO settings (json) VALUES (?)", (settings,))
    found = connection.execute("SELECT id FROM settings WHERE json = ?", (settings,)).fetchone()
    rows, columns = record.region.shape
    detail = (record.cell, record.worker, record.reason, rows * columns, found[0], json.dumps(fields))
    return (*start, *detail)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_WAIT_S)


def _fits(connection: sqlite3.Connection, label: str) -> bool:
    """Whether this is the index of that ledger, and can be written to."""
    connection.execute("BEGIN IMMEDIATE")
    connection.rollback()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != _VERSION:
        return False
    with closing(connection.execute("SELECT value FROM about WHERE name = 'label'")) as found:
        return bool(found.fetchone() == (label,))
