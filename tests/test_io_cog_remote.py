"""COGs behind URLs: an S3 server, a store in memory, one that renames."""

import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xarray as xr
from s3_server import forget_file_systems, use_s3

from xcloudmask.classes import STYLES, mask_attrs
from xcloudmask.errors import WriteError
from xcloudmask.io import _cogremote, to_cog

STEM = "clouds_20240101T102030"


def make_mask(*, seed=0):
    codes = np.random.default_rng(seed).choice(np.array([0, 1, 2, 3, 255], np.uint8), (2, 600, 700))
    coords = {"time": np.array(["2024-01-01T10:20:30", "2024-02-06"], "M8[ns]")}
    attrs = mask_attrs(STYLES["4-class"]) | {"model_sha256": "abc"}
    return xr.DataArray(codes, dims=("time", "y", "x"), coords=coords, name="clouds", attrs=attrs).chunk(time=1)


@pytest.fixture
def bucket(s3_endpoint, monkeypatch):
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("s3fs")
    use_s3(s3_endpoint, monkeypatch)
    client = boto3.client("s3")
    client.create_bucket(Bucket="masks")
    yield client
    for entry in client.list_objects_v2(Bucket="masks").get("Contents", []):
        client.delete_object(Bucket="masks", Key=entry["Key"])
    client.delete_bucket(Bucket="masks")


def stored(client):
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket="masks").get("Contents", [])]
    return {key: client.get_object(Bucket="masks", Key=key)["Body"].read() for key in keys}


def local(folder, **options):
    to_cog(make_mask(), folder, **options)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_s3(tmp_path, bucket):
    urls = to_cog(make_mask(), "s3://masks/some/place/", style=["4-class", "valid-invalid"])
    assert urls[0] == f"s3://masks/some/place/{STEM}_4-class.tif"
    expected = local(tmp_path, style=["4-class", "valid-invalid"])
    assert stored(bucket) == {f"some/place/{name}": data for name, data in expected.items()}
    assert len(expected) == 8
    one = to_cog(make_mask()[0], "s3://masks/mask.tif")
    assert one == ["s3://masks/mask.tif"]
    assert stored(bucket)["mask.tif"] == (tmp_path / f"{STEM}_4-class.tif").read_bytes()
    assert "mask.tif.aux.xml" in stored(bucket)


def test_what_is_on_s3_is_refused_kept_or_replaced(tmp_path, bucket):
    to_cog(make_mask(seed=1), "s3://masks/a")
    before = stored(bucket)
    with pytest.raises(WriteError, match=rf"s3://masks/a/{STEM}\.tif exists.*resume=True"):
        to_cog(make_mask(), "s3://masks/a")
    with pytest.raises(WriteError, match="was written from another mask: its model_sha256"):
        to_cog(make_mask().assign_attrs(model_sha256="other"), "s3://masks/a", resume=True)
    bucket.delete_object(Bucket="masks", Key=f"a/{STEM}.tif")
    to_cog(make_mask(seed=1), "s3://masks/a", resume=True)
    assert stored(bucket) == before
    to_cog(make_mask(), "s3://masks/a", overwrite=True)
    assert stored(bucket) == {f"a/{name}": data for name, data in local(tmp_path).items()}


def test_a_bucket_that_is_not_there(bucket, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    start = time.perf_counter()
    with pytest.raises(WriteError, match=r"s3://nowhere/a cannot be written: there is no such bucket"):
        to_cog(make_mask(), "s3://nowhere/a/")
    # It vanishes while the mask is computed.
    monkeypatch.setattr(_cogremote.RemoteFolder, "check", lambda self, names: None)
    with pytest.raises(WriteError, match=rf"s3://nowhere/a/{STEM}\.tif cannot be written"):
        to_cog(make_mask(), "s3://nowhere/a/")
    assert time.perf_counter() - start < 60
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_file_systems()
    start = time.perf_counter()
    with pytest.raises(WriteError, match=r"s3://masks/a cannot be written"):
        to_cog(make_mask(), "s3://masks/a/")
    assert time.perf_counter() - start < 60


def test_memory(tmp_path):
    files = fsspec.filesystem("memory")
    try:
        to_cog(make_mask(), "memory://cogs/{}", name_template="{time:%Y}/{index}")
        expected = local(tmp_path, name_template="{time:%Y}/{index}")
        found = {path.removeprefix("/cogs/{}/"): files.cat_file(path) for path in files.find("/cogs/{}")}
        assert found == expected
    finally:
        files.rm("/cogs", recursive=True)


class Renaming(fsspec.get_filesystem_class("file")):
    """A store that is no object store, as sftp is: half a file can be seen while it is uploaded."""

    protocol = "renaming"
    fails = False

    def put_file(self, lpath, rpath, **kwargs):
        assert ".part" in rpath
        Path(rpath).write_bytes(Path(lpath).read_bytes()[:100] if self.fails else Path(lpath).read_bytes())
        if self.fails:
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize("fails", [False, True])
def test_other_stores_rename(tmp_path, fails, monkeypatch):
    fsspec.register_implementation("renaming", Renaming, clobber=True)
    monkeypatch.setattr(Renaming, "fails", fails)
    expected = local(tmp_path / "local")
    target = tmp_path / "target"
    if fails:
        with pytest.raises(WriteError, match=rf"{STEM}\.tif cannot be written: No space"):
            to_cog(make_mask(), f"renaming://{target}")
        assert [path for path in target.rglob("*") if path.is_file()] == []
        return
    to_cog(make_mask(), f"renaming://{target}")
    assert {path.name: path.read_bytes() for path in target.iterdir()} == expected


def test_file_urls_are_paths(tmp_path):
    (path,) = to_cog(make_mask()[:1], f"file://{tmp_path}/masks/")
    assert path == tmp_path / "masks" / f"{STEM}.tif"
    assert path.exists()


def test_credentials_stay_out_of_messages(bucket):
    with pytest.raises(WriteError, match=r"^s3://nowhere/a cannot be written") as caught:
        to_cog(make_mask(), "s3://key:secret@nowhere/a/")
    assert "secret" not in str(caught.value)
