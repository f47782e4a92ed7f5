"""What goes wrong: tried again, given up, or a stop; and nothing secret in the reasons."""

from __future__ import annotations

import dataclasses
import errno
import http.client
import json
import pickle
import socket
import threading

import numpy as np
import pystac
import pytest
from http_server import Fault, serve
from hypothesis import given
from hypothesis import strategies as st
from run_tasks import MemoryLedger, MemorySink, card_of, cell_of, disk_full, task_of
from stac_shelf import Shelf, grid_cube

from xcloudmask.errors import (
    ArgumentError,
    BandNotFoundError,
    HrefError,
    InputError,
    MissingPackageError,
    ReadError,
    WeightsError,
    WriteError,
)
from xcloudmask.run import process as process_module
from xcloudmask.run.faults import RETRIED, FatalError, classify, reason_of, status_of
from xcloudmask.run.process import process_task
from xcloudmask.run.task import Job
from xcloudmask.run.turns import Patience, Tries, patiently

SHAPE = (136, 136)
"""A file of more bytes than GDAL asks for when it opens one."""
REMOTE = "Item 'a', asset 'red': 'https://example.org/a.tif' cannot be read ({}). Check the address, the network."
LOCAL = "Item 'a', asset 'red': '/data/a.tif' cannot be read ({}). Check the address, the network."


def caused(error, cause):
    error.__cause__ = cause
    return error


def named(name, **attributes):
    """An error of a package that is not imported here."""
    return type(name, (Exception,), attributes)("it says")


# --- classify ---

READ = [
    ("transient", ReadError(REMOTE.format("HTTP response code: 503"))),
    ("transient", ReadError(REMOTE.format("HTTP response code: 429"))),
    ("transient", ReadError(REMOTE.format("CURL error: Could not resolve host: example.org"))),
    ("transient", ReadError(REMOTE.format("CURL error: Connection reset by peer"))),
    ("transient", ReadError("Item 'a', asset 'red': the server of 'https://example.org/a.tif' does not answer (x).")),
    ("transient", ReadError("Item 'a': the host 'example.org' of 'https://example.org/a' cannot be found (x).")),
    ("transient", ConnectionResetError(errno.ECONNRESET, "reset")),
    ("transient", TimeoutError()),
    ("transient", RuntimeError("cannot schedule new futures after shutdown")),
    ("transient", socket.gaierror(-3, "Temporary failure in name resolution")),
    ("transient", http.client.IncompleteRead(b"")),
    ("transient", OSError(errno.EBUSY, "Please reduce your request rate.")),
    ("transient", named("ReadTimeoutError")),
    ("transient", named("ServerDisconnectedError")),
    ("transient", named("ClientError", response={"ResponseMetadata": {"HTTPStatusCode": 503}})),
    ("transient", caused(ReadError("a.zarr cannot be read"), named("EndpointConnectionError"))),
    ("broken_off", ReadError(REMOTE.format("TIFFReadDirectory:Failed to read directory at offset 9"))),
    ("broken_off", ReadError(REMOTE.format("Read failed. See previous exception for details."))),
    ("broken_off", ReadError(REMOTE.format("'/vsicurl/a' not recognized as being in a supported file format."))),
    ("denied", ReadError(REMOTE.format("HTTP response code: 403"))),
    ("denied", ReadError(REMOTE.format("HTTP response code: 401"))),
    ("denied", PermissionError(errno.EACCES, "Forbidden")),
    ("denied", named("ClientResponseError", status=403)),
    ("scene", ReadError(REMOTE.format("HTTP response code: 404"))),
    ("scene", ReadError(LOCAL.format("TIFFReadDirectory:Failed to read directory at offset 9"))),
    ("scene", ReadError(LOCAL.format("/data/a.tif: No such file or directory"))),
    ("scene", ReadError("/data/a.zarr does not exist.")),
    ("scene", FileNotFoundError(errno.ENOENT, "No such key")),
    ("scene", BandNotFoundError("no nir")),
    ("scene", HrefError("refused")),
    ("scene", InputError("two nodata values")),
    ("failed", ValueError("a bug")),
    ("failed", MemoryError()),
    ("failed", ArgumentError("upsample=3 makes pixels of 3 m")),
    ("failed", RuntimeError("CUDA out of memory")),
    ("fatal", WeightsError("other weights")),
    ("fatal", MissingPackageError("pip install")),
    ("fatal", FatalError("no")),
    ("fatal", OSError(errno.ENOSPC, "full")),
    ("fatal", ReadError(REMOTE.format("AWS_SECRET_ACCESS_KEY and AWS_NO_SIGN_REQUEST not defined"))),
    ("fatal", named("NoCredentialsError")),
]
WRITE = [
    ("transient", WriteError("masks: 503 Service Unavailable")),
    ("transient", caused(WriteError("masks"), OSError(errno.EBUSY, "slow down"))),
    ("transient", ConnectionRefusedError(errno.ECONNREFUSED, "refused")),
    ("fatal", disk_full()),
    ("fatal", caused(WriteError("masks"), OSError(errno.EROFS, "read-only"))),
    ("fatal", caused(WriteError("masks"), PermissionError(errno.EACCES, "denied"))),
    ("fatal", FileNotFoundError(errno.ENOENT, "the store is gone")),
    ("fatal", named("ClientError", response={"ResponseMetadata": {"HTTPStatusCode": 403}})),
    ("failed", WriteError("something else")),
    ("failed", ValueError("a bug")),
]


