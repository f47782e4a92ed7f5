"""Cells, tasks and codes for the tests of the stores of campaigns, and jobs that write them in other processes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xcloudmask.run.stores import Sink, digest_of, open_sink
from xcloudmask.run.task import Cell, Job, Region, Task, task_key

CELL = Cell(name="32TPS", crs="EPSG:32632", transform=(10.0, 0.0, 600_000.0, 0.0, -10.0, 5_000_000.0), shape=(80, 100))
OTHER = Cell(name="33TUL", crs="EPSG:32633", transform=(20.0, 0.0, 300_000.0, 0.0, -20.0, 5_000_000.0), shape=(40, 70))
STEPS = {
    "2024-01-06T10:20:30.123456": ["S2A_0106"],
    "2024-01-01T10:20:31": ["S2B_0101_north", "S2B_0101_south"],
    "2024-01-11": ["S2A_0111"],
}


def make_job(store: Any, kind: str = "zarr", **changes: Any) -> Job:
    given = {"model": "default", "model_sha256": "ab" * 32, "chunk_px": 32, "block_px": 64, "version": "1.2.3"}
    return Job(store=str(store), kind=kind, **given | changes)


def make_task(job: Job, time: str, region: Region | None = None, cell: Cell = CELL) -> Task:
    region = region or Region(y=(0, cell.shape[0]), x=(0, cell.shape[1]))
    ids = tuple(STEPS.get(time, ("item",)))
    key = task_key(job=job, cell=cell, time=time, region=region, ids=ids, fingerprints=("1",))
    sources = ({"properties": {"platform": "sentinel-2a"}},)
    return Task(key=key, cell=cell, time=time, region=region, sources=sources, ids=ids, job=job)


def make_tasks(job: Job, cells: tuple[Cell, ...] = (CELL,), times: tuple[str, ...] = tuple(STEPS)) -> list[Task]:
    """All tasks of cells: the whole cell for COGs, else regions of 64 pixels, which are two chunks or one shard."""
    tasks = []
    for cell in cells:
        height, width = cell.shape
        if job.kind == "cog":
            regions = [Region(y=(0, height), x=(0, width))]
        else:
            corners = [(y, x) for y in range(0, height, 64) for x in range(0, width, 64)]
            regions = [Region(y=(y, min(y + 64, height)), x=(x, min(x + 64, width))) for y, x in corners]
        tasks += [make_task(job, time, region, cell) for time in times for region in regions]
    return tasks


def codes_of(task: Task) -> np.ndarray:
    """Codes that depend on the task alone; the upper left chunk of the second time is all nodata."""
    seed = int(hashlib.sha256(f"{task.cell.name} {task.time} {task.region}".encode()).hexdigest()[:8], 16)
    codes = np.random.default_rng(seed).choice(np.array([0, 1, 2, 3, 255], np.uint8), task.region.shape)
    if task.time.startswith("2024-01-01"):
        codes[:32, :32] = 255
    return codes


def whole(cell: Cell, job: Job) -> np.ndarray:
    """(time, y, x), in the order of time, as all tasks together make it."""
    times = sorted(STEPS)
    codes = np.full((len(times), *cell.shape), 255, np.uint8)
    for task in make_tasks(job, (cell,)):
        codes[times.index(task.time), slice(*task.region.y), slice(*task.region.x)] = codes_of(task)
    return codes


def prepared(job: Job, *cells: Cell) -> Sink:
    sink = open_sink(job)
    sink.prepare([(cell, STEPS) for cell in cells or (CELL,)])
    return sink


def write_all(sink: Sink, tasks: list[Task]) -> None:
    """Write tasks as a run does: in one transaction where there are such."""
    token = sink.begin()
    if token is None:
        for task in tasks:
            assert sink.write(task, codes_of(task)) == digest_of(codes_of(task))
        return
    done = [sink.write(task, codes_of(task), token) for task in tasks]
    assert [digest for digest, _ in done] == [digest_of(codes_of(task)) for task in tasks]
    sink.commit([changed for _, changed in done], [])


def write_job(store: str, kind: str, first: int, step: int, times: int = 1, **changes: Any) -> None:
    """Job: write every so many-th task, as often as is said."""
    job = make_job(store, kind, **changes)
    for _ in range(times):
        write_all(open_sink(job), make_tasks(job, (CELL, OTHER))[first::step])


def prepare_job(store: str, kind: str, **changes: Any) -> None:
    """Job: prepare ever more cells, and ever more times of each, until killed."""
    sink = open_sink(make_job(store, kind, **changes))
    for count in range(1, 10_000):
        steps = dict(list(STEPS.items())[: 1 + count % len(STEPS)])
        sink.prepare([(replace(CELL, name=f"cell{count // len(STEPS)}"), steps)])


def content(folder: Path) -> dict[str, str]:
    """All files of a folder, hidden ones too, with a checksum each."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
