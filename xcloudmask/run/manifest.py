"""The manifest: what is to do, in one SQLite file. Cells, time steps, tasks, and the scenes that they are made of.

Tasks come out of it one by one in a fixed order, so that nobody ever holds them all.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

from xcloudmask.errors import ReadError, WriteError
from xcloudmask.run._database import FORMAT, as_cell, as_job, connect, reading, without_done
from xcloudmask.run._rows import SCHEMA, Changes, Skip, Source, Step, Tally, pack, unpack
from xcloudmask.run.task import Cell, Job, Region, Task, task_key

__all__ = ["Changes", "Manifest", "Skip", "Source", "Step", "Tally"]

_CACHED = 256
"""Scenes that are kept while tasks are listed: those of one region after the other are the same."""
_PAGE = 2000
_TASKS = """
    SELECT t.key, t.y0, t.y1, t.x0, t.x1, t.sources, s.time, s.cell, t.step FROM tasks AS t
    JOIN steps AS s ON s.id = t.step WHERE {where}
"""
_AFTER = "(t.step, t.y0, t.x0) > (?, ?, ?) AND {where} ORDER BY t.step, t.y0, t.x0 LIMIT ?"


class Manifest:
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
    >>> scene = Source(name="s", fingerprint="1", place="a", time="2024-01-01", cell=cell, document={"id": "s"})
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
            return cls(file, connect(file, mode="rw" if write else "ro"), store=store)

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

    def steps(self) -> Iterator[Step]:
        """Yield the time steps with the ids of their scenes, in the order of the tasks."""
        names = {number: cell.name for number, cell in self._cells()}
        for number, cell, time in self._db.execute("SELECT id, cell, time FROM steps ORDER BY id"):
            rows = self._db.execute("SELECT sources FROM tasks WHERE step = ?", (number,)).fetchall()
            found = dict.fromkeys(one for (text,) in rows for one in json.loads(text))
            yield Step(cell=names[cell], time=time, ids=tuple(map(self._name, sorted(found))), tasks=len(rows))

    def skipped(self) -> Iterator[Skip]:
        """Yield the scenes that could not be planned."""
        yield from (Skip(name=name, why=why) for name, why in self._db.execute("SELECT name, why FROM skips"))

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

    # -- planning ----------------------------------------------------------------------------------------------------

    def add_sources(self, sources: Iterable[Source]) -> Changes:
        """Add scenes; those that are there already get their new document and fingerprint.

        Parameters
        ----------
        sources
            In any order.

        Returns
        -------
        Changes
            How many are new, and how many have another fingerprint than before.
        """
        new, changed = 0, 0
        for source in sources:
            name = (source.collection, source.name)
            query = "SELECT fingerprint FROM sources WHERE collection = ? AND name = ?"
            before = self._db.execute(query, name).fetchone()
            new, changed = new + (before is None), changed + (before is not None and before[0] != source.fingerprint)
            values = (*name, source.fingerprint, source.place, source.time, pack(asdict(source.cell)))
            self._db.execute(
                "INSERT INTO sources (collection, name, fingerprint, place, time, grid, document) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (collection, name) DO UPDATE SET "
                "fingerprint = excluded.fingerprint, place = excluded.place, time = excluded.time, "
                "grid = excluded.grid, document = excluded.document",
                (*values, pack(source.document)),
            )
        return Changes(new, changed)

    def sources(self, place: str) -> Iterator[tuple[int, Source]]:
        """Yield number and scene of all that lie in a place, by date and name, also those that others replace."""
        query = "SELECT * FROM sources WHERE place = ? ORDER BY time, name, collection"
        for number, collection, name, fingerprint, where, time, grid, document, _ in self._db.execute(query, (place,)):
            yield (
                number,
                Source(
                    name=name,
                    collection=collection,
                    fingerprint=fingerprint,
                    place=where,
                    time=time,
                    cell=as_cell(unpack(grid)),
                    document=unpack(document),
                ),
            )

    def places(self) -> list[str]:
        """Return all places, sorted."""
        return [place for (place,) in self._db.execute("SELECT DISTINCT place FROM sources ORDER BY place")]

    def replace_sources(self, replaced: Iterable[tuple[int, int]]) -> None:
        """Note that scenes are replaced by others: pairs of the number of the old one and of the new one."""
        self._db.executemany("UPDATE sources SET replaced_by = ? WHERE id = ?", ((new, old) for old, new in replaced))

    def grids(self) -> Iterator[tuple[str, Cell]]:
        """Yield place and grid of all scenes that count, each once, sorted."""
        query = "SELECT DISTINCT place, grid FROM sources WHERE replaced_by IS NULL"
        found = [(place, as_cell(unpack(grid))) for place, grid in self._db.execute(query)]
        yield from sorted(found, key=lambda pair: (pair[0], pair[1].crs, pair[1].transform, pair[1].shape))

    def add_cells(self, cells: Iterable[Cell]) -> None:
        """Add grids that have no cell of their name yet."""
        rows = ((cell.name, pack(asdict(cell))) for cell in cells)
        self._db.executemany("INSERT OR IGNORE INTO cells (name, grid) VALUES (?, ?)", rows)

    def put_step(self, cell: str, time: str, regions: Iterable[tuple[Region, Sequence[int]]]) -> tuple[int, int]:
        """Add a time step, or put new tasks in the place of those whose scenes changed.

        Parameters
        ----------
        cell
            Its name.
        time
            Of the step.
        regions
            Each with the numbers of its scenes, the first on top.

        Returns
        -------
        tuple of int
            Tasks that are new, and tasks that took the place of others.
        """
        number, grid = self._cell_row(cell)
        self._db.execute("INSERT OR IGNORE INTO steps (cell, time) VALUES (?, ?)", (number, time))
        (step,) = self._db.execute("SELECT id FROM steps WHERE cell = ? AND time = ?", (number, time)).fetchone()
        before = {
            (y, x): key for y, x, key in self._db.execute("SELECT y0, x0, key FROM tasks WHERE step = ?", (step,))
        }
        added, replaced = 0, 0
        for region, scenes in regions:
            key = self._key(grid, time, region, scenes)
            old = before.get((region.y[0], region.x[0]))
            if old != key:
                added, replaced = added + (old is None), replaced + (old is not None)
                row = (step, region.y[0], region.x[0], region.y[1], region.x[1], key, json.dumps(list(scenes)))
                self._db.execute("INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return added, replaced

    def add_skips(self, skips: Iterable[Skip]) -> None:
        """Note scenes that cannot be planned."""
        rows = ((skip.collection, skip.name, skip.why) for skip in skips)
        self._db.executemany("INSERT OR REPLACE INTO skips VALUES (?, ?, ?)", rows)

    def note(self, name: str, value: Any) -> None:
        """Keep a fact about the plan, as JSON."""
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value, sort_keys=True)))

    def fact(self, name: str) -> Any:
        """Return a fact about the plan; None where there is none."""
        found = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if found is None else json.loads(found[0])

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

    def _cells(self, database: sqlite3.Connection | None = None) -> Iterator[tuple[int, Cell]]:
        for number, grid in (database or self._db).execute("SELECT id, grid FROM cells ORDER BY id"):
            yield number, as_cell(unpack(grid))

    def _cell_row(self, name: str) -> tuple[int, Cell]:
        number, grid = self._db.execute("SELECT id, grid FROM cells WHERE name = ?", (name,)).fetchone()
        return number, as_cell(unpack(grid))

    def _name(self, number: int) -> str:
        return str(self._db.execute("SELECT name FROM sources WHERE id = ?", (number,)).fetchone()[0])

    def _key(self, cell: Cell, time: str, region: Region, scenes: Sequence[int]) -> str:
        query = "SELECT name, fingerprint FROM sources WHERE id = ?"
        found = [self._db.execute(query, (number,)).fetchone() for number in scenes]
        names, fingerprints = (tuple(str(row[column]) for row in found) for column in (0, 1))
        return task_key(job=self.job, cell=cell, time=time, region=region, ids=names, fingerprints=fingerprints)


def _paged(database: sqlite3.Connection, where: str) -> Iterator[Any]:
    """Rows of the tasks, some at a time: an open query would keep the index of the ledger from being refreshed."""
    query, last = _TASKS.format(where=_AFTER.format(where=where)), (-1, -1, -1)
    while rows := database.execute(query, (*last, _PAGE)).fetchall():
        yield from rows
        last = (rows[-1][8], rows[-1][1], rows[-1][3])
