"""Searching real APIs on localhost, and items from files and static catalogues."""

from __future__ import annotations

import http.server
import importlib
import json
import threading
from contextlib import contextmanager
from pathlib import Path

import pystac
import pytest
import stac_items as cat
from http_server import serve
from stac_server import serve_api, serve_rustac
from test_stac_items import L2, S2, shot

from xcloudmask.errors import ArgumentError, ArgumentTypeError, CatalogueError, HrefError, MissingPackageError
from xcloudmask.stac import CATALOGUES, dedupe, duplicates, read_items, search
from xcloudmask.stac.catalogues import resolve_sign, resolve_url
from xcloudmask.stac.read import parse_range

DAYS = 12
EAST = {"type": "Polygon", "coordinates": [[[20, 40], [21, 40], [21, 41], [20, 41], [20, 40]]]}


def day(index):
    return f"2024-05-{index + 1:02d}T10:50:31Z"


def catalogue():
    """Twelve dates, two of them processed twice, one elsewhere, and another collection."""
    items = []
    for index in range(DAYS):
        taken = shot("B03", "B04", "B08", time=day(index))
        item = cat.cdse(taken, baseline="03.01" if index < 4 else "05.10")
        item["properties"]["eo:cloud_cover"] = 8 * index
        items.append(item)
        if index in (1, 2):
            items.append(cat.cdse(taken, baseline="05.10", made="20240901T000000"))
            items[-1]["properties"]["eo:cloud_cover"] = 8 * index
    items[0] |= {"geometry": EAST, "bbox": [20, 40, 21, 41]}
    return [*items, cat.usgs(L2)]


def write_items(folder: Path, items):
    for index, item in enumerate(items):
        (folder / f"{index:03d}.json").write_text(json.dumps(item))


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    folder = tmp_path_factory.mktemp("items")
    write_items(folder, catalogue())
    with serve_api(folder) as root:
        yield root


@pytest.fixture(scope="module")
def rustac(tmp_path_factory):
    path = tmp_path_factory.mktemp("rustac") / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": catalogue()}))
    with serve_rustac(path) as root:
        yield root


@pytest.fixture(params=["api", "rustac"])
def both(request):
    """stac-fastapi and rustac's server."""
    return request.getfixturevalue(request.param)


def covers(items):
    return sorted(item.properties["eo:cloud_cover"] for item in items)


# --- what every API knows ---


def test_all_pages(both):
    items = search(both, collections="sentinel-2-l2a", page_size=3)
    assert len(items) == DAYS + 2
    assert len({item.id for item in items}) == DAYS + 2
    assert all(isinstance(item, pystac.Item) for item in items)


def test_limit(both):
    assert len(search(both, collections="sentinel-2-l2a", page_size=3, limit=7)) == 7
    assert len(search(both, collections=["sentinel-2-l2a"], limit=200)) == DAYS + 2


def test_more_than_the_default_limit_is_an_error(api, monkeypatch):
    monkeypatch.setattr(importlib.import_module("xcloudmask.stac.search"), "_LIMIT", 5)
    search(api, collections="sentinel-2-l2a", limit=6)
    with pytest.raises(CatalogueError, match=r"more than 5 items.*limit="):
        search(api, collections="sentinel-2-l2a")


def test_dates(both):
    items = search(both, collections="sentinel-2-l2a", datetime="2024-05-06/2024-05-08")
    assert sorted(item.datetime.day for item in items) == [6, 7, 8]
    assert [item.datetime.day for item in search(both, collections="sentinel-2-l2a", datetime="2024-05-06")] == [6]


def test_area(both):
    assert covers(search(both, collections="sentinel-2-l2a", bbox=(20.2, 40.2, 20.4, 40.4))) == [0]
    point = {"type": "Point", "coordinates": [20.5, 40.5]}
    assert covers(search(both, collections="sentinel-2-l2a", geometry=point)) == [0]
    assert search(both, collections="sentinel-2-l2a", bbox=(-10, -10, -9, -9)) == []


def test_several_collections_and_ids(both):
    assert len(search(both, collections=["sentinel-2-l2a", "landsat-c2l2-sr"])) == DAYS + 3
    wanted = cat.usgs(L2)["id"]
    assert [item.id for item in search(both, collections="landsat-c2l2-sr", ids=[wanted])] == [wanted]


def test_reprocessed_scenes_are_found_and_dropped(both):
    items = search(both, collections="sentinel-2-l2a")
    kept = dedupe(items)
    assert len(kept) == DAYS
    assert {found.why for found in duplicates(items)} == {"processing baseline 03.01, kept 05.10"}


