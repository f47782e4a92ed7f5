"""What comes after a run: counting, verifying, exporting, reporting; settings that stay, and stores that are found."""

from __future__ import annotations

import csv
import gzip
import html
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pystac
import pytest
from run_campaigns import (
    SIDE,
    TIMES,
    cell,
    codes_of,
    fail,
    make_campaign,
    make_job,
    mask,
    record_of,
    replace_record,
    tasks_of,
)
from stac_masks import validate

import xcloudmask
from xcloudmask.errors import ArgumentError, InputError, ReadError
from xcloudmask.io.stores import open_store
from xcloudmask.run.config import CampaignConfig
from xcloudmask.run.export import export
from xcloudmask.run.failures import bad_records
from xcloudmask.run.frozen import FROZEN, Frozen, check_job, check_source, differences, read_frozen, write_frozen
from xcloudmask.run.ledger import open_ledger
from xcloudmask.run.manifest import Manifest
from xcloudmask.run.objects import open_objects
from xcloudmask.run.place import MANIFEST, PACKED, bad_keys, open_campaign, progress_of, save_manifest
from xcloudmask.run.report import report
from xcloudmask.run.state import status_of
from xcloudmask.run.tables import write_table
from xcloudmask.run.tally import reason_kind, tally
from xcloudmask.run.verify import verify

CELLS = (cell("32TPS"), cell("32TQS", x=610_000.0))


def status(store):
    found = open_campaign(store)
    with found.manifest() as manifest, found.index() as index:
        return status_of(found, manifest, index)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    store = tmp_path_factory.mktemp("once") / "campaign"
    make_campaign(store, cells=CELLS)
    tasks = tasks_of(store)
    for task in tasks[:-3]:
        mask(task)
    fail(tasks[-3])
    fail(tasks[-2], "failed", "HTTP 503 from https://example.org/a.tif?sig=secret after 31 s")
    return store


@pytest.fixture
def mixed(tmp_path, once):
    """Two cells of two dates and four regions: all masked but one that failed, one given up and one not begun."""
    store = tmp_path / "campaign"
    shutil.copytree(once, store)
    return store, tasks_of(store)


# --- settings ---


def test_settings_are_written_once_and_come_back(tmp_path):
    objects = open_objects(tmp_path)
    frozen = Frozen(
        job=make_job(tmp_path, options={"normalize": "lattice"}), config={"run": {"workers": 2}}, created="x"
    )
    write_frozen(objects, frozen)
    assert read_frozen(objects) == frozen
    with pytest.raises(ArgumentError, match="holds a campaign already"):
        write_frozen(objects, frozen)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "job": {}}', '{"format": 1, "job": 3, "config": {}}'])
def test_broken_settings(tmp_path, text):
    (tmp_path / FROZEN).write_text(text)
    with pytest.raises(ReadError, match="is broken"):
        read_frozen(open_objects(tmp_path))


def test_settings_of_a_later_version(tmp_path):
    (tmp_path / FROZEN).write_text('{"format": 9}')
    with pytest.raises(ReadError, match="pip install --upgrade"):
        read_frozen(open_objects(tmp_path))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_sha256": "cd" * 32}, 'model_sha256: it has "abab'),
        ({"options": {"normalize": "lattice"}}, 'options.normalize: it has nothing, and now asks for "lattice"'),
        ({"chunk_px": 64}, "chunk_px: it has 32, and now asks for 64"),
        ({"kind": "cog"}, 'kind: it has "zarr"'),
        ({"version": "9.9"}, 'version: it has "", and now asks for "9.9"'),
    ],
)
def test_other_settings_are_refused_with_the_way_to_fork(tmp_path, changes, said):
    job = make_job(tmp_path)
    with pytest.raises(ArgumentError, match="run fork masks NEW_STORE") as caught:
        check_job(Frozen(job=job), replace(job, **changes), label="masks")
    assert said in str(caught.value)


