"""The part of a manifest that planning writes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from xcloudmask.run._database import as_cell
from xcloudmask.run._rows import Changes, Skip, Source, pack, unpack
from xcloudmask.run.task import Cell, Job, Region, task_key

__all__ = ["Draft"]

_ADD = """
    INSERT INTO sources (collection, name, fingerprint, place, family, time, scale, grid, document)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (collection, name) DO UPDATE SET
    fingerprint = excluded.fingerprint, place = excluded.place, family = excluded.family, time = excluded.time,
    scale = excluded.scale, grid = excluded.grid, document = excluded.document, cell = NULL
"""
_NO_SLOT = "slot IS NULL AND replaced_by IS NULL AND family = ?"
_PLACE = """
    SELECT id, collection, name, fingerprint, place, family, time, scale, grid, document FROM sources WHERE place = ?
    ORDER BY time, name, collection
"""


class Draft:
    """Scenes come in, are put into cells and time steps, and become tasks."""

    _db: sqlite3.Connection
    job: Job

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
            texts = (*name, source.fingerprint, source.place, source.family, source.time, source.scale)
            self._db.execute(_ADD, (*texts, pack(asdict(source.cell)), pack(source.document)))
            self._db.execute("DELETE FROM skips WHERE collection = ? AND name = ?", name)
        return Changes(new, changed)

    def add_skips(self, skips: Iterable[Skip]) -> None:
        """Note scenes that cannot be planned."""
        rows = ((skip.collection, skip.name, skip.why) for skip in skips)
        self._db.executemany("INSERT OR REPLACE INTO skips VALUES (?, ?, ?)", rows)

    def places(self) -> list[str]:
        """Return all places, sorted."""
        return [place for (place,) in self._db.execute("SELECT DISTINCT place FROM sources ORDER BY place")]

    def sources(self, place: str) -> Iterator[tuple[int, Source]]:
        """Yield number and scene of all that lie in a place, by date and name, also those that others replace."""
        for number, collection, name, stamp, where, family, time, scale, grid, document in self._db.execute(
            _PLACE, (place,)
        ):
            source = Source(
                name=name,
                collection=collection,
                fingerprint=stamp,
                place=where,
                family=family,
                time=time,
                scale=scale,
                cell=as_cell(unpack(grid)),
                document=unpack(document),
            )
            yield number, source

    def replace_sources(self, replaced: Iterable[tuple[int, int]]) -> None:
        """Say which scenes are replaced by others: pairs of the number of the old one and of the new one.

        All others count. The new one comes in the place of the old one, in its time step.
        """
        self._db.execute("UPDATE sources SET replaced_by = NULL")
        for old, new in replaced:
            self._db.execute("UPDATE sources SET replaced_by = ? WHERE id = ?", (new, old))
            slot = "(SELECT slot FROM sources WHERE id = ?)"
            self._db.execute(f"UPDATE sources SET slot = coalesce(slot, {slot}) WHERE id = ?", (old, new))  # noqa: S608

    def families(self) -> list[str]:
        """Return the families of all scenes that count, sorted."""
        query = "SELECT DISTINCT family FROM sources WHERE replaced_by IS NULL ORDER BY family"
        return [family for (family,) in self._db.execute(query)]

    def grids(self, family: str) -> dict[Cell, list[int]]:
        """Return the grids of a family that have no cell yet, and the scenes on each."""
        query = "SELECT id, grid FROM sources WHERE family = ? AND replaced_by IS NULL AND cell IS NULL ORDER BY id"
        packed: dict[bytes, list[int]] = {}
        for number, grid in self._db.execute(query, (family,)):
            packed.setdefault(grid, []).append(number)
        found = {as_cell(unpack(grid)): numbers for grid, numbers in packed.items()}
        return dict(sorted(found.items(), key=lambda pair: (pair[0].transform, pair[0].shape)))

    def cells_of(self, family: str) -> list[Cell]:
        """Return the cells that there are for a family, the oldest first."""
        rows = self._db.execute("SELECT grid FROM cells WHERE family = ? ORDER BY id", (family,))
        return [as_cell(unpack(grid)) for (grid,) in rows]

    def cell_names(self) -> set[str]:
        """Return the names of all cells."""
        return {name for (name,) in self._db.execute("SELECT name FROM cells")}

    def add_cells(self, cells: Iterable[Cell], *, family: str = "") -> None:
        """Add grids that have no cell of their name yet."""
        rows = ((cell.name, pack(asdict(cell)), family) for cell in cells)
        self._db.executemany("INSERT OR IGNORE INTO cells (name, grid, family) VALUES (?, ?, ?)", rows)

    def assign(self, cell: str, numbers: Iterable[int]) -> None:
        """Put scenes into a cell."""
        row, _ = self._cell_row(cell)
        self._db.executemany("UPDATE sources SET cell = ? WHERE id = ?", ((row, number) for number in numbers))

    def fill_slots(self, family: str, *, shift_minutes: int | None) -> None:
        """Give each scene of a family that has none its time step.

        Parameters
        ----------
        family
            The scenes.
        shift_minutes
            From UTC to the time by which days are told; None for a step for each date. Scenes of a day whose DN mean
            other things get a step of their own, a second later.
        """
        slot = "time"
        if shift_minutes is not None:
            slot = f"strftime('%Y-%m-%dT00:00:00', time, '{shift_minutes:+d} minutes')"
            apart = list(self._apart(family, slot))
            self._db.executemany("UPDATE sources SET slot = ? WHERE id = ?", apart)
        query = f"UPDATE sources SET slot = {slot} WHERE {_NO_SLOT}"  # noqa: S608
        self._db.execute(query, (family,))

    def _apart(self, family: str, day: str) -> Iterator[tuple[str, int]]:
        """Slot and number of the scenes that cannot be in the first step of their day."""
        query = "SELECT slot, max(scale) FROM sources WHERE family = ? AND slot IS NOT NULL GROUP BY slot"
        scales: dict[str, str] = dict(self._db.execute(query, (family,)))
        query = f"SELECT id, {day}, scale FROM sources WHERE {_NO_SLOT} ORDER BY time, name, collection"  # noqa: S608
        for number, first, scale in self._db.execute(query, (family,)):
            later = (f"{first[:-5]}{second // 60:02d}:{second % 60:02d}" for second in range(3600))
            slot = next(slot for slot in later if not scale or scales.get(slot, scale) in (scale, ""))
            scales[slot] = scale or scales.get(slot, "")
            if slot != first:
                yield slot, number

    def cell(self, name: str) -> Cell:
        """Return a cell by its name."""
        return self._cell_row(name)[1]

    def scenes(self, cell: str) -> Iterator[tuple[str, int, Cell]]:
        """Yield time step, number and grid of the scenes in a cell, step by step, by date and name in each."""
        row, _ = self._cell_row(cell)
        query = """
            SELECT slot, id, grid FROM sources WHERE cell = ? AND replaced_by IS NULL
            ORDER BY slot, time, name, collection
        """
        for slot, number, grid in self._db.execute(query, (row,)):
            yield slot, number, as_cell(unpack(grid))

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

    def note(self, name: str, value: Any) -> None:
        """Keep a fact about the plan, as JSON."""
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value, sort_keys=True)))

    def fact(self, name: str) -> Any:
        """Return a fact about the plan; None where there is none."""
        found = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if found is None else json.loads(found[0])

    def _cells(self, database: sqlite3.Connection | None = None) -> Iterator[tuple[int, Cell]]:
        for number, grid in (database or self._db).execute("SELECT id, grid FROM cells ORDER BY id"):
            yield number, as_cell(unpack(grid))

    def _cell_row(self, name: str) -> tuple[int, Cell]:
        number, grid = self._db.execute("SELECT id, grid FROM cells WHERE name = ?", (name,)).fetchone()
        return number, as_cell(unpack(grid))

    def _key(self, cell: Cell, time: str, region: Region, scenes: Sequence[int]) -> str:
        query = "SELECT name, fingerprint FROM sources WHERE id = ?"
        found = [self._db.execute(query, (number,)).fetchone() for number in scenes]
        names, fingerprints = (tuple(str(row[column]) for row in found) for column in (0, 1))
        return task_key(job=self.job, cell=cell, time=time, region=region, ids=names, fingerprints=fingerprints)
