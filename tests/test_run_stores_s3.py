"""Stores of campaigns in object stores: S3 as moto plays it, and fsspec's memory."""

import time
from dataclasses import replace

import fsspec
import numpy as np
import pytest
import xarray as xr
from s3_server import use_s3
from store_cells import OTHER, codes_of, make_job, make_tasks, prepared, whole, write_all

from xcloudmask.errors import ReadError, WriteError, XCloudMaskError
from xcloudmask.run.faults import classify
from xcloudmask.run.stores import digest_of, open_sink

KINDS = {
    "zarr": ("zarr", {}),
    "shards": ("zarr", {"shard_px": 64}),
    "cog": ("cog", {}),
    "icechunk": ("icechunk", {}),
}


@pytest.fixture
def client(s3_endpoint, monkeypatch):
    """A bucket "masks", reached with what stands in the environment, as every worker of a cluster has it."""
    boto3 = pytest.importorskip("boto3")
    use_s3(s3_endpoint, monkeypatch)
    made = boto3.client("s3")
    made.create_bucket(Bucket="masks")
    yield made
    for key in keys(made):
        made.delete_object(Bucket="masks", Key=key)
    made.delete_bucket(Bucket="masks")


def keys(client):
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="masks")
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def objects(client):
    return {key: client.get_object(Bucket="masks", Key=key)["Body"].read() for key in keys(client)}


@pytest.fixture(params=list(KINDS))
def job(request, client):
    kind, changes = KINDS[request.param]
    return make_job("s3://masks/alps/2024", kind, **changes)


def test_written_and_read(job, client, tmp_path):
    sink = prepared(job, OTHER)
    tasks = make_tasks(job, (OTHER,))
    write_all(sink, tasks)
    worker = open_sink(job)
    for task in tasks:
        assert digest_of(worker.read(task)) == digest_of(codes_of(task))
    mask = worker.masks(OTHER)
    np.testing.assert_array_equal(mask.compute(), whole(OTHER, job))
    assert mask.item_id.values[0] == "S2B_0101_north S2B_0101_south"
    assert mask.odc.geobox.crs == OTHER.crs
    assert all(key.startswith("alps/2024/masks") for key in keys(client))
    if job.kind != "icechunk":  # whose objects have random names
        same_as_in_a_folder(job, client, tmp_path)


def same_as_in_a_folder(job, client, folder):
    local = make_job(folder, job.kind, shard_px=job.shard_px)
    write_all(prepared(local, OTHER), make_tasks(local, (OTHER,))[::-1])
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {key.removeprefix("alps/2024/"): data for key, data in objects(client).items()} == files


@pytest.mark.parametrize("kind", ["zarr", "cog", "icechunk"])
def test_options_in_place_of_the_environment(client, s3_endpoint, monkeypatch, kind):
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    options = {"endpoint_url": f"http://{s3_endpoint}", "key": "key", "secret": "geheim"}
    job = make_job("s3://masks", kind, storage_options=options)
    sink = prepared(job, OTHER)
    (task, *_) = make_tasks(job, (OTHER,))
    sink.write(task, codes_of(task))
    np.testing.assert_array_equal(open_sink(job).read(task), codes_of(task))


@pytest.mark.parametrize("job", ["zarr", "cog", "icechunk"], indirect=True)
def test_again_and_more_times(job, client):
    sink = prepared(job, OTHER)
    tasks = make_tasks(job, (OTHER,))
    write_all(sink, tasks)
    before = objects(client)
    prepared(job, OTHER)
    assert objects(client) == before
    sink.prepare([(OTHER, {"2024-03-01": ["late"]})])
    later = make_tasks(job, (OTHER,), times=("2024-03-01",))
    write_all(open_sink(job), later)
    for task in [*tasks, *later]:
        np.testing.assert_array_equal(open_sink(job).read(task), codes_of(task))
    assert open_sink(job).masks(OTHER).sizes["time"] == 4


@pytest.mark.parametrize("job", ["zarr"], indirect=True)
def test_a_coordinator_that_was_killed_while_it_prepared(job, client):
    """The root of a store is written last: what lies there without one is written over."""
    prepared(job, OTHER)
    before = objects(client)
    client.delete_object(Bucket="masks", Key="alps/2024/masks/33TUL.zarr/zarr.json")
    client.put_object(Bucket="masks", Key="alps/2024/masks/33TUL.zarr/time/c/0", Body=b"half")
    with pytest.raises(ReadError, match="prepared"):
        open_sink(job).read(make_tasks(job, (OTHER,))[0])
    prepared(job, OTHER)
    assert objects(client) == before


@pytest.mark.parametrize("job", ["shards", "cog"], indirect=True)
def test_an_object_that_is_damaged_or_gone(job, client):
    sink = prepared(job, OTHER)
    tasks = make_tasks(job, (OTHER,))
    write_all(sink, tasks)
    before = objects(client)
    ours = [key for key in keys(client) if "cloud_mask/c/" in key or key.endswith(".tif")]
    for number, key in enumerate(ours):
        if number % 2:
            client.delete_object(Bucket="masks", Key=key)
        else:
            client.put_object(Bucket="masks", Key=key, Body=b"half")
    for task in tasks:
        try:
            assert digest_of(sink.read(task)) != digest_of(codes_of(task))
        except ReadError as error:
            assert "s3://masks/alps/2024/masks/33TUL" in str(error)  # noqa: PT017
    write_all(sink, tasks)
    assert objects(client) == before


def test_a_bucket_that_is_not_there(job):
    elsewhere = replace(job, store="s3://nowhere/2024")
    started = time.monotonic()
    with pytest.raises((WriteError, ReadError), match="nowhere"):
        prepared(elsewhere, OTHER)
    task = make_tasks(elsewhere, (OTHER,))[0]
    with pytest.raises((WriteError, ReadError), match="nowhere"):
        open_sink(elsewhere).write(task, codes_of(task))
    assert time.monotonic() - started < 30


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zarr", "cog", "icechunk"])
def test_a_host_that_stops_to_answer(kind, monkeypatch):
    """An error that may pass, told as such; never nodata, and never a store made anew over one that is there."""
    moto, boto3 = pytest.importorskip("moto.server"), pytest.importorskip("boto3")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "geheim"}.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1").create_bucket(Bucket="masks")
    job = make_job("s3://masks/c", kind, storage_options={"endpoint_url": f"http://{host}:{port}"})
    sink = prepared(job, OTHER)
    (task, *_) = make_tasks(job, (OTHER,))
    token = sink.begin()
    server.stop()
    asked = (
        (lambda: sink.write(task, codes_of(task), token), WriteError | ReadError, "write"),
        (lambda: open_sink(job).read(task), ReadError, "read"),
        (lambda: prepared(job, OTHER), WriteError | ReadError, "write"),
    )
    # Icechunk itself tries each for 10 seconds and more.
    for ask, expected, stage in asked[:1] if kind == "icechunk" else asked:
        with pytest.raises(XCloudMaskError, match=r"s3://masks/c") as caught:
            ask()
        assert isinstance(caught.value, expected)
        assert classify(caught.value, stage=stage) == "transient"


@pytest.mark.parametrize("kind", ["zarr", "cog"])
def test_memory(kind):
    job = make_job(f"memory://campaign-{kind}", kind)
    write_all(prepared(job, OTHER), make_tasks(job, (OTHER,)))
    mask = open_sink(job).masks(OTHER)
    np.testing.assert_array_equal(mask.compute(), whole(OTHER, job))
    assert isinstance(mask, xr.DataArray)
    fsspec.filesystem("memory").rm(f"/campaign-{kind}", recursive=True)