def test_what_changes_no_mask_may_change(tmp_path):
    job = make_job(tmp_path)
    check_job(Frozen(job=job), replace(job, store="elsewhere", storage_options={"anon": True}), label="masks")
    with pytest.raises(ArgumentError, match="--update"):
        check_source({"datetime": "2024-06"}, {"datetime": "2024-07"}, label="masks")
    check_source({"bbox": [1, 2]}, {"bbox": (1, 2)}, label="masks")


def test_differences_are_found_at_any_depth():
    assert list(differences({"a": 1, "b": {"c": 2}}, {"b": {"c": 3}, "d": None})) == [("a", 1, None), ("b.c", 2, 3)]


# --- places ---


def test_no_campaign(tmp_path):
    with pytest.raises(ReadError, match="holds no campaign"):
        open_campaign(tmp_path / "nothing")
    with pytest.raises(ArgumentError, match="cannot be read"):
        open_campaign(tmp_path / "missing.toml")
    with pytest.raises(ArgumentError, match="is no campaign"):
        open_campaign(3)


def test_a_campaign_can_be_moved(tmp_path, mixed):
    store, tasks = mixed
    shutil.move(store, tmp_path / "moved")
    assert verify(tmp_path / "moved").good
    found = open_campaign(tmp_path / "moved")
    assert found.job.store == str(tmp_path / "moved")
    with found.manifest() as manifest:
        assert {task.job.store for task in manifest.tasks()} == {str(tmp_path / "moved")}
        assert [task.key for task in manifest.tasks()] == [task.key for task in tasks]


def test_a_remote_manifest_is_packed_and_fetched(tmp_path):
    store = tmp_path / "local"
    make_campaign(store)
    place = replace(
        open_campaign(store).place, store="memory://campaign-h6", objects=open_objects("memory://campaign-h6")
    )
    write_frozen(place.objects, Frozen(job=make_job(Path("x"))))
    save_manifest(place, store / MANIFEST)
    first = place.objects.get(PACKED)
    save_manifest(place, store / MANIFEST)
    assert place.objects.get(PACKED) == first
    found = open_campaign("memory://campaign-h6")
    with found.manifest() as manifest:
        assert len(manifest) == len(tasks_of(store))
        assert manifest.job.store == "memory://campaign-h6"
    place.objects.put(PACKED, gzip.compress(b"half")[:-6])
    with pytest.raises(ReadError, match="is broken"), found.manifest():
        pass
    place.objects.delete([PACKED])
    with pytest.raises(ReadError, match="is missing"), found.manifest():
        pass


# --- counting ---


def test_status(mixed):
    store, tasks = mixed
    found = status(store)
    assert found.tasks == len(tasks) == 16
    assert found.counts == {"ok": 13, "failed": 1, "quarantined": 1}
    assert (found.finished, found.pending, found.complete) == (14, 2, False)
    assert found.cells == {"32TPS": (8, 8), "32TQS": (8, 6)}
    assert ("HTTP 503 from ... after # s", 1) in found.reasons
    assert "secret" not in str(found) + found.to_json() + found._repr_html_()
    assert repr(found) == f"<CampaignStatus {store}: 14 of 16 tasks, 2 without a mask>"


def test_scenes_that_were_cut_are_told(tmp_path, mixed):
    store, _ = mixed
    assert status(store).warnings == ()
    with Manifest.open(store / MANIFEST, write=True) as manifest:
        manifest.note("cut", {"utm31n": 1200})
    assert "warning      1,200 scenes reach beyond the grid of their zone (utm31n)" in str(status(store))
    assert "1,200 scenes reach beyond" in report(store, tmp_path / "page.md").read_text()


def test_records_of_scenes_that_are_gone_do_not_count(mixed):
    store, tasks = mixed
    open_ledger(tasks[0].job).put(record_of(replace(tasks[0], key="00" * 16)))
    assert status(store).counts["ok"] == 13
    assert export(store, table=store.parent / "t.csv").rows == 15