@pytest.mark.parametrize(("fault", "error"), READ, ids=lambda value: str(value)[:60])
def test_reading(fault, error):
    assert classify(error) == fault


@pytest.mark.parametrize(("fault", "error"), WRITE, ids=lambda value: str(value)[:60])
def test_writing(fault, error):
    assert classify(error, stage="write") == fault


def test_what_follows():
    assert {fault: status_of(fault) for fault in ("transient", "broken_off", "denied", "scene", "failed", "fatal")} == {
        "transient": "failed",
        "broken_off": "quarantined",
        "denied": "failed",
        "scene": "quarantined",
        "failed": "failed",
        "fatal": None,
    }
    assert frozenset({"transient", "broken_off", "denied"}) == RETRIED


def test_a_circle_of_causes_ends():
    first, second = ReadError("a"), ReadError("b")
    first.__cause__, second.__cause__ = second, first
    assert classify(first) == "scene"


def test_a_suppressed_context_says_nothing():
    error = InputError("two grids")
    error.__context__ = ConnectionResetError()
    assert classify(error) == "transient"
    error.__suppress_context__ = True
    assert classify(error) == "scene"


def test_fatal_errors_travel():
    assert str(pickle.loads(pickle.dumps(FatalError("the disk is full")))) == "the disk is full"  # noqa: S301


# --- reasons ---


@given(secret=st.text("abcdefXYZ0123456789", min_size=8, max_size=40))
def test_reasons_hold_no_secret(secret):
    texts = (
        f"'https://a.org/x.tif?sig={secret}&se=2024' cannot be read",
        f"https://user:{secret}@a.org/x.tif: 403",
        f"(s3://bucket/key?X-Amz-Signature={secret})",
        f"two of them: https://a.org/x?t={secret}, https://b.org/y?t={secret}",
    )
    for text in texts:
        reason = reason_of(ReadError(text))
        assert secret not in reason
        assert reason.startswith("ReadError: ")


def test_reasons_are_one_short_line():
    reason = reason_of(ReadError("first\nsecond\x1b[31m" + "x" * 5000))
    assert reason.startswith("ReadError: first second [31mxxx")
    assert len(reason) < 1100
    assert reason_of(ValueError()) == "ValueError"


# --- patience ---


class Flaky:
    """Fails a number of times."""

    def __init__(self, times, error):
        self.times, self.error, self.calls = times, error, 0

    def __call__(self):
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return "done"


def test_tries_again_and_waits_longer_each_time():
    pauses, tries, work = [], Tries(), Flaky(3, TimeoutError())
    found = patiently(work, patience=Patience(), sleep=pauses.append, jitter=lambda: 0.5, tries=tries)
    assert (found, pauses, tries.most) == ("done", [1.0, 2.0, 4.0], 4)


