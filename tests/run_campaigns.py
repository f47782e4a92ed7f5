"""Campaigns in a folder, planned and masked by hand: for tests of what comes after a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xcloudmask.run.frozen import Frozen, write_frozen
from xcloudmask.run.index import open_index
from xcloudmask.run.ledger import open_ledger
from xcloudmask.run.manifest import Manifest, Source
from xcloudmask.run.objects import open_objects
from xcloudmask.run.place import MANIFEST
from xcloudmask.run.stores.base import class_shares, open_sink
from xcloudmask.run.task import Cell, Job, Record, Region, Task

SIDE, CHUNK = 64, 32
TIMES = ("2024-06-01T10:50:31", "2024-06-06T10:50:31")
TABLES = {"source": {"kind": "items", "paths": ["items.json"]}, "model": {"name": "default"}, "run": {}}


def cell(name: str = "32TPS", *, x: float = 600_000.0) -> Cell:
    return Cell(name=name, crs="EPSG:32632", transform=(10.0, 0.0, x, 0.0, -10.0, 5_200_000.0), shape=(SIDE, SIDE))


def make_job(store: Path, **changes: Any) -> Job:
    known = {"kind": "zarr", "model": "default", "model_sha256": "ab" * 32, "chunk_px": CHUNK, "block_px": CHUNK}
    return Job(store=str(store), **known | changes)


def regions(job: Job) -> list[Region]:
    if job.kind == "cog":
        return [Region(y=(0, SIDE), x=(0, SIDE))]
    starts = range(0, SIDE, CHUNK)
    return [Region(y=(y, y + CHUNK), x=(x, x + CHUNK)) for y in starts for x in starts]


def make_campaign(
    store: Path, *, cells: tuple[Cell, ...] = (cell(),), times: tuple[str, ...] = TIMES, **job: Any
) -> Job:
    """Plan a campaign: a scene for each cell and time, nothing masked yet."""
    store.mkdir()
    found = make_job(store, **job)
    with Manifest.create(store / MANIFEST, found) as manifest:
        for one in cells:
            scenes = [
                Source(
                    name=f"S_{one.name}_{time[:10]}",
                    fingerprint="1",
                    place=one.name,
                    family=one.name,
                    time=time,
                    cell=one,
                    document={
                        "id": f"S_{one.name}_{time[:10]}",
                        "links": [{"rel": "self", "href": f"https://example.org/{one.name}/{time[:10]}.json"}],
                    },
                )
                for time in times
            ]
            manifest.add_sources(scenes)
        manifest.add_cells(cells)
        for one in cells:
            for number, scene in manifest.sources(one.name):
                manifest.put_step(one.name, scene.time, [(region, [number]) for region in regions(found)])
    write_frozen(open_objects(store), Frozen(job=found, config=TABLES | {"store": {"path": str(store)}}))
    sink = open_sink(found)
    sink.prepare([(one, {time: (f"S_{one.name}_{time[:10]}",) for time in times}) for one in cells])
    return found


def tasks_of(store: Path) -> list[Task]:
    with Manifest.open(store / MANIFEST, store=str(store)) as manifest:
        return list(manifest.tasks())


def replace_record(record: Record, store: Path) -> None:
    """Put a record in the place of the one that is there."""
    ledger = open_ledger(str(store))
    ledger.forget([record.key], statuses=("ok", "nodata", "failed", "quarantined"))
    with open_index(ledger) as index:
        index.refresh(ledger)
    ledger.put(record)


def codes_of(task: Task) -> np.ndarray:
    """Codes that depend on the task alone."""
    seed = int(task.key[:8], 16)
    return np.random.default_rng(seed).integers(0, 4, task.region.shape, dtype=np.uint8)


def record_of(task: Task, status: Any = "ok", **more: Any) -> Record:
    known = {"seconds": {"read": 0.5, "predict": 1.0, "write": 0.1, "total": 1.6}, "finished": "2024-07-01T10:00:00"}
    place = {"name": task.name, "cell": task.cell.name, "time": task.time, "region": task.region, "ids": task.ids}
    return Record(key=task.key, status=status, settings=task.job.settings(), **place | known | more)


def mask(task: Task) -> Record:
    """Do a task, as a worker would."""
    codes = codes_of(task)
    sink = open_sink(task.job)
    if sink.transactional:
        digest, token = sink.write(task, codes, sink.begin())
        snapshot = sink.commit([token], [])
    else:
        digest, snapshot = sink.write(task, codes), ""
    record = replace(record_of(task), digest=digest, fractions=class_shares(codes), snapshot=snapshot)
    open_ledger(task.job).put(record)
    return record


def fail(task: Task, status: Any = "quarantined", reason: str = "ReadError: /data/S2A_31.tif ends early") -> Record:
    record = record_of(task, status, reason=reason)
    open_ledger(task.job).put(record)
    return record