def test_failures_are_found_in_segments_too(mixed):
    store, tasks = mixed
    found = open_campaign(store)
    found.ledger.compact()
    with found.manifest() as manifest, found.index() as index:
        keys = bad_keys(manifest, index, ("failed", "quarantined"))
        assert sorted(keys) == sorted(task.key for task in tasks[-3:-1])
        assert {one.status for one in bad_records(found.ledger, keys)} == {"failed", "quarantined"}
        assert progress_of(manifest, index)["32TQS"] == {"": 1, "failed": 1, "ok": 5, "quarantined": 1}


def test_tally_counts_pixels_and_seconds(mixed):
    store, tasks = mixed
    counted = tally(open_ledger(str(store)).records())
    codes = [codes_of(task) for task in tasks[:-3]]
    assert counted.pixels["clear"] == sum(int((one == 0).sum()) for one in codes)
    assert counted.seconds["predict"] == pytest.approx(15)
    assert counted.hours == {"2024-07-01T10": 15}
    assert [one.status for one in counted.failures] == ["quarantined", "failed"]


def test_a_nodata_record_without_shares_is_all_nodata(tmp_path):
    make_campaign(tmp_path / "c")
    record = record_of(tasks_of(tmp_path / "c")[0], "nodata")
    assert tally([record]).pixels == {"nodata": (SIDE / 2) ** 2}


def test_long_campaigns_are_counted_by_day(tmp_path):
    make_campaign(tmp_path / "c")
    task = tasks_of(tmp_path / "c")[0]
    records = [record_of(task, finished=f"2024-01-{1 + n // 24:02}T{n % 24:02}:00:00") for n in range(300)]
    hours = tally(records).hours
    assert len(hours) == 13
    assert hours["2024-01-01"] == 24


def test_kinds_of_reasons_are_bounded(tmp_path):
    make_campaign(tmp_path / "c")
    task = tasks_of(tmp_path / "c")[0]
    words = (f"{chr(97 + n // 26 // 26)}{chr(97 + n // 26 % 26)}{chr(97 + n % 26)}" for n in range(900))
    counted = tally(record_of(task, "failed", reason=word) for word in words)
    assert len(counted.reasons) == 201
    assert counted.reasons[0] == ("other reasons", 700)
    assert len(counted.failures) == 500
    assert reason_kind("") == "no reason given"


# --- verify ---


def test_verify_finds_what_changed_and_redo_forgets_it(mixed):
    store, tasks = mixed
    assert verify(store).checked == 13
    assert verify(store, cells=["32TPS"]).checked == 8
    with pytest.raises(ArgumentError, match="'32XXX' is unknown"):
        verify(store, cells=["32XXX"])
    chunk = store / "masks" / "32TPS.zarr" / "cloud_mask" / "c" / "0" / "0" / "0"
    good = chunk.read_bytes()
    chunk.write_bytes(good[:-4] + b"abcd")
    counts = []
    found = verify(store, progress=counts.append)
    assert counts == list(range(1, 14))
    assert [one.key for one in found.damaged] == [tasks[0].key]
    assert tasks[0].name in str(found)
    assert repr(found) == f"<Verification {store}: 13 regions checked, 1 damaged>"
    assert verify(store, redo=True).forgotten == 1
    assert status(store).pending == 3
    mask(tasks[0])
    assert verify(store).good
    assert chunk.read_bytes() == good


def test_verify_finds_a_chunk_that_is_gone_and_one_too_many(mixed):
    store, tasks = mixed
    folder = store / "masks" / "32TPS.zarr" / "cloud_mask" / "c" / "0"
    (folder / "0" / "1").unlink()
    replace_record(record_of(tasks[2], "nodata"), store)
    problems = {one.key: one.problem for one in verify(store).damaged}
    assert problems == {
        tasks[1].key: "its codes are not those that were written",
        tasks[2].key: "it has codes, and was recorded as nodata",
    }


