"""Objects: whole or not there, one winner, no way out of the folder; local, in memory and on S3."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_places import bucket, memory_url  # noqa: F401  # a fixture
from s3_server import forget_file_systems

from xcloudmask.errors import ArgumentError, MissingPackageError, ReadError, WriteError
from xcloudmask.run.objects import get_many, open_objects


@pytest.fixture(params=["local", "memory", "renamed", "s3"])
def objects(request, tmp_path, monkeypatch):
    if request.param == "s3":
        return open_objects(request.getfixturevalue("bucket") + "/a/campaign")
    if request.param == "local":
        return open_objects(tmp_path / "campaign")
    if request.param == "renamed":  # as on a file server, where what is uploaded is seen while it grows
        monkeypatch.setattr("xcloudmask.run._objects_remote.WHOLE", ())
    return open_objects(memory_url())


def test_put_get_list_delete(objects):
    assert list(objects.list()) == []
    assert objects.folders("ledger/") == []
    assert objects.get("ledger/a.json") is None
    for name in ("ledger/b.json", "ledger/records/ab/c.json", "ledger/a.json", "other.json"):
        assert objects.put(name, name.encode()) is True
    assert sorted(objects.list()) == ["ledger/a.json", "ledger/b.json", "ledger/records/ab/c.json", "other.json"]
    assert list(objects.list("ledger/records/")) == ["ledger/records/ab/c.json"]
    assert list(objects.list("ledger/a")) == ["ledger/a.json"]
    assert list(objects.list("none/")) == []
    assert list(objects.folders("ledger/")) == ["records"]
    assert objects.get("ledger/b.json") == b"ledger/b.json"
    objects.delete(["ledger/a.json", "ledger/not-there.json"])
    assert list(objects.list("ledger/")) == ["ledger/b.json", "ledger/records/ab/c.json"]
    objects.check()
    objects.delete([])


def test_what_is_there_is_replaced_or_stays(objects):
    assert objects.put("a", b"1", if_absent=True) is True
    assert objects.put("a", b"2", if_absent=True) is False
    assert objects.get("a") == b"1"
    assert objects.put("a", b"3") is True
    assert objects.get("a") == b"3"
    assert list(objects.list()) == ["a"]


def test_one_of_many_writers_wins(objects):
    if getattr(objects, "_protocol", "") == "memory":
        pytest.skip("fsspec's memory looks before it writes: no store of several processes")
    start, won = threading.Barrier(6), []

    def write(number):
        start.wait()
        if objects.put("lease", b"%d" % number, if_absent=True):
            won.append(b"%d" % number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [objects.get("lease")]


def test_limits(objects):
    objects.put("a", b"x" * 100)
    objects.put("empty", b"")
    assert objects.get("a", limit=100) == b"x" * 100
    assert objects.get("empty") == b""
    with pytest.raises(ReadError, match="more than 99 bytes"):
        objects.get("a", limit=99)


def test_many_at_once(objects):
    names = [f"r/{number}" for number in range(30)]
    for name in names[1:]:
        objects.put(name, name.encode())
    assert dict(get_many(objects, iter(names))) == {name: None if name == "r/0" else name.encode() for name in names}


BAD = ("../a", "a/../b", "/etc/passwd", "", "a//b", "a/", ".hidden", "a/.b", "a\\b", "a\nb", "a b", "x" * 901)


def test_names_that_lead_out_are_refused(objects):
    for name in BAD:
        for act in (lambda name=name: objects.put(name, b""), lambda name=name: objects.get(name)):
            with pytest.raises(ArgumentError, match="is no name of an object"):
                act()
        with pytest.raises(ArgumentError, match="is no name of an object"):
            objects.delete([name])
    with pytest.raises(ArgumentError, match="no name"):
        list(objects.list("../"))
    assert list(objects.list()) == []


@given(st.dictionaries(st.from_regex(r"[a-c]{1,2}(/[a-c]{1,2}){0,2}\.j", fullmatch=True), st.binary(max_size=9)))
@settings(max_examples=25)
def test_a_folder_is_like_a_dictionary(tmp_path_factory, content):
    for objects in (open_objects(tmp_path_factory.mktemp("o")), open_objects(memory_url())):
        for name, data in content.items():
            objects.put(name, data)
        assert {name: objects.get(name) for name in objects.list()} == content
        for prefix in ("a", "a/", "b/a", "c/c/c"):
            assert set(objects.list(prefix)) == {name for name in content if name.startswith(prefix)}


WRITER = """
import sys
from xcloudmask.run.objects import open_objects
objects = open_objects(sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    data = b"%d" % (number % 10) * 200_000
    objects.put("a.json", data)
    objects.put(f"n/{number % 7}.json", data, if_absent=True)
    objects.delete([f"n/{(number + 3) % 7}.json"])
    number += 1
"""


def test_readers_beside_a_writer_that_is_killed_see_whole_objects(tmp_path):
    objects = open_objects(tmp_path)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "ready\n"
        seen, until = set(), time.monotonic() + 60
        while len(seen) <= 3 and time.monotonic() < until:
            for name in ("a.json", *objects.list("n/")):
                data = objects.get(name)
                if data is not None:
                    assert len(data) == 200_000
                    assert len(set(data)) == 1
                    seen.add(data[:1])
        writer.send_signal(signal.SIGKILL)
    assert len(seen) > 3
    for name in objects.list():
        assert len(objects.get(name)) == 200_000


def test_what_killed_writers_leave_is_removed_when_it_is_old(tmp_path):
    objects = open_objects(tmp_path)
    objects.put("a", b"")
    left = tmp_path / ".partial" / "123-abc"
    left.write_bytes(b"half")
    assert list(objects.list()) == ["a"]
    assert objects.tidy(older_s=3600) == 0
    os.utime(left, (0, 0))
    assert objects.tidy(older_s=3600) == 1
    assert not left.exists()
    assert objects.get("a") == b""


def test_nothing_half_is_left_where_the_disk_is_full(tmp_path, monkeypatch):
    objects = open_objects(tmp_path)

    def full(_handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WriteError, match=r"No space left.*type the same command again") as caught:
        objects.put("ledger/a.json", b"1", if_absent=True)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert objects.get("ledger/a.json") is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_file_system_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_names):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("os.link", refuse)
    objects = open_objects(tmp_path)
    assert objects.put("a", b"1", if_absent=True) is True
    assert objects.put("a", b"2", if_absent=True) is False
    assert objects.get("a") == b"1"


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "store").write_text("a file")
    objects = open_objects(tmp_path / "store")
    with pytest.raises(ArgumentError, match=r"is a file. Expected a folder"):
        objects.check()
    with pytest.raises(WriteError, match="cannot be written: Not a directory"):
        objects.put("a", b"")
    assert objects.get("a") is None


def test_a_folder_of_somebody_else(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    objects = open_objects(tmp_path)
    objects.put("a", b"")
    monkeypatch.setattr("os.scandir", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ReadError, match=r"cannot be listed: Permission denied. Expected a folder that you may"):
        objects.check()
    with pytest.raises(ReadError, match=r"cannot be read: Permission denied"):
        objects.get("a")
    with pytest.raises(WriteError, match=r"cannot be written: Permission denied"):
        objects.put("b", b"")


def test_unknown_protocols():
    with pytest.raises(ArgumentError, match=r"Expected a folder or a URL that fsspec knows"):
        open_objects("nosuch://bucket/x")


def test_protocols_without_their_package(monkeypatch):
    def missing(*_args, **_options):
        raise ImportError("Install gcsfs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(MissingPackageError, match=r"gs://bucket/x: Install gcsfs"):
        open_objects("gs://bucket/x")


def test_no_bucket(bucket):  # noqa: F811
    objects = open_objects("s3://nobody-has-made-this-one/campaign")
    for act in (objects.check, lambda: objects.get("a"), lambda: objects.folders("ledger/")):
        with pytest.raises(ReadError, match=r"nobody-has-made-this-one.* There is no such bucket"):
            act()
    with pytest.raises(WriteError, match=r"There is no such bucket: correct the address"):
        objects.put("a", b"", if_absent=True)


def test_no_credentials(bucket, monkeypatch):  # noqa: F811
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    forget_file_systems()
    objects = open_objects(bucket + "/other")
    with pytest.raises(
        WriteError, match=r"credentials.*Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    ):
        objects.put("a", b"", if_absent=True)


def test_access_denied(bucket, monkeypatch):  # noqa: F811
    objects = open_objects(bucket)

    def refuse(*_args, **_options):
        raise PermissionError("Access Denied")

    for method in ("pipe_file", "cat_file", "ls", "rm"):
        monkeypatch.setattr(objects._fs, method, refuse)
    refused = r"Access Denied.* Set AWS_ACCESS_KEY_ID.*must be allowed to list, read, write"
    with pytest.raises(WriteError, match=refused):
        objects.put("a", b"", if_absent=True)
    with pytest.raises(ReadError, match=refused):
        objects.get("a")
    with pytest.raises(ReadError, match=refused):
        objects.check()
    with pytest.raises(WriteError, match=refused):
        objects.delete(["a"])


def test_no_answer(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_file_systems()
    objects = open_objects("s3://bucket/campaign")
    monkeypatch.setattr(objects._fs, "retries", 1)
    with pytest.raises(WriteError, match=r"s3://bucket/campaign/a.*check the address and AWS_ENDPOINT_URL") as caught:
        objects.put("a", b"")
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize("code", ["NotImplemented", "PreconditionFailed", "ConditionalRequestConflict", "SlowDown"])
def test_stores_that_answer_conditions_in_their_own_ways(bucket, monkeypatch, code):  # noqa: F811
    objects = open_objects(bucket + "/c")
    plain = objects._fs.pipe_file

    def pipe_file(path, data, mode="overwrite"):
        if mode == "create":
            error = OSError(errno.EIO, code)
            error.__cause__ = type("ClientError", (Exception,), {"response": {"Error": {"Code": code}}})()
            raise error
        plain(path, data)

    monkeypatch.setattr(objects._fs, "pipe_file", pipe_file)
    if code == "NotImplemented":
        assert objects.put("a", b"1", if_absent=True) is True
        assert objects.put("a", b"2", if_absent=True) is False
        assert objects.get("a") == b"1"
        return
    with pytest.raises(WriteError, match=code):
        objects.put("a", b"1", if_absent=True)
    objects.put("a", b"1")
    if code == "SlowDown":
        with pytest.raises(WriteError, match=code):
            objects.put("a", b"1", if_absent=True)
    else:
        assert objects.put("a", b"1", if_absent=True) is False
