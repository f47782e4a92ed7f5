"""A coordinator in a process of its own, and tasks without a model, for tests that kill them.

Store, ledger, manifest, lease and coordinator are the real ones; what masks is `run_campaigns.codes_of`.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from run_campaigns import codes_of, make_job, record_of

from xcloudmask.errors import ClusterError, ReadError, WriteError
from xcloudmask.run.coordinator import run_tasks
from xcloudmask.run.drain import draining
from xcloudmask.run.faults import FatalError, classify
from xcloudmask.run.lease import LeaseHeldError, hold_lease
from xcloudmask.run.ledger import open_ledger
from xcloudmask.run.place import open_campaign
from xcloudmask.run.stores.base import class_shares, open_sink
from xcloudmask.run.task import Record, Task
from xcloudmask.run.turns import Patience, patiently

DONE, FAILED, STOPPED, HELD, LOST, FATAL = 0, 3, 4, 5, 6, 7
PROCESS = "chaos_run:masked"
HOLD = "wait"
"""While there is such a file, no task begins."""
DEADLY = "kills"
"""A file of this name and a task's key: the task kills its worker in a transaction."""
WINDOW = 40
FULL = "disk-is-full"
"""While a file of this name lies in the store's folder, workers find its disk full."""


def masked(task: Task) -> Record:
    """Do a task as `process_task` does: what is done is not done again; data first, record last."""
    store, (ledger, sink) = Path(task.job.store), opened(task.job.store, task.job.kind)
    done = ledger.get(task.key)
    if done is not None:
        return done
    while (store / HOLD).exists():
        time.sleep(0.02)
    note(store, task, "begun")
    number = int(task.key[:4], 16)
    asked = 0

    def read() -> Any:
        nonlocal asked
        asked += 1
        if number % 10 == 0 and asked == 1:
            raise ReadError("https://example.com/B04.tif cannot be read: HTTP response code: 503")
        time.sleep(0.02 + number % 7 / 100)
        return codes_of(task)

    codes = patiently(read, patience=Patience(first_s=0.01))
    try:
        check_space(store)
        digest = sink.write(task, codes)
        time.sleep(0.01)  # between data and record
        record = replace(record_of(task), digest=digest, fractions=class_shares(codes), worker=str(os.getpid()))
        ledger.put(record)
    except OSError as error:
        if classify(error, stage="write") == "fatal":
            raise FatalError(f"{task.name}: {error}") from error
        raise
    return record


@cache
def opened(store: str, kind: str) -> tuple[Any, Any]:
    """Ledger and store of a campaign, once in each process."""
    job = make_job(Path(store), kind=kind)
    return open_ledger(job), open_sink(job)


def check_space(store: Path) -> None:
    """Fail as a full disk does."""
    if (store / FULL).exists():
        raise OSError(errno.ENOSPC, "No space left on device")


def masked_in_transaction(task: Task, token: Any) -> tuple[Record, Any]:
    """Do a task of a transactional store."""
    store = Path(task.job.store)
    note(store, task, "begun")
    if (store / f"{DEADLY}-{task.key}").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    codes = codes_of(task)
    digest, token = open_sink(task.job).write(task, codes, token)
    return replace(record_of(task), digest=digest, fractions=class_shares(codes)), token


def note(store: Path, task: Task, what: str) -> None:
    """Leave a mark outside of the store."""
    folder = store.with_name(f"{store.name}.{what}")
    folder.mkdir(exist_ok=True)
    (folder / f"{task.key}.{os.getpid()}.{time.monotonic_ns()}").touch()


def noted(store: Path, what: str) -> list[str]:
    """Keys of tasks, once for each mark."""
    folder = store.with_name(f"{store.name}.{what}")
    return [path.name.partition(".")[0] for path in folder.iterdir()] if folder.exists() else []


def main(store: str, scheduler_file: str, *options: str) -> int:
    """Coordinate a campaign on a cluster; return what became of it."""
    import distributed

    found = open_campaign(store)
    try:
        with draining() as stop:
            if "--no-lease" in options:
                return _run(found, scheduler_file, stop, distributed)
            with hold_lease(found.place.objects, beat_s=1.0, limit_s=5.0, on_lost=stop.set):
                return _run(found, scheduler_file, stop, distributed)
    except LeaseHeldError as error:
        code, said = HELD, error
    except ClusterError as error:
        code, said = LOST, error
    except (FatalError, WriteError) as error:
        code, said = FATAL, error
    sys.stderr.write(f"{type(said).__name__}: {said}\n")
    return code


def _run(found: Any, scheduler_file: str, stop: Any, distributed: Any) -> int:
    sink = open_sink(found.job)
    with (
        found.manifest() as manifest,
        found.index() as index,
        distributed.Client(scheduler_file=scheduler_file, set_as_default=False, timeout=20) as client,
    ):
        result = run_tasks(
            manifest.tasks(without=index.path),
            client,
            process=PROCESS,
            in_transaction="chaos_run:masked_in_transaction",
            window=WINDOW,
            timeout_s=120,
            sink=sink,
            ledger=found.ledger,
            stop=stop,
            workers_timeout_s=120,
        )
    sys.stdout.write(f"{result}\n")
    if result.drained:
        return STOPPED
    return DONE if result.complete else FAILED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
