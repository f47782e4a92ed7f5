"""Campaigns in miniature for tests: tasks of scenes on a shelf or of cubes, and stores that keep all in memory."""

from __future__ import annotations

import errno
import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np

from xcloudmask.errors import WriteError
from xcloudmask.run.task import Cell, Job, Record, Region, Task, is_final, task_key


def card_of(spec: Any, folder: Path) -> str:
    """Write the card of a model beside a link to its weights; return its path."""
    folder.mkdir(exist_ok=True)
    weights = folder / "weights.safetensors"
    if not weights.exists():
        weights.symlink_to(spec.weights)
    path = folder / f"{spec.name}.json"
    path.write_text(json.dumps(spec.to_dict() | {"weights": weights.name}))
    return str(path)


def cell_of(cube: Any, name: str = "32TPS") -> Cell:
    """The grid of a cube."""
    import odc.geo.xr  # noqa: F401 - registers .odc

    box = cube.odc.geobox
    return Cell(name=name, crs=f"EPSG:{box.crs.epsg}", transform=tuple(box.transform)[:6], shape=tuple(box.shape))


def task_of(
    job: Job, cell: Cell, sources: Any, *, region: Region | None = None, time: str = "2024-05-14T10:50:31"
) -> Task:
    """A task; the whole cell where no region is given."""
    region = region or Region(y=(0, cell.shape[0]), x=(0, cell.shape[1]))
    sources = tuple(sources)
    ids = tuple(str(source.get("id", source.get("cube"))) for source in sources)
    key = task_key(job=job, cell=cell, time=time, region=region, ids=ids, fingerprints=ids)
    return Task(key=key, cell=cell, time=time, region=region, sources=sources, ids=ids, job=job)


def regions(cell: Cell, side: int) -> list[Region]:
    """The cell in squares."""
    height, width = cell.shape
    return [
        Region(y=(y, min(y + side, height)), x=(x, min(x + side, width)))
        for y in range(0, height, side)
        for x in range(0, width, side)
    ]


class MemorySink:
    """Keeps codes by cell and time; fails where it is told to."""

    transactional = False

    def __init__(self) -> None:
        self.codes: dict[tuple[str, str], np.ndarray] = {}
        self.written: list[str] = []
        self.errors: list[Exception] = []
        self.lock = threading.Lock()

    def write(self, task: Task, codes: np.ndarray, token: Any = None) -> Any:
        with self.lock:
            if self.errors:
                raise self.errors.pop(0)
            plane = self.codes.setdefault((task.cell.name, task.time), np.full(task.cell.shape, 254, np.uint8))
            plane[slice(*task.region.y), slice(*task.region.x)] = codes
            self.written.append(task.key)
        digest = hashlib.sha256(np.ascontiguousarray(codes).tobytes()).hexdigest()
        return digest if token is None else (digest, [*token, task.key])

    @property
    def plane(self) -> np.ndarray:
        (found,) = self.codes.values()
        return found


class MemoryLedger:
    """Keeps records."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.errors: list[Exception] = []

    def get(self, key: str) -> Record | None:
        return next((one for one in self.records if one.key == key and is_final(one.status)), None)

    def put(self, record: Record) -> bool:
        if self.errors:
            raise self.errors.pop(0)
        self.records.append(record)
        return True


def disk_full() -> WriteError:
    """As stores report it."""
    error = WriteError("masks cannot be written: no space left")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    return error
