"""`xcloudmask stac`: the whole way, against an API on localhost."""

from __future__ import annotations

import json

import numpy as np
import pytest
import stac_items as cat
from http_server import Fault, serve
from stac_server import serve_api
from stac_shelf import ROLES, Shelf, grid_cube
from test_cli import names, run

import xcloudmask
from xcloudmask.io import open_mask
from xcloudmask.stac import HrefPolicy, load, search

DATES = ("2024-05-14T10:50:31Z", "2024-05-24T10:50:31Z")


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """An API with two dates, one of them twice, whose files are on a web server."""
    folder = tmp_path_factory.mktemp("files")
    items = tmp_path_factory.mktemp("items")
    with serve(folder) as server, serve_api(items) as root:
        shelf = Shelf(folder, server.url)
        for index, date in enumerate(DATES):
            build = cat.planetary_computer_s2
            item = shelf.scene(f"s{index}", build, time=date, seed=index, extra={"eo:cloud_cover": 30 * index})
            (items / f"{index}.json").write_text(json.dumps(item))
        old = shelf.scene("s0", cat.planetary_computer_s2, time=DATES[0], baseline="03.01", made="20240514T120000")
        old["properties"]["eo:cloud_cover"] = 0
        (items / "old.json").write_text(json.dumps(old))
        whole = {
            "type": "FeatureCollection",
            "features": [json.loads((items / f"{n}.json").read_text()) for n in (0, 1)],
        }
        (folder / "items.json").write_text(json.dumps(whole))
        shelf.root, shelf.server = root, server
        yield shelf


def command(catalogue, *more):
    return run("stac", catalogue.root, "--collection", "sentinel-2-l2a", "--allow-private", *more)


def test_from_a_search_to_zarr(catalogue, tmp_path):
    result = command(catalogue, "--datetime", "2024-05", "--out", tmp_path / "masks.zarr")
    assert result.exit_code == 0, result.output
    assert "1 of 3 items were processed again" in result.output
    assert "processing baseline 03.01, kept 05.10" in result.output
    written = open_mask(tmp_path / "masks.zarr")
    items = search(catalogue.root, collections="sentinel-2-l2a", query={"s2:processing_baseline": {"eq": "05.10"}})
    expected = xcloudmask.predict(load(items, policy=HrefPolicy(allow_private=True)))
    np.testing.assert_array_equal(written.values, expected.values)
    assert written.sizes == {"time": 2, "y": 160, "x": 160}
    assert written["item_id"].values.tolist() == expected["item_id"].values.tolist()
    assert names(tmp_path) == ["masks.zarr"]


def test_items_of_a_file_and_cogs(catalogue, tmp_path):
    result = run("stac", catalogue.server.url("items.json"), "--allow-private", "--out", f"{tmp_path / 'masks'}/")
    assert result.exit_code == 0, result.output
    assert names(tmp_path / "masks") == ["cloud_mask_20240514T105031.tif", "cloud_mask_20240524T105031.tif"]


def test_dry_run_writes_nothing(catalogue, tmp_path):
    catalogue.server.reset()
    result = command(
        catalogue, "--dry-run", "--out", tmp_path / "masks.zarr", "--query", '{"eo:cloud_cover": {"lt": 90}}'
    )
    assert result.exit_code == 0, result.output
    assert names(tmp_path) == []
    assert catalogue.server.requests == [], "items declare all that is needed"
    text = result.output
    assert "3 found, 2 after duplicates, 2 time steps" in text
    assert "2024-05-14 10:50:31  S2A_MSIL2A" in text
    assert "DN * 0.0001 + -0.1" in text
    assert "time 2, y 160, x 160; 3 bands (red, green, nir)" in text
    assert "sentinel-2-l2a" in text
    for label in ("chunks", "memory", "halo", "band red"):
        assert f"\n{label}" in text
    without = command(catalogue, "--dry-run", "--keep-duplicates")
    assert "3 after duplicates" in without.output
    assert "DN * 0.0001 + 0" in without.output, "the old product has no offset"


