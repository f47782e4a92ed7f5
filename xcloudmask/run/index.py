"""An SQLite index of a ledger: for questions, and to find what is still to do. Derived: lost, it is made again.

Records never change and segments have names of their content, so what has been read once is not read again. It
is brought up to date prefix by prefix; killed in between, the next refresh goes on.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from xcloudmask.errors import ArgumentError, WriteError
from xcloudmask.run._index_file import open_file, remove_file, update_prefix
from xcloudmask.run.ledger import Ledger
from xcloudmask.run.task import Record, Status

__all__ = ["LedgerIndex", "Refresh", "Stage", "open_index"]

INDEX = "ledger/index.sqlite"

_COMMIT_S = 2.0
"""Between commits: each waits for the disk, and what is not committed is read again after a kill."""
_GROUPS = {"status": "status", "cell": "cell", "worker": "worker", "reason": "reason", "day": "substr(finished, 1, 10)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """What `LedgerIndex.refresh` did."""

    new: int
    """Objects that were not known, or only by name."""
    gone: int
    """Objects that are not there any more: compacted, or forgotten."""
    damaged: tuple[str, ...]
    """Objects that are no records; their tasks count as not done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """How long a stage of the tasks took, in seconds of workers."""

    tasks: int
    """That have it."""
    total: float
    mean: float
    longest: float


def open_index(ledger: Ledger, path: Path | None = None) -> LedgerIndex:
    """Open the index of a ledger, as it was left; `LedgerIndex.refresh` brings it up to date.

    Parameters
    ----------
    ledger
        Of the campaign.
    path
        Of the index. By default beside the records of a local store; a temporary file where the store is remote,
        cannot be written to, or another process is at the index.

    Returns
    -------
    LedgerIndex
        To be closed.

    Examples
    --------
    >>> from xcloudmask.run.ledger import open_ledger
    >>> from xcloudmask.run.task import Region
    >>> ledger = open_ledger("memory://campaigns/doc-index")
    >>> place = {"name": "a", "cell": "32TPS", "time": "2024-01-01", "region": Region(y=(0, 8), x=(0, 8)), "ids": ()}
    >>> ledger.put(Record(key="00ab", status="ok", fractions={"clear": 0.25, "nodata": 0.75}, **place))
    True
    >>> with open_index(ledger) as index:
    ...     index.refresh(ledger).new, index.counts(), index.fractions()["32TPS"]["clear"]
    (1, {'ok': 1}, 0.25)
    """
    folder = ledger.objects.folder
    if path is not None:
        return LedgerIndex(path, label=ledger.objects.label)
    if folder is not None:
        with suppress(OSError, sqlite3.OperationalError, WriteError):
            (folder / INDEX).parent.mkdir(parents=True, exist_ok=True)
            return LedgerIndex(folder / INDEX, label=ledger.objects.label)
    return LedgerIndex(None, label=ledger.objects.label)