@given(jitter=st.floats(0, 1), tries=st.integers(1, 5000), first=st.floats(0, 100))
def test_pauses_are_bounded(jitter, tries, first):
    pause = Patience(first_s=first, longest_s=60).pause_s(tries, jitter)
    assert 0 <= pause <= 90


def test_gives_up():
    pauses, error = [], TimeoutError("still")
    with pytest.raises(TimeoutError) as caught:
        patiently(Flaky(9, error), patience=Patience(attempts=3), sleep=pauses.append)
    assert caught.value is error
    assert len(pauses) == 2
    pauses.clear()
    with pytest.raises(TimeoutError):
        patiently(Flaky(9, error), patience=Patience(attempts=9, most_s=5), sleep=pauses.append, jitter=lambda: 0.5)
    assert pauses == [1.0, 2.0, 4.0][: len(pauses)]
    assert len(pauses) < 8


def test_what_does_not_pass_is_not_tried_again():
    for error in (InputError("no"), ValueError("bug"), FatalError("stop"), WeightsError("other")):
        work = Flaky(1, error)
        with pytest.raises(type(error)):
            patiently(work, patience=Patience(), sleep=lambda _: pytest.fail("waited"))
        assert work.calls == 1


def test_ctrl_c_is_no_fault():
    with pytest.raises(KeyboardInterrupt):
        patiently(Flaky(1, KeyboardInterrupt()), patience=Patience(), sleep=lambda _: pytest.fail("waited"))


# --- tasks against a server that misbehaves ---


@pytest.fixture
def card(tiny_model, tmp_path_factory):
    return card_of(tiny_model, tmp_path_factory.mktemp("card"))


@pytest.fixture
def job(card, tiny_model, tmp_path):
    return Job(
        store=str(tmp_path / "campaign"),
        kind="zarr",
        model=card,
        model_sha256=tiny_model.sha256,
        options={"normalize": "lattice", "device": "cpu", "precision": "fp32"},
        policy={"allow_private": True, "allow_files": True},
        block_px=64,
    )


@pytest.fixture(autouse=True)
def _no_patience_of_gdal(monkeypatch):
    """GDAL tries by itself, which is not what is tested."""
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    monkeypatch.setattr("xcloudmask.stac.driver._PAUSES_S", ())
    monkeypatch.setattr(process_module, "_denials", process_module._Denials())


@pytest.fixture
def served(tmp_path):
    with serve(tmp_path) as server:
        yield server, Shelf(tmp_path, server.url)


def scene(shelf, name):
    item = shelf.scene(name, grid=grid_cube(shape=SHAPE))
    return pystac.Item.from_dict(item).to_dict(include_self_link=False)


def go(job, *items, sink=None, ledger=None, pauses=None, attempts=4):
    sink, ledger = sink or MemorySink(), ledger or MemoryLedger()
    cell = cell_of(grid_cube(shape=SHAPE))
    task = task_of(job, cell, items)
    waited = [] if pauses is None else pauses
    record = process_task(task, sink=sink, ledger=ledger, patience=Patience(attempts=attempts), sleep=waited.append)
    return record, sink, ledger


FAULTS = {
    "503": {"kind": "status", "status": 503},
    "429": {"kind": "status", "status": 429},
    "500": {"kind": "status", "status": 500},
    "401": {"kind": "status", "status": 401},
    "503 of pixels": {"kind": "status", "status": 503, "from_byte": 2000},
    "truncated": {"kind": "truncate", "after": 100},
    "truncated pixels": {"kind": "truncate", "after": 100, "from_byte": 2000},
    "reset": {"kind": "reset"},
    "reset pixels": {"kind": "reset", "from_byte": 2000},
}


@pytest.mark.parametrize("name", FAULTS)
def test_passing_faults_cost_nothing(job, served, name):
    """A few bad answers, and the mask is that of a quiet day. GDAL would remember them until the process ends."""
    server, shelf = served
    quiet, _, _ = go(job, scene(shelf, "quiet"))
    item = scene(shelf, "flaky")
    server.faults["flaky-B04.tif"] = Fault(**FAULTS[name], times=3 if "pixels" in name else 4)
    pauses = []
    record, _, _ = go(job, item, pauses=pauses, attempts=8)
    assert (record.status, record.reason) == ("ok", "")
    assert record.attempts > 1
    assert len(pauses) == record.attempts - 1
    assert (record.digest, record.fractions) == (quiet.digest, quiet.fractions)


