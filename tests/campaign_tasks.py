"""Tasks for tests of campaigns, and functions that do them without a model: importable by workers, and light."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xcloudmask.run.task import Cell, Job, Record, Region, Task, task_key

CELL = Cell(name="32TPS", crs="EPSG:32632", transform=(10.0, 0.0, 6e5, 0.0, -10.0, 5e6), shape=(64, 64))


def fake_tasks(store: Path | str, number: int, **special: dict[str, Any]) -> Iterator[Task]:
    """Yield tasks that do nothing but leave a mark; `t7={"do": "segfault"}` is what the seventh does."""
    job = Job(store=str(store), kind="zarr", model="none", model_sha256="")
    for index in range(number):
        region = Region(y=(0, 64), x=(index * 64, index * 64 + 64))
        key = task_key(job=job, cell=CELL, time="2024-01-01", region=region, ids=(str(index),), fingerprints=())
        source = special.get(f"t{index}", special.get("each", {}))
        yield Task(key=key, cell=CELL, time="2024-01-01", region=region, sources=(source,), ids=(f"s{index}",), job=job)


def marks(store: Path) -> list[str]:
    """Ids of tasks that ran, once for each time they began."""
    folder = store / "marks"
    return sorted(path.name.partition(".")[0] for path in folder.iterdir()) if folder.exists() else []


def fake_process(task: Task) -> Record:
    """Leave a mark, then do what the task says."""
    folder = Path(task.job.store) / "marks"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{task.ids[0]}.{time.monotonic_ns()}.{os.getpid()}").touch()
    source = dict(task.sources[0])
    time.sleep(source.get("seconds", 0.0))
    return _DEEDS[source.get("do", "ok")](task)


def no_op(task: Task) -> Record:
    """Do nothing."""
    return Record(
        key=task.key,
        status="ok",
        name=task.name,
        cell=task.cell.name,
        time=task.time,
        region=task.region,
        ids=task.ids,
        worker=str(os.getpid()),
    )


def _segfault(_task: Task) -> Record:
    ctypes.string_at(0)
    raise AssertionError("still alive")


def _killed(_task: Task) -> Record:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def _memory(_task: Task) -> Record:
    held = []
    while True:
        held.append(bytearray(os.urandom(2**20)) * 16)
        time.sleep(0.02)


def _hang(_task: Task) -> Record:
    """Sleep in C, with the interpreter locked."""
    ctypes.PyDLL(None).sleep(1000)
    raise AssertionError("woke up")


def _raise(_task: Task) -> Record:
    raise RuntimeError("a bug")


def _fatal(_task: Task) -> Record:
    from xcloudmask.run.faults import FatalError

    raise FatalError("the disk is full")


def _once(task: Task) -> Record:
    """Die the first time."""
    flag = Path(task.job.store) / f"died-{task.ids[0]}"
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return no_op(task)


def _chatty(task: Task) -> Record:
    """Print where an answer is expected."""
    print("not an answer", flush=True)  # noqa: T201
    os.write(1, b"neither\n")
    return _once(task)


_DEEDS = {
    "ok": no_op,
    "segfault": _segfault,
    "killed": _killed,
    "memory": _memory,
    "hang": _hang,
    "raise": _raise,
    "fatal": _fatal,
    "once": _once,
    "chatty": _chatty,
}
