"""Icechunk where things go wrong: full and read-only disks, S3 that is there and then is not."""

from __future__ import annotations

import ctypes
import os
import pickle
import time

import dask
import numpy as np
import pytest
import xarray as xr
from icechunk_masks import codes, lazy_mask, make_mask

from xcloudmask.errors import ReadError, WriteError
from xcloudmask.io._icechunk_write import held
from xcloudmask.io.icechunk import history, open_icechunk, to_icechunk

icechunk = pytest.importorskip("icechunk")
icechunk.set_logs_filter("error")

_READ_ONLY, _REMOUNT = 1, 32


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB in memory, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if os.name != "posix" or libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=1m") != 0:
        pytest.skip("mounting a file system is not allowed here")
    yield folder
    libc.umount2(os.fsencode(folder), 2)


def test_a_full_disk(small_disk):
    repo = small_disk / "r"
    to_icechunk(lazy_mask([1]), repo)
    started = time.perf_counter()
    with pytest.raises(WriteError, match=r"r cannot be written: .*No space left") as caught:
        to_icechunk(make_mask([2], size_px=4096, chunks={"y": 1024, "x": 1024}), repo, group="large")
    assert time.perf_counter() - started < 30
    assert str(repo) in str(caught.value)
    xr.testing.assert_identical(open_icechunk(repo).compute(), make_mask([1]))
    assert len(history(repo)) == 2


def test_a_disk_that_is_read_only(small_disk):
    repo = small_disk / "r"
    to_icechunk(lazy_mask([1]), repo)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"tmpfs", os.fsencode(small_disk), b"tmpfs", _REMOUNT | _READ_ONLY, None) == 0
    for target, options in [(repo, {"append_dim": "time"}), (small_disk / "new", {}), (small_disk / "a" / "b", {})]:
        with pytest.raises(WriteError, match=r"cannot be written: .*Read-only file system") as caught:
            to_icechunk(lazy_mask([2]), target, **options)
        assert str(target) in str(caught.value)
    np.testing.assert_array_equal(open_icechunk(repo)[0], codes(1))


# -- a mask that is there and cannot be asked for ---------------------------------------------------------------------


def test_what_cannot_be_asked_for_is_not_taken_for_nothing(tmp_path):
    """Zarr is told that there is no group then, and a mask would be put over the one that is there."""
    place, elsewhere = tmp_path / "r", tmp_path / "elsewhere"
    to_icechunk(make_mask([1]), place)
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(place)))
    # As it comes to a worker: nothing of the repository has been read yet.
    sent = pickle.dumps(repository.writable_session("main").fork())
    asked = {"group": "", "label": "r", "kind": WriteError}
    place.rename(elsewhere)
    with pytest.raises(icechunk.IcechunkError, match="No such file"):
        held(pickle.loads(sent).store, **asked)  # noqa: S301
    elsewhere.rename(place)
    store = pickle.loads(sent).store  # noqa: S301
    assert held(store, **asked) is not None
    assert held(store, **asked | {"group": "other"}) is None


@pytest.mark.parametrize("kind", [ReadError, WriteError])
def test_a_network_that_comes_and_goes(tmp_path, monkeypatch, kind):
    to_icechunk(make_mask([1]), tmp_path / "r")
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(tmp_path / "r")))

    def missing(*_args, **_options):
        raise FileNotFoundError("no group")

    monkeypatch.setattr("zarr.open_group", missing)
    with pytest.raises(kind, match=r"r, group / does not answer reliably: it is there, and was not found\. Try again"):
        held(repository.readonly_session("main").store, "", label="r", kind=kind)


# -- S3 ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3(s3_endpoint, monkeypatch):
    """A bucket, the client that made it, and the options that reach it."""
    boto3 = pytest.importorskip("boto3")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "SECRET",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=f"http://{s3_endpoint}")
    client.create_bucket(Bucket="masks")
    options = {
        "endpoint_url": f"http://{s3_endpoint}",
        "allow_http": True,
        "force_path_style": True,
        "region": "us-east-1",
    }
    yield client, options
    if any(bucket["Name"] == "masks" for bucket in client.list_buckets()["Buckets"]):
        remove(client)