def test_cut_to_an_area_and_without_a_band(catalogue, tmp_path):
    corner = grid_cube().odc.geobox[32:64, 40:100].extent.to_crs("EPSG:4326")
    box = ",".join(map(str, corner.boundingbox))
    result = command(catalogue, "--bbox", box, "--band", "nir=none", "--out", tmp_path / "a.zarr", "-q")
    assert result.exit_code == 0, result.output
    assert open_mask(tmp_path / "a.zarr").sizes["x"] < 70
    (tmp_path / "area.geojson").write_text(json.dumps({"type": "Feature", "geometry": corner.json, "properties": {}}))
    again = command(
        catalogue, "--geometry", tmp_path / "area.geojson", "--band", "nir=none", "--out", tmp_path / "b.zarr", "-q"
    )
    assert again.exit_code == 0, again.output
    # The bounding box of its corners in degrees is a little larger than the rectangle itself.
    assert open_mask(tmp_path / "b.zarr").sizes == {"time": 2, "y": 32, "x": 60}


@pytest.mark.filterwarnings("default:.*left out:UserWarning")
def test_skip_reports_the_gap(catalogue, tmp_path):
    items = [catalogue.scene(f"gap{index}", time=date, seed=index) for index, date in enumerate(DATES)]
    (catalogue.folder / "gap.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    band = ROLES["green"]
    catalogue.server.faults[f"gap1-{band}.tif"] = Fault(kind="status", status=404)
    start = ("stac", catalogue.server.url("gap.json"), "--allow-private")
    failed = run(*start, "--out", tmp_path / "no.zarr", "-q")
    assert failed.exit_code == 1
    assert f"asset '{band}'" in failed.output
    assert names(tmp_path) == [], "nothing half-written"
    plan = run(*start, "--dry-run", "--on-error", "skip")
    assert plan.exit_code == 0, plan.output
    assert "\nskipped" in plan.output
    assert "1 time steps" in plan.output
    result = run(*start, "--on-error", "skip", "--out", tmp_path / "yes.zarr")
    assert result.exit_code == 0, result.output
    assert "left out" in result.output
    assert open_mask(tmp_path / "yes.zarr").sizes["time"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Expected --out"),
        (["--dry-run", "--bbox", "1,2,3"], "expected west,south,east,north"),
        (["--dry-run", "--bbox", "3,2,1,4"], "west < east"),
        (["--dry-run", "--geometry", "none.geojson"], "no such file"),
        (["--dry-run", "--query", "{"], "no JSON"),
        (["--dry-run", "--query", "[]"], "expected a JSON object"),
        (["--dry-run", "--datetime", "June"], "is not understood"),
        (["--dry-run", "--on-error", "ignore"], "Expected one of"),
        (["--dry-run", "--sign", "azure"], "Expected 'planetary-computer'"),
        (["--out", "masks.xyz"], "expected masks.zarr"),
    ],
)
def test_wrong_usage(catalogue, arguments, message):
    result = command(catalogue, *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output


def test_no_collection_and_no_api(catalogue):
    assert "Expected --collection" in run("stac", catalogue.root, "--dry-run").output
    result = run("stac", "earth", "--collection", "x", "--dry-run")
    assert result.exit_code == 2
    assert "earth-search" in result.output
    assert "is no API" in run("stac", "a.json", "--query", "{}", "--dry-run").output


def test_nothing_found(catalogue):
    result = command(catalogue, "--datetime", "1999", "--dry-run")
    assert result.exit_code == 1
    assert "There are no items" in result.output


def test_private_hosts_are_refused_unless_allowed(catalogue):
    result = run("stac", catalogue.root, "--collection", "sentinel-2-l2a", "--dry-run")
    assert result.exit_code == 1
    assert "private address" in result.output
    elsewhere = command(catalogue, "--dry-run", "--host", "example.org")
    assert "is not on the list of hosts" in elsewhere.output
