"""A campaign as it is meant: an API, files on a web server, a bucket for the masks; killed twice, resumed, checked.

Everything on this machine, each run in processes of its own, as a user would start it. One of the scenes is broken, and
the server refuses others for a while.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import partial

import numpy as np
import pystac
import pytest
import stac_items as cat
from http_server import Fault, serve
from run_processes import finish, kill_after, make_bucket, records
from stac_server import serve_api
from stac_shelf import LOCAL, ROLES, Shelf, grid_cube, of

import xcloudmask
from xcloudmask import run as campaigns
from xcloudmask.run.place import open_campaign
from xcloudmask.run.stores.base import open_sink
from xcloudmask.simulate.scene import simulate_sentinel2

pytest.importorskip("distributed")
pytest.importorskip("s3fs")
pytest.importorskip("odc.stac")
pytest.importorskip("stac_fastapi.api")

BUCKET, SIDE, REGION = "masks-of-a-campaign", 192, 64
STORE = f"s3://{BUCKET}/alps"
TASKS_OF_A_SCENE = (SIDE // REGION) ** 2
DAYS = (14, 24)
BUILD = partial(cat.earth_search_v1, applied=False, collection="sentinel-2-c1-l2a")
CONFIG = """
[source]
kind = "stac"
url = "{url}"
collections = "sentinel-2-c1-l2a"
bbox = [{box}]
datetime = "2024-05"
schemes = ["http"]
allow_private = true

[model]
normalize = "lattice"
precision = "fp32"

[store]
path = "{store}"
chunk_px = 32
region_px = 64
block_px = 64