@pytest.mark.parametrize(
    ("name", "status", "tries"),
    [
        ("503", "failed", 3),
        ("429", "failed", 3),
        ("401", "failed", 3),
        ("reset", "failed", 3),
        ("truncated", "quarantined", 3),
    ],
)
def test_faults_that_stay(job, served, name, status, tries):
    server, shelf = served
    item = scene(shelf, "bad")
    server.faults["bad-B08.tif"] = Fault(**FAULTS[name])
    record, sink, ledger = go(job, item, attempts=3)
    assert (record.status, record.attempts) == (status, tries)
    assert "bad-B08.tif" in record.reason
    assert ledger.records == [record]
    assert not sink.written
    server.faults.clear()
    if status == "failed":
        again, _, _ = go(job, item, ledger=ledger)
        assert again.status == "ok", "a failure is no end: it is done in the next run"


@pytest.mark.parametrize("kind", ["missing", "no tiff", "half", "no georeference"])
def test_bad_scenes_are_given_up_at_once(job, served, tmp_path, kind):
    server, shelf = served
    item = scene(shelf, "bad")
    path = tmp_path / "bad-B04.tif"
    if kind == "missing":
        path.unlink()
    elif kind == "no tiff":
        path.write_bytes(b"II*\x00 or so" * 100)
    elif kind == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        import rasterio

        pixels = rasterio.open(path).read(1)
        with rasterio.open(path, "w", driver="GTiff", dtype="uint16", count=1, width=SHAPE[1], height=SHAPE[0]) as file:
            file.write(pixels, 1)
    pauses = []
    record, sink, _ = go(job, item, pauses=pauses)
    assert record.status == "quarantined"
    assert record.digest == ""
    assert not sink.written
    if kind in ("missing", "no georeference"):
        assert pauses == [], "nothing to wait for"
    local = json.loads(json.dumps(item))
    for asset in local["assets"].values():
        asset["href"] = str(tmp_path / asset["href"].rpartition("/")[2])
    pauses.clear()
    record, _, _ = go(job, local, pauses=pauses)
    assert (record.status, pauses) == ("quarantined", []), "a file on a disk is what it is"
    assert server.requests


def test_a_server_that_is_gone(job, tmp_path):
    with serve(tmp_path) as server:
        item = scene(Shelf(tmp_path, server.url), "gone")
    record, _, _ = go(job, item, attempts=2)
    assert (record.status, record.attempts) == ("failed", 2)
    assert "does not answer" in record.reason


def test_a_server_that_goes_away_after_the_first_regions(job, tmp_path):
    """What was found out about it before is not believed: good scenes are not given up."""
    with serve(tmp_path) as server:
        item = scene(Shelf(tmp_path, server.url), "gone")
        assert go(job, item)[0].status == "ok"
        for fault in ({"kind": "reset"}, {"kind": "status", "status": 503}):
            for band in ("B04", "B03", "B08"):
                server.faults[f"gone-{band}.tif"] = Fault(**fault)
            _forget_pixels()
            record, _, _ = go(job, item, attempts=3)
            assert (record.status, record.attempts) == ("failed", 3), record.reason
    _forget_pixels()
    record, _, _ = go(job, item, attempts=2)
    assert record.status == "failed", record.reason


def _forget_pixels():
    """GDAL keeps what it has read, in memory: as if other files had been read since."""
    import ctypes

    import rasterio._base

    ctypes.CDLL(rasterio._base.__file__).VSICurlClearCache()


def test_secrets_stay_out_of_the_ledger(job, served):
    server, shelf = served
    item = scene(shelf, "signed")
    for asset in item["assets"].values():
        asset["href"] += "?sig=SECRET123&se=2024"
    server.faults["signed-B04.tif"] = Fault(kind="status", status=500)
    record, _, ledger = go(job, item, attempts=2)
    assert record.status == "failed"
    assert b"SECRET" not in b"".join(one.to_json() for one in ledger.records)