# --- query and filter, where the API knows them ---


def test_query(api):
    assert covers(search(api, collections="sentinel-2-l2a", query={"eo:cloud_cover": {"lt": 20}})) == [0, 8, 8, 16, 16]
    both_sides = {"eo:cloud_cover": {"gte": 16, "lt": 40}}
    assert covers(search(api, collections="sentinel-2-l2a", query=both_sides)) == [16, 16, 24, 32]


def test_cql2_as_json_and_as_text(api):
    tree = {"op": "<", "args": [{"property": "eo:cloud_cover"}, 20]}
    assert covers(search(api, collections="sentinel-2-l2a", filter=tree)) == [0, 8, 8, 16, 16]
    text = '"eo:cloud_cover" < 20 AND "processing:version" = \'05.10\''
    assert covers(search(api, collections="sentinel-2-l2a", filter=text)) == [8, 16]
    assert len(search(api, collections="sentinel-2-l2a", filter=text, page_size=1)) == 2, "pages of GET requests"


@pytest.mark.parametrize(
    "unknown", [{"query": {"eo:cloud_cover": {"lt": 20}}}, {"filter": "a = 1"}, {"sortby": "properties.datetime"}]
)
def test_what_an_api_does_not_know_is_an_error(rustac, unknown):
    """This server leaves out what it does not know, so that all items would come back."""
    with pytest.raises(ArgumentError, match=f"does not know {next(iter(unknown))}="):
        search(rustac, collections="sentinel-2-l2a", **unknown)


# --- arguments ---


@pytest.mark.parametrize(
    "wrong",
    [
        {"bbox": (9, 47, 8, 48)},
        {"bbox": (9, 47, 10)},
        {"bbox": (9, 47, 10, float("nan"))},
        {"bbox": (-200, 47, 10, 48)},
        {"bbox": (9, 47, 10, 48), "geometry": EAST},
        {"limit": 0},
        {"limit": True},
        {"limit": 2.5},
        {"page_size": 0},
        {"datetime": "last summer"},
    ],
)
def test_wrong_arguments(api, wrong):
    with pytest.raises(ArgumentError):
        search(api, collections="sentinel-2-l2a", **wrong)


def test_presets_are_names_of_urls():
    assert set(CATALOGUES) == {"earth-search", "planetary-computer", "cdse"}
    assert resolve_url("CDSE") == "https://stac.dataspace.copernicus.eu/v1"
    assert all(found.url.startswith("https://") and found.note for found in CATALOGUES.values())
    with pytest.raises(ArgumentError, match=r"no known catalogue.*earth-search"):
        resolve_url("earthsearch")
    with pytest.raises(ArgumentError, match=r"read_items\(paths\)"):
        search("catalog.json", collections="x")
    with pytest.raises(ArgumentTypeError):
        resolve_url(None)


def test_signing_by_name(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "planetary_computer", None)
    with pytest.raises(MissingPackageError, match=r"xcloudmask\[planetary-computer\]"):
        resolve_sign("planetary-computer")
    with pytest.raises(ArgumentError, match="Expected 'planetary-computer'"):
        resolve_sign("azure")
    with pytest.raises(ArgumentTypeError):
        resolve_sign(3)


# --- servers that are no API ---


