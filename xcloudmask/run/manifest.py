"""The manifest: what is to do, in one SQLite file. Cells, time steps, tasks, and the scenes that they are made of.

Tasks come out of it one by one in a fixed order, so that nobody ever holds them all.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

from xcloudmask.errors import ReadError, WriteError
from xcloudmask.run._database import FORMAT, as_job, connect, reading, without_done
from xcloudmask.run._draft import Draft
from xcloudmask.run._rows import SCHEMA, Changes, Skip, Source, Step, Tally, unpack
from xcloudmask.run.task import Cell, Job, Region, Task

__all__ = ["Changes", "Manifest", "Skip", "Source", "Step", "Tally"]

_CACHED = 256
"""Scenes that are kept while tasks are listed: those of one region after the other are the same."""
_PAGE = 2000
_TASKS = """
    SELECT t.key, t.y0, t.y1, t.x0, t.x1, t.sources, s.time, s.cell, t.step FROM tasks AS t
    JOIN steps AS s ON s.id = t.step WHERE {where}
"""
_DOCUMENTS = """
    SELECT document FROM sources WHERE id IN (
        SELECT scene.value FROM tasks, json_each(tasks.sources) AS scene
        WHERE step IN (SELECT s.id FROM steps AS s JOIN cells AS c ON c.id = s.cell WHERE c.name = ?)
    ) ORDER BY time, id
