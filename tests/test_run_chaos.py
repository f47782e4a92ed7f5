"""Campaigns whose workers, scheduler and coordinator are killed, whose disk is full, and which two start at once.

Two seeds by default, 20 with XCLOUDMASK_LONG=1.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import chaos_run
import psutil
import pytest
from run_campaigns import CHUNK, cell, codes_of, make_campaign, tasks_of

from xcloudmask.run.ledger import open_ledger
from xcloudmask.run.stores.base import open_sink

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LONG = bool(os.environ.get("XCLOUDMASK_LONG"))
SEEDS = range(20) if LONG else range(2)
WORKER_KILLS = 4 if LONG else 2
WORKERS = 4
CELLS = tuple(cell(f"32TP{letter}", x=600_000.0 + 640 * index) for index, letter in enumerate("QRS"))
TIMES = tuple(f"2024-{1 + day // 25:02d}-{1 + day % 25:02d}T10:50:31" for day in range(25))
TASKS = len(CELLS) * len(TIMES) * (64 // CHUNK) ** 2
LONGEST_S = 240.0
IDLE = ("--idle-timeout", "300")
"""A cluster whose test was killed ends some day."""
PATH = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
ENVIRONMENT = os.environ | {"PYTHONPATH": PATH, "OMP_NUM_THREADS": "1"}


class Cluster:
    """A scheduler, and worker processes that their nannies start anew."""

    def __init__(self, folder, workers=WORKERS):
        self.folder, self.workers, self.number = folder, workers, 0
        self.programs = []
        self.start()

    def start(self):
        self.number += 1
        self.file = self.folder / f"scheduler-{self.number}.json"
        common = ["--scheduler-file", str(self.file), "--no-dashboard"]
        self.scheduler = self._program("dask_scheduler", *common, "--host", "127.0.0.1", "--port", "0", *IDLE)
        wait(self.file.exists)
        sizes = ["--nworkers", str(self.workers), "--nthreads", "1", "--memory-limit", "0", "--death-timeout", "90"]
        self.nannies = self._program("dask_worker", *common, *sizes, "--local-directory", str(self.folder))

    def processes(self):
        """Processes that run tasks."""
        with suppress(psutil.Error):
            children = psutil.Process(self.nannies.pid).children()
            return [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]
        return []

    def kill_worker(self, rng):
        with suppress(psutil.Error, IndexError):
            rng.choice(self.processes()).send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV]))

    def kill_scheduler(self):
        self.scheduler.kill()
        self.stop()

    def stop(self):
        for program in self.programs:
            if program.poll() is None:
                program.terminate()
        for program in self.programs:
            with suppress(subprocess.TimeoutExpired):
                program.wait(15)
            if program.poll() is None:
                for child in psutil.Process(program.pid).children(recursive=True):
                    child.kill()
                program.kill()
                program.wait()
        self.programs = []

    def _program(self, name, *arguments):
        log = (self.folder / f"{name}-{self.number}.log").open("wb")
        command = [sys.executable, "-m", f"distributed.cli.{name}", *arguments]
        with log:
            program = subprocess.Popen(command, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True)
        self.programs.append(program)
        return program


@contextmanager
def cluster_in(folder, workers=WORKERS):
    folder.mkdir()
    found = Cluster(folder, workers)
    try:
        yield found
    finally:
        found.stop()


def coordinator(store, cluster, *options):
    command = [sys.executable, "-m", "chaos_run", str(store), str(cluster.file), *options]
    return subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def said(program):
    """Standard output and error of a coordinator, which has to end by itself."""
    out, err = program.communicate(timeout=LONGEST_S)
    return f"exit code {program.returncode}\n{out}\n{err}"


def wait(condition, *, while_running=None):
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        if while_running is not None and while_running.poll() is not None:
            return
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)


def recorded(store):
    folder = store / "ledger" / "records"
    return sum(len(files) for _, _, files in os.walk(folder))


def content(store):
    """Bytes of all files of the masks."""
    folder = store / "masks"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Bytes of a campaign that one process has done, task by task."""
    store = tmp_path_factory.mktemp("undisturbed") / "campaign"
    sink = open_sink(make_campaign(store, cells=CELLS, times=TIMES))
    for task in tasks_of(store):
        sink.write(task, codes_of(task))
    return content(store)