@contextmanager
def answering(answer):
    """A server that answers everything with one document."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = answer(self) if callable(answer) else answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args):
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "answer", [(500, b"no"), (404, b"{}"), (200, b"<html>"), (200, b"[]"), (200, b'{"type": "Catalog"}'), (200, b"")]
)
def test_answers_that_are_no_stac(answer):
    with answering(answer) as root, pytest.raises((CatalogueError, ArgumentError)):
        search(root, collections="x")


def test_unknown_collections_are_named(api):
    with pytest.raises(ArgumentError, match=r"has no collection 'sentinel2-l2a'\. Expected such as 'sentinel-2-l2a'"):
        search(api, collections="sentinel2-l2a")
    assert search(api, collections="sentinel-2-l2a", datetime="1999") == []


def test_ranges_that_end_before_they_begin(api):
    with pytest.raises(ArgumentError, match="ends before it begins"):
        search(api, collections="sentinel-2-l2a", datetime="2024-06/2024-05")


def test_nobody_answers():
    with pytest.raises(CatalogueError, match=r"cannot be reached \(Failed to .* refused\)\. Check the address"):
        search("http://127.0.0.1:9", collections="x")


@pytest.mark.parametrize("where", ["search", "next"])
def test_links_to_other_hosts_are_not_followed(where):
    """They would get the headers, a token perhaps."""

    def answer(request):
        root = f"http://127.0.0.1:{request.server.server_port}"
        other = root.replace("127.0.0.1", "localhost")
        asked.append(request.headers["Host"])
        conforms = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
        target = other if where == "search" else root
        links = [{"rel": "search", "href": f"{target}/search", "type": "application/geo+json", "method": "POST"}]
        if request.path == "/search":
            again = [{"rel": "next", "href": f"{other}/search", "method": "POST", "body": {}}]
            page = {"type": "FeatureCollection", "features": [cat.cdse(S2, baseline="05.10")], "links": again}
            return 200, json.dumps(page).encode()
        landing = {"type": "Catalog", "stac_version": "1.0.0", "id": "x", "description": "x"}
        return 200, json.dumps({**landing, "conformsTo": conforms, "links": links}).encode()

    asked = []
    with answering(answer) as root, pytest.raises(CatalogueError, match="leads to another host, 'localhost'"):
        search(root, collections="x", headers={"X-Token": "secret"})
    assert asked
    assert not any("localhost" in host for host in asked)


def test_an_item_that_is_none_is_named(tmp_path):
    broken = cat.cdse(S2, baseline="05.10")
    broken["properties"]["datetime"] = "2024-05-14T10:50:31Z"
    broken["assets"] = {"B04_10m": "here"}
    write_items(tmp_path, [broken])
    with serve_api(tmp_path) as root, pytest.raises(CatalogueError, match=r"item 'S2A_MSIL2A.*no valid STAC item"):
        search(root, collections="sentinel-2-l2a")


@pytest.mark.parametrize("full", [True, False])
def test_pages_without_end(full):
    def answer(request):
        root = f"http://127.0.0.1:{request.server.server_port}"
        conforms = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
        links = [{"rel": "search", "href": f"{root}/search", "type": "application/geo+json", "method": "POST"}]
        if request.path == "/search":
            again = [{"rel": "next", "href": f"{root}/search", "method": "POST", "body": {}}]
            features = [cat.cdse(S2, baseline="05.10")] if full else []
            return 200, json.dumps({"type": "FeatureCollection", "features": features, "links": again}).encode()
        landing = {"type": "Catalog", "stac_version": "1.0.0", "id": "x", "description": "x"}
        return 200, json.dumps({**landing, "conformsTo": conforms, "links": links}).encode()

    with answering(answer) as root:
        assert len(search(root, collections="x", limit=3)) == (3 if full else 0)


def test_a_static_catalogue_is_no_api(tmp_path):
    make_static(tmp_path)
    with serve(tmp_path) as server, pytest.raises(ArgumentError, match="read_items"):
        search(server.url("catalog.json"), collections="x")


# --- files and static catalogues ---


def make_static(folder: Path, links=()):
    """catalog.json -> s2/collection.json -> items; relative links."""
    (folder / "s2").mkdir()
    items = catalogue()[:5]
    base = {"stac_version": "1.0.0", "description": "x"}
    for index, item in enumerate(items):
        item["assets"]["B04_10m"]["href"] = "./B04.tif"
        item["links"] = [{"rel": "self", "href": "file:///etc/passwd"}]
        (folder / "s2" / f"{index}.json").write_text(json.dumps(item))
    inner = [{"rel": "item", "href": f"./{index}.json"} for index in range(5)]
    inner += [{"rel": "parent", "href": "../catalog.json"}, {"rel": "child", "href": "../catalog.json"}]
    (folder / "s2" / "collection.json").write_text(
        json.dumps({"type": "Collection", "id": "s2", **base, "links": inner})
    )
    outer = [{"rel": "child", "href": "./s2/collection.json"}, *links]
    (folder / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "root", **base, "links": outer}))


def test_static_catalogue_of_files(tmp_path):
    make_static(tmp_path)
    items = read_items(tmp_path / "catalog.json")
    assert len(items) == 5, "each once, although the links go in a circle"
    assert items[0].get_self_href() == str(tmp_path / "s2" / "0.json"), "where it was read, not what it says"


def test_static_catalogue_over_the_web(tmp_path):
    make_static(tmp_path)
    with serve(tmp_path) as server:
        items = read_items(server.url("catalog.json"))
        assert len(items) == 5
        assert items[0].get_self_href() == server.url("s2/0.json")


def test_filters_of_files(tmp_path):
    make_static(tmp_path)
    root = str(tmp_path / "catalog.json")
    assert covers(read_items(root, bbox=(20.1, 40.1, 20.2, 40.2))) == [0]
    assert covers(read_items(root, datetime="2024-05-02")) == [8, 8]
    assert covers(read_items(root, datetime="2024-05-02/..")) == [8, 8, 16, 16]
    assert covers(read_items(root, datetime="../2024-05-01T12:00:00Z")) == [0]
    assert read_items(root, collections=["other"]) == []
    with pytest.raises(CatalogueError, match="more than limit=2"):
        read_items(root, limit=2)


def test_lists_of_item_files_and_collections_of_items(tmp_path):
    write_items(tmp_path, catalogue()[:3])
    whole = tmp_path / "all.json"
    whole.write_text(json.dumps({"type": "FeatureCollection", "features": catalogue()[:2]}))
    assert len(read_items([tmp_path / "000.json", str(tmp_path / "001.json"), whole])) == 4


@pytest.mark.parametrize(
    "href", ["file:///etc/hosts", "/etc/hosts", "http://192.168.0.1/x.json", "/vsicurl/http://a/b"]
)
def test_catalogues_of_the_web_lead_to_no_file_and_no_private_host(tmp_path, monkeypatch, href):
    make_static(tmp_path, links=[{"rel": "item", "href": href}])
    with serve(tmp_path) as server:
        if href == "/etc/hosts":
            with pytest.raises(CatalogueError, match="404"):
                read_items(server.url("catalog.json"))
            assert "etc/hosts" in server.paths(), "a path on that server"
            return
        # The host that the user typed is private here; one that is public allows no private links at all.
        if "192.168" in href:
            monkeypatch.setattr("xcloudmask.stac._json.private_host", lambda host: False)
            monkeypatch.setattr("xcloudmask.stac.hrefs.private_host", lambda host: host.startswith("192.168"))
        with pytest.raises(HrefError):
            read_items(server.url("catalog.json"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as JSON"),
        ("[1]", "JSON list"),
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"type": "Polygon"}', "is no STAC"),
        ('{"type": "Feature", "id": "a"}', "no valid STAC item"),
        (
            '{"type": "Feature", "id": "a", "stac_version": "1.0.0", "properties": {"datetime": 7}}',
            "no valid STAC item",
        ),
        ('{"type": "FeatureCollection", "features": [7]}', "feature that is a int"),
    ],
)
def test_files_that_are_no_stac(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(CatalogueError, match=message):
        read_items(path)


def test_missing_and_large_files(tmp_path, monkeypatch):
    with pytest.raises(CatalogueError, match="cannot be read"):
        read_items(tmp_path / "none.json")
    write_items(tmp_path, catalogue()[:1])
    monkeypatch.setattr("xcloudmask.stac._json.MAX_BYTES", 100)
    with pytest.raises(CatalogueError, match="larger than"):
        read_items(tmp_path / "000.json")
    with serve(tmp_path) as server, pytest.raises(CatalogueError, match="larger than"):
        read_items(server.url("000.json"))


@pytest.mark.parametrize("paths", [[], [3], None])
def test_paths_that_are_none(paths):
    with pytest.raises((ArgumentError, ArgumentTypeError)):
        read_items(paths)


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("2024", ("2024-01-01T00:00:00", "2024-12-31T23:59:59")),
        ("2024-12", ("2024-12-01T00:00:00", "2024-12-31T23:59:59")),
        ("2024-06-01/2024-06-02", ("2024-06-01T00:00:00", "2024-06-02T23:59:59")),
        ("2024-06-01T10:00:00Z", ("2024-06-01T10:00:00", "2024-06-01T10:00:00")),
        ("/2024-06", ("0001-01-01T00:00:00", "2024-06-30T23:59:59")),
    ],
)
def test_ranges(text, ends):
    assert tuple(end.isoformat()[:19] for end in parse_range(text)) == ends


@pytest.mark.parametrize("text", ["", "..", "../..", "2024-13", "2024-06-01/2024/2025", "June", "2024-02-30"])
def test_no_ranges(text):
    with pytest.raises(ArgumentError, match="is not understood"):
        parse_range(text)


def test_links_of_items_are_not_followed(tmp_path):
    item = cat.cdse(S2, baseline="05.10")
    item["links"] = [{"rel": "collection", "href": "http://127.0.0.1:9/none.json"}]
    (tmp_path / "a.json").write_text(json.dumps(item))
    assert read_items(tmp_path / "a.json")[0].collection_id == "sentinel-2-l2a"
