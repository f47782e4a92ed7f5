"""Items whose files lie elsewhere than in a folder or on a plain server; other ways to the cube; a cluster."""

from __future__ import annotations

import json

import numpy as np
import pytest
import stac_items as cat
import xarray as xr
from http_server import serve
from stac_shelf import LOCAL, ROLES, Shelf, of

import xcloudmask
from xcloudmask.errors import HrefError, ReadError
from xcloudmask.stac import HrefPolicy, load, read_items


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


# --- S3, as a user of it would ---


@pytest.fixture
def s3(s3_endpoint, tmp_path, monkeypatch):
    """Two dates in a bucket, and the environment that the documentation names."""
    boto3 = pytest.importorskip("boto3")
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "SECRET", "AWS_REGION": "us-east-1"}
    server = {"AWS_S3_ENDPOINT": s3_endpoint, "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"}
    for name, value in {**keys, **server}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=f"http://{s3_endpoint}", region_name="us-east-1")
    client.create_bucket(Bucket="scenes")
    shelf = Shelf(tmp_path, lambda name: f"s3://scenes/2024/{name}")
    for name, day in (("a", 14), ("b", 24)):
        shelf.scene(name, time=f"2024-05-{day}T10:50:31Z", seed=day)
    for path in tmp_path.glob("*.tif"):
        client.put_object(Bucket="scenes", Key=f"2024/{path.name}", Body=path.read_bytes())
    shelf.client = client
    return shelf


def test_from_s3_to_masks(s3, tiny_model):
    cube = load(s3.items("a", "b"))
    for step, name in enumerate("ab"):
        for role in ROLES:
            np.testing.assert_array_equal(cube[role].values[step], s3.pixels[name, role])
    mask = xcloudmask.predict(cube, model=tiny_model)
    np.testing.assert_array_equal(mask, xcloudmask.predict(cube.compute().chunk(time=1), model=tiny_model))
    assert len(np.unique(mask)) > 2


def test_buckets_on_a_list(s3):
    assert load(s3.items("a"), policy=HrefPolicy(hosts=("s3://scenes",))).sizes["time"] == 1
    with pytest.raises(HrefError, match=r"asset 'B04': 's3://scenes' .* is not on the list"):
        load(s3.items("a"), policy=HrefPolicy(hosts=("s3://others",)))


@pytest.mark.filterwarnings("ignore:.*left out:UserWarning")
def test_a_key_that_is_not_there_is_named(s3):
    items = s3.items("a", "b")
    items[1].assets["B08"].href = "s3://scenes/2024/gone.tif"
    with pytest.raises(ReadError, match=r"asset 'B08': 's3://scenes/2024/gone\.tif' cannot be read"):
        load(items)["nir"].compute()
    cube = load(items, on_error="skip")
    assert "gone.tif" in cube.attrs["skipped_items"][0]
    np.testing.assert_array_equal(cube["nir"].values[0], s3.pixels["a", "nir"])


# --- xcloudmask.open ---


def test_open_takes_items(shelf, tiny_model):
    shelf.scene("a")
    shelf.scene("b", cat.cdse, time="2024-05-24T10:50:31Z", seed=1)
    items = shelf.items("b", "a")
    xr.testing.assert_identical(xcloudmask.open(items), load(items))
    assert xcloudmask.open(items[0]).sizes["time"] == 1
    cube = xcloudmask.open(items, bands=["nir"], chunks=64)
    assert list(cube.data_vars) == ["nir"]
    assert cube["nir"].chunks[1] == (64, 64, 32)
    masks = (xcloudmask.predict(found, model=tiny_model) for found in (xcloudmask.open(items), load(items)))
    xr.testing.assert_identical(*(mask.compute() for mask in masks))


def test_open_trusts_items_no_more_than_load_does(shelf, tmp_path):
    item = of(shelf.scene("a"))
    with pytest.raises(HrefError, match="is a file of this machine"):
        xcloudmask.open([item])
    item = of(Shelf(tmp_path, lambda name: f"http://127.0.0.1:9/{name}").scene("c"))
    with pytest.raises(HrefError, match="private address"):
        xcloudmask.open([item])


# --- a cluster ---


@pytest.mark.slow
def test_a_cluster_of_two_processes_gives_the_same_masks(tmp_path, tiny_model):
    """Files, checks and names of items are read by workers; so is what fails."""
    distributed = pytest.importorskip("distributed")
    with serve(tmp_path) as server:
        shelf = Shelf(tmp_path, server.url)
        for name, day in (("a", 14), ("b", 24)):
            shelf.scene(name, time=f"2024-05-{day}T10:50:31Z", seed=day)
        paths = [tmp_path / "a.json", tmp_path / "b.json"]
        cube = load(read_items(paths), chunks=64, policy=LOCAL)
        mask = xcloudmask.predict(cube, model=tiny_model)
        here = mask.compute(scheduler="threads")
        with (
            distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=":0") as cluster,
            distributed.Client(cluster),
        ):
            xr.testing.assert_identical(mask.compute(), here)
            items = read_items(paths)
            items[1].assets["B03"].href = server.url("gone.tif")
            with pytest.raises(ReadError, match=r"asset 'B03': 'http.*gone\.tif' cannot be read"):
                load(items, policy=LOCAL)["green"].compute()
    assert json.loads(paths[0].read_text())["id"] in here["item_id"].values