def test_a_bug_is_a_failure_and_no_end(job, served, monkeypatch):
    _, shelf = served
    item = scene(shelf, "a")

    def broken(*args, **kwargs):
        raise KeyError("oh")

    monkeypatch.setattr(process_module, "predict_block", broken)
    record, sink, _ = go(job, item)
    assert (record.status, record.reason, record.attempts) == ("failed", "KeyError: 'oh'", 1)
    assert not sink.written


# --- stores ---


def test_a_store_that_is_busy(job, served):
    _, shelf = served
    sink, ledger, pauses = MemorySink(), MemoryLedger(), []
    sink.errors = [OSError(errno.EBUSY, "slow down"), TimeoutError()]
    ledger.errors = [ConnectionResetError()]
    record, _, _ = go(job, scene(shelf, "a"), sink=sink, ledger=ledger, pauses=pauses)
    assert (record.status, len(pauses)) == ("ok", 3)
    assert ledger.records == [record]


@pytest.mark.parametrize("error", [disk_full(), PermissionError(errno.EACCES, "denied"), FatalError("gone")])
@pytest.mark.parametrize("where", ["sink", "ledger"])
def test_a_store_that_takes_nothing_stops_the_run(job, served, where, error):
    """And leaves no record, so that the task is done later."""
    _, shelf = served
    sink, ledger = MemorySink(), MemoryLedger()
    (sink if where == "sink" else ledger).errors = [error]
    with pytest.raises(FatalError):
        go(job, scene(shelf, "a"), sink=sink, ledger=ledger)
    assert not ledger.records
    record, _, _ = go(job, scene(shelf, "a"), sink=sink, ledger=ledger)
    assert record.status == "ok"


def test_a_store_that_fails_once(job, served):
    _, shelf = served
    sink = MemorySink()
    sink.errors = [WriteError("something else")]
    record, _, ledger = go(job, scene(shelf, "a"), sink=sink)
    assert (record.status, record.reason, record.digest) == ("failed", "WriteError: something else", "")
    assert ledger.records == [record]


def test_many_refusals_in_a_row_stop_the_run(job, served, monkeypatch):
    """Credentials that are missing are no fault of 100,000 scenes."""
    server, shelf = served
    monkeypatch.setattr(process_module, "_DENIED_MOST", 3)
    good, bad = scene(shelf, "good"), scene(shelf, "bad")
    server.faults["bad-B04.tif"] = Fault(kind="status", status=403)
    statuses = [go(job, item, attempts=1)[0].status for item in (bad, bad, good, bad, bad)]
    assert statuses == ["failed", "failed", "ok", "failed", "failed"]
    with pytest.raises(FatalError, match=r"3 tasks in a row.*403.*credentials"):
        go(job, bad, attempts=1)


def test_faults_of_one_thread_are_not_those_of_another(job, served):
    """Eight tasks at once, every other one of a scene that is gone."""
    _, shelf = served
    good = scene(shelf, "good")
    items = [good if index % 2 else json.loads(json.dumps(good).replace("good-B04", "none-B04")) for index in range(8)]
    cell, sink, ledger = cell_of(grid_cube(shape=SHAPE)), MemorySink(), MemoryLedger()
    tasks = [task_of(job, cell, [item], time=f"2024-05-0{index + 1}") for index, item in enumerate(items)]
    threads = [
        threading.Thread(target=process_task, args=(task,), kwargs={"sink": sink, "ledger": ledger}) for task in tasks
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {record.time: record.status for record in ledger.records}
    assert [found[task.time] for task in tasks] == ["quarantined", "ok"] * 4
    planes = [plane for (_, time), plane in sorted(sink.codes.items())]
    assert len(planes) == 4
    assert all(np.array_equal(planes[0], plane) for plane in planes)


def test_attempts_are_the_jobs(job, served):
    server, shelf = served
    item = scene(shelf, "bad")
    server.faults["bad-B04.tif"] = Fault(kind="status", status=503)
    cell = cell_of(grid_cube(shape=SHAPE))
    pauses = []
    task = task_of(dataclasses.replace(job, attempts=2), cell, [item])
    record = process_task(task, sink=MemorySink(), ledger=MemoryLedger(), sleep=pauses.append)
    assert (record.attempts, len(pauses)) == (2, 1)
    assert task.key == task_of(job, cell, [item]).key, "and no part of the key"
