"""Where the work is done, and a bar that shows how far it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
from dask.callbacks import Callback
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from xcloudmask._optional import require
from xcloudmask.cli._report import stderr, usage_error
from xcloudmask.cluster import local_cluster

__all__ = ["progress", "scheduling"]

LOCAL = ("threads", "processes", "synchronous")
POLL_S = 0.3
"""Time between two looks at a cluster."""


@contextmanager
def scheduling(scheduler: str, workers: int | None) -> Iterator[Any]:
    """Work with a scheduler for the time of the context.

    Parameters
    ----------
    scheduler
        ``"threads"``, ``"processes"``, ``"synchronous"``, ``"distributed"`` (a cluster of processes on this machine,
        one thread each) or the address of a cluster.
    workers
        Threads or processes; None is one per core.

    Yields
    ------
    distributed.Client or None
        The client of a cluster.

    Raises
    ------
    ArgumentError
        No such scheduler.
    MissingPackageError
        distributed is not installed.
    """
    if scheduler in LOCAL:
        # Nothing travels between threads, so the graph with the fewest tasks and the least memory is best; and a mask
        # is written whole, so its chunks can come in turn.
        overlap = {} if scheduler == "processes" else {"xcloudmask.overlap": "edges", "xcloudmask.in_turn": True}
        with dask.config.set({"scheduler": scheduler, "num_workers": workers} | overlap):
            yield None
        return
    if scheduler != "distributed" and "://" not in scheduler:
        raise usage_error(
            f"--scheduler {scheduler} is unknown. Expected {', '.join(LOCAL)}, distributed, or an address (tcp://...)."
        )
    distributed = require("distributed", extra="distributed")
    if scheduler != "distributed":
        with distributed.Client(scheduler) as client:
            yield client
        return
    with local_cluster(workers=workers) as cluster, distributed.Client(cluster) as client:
        yield client


@contextmanager
def progress(text: str, client: Any = None, *, quiet: bool = False) -> Iterator[None]:
    """Show a bar while dask works.

    Parameters
    ----------
    text
        What is being done.
    client
        Client of a cluster; None for a local scheduler.
    quiet
        Whether nothing is shown.

    Yields
    ------
    None
    """
    if quiet:
        yield
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=stderr()) as bar:
        task = bar.add_task(text, total=None)
        watch = _LocalWatch(bar, task) if client is None else _ClusterWatch(bar, task, client)
        with watch:
            yield
        bar.update(task, total=1, completed=1)


class _LocalWatch(Callback):
    """Counts finished tasks of the local schedulers, over all computations while it is active."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        untyped: Any = super()
        untyped.__init__()
        self._bar, self._task = bar, task
        self._total = self._done = 0

    def _start_state(self, dsk: Any, state: Any) -> None:  # noqa: ARG002
        self._total += len(state["ready"]) + len(state["waiting"])
        self._bar.update(self._task, total=self._total)

    def _posttask(self, key: Any, result: Any, dsk: Any, state: Any, worker_id: Any) -> None:  # noqa: ARG002
        self._done += 1
        self._bar.update(self._task, completed=self._done)


class _ClusterWatch:
    """Asks the scheduler now and then: callbacks do not see the work of a cluster."""

    def __init__(self, bar: Progress, task: TaskID, client: Any) -> None:
        self._bar, self._task, self._client = bar, task, client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def _look(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                done, total = self._client.run_on_scheduler(_count_tasks)
            except Exception:  # noqa: BLE001  # a bar is no reason to stop the work
                return
            if total:
                self._bar.update(self._task, total=total, completed=done)


def _count_tasks(dask_scheduler: Any) -> tuple[int, int]:
    """Return tasks done and tasks in all; runs on the scheduler."""
    states = [prefix.states for prefix in dask_scheduler.task_prefixes.values()]
    total = sum(sum(counts.values()) for counts in states)
    done = sum(counts.get(state, 0) for counts in states for state in ("memory", "released", "forgotten", "erred"))
    return done, total