@pytest.mark.parametrize("kind", ["cog", "icechunk"])
def test_verify_of_other_stores(tmp_path, kind):
    if kind == "icechunk":
        pytest.importorskip("icechunk")
    store = tmp_path / "campaign"
    make_campaign(store, kind=kind)
    tasks = tasks_of(store)
    records = [mask(task) for task in tasks]
    assert verify(store).checked == len(tasks)
    replace_record(replace(records[0], digest="00" * 32), store)
    assert [one.key for one in verify(store).damaged] == [tasks[0].key]


# --- export ---


def test_the_catalogue_has_what_is_complete(tmp_path, mixed):
    store, tasks = mixed
    done = export(store, stac=tmp_path / "stac")
    assert (done.items, done.collections, done.left_out) == (3, 2, 1)
    catalogue = pystac.Catalog.from_file(str(tmp_path / "stac" / "catalog.json"))
    items = {item.id: item for item in catalogue.get_items(recursive=True)}
    assert sorted(items) == [
        f"S_{name}_cloud_mask" for name in ("32TPS_2024-06-01", "32TPS_2024-06-06", "32TQS_2024-06-01")
    ]
    item = items["S_32TPS_2024-06-01_cloud_mask"]
    assert Path(item.assets["zarr"].get_absolute_href()) == store / "masks" / "32TPS.zarr"
    here = xcloudmask.open_mask(item.assets["zarr"].get_absolute_href()).sel(time=TIMES[0])
    assert item.get_single_link("derived_from").href == "https://example.org/32TPS/2024-06-01.json"
    cloudy = float(((here == 1) | (here == 2)).mean()) * 100
    assert item.properties["eo:cloud_cover"] == pytest.approx(cloudy, abs=0.01)
    mask(tasks[-1])
    open_ledger(tasks[0].job).forget([one.key for one in tasks[-3:-1]], statuses=("failed", "quarantined"))
    for task in tasks[-3:-1]:
        mask(task)
    assert export(store, stac=tmp_path / "stac").items == 4


def test_dates_without_data_have_no_item(tmp_path):
    store = tmp_path / "campaign"
    make_campaign(store)
    tasks = tasks_of(store)
    for task in tasks[:4]:
        mask(task)
    for task in tasks[4:]:
        open_ledger(task.job).put(record_of(task, "nodata", fractions={"nodata": 1.0}))
    assert export(store, stac=tmp_path / "stac").items == 1
    assert status(store).complete


@pytest.mark.parametrize("kind", ["cog", "icechunk"])
def test_catalogues_of_other_stores(tmp_path, kind):
    if kind == "icechunk":
        pytest.importorskip("icechunk")
    store = tmp_path / "campaign"
    make_campaign(store, kind=kind)
    tasks = tasks_of(store)
    for task in tasks:
        mask(task)
    assert export(store, stac=tmp_path / "stac").items == 2
    catalogue = pystac.Catalog.from_file(str(tmp_path / "stac" / "catalog.json"))
    (item, _) = sorted(catalogue.get_items(recursive=True), key=lambda one: one.id)
    assert item.get_single_link("derived_from").href == "https://example.org/32TPS/2024-06-01.json"
    validate(item.to_dict())
    href = Path(item.assets["mask"].get_absolute_href())
    inside = href.is_relative_to(tmp_path / "stac")
    assert inside == (kind == "icechunk")
    got = open_store(href).values.reshape(SIDE, SIDE)
    want = (
        np.block([[codes_of(tasks[0]), codes_of(tasks[1])], [codes_of(tasks[2]), codes_of(tasks[3])]])
        if inside
        else None
    )
    np.testing.assert_array_equal(got, codes_of(tasks[0]) if want is None else want)


def test_nothing_to_export(tmp_path):
    store = tmp_path / "campaign"
    make_campaign(store)
    with pytest.raises(InputError, match="no time step is complete"):
        export(store, stac=tmp_path / "stac")
    with pytest.raises(ArgumentError, match="Nothing to write"):
        export(store)
    with pytest.raises(ArgumentError, match=r"\.parquet or \.csv"):
        export(store, table=tmp_path / "table.xlsx")
    with pytest.raises(ArgumentError, match="folder that exists"):
        export(store, table=tmp_path / "nowhere" / "table.csv")
    with pytest.raises(ArgumentError, match=r"'99XXX' is unknown\. Expected some of: 32TPS"):
        export(store, table=tmp_path / "table.csv", cells=["99XXX"])