def remove(client, prefix=""):
    for item in client.list_objects_v2(Bucket="masks", Prefix=prefix).get("Contents", []):
        client.delete_object(Bucket="masks", Key=item["Key"])
    if not prefix:
        client.delete_bucket(Bucket="masks")


def test_s3(s3):
    client, options = s3
    url = "s3://masks/may/r"
    before = keys_of(client)  # the server is that of the whole process
    to_icechunk(lazy_mask([1]), url, storage_options=options)
    calls = []

    def other(block):
        if not calls:
            calls.append(to_icechunk(make_mask([3]), url, append_dim="time", storage_options=options))
        return block

    mask = lazy_mask([2])
    mask = mask.copy(data=mask.data.map_blocks(other, dtype=np.uint8, meta=np.empty((0,) * 3, np.uint8)))
    with dask.config.set(scheduler="synchronous"):  # another writer is faster
        to_icechunk(mask, url, append_dim="time", storage_options=options)
    opened = open_icechunk(url, storage_options=options)
    xr.testing.assert_identical(opened.compute(), make_mask([1, 2, 3]))
    assert len(history(url, storage_options=options)) == 4
    assert all(key.startswith("may/r/") for key in keys_of(client) - before)


def keys_of(client):
    return {item["Key"] for item in client.list_objects_v2(Bucket="masks").get("Contents", ())}


def test_s3_credentials_are_not_shown(s3):
    _, options = s3
    repository = icechunk.Repository.create(icechunk.s3_storage(bucket="masks", prefix="r", **options))
    to_icechunk(make_mask([1]), repository)
    with pytest.raises(WriteError, match=r"S3Storage\(bucket=masks, prefix=r\)") as caught:
        to_icechunk(make_mask([1]), repository)
    assert "SECRET" not in str(caught.value)


def test_a_bucket_that_does_not_exist(s3):
    _, options = s3
    started = time.perf_counter()
    with pytest.raises(WriteError, match=r"s3://no-such-bucket/r cannot be written: .*NoSuchBucket"):
        to_icechunk(make_mask([1]), "s3://no-such-bucket/r", storage_options=options)
    with pytest.raises(ReadError, match=r"s3://no-such-bucket/r cannot be read: .*NoSuchBucket"):
        open_icechunk("s3://no-such-bucket/r", storage_options=options)
    assert time.perf_counter() - started < 20


def test_a_bucket_that_vanishes_while_it_is_written(s3):
    client, options = s3
    to_icechunk(make_mask([1]), "s3://masks/r", storage_options=options)
    gone = []

    def vanish(block):
        if not gone:
            gone.append(remove(client))
        return block

    mask = lazy_mask([2], size_px=320)
    mask = mask.chunk(y=160, x=160)  # chunks of 512 bytes and less lie in the commit itself
    mask = mask.copy(data=mask.data.map_blocks(vanish, dtype=np.uint8, meta=np.empty((0,) * 3, np.uint8)))
    started = time.perf_counter()
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(WriteError, match=r"s3://masks/r cannot be written: .*NoSuchBucket"),
    ):
        to_icechunk(mask, "s3://masks/r", group="other", storage_options=options)
    assert time.perf_counter() - started < 30


def test_a_prefix_that_holds_something_else(s3):
    client, options = s3
    client.put_object(Bucket="masks", Key="r/thesis.tex", Body=b"precious")
    with pytest.raises(WriteError, match="holds objects and no Icechunk repository"):
        to_icechunk(make_mask([1]), "s3://masks/r", storage_options=options)
    with pytest.raises(ReadError, match="s3://masks/r cannot be read: the repository doesn't exist"):
        open_icechunk("s3://masks/r", storage_options=options)
