"""Campaigns: what planning a scene and running a task cost; how memory grows; how workers that wait for data scale.

Workers are processes with one thread, tasks are those of a campaign, and what does them does nothing, or sleeps.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.core import Figure, asked, benchmark
from xcloudmask.run.coordinator import run_tasks
from xcloudmask.run.task import Cell, Job, Record, Region, Task

NO_OP, SLEEP = "benchmarks.campaign:no_op", "benchmarks.campaign:sleep"
CELL = Cell(name="32TPS", crs="EPSG:32632", transform=(10.0, 0.0, 6e5, 0.0, -10.0, 5e6), shape=(10_980, 10_980))


def no_op(task: Task) -> Record:
    """Do nothing with a task."""
    return Record(
        key=task.key,
        status="ok",
        name=task.name,
        cell=task.cell.name,
        time=task.time,
        region=task.region,
        ids=task.ids,
        fractions={"clear": 1.0},
        seconds={"read": 0.0, "predict": 0.0, "write": 0.0, "total": 0.0},
    )


def sleep(task: Task) -> Record:
    """Wait for a second, as for data from far away."""
    time.sleep(1.0)
    return no_op(task)


def tasks(number: int) -> Iterator[Task]:
    """Yield tasks with an item of three bands each, as a manifest has them."""
    job = Job(store="s3://bucket/campaign", kind="zarr", model="default", model_sha256="ab" * 32)
    region = Region(y=(0, 2048), x=(0, 2048))
    for index in range(number):
        name = f"S2A_32TPS_{index:06d}_0_L2A"
        assets = {
            band: {"href": f"https://example.com/sentinel-s2-l2a-cogs/32/T/PS/2024/5/{name}/{band}.tif"}
            for band in ("red", "green", "nir")
        }
        item = {"id": name, "properties": {"datetime": "2024-05-14T10:50:31Z"}, "assets": assets}
        key, when = f"{index:032x}", "2024-05-14T10:50:31"
        yield Task(key=key, cell=CELL, time=when, region=region, sources=(item,), ids=(name,), job=job)


@benchmark
def campaign(*, quick: bool) -> Iterator[Figure]:
    """Tasks per second, memory, traffic between workers, efficiency."""
    few, many = (400, 1600) if quick else (10_000, 100_000) if asked.full else (10_000, 30_000)
    found = _apart("overhead", few, many)
    yield Figure(name=f"tasks per second, {many} that do nothing", value=found["rate"], unit="1/s", target=">= 500")
    yield Figure(name="CPU of the client per task", value=found["client_ms"], unit="ms")
    yield Figure(name="CPU of the scheduler per task", value=found["scheduler_ms"], unit="ms")
    yield Figure(name="CPU of the workers per task", value=found["workers_ms"], unit="ms")
    yield Figure(name="bytes between workers", value=found["peer_bytes"], unit="B", target="<= 0")
    for process in ("client", "scheduler"):
        first, last = found[f"{process}_few"], found[f"{process}_many"]
        yield Figure(name=f"memory of the {process}, {few} tasks", value=round(first / 2**20), unit="MiB")
        growth = round(last / first, 3)
        yield Figure(name=f"memory of the {process}, {many} to {few} tasks", value=growth, unit="", target="<= 1.2")
    plans = _planning(300, 900) if quick else _planning(few, many)
    yield Figure(name="CPU per planned scene", value=round(1000 * plans["cpu_seconds"] / plans["scenes"], 2), unit="ms")
    growth = round(plans["peak_bytes"] / plans["peak_bytes_few"], 3)
    yield Figure(name="memory of a plan, most to fewest scenes", value=growth, unit="", target="<= 1.2")
    each = 2 if quick else 30
    for number in (1, 2) if quick else (1, 2, 8, 32):
        share = each / _apart("waiting", number, each * number)["seconds"]
        name = f"efficiency of {number} workers, {each} tasks of 1 s each"
        yield Figure(name=name, value=round(share, 3), unit="", target=">= 0.9")


def measured(what: str, first: int, second: int) -> dict[str, Any]:
    """Measure in this process; the scheduler, the workers and plans have processes of their own."""
    return {"overhead": _overhead, "waiting": _waiting, "plan": _planning}[what](first, second)


def _overhead(few: int, many: int) -> dict[str, Any]:
    """Run tasks that do nothing on two workers; look at the memory after `few` and after all."""
    memory: dict[str, int] = {}
    done = 0

    def count(_record: Record) -> None:
        nonlocal done
        done += 1
        if done in (few, many):
            which = "few" if done == few else "many"
            memory.update({f"client_{which}": _resident(os.getpid()), f"scheduler_{which}": _resident(pid)})

    with _cluster(2, threads=2) as (client, pid):
        run_tasks(tasks(100), client, process=NO_OP)  # imports, connections
        before = _spent(client, pid)
        result = run_tasks(tasks(many), client, process=NO_OP, on_record=count)
        after = _spent(client, pid)
        peers = client.run(_incoming)
    spent = [round(1000 * (late - early) / many, 3) for early, late in zip(before, after, strict=True)]
    return memory | {
        "rate": round(many / result.seconds, 1),
        "client_ms": spent[0],
        "scheduler_ms": spent[1],
        "workers_ms": spent[2],
        "peer_bytes": sum(peers.values()),
    }


def _waiting(workers: int, number: int) -> dict[str, Any]:
    """Run tasks that wait for a second each."""
    with _cluster(workers, threads=1) as (client, _):
        run_tasks(tasks(4 * workers), client, process=NO_OP)
        return {"seconds": run_tasks(tasks(number), client, process=SLEEP).seconds}


def _planning(few: int, many: int) -> dict[str, Any]:
    """Plan few scenes, then many, each in a process of its own."""
    first, last = (_said("benchmarks.archive", number) for number in (few, many))
    return last | {f"{name}_few": value for name, value in first.items()}


def _spent(client: Any, scheduler: int) -> tuple[float, float, float]:
    """CPU seconds of the client, the scheduler and all workers."""
    return _cpu_s(os.getpid()), _cpu_s(scheduler), sum(client.run(time.process_time).values())


def _incoming(dask_worker: Any) -> int:
    """Bytes that a worker took from others."""
    log = dask_worker.transfer_incoming_log
    return sum(entry["total"] for entry in log) if dask_worker.state.transfer_incoming_count_total else 0


@contextmanager
def _cluster(workers: int, *, threads: int) -> Iterator[tuple[Any, int]]:
    """Start a scheduler and workers as the command line does; yield a client and the scheduler's process number."""
    import distributed

    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="campaign-")))
        place = folder / "scheduler.json"
        common = ["--scheduler-file", str(place), "--no-dashboard"]
        scheduler = _started(stack, "dask_scheduler", *common, "--host", "127.0.0.1", "--port", "0")
        while not place.exists():
            time.sleep(0.1)
        sizes = ["--nworkers", str(workers), "--nthreads", str(threads), "--memory-limit", "0"]
        _started(stack, "dask_worker", *common, *sizes, "--local-directory", str(folder))
        client = stack.enter_context(distributed.Client(scheduler_file=str(place), set_as_default=False))
        client.wait_for_workers(workers, timeout=300)
        yield client, scheduler


def _started(stack: ExitStack, program: str, *arguments: str) -> int:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", f"distributed.cli.{program}", *arguments]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process.pid


def _apart(what: str, first: int, second: int) -> dict[str, Any]:
    """Measure in a process that has nothing else in its memory."""
    return _said("benchmarks.campaign", what, first, second)


def _said(*command: str | int) -> dict[str, Any]:
    """What a program of these benchmarks prints."""
    said = subprocess.run(
        [sys.executable, "-m", *map(str, command)], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process: fields 14 and 15 of proc(5)'s stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
