"""Tasks on a cluster: in windows, isolated where they kill, drained, stopped, watched."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from campaign_tasks import fake_process, fake_tasks, marks, no_op
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from xcloudmask.errors import ArgumentError, ClusterError, ReadError, WeightsError, WriteError
from xcloudmask.run.coordinator import RunResult, prepare_cluster, run_tasks
from xcloudmask.run.drain import draining
from xcloudmask.run.faults import FatalError
from xcloudmask.run.isolate import run_isolated
from xcloudmask.run.metrics import Metrics
from xcloudmask.run.progress import RunProgress
from xcloudmask.run.task import Job, Record
from xcloudmask.run.wire import Outcome, process_name, task_from_json, task_to_json

distributed = pytest.importorskip("distributed")

FAKE = "campaign_tasks:fake_process"
NO_OP = "campaign_tasks:no_op"


@pytest.fixture(scope="module")
def client():
    from xcloudmask.cluster import local_cluster

    with (
        local_cluster(workers=2, threads=2, memory_limit="2GB") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


class Ledger:
    """What `run_tasks` wants of one."""

    def __init__(self):
        self.records = []

    def put(self, record):
        self.records.append(record)
        return True


# The wire


def test_a_task_travels_as_one_line_of_json(tmp_path):
    for task in fake_tasks(tmp_path, 3, t1={"do": "ok", "text": "two\nlines é"}):
        line = task_to_json(task)
        assert b"\n" not in line
        json.loads(line)
        assert task_from_json(line) == task


def test_outcomes_travel_as_bytes(tmp_path):
    (task,) = fake_tasks(tmp_path, 1)
    done = Outcome(record=no_op(task))
    assert Outcome.from_bytes(done.to_bytes()) == done
    assert Outcome.from_bytes(Outcome(fatal="disk ü").to_bytes()).fatal == "disk ü"


@given(st.binary(max_size=40))
def test_what_is_no_outcome_is_refused(data):
    try:
        found = Outcome.from_bytes(data)
    except ReadError:
        return
    assert found.record is None
    assert data[:1] == b"!"


def test_functions_that_workers_cannot_import_are_refused():
    assert process_name(fake_process) == FAKE
    with pytest.raises(ArgumentError, match=r"another function|cannot be imported"):
        process_name(lambda task: task)
    with pytest.raises(ArgumentError, match="module:function"):
        process_name("xcloudmask.run.nowhere:process")
    with pytest.raises(ArgumentError, match="is a str"):
        process_name("xcloudmask:__version__")


# Runs


def test_each_task_runs_once_and_the_window_holds(client, tmp_path):
    flying, taken = [], []

    class Watch:
        def record(self, record):
            taken.append(record.key)

        def tick(self, *, flying, isolated):
            seen.append((flying, isolated))

    seen = []
    read = 0

    def tasks():
        nonlocal read
        for task in fake_tasks(tmp_path, 60):
            read += 1
            flying.append(read - len(taken))
            yield task

    records = []
    result = run_tasks(tasks(), client, process=FAKE, window=12, on_record=records.append, watchers=[Watch()])
    assert result.counts == {"ok": 60}
    assert result.complete
    assert result.isolated == 0
    assert Counter(marks(tmp_path)) == {f"s{index}": 1 for index in range(60)}
    assert sorted(record.key for record in records) == sorted(taken) == sorted(t.key for t in fake_tasks(tmp_path, 60))
    # One more is read before it is sent.
    assert max(flying) <= 13
    assert {isolated for _, isolated in seen} == {0}
    assert "60 ok" in repr(result)


def test_nothing_stays_on_the_cluster(client, tmp_path):
    run_tasks(fake_tasks(tmp_path, 20), client, process=NO_OP)
    deadline = time.monotonic() + 20
    while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) == 0
    assert not client.futures


def test_the_scheduler_forgets(client, tmp_path, monkeypatch):
    from dask.utils import key_split

    monkeypatch.setattr("xcloudmask.run._plugins._KEYS_KEPT", 100)
    run_tasks(fake_tasks(tmp_path, 1000), client, process=NO_OP, window=100)
    # It runs in this process. Between two looks, some more come.
    assert key_split.cache_info().currsize < 400
    scheduler = client.cluster.scheduler
    logs = [comm.recent_message_log for comm in (*scheduler.stream_comms.values(), *scheduler.client_comms.values())]
    assert len(logs) >= 3
    assert {log.maxlen for log in logs} == {10}


def test_the_dashboard_shows_a_name(client, tmp_path):
    run_tasks(fake_tasks(tmp_path, 3), client, process=NO_OP)
    prefixes = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.task_prefixes))
    assert "cloudmask" in prefixes


def test_no_tasks_no_cluster():
    result = run_tasks(iter(()), client=None)
    assert result == RunResult()
    assert repr(result) == "<RunResult nothing to do in 0 s>"


@pytest.mark.parametrize(("name", "value"), [("window", 0), ("window", 2.5), ("timeout_s", 0), ("timeout_s", -1)])
def test_arguments_that_make_no_sense(name, value):
    with pytest.raises(ArgumentError, match=name):
        run_tasks(iter(()), None, **{name: value})


def test_a_bug_fails_its_task_only(client, tmp_path):
    ledger = Ledger()
    result = run_tasks(fake_tasks(tmp_path, 8, t3={"do": "raise"}), client, process=FAKE, ledger=ledger)
    assert result.counts == {"ok": 7, "failed": 1}
    assert not result.complete
    (record,) = ledger.records
    assert (record.status, record.reason, record.ids) == ("failed", "RuntimeError: a bug", ("s3",))
    assert result.failures == (record,)


def test_an_error_of_the_caller_takes_everything_back(client, tmp_path):
    def listen(record):
        raise KeyError("listener")

    with pytest.raises(KeyError, match="listener"):
        run_tasks(fake_tasks(tmp_path, 50, each={"seconds": 0.05}), client, process=FAKE, on_record=listen)
    assert len(marks(tmp_path)) < 50


# Death


def test_what_kills_its_worker_is_isolated_and_costs_nothing_else(client, tmp_path):
    special = {"t2": {"do": "segfault"}, "t8": {"do": "chatty"}}
    ledger = Ledger()
    tasks = list(fake_tasks(tmp_path, 16, **special))
    # One that kills in each run: two could interrupt each other where they run alone.
    first, second = (run_tasks(part, client, process=FAKE, ledger=ledger, window=4) for part in (tasks[:8], tasks[8:]))
    assert first.counts == {"ok": 7, "quarantined": 1}
    assert second.counts == {"ok": 8}
    assert 1 <= first.isolated <= 4
    assert 1 <= second.isolated <= 4
    (record,) = ledger.records
    assert record.ids == ("s2",)
    assert re.search(r"killed its worker.*signal 11 \(SIGSEGV\)", record.reason)
    ran = Counter(marks(tmp_path))
    assert ran["s2"] == ran["s8"] == 2
    assert set(ran) == {f"s{index}" for index in range(16)}


@pytest.mark.slow
def test_what_takes_too_long_is_ended_even_with_the_interpreter_locked(client, tmp_path):
    ledger = Ledger()
    tasks = fake_tasks(tmp_path, 4, t2={"do": "hang"})
    result = run_tasks(tasks, client, process=FAKE, ledger=ledger, timeout_s=3, window=2)
    assert result.counts == {"ok": 3, "quarantined": 1}
    (record,) = ledger.records
    assert record.ids == ("s2",)
    assert "took longer than 3 s" in record.reason


@pytest.mark.parametrize(
    ("deed", "limits", "status", "reason"),
    [
        ("ok", {}, "ok", ""),
        ("killed", {}, "quarantined", "signal 9"),
        ("hang", {"timeout_s": 1.0}, "quarantined", "took longer than 1 s"),
        ("memory", {"memory_bytes": 400 * 2**20}, "quarantined", "more memory"),
        ("raise", {}, "failed", "a bug"),
    ],
)
def test_a_process_of_its_own(tmp_path, deed, limits, status, reason):
    (task,) = fake_tasks(tmp_path, 1, t0={"do": deed})
    outcome = run_isolated(task, process=FAKE, **limits)
    assert outcome.record.status == status
    assert reason in outcome.record.reason
    assert outcome.record.key == task.key


def test_a_process_that_cannot_start_is_no_fault_of_the_scene(tmp_path):
    (task,) = fake_tasks(tmp_path, 1)
    record = run_isolated(task, process="no_such_module:process").record
    assert record.status == "failed"
    assert "did not start (exit code 1)" in record.reason


def test_a_child_ends_with_its_parent(tmp_path):
    (task,) = fake_tasks(tmp_path, 1, t0={"seconds": 60})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "xcloudmask.run.isolate", FAKE]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    child.stdin.write(task_to_json(task) + b"\n")
    child.stdin.flush()
    assert child.stdout.read(1) == b">"
    child.stdin.close()
    assert child.wait(20) == 70
    child.stdout.close()


# Transactions


def test_windows_of_a_transactional_store(client, tmp_path):
    pytest.importorskip("icechunk")
    import chaos_run
    from run_campaigns import codes_of, make_campaign, tasks_of

    from xcloudmask.io.icechunk import history
    from xcloudmask.run.ledger import open_ledger
    from xcloudmask.run.stores.base import open_sink

    store = tmp_path / "campaign"
    job = make_campaign(store, kind="icechunk")
    tasks = tasks_of(store)
    (store / f"{chaos_run.DEADLY}-{tasks[1].key}").touch()
    repository = store / "masks.icechunk"
    before = len(history(repository))
    result = run_tasks(
        iter(tasks),
        client,
        process="chaos_run:masked",
        in_transaction="chaos_run:masked_in_transaction",
        sink=open_sink(job),
        ledger=open_ledger(job),
        window=3,
    )
    assert result.counts == {"ok": len(tasks)}
    assert 1 <= result.isolated <= 3
    ledger, sink = open_ledger(job), open_sink(job)
    records = [ledger.get(task.key) for task in tasks]
    for task, record in zip(tasks, records, strict=True):
        np.testing.assert_array_equal(sink.read(task), codes_of(task))
        assert record.status == "ok"
    snapshots = Counter(record.snapshot for record in records)
    # A commit for each window, and one for each task that had to run alone, which names none.
    alone = snapshots.pop("", 0)
    assert alone == result.isolated
    assert max(snapshots.values()) <= 3
    assert len(history(repository)) - before == len(snapshots) + alone


# The end


def test_draining_finishes_what_has_begun_and_no_more(client, tmp_path):
    stop = threading.Event()
    records = []

    def listen(record):
        records.append(record.ids[0])
        if len(records) == 3:
            stop.set()

    tasks = fake_tasks(tmp_path, 200, each={"seconds": 0.1})
    result = run_tasks(tasks, client, process=FAKE, stop=stop, on_record=listen, window=100)
    assert result.drained
    assert not result.complete
    ran = Counter(marks(tmp_path))
    assert 3 <= len(ran) < 60
    # Nothing that was begun is lost: all but those that began between the question and the withdrawal.
    assert len(set(ran) - set(records)) <= 4
    assert "stopped" in repr(result)


def test_a_fatal_error_stops_the_run(client, tmp_path):
    tasks = fake_tasks(tmp_path, 200, each={"seconds": 0.05}, t5={"do": "fatal"})
    with pytest.raises(FatalError, match="the disk is full"):
        run_tasks(tasks, client, process=FAKE, window=50)
    assert len(marks(tmp_path)) < 100
    # And the cluster is as good as new.
    assert run_tasks(fake_tasks(tmp_path, 4), client, process=NO_OP).counts == {"ok": 4}


def test_no_workers(tmp_path):
    from xcloudmask.cluster import local_cluster

    with (
        local_cluster(workers=1, processes=False) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        cluster.scale(0)
        client.sync(cluster._correct_state)
        with pytest.raises(ClusterError, match="no workers"):
            run_tasks(fake_tasks(tmp_path, 2), client, process=NO_OP, workers_timeout_s=1)


def test_a_cluster_inside_this_process_works_and_is_not_ended(tmp_path):
    from xcloudmask.cluster import local_cluster

    with (
        local_cluster(workers=1, processes=False) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        result = run_tasks(fake_tasks(tmp_path, 2, t0={"seconds": 0.5}), client, process=FAKE, timeout_s=0.1)
    assert result.counts == {"ok": 2}


def test_workers_load_the_model_before_the_first_task(tmp_path, tiny_model):
    from run_tasks import card_of

    from xcloudmask.cluster import local_cluster
    from xcloudmask.models import cache

    card = card_of(tiny_model, tmp_path / "card")
    job = Job(store=str(tmp_path), kind="zarr", model=card, model_sha256=tiny_model.sha256, options={"device": "cpu"})
    with (
        local_cluster(workers=1, processes=False) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        with pytest.raises(WeightsError, match="this worker has weights"):
            prepare_cluster(client, job=replace(job, model_sha256="ab" * 32))
        before = len(cache._runners)
        prepare_cluster(client, job=job)
        assert len(cache._runners) == before + 1
        # A worker that comes later has it too, and those of others are not harmed.
        cluster.scale(2)
        client.wait_for_workers(2, timeout=60)


def test_a_scheduler_that_is_gone(tmp_path):
    from xcloudmask.cluster import local_cluster

    with local_cluster(workers=1, processes=False) as cluster:
        client = distributed.Client(cluster, set_as_default=False)
    with client, pytest.raises(ClusterError, match="type the same command again"):
        run_tasks(fake_tasks(tmp_path, 2), client, process=NO_OP)


def test_a_cluster_without_xcloudmask():
    class Bare:
        status, undone = "running", False

        def register_plugin(self, plugin):
            raise ModuleNotFoundError("No module named 'xcloudmask'")

        def unregister_worker_plugin(self, name):
            self.undone = True

    client = Bare()
    with pytest.raises(ClusterError, match=r"No module named 'xcloudmask'.*pip install"):
        prepare_cluster(client)
    assert client.undone


# Signals

RUNNER = """
import sys
from xcloudmask.cluster import local_cluster
from xcloudmask.run.coordinator import run_tasks
from xcloudmask.run.drain import draining
from campaign_tasks import fake_tasks
import distributed

