"""Where stores lie: URLs, obstore, S3; and targets that fail: an error within seconds, and nothing lost."""

import errno
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import processes
import pytest
import rioxarray  # noqa: F401
import xarray as xr
from obstore.store import LocalStore as ObstoreFolder
from obstore.store import MemoryStore as ObstoreMemory
from obstore.store import S3Store
from zarr.storage import FsspecStore, LocalStore, MemoryStore, ObjectStore
from zarr_masks import content, make_mask, same, write_slowly

from xcloudmask.errors import ArgumentError, ArgumentTypeError, WriteError
from xcloudmask.io import open_mask, to_zarr
from xcloudmask.io._staging import locked_folder, replace_folder, staged_folder
from xcloudmask.io._targets import label_of, reason

DATES = ["2024-01-01", "2024-01-02", "2024-01-03"]
SECONDS = 20.0
"""What "within seconds" means on a busy machine."""


def write_and_append(store):
    to_zarr(make_mask(DATES[:1]), store, append_dim="time", chunks=32)
    to_zarr(make_mask(DATES[:2], chunks={"time": 1, "y": 32, "x": 90}), store, append_dim="time")
    to_zarr(make_mask(DATES[:2], seed=1).isel(y=slice(32, 64)), store, region="auto")
    expected = make_mask(DATES[:2])
    expected[:, 32:64] = make_mask(DATES[:2], seed=1)[:, 32:64]
    same(open_mask(store), expected)
    with pytest.raises(WriteError, match=r"exists.*mode='w'"):
        to_zarr(make_mask(DATES[:1]), store)
    to_zarr(make_mask(DATES[2:3]), store, mode="w")
    same(open_mask(store), make_mask(DATES[2:3]))


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: folder / "m.zarr",
        lambda folder: str(folder / "deep" / "er" / "m.zarr"),
        lambda folder: f"file://{folder}/m.zarr",
        lambda folder: f"memory://{folder.name}/m.zarr",
        lambda folder: LocalStore(folder / "m.zarr"),
        lambda folder: MemoryStore(),
        lambda folder: ObstoreMemory(),
        lambda folder: ObjectStore(ObstoreFolder(folder)),
        lambda folder: FsspecStore.from_url(f"memory://{folder.name}/n.zarr"),
    ],
    ids=["path", "str", "file-url", "memory-url", "LocalStore", "MemoryStore", "obstore", "ObjectStore", "FsspecStore"],
)
def test_all_kinds_of_targets(tmp_path, make):
    write_and_append(make(tmp_path))


class TestS3:
    @pytest.fixture
    def options(self, s3_endpoint):
        return {"endpoint_url": f"http://{s3_endpoint}", "key": "me", "secret": "geheim"}

    @pytest.fixture
    def bucket(self, options, request):
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=options["endpoint_url"],
            aws_access_key_id="me",
            aws_secret_access_key="geheim",  # noqa: S106
            region_name="us-east-1",
        )
        name = "b" + "".join(letter for letter in request.node.name.lower() if letter.isalnum())[:40]
        client.create_bucket(Bucket=name)
        yield name
        for key in client.list_objects_v2(Bucket=name).get("Contents", []):
            client.delete_object(Bucket=name, Key=key["Key"])
        client.delete_bucket(Bucket=name)

    def remote(self, options, path):
        return FsspecStore.from_url(f"s3://{path}", storage_options=options)

    def obstore(self, options, bucket, **changed):
        return S3Store(
            bucket,
            prefix="m.zarr",
            endpoint=options["endpoint_url"],
            access_key_id="me",
            secret_access_key="geheim",  # noqa: S106
            region="us-east-1",
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
            retry_config={"max_retries": 1},
            **changed,
        )

    def test_fsspec(self, options, bucket):
        write_and_append(self.remote(options, f"{bucket}/a/m.zarr"))

    def test_obstore(self, options, bucket):
        write_and_append(self.obstore(options, bucket))

    def test_a_url_in_a_process_of_its_own(self, options, bucket):
        code = (
            "from zarr_masks import *; from xcloudmask.io import open_mask\n"
            f"url = 's3://{bucket}/m.zarr'\n"
            "to_zarr(make_mask(['2024-01-01']), url, append_dim='time')\n"
            "to_zarr(make_mask(['2024-01-02']), url, append_dim='time')\n"
            "same(open_mask(url), make_mask(['2024-01-01', '2024-01-02']))\n"
        )
        environment = os.environ | {
            "AWS_ENDPOINT_URL": options["endpoint_url"],
            "AWS_ACCESS_KEY_ID": "me",
            "AWS_SECRET_ACCESS_KEY": "geheim",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])]),
        }
        subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, check=True, timeout=200)

    def test_the_root_comes_last(self, options, bucket):
        """A writer that fails on the way leaves nothing to open, and the next one is not refused."""
        store = self.remote(options, f"{bucket}/m.zarr")
        mask = make_mask(DATES[:1], chunks={"time": 1, "y": 32, "x": 90})
        broken = mask.copy(data=mask.data.map_blocks(break_last, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)))
        with pytest.raises(ZeroDivisionError):
            to_zarr(broken, store)
        to_zarr(mask, store)
        same(open_mask(store), mask)

    @pytest.mark.parametrize("kind", ["fsspec", "obstore"])
    def test_a_bucket_that_is_not_there(self, options, kind):
        store = self.remote(options, "nowhere/m.zarr") if kind == "fsspec" else self.obstore(options, "nowhere")
        check_fails_early(store, "nowhere")

    def test_a_bucket_that_vanishes(self, options, bucket):
        import boto3

        store = self.remote(options, f"{bucket}/m.zarr")
        mask = make_mask(DATES[:2], chunks={"time": 1, "y": 32, "x": 90})

        credentials = {
            "endpoint_url": options["endpoint_url"],
            "aws_access_key_id": "me",
            "aws_secret_access_key": "geheim",
            "region_name": "us-east-1",
        }

        def vanish(block):
            if block.size:
                gone = boto3.resource("s3", **credentials).Bucket(bucket)
                gone.objects.all().delete()
                gone.delete()
                gone.meta.client.get_waiter("bucket_not_exists").wait(Bucket=bucket)
            return block

        one = mask.copy(data=mask.data.map_blocks(vanish, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)))
        start = time.perf_counter()
        try:
            with pytest.raises(WriteError, match=f"{bucket}/m.zarr cannot be"):
                to_zarr(one.isel(time=[0], y=slice(0, 32)), store)
            assert time.perf_counter() - start < SECONDS
        finally:
            boto3.client("s3", **credentials).create_bucket(Bucket=bucket)

    def test_a_server_that_does_not_answer(self):
        """By URL, the time limits are ours."""
        code = (
            "from zarr_masks import *; from xcloudmask.errors import WriteError\n"
            "try: to_zarr(make_mask(), 's3://me:geheim@bucket/m.zarr')\n"
            "except WriteError as error:\n"
            "    assert 'geheim' not in str(error) and 's3://bucket/m.zarr' in str(error), error\n"
            "else: raise SystemExit('written')\n"
        )
        environment = os.environ | {
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
            "AWS_ACCESS_KEY_ID": "me",
            "AWS_SECRET_ACCESS_KEY": "geheim",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])]),
        }
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)