"""
_AFTER = "(t.step, t.y0, t.x0) > (?, ?, ?) AND {where} ORDER BY t.step, t.y0, t.x0 LIMIT ?"


class Manifest(Draft):
    """What a campaign has to do.

    Made by `xcloudmask.run.plan.make_plan`. A context manager: it closes the file.

    Parameters
    ----------
    path
        The file.
    connection
        To it.
    store
        Where the campaign lies now, if it was moved.

    Examples
    --------
    >>> import tempfile
    >>> job = Job(store="masks", kind="zarr", model="default", model_sha256="ab")
    >>> cell = Cell(name="a", crs="EPSG:32632", transform=(10.0, 0.0, 0.0, 0.0, -10.0, 0.0), shape=(8, 8))
    >>> scene = Source(name="s", fingerprint="1", place="a", family="a", time="2024-01-01", cell=cell, document={})
    >>> with tempfile.TemporaryDirectory() as folder, Manifest.create(Path(folder) / "m.sqlite", job) as manifest:
    ...     _ = manifest.add_sources([scene])
    ...     manifest.add_cells([cell])
    ...     manifest.put_step("a", scene.time, [(Region(y=(0, 8), x=(0, 8)), [1])])
    ...     [(task.name, task.ids) for task in manifest.tasks()]
    (1, 0)
    [('a-2024-01-01-y0-x0', ('s',))]
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, *, store: str | None = None) -> None:
        self.path = path
        self._db = connection
        found = as_job(dict(connection.execute("SELECT name, value FROM facts")), path)
        self.job = found if store is None else replace(found, store=store)

    @classmethod
    def create(cls, path: str | os.PathLike[str], job: Job) -> Manifest:
        """Make an empty manifest.

        Parameters
        ----------
        path
            The file; it must not be there.
        job
            What all tasks share.

        Returns
        -------
        Manifest

        Raises
        ------
        WriteError
            The file is there, or cannot be written.
        """
        file = Path(path)
        if file.exists():
            raise WriteError(f"{file} is there already. Expected a new file.")
        try:
            database = connect(file, mode="rwc")
            # Whoever plans writes to a file that nobody else has, and gives it its name when it is whole.
            database.execute("PRAGMA synchronous = OFF")
            database.execute("PRAGMA journal_mode = MEMORY")
            database.executescript(SCHEMA)
            facts = {"format": str(FORMAT), "job": json.dumps(asdict(job), sort_keys=True)}
            database.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
            database.commit()
        except sqlite3.Error as error:
            raise WriteError(f"{file} cannot be written: {error}") from error
        return cls(file, database)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, store: str | None = None, write: bool = False) -> Manifest:
        """Open a manifest.

        Parameters
        ----------
        path
            The file.
        store
            Where the campaign lies now, if it was moved since it was planned.
        write
            Whether it is to be changed.

        Returns
        -------
        Manifest

        Raises
        ------
        ReadError
            The file is missing, broken, or of a later version.
        """
        file = Path(path)
        if not file.is_file():
            raise ReadError(f"{file} does not exist. Type: xcloudmask run plan CONFIG.toml")
        with reading(file):
            database = connect(file, mode="rw" if write else "ro")
            if write and not any(row[1] == "scale" for row in database.execute("PRAGMA table_info(sources)")):
                # Manifests that were made before days were split have none.
                database.execute("ALTER TABLE sources ADD COLUMN scale TEXT NOT NULL DEFAULT ''")
            return cls(file, database, store=store)

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Keep what was written, and close the file."""
        self._db.commit()
        self._db.close()

    def __len__(self) -> int:
        """Return the number of tasks."""
        return int(self._db.execute("SELECT count(*) FROM tasks").fetchone()[0])

    def __repr__(self) -> str:
        """Return one line."""
        tally = self.tally()
        return f"<Manifest {self.path.name}: {tally.tasks} tasks, {tally.steps} time steps, {tally.cells} cells>"

    # -- what is to do -----------------------------------------------------------------------------------------------

    def tasks(self, *, without: Iterable[str] | Path | None = None) -> Iterator[Task]:
        """Yield the tasks in a fixed order: step by step, and in each from the upper left.

        Parameters
        ----------
        without
            Keys to leave out; or an SQLite file with a table or view ``final`` that has them in its column ``key``.

        Yields
        ------
        Task

        Raises
        ------
        ReadError
            The file is broken.
        """
        self._db.commit()
        # A connection of its own, so that other threads may go on asking meanwhile.
        with reading(self.path), closing(connect(self.path, mode="ro")) as database:
            where = without_done(database, without)
            yield from self._rows_to_tasks(database, _paged(database, where))

    def task(self, key: str) -> Task | None:
        """Return the task with a key; None where there is none."""
        with reading(self.path):
            rows = self._db.execute(_TASKS.format(where="t.key = ?"), (key,))
            return next(self._rows_to_tasks(self._db, rows), None)

    def largest(self, count: int) -> list[Task]:
        """Return some of the largest tasks, each of another time step where there are so many."""
        query = """
            SELECT key FROM (SELECT key, max((y1 - y0) * (x1 - x0)) AS pixels, step FROM tasks GROUP BY step)
            ORDER BY pixels DESC, step LIMIT ?
        """
        with reading(self.path):
            found = [self.task(key) for (key,) in self._db.execute(query, (count,)).fetchall()]
        return [task for task in found if task is not None]

    def keys(self) -> Iterator[str]:
        """Yield the keys of all tasks, sorted."""
        yield from (key for (key,) in self._db.execute("SELECT key FROM tasks ORDER BY key"))

    def count(self, *, without: Iterable[str] | Path | None = None) -> int:
        """Return how many tasks there are but for those left out; see `tasks`."""
        self._db.commit()
        with reading(self.path), closing(connect(self.path, mode="ro")) as database:
            where = without_done(database, without)
            return int(database.execute(f"SELECT count(*) FROM tasks AS t WHERE {where}").fetchone()[0])  # noqa: S608

    def cells(self) -> Iterator[tuple[Cell, tuple[str, ...]]]:
        """Yield each cell with its time steps, in the order of its time axis."""
        for number, cell in list(self._cells()):
            rows = self._db.execute("SELECT time FROM steps WHERE cell = ? ORDER BY id", (number,))
            yield cell, tuple(time for (time,) in rows)

    def steps(self, cell: str | None = None) -> Iterator[Step]:
        """Yield the time steps, of one cell or of all, with the ids of their scenes, in the order of the tasks."""
        names = {} if cell else {number: one.name for number, one in self._cells()}
        where = "" if cell is None else "WHERE cell = (SELECT id FROM cells WHERE name = ?)"
        query = f"SELECT id, cell, time FROM steps {where} ORDER BY id"  # noqa: S608
        for number, place, time in self._db.execute(query, () if cell is None else (cell,)):
            rows = self._db.execute("SELECT sources FROM tasks WHERE step = ?", (number,)).fetchall()
            found = dict.fromkeys(one for (text,) in rows for one in json.loads(text))
            yield Step(cell=cell or names[place], time=time, ids=tuple(map(self._name, found)), tasks=len(rows))

    def documents(self, cell: str) -> Iterator[dict[str, Any]]:
        """Yield what the tasks of a cell need to read each of its scenes, by date; see `Task.sources`."""
        for (document,) in self._db.execute(_DOCUMENTS, (cell,)):
            yield unpack(document)

    def skipped(self) -> Iterator[Skip]:
        """Yield the scenes that could not be planned."""
        yield from (Skip(name=name, why=why) for name, why in self._db.execute("SELECT name, why FROM skips"))

    def split_days(self) -> int:
        """Return how many time steps of solar days are there beside the first of their day."""
        return int(self._db.execute("SELECT count(*) FROM steps WHERE time NOT LIKE '%T00:00:00'").fetchone()[0])

    def tally(self) -> Tally:
        """Return how much there is of everything."""
        counts = [self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in Tally.TABLES]  # noqa: S608
        replaced = self._db.execute("SELECT count(*) FROM sources WHERE replaced_by IS NOT NULL").fetchone()[0]
        pixels = self._db.execute("SELECT total((y1 - y0) * (x1 - x0)) FROM tasks").fetchone()[0]
        return Tally(*counts, replaced=replaced, pixels=int(pixels))

    def digest(self) -> str:
        """Return a checksum of what is to do: equal for equal scenes and settings, in whatever order they came.

        Returns
        -------
        str
            sha256 in hexadecimal.
        """
        found = hashlib.sha256(json.dumps(self.job.settings(), sort_keys=True).encode())
        for key in self.keys():
            found.update(f"\n{key}".encode())
        return found.hexdigest()

    # -- rows --------------------------------------------------------------------------------------------------------

    def _rows_to_tasks(self, database: sqlite3.Connection, rows: Iterable[Any]) -> Iterator[Task]:
        cells = dict(self._cells(database))

        @lru_cache(maxsize=_CACHED)
        def scene(number: int) -> tuple[str, dict[str, Any]]:
            query = "SELECT name, document FROM sources WHERE id = ?"
            name, document = database.execute(query, (number,)).fetchone()
            return name, unpack(document)

        for key, y0, y1, x0, x1, numbers, time, cell, _ in rows:
            scenes = [scene(number) for number in json.loads(numbers)]
            yield Task(
                key=key,
                cell=cells[cell],
                time=time,
                region=Region(y=(y0, y1), x=(x0, x1)),
                sources=tuple(document for _, document in scenes),
                ids=tuple(name for name, _ in scenes),
                job=self.job,
            )

    def _name(self, number: int) -> str:
        return str(self._db.execute("SELECT name FROM sources WHERE id = ?", (number,)).fetchone()[0])


def _paged(database: sqlite3.Connection, where: str) -> Iterator[Any]:
    """Rows of the tasks, some at a time: an open query would keep the index of the ledger from being refreshed."""
    query, last = _TASKS.format(where=_AFTER.format(where=where)), (-1, -1, -1)
    while rows := database.execute(query, (*last, _PAGE)).fetchall():
        yield from rows
        last = (rows[-1][8], rows[-1][1], rows[-1][3])
