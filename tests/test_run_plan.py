"""Plans: the same scenes give the same tasks, what is new is added, and memory does not grow with the archive."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pystac
import pytest
import stac_items as cat
import xarray as xr
import zarr
from cubes import odc_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from stac_shelf import LOCAL, Shelf, grid_cube

from xcloudmask.errors import ArgumentError, CatalogueError, InputError, XCloudMaskError
from xcloudmask.run._settle import cut_text
from xcloudmask.run.cells import family_of, join_grids, window_in
from xcloudmask.run.config import CampaignConfig
from xcloudmask.run.manifest import Manifest
from xcloudmask.run.plan import make_plan, update_plan
from xcloudmask.run.regions import regions_of
from xcloudmask.run.sources import fingerprint, trim_item
from xcloudmask.run.task import Cell
from xcloudmask.stac import load
from xcloudmask.stac.assets import find_source
from xcloudmask.stac.items import sensor_of

BANDS = ("B02", "B03", "B04", "B08")


def scene(day, *, tile="31UDQ", x=600_000.0, shape=(160, 240), made="20240514T143000", build=None, epsg=32631, **more):
    """An item with a grid, whose files are nowhere."""
    cube = grid_cube(epsg=epsg, x=x, shape=shape)
    hrefs = {band: f"https://example.org/{tile}/{day}/{made}/{band}.tif" for band in BANDS}
    shot = cat.Shot.of(cube, hrefs=hrefs, time=f"2024-05-{day:02d}T10:50:31Z")
    if build is not None:
        return build(shot, **more)
    return cat.earth_search_v1(shot, **{"baseline": "05.10", "applied": True, "tile": tile, "made": made} | more)


def landsat(day, *, up=0):
    """A scene of Landsat, whose grid moves along the track from date to date."""
    hrefs = {band: f"https://example.org/{day}/{band}.tif" for band in cat.OLI_COMMON}
    cube = grid_cube(x=300_015.0, y=5_400_015.0 + 30 * up, pixel=30.0, shape=(100, 90))
    return cat.planetary_computer_landsat(cat.Shot.of(cube, hrefs=hrefs, time=f"2024-05-{day:02d}T10:20:31Z"))


class Desk:
    """A folder with items, a configuration, and plans."""

    def __init__(self, folder):
        self.folder = folder
        self.count = 0

    def config(self, items, *, source=None, run=None, model=None, **store):
        self.count += 1
        path = self.folder / f"items{self.count}.json"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
        tables = {
            "source": {"kind": "items", "paths": str(path), **(source or {})},
            "store": {"path": str(self.folder / "masks"), "chunk_px": 64, "region_px": 128, **store},
            "run": run or {},
            "model": model or {},
        }
        return CampaignConfig.from_dict(tables)

    def plan(self, items, **options):
        self.count += 1
        out = self.folder / f"{self.count}.sqlite"
        return make_plan(self.config(items, **options), out=out, measure=False), out

    def update(self, path, items, **options):
        return update_plan(self.config(items, **options), path)


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def listed(path):
    with Manifest.open(path) as manifest:
        return list(manifest.tasks())


def keys(path):
    return [task.key for task in listed(path)]


# -- one plan ----------------------------------------------------------------------------------------------------------


def test_a_tile_is_a_cell_and_a_date_is_a_step(desk):
    summary, path = desk.plan([scene(2), scene(1), scene(1, tile="31UEQ", x=700_000.0)])
    assert (summary.scenes, summary.cells, summary.steps, summary.tasks) == (3, 2, 3, 3 * 4)
    tasks = listed(path)
    assert [(task.cell.name, task.time) for task in tasks[::4]] == [
        ("31UDQ", "2024-05-01T10:50:31"), ("31UDQ", "2024-05-02T10:50:31"), ("31UEQ", "2024-05-01T10:50:31"),
    ]  # fmt: skip
    assert tasks[0].cell.shape == (160, 240)
    assert tasks[0].cell.crs == "EPSG:32631"
    assert tasks[0].cell.transform == (10.0, 0.0, 600_000.0, 0.0, -10.0, 5_400_000.0)
    assert [(task.region.y, task.region.x) for task in tasks[:4]] == [
        ((0, 128), (0, 128)), ((0, 128), (128, 240)), ((128, 160), (0, 128)), ((128, 160), (128, 240)),
    ]  # fmt: skip
    assert set(tasks[0].sources[0]["assets"]) == {"red", "green", "nir"}
    assert summary.megapixels == pytest.approx(3 * 160 * 240 / 1e6)
    assert summary.output_bytes == 3 * 160 * 240
    assert summary.input_bytes > 6 * summary.output_bytes  # 3 bands of 2 bytes, and the halo
    assert "12, of 0.0 megapixels each" in str(summary)
    assert "12 tasks" in repr(summary)
    assert "<table" in summary._repr_html_()


@settings(max_examples=5)
@given(st.permutations(range(5)))
def test_the_order_of_the_catalogue_does_not_matter(tmp_path_factory, order):
    desk = Desk(tmp_path_factory.mktemp("order"))
    items = [scene(1), scene(2), scene(1, tile="31UEQ", x=700_000.0), landsat(3), landsat(4, up=7)]
    first, path = desk.plan(items)
    again, other = desk.plan([items[index] for index in order])
    assert first.digest == again.digest
    assert listed(path) == listed(other)


def test_formats_of_whole_scenes_get_whole_tasks(desk):
    for options in ({"kind": "cog"}, {"model": {"normalize": "scene"}}):
        summary, path = desk.plan([scene(1)], **options)
        assert [task.region.shape for task in listed(path)] == [(160, 240)]
        assert summary.tasks == 1


def test_older_processings_are_left_out(desk):
    old, new = scene(1, baseline="04.00", made="20240501T120000"), scene(1, baseline="05.10", sequence=1)
    summary, path = desk.plan([old, new])
    assert (summary.scenes, summary.replaced, summary.steps) == (1, 1, 1)
    assert {task.ids for task in listed(path)} == {(new["id"],)}
    both, _ = desk.plan([old, new], source={"dedupe": False})
    assert (both.scenes, both.replaced) == (2, 0)


def test_landsat_scenes_of_a_path_and_row_share_a_grid(desk):
    _, path = desk.plan([landsat(1), landsat(17, up=40), landsat(18, up=-25)])
    tasks = listed(path)
    (cell,) = {task.cell for task in tasks}
    assert re.fullmatch(r"\d{6}", cell.name)
    assert cell.shape[0] % 64 == cell.shape[1] % 64 == 0
    top, left = cell.transform[5], cell.transform[2]
    assert (top + 15) % (30 * 64) == (left - 15) % (30 * 64) == 0
    assert top >= 5_400_015 + 40 * 30
    assert left <= 300_015
    assert top - 30 * cell.shape[0] <= 5_400_015 - 30 * 125
    # Only regions that a scene touches are masked.
    for task in tasks:
        bottom = top - 30 * task.region.y[1]
        item = task.sources[0]
        own = {**item["properties"], **item["assets"]["red"]}["proj:transform"][5]
        assert bottom < own


def test_an_area_leaves_regions_out(desk):
    everything, _ = desk.plan([scene(1, shape=(1280, 1280))])
    west, south, east, north = 4.3605, 48.735, 4.3655, 48.744
    some, path = desk.plan([scene(1, shape=(1280, 1280))], source={"bbox": [west, south, east, north]})
    assert everything.tasks == 100
    assert 1 <= some.tasks <= 6
    assert {task.cell.shape for task in listed(path)} == {(1280, 1280)}
    outline = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [
        [[west, south], [east, south], [east, north], [west, north], [west, south]]]}}  # fmt: skip
    (desk.folder / "area.json").write_text(json.dumps(outline))
    _, other = desk.plan([scene(1, shape=(1280, 1280))], source={"geometry": str(desk.folder / "area.json")})
    assert keys(other) == keys(path)


# -- UTM zones ---------------------------------------------------------------------------------------------------------


def test_a_zone_is_a_cell_and_a_day_is_a_step(desk):
    east = {"tile": "31UEQ", "x": 600_000.0 + 200 * 10}  # overlaps by 40 pixels
    items = [scene(1), scene(1, **east), scene(2), scene(1, tile="32ULV", epsg=32632, x=300_000.0)]
    summary, path = desk.plan(items, layout="utm")
    tasks = listed(path)
    assert (summary.cells, summary.steps) == (2, 3)
    assert {task.cell.name for task in tasks} == {"utm31n", "utm32n"}
    assert {task.time for task in tasks} == {"2024-05-01T00:00:00", "2024-05-02T00:00:00"}
    cell = tasks[0].cell
    assert cell.transform[2] % 640 == cell.transform[5] % 640 == 0
    assert cell.shape[0] % 64 == cell.shape[1] % 64 == 0
    shared = [task for task in tasks if len(task.ids) == 2]
    assert shared
    for task in tasks:
        left = cell.transform[2] + 10 * task.region.x[0] if task.cell == cell else None
        if left is not None and task.time.startswith("2024-05-01"):
            right = left + 10 * (task.region.x[1] - task.region.x[0])
            near = 10 * 2 * 72  # the halo of the model, and a chunk that may be joined to its neighbour
            touched = (items[0]["id"],) * (left < 602_400 + near) + (items[1]["id"],) * (right > 602_000 - near)
            assert task.ids == touched


def test_a_zone_covers_the_wanted_area_alone(desk):
    _, path = desk.plan([scene(1, shape=(1280, 1280))], layout="utm", source={"bbox": [4.3605, 48.735, 4.3655, 48.744]})
    (cell,) = {task.cell for task in listed(path)}
    assert cell.shape[0] < 300
    assert cell.shape[1] < 200


def test_a_day_is_a_solar_day(desk):
    def late(day, hour):
        item = scene(day, epsg=32660, x=500_000.0, tile="60UXX")
        item["properties"]["datetime"] = f"2024-05-{day:02d}T{hour:02d}:50:00Z"
        item["id"] += f"_{hour}"
        return item

    _, path = desk.plan([late(1, 23), late(2, 0)], layout="utm", source={"dedupe": False})
    assert {task.time for task in listed(path)} == {"2024-05-02T00:00:00"}


def test_scenes_of_a_day_with_other_offsets_get_a_step_of_their_own(desk):
    """In whatever order they come; what comes later joins those that it fits to."""
    old, new, other, later = (
        scene(1, x=600_000.0 + 800 * number, tile=f"31UD{letter}", baseline=baseline, applied=False)
        for number, (letter, baseline) in enumerate(zip("QRST", ("03.01", "05.10", "05.10", "03.01"), strict=True))
    )
    for items in ([old, new, other], [other, new, old]):
        summary, path = desk.plan(items, layout="utm")
        assert summary.steps == 2
        assert "1 time steps are the second of a solar day" in " ".join(summary.warnings)
        with Manifest.open(path) as manifest:
            found = {step.time: set(step.ids) for step in manifest.steps()}
        assert found == {
            "2024-05-01T00:00:00": {old["id"]},
            "2024-05-01T00:00:01": {new["id"], other["id"]},
        }
    desk.update(path, [old, new, other, later], layout="utm")
    with Manifest.open(path) as manifest:
        assert {step.time: len(set(step.ids)) for step in manifest.steps()} == dict.fromkeys(found, 2)


@pytest.mark.parametrize(
    ("href", "kept"),
    [
        ("https://me:secret@example.org/items/a.json?sig=abc", ["https://example.org/items/a.json"]),
        ("s3://bucket/items/a.json", ["s3://bucket/items/a.json"]),
        ("/data/items.json", []),
    ],
)
def test_tasks_know_where_their_items_lie(desk, href, kept):
    """Not with what opens them."""
    item = pystac.Item.from_dict(scene(1))
    source = desk.config([]).source
    before = trim_item(item, ["red"], source=source)
    item.set_self_href(href)
    after = trim_item(item, ["red"], source=source)
    assert [link["href"] for link in after["links"] if link["rel"] == "self"] == kept
    assert fingerprint(after) == fingerprint(before)


def test_scenes_beyond_the_grid_of_their_zone_are_told(desk):
    """The first plan fixes it."""
    first, inside, beyond = scene(1), scene(2), scene(3, x=600_800.0)
    summary, path = desk.plan([first], layout="utm")
    assert "reach beyond" not in str(summary)
    assert "reach beyond" not in str(desk.update(path, [first, inside], layout="utm"))
    told = str(desk.update(path, [first, inside, beyond], layout="utm"))
    assert "1 scenes reach beyond the grid of their zone (utm31n)" in told
    assert "give [store] another path" in told
    # And as long as it is so, also where the scene is not found again.
    assert "1 scenes reach beyond" in str(desk.update(path, [first], layout="utm"))
    with Manifest.open(path) as manifest:
        assert cut_text(manifest) in told
    assert "reach beyond" not in str(desk.plan([first, inside, beyond], layout="utm")[0])


def test_what_nobody_wants_of_a_scene_is_not_missed(desk):
    small, large = {"bbox": [4.3605, 48.735, 4.3655, 48.744]}, {"bbox": [4.3605, 48.735, 4.4, 48.744]}
    summary, path = desk.plan([scene(1, shape=(1280, 1280))], layout="utm", source=small)
    assert "reach beyond" not in str(summary)
    both = [scene(day, shape=(1280, 1280)) for day in (1, 2)]
    assert "reach beyond" not in str(desk.update(path, both, layout="utm", source=small))
    assert "2 scenes reach beyond" in str(desk.update(path, both, layout="utm", source=large))


def test_a_manifest_from_before_days_were_split(desk):
    one, two = scene(1), scene(1, x=600_800.0, tile="31UDR", applied=False)
    _, path = desk.plan([one], layout="utm")
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE sources DROP COLUMN scale")
    before = [task.key for task in listed(path)]
    assert before
    desk.update(path, [one, two], layout="utm")
    assert [task.key for task in listed(path)][: len(before)] == before
    assert {task.time for task in listed(path)} == {"2024-05-01T00:00:00", "2024-05-01T00:00:01"}


# -- cells and regions -------------------------------------------------------------------------------------------------


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.lists(st.tuples(*[st.integers(0, 39)] * 4), min_size=1, max_size=4),
    st.integers(1, 50),
)
def test_regions_cover_what_scenes_touch_once_and_whole_chunks(shape, corners, side):
    cell = Cell(name="a", crs="EPSG:32631", transform=(10.0, 0.0, 0.0, 0.0, -10.0, 0.0), shape=shape)
    windows = []
    for number, (down, right, height, width) in enumerate(corners):
        top, left = down % shape[0], right % shape[1]
        windows.append((number, (top, min(top + 1 + height, shape[0]), left, min(left + 1 + width, shape[1]))))
    covered = np.zeros(shape, int)
    for region, numbers in regions_of(cell, windows, region_px=side):
        assert region.y[0] % side == region.x[0] % side == 0
        covered[slice(*region.y), slice(*region.x)] += 1
        for number, (top, bottom, left, right) in windows:
            inside = top < region.y[1] and bottom > region.y[0] and left < region.x[1] and right > region.x[0]
            assert inside == (number in numbers)
        assert numbers == sorted(numbers)
    assert covered.max() == 1
    for _, (top, bottom, left, right) in windows:
        assert (covered[top:bottom, left:right] == 1).all()


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=1, max_size=5), st.integers(1, 64))
def test_joined_grids_hold_all_of_them(moves, unit):
    def grid(name, up, left):
        corner = (30.0, 0.0, 300_015.0 - 30 * left, 0.0, -30.0, 5_400_015.0 + 30 * up)
        return Cell(name=name, crs="EPSG:32631", transform=corner, shape=(20, 30))

    for name in ("31UDQ", "199026"):
        grids = [grid(name, *move) for move in moves]
        cell = join_grids(grids, unit_px=unit)
        for one in grids:
            top, bottom, left, right = window_in(cell, one)
            assert 0 <= top < bottom <= cell.shape[0]
            assert 0 <= left < right <= cell.shape[1]
            assert family_of(one, "s") == family_of(cell, "s")
        if name == "199026":
            assert cell.shape[0] % unit == cell.shape[1] % unit == 0
            assert join_grids([cell, *grids], unit_px=unit) == cell


# -- later -------------------------------------------------------------------------------------------------------------


def test_new_scenes_are_added_and_the_rest_stays(desk):
    items = [scene(2), scene(3)]
    _, path = desk.plan(items)
    before = listed(path)
    summary = desk.update(path, [*items, scene(1), scene(2, tile="31UEQ", x=700_000.0)])
    assert (summary.new, summary.anew, summary.reprocessed) == (8, 0, 0)
    assert "8 tasks are new" in str(summary)
    assert listed(path)[: len(before)] == before  # also the earlier date comes after those that there are
    with Manifest.open(path) as manifest:
        assert {cell.name: len(times) for cell, times in manifest.cells()} == {"31UDQ": 3, "31UEQ": 1}
    fresh, _ = desk.plan([*items, scene(1), scene(2, tile="31UEQ", x=700_000.0)])
    assert fresh.digest == summary.digest


def test_nothing_new_changes_nothing(desk):
    items = [scene(1), landsat(2)]
    _, path = desk.plan(items)
    before = listed(path)
    summary = desk.update(path, items[::-1])
    assert (summary.new, summary.anew) == (0, 0)
    assert listed(path) == before


def test_scenes_that_are_gone_stay_planned(desk):
    _, path = desk.plan([scene(1), scene(2)])
    before = keys(path)
    desk.update(path, [scene(2)])
    assert keys(path) == before


def test_a_scene_that_was_processed_anew_gets_new_keys(desk):
    items = [scene(1), scene(2)]
    _, path = desk.plan(items)
    before = listed(path)
    items[0]["properties"]["updated"] = "2025-01-01T00:00:00Z"
    summary = desk.update(path, items)
    after = listed(path)
    assert (summary.new, summary.anew, summary.reprocessed) == (0, 4, 1)
    assert [task.name for task in after] == [task.name for task in before]
    assert not {task.key for task in after[:4]} & {task.key for task in before}
    assert after[4:] == before[4:]


def test_a_scene_that_replaces_another_takes_its_step(desk):
    old = scene(1, baseline="04.00", made="20240501T120000")
    _, path = desk.plan([old, scene(2)])
    new = scene(1, baseline="05.10", sequence=1)
    new["properties"]["datetime"] = "2024-05-01T10:50:33Z"  # catalogues differ by seconds
    summary = desk.update(path, [new])
    tasks = listed(path)
    assert (summary.new, summary.anew, summary.replaced, summary.steps) == (0, 4, 1, 2)
    assert {(task.time, task.ids) for task in tasks[:4]} == {("2024-05-01T10:50:31", (new["id"],))}


def test_a_day_that_gets_another_tile_is_masked_again_where_it_lies(desk):
    east = scene(1, tile="31UEQ", x=600_000.0 + 200 * 10)
    _, path = desk.plan([scene(1), east, scene(2)], layout="utm")
    second = scene(2, tile="31UEQ", x=600_000.0 + 200 * 10)
    before = {task.key: task for task in listed(path)}
    desk.update(path, [second], layout="utm")
    after = {task.key: task for task in listed(path)}
    assert len({task.cell for task in after.values()}) == 1
    gone = [before[key] for key in before.keys() - after.keys()]
    assert gone
    assert all(task.time.startswith("2024-05-02") for task in gone)


def test_scenes_beyond_the_grid_get_a_cell_of_their_own(desk):
    _, path = desk.plan([landsat(1)])
    before = keys(path)
    desk.update(path, [landsat(2, up=900)])
    tasks = listed(path)
    assert [task.key for task in tasks[: len(before)]] == before
    assert {task.cell.name for task in tasks} == {tasks[0].cell.name, f"{tasks[0].cell.name}-2"}


@pytest.mark.parametrize(
    ("change", "told"),
    [({"region_px": 256, "block_px": 128}, "region_px"),
     ({"model": {"normalize": "lattice"}}, "options"), ({"chunk_px": 32}, "chunk_px")],
)  # fmt: skip
def test_an_update_with_other_settings_is_refused(desk, change, told):
    _, path = desk.plan([scene(1)])
    with pytest.raises(ArgumentError, match=f"planned with {told} = .* xcloudmask run fork"):
        desk.update(path, [scene(1)], **change)


# -- scenes that cannot be planned -------------------------------------------------------------------------------------


def test_bad_scenes_are_told_and_cost_no_other(desk):
    lacking, hostile, broken = scene(2), scene(3), scene(4)
    del lacking["assets"]["nir"]
    hostile["assets"]["red"]["href"] = "/vsicurl/https://example.org/a.tif"
    broken["assets"]["red"]["proj:shape"] = broken["properties"]["proj:shape"] = [100]
    broken["assets"]["red"]["href"] = "https://127.0.0.1:1/a.tif"
    summary, path = desk.plan([scene(1), lacking, hostile, broken])
    assert (summary.scenes, summary.skipped, summary.tasks) == (1, 3, 4)
    assert any("3 scenes cannot be planned" in text for text in summary.warnings)
    with Manifest.open(path) as manifest:
        found = {skip.name: skip.why for skip in manifest.skipped()}
    assert "no band 'nir'" in found[lacking["id"]]
    assert "virtual file system" in found[hostile["id"]]
    assert "private address" in found[broken["id"]]
    mended = desk.update(path, [scene(2)])
    assert (mended.scenes, mended.skipped) == (2, 2)


def test_a_search_without_scenes_is_an_error(desk, tmp_path):
    with pytest.raises(InputError, match=r"found nothing.*longitude first"):
        desk.plan([])
    lacking = scene(1)
    del lacking["assets"]["nir"]
    with pytest.raises(InputError, match=r"None of the 1 scenes .*\n.*no band 'nir'"):
        desk.plan([lacking])
    with pytest.raises(InputError, match="found nothing"):
        desk.plan([scene(1)], source={"bbox": [100, 10, 101, 11]})
    assert not list(tmp_path.glob("*.sqlite*"))
    assert not list(tmp_path.glob(".*partial"))


def test_what_a_killed_plan_left_is_in_nobodys_way(desk):
    out = desk.folder / "1.sqlite"
    (desk.folder / f".{out.name}.partial").write_bytes(b"half")
    desk.count = 0
    config = desk.config([scene(1)])
    assert make_plan(config, out=out, measure=False).tasks == len(listed(out)) == 4
    assert not list(desk.folder.glob(".*"))


@pytest.mark.parametrize(
    ("properties", "name"),
    [
        ({"grid:code": "WRS2-088080"}, "088080"),
        ({"landsat:wrs_path": 88, "landsat:wrs_row": "080"}, "088080"),
        ({"odc:region_code": "55HFA"}, "55HFA"),
        ({"odc:region_code": "../../home"}, None),
        ({"grid:code": "MGRS-/etc"}, None),
        ({}, None),
    ],
)
def test_cells_are_called_as_the_catalogue_says_where_that_is_a_name(desk, properties, name):
    item = scene(1)
    item |= {"id": "2aa69fcf-aa55", "collection": "ga_ls8c_ard_3"}
    item["properties"] = {"datetime": "2024-05-01T10:50:31Z", "proj:epsg": 32631} | properties
    _, path = desk.plan([item])
    (cell,) = {task.cell.name for task in listed(path)}
    assert cell == name or (name is None and re.fullmatch("grid-[0-9a-f]{10}", cell))


def test_a_hostile_tile_is_no_path(desk):
    item = scene(1)
    item["properties"] = {
        "datetime": item["properties"]["datetime"],
        "proj:epsg": 32631,
        "platform": "sentinel-2a",
        "s2:mgrs_tile": "../../../x",
        "s2:datatake_id": "GS2A_20240514T105031_046424_N05.10",
    }
    item |= {"id": "x", "collection": "sentinel-2-l2a"}
    _, path = desk.plan([item])
    assert {task.cell.name.startswith("grid-") for task in listed(path)} == {True}


def test_files_that_are_no_catalogue(desk):
    (desk.folder / "items1.json").write_text("[]")
    config = CampaignConfig.from_dict(
        {"source": {"kind": "items", "paths": str(desk.folder / "items1.json")}, "store": {"path": "m"}}
    )
    with pytest.raises(CatalogueError, match="JSON list"):
        make_plan(config, out=desk.folder / "m.sqlite")


# -- memory and time ---------------------------------------------------------------------------------------------------


def test_tasks_that_do_not_fit_into_the_memory_are_refused(desk):
    def plan(threads, limit, **store):
        run = {"threads": threads, "workers": 1, "memory_limit": limit}
        sides = {"chunk_px": 512, "region_px": 2048} | store
        return desk.plan([scene(1, shape=(4096, 4096))], run=run, **sides)[0]

    # Two fit where the processor computes in bf16, one where it does not.
    advice = r"needs about .* for each of 4 tasks .* 2.5 GB. Type threads = [12] in .run."
    with pytest.raises(ArgumentError, match=advice):
        plan(4, "2.5 GB")
    summary = plan(1, "2.5 GB")
    assert summary.memory_limit == 2_500_000_000
    assert 0.5e9 < summary.slot_bytes < 1.5e9
    assert summary.worker_bytes < summary.memory_limit
    with pytest.raises(ArgumentError, match=r"Type memory_limit = '\d.\d GB' .* or block_px = 1024 in .store."):
        plan(1, 1e9)
    assert plan(1, 1e9, block_px=1024).slot_bytes < summary.slot_bytes / 2


def test_workers_share_the_memory_of_the_machine(desk, monkeypatch):
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 8_000_000_000)

    def plan(workers):
        sides = {"chunk_px": 512, "region_px": 2048}
        return desk.plan([scene(1, shape=(4096, 4096))], run={"workers": workers}, **sides)[0]

    assert plan(2).memory_limit == 4_000_000_000
    with pytest.raises(ArgumentError, match=r"It has 0.5 GB. Type workers = [3-6] in .run., which leaves"):
        plan(16)


def test_time_is_measured_and_no_part_of_the_plan(desk, tiny_model, tmp_path):
    card = tmp_path / "tiny.json"
    card.write_text(json.dumps(tiny_model.to_dict()))
    plain = desk.config([scene(1)], model={"name": str(card)}, run={"read_mb_per_s": 100.0, "workers": 1})
    first = make_plan(plain, out=tmp_path / "a.sqlite")
    again = make_plan(plain, out=tmp_path / "b.sqlite", measure=False)
    assert first.predict_s is not None
    assert first.predict_s > 0
    assert first.seconds == pytest.approx(first.megapixels * first.predict_s + first.input_bytes / 1e8)
    assert "to mask a megapixel on this machine" in str(first)
    assert again.seconds is None
    assert first.digest == again.digest
    assert (tmp_path / "a.sqlite").read_bytes() == (tmp_path / "b.sqlite").read_bytes()


def test_reading_is_measured_at_the_source(tmp_path):
    shelf = Shelf(tmp_path)
    shelf.scene("a")
    config = CampaignConfig.from_dict(
        {
            "source": {"kind": "items", "paths": str(tmp_path / "a.json")},
            "store": {"path": str(tmp_path / "masks"), "chunk_px": 32, "region_px": 64},
        }
    )
    summary = make_plan(config, out=tmp_path / "m.sqlite", sample=True, measure=False)
    assert summary.read_mb_s is not None
    assert summary.read_mb_s > 0.001


# -- items -------------------------------------------------------------------------------------------------------------


SPELLINGS = {
    "earth-search": lambda shot: cat.earth_search_v1(shot, baseline="05.10", applied=False),
    "earth-search-v0": lambda shot: cat.earth_search_v0(shot, baseline="04.00"),
    "planetary-computer": lambda shot: cat.planetary_computer_s2(shot, baseline="05.10"),
    "cdse": lambda shot: cat.cdse(shot, baseline="05.10"),
    "planet-8b": lambda shot: cat.planet(shot, bands=8),
    "planet-4b": lambda shot: cat.planet(shot, bands=4),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_trimmed_items_are_read_like_whole_ones(name, tmp_path):
    bands = ("analytic",) if name.startswith("planet-") else cat.S2_COMMON
    hrefs = {band: f"https://example.org/{band}.tif" for band in bands}
    item = pystac.Item.from_dict(SPELLINGS[name](cat.Shot.of(grid_cube(), hrefs=hrefs)))
    sensor, roles = sensor_of(item), ("red", "green", "nir")
    whole = {role: find_source(item, role, sensor) for role in roles}
    source = CampaignConfig.from_dict(
        {"source": {"kind": "items", "paths": "https://example.org/a.json"}, "store": {"path": "m"}}
    ).source
    document = trim_item(item, [one.asset for one in whole.values()], source=source)
    again = pystac.Item.from_dict(json.loads(json.dumps(document)))
    assert {role: find_source(again, role, sensor_of(again)) for role in roles} == whole
    assert len(json.dumps(document)) <= len(json.dumps(item.to_dict()))


def test_trimmed_items_have_the_same_pixels(tmp_path, desk):
    shelf = Shelf(tmp_path)
    shelf.scene("a", offset=1000, extra={"weather": "fine"})
    config = CampaignConfig.from_dict(
        {
            "source": {"kind": "items", "paths": str(tmp_path / "a.json")},
            "store": {"path": str(tmp_path / "masks"), "chunk_px": 32, "region_px": 160},
        }
    )
    make_plan(config, out=tmp_path / "m.sqlite", measure=False)
    (task,) = listed(tmp_path / "m.sqlite")
    assert "weather" not in json.dumps(task.sources)
    policy = {key: tuple(value) if isinstance(value, list) else value for key, value in task.job.policy.items()}
    from xcloudmask.stac import HrefPolicy

    ours = load([pystac.Item.from_dict(dict(task.sources[0]))], policy=HrefPolicy(**policy))
    xr.testing.assert_identical(ours.compute(), load(shelf.items("a"), policy=LOCAL).compute())


def test_fingerprints_follow_checksums_before_versions():
    item = {"properties": {"updated": "1"}, "assets": {"red": {"href": "https://a.org/r.tif", "file:checksum": "ab"}}}
    later = {**item, "properties": {"updated": "2"}}
    other = {**item, "assets": {"red": {**item["assets"]["red"], "file:checksum": "cd"}}}
    assert fingerprint(item) == fingerprint(later) != fingerprint(other)


def test_files_of_this_machine_are_told_by_size_and_date(tmp_path):
    shelf = Shelf(tmp_path)
    shelf.scene("a")
    tables = {
        "source": {"kind": "items", "paths": str(tmp_path / "a.json")},
        "store": {"path": str(tmp_path / "masks"), "chunk_px": 32, "region_px": 160},
    }
    config = CampaignConfig.from_dict(tables)
    make_plan(config, out=tmp_path / "m.sqlite", measure=False)
    before = keys(tmp_path / "m.sqlite")
    assert update_plan(config, tmp_path / "m.sqlite").reprocessed == 0
    os.utime(tmp_path / "a-B04.tif", (1, 1))
    assert update_plan(config, tmp_path / "m.sqlite").reprocessed == 1
    assert not set(keys(tmp_path / "m.sqlite")) & set(before)


# -- cubes -------------------------------------------------------------------------------------------------------------


def cube_config(folder, *paths, **source):
    return CampaignConfig.from_dict(
        {
            "source": {"kind": "cube", "paths": [str(path) for path in paths], **source},
            "store": {"path": str(folder / "masks"), "chunk_px": 64, "region_px": 64},
        }
    )


def write_cube(path, times=2):
    cube = (
        odc_dataset(times=times, shape=(96, 128))
        if times
        else odc_dataset(times=1, shape=(96, 128)).isel(time=0, drop=True)
    )
    cube.to_zarr(path, consolidated=False, zarr_format=3)
    return cube


def test_each_date_of_a_cube_is_a_step(tmp_path):
    cube = write_cube(tmp_path / "alps.zarr", times=3)
    summary = make_plan(cube_config(tmp_path, tmp_path / "alps.zarr"), out=tmp_path / "m.sqlite", measure=False)
    tasks = listed(tmp_path / "m.sqlite")
    assert (summary.steps, summary.tasks) == (3, 3 * 4)
    assert {task.cell.name for task in tasks} == {"alps"}
    assert tasks[0].cell.shape == (96, 128)
    times = sorted({np.datetime64(task.time, "ns") for task in tasks})
    np.testing.assert_array_equal(times, cube["time"].values.astype("datetime64[ns]"))
    assert tasks[0].sources == ({"cube": str(tmp_path / "alps.zarr"), "time": tasks[0].time},)
    again = make_plan(cube_config(tmp_path, tmp_path / "alps.zarr"), out=tmp_path / "n.sqlite", measure=False)
    other = cube_config(tmp_path, tmp_path / "alps.zarr", version="2")
    assert again.digest == summary.digest
    assert make_plan(other, out=tmp_path / "o.sqlite", measure=False).digest != summary.digest


def test_dates_that_a_cube_gets_later_are_added(tmp_path):
    path = tmp_path / "alps.zarr"
    cube = odc_dataset(times=3, shape=(96, 128))
    cube.isel(time=slice(0, 2)).to_zarr(path, consolidated=False, zarr_format=3)
    config = cube_config(tmp_path, path)
    make_plan(config, out=tmp_path / "m.sqlite", measure=False)
    before = keys(tmp_path / "m.sqlite")
    cube.isel(time=slice(2, 3)).to_zarr(path, consolidated=False, append_dim="time")
    summary = update_plan(config, tmp_path / "m.sqlite")
    assert (summary.new, summary.anew) == (4, 0)
    assert keys(tmp_path / "m.sqlite")[: len(before)] == before


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_pixels_that_are_written_anew_are_masked_anew(tmp_path, zarr_format):
    path, manifest = tmp_path / "alps.zarr", tmp_path / "m.sqlite"
    cube = odc_dataset(times=3, shape=(96, 128))
    cube.to_zarr(path, consolidated=False, zarr_format=zarr_format, encoding={"red": {"chunks": (1, 96, 64)}})
    config = cube_config(tmp_path, path)
    make_plan(config, out=manifest, measure=False)
    before = {task.time: task.key for task in listed(manifest)}
    summary = update_plan(config, manifest)
    assert (summary.new, summary.anew, summary.reprocessed) == (0, 0, 0)
    red = zarr.open_group(path, mode="r+")["red"]
    red[1, :, 64:] = red[1, :, 64:] + 1
    summary = update_plan(config, manifest)
    assert (summary.new, summary.reprocessed) == (0, 1)
    after = {task.time: task.key for task in listed(manifest)}
    first, changed, last = sorted(before)
    assert (after[first], after[last]) == (before[first], before[last])
    assert after[changed] != before[changed]


def test_a_cube_without_dates_wants_one(tmp_path):
    write_cube(tmp_path / "a.zarr", times=0)
    with pytest.raises(InputError, match=r"Type in \[source\]: time ="):
        make_plan(cube_config(tmp_path, tmp_path / "a.zarr"), out=tmp_path / "m.sqlite")
    config = cube_config(tmp_path, tmp_path / "a.zarr", time="2024-06-01T10:00:00")
    make_plan(config, out=tmp_path / "m.sqlite", measure=False)
    assert {task.time for task in listed(tmp_path / "m.sqlite")} == {"2024-06-01T10:00:00"}


def test_two_cubes_of_one_name_get_cells_of_their_own(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_cube(tmp_path / folder / "a.zarr", times=1)
    config = cube_config(tmp_path, tmp_path / "x/a.zarr", tmp_path / "y/a.zarr")
    assert make_plan(config, out=tmp_path / "m.sqlite", measure=False).cells == 2
    assert {task.cell.name for task in listed(tmp_path / "m.sqlite")} == {"a", "a-2"}


# -- stores that overlap -----------------------------------------------------------------------------------------------


def test_stores_inside_one_another_are_refused(desk):
    (desk.folder / "masks").mkdir()
    (desk.folder / "masks" / "campaign.json").write_text("{}")
    with pytest.raises(ArgumentError, match="lies in that of another campaign"):
        desk.plan([scene(1)], path=str(desk.folder / "masks" / "inner" / "deep"))
    with pytest.raises(ArgumentError, match="has another campaign in it"):
        desk.plan([scene(1)], path=str(desk.folder))
    write_cube(desk.folder / "c.zarr")
    tables = cube_config(desk.folder, desk.folder / "c.zarr").tables()
    tables["store"]["path"] = str(desk.folder / "c.zarr" / "masks")
    with pytest.raises(ArgumentError, match="lies in the cube"):
        make_plan(CampaignConfig.from_dict(tables), out=desk.folder / "m.sqlite")


# -- a catalogue on this machine ---------------------------------------------------------------------------------------


def test_a_search_page_by_page(tmp_path):
    pytest.importorskip("stac_fastapi.api")
    from stac_server import serve_api

    (tmp_path / "items").mkdir()
    items = [scene(day) for day in range(1, 6)]
    for item in items:
        (tmp_path / "items" / f"{item['id']}.json").write_text(json.dumps(item))
    with serve_api(tmp_path / "items") as url:
        tables = {
            "source": {
                "kind": "stac", "url": url, "collections": items[0]["collection"], "bbox": [4, 48, 5, 49],
                "datetime": "2024-05-01/2024-05-04", "page_size": 2,
            },
            "store": {"path": str(tmp_path / "masks"), "chunk_px": 64, "region_px": 128},
        }  # fmt: skip
        seen = []
        config = CampaignConfig.from_dict(tables)
        summary = make_plan(config, out=tmp_path / "m.sqlite", measure=False, progress=seen.append)
        assert (summary.scenes, seen) == (4, [2, 4])
        tables["source"]["limit"] = 3
        limited = make_plan(CampaignConfig.from_dict(tables), out=tmp_path / "n.sqlite", measure=False)
        assert limited.scenes == 3
        tables["source"]["collections"] = "sentinel-2-l2"
        with pytest.raises(XCloudMaskError, match="has no collection"):
            make_plan(CampaignConfig.from_dict(tables), out=tmp_path / "o.sqlite")
        tables["source"] |= {"collections": items[0]["collection"], "header_env": {"Authorization": "NOT_SET_HERE"}}
        with pytest.raises(ArgumentError, match="export NOT_SET_HERE"):
            make_plan(CampaignConfig.from_dict(tables), out=tmp_path / "o.sqlite")
    del tables["source"]["header_env"]
    with pytest.raises(CatalogueError, match="cannot be reached"):
        make_plan(CampaignConfig.from_dict(tables), out=tmp_path / "o.sqlite")


# -- size --------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_memory_does_not_grow_with_the_archive():
    few, many = (10_000, 50_000) if os.environ.get("XCLOUDMASK_LONG") else (300, 900)
    command = [sys.executable, "-m", "benchmarks.campaign", "plan", str(few), str(many)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=3000, env=environment)
    found = json.loads(done.stdout)
    assert (found["scenes_few"], found["scenes"]) == (few, many)
    assert (found["tasks_few"], found["tasks"]) == (4 * few, 4 * many)
    assert found["peak_bytes"] < 1.1 * found["peak_bytes_few"], found


# -- tasks that are done -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["grid", "utm"])
def test_planned_tasks_make_the_mask_that_predict_makes(tmp_path, tiny_model, layout):
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from xcloudmask.io import open_mask
    from xcloudmask.predict import predict
    from xcloudmask.run.process import process_task
    from xcloudmask.run.stores.base import open_sink

    shelf = Shelf(tmp_path)
    shelf.scene("a", seed=1)
    shelf.scene("b", seed=2, time="2024-05-14T10:50:41Z", grid=grid_cube(x=600_800.0, shape=(160, 200)))
    shelf.scene("c", seed=3, time="2024-05-15T10:50:31Z")
    card = tmp_path / "tiny.json"
    card.write_text(json.dumps(tiny_model.to_dict()))
    tables = {
        "source": {"kind": "items", "paths": [str(tmp_path / f"{name}.json") for name in "abc"], "dedupe": False},
        "model": {"name": str(card), "normalize": "lattice"},
        "store": {"path": str(tmp_path / "out"), "layout": layout, "chunk_px": 32, "region_px": 96, "block_px": 96},
    }
    make_plan(CampaignConfig.from_dict(tables), out=tmp_path / "m.sqlite", measure=False)
    with Manifest.open(tmp_path / "m.sqlite") as manifest:
        sink = open_sink(manifest.job)
        sink.prepare(manifest.cells(), {})
        records = [process_task(task) for task in manifest.tasks()]
        assert {record.status for record in records} <= {"ok", "nodata"}
        assert {record.key for record in records} == set(manifest.keys())
        (cell, times), *more = manifest.cells()
    assert len(times) == (3 if layout == "grid" else 2)
    assert not more
    mask = open_mask(tmp_path / "out" / "masks" / f"{cell.name}.zarr").transpose("time", "y", "x")
    grid = GeoBox(cell.shape, Affine(*cell.transform), cell.crs)
    steps = "id" if layout == "grid" else "solar_day"
    cube = load(shelf.items(*"abc"), geobox=grid, groupby=steps, policy=LOCAL, chunks=96)
    expected = predict(cube, model=tiny_model, normalize="lattice").compute()
    np.testing.assert_array_equal(mask.values, expected.values)


def test_scenes_of_a_day_with_other_offsets_are_masked(tmp_path, tiny_model):
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from xcloudmask.predict import predict
    from xcloudmask.run.process import process_task
    from xcloudmask.run.stores.base import open_sink

    shelf = Shelf(tmp_path)
    shelf.scene("a", seed=1, baseline="03.01")
    shelf.scene("b", seed=2, offset=1000, time="2024-05-14T10:50:41Z", grid=grid_cube(x=600_800.0, shape=(160, 200)))
    card = tmp_path / "tiny.json"
    card.write_text(json.dumps(tiny_model.to_dict()))
    tables = {
        "source": {"kind": "items", "paths": [str(tmp_path / f"{name}.json") for name in "ab"], "dedupe": False},
        "model": {"name": str(card), "normalize": "lattice"},
        "store": {"path": str(tmp_path / "out"), "layout": "utm", "chunk_px": 32, "region_px": 96, "block_px": 96},
    }
    make_plan(CampaignConfig.from_dict(tables), out=tmp_path / "m.sqlite", measure=False)
    with Manifest.open(tmp_path / "m.sqlite") as manifest:
        ((cell, times),) = manifest.cells()
        sink = open_sink(manifest.job)
        sink.prepare(manifest.cells(), {})
        records = [process_task(task) for task in manifest.tasks()]
    assert {record.status for record in records} <= {"ok", "nodata"}
    assert times == ("2024-05-14T00:00:00", "2024-05-14T00:00:01")
    mask = open_sink(manifest.job).masks(cell)
    grid = GeoBox(cell.shape, Affine(*cell.transform), cell.crs)
    for number, name in enumerate("ab"):
        cube = load(shelf.items(name), geobox=grid, policy=LOCAL, chunks=96)
        expected = predict(cube, model=tiny_model, normalize="lattice").compute()
        np.testing.assert_array_equal(mask.isel(time=number).values, expected[0].values)