def check(store, undisturbed, *, redone_most):
    tasks = tasks_of(store)
    assert len(tasks) == TASKS
    ledger = open_ledger(str(store))
    assert dict(ledger.states()) == {task.key: "ok" for task in tasks}
    found = content(store)
    assert set(found) == set(undisturbed)
    assert [name for name in found if found[name] != undisturbed[name]] == []
    begun = Counter(chaos_run.noted(store, "begun"))
    assert set(begun) == {task.key for task in tasks}
    assert begun.total() - TASKS <= redone_most, begun.most_common(3)


class Chaos:
    """Disturbs a campaign until it is done."""

    def __init__(self, store, cluster, seed):
        self.store, self.cluster, self.rng = store, cluster, random.Random(seed)  # noqa: S311
        self.log = []
        self.program = coordinator(store, cluster)
        self.redone = 0
        """Tasks that may have been begun in vain."""

    def run(self):
        events = [self.scheduler, self.client, self.disk, self.second]
        events += [self.worker] * WORKER_KILLS
        self.rng.shuffle(events)
        steps = sorted(self.rng.sample(range(5, TASKS - 80), len(events)))
        for event, step in zip(events, steps, strict=True):
            wait(lambda step=step: recorded(self.store) >= step, while_running=self.program)
            assert self.program.poll() is None, (self.log, said(self.program))
            self.log.append((event.__name__, recorded(self.store)))
            event()
        self.log.append(said(self.program))
        assert self.program.returncode == chaos_run.DONE, self.log

    def again(self):
        """Type the same command again."""
        before = recorded(self.store)
        self.program = coordinator(self.store, self.cluster)
        wait(lambda: recorded(self.store) > before, while_running=self.program)

    def worker(self):
        self.cluster.kill_worker(self.rng)
        self.redone += 1

    def scheduler(self):
        self.cluster.kill_scheduler()
        self.log.append(said(self.program))
        assert self.program.returncode == chaos_run.LOST, self.log
        assert "type the same command again" in self.log[-1]
        self.redone += WORKERS
        self.cluster.start()
        self.again()

    def client(self):
        number = self.rng.choice([signal.SIGKILL, signal.SIGTERM])
        self.program.send_signal(number)
        self.log.append(said(self.program))
        assert self.program.returncode == (-9 if number == signal.SIGKILL else chaos_run.STOPPED), self.log
        # Workers do not know that nobody waits: what they do meanwhile is finished, and may be begun again.
        self.redone += WORKERS
        self.again()

    def disk(self):
        full = self.store / chaos_run.FULL
        full.touch()
        self.log.append(said(self.program))
        assert self.program.returncode == chaos_run.FATAL, self.log
        assert "No space left" in self.log[-1]
        full.unlink()
        # Every task that began while the disk was full began in vain: at most those in flight.
        self.redone += chaos_run.WINDOW
        self.again()

    def second(self):
        hold = self.store / chaos_run.HOLD
        hold.touch()
        other = coordinator(self.store, self.cluster)
        self.log.append(said(other))
        hold.unlink()
        assert other.returncode == chaos_run.HELD, self.log
        assert "since" in self.log[-1]


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_killed_the_bytes_are_those_of_an_undisturbed_run(tmp_path, undisturbed, seed):
    store = tmp_path / "campaign"
    make_campaign(store, cells=CELLS, times=TIMES)
    with cluster_in(tmp_path / "cluster") as cluster:
        chaos = Chaos(store, cluster, seed)
        try:
            chaos.run()
        finally:
            chaos.program.kill()
            chaos.program.communicate()
    check(store, undisturbed, redone_most=chaos.redone)


def test_two_coordinators_without_a_lease_lose_nothing(tmp_path, undisturbed):
    store = tmp_path / "campaign"
    make_campaign(store, cells=CELLS, times=TIMES)
    with cluster_in(tmp_path / "cluster", 2) as cluster:
        both = [coordinator(store, cluster, "--no-lease") for _ in range(2)]
        for program in both:
            text = said(program)
            assert program.returncode == chaos_run.DONE, text
    check(store, undisturbed, redone_most=TASKS)