[run]
workers = 2
memory_limit = "4 GiB"
window = 8
"""


@pytest.fixture
def bucket(s3_endpoint, monkeypatch):
    make_bucket(BUCKET, s3_endpoint, monkeypatch)


@contextmanager
def world(folder):
    """An API and a web server with two grids of two dates, one of them processed twice, and one broken scene."""
    files, items = folder / "files", folder / "items"
    files.mkdir()
    items.mkdir()
    grids = {
        "32TPS": grid_cube(epsg=32632, x=600_000.0, y=5_200_000.0, shape=(SIDE, SIDE)),
        "32TQS": grid_cube(epsg=32632, x=601_900.0, y=5_200_000.0, shape=(SIDE, SIDE)),
    }
    with serve(files) as server, serve_api(items) as url:
        shelf = Shelf(files, server.url)
        for number, (tile, day) in enumerate((tile, day) for tile in grids for day in DAYS):
            name = f"{tile}-{day}"
            time_text = f"2024-05-{day}T10:50:31Z"
            more = {"tile": tile, "baseline": "05.10"}
            item = shelf.scene(name, BUILD, time=time_text, grid=grids[tile], **more)
            paint(files, name, grids[tile], seed=number)
            (items / f"{name}.json").write_text(json.dumps(item))
        old = {"tile": "32TPS", "baseline": "03.01", "made": "20240514T120000"}
        item = shelf.scene("old", BUILD, time="2024-05-14T10:50:31Z", grid=grids["32TPS"], seed=9, **old)
        (items / "old.json").write_text(json.dumps(item))
        broken = files / "32TQS-24-B04.tif"
        broken.write_bytes(broken.read_bytes()[:5000])
        server.faults["32TPS-14-B03.tif"] = Fault(kind="status", status=503, times=2)
        server.faults["32TQS-14-B08.tif"] = Fault(kind="reset", times=1)
        boxes = np.array([grid.odc.geobox.extent.to_crs("EPSG:4326").boundingbox for grid in grids.values()])
        box = [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)]
        config = folder / "alps.toml"
        config.write_text(CONFIG.format(url=url, box=", ".join(f"{side:.6f}" for side in box), store=STORE))
        yield config, items, shelf


def paint(files, name, grid, *, seed):
    """Put a simulated scene with clouds and shadows into the files of a date."""
    scene = simulate_sentinel2(size_px=SIDE, times=1, seed=seed + 3)
    for role, band in ROLES.items():
        path = files / f"{name}-{band}.tif"
        path.unlink(missing_ok=True)  # GDAL looks at what it replaces
        cat.write_tif(path, {band: scene[role].isel(time=0).values}, grid, nodata=0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_campaign_is_killed_twice_and_ends_as_if_it_had_not_been(tmp_path, bucket):
    with world(tmp_path) as (config, items, shelf):
        total = len(DAYS) * 2 * TASKS_OF_A_SCENE
        first = kill_after(STORE, 4, "start", config, "--quiet", whole=True)
        assert campaigns.status(config).tasks == total
        second = kill_after(STORE, len(first) + 4, "start", STORE, "--quiet", whole=False)
        assert first.items() <= second.items()  # none is lost, none was written again
        assert len(second) < total
        before = sum(one.status != "failed" for one in second.values())

        said = finish("start", config, code=3)  # one scene is broken
        assert f"quarantined  {TASKS_OF_A_SCENE}" in said
        last = records(STORE)
        assert len(last) == total
        assert second.items() <= last.items()
        counts = campaigns.status(STORE).counts
        assert counts == {"ok": total - TASKS_OF_A_SCENE, "quarantined": TASKS_OF_A_SCENE}
        ran = sum(int(part.split()[0]) for part in said.split("RunResult ")[1].split(" in ")[0].split(", "))
        assert ran == total - before  # what was final did not run again
        assert {one.ids for one in last.values() if one.status == "quarantined"} == {(item_id(items, "32TQS-24"),)}

        check_masks(items)
        assert campaigns.verify(STORE).good
        check_export(tmp_path, total)

        mend(shelf)
        assert f"<RunResult {TASKS_OF_A_SCENE} ok in " in finish("retry", STORE, "--quarantined", code=0)
        assert campaigns.status(STORE).complete
        assert campaigns.verify(STORE).checked == total
        check_masks(items, broken=False)
        page = campaigns.report(STORE, tmp_path / "report.html").read_text()
        assert f"{total} of {total} tasks" in page


def item_id(items, name):
    return json.loads((items / f"{name}.json").read_text())["id"]


def check_masks(items, *, broken=True):
    """Compare every mask with what `predict` makes of the scene."""
    found = open_campaign(STORE)
    sink = open_sink(found.job)
    with found.manifest() as manifest:
        cells = {step.ids[0]: (step.cell, step.time) for step in manifest.steps()}
    assert len(cells) == 2 * len(DAYS)
    seen = set()
    for path in sorted(items.glob("32*.json")):
        item = json.loads(path.read_text())
        if broken and path.stem == "32TQS-24":
            continue
        cube = xcloudmask.stac.load([of(item)], bands=["red", "green", "nir"], policy=LOCAL, chunks=None)
        expected = xcloudmask.predict(cube.compute(), normalize="lattice", precision="fp32").isel(time=0)
        cell, when = cells[item["id"]]
        seen |= set(np.unique(expected))
        got = sink.masks(cell).sel(time=when)
        np.testing.assert_array_equal(got.values, expected.values, err_msg=path.stem)
    assert seen >= {0, 1, 2, 3}


def check_export(folder, total):
    done = campaigns.export(STORE, stac=folder / "stac", table=folder / "table.csv")
    assert (done.items, done.collections, done.left_out, done.rows) == (2 * len(DAYS) - 1, 2, 1, total)
    catalogue = pystac.Catalog.from_file(str(folder / "stac" / "catalog.json"))
    hrefs = {item.assets["zarr"].href for item in catalogue.get_items(recursive=True)}
    assert all(href.startswith(f"{STORE}/masks/") and href.endswith(".zarr") for href in hrefs)
    assert len(hrefs) == 2


def mend(shelf):
    """Put the broken scene back, as a provider would: at the same address."""
    grid = grid_cube(epsg=32632, x=601_900.0, y=5_200_000.0, shape=(SIDE, SIDE))
    paint(shelf.folder, "32TQS-24", grid, seed=2 * len(DAYS) - 1)
