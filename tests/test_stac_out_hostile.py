"""STAC out with hostile names, catalogues of others, full disks, and writers that are killed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pystac
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import run_killed, run_whole
from stac_masks import TIMES, files_in, items_in, make_mask, read, validate

from xcloudmask.errors import ArgumentError, ArgumentTypeError, CatalogueError, WriteError
from xcloudmask.io import to_cog
from xcloudmask.stac.out import to_stac
from xcloudmask.stac.out._disk import write_bytes, write_document
from xcloudmask.stac.out._names import check_name, safe_name, shown_text

HOSTILE = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "a/b/c",
    "a\\b",
    "C:\\a",
    "a\x00b",
    "a\nb\x1b[31m",
    "con",
    "NUL.tif",
    "-rf",
    ".hidden",
    "é" * 200,
    "x" * 5000,
    "a b?c#d%2e%2e%2f",
    "\u202etxt.exe",
    "~root",
    "$(touch x)",
    "\ud800",
]


# --- names ---


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_in_the_folder(text, tmp_path):
    name = safe_name(text)
    assert name.isascii()
    assert len(name) <= 140
    assert not set(name) & set('/\\:*?"<>|\0 %#')
    assert not name.startswith((".", "-", "~"))
    path = tmp_path / f"{name}.json"
    path.write_text("")
    assert path.resolve().parent == tmp_path.resolve()


@given(st.text(max_size=200), st.text(max_size=200))
def test_names_that_differ_stay_different(one, other):
    assert (safe_name(one) == safe_name(other)) == (one == other)
    assert safe_name(safe_name(one)) == safe_name(one)


@pytest.mark.parametrize("text", ["", "../a", "a/b", "a b", "x" * 200])
def test_what_the_user_names_is_not_renamed(text, tmp_path):
    with pytest.raises(ArgumentError, match="collection_id="):
        to_stac(make_mask(), tmp_path, collection_id=text)
    with pytest.raises(ArgumentError, match="ids="):
        to_stac(make_mask(TIMES[:1]), tmp_path, ids=[text])
    with pytest.raises(ArgumentTypeError, match="ids=3"):
        check_name(3, "ids")
    assert not list(tmp_path.iterdir())


def test_hostile_ids_of_items(tmp_path):
    folder = tmp_path / "in" / "stac"
    coords = {
        "item_id": np.array(["../../../escaped", "a\x1b[31m\x00/b"], object),
        "platform": np.array(["../\x1b[2J", "x"], object),
    }
    model = {"model": "../../model\x1b[0m", "model_sha256": "\n", "settings": '{"a": "\x07"', "normalize": "../.."}
    catalogue = to_stac(make_mask(coords=coords, attrs=model), folder, title="\x1b[31mred")
    assert {path.name for path in tmp_path.iterdir()} == {"in"}
    assert {path.name for path in (tmp_path / "in").iterdir()} == {"stac"}
    assert len(list(catalogue.get_items(recursive=True))) == 2
    for path in folder.rglob("*.json"):
        assert all(byte >= 32 or byte == 10 for byte in path.read_bytes())
        assert "\\u001b" not in path.read_text()
        validate(read(path))


def test_texts_have_no_control_characters():
    assert shown_text("a\x00b\u2028c\u202ed\x9b") == "a b c d"
    assert len(shown_text("x" * 10_000)) == 1000


@pytest.mark.parametrize("licence", ["CC BY 4.0", "a/b", "x\n"])
def test_a_licence_that_is_none(licence, tmp_path):
    with pytest.raises(ArgumentError, match="SPDX"):
        to_stac(make_mask(), tmp_path, licence=licence)


@pytest.mark.parametrize("folder", ["s3://bucket/stac", 3, None])
def test_folders_that_are_none(folder):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=r"folder|URL"):
        to_stac(make_mask(), folder)


def test_names_given_twice(tmp_path):
    mask = make_mask((TIMES[0], TIMES[0]))
    with pytest.raises(ArgumentError, match=r"Two masks would be the item 'cloud_mask_20240514T105031'.*ids="):
        to_stac(mask, tmp_path)
    with pytest.raises(ArgumentError, match="Two masks"):
        to_stac(mask, tmp_path, ids=["a", "A"])
    with pytest.raises(ArgumentError, match="1 names for 2 masks"):
        to_stac(mask, tmp_path, ids=["a"])
    with pytest.raises(ArgumentError, match="1 names for 2 masks"):
        to_stac(mask, tmp_path, ids="ab")
    assert not list(tmp_path.iterdir())
    to_stac(mask, tmp_path, ids=["a", "b"])
    assert list(items_in(tmp_path)) == ["a", "b"]


# --- what does not join what is there ---


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"attrs": {"model": "other"}}, "model = 'tiny'.*'other'"),
        ({"attrs": {"model_sha256": "1" * 64}}, "model_sha256"),
        ({"attrs": {"normalize": "lattice"}}, "normalize"),
        ({"attrs": {"settings": '{"bands":"red green nir","factor":1,"halo_px":72}'}}, "halo_px = 40.* 72"),
        ({"attrs": {"processing": "dilated by 3 px"}}, "processing = 'nothing'"),
        ({"style": "cloud-noncloud"}, "output_style"),
    ],
)
def test_masks_made_in_another_way_are_refused(changed, said, tmp_path):
    to_stac(make_mask(), tmp_path)
    before = files_in(tmp_path)
    with pytest.raises(WriteError, match=f"{said}.*collection_id="):
        to_stac(make_mask(("2025-01-01",), **changed), tmp_path)
    assert files_in(tmp_path) == before
    to_stac(make_mask(("2025-01-01",), **changed), tmp_path, collection_id="other")


def test_one_call_with_two_models(tmp_path):
    one = to_cog(make_mask(TIMES[:1]), tmp_path / "a.tif")
    other = to_cog(make_mask(TIMES[1:], attrs={"model": "other"}), tmp_path / "b.tif")
    with pytest.raises(WriteError, match="model = 'tiny'"):
        to_stac([*one, *other], tmp_path / "stac")
    assert not (tmp_path / "stac").exists()


def test_a_newer_version_of_the_package_joins(tmp_path):
    to_stac(make_mask(), tmp_path)
    to_stac(make_mask(("2025-01-01",), attrs={"xcloudmask_version": "9.9"}), tmp_path)
    document = read(tmp_path / "cloud-masks" / "collection.json")
    assert document["summaries"]["processing:software"] == [{"xcloudmask": "0.1.0"}, {"xcloudmask": "9.9"}]


@pytest.mark.parametrize(
    "moved", [{"origin": (600_010.0, 5_400_000.0)}, {"crs": "EPSG:32632"}, {"shape": (61, 80)}, {"pixel": 10.1}]
)
def test_an_item_does_not_move(moved, tmp_path):
    to_stac(make_mask(), tmp_path)
    before = files_in(tmp_path)
    with pytest.raises(WriteError, match=r"another grid.*ids="):
        to_stac(make_mask(**moved), tmp_path)
    assert files_in(tmp_path) == before
    to_stac(make_mask(**moved), tmp_path, ids=["a", "b"])
    assert len(items_in(tmp_path)) == 4


# --- catalogues of others ---


@pytest.mark.parametrize(
    "text", ["no json", "[]", '{"type": "Feature"}', '{"type": "Catalog", "links": 3}', "{}", "\x00"]
)
@pytest.mark.parametrize("name", ["catalog.json", "cloud-masks/collection.json"])
def test_other_documents_are_left_alone(text, name, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    with pytest.raises((CatalogueError, WriteError), match=path.name):
        to_stac(make_mask(), tmp_path)
    assert path.read_text() == text
    assert not list(tmp_path.rglob("*.tif"))


@pytest.mark.parametrize(
    "href",
    ["../../secret.json", "/etc/passwd", "https://example.org/a/a.json", "./a/b.json", "./../../a.json", 3, None],
)
def test_links_that_lead_elsewhere(href, tmp_path):
    to_stac(make_mask(), tmp_path)
    path = tmp_path / "cloud-masks" / "collection.json"
    document = read(path)
    document["links"].append({"rel": "item", "href": href})
    write_document(path, document)
    with pytest.raises(WriteError, match="does not lie where to_stac puts items"):
        to_stac(make_mask(("2025-01-01",)), tmp_path)


def test_items_by_pystac_in_the_same_layout_stay(tmp_path):
    to_stac(make_mask(TIMES[:1]), tmp_path)
    folder = tmp_path / "cloud-masks" / "mine"
    folder.mkdir()
    bbox = [1.0, 2.0, 0.0, 30.0, 4.0, 100.0]
    item = {"type": "Feature", "stac_version": "1.1.0", "id": "mine", "geometry": None, "bbox": bbox, "links": []}
    item |= {"properties": {"datetime": "2020-01-01T00:00:00+00:00"}, "assets": {}}
    write_document(folder / "mine.json", item)
    path = tmp_path / "cloud-masks" / "collection.json"
    document = read(path)
    document["links"].append({"rel": "item", "href": "mine/mine.json"})
    write_document(path, document)
    catalogue = to_stac(make_mask(TIMES[1:]), tmp_path)
    assert len(list(catalogue.get_items(recursive=True))) == 3
    assert read(folder / "mine.json") == item
    extent = read(path)["extent"]
    assert extent["temporal"]["interval"][0][0] == "2020-01-01T00:00:00+00:00"
    assert extent["spatial"]["bbox"][0][:3] == [1.0, 2.0, 30.0]


@pytest.mark.parametrize("damage", ["{", None, "{}", '{"id": "a", "properties": {"datetime": "never"}}'])
def test_a_broken_item_is_said_and_can_be_written_anew(damage, tmp_path):
    mask = make_mask()
    to_stac(mask, tmp_path)
    whole = files_in(tmp_path)
    (path,) = (tmp_path / "cloud-masks").glob("*20240524*/*.json")
    path.unlink() if damage is None else path.write_text(damage)
    with pytest.raises(CatalogueError, match=path.name):
        to_stac(make_mask(("2025-01-01",)), tmp_path)
    to_stac(mask.isel(time=[1]), tmp_path)
    assert files_in(tmp_path) == whole


# --- disks ---


def test_a_full_disk_keeps_the_catalogue(tmp_path, monkeypatch):
    to_stac(make_mask(), tmp_path)
    before = files_in(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(WriteError, match="No space left"):
        to_stac(make_mask(("2025-01-01",)), tmp_path)
    now = files_in(tmp_path)
    assert {name: now[name] for name in before} == before
    assert len(list(pystac.Catalog.from_file(str(tmp_path / "catalog.json")).get_items(recursive=True))) == 2
    assert not list(tmp_path.rglob("*.partial"))


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "stac").write_text("mine")
    with pytest.raises(WriteError, match="stac"):
        to_stac(make_mask(), tmp_path / "stac")
    assert (tmp_path / "stac").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(WriteError, match="Permission denied"):
        to_stac(make_mask(), tmp_path / "stac")


def test_a_leftover_of_a_killed_writer_is_cleared(tmp_path):
    path = tmp_path / "a.json"
    (tmp_path / ".a.json.partial").write_text("half")
    write_bytes(path, b"whole")
    assert [found.name for found in tmp_path.iterdir()] == ["a.json"]


# --- killed ---


def write_masks(folder: str) -> None:
    to_stac(make_mask(tuple(f"2024-05-{day:02d}" for day in range(1, 6))), folder)


def test_killed_at_any_point(tmp_path):
    """What is under its name is whole, the catalogue opens, and a second run finishes it to the same bytes."""
    run_whole("test_stac_out_hostile:write_masks", folder=str(tmp_path / "start" / "masks"))
    took = run_whole("test_stac_out_hostile:write_masks", folder=str(tmp_path / "whole" / "masks"))
    whole = files_in(tmp_path / "whole")
    rng = np.random.default_rng(0)
    killed = 0
    for turn in range(8):
        folder = tmp_path / str(turn)
        killed += run_killed(
            "test_stac_out_hostile:write_masks", folder=str(folder / "masks"), after_s=float(rng.uniform(0, 1.1 * took))
        )
        check_whole(folder, whole)
        write_masks(str(folder / "masks"))
        now = files_in(folder)
        assert {name: now[name] for name in whole} == whole
    assert killed >= 3


def check_whole(folder: Path, whole: dict[str, bytes]) -> None:
    for name, content in files_in(folder).items() if folder.exists() else ():
        assert name not in whole or content == whole[name], name
    catalogue = folder / "masks" / "catalog.json"
    if catalogue.exists():
        items = list(pystac.Catalog.from_file(str(catalogue)).get_items(recursive=True))
        assert len(items) == 5
        assert all(Path(item.assets["mask"].get_absolute_href()).exists() for item in items)