def test_tables(tmp_path, mixed):
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    store, tasks = mixed
    assert export(store, table=tmp_path / "a.csv").rows == export(store, table=tmp_path / "a.parquet").rows == 15
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = {row["key"]: row for row in csv.DictReader(file)}
    same = {row["key"]: row for row in parquet.read_table(tmp_path / "a.parquet").to_pylist()}
    assert set(rows) == set(same)
    task = tasks[0]
    codes = codes_of(task)
    assert same[task.key]["share_thin_cloud"] == float((codes == 2).mean()) == float(rows[task.key]["share_thin_cloud"])
    assert same[task.key]["items"] == ["S_32TPS_2024-06-01"]
    assert (same[task.key]["y0"], same[task.key]["x1"], same[task.key]["seconds_predict"]) == (0, 32, 1.0)
    assert same[tasks[-3].key]["share_clear"] is None
    assert rows[tasks[-3].key]["share_clear"] == ""
    assert export(store, table=tmp_path / "b.csv", cells=["32TPS"]).rows == 8


def test_no_spreadsheet_runs_a_text_of_a_catalogue(tmp_path):
    make_campaign(tmp_path / "c")
    record = record_of(tasks_of(tmp_path / "c")[0], "failed", reason="=cmd|' /C calc'!A0", ids=("@sum(1)",))
    write_table([record], tmp_path / "t.csv", classes=["clear"])
    with (tmp_path / "t.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["reason"].startswith("'=")
    assert row["items"] == "'@sum(1)"


# --- report ---


def test_the_report_tells_all(tmp_path, mixed):
    store, tasks = mixed
    page = report(store, tmp_path / "page.html", title="<b>Alps</b>").read_text()
    assert "<h1>&lt;b&gt;Alps&lt;/b&gt;</h1>" in page
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    for expected in ("14 of 16 tasks", "Quarantined, that is given up: 1 task", tasks[-3].name, "HTTP 503 from ..."):
        assert expected in text
    assert page.count("<polygon") == 2
    assert "32TQS: 6 of 8 tasks" in page
    assert "<script" not in page
    assert "Content-Security-Policy" in page
    plain = report(store, tmp_path / "page.md").read_text()
    assert "| 32TQS | EPSG:32632 | 64 x 64 | 8 | 6 | 5 | 0 | 1 | 1 |" in plain
    with pytest.raises(ArgumentError, match=r"\.html or \.md"):
        report(store, tmp_path / "page.pdf")


def test_a_report_before_anything_is_done(tmp_path):
    make_campaign(tmp_path / "campaign", cells=(replace(cell(), crs="EPSG:3832", transform=(1e6, 0, 0, 0, -1e5, 0)),))
    page = report(tmp_path / "campaign", tmp_path / "page.html").read_text()
    assert "0 of 8 tasks" in page
    assert "None." in page


def test_hostile_texts_stay_texts(tmp_path):
    store = tmp_path / "campaign"
    make_campaign(store)
    fail(tasks_of(store)[0], reason="<script>alert(1)</script> | \x1b[2J ![x](http://e)")
    page = report(store, tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "\x1b" not in page
    plain = report(store, tmp_path / "page.md").read_text()
    assert "<script" not in plain.replace("\\<script", "")
    assert "![x](" not in plain


# --- documentation ---


def test_the_examples_are_configurations():
    root = Path(xcloudmask.__file__).parents[1]
    files = sorted((root / "examples").glob("campaign*.toml"))
    assert len(files) == 3
    for file in files:
        config = CampaignConfig.from_toml(file)
        assert CampaignConfig.from_dict(config.tables()) == config
        assert file.name in (root / "docs" / "campaigns.md").read_text()