class LedgerIndex:
    """The index of a ledger.

    Parameters
    ----------
    path
        Of the file; None for a temporary one.
    label
        What the ledger is called: the index of another one is made anew.
    """

    def __init__(self, path: Path | None, *, label: str = "") -> None:
        self._temporary = None if path is not None else tempfile.TemporaryDirectory(prefix="xcloudmask-index-")
        self.path = path if path is not None else Path(self._temporary.name if self._temporary else "") / "index.sqlite"
        self._label = label
        self._connection = open_file(self.path, label)
        if self._temporary is not None:
            self._connection.execute("PRAGMA synchronous = OFF")  # it does not outlive the process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a temporary one is removed."""
        self._connection.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def refresh(
        self, ledger: Ledger, *, contents: bool = True, progress: Callable[[int, int], None] | None = None
    ) -> Refresh:
        """Read what is new in the ledger, and drop what is gone.

        Parameters
        ----------
        ledger
            The same one always.
        contents
            Whether records are read. Their names alone, much faster, tell the status of every task and nothing else.
        progress
            Called with the prefixes that are done, and all.

        Returns
        -------
        Refresh

        Notes
        -----
        A record that was forgotten and written anew between two refreshes is not read again: refresh after
        `Ledger.forget`.
        """
        try:
            with self._connection:  # rolled back where something goes wrong
                return self._refresh(ledger, contents=contents, progress=progress)
        except sqlite3.OperationalError as error:
            raise WriteError(
                f"{self.path} cannot be written: {error}. It is an index and can be deleted: it is made again from the "
                "records."
            ) from error
        except sqlite3.DatabaseError:
            self._connection.close()
            remove_file(self.path)
            self._connection = open_file(self.path, self._label)
            with self._connection:
                return self._refresh(ledger, contents=contents, progress=progress)

    def attach(self, connection: sqlite3.Connection, *, name: str = "ledger") -> None:
        """Attach the index to the connection of a manifest.

        Then ``WHERE NOT EXISTS (SELECT 1 FROM ledger.final AS done WHERE done.key = tasks.key)`` finds the tasks that
        have no final record; ``ledger.states`` has every task with a record, and its status.

        Parameters
        ----------
        connection
            Not in a transaction. Read in pages: an open query keeps others from refreshing the index.
        name
            Of the schema.
        """
        if not name.isidentifier():
            raise ArgumentError(f"name={name!r} is no name of a schema. Expected letters, digits and _.")
        connection.execute(f"ATTACH DATABASE ? AS {name}", (str(self.path),))

    def states(self) -> Iterator[tuple[str, Status]]:
        """Yield each task that has a record, with the status that counts, by key."""
        yield from self._connection.execute("SELECT key, status FROM states ORDER BY key")

    def counts(
        self, by: Literal["status", "cell", "worker", "reason", "day"] = "status", *, statuses: Collection[Status] = ()
    ) -> dict[str, int]:
        """Return how many tasks there are of each kind, the most frequent first.

        Parameters
        ----------
        by
            What tells kinds apart.
        statuses
            Only tasks with these; none for all.

        Returns
        -------
        dict
        """
        if by not in _GROUPS:
            raise ArgumentError(f"by={by!r} is unknown. Expected one of {', '.join(_GROUPS)}.")
        where, values = _where(statuses=statuses)
        column = _GROUPS[by]
        query = f"SELECT {column}, count(*) FROM lines WHERE {where} GROUP BY 1 ORDER BY 2 DESC, 1"  # noqa: S608
        return dict(self._rows(query, values))

    def seconds(self, *, cells: Collection[str] = ()) -> dict[str, Stage]:
        """Return how long each stage took in the tasks that count."""
        where, values = _where(cells=cells)
        query = (
            "SELECT part.key, count(*), total(part.value), avg(part.value), max(part.value) "  # noqa: S608
            f"FROM lines, json_each(lines.json, '$.seconds') AS part WHERE {where} AND lines.json <> '' GROUP BY 1"
        )
        return {
            name: Stage(tasks=tasks, total=total, mean=mean, longest=longest)
            for name, tasks, total, mean, longest in self._rows(query, values)
        }

    def fractions(self, *, statuses: Collection[Status] = ("ok", "nodata")) -> dict[str, dict[str, float]]:
        """Return the share of each class in the pixels of each cell that are done."""
        where, values = _where(statuses=statuses)
        query = (
            f"WITH chosen AS (SELECT cell, pixels, json FROM lines WHERE {where} AND pixels > 0), "  # noqa: S608
            "areas AS (SELECT cell, sum(pixels) AS pixels FROM chosen GROUP BY cell) "
            "SELECT chosen.cell, part.key, sum(part.value * chosen.pixels) / areas.pixels "
            "FROM chosen JOIN areas ON areas.cell = chosen.cell, json_each(chosen.json, '$.fractions') AS part "
            "GROUP BY 1, 2 ORDER BY 1"
        )
        found: dict[str, dict[str, float]] = {}
        for cell, name, share in self._rows(query, values):
            found.setdefault(cell, {})[name] = share
        return found

    def records(self, *, statuses: Collection[Status] = (), cells: Collection[str] = ()) -> Iterator[Record]:
        """Yield the records that count, by cell, time and region; only those that were read whole."""
        where, values = _where(statuses=statuses, cells=cells)
        query = (
            "SELECT lines.json, settings.json FROM lines LEFT JOIN settings ON settings.id = lines.settings "  # noqa: S608
            f"WHERE {where} AND lines.json <> '' ORDER BY lines.cell, json_extract(lines.json, '$.time'), lines.key"
        )
        for fields, settings in self._connection.execute(query, values):
            yield Record.from_json(
                json.dumps({**json.loads(fields), "settings": json.loads(settings or "{}")}).encode()
            )

    def _refresh(self, ledger: Ledger, *, contents: bool, progress: Callable[[int, int], None] | None) -> Refresh:
        known = {prefix for (prefix,) in self._rows("SELECT DISTINCT prefix FROM objects")}
        prefixes = sorted({*ledger.prefixes(), *known})
        new, gone = 0, 0
        damaged: list[str] = []
        committed = time.monotonic()
        for number, prefix in enumerate(prefixes, 1):
            part = update_prefix(self._connection, ledger, prefix, contents=contents)
            if number == len(prefixes) or time.monotonic() - committed > _COMMIT_S:
                self._connection.commit()
                committed = time.monotonic()
            new, gone = new + len(part.new), gone + len(part.gone)
            damaged += part.damaged
            if progress is not None:
                progress(number, len(prefixes))
        return Refresh(new=new, gone=gone, damaged=tuple(damaged))

    def _rows(self, query: str, values: Iterable[Any] = ()) -> list[Any]:
        return self._connection.execute(query, tuple(values)).fetchall()


def _where(*, statuses: Collection[Status] = (), cells: Collection[str] = ()) -> tuple[str, tuple[str, ...]]:
    """Return a condition on lines, with places for its values."""
    terms = ["lines.counts"]
    for column, values in (("status", statuses), ("cell", cells)):
        if values:
            terms.append(f"lines.{column} IN ({', '.join('?' * len(values))})")
    return " AND ".join(terms), (*statuses, *cells)