def break_last(block, block_info=None):
    if block.size and block_info[0]["chunk-location"][1] == 2:
        raise ZeroDivisionError
    return block


def never(block):
    raise AssertionError("a target that cannot be written was found out only after pixels were computed")


def check_fails_early(store, name):
    mask = make_mask(DATES[:1], chunks={"time": 1, "y": 32, "x": 90})
    costly = mask.copy(data=mask.data.map_blocks(never, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)))
    start = time.perf_counter()
    with pytest.raises(WriteError, match=name) as caught:
        to_zarr(costly, store)
    assert time.perf_counter() - start < SECONDS
    assert "geheim" not in str(caught.value)


class Refusing(MemoryStore):
    """Wrong credentials: everything is refused, with a secret in the message."""

    async def get(self, key, prototype, byte_range=None):
        raise PermissionError(errno.EACCES, "Access denied for https://me:geheim@host/bucket?token=geheim")


def test_refused_access_is_told_early_and_without_credentials():
    check_fails_early(Refusing(), r"Refusing\(\) cannot be read: Access denied for https://host/bucket")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
def test_a_read_only_folder():
    check_fails_early("/proc/self/m.zarr", r"/proc/.*/m\.zarr cannot be written")


def test_a_read_only_store(tmp_path):
    to_zarr(make_mask(DATES[:1]), tmp_path / "m.zarr", append_dim="time")
    before = content(tmp_path)
    store = LocalStore(tmp_path / "m.zarr", read_only=True)
    with pytest.raises(WriteError, match=r"m\.zarr cannot be written.*read-only"):
        to_zarr(make_mask(DATES[1:2]), store, append_dim="time")
    assert content(tmp_path) == before


