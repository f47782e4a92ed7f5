"""Items that try something: read files, reach hosts, fill the memory or the terminal."""

from __future__ import annotations

import json
import socket

import numpy as np
import pytest
import stac_items as cat
from stac_shelf import SIDE, Shelf, grid_cube, of

import xcloudmask.stac._grids as grids
from xcloudmask.errors import BandNotFoundError, CatalogueError, HrefError, InputError
from xcloudmask.stac import HrefPolicy, dedupe, load, read_items

FILES = HrefPolicy(allow_files=True)


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


@pytest.fixture
def no_network(monkeypatch):
    """No connection, and no look-up of a name."""

    def refuse(*args, **kwargs):
        raise AssertionError(f"the network was touched: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("version", ["0.8.0", "0.9.0", "1.0.0", "1.1.0"])
def test_links_are_not_followed_whatever_the_version(shelf, no_network, version):
    """Old versions of STAC had properties of items in their collection: nobody must go and look there."""
    item = shelf.scene("a") | {"stac_version": version}
    inside = ("root", "parent", "collection", "derived_from", "self")
    item["links"] = [{"rel": rel, "href": "http://169.254.169.254/latest.json"} for rel in inside[:-1]]
    item["links"] += [{"rel": "self", "href": "file:///etc/hostname"}]
    assert load(dedupe([of(item)]), policy=FILES).sizes["time"] == 1
    with pytest.raises(HrefError, match="is a file of this machine"):
        load([of(item)])
    (shelf.folder / "a.json").write_text(json.dumps(item))
    assert load(shelf.items("a")).sizes["time"] == 1


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "", 5, None, "x" * 2000, "a\u2028b"])
def test_ids_that_are_no_names(shelf, name):
    """They go to terminals, logs, and names of files."""
    item = shelf.scene("a")
    (shelf.folder / "a.json").write_text(json.dumps(item | {"id": name}))
    with pytest.raises(CatalogueError, match=r"the id|no valid STAC item"):
        shelf.items("a")
    plain = of(item)
    plain.id = name
    with pytest.raises(InputError, match="the id"):
        load([plain], policy=FILES)


@pytest.mark.parametrize("key", ["red\n", "../../B04", "B04\x1b[2J", "x" * 5000])
def test_keys_of_assets_are_names_and_nothing_else(shelf, key):
    item = shelf.scene("a", cat.earth_search_v0)
    item["assets"] = {key: item["assets"]["B04"] | {"href": "file:///etc/passwd"}}
    with pytest.raises((HrefError, BandNotFoundError)) as error:
        load([of(item)], bands=[key])
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 1500


def test_thousands_of_assets(shelf):
    item = shelf.scene("a")
    one = item["assets"]["B04"]
    item["assets"] |= {f"spare{n}": one | {"eo:bands": []} for n in range(5000)}
    assert load([of(item)], policy=FILES).sizes["time"] == 1
    with pytest.raises(BandNotFoundError, match=r"and 4963 more") as error:
        load([of(item)], bands=["swir16"], policy=FILES)
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize(
    "code",
    [
        "+proj=utm +zone=31 +nadgrids=/etc/passwd",
        "+init=/etc/passwd:1",
        {"type": "BoundCRS", "source_crs": {}},
        'BOUNDCRS[SOURCECRS[...],PARAMETERFILE["Latitude and longitude difference file","/etc/passwd"]]',
        "EPSG:32631" + " " * 100_000,
    ],
)
def test_coordinate_systems_that_name_files(shelf, code):
    item = of(shelf.scene("a"))
    item.properties["proj:code"] = code
    with pytest.raises(InputError, match="may name files of grids"):
        load([item], policy=FILES)


@pytest.mark.parametrize("transform", [[1e-320, 0, 6e5, 0, -1e-320, 5e6], [1e-12, 0, 6e5, 0, -10, 5e6]])
def test_pixels_of_no_size(shelf, transform):
    item = shelf.scene("a")
    for asset in item["assets"].values():
        asset["proj:transform"] = transform
    with pytest.raises(InputError, match="rotated or flipped"):
        load([of(item)], policy=FILES)


@pytest.mark.parametrize("shape", [[1, 1_999_999_999], [1e300, 1e-300], [True, 5], "ab", {"a": 1}])
def test_shapes_of_no_sense(shelf, shape):
    item = shelf.scene("a")
    for asset in item["assets"].values():
        asset["proj:shape"] = shape
    try:
        cube = load([of(item)], policy=FILES)
    except (InputError, HrefError):
        return
    assert cube.sizes["x"] == SIDE, "the header of the file counts"


def test_graphs_that_would_fill_the_memory(shelf, monkeypatch):
    """Two small items at the ends of a zone; each side is allowed by itself."""
    shelf.scene("a")
    shelf.scene("b", grid=grid_cube(x=600_000.0 + 40_000_000, y=5_400_000.0 - 40_000_000), time="2024-05-24T10:50:31Z")
    items = [of(json.loads((shelf.folder / "a.json").read_text()))]
    items += [of(json.loads((shelf.folder / "b.json").read_text()) | {"id": "far"})]
    with pytest.raises(InputError, match=r"chunks: 2 time steps, 3 bands.*Type bbox="):
        load(items, policy=FILES)
    monkeypatch.setattr(grids, "_MAX_CHUNKS", 3)
    assert load(items[:1], policy=FILES).sizes["time"] == 1
    with pytest.raises(InputError, match="12 chunks"):
        load(items[:1], policy=FILES, chunks=80)


@pytest.mark.parametrize(
    "changes",
    [
        {"links": 5},
        {"links": {"a": 1}},
        {"links": [5, None, {"rel": "self"}]},
        {"geometry": {"type": "Nope"}},
        {"geometry": {"type": "Polygon", "coordinates": "x"}},
        {"geometry": {"type": "Polygon", "coordinates": [[[1, 2]]]}},
        {"properties": None},
        {"properties": {"datetime": 5}},
        {"properties": {"datetime": "9" * 400}},
        {"assets": 5},
        {"assets": {"B04": 5}},
    ],
)
def test_json_of_no_sense(shelf, changes):
    (shelf.folder / "a.json").write_text(json.dumps(shelf.scene("a") | changes))
    try:
        items = read_items(shelf.folder / "a.json", bbox=(-10, 40, 20, 60))
    except CatalogueError:
        return
    assert len(items) <= 1


def test_features_that_are_no_list(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"type": "FeatureCollection", "features": 5}))
    assert read_items(tmp_path / "a.json") == []


def test_a_grid_that_the_file_does_not_have(shelf):
    """What an item declares moves no pixel: the file's own grid says where they are."""
    item = shelf.scene("a")
    for asset in item["assets"].values():
        asset["proj:transform"] = [10, 0, 600_400, 0, -10, 5_400_000]
    red = load([of(item)], policy=FILES)["red"].values[0]
    np.testing.assert_array_equal(red[:, :-40], shelf.pixels["a", "red"][:, 40:])
    assert (red[:, -40:] == 0).all()
