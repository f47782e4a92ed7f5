"""The lease: one coordinator, who comes after one that died, and what happens where two think that it is theirs."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from run_places import bucket, memory_url  # noqa: F401  # a fixture

from xcloudmask.errors import WriteError
from xcloudmask.run import lease as module
from xcloudmask.run.lease import LeaseHeldError, hold_lease, holder_of
from xcloudmask.run.objects import open_objects

LEASE = "ledger/lease.json"


@pytest.fixture(params=["local", "memory", "s3"])
def objects(request, tmp_path):
    if request.param == "local":
        return open_objects(tmp_path / "campaign")
    return open_objects(request.getfixturevalue("bucket") + "/c" if request.param == "s3" else memory_url())


def foreign(objects, *, age_s, **changes):
    """Leave the lease of another machine, whose last heartbeat is that old."""
    fields = {"token": "other", "who": "ann@far, process 7", "machine": "far", "pid": 7, "since": "2024-01-01T00:00:00"}
    times: dict[str, Any] = {"beat": time.time() - age_s, "beat_s": 0.01, "limit_s": 60.0}
    objects.put(LEASE, json.dumps(fields | times | changes).encode())


def test_a_second_one_is_refused(objects):
    with hold_lease(objects) as lease:
        assert holds(objects, lease)
        refused = rf"is coordinated by .*process {os.getpid()}, since {lease.holder.since} UTC.* Stop that one first"
        with pytest.raises(LeaseHeldError, match=refused), hold_lease(objects):
            pass
        assert not lease.lost.is_set()
        assert holds(objects, lease)
    assert holder_of(objects) is None
    with hold_lease(objects):
        pass
    assert [name for name in objects.list("ledger/") if not name.endswith("lock")] == []


def test_one_of_another_machine(objects):
    foreign(objects, age_s=5)
    with pytest.raises(LeaseHeldError, match=r"by ann@far, process 7, since 2024.*\d+ s old.*again in 60 s"):
        hold_lease(objects).__enter__()
    assert holder_of(objects).who == "ann@far, process 7"
    foreign(objects, age_s=61)
    assert holder_of(objects) is None
    with hold_lease(objects, sleep=lambda _seconds: None) as lease:
        assert holds(objects, lease)


def test_clocks_that_differ(objects):
    """A heart that beats is seen to beat, whatever its clock says."""
    foreign(objects, age_s=3600)

    def sleep(_seconds):
        foreign(objects, age_s=3599)

    with pytest.raises(LeaseHeldError, match="ann@far"):
        hold_lease(objects, sleep=sleep).__enter__()
    foreign(objects, age_s=-3600)  # in the future, and still
    with hold_lease(objects, sleep=lambda _seconds: None):
        pass


def test_two_take_over_at_once(tmp_path):
    """The last one to write has it; the other one sees that."""
    objects = open_objects(memory_url())
    foreign(objects, age_s=100)

    def sleep(seconds):
        if seconds == module._SETTLE_S:
            foreign(objects, age_s=0)

    with pytest.raises(LeaseHeldError, match="ann@far"):
        hold_lease(objects, sleep=sleep).__enter__()


def test_many_at_once(tmp_path):
    start, won, lost, over = threading.Barrier(6), [], [], threading.Event()

    def ask():
        start.wait()
        try:
            with hold_lease(open_objects(tmp_path)):
                won.append(1)
                over.wait(60)
        except LeaseHeldError:
            lost.append(1)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 60
    while len(lost) < 5 and time.monotonic() < until:
        time.sleep(0.01)
    over.set()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 5)


COORDINATOR = """
import sys, time
from xcloudmask.run.lease import hold_lease
from xcloudmask.run.objects import open_objects
with hold_lease(open_objects(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(1000)
"""


@pytest.mark.parametrize("place", ["local", "s3"])
def test_after_a_coordinator_that_was_killed(request, tmp_path, place):
    url = str(tmp_path) if place == "local" else request.getfixturevalue("bucket")
    objects = open_objects(url)
    with subprocess.Popen([sys.executable, "-c", COORDINATOR, url], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "ready\n"
            with pytest.raises(LeaseHeldError, match=rf"process {other.pid}, since"):
                hold_lease(objects).__enter__()
            assert holder_of(objects).pid == other.pid
        finally:
            other.send_signal(signal.SIGKILL)
    assert holder_of(objects) is None
    with hold_lease(objects) as lease:  # at once: it is seen that the process is gone
        assert holds(objects, lease)


def test_a_child_does_not_keep_the_lock(tmp_path):
    with hold_lease(open_objects(tmp_path)):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    try:
        with hold_lease(open_objects(tmp_path)):
            pass
    finally:
        child.kill()
        child.wait()


def test_process_numbers_that_are_used_again(objects):
    """Containers: the same machine, the same number, another process."""
    foreign(objects, age_s=0, machine=module._machine(), pid=os.getpid())
    assert holder_of(objects) is None
    with hold_lease(objects):
        pass


def test_the_lock_knows_better_than_process_numbers(tmp_path):
    """The number of the dead coordinator belongs to something else now."""
    objects = open_objects(tmp_path)
    foreign(objects, age_s=0, machine=module._machine(), pid=1)
    with hold_lease(objects):
        pass


def test_heartbeats(objects):
    with hold_lease(objects, beat_s=0.02) as lease:
        wait_until(lambda: json.loads(objects.get(LEASE))["beat"] > lease.holder.beat)
        assert not lease.lost.is_set()
        objects.delete([LEASE])  # by somebody who tidies up
        wait_until(lambda: objects.get(LEASE) is not None)
        assert holds(objects, lease)


def test_one_that_was_taken_over_is_told(objects):
    told = threading.Event()
    with hold_lease(objects, beat_s=0.02, on_lost=told.set) as lease:
        while not told.is_set():  # a heartbeat may be on its way
            foreign(objects, age_s=0)
            told.wait(0.2)
        assert lease.lost.is_set()
    assert holder_of(objects).who == "ann@far, process 7"  # it is not ours to delete


def test_a_store_that_does_not_answer(monkeypatch):
    objects = open_objects(memory_url())
    broken = threading.Event()
    plain = type(objects).get

    def get(self, name, **options):
        if broken.is_set():
            raise module.WriteError("503")
        return plain(self, name, **options)

    monkeypatch.setattr(type(objects), "get", get)
    with hold_lease(objects, beat_s=0.02, limit_s=0.5) as lease:
        broken.set()
        time.sleep(0.1)
        assert not lease.lost.is_set()  # it may come back
        broken.clear()
        time.sleep(0.1)
        broken.set()
        assert lease.lost.wait(30)
        broken.clear()


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"token": 1}', b"[" * 9_000, b"1e999"])
def test_a_lease_that_is_none(tmp_path, data):
    objects = open_objects(tmp_path)
    objects.put(LEASE, data)
    assert holder_of(objects) is None
    with hold_lease(objects) as lease:
        assert holds(objects, lease)


@pytest.mark.parametrize(
    "changes",
    [{"limit_s": 1e9}, {"beat_s": 1e9}, {"beat_s": -1}, {"pid": 10**30}, {"beat": 10**400}, {"beat": float("nan")}],
)
def test_a_lease_with_numbers_of_somebody_else(tmp_path, changes):
    objects = open_objects(tmp_path)
    foreign(objects, age_s=100, machine=module._machine(), **changes)
    with hold_lease(objects, sleep=lambda _seconds: None) as lease:
        assert holds(objects, lease)


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(*_args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    objects = open_objects(tmp_path)
    with hold_lease(objects), pytest.raises(LeaseHeldError, match="is coordinated by"):
        hold_lease(objects).__enter__()


def test_a_store_that_cannot_be_written(tmp_path):
    (tmp_path / "store").write_text("a file")
    with pytest.raises(WriteError, match=r"lease.lock cannot be written: .*Expected a folder of yours"):
        hold_lease(open_objects(tmp_path / "store")).__enter__()


def test_users_without_a_name(monkeypatch):
    def nobody():
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)
    with hold_lease(open_objects(memory_url())) as lease:
        assert lease.holder.who.startswith("somebody@")


def holds(objects, lease):
    return replace(holder_of(objects), beat=lease.holder.beat) == lease.holder


def wait_until(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