if __name__ == "__main__":
    with (
        draining() as stop,
        local_cluster(workers=1, threads=2) as cluster,
        distributed.Client(cluster) as client,
    ):
        tasks = fake_tasks(sys.argv[1], 500, each={"seconds": float(sys.argv[2])})
        result = run_tasks(
            tasks, client, process="campaign_tasks:fake_process", stop=stop,
            on_record=lambda record: print(record.ids[0], flush=True),
        )
        print(result, flush=True)
    sys.exit(stop.exit_code)
"""


def start(tmp_path, seconds):
    script = tmp_path / "runner.py"
    script.write_text(RUNNER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(script), str(tmp_path), str(seconds)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(tmp_path, number):
    program = start(tmp_path, 0.3)
    first = [program.stdout.readline() for _ in range(2)]
    # Ctrl-C reaches all processes of a terminal.
    os.killpg(program.pid, number) if number == signal.SIGINT else program.send_signal(number)
    out, err = program.communicate(timeout=60)
    assert program.returncode == 128 + number, err
    assert "finishing what has begun" in err
    said = "".join(first) + out
    assert "stopped" in said
    finished = set(said.split()) & set(marks(tmp_path))
    assert len(set(marks(tmp_path)) - finished) <= 2
    assert len(finished) < 100


@pytest.mark.slow
def test_a_second_signal_leaves_at_once(tmp_path):
    program = start(tmp_path, 30)
    deadline = time.monotonic() + 60
    while not marks(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    program.send_signal(signal.SIGTERM)
    assert "finishing" in program.stderr.readline()
    program.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    assert program.wait(20) == 143
    assert time.monotonic() - begun < 10
    program.stdout.close()
    program.stderr.close()


def test_draining_puts_the_handlers_back():
    before = signal.getsignal(signal.SIGTERM)
    lines = []
    with draining(notify=lines.append) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)
        assert stop.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert len(lines) == 1


def test_draining_in_another_thread_hears_nothing():
    found = []

    def run():
        with draining() as stop:
            found.append(stop.exit_code)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [0]


# Watchers


def one(status="ok", **more):
    (task,) = fake_tasks(Path("/nowhere"), 1)
    return Record(
        key="k", status=status, name=task.name, cell="c", time=task.time, region=task.region, ids=("a",), **more
    )


def test_progress_without_a_terminal_says_a_line_now_and_then():
    now = [0.0]
    out = io.StringIO()
    console = Console(file=out, width=200)
    with RunProgress(total=10, console=console, clock=lambda: now[0]) as progress:
        for _ in range(4):
            now[0] += 10
            progress.record(one())
            progress.tick(flying=3, isolated=0)
        progress.record(one("quarantined", reason="bad [red]\x1b[31mfile"))
        progress.tick(flying=2, isolated=1)
    lines = out.getvalue().splitlines()
    assert lines[0] == "3 of 10 tasks (30%), 6.0/min, 1 min 10 s left, 3 in flight"
    assert lines[1].startswith("quarantined: ")
    assert lines[1].endswith("bad [red]?[31mfile")
    assert lines[-1].startswith("5 of 10 tasks (50%), 7.5/min, 40 s left, 1 quarantined, 2 in flight, 1 isolated")
    assert len(lines) == 3


def test_progress_in_a_terminal_is_a_bar():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with RunProgress(total=2, console=console) as progress:
        progress.record(one())
        progress.record(one())
        progress.tick(flying=0, isolated=0)
    assert "2/2" in out.getvalue()
    assert out.getvalue().endswith("\x1b[?25h")


def test_metrics_in_a_file_and_on_a_port(tmp_path):
    path = tmp_path / "run.prom"
    record = one(fractions={"clear": 0.75, "nodata": 0.25}, seconds={"read": 1.5, "total": 2.0})
    with Metrics(total=7, path=path, port=0, clock=lambda: 5.0) as metrics:
        assert "xcloudmask_tasks_planned 7\n" in path.read_text()
        metrics.record(record)
        metrics.record(one("failed"))
        metrics.tick(flying=4, isolated=2)
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/metrics", timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = answer.read().decode()
    assert text == path.read_text()
    for line in (
        'xcloudmask_tasks_total{status="ok"} 1',
        'xcloudmask_tasks_total{status="failed"} 1',
        'xcloudmask_tasks_total{status="nodata"} 0',
        "xcloudmask_tasks_in_flight 4",
        "xcloudmask_tasks_isolated_total 2",
        'xcloudmask_task_seconds_total{stage="read"} 1.5',
        'xcloudmask_pixels_total{class="clear"} 3072',
        "xcloudmask_last_task_time_seconds 5",
    ):
        assert line in text.splitlines()
    # Each line is a comment or a sample.
    pattern = re.compile(r'(# (HELP|TYPE) .+|\w+(\{\w+="[^"]*"\})? [0-9.e+-]+)')
    assert all(pattern.fullmatch(line) for line in text.splitlines())


def test_metrics_that_cannot_be_had(tmp_path):
    with pytest.raises(WriteError, match="missing"), Metrics(total=1, path=tmp_path / "missing" / "run.prom"):
        pass
    with pytest.raises(ArgumentError, match="metrics_port=70000"):
        Metrics(total=1, port=70_000)
    with Metrics(total=1, port=0) as metrics, pytest.raises(ArgumentError, match="free port"):
        Metrics(total=1, port=metrics.port)