def limit_file_size(target, **options):
    """Job: files may have 60 bytes, then none can grow: as a full disk, it strikes in the middle."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (options.pop("size"), resource.RLIM_INFINITY))
    with pytest.raises(WriteError, match=r"m\.zarr cannot be (written|replaced)"):
        write_slowly(target, **options)


@pytest.mark.parametrize("options", [{}, {"mode": "w"}, {"append_dim": "time"}], ids=["new", "replace", "append"])
def test_what_cannot_grow_any_more(tmp_path, options):
    target = tmp_path / "m.zarr"
    if options:
        to_zarr(make_mask(DATES[:1]), target, append_dim="time", chunks={"y": 20, "x": 30})
    before = content(target)
    processes.run_whole(
        "test_io_zarr_targets:limit_file_size", target=str(target), dates=DATES[1:3], size=200, seconds=0, **options
    )
    if options:
        same(open_mask(target), make_mask(DATES[:1]))
    after = content(target)
    assert {key: after[key] for key in before} == before
    assert [path.name for path in tmp_path.iterdir()] == (["m.zarr"] if options else [])


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run([str(umount), str(folder)], check=True)


@pytest.mark.parametrize("options", [{}, {"mode": "w"}, {"append_dim": "time"}], ids=["new", "replace", "append"])
def test_a_full_disk(small_disk, options):
    target = small_disk / "m.zarr"
    if options:
        to_zarr(make_mask(DATES[:1]), target, append_dim="time", chunks=32)
    before = content(target)
    big = make_mask(DATES[1:], shape=(70, 90) if options else (700, 900))
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 8192))
    with pytest.raises(WriteError, match=r"m\.zarr cannot be .*No space left"):
        to_zarr(big, target, **options)
    if options:
        same(open_mask(target), make_mask(DATES[:1]))
    assert {key: value for key, value in content(target).items() if key in before} == before
    (small_disk / "filler").unlink()
    if options:
        to_zarr(make_mask(DATES[1:]), target, **options)
        assert open_mask(target).sizes["time"] == (3 if "append_dim" in options else 2)


def test_objects_that_are_no_store():
    with pytest.raises(ArgumentTypeError, match=r"builtins\.int.*Expected a path"):
        to_zarr(make_mask(), 3)


@pytest.mark.parametrize(
    ("store", "label"),
    [
        ("s3://key:geheim@bucket/m.zarr?X-Amz-Signature=geheim#geheim", "s3://bucket/m.zarr"),
        ("simplecache::s3://key:geheim@bucket/m.zarr", "simplecache::s3://bucket/m.zarr"),
        (Path("masks/m.zarr"), str(Path("masks/m.zarr"))),
        (LocalStore("masks/m.zarr"), "masks/m.zarr"),
        (FsspecStore.from_url("memory://a/m.zarr"), "memory://a/m.zarr"),
        (ObstoreMemory(), "MemoryStore()"),
        (
            S3Store("bucket", prefix="m.zarr", access_key_id="me", secret_access_key="geheim"),  # noqa: S106
            "S3Store(bucket/m.zarr)",
        ),
    ],
)
def test_labels_have_no_credentials(store, label):
    assert label_of(store) == label


def test_reasons_are_short_lines_without_credentials():
    assert reason(ValueError("bad\nmore")) == "bad"
    assert reason(ValueError()) == "ValueError"
    assert len(reason(ValueError("x" * 1000))) < 310


def test_the_lock_is_for_one(tmp_path):
    to_zarr(make_mask(DATES[:1]), tmp_path / "m.zarr", append_dim="time")
    with (
        locked_folder(tmp_path / "m.zarr", label="m.zarr"),
        pytest.raises(WriteError, match=r"another process is adding dates"),
    ):
        to_zarr(make_mask(DATES[1:]), tmp_path / "m.zarr", append_dim="time")
    to_zarr(make_mask(DATES[1:]), tmp_path / "m.zarr", append_dim="time")


class TestStaging:
    def test_folders_of_others_stay(self, tmp_path):
        (tmp_path / ".m.zarr-backup").mkdir()
        with staged_folder(tmp_path / "m.zarr") as first, staged_folder(tmp_path / "m.zarr") as second:
            assert first.parent != second.parent
            assert first.parent.exists(), "its writer lives"
        assert [path.name for path in tmp_path.iterdir()] == [".m.zarr-backup"]

    def test_where_names_cannot_be_exchanged(self, tmp_path, monkeypatch):
        monkeypatch.setattr("xcloudmask.io._staging._exchange", lambda one, other: False)
        to_zarr(make_mask(DATES[:1]), tmp_path / "m.zarr")
        to_zarr(make_mask(DATES[1:]), tmp_path / "m.zarr", mode="w")
        same(open_mask(tmp_path / "m.zarr"), make_mask(DATES[1:]))
        assert [path.name for path in tmp_path.iterdir()] == ["m.zarr"]

    def test_a_target_that_appears_meanwhile_is_not_replaced(self, tmp_path):
        target = tmp_path / "m.zarr"
        with staged_folder(target) as staged:
            staged.mkdir()
            target.mkdir()
            (target / "theirs").touch()
            with pytest.raises(WriteError, match="cannot be replaced"):
                replace_folder(staged, target, overwrite=False)
        assert (target / "theirs").exists()

    def test_links_lead_to_the_store(self, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "link.zarr").symlink_to(tmp_path / "elsewhere" / "m.zarr")
        for mode in ("w-", "w"):
            to_zarr(make_mask(DATES[:1]), tmp_path / "link.zarr", mode=mode)
        assert (tmp_path / "link.zarr").is_symlink()
        same(open_mask(tmp_path / "elsewhere" / "m.zarr"), make_mask(DATES[:1]))


def test_a_url_that_fsspec_writes_is_read_by_others():
    to_zarr(make_mask(DATES), "memory://shared/m.zarr", chunks=32)
    assert fsspec.filesystem("memory").exists("/shared/m.zarr/zarr.json")
    assert xr.open_zarr("memory://shared/m.zarr").clouds.rio.crs.to_epsg() == 32631


def test_protocols_that_nobody_knows():
    with pytest.raises(ArgumentError, match="protocol 's4' is unknown"):
        to_zarr(make_mask(), "s4://bucket/masks.zarr")
    with pytest.raises(ArgumentError, match="protocol 's4' is unknown"):
        open_mask("s4://bucket/masks.zarr")
