"""A campaign under everything that may happen to it, in any order, against a model that knows no failure.

The real `process_task`, ledger, index and store; only reading and predicting are replaced by codes that follow from
the key of a task. First with a store in memory, then with the Zarr store.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from run_places import Killed, Mortal, memory_url

from xcloudmask.errors import ReadError, WriteError
from xcloudmask.run import process
from xcloudmask.run.index import open_index
from xcloudmask.run.ledger import Ledger, open_ledger
from xcloudmask.run.process import process_task
from xcloudmask.run.stores.base import digest_of, open_sink
from xcloudmask.run.task import Cell, Job, Record, Region, Task, task_key
from xcloudmask.run.verify import check_records

LONG = bool(os.environ.get("XCLOUDMASK_LONG"))
CELL = Cell(name="32TPS", crs="EPSG:32632", transform=(10.0, 0.0, 6e5, 0.0, -10.0, 5e6), shape=(16, 8))
REGIONS = (Region(y=(0, 8), x=(0, 8)), Region(y=(8, 16), x=(0, 8)))
TIMES = tuple(f"2024-01-0{day}T10:00:00" for day in (3, 1, 2))
STATUSES = ("ok", "nodata", "quarantined", "failed")
"""The one that counts first."""

which = st.integers(0, len(TIMES) * len(REGIONS) - 1)
"""One of the tasks that are planned, counted round and round."""
death = st.sampled_from(
    [None, ("data", "before"), ("data", "torn"), ("data", "after"), ("record", "before"), ("record", "after")]
)


def codes_of(task: Task) -> np.ndarray:
    """The mask of a task: another one for each key, some without a valid pixel."""
    seed = int(hashlib.sha256(task.key.encode()).hexdigest()[:8], 16)
    if seed % 4 == 0:
        return np.full(task.region.shape, 255, np.uint8)
    return np.random.default_rng(seed).choice(np.array([0, 1, 2, 3, 255], np.uint8), task.region.shape)


class MemorySink:
    """A store in memory that does what `Sink` promises."""

    transactional = False

    def __init__(self, job: Job) -> None:
        self.job, self.owner, self.pixels = job, None, {}

    def prepare(self, cells, attrs=None):
        for _, times in cells:
            if self.owner not in {None, self.job.model_sha256}:
                raise WriteError("holds masks of another model")
            self.owner = self.job.model_sha256
            for time in times:
                self.pixels.setdefault(time, np.full(CELL.shape, 255, np.uint8))

    def write(self, task, codes):
        self.pixels[task.time][slice(*task.region.y), slice(*task.region.x)] = codes
        return digest_of(codes)

    def read(self, what):
        return self.pixels[what.time][slice(*what.region.y), slice(*what.region.x)].copy()

    def with_model(self, job):
        other = MemorySink(job)
        other.owner, other.pixels = self.owner, self.pixels
        return other


class Dying:
    """A store or a ledger in a process that is killed at one of its writes."""

    def __init__(self, inner: Any, name: str, when: str) -> None:
        self._inner, self._name, self._when = inner, name, when

    def __getattr__(self, name):
        return self._die if name == self._name else getattr(self._inner, name)

    def _die(self, *args):
        if self._when == "torn":
            task, codes = args
            self._inner.write(task, np.where(np.arange(8)[:, None] < 4, codes, 7).astype(np.uint8))
        elif self._when == "after":
            getattr(self._inner, self._name)(*args)
        raise Killed


class Late:
    """The ledger as a worker saw it that began before the task was done by another one."""

    def __init__(self, ledger: Ledger) -> None:
        self.put = ledger.put

    def get(self, key):
        return None


class Campaign(RuleBasedStateMachine):
    """The rules are what may happen. `records` and `data` are what there must be then."""

    kind = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="xcloudmask-stateful-"))
        self.numbers = itertools.count()
        self.weather: dict[tuple[str, Region], str] = {}
        self.versions = dict.fromkeys(TIMES, 0)
        self.patch = mock.patch.object(process._Work, "codes", lambda work: self.seen(work.task))
        self.patch.start()
        self.older: list[tuple[Any, dict[str, np.ndarray], Ledger, dict[str, str]]] = []

    @initialize(times=st.lists(st.sampled_from(TIMES), min_size=1, unique=True), count=st.integers(0, 6))
    def begin(self, times, count):
        """Hypothesis leaves some rules out of each example: what all of them need is here."""
        self.new_store("model-a")
        for time in times:
            self.submit(time)
        self.run_some(count, None)

    def new_store(self, model: str) -> None:
        self.job = Job(
            store=memory_url() if self.kind == "memory" else str(self.root / f"store-{next(self.numbers)}"),
            kind="zarr",
            model="tiny",
            model_sha256=model,
            chunk_px=8,
            version="1",
        )
        self.sink = MemorySink(self.job) if self.kind == "memory" else open_sink(self.job)
        self.ledger, self.index = open_ledger(self.job), None
        self.times: list[str] = []
        self.records: dict[str, set[str]] = {}
        self.data: dict[str, np.ndarray] = {}
        self.outdated: list[Task] = []

    # -- what happens ------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.times) < len(TIMES))
    @rule(time=st.sampled_from(TIMES))
    def submit(self, time):
        if time not in self.times:
            self.times.append(time)
            self.data[time] = np.full(CELL.shape, 255, np.uint8)
        self.sink.prepare([(CELL, list(self.times))])

    @rule(count=st.integers(1, 3) | st.just(99), dies=death)
    def run_some(self, count, dies):
        """Start or continue; the process may be killed in the last of the tasks."""
        todo = self.pending()
        assert [task.key for task in todo] == [key for key in self.planned() if self.status(key) in (None, "failed")]
        for number, task in enumerate(todo[:count], 1):
            sink, ledger = self.sink, self.ledger
            last = number == min(count, len(todo)) and dies is not None
            if last and dies[0] == "data":
                sink = Dying(sink, "write", dies[1])
            elif last:
                ledger = Dying(ledger, "put", dies[1])
            self.expect(task, dies if last else None)
            with contextlib.suppress(Killed):
                process_task(task, sink=sink, ledger=ledger, sleep=lambda _seconds: None)

    @rule(which=which, how=st.sampled_from(["duplicate", "late", "outdated"]))
    def again(self, which, how):
        """A task that is done comes again, or is done by a worker that does not know that it is.

        Such a worker may belong to another coordinator, with an older plan.
        """
        task = self.chosen(which)
        if how == "duplicate":
            if self.status(task.key) not in {None, "failed"}:
                nothing = Dying(self.sink, "write", "before"), Dying(self.ledger, "put", "before")
                record = process_task(task, sink=nothing[0], ledger=nothing[1])
                assert record.status == self.status(task.key)
                assert record == self.ledger.get(task.key)
            return
        if how == "outdated" and self.outdated:
            task = self.outdated[-1]
        self.expect(task, None)
        process_task(task, sink=self.sink, ledger=Late(self.ledger), sleep=lambda _seconds: None)

    @rule(which=which, kind=st.sampled_from(["fine", "bad", "flaky", "another"]))
    def change_source(self, which, kind):
        """The source breaks, is well again, or has the scene processed anew: its tasks are others then."""
        task = self.chosen(which)
        if kind == "another":
            self.outdated += [self.task(task.time, region) for region in REGIONS]
            self.versions[task.time] += 1
        else:
            self.weather[task.time, task.region] = kind

    @precondition(lambda self: len(self.older) < 2)
    @rule()
    def change_model(self):
        """Another model is refused in the same store; in a store of its own it begins with nothing done."""
        model = f"model-{len(self.older)}"
        job = replace(self.job, model_sha256=model)
        other = self.sink.with_model(job) if self.kind == "memory" else open_sink(job)
        with pytest.raises(WriteError, match=r"holds"):
            other.prepare([(CELL, list(self.times))])
        before = set(self.planned())
        states = {key: self.status(key) for key in self.records if self.status(key)}
        self.older.append((self.sink, self.data, self.ledger, states))
        times = self.times
        if self.index is not None:
            self.index.close()
        self.new_store(model)
        for time in times:
            self.submit(time)
        assert before.isdisjoint(self.planned())
        assert len(self.pending()) == len(times) * len(REGIONS)

    @rule(quarantined=st.booleans())
    def retry(self, quarantined):
        chosen = {"failed", "quarantined"} if quarantined else {"failed"}
        expected = sum(bool(self.records.get(key, set()) & chosen) for key in self.planned())
        assert self.ledger.forget(self.planned(), statuses=chosen) == expected
        for key in self.planned():
            self.records[key] = self.records.get(key, set()) - chosen

    @rule(which=which, how=st.sampled_from(["other", "cut", "gone"]))
    def corrupt(self, which, how):
        """The disk loses bytes, or somebody writes others."""
        task = self.chosen(which)
        time, region = task.time, task.region
        if self.kind == "zarr" and how != "other":
            number = self.sink._array(CELL.name, time, ReadError).rows[np.datetime64(time, "us")]
            chunk = Path(
                self.job.store, "masks", f"{CELL.name}.zarr", "mask", "c", f"{number}", f"{region.y[0] // 8}", "0"
            )
            if not chunk.exists():
                return
            if how == "cut":
                chunk.write_bytes(chunk.read_bytes()[:-3])
                self.of(time, region)[:] = 77  # cannot be read: equals nothing
            else:
                chunk.unlink()
                self.of(time, region)[:] = 255
            return
        codes = np.full(region.shape, 2, np.uint8)
        self.sink.write(self.task(time, region), codes)
        self.of(time, region)[:] = codes

    @rule()
    def verify(self):
        """Finds what is damaged, all of it and nothing else; the next start writes it again."""
        damaged = self.damaged()
        assert damaged == {
            task.key
            for task in map(self.task, *zip(*self.places(), strict=True))
            if self.status(task.key) in ("ok", "nodata")
            and not np.array_equal(self.of(task.time, task.region), codes_of(task))
        }
        assert self.ledger.forget(damaged, statuses=STATUSES) == len(damaged)
        for key in damaged:
            self.records[key] = set()
        self.refresh()

    @rule(number=st.none() | st.integers(1, 6), after=st.booleans())
    def compact(self, number, after):
        """Gather records; the process may be killed at any change that it makes."""
        if number is None:
            assert self.ledger.compact().damaged == ()
            return
        with contextlib.suppress(Killed):
            Ledger(Mortal(self.ledger.objects, number, after=after)).compact()

    @rule(lost=st.booleans())
    def another_process(self, lost):
        """Nothing is remembered but what is in the store; the index may be lost."""
        if self.index is not None:
            self.index.close()
            if lost:
                self.index.path.unlink(missing_ok=True)
            self.index = None
        self.ledger = open_ledger(self.job)
        if self.kind == "zarr":
            self.sink = open_sink(self.job)

    # -- what there must be ------------------------------------------------------------------------------------------

    @invariant()
    def records_are_right(self):
        expected = {key: self.status(key) for key in self.records if self.status(key)}
        assert dict(self.ledger.states()) == expected
        self.refresh()
        assert dict(self.index.states()) == expected

    @invariant()
    def data_is_right(self):
        """What is there was written by a task, and what a record tells of is there."""
        for time, region in self.places():
            task, expected = self.task(time, region), self.of(time, region)
            if (expected == 77).all():
                with pytest.raises(ReadError):
                    self.sink.read(task)
            else:
                np.testing.assert_array_equal(self.sink.read(task), expected)

    def teardown(self):
        try:
            if hasattr(self, "job"):
                self.to_the_end()
        finally:
            self.patch.stop()
            if getattr(self, "index", None) is not None:
                self.index.close()
            shutil.rmtree(self.root, ignore_errors=True)

    def to_the_end(self):
        """After all that, the campaign is completed, and equals one that nothing ever happened to."""
        self.weather.clear()
        self.another_process(lost=False)
        self.verify()
        self.retry(quarantined=True)
        self.run_some(99, None)
        self.compact(number=None, after=False)
        assert self.pending() == []
        assert self.damaged() == set()
        for time, region in self.places():
            task = self.task(time, region)
            np.testing.assert_array_equal(self.sink.read(task), codes_of(task))
            record = self.ledger.get(task.key)
            assert record.status == ("nodata" if (codes_of(task) == 255).all() else "ok")
            assert record.digest == digest_of(codes_of(task))
        for sink, data, ledger, states in self.older:
            assert dict(ledger.states()) == states
            for time, region in itertools.product(data, REGIONS):
                expected = data[time][slice(*region.y), slice(*region.x)]
                if not (expected == 77).all():
                    np.testing.assert_array_equal(sink.read(self.task(time, region)), expected)

    # -- the model ---------------------------------------------------------------------------------------------------

    def seen(self, task: Task) -> np.ndarray:
        """What reading and predicting give now."""
        weather = self.weather.get((task.time, task.region), "fine")
        if weather == "bad":
            raise ReadError("a.tif: not recognized as being in a supported file format")
        if weather == "flaky":
            raise ReadError("'https://example.org/a.tif' cannot be read (HTTP response code: 503)")
        return codes_of(task)

    def expect(self, task: Task, dies: tuple[str, str] | None) -> None:
        """Do to the model what a task does."""
        weather, codes = self.weather.get((task.time, task.region), "fine"), codes_of(task)
        fails = {"bad": "quarantined", "flaky": "failed"}
        status = fails.get(weather, "nodata" if (codes == 255).all() else "ok")
        if weather not in fails and dies != ("data", "before"):
            self.of(task.time, task.region)[:] = codes
            if dies == ("data", "torn"):
                self.of(task.time, task.region)[4:] = 7
        written = dies in (None, ("record", "after")) or (dies[0] == "data" and weather in fails)
        if written:
            self.records.setdefault(task.key, set()).add(status)

    def status(self, key: str) -> str | None:
        return min(self.records.get(key, ()), key=STATUSES.index, default=None)

    def of(self, time: str, region: Region) -> np.ndarray:
        return self.data[time][slice(*region.y), slice(*region.x)]

    def places(self) -> list[tuple[str, Region]]:
        return list(itertools.product(self.times, REGIONS))

    def task(self, time: str, region: Region) -> Task:
        fingerprints = (str(self.versions[time]),)
        key = task_key(job=self.job, cell=CELL, time=time, region=region, ids=("s",), fingerprints=fingerprints)
        key = f"0{region.y[0] // 8}{key[2:]}"  # two prefixes: segments with several records
        return Task(key=key, cell=CELL, time=time, region=region, sources=(), ids=("s",), job=self.job)

    def chosen(self, which: int) -> Task:
        places = self.places()
        return self.task(*places[which % len(places)])

    def planned(self) -> list[str]:
        return [self.task(*one).key for one in self.places()]

    def refresh(self):
        if self.index is None:
            self.index = open_index(self.ledger)
        assert self.index.refresh(self.ledger).damaged == ()

    def pending(self) -> list[Task]:
        self.refresh()
        done = {key for key, status in self.index.states() if status != "failed"}
        return [task for task in itertools.starmap(self.task, self.places()) if task.key not in done]

    def damaged(self) -> set[str]:
        self.refresh()
        planned = set(self.planned())
        records: list[Record] = [record for record in self.index.records() if record.key in planned]
        return {record.key for record, problem in check_records(records, self.sink, threads=1) if problem}


class ZarrCampaign(Campaign):
    kind = "zarr"


patient = pytest.mark.timeout(7200 if LONG else 300)
TestInMemory = patient(Campaign.TestCase)
TestInMemory.settings = settings(max_examples=400 if LONG else 35, stateful_step_count=30, deadline=None)
TestInZarr = patient(ZarrCampaign.TestCase)
TestInZarr.settings = settings(max_examples=100 if LONG else 5, stateful_step_count=20, deadline=None)
