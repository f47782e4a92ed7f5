"""Stores of campaigns: what is written is there, once, whoever writes it in whatever order, and nothing is mixed in."""

import errno
import json
import pickle
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import dask
import hypothesis.strategies as st
import numpy as np
import processes
import pytest
import xarray as xr
from hypothesis import given, settings
from store_cells import (
    CELL,
    OTHER,
    STEPS,
    codes_of,
    content,
    make_job,
    make_task,
    make_tasks,
    prepared,
    whole,
    write_all,
)
from zarr.storage import LocalStore

from xcloudmask.classes import STYLES, get_style
from xcloudmask.errors import ArgumentError, InputError, ReadError, WriteError
from xcloudmask.io import open_mask, to_zarr
from xcloudmask.io._staging import locked_folder
from xcloudmask.io.stores import open_store
from xcloudmask.run.stores import class_shares, digest_of, mask_attributes, open_sink
from xcloudmask.run.task import Cell, Record, Region

LOCAL = {
    "zarr": ("zarr", {}),
    "shards": ("zarr", {"shard_px": 64}),
    "cog": ("cog", {}),
    "icechunk": ("icechunk", {}),
}
PLAIN = ["zarr", "shards", "cog"]


@pytest.fixture(params=list(LOCAL))
def job(request, tmp_path):
    kind, changes = LOCAL[request.param]
    return make_job(tmp_path / "campaign", kind, **changes)


@pytest.fixture(params=PLAIN)
def plain_job(request, tmp_path):
    kind, changes = LOCAL[request.param]
    return make_job(tmp_path / "campaign", kind, **changes)


def record_of(task):
    fields = {"key": task.key, "name": task.name, "cell": task.cell.name, "time": task.time}
    return Record(**fields, status="ok", region=task.region, ids=task.ids)


# -- what is written is there ---------------------------------------------------------------------------------------


def test_written_and_read(job):
    sink = prepared(job, CELL, OTHER)
    tasks = make_tasks(job, (CELL, OTHER))
    write_all(sink, tasks)
    for task in tasks:
        np.testing.assert_array_equal(sink.read(task), codes_of(task))
        assert digest_of(sink.read(record_of(task))) == digest_of(codes_of(task))
    again = open_sink(job)
    for cell in (CELL, OTHER):
        mask = again.masks(cell)
        assert mask.chunks is not None
        np.testing.assert_array_equal(mask.compute(), whole(cell, job))
        assert mask.dims == ("time", "y", "x")
        assert [str(time)[:10] for time in mask.time.values] == ["2024-01-01", "2024-01-06", "2024-01-11"]


def test_a_write_that_stands_alone_is_there_at_once(job):
    sink = prepared(job)
    task = make_tasks(job)[0]
    assert sink.write(task, codes_of(task)) == digest_of(codes_of(task))
    np.testing.assert_array_equal(open_sink(job).read(task), codes_of(task))


def test_the_mask_tells_what_it_is(job):
    """Attributes and coordinates are those that `predict` gives a cube on this grid."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    sink = prepared(job)
    write_all(sink, make_tasks(job))
    mask = sink.masks("32TPS")
    assert mask.odc.geobox == GeoBox(CELL.shape, Affine(*CELL.transform), CELL.crs)
    assert mask.name == "cloud_mask"
    ids = ["S2B_0101_north S2B_0101_south", "S2A_0106", "S2A_0111"]
    assert mask.item_id.values.tolist() == ids
    told = mask_attributes(job)
    shown = dict(mask.attrs)
    for attrs in (told, shown):
        assert attrs.pop("flag_values").tolist() == [0, 1, 2, 3]
    assert shown == told
    assert told["nodata"] == 255
    assert told["model_sha256"] == job.model_sha256
    assert told["xcloudmask_version"] == "1.2.3"


def test_open_store_opens_it(job, tmp_path):
    sink = prepared(job)
    write_all(sink, make_tasks(job))
    if job.kind == "icechunk":
        from xcloudmask.io.icechunk import open_icechunk

        opened = open_icechunk(tmp_path / "campaign" / "masks.icechunk", group=CELL.name)
    else:
        place = {"zarr": "32TPS.zarr", "cog": "32TPS"}[job.kind]
        opened = open_store(tmp_path / "campaign" / "masks" / place)
    xr.testing.assert_identical(opened.compute(), sink.masks(CELL).compute())


@pytest.mark.parametrize("shard_px", [None, 64])
def test_zarr_is_what_to_zarr_writes(tmp_path, shard_px):
    """The same bytes in each chunk, the same metadata: only the order of times is that of the campaign."""
    job = make_job(tmp_path / "campaign", shard_px=shard_px)
    sink = prepared(job)
    write_all(sink, make_tasks(job))
    mask = sink.masks(CELL).sel(time=np.array(list(STEPS), "M8[ns]")).compute()
    to_zarr(mask, tmp_path / "w.zarr", append_dim="time", chunks=32, shards=shard_px)
    ours, theirs = content(tmp_path / "campaign" / "masks" / "32TPS.zarr"), content(tmp_path / "w.zarr")
    assert {name for name in ours if "/c/" in name} == {name for name in theirs if "/c/" in name}
    assert {name: ours[name] for name in ours if name.startswith("cloud_mask/c")} == {
        name: theirs[name] for name in theirs if name.startswith("cloud_mask/c")
    }
    told = [json.loads((root / "zarr.json").read_text()) for root in (tmp_path / "w.zarr", _zarr(job))]
    assert told[0]["attributes"] == told[1]["attributes"]
    arrays = [one["consolidated_metadata"]["metadata"]["cloud_mask"] for one in told]
    assert arrays[0] == arrays[1]


def _zarr(job):
    return Path(job.store) / "masks" / "32TPS.zarr"


def test_chunks_of_nodata_are_not_stored(tmp_path):
    job = make_job(tmp_path / "c")
    sink = prepared(job)
    chunks = _zarr(job) / "cloud_mask" / "c"
    task = make_task(job, "2024-01-11")
    empty = np.full(task.region.shape, 255, np.uint8)
    sink.write(task, empty)
    assert not [path for path in chunks.rglob("*") if path.is_file()]
    one = empty.copy()
    one[40, 40] = 0  # clear, which is what other stores do not write
    sink.write(task, one)
    assert [path.relative_to(chunks).as_posix() for path in chunks.rglob("*") if path.is_file()] == ["2/1/1"]
    np.testing.assert_array_equal(sink.read(task), one)
    sink.write(task, empty)
    assert not [path for path in chunks.rglob("*") if path.is_file()]
    np.testing.assert_array_equal(sink.read(task), empty)


def test_rows_that_run_north_come_back_as_they_went(tmp_path):
    """A GeoTIFF has its northernmost row first, whatever the cell does."""
    cell = replace(CELL, transform=(10.0, 0.0, 600_000.0, 0.0, 10.0, 4_999_200.0))
    for kind in ("zarr", "cog"):
        job = make_job(tmp_path / kind, kind)
        sink = open_sink(job)
        sink.prepare([(cell, STEPS)])
        task = make_task(job, "2024-01-11", cell=cell)
        sink.write(task, codes_of(task))
        np.testing.assert_array_equal(sink.read(task), codes_of(task))
        mask = sink.masks(cell).sel(time=np.datetime64("2024-01-11")).sortby("y").compute()
        np.testing.assert_array_equal(mask, codes_of(task))


def test_degrees_and_grids_without_a_name(tmp_path, plain_job):
    wgs84 = Cell(name="world", crs="EPSG:4326", transform=(0.1, 0, 5.0, 0, -0.1, 50.0), shape=(40, 40))
    sink = open_sink(plain_job)
    sink.prepare([(wgs84, STEPS)])
    task = make_task(plain_job, "2024-01-11", cell=wgs84)
    sink.write(task, codes_of(task))
    np.testing.assert_array_equal(sink.masks(wgs84).sel(time=np.datetime64("2024-01-11")), codes_of(task))


# -- the bytes depend on nothing but the tasks ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Bytes of each kind of store after one plain run."""
    found = {}
    for name in PLAIN:
        kind, changes = LOCAL[name]
        job = make_job(tmp_path_factory.mktemp(name) / "campaign", kind, **changes)
        write_all(prepared(job, CELL, OTHER), make_tasks(job, (CELL, OTHER)))
        found[name] = content(tmp_path_factory.getbasetemp() / job.store)
    return found


def named(job):
    return "shards" if job.shard_px else job.kind


@settings(max_examples=6)
@given(data=st.data())
def test_order_and_repetition_change_no_byte(tmp_path_factory, undisturbed, data):
    name = data.draw(st.sampled_from(PLAIN))
    kind, changes = LOCAL[name]
    folder = tmp_path_factory.mktemp("o") / "campaign"
    job = make_job(folder, kind, **changes)
    tasks = make_tasks(job, (CELL, OTHER))
    again = data.draw(st.lists(st.sampled_from(tasks), max_size=4))
    prepared(job, CELL, OTHER)
    for task in data.draw(st.permutations([*tasks, *again])):
        open_sink(job).write(task, codes_of(task))
    assert content(folder) == undisturbed[name]


def test_preparing_again_changes_no_byte(job, tmp_path):
    sink = prepared(job, CELL, OTHER)
    write_all(sink, make_tasks(job, (CELL, OTHER)))
    before = content(tmp_path)
    prepared(job, CELL, OTHER)
    assert content(tmp_path) == before


def test_many_processes_write_into_one_store(plain_job, tmp_path, undisturbed):
    prepared(plain_job, CELL, OTHER)
    changes = {"shard_px": plain_job.shard_px}
    with ThreadPoolExecutor(3) as pool:
        jobs = [
            pool.submit(
                processes.run_whole,
                "store_cells:write_job",
                store=plain_job.store,
                kind=plain_job.kind,
                first=first,
                step=3,
                **changes,
            )
            for first in range(3)
        ]
        for one in jobs:
            one.result()
    assert content(tmp_path / "campaign") == undisturbed[named(plain_job)]


def test_one_task_at_the_same_time_in_many_threads(plain_job, tmp_path, undisturbed):
    """As when a worker that was thought dead is alive."""
    sink = prepared(plain_job, CELL, OTHER)
    tasks = make_tasks(plain_job, (CELL, OTHER))
    barrier = threading.Barrier(4)

    def all_of_them():
        mine = open_sink(plain_job)
        barrier.wait()
        write_all(mine, tasks)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(all_of_them) for _ in range(4)]:
            done.result()
    write_all(sink, tasks)
    assert content(tmp_path / "campaign") == undisturbed[named(plain_job)]


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_writer_leaves_nothing_once_its_tasks_are_done_again(plain_job, tmp_path, undisturbed, seed):
    """Chunks that are half written, files beside them, folders at work."""
    prepared(plain_job, CELL, OTHER)
    arguments = {"store": plain_job.store, "kind": plain_job.kind, "first": 0, "step": 1, "times": 200}
    rng = np.random.default_rng(seed)
    for _ in range(2):
        processes.run_killed(
            "store_cells:write_job", after_s=rng.uniform(0.05, 0.6), **arguments, shard_px=plain_job.shard_px
        )
    # What a killed writer leaves at worst, whether or not these came upon it.
    if plain_job.kind == "zarr":
        folder = _zarr(plain_job) / "cloud_mask" / "c" / "1" / "0"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "1.0123456789abcdef.partial").write_bytes(b"half")
    write_all(open_sink(plain_job), make_tasks(plain_job, (CELL, OTHER)))
    assert content(tmp_path / "campaign") == undisturbed[named(plain_job)]


def test_damaged_bytes_are_seen_and_written_over(job, tmp_path):
    """A chunk in the middle, one at the border, a shard that the border cuts; cut short, or other bytes."""
    if job.kind == "icechunk":
        pytest.skip("its chunks have no names that tell which they are")
    sink = prepared(job)
    tasks = make_tasks(job)
    write_all(sink, tasks)
    before = content(tmp_path / "campaign")
    suffix = "*.tif" if job.kind == "cog" else "c/*/*/*"
    files = [path for path in (tmp_path / "campaign").rglob(suffix) if path.is_file()]
    assert len(files) >= 3
    for damage in (lambda data: data[: len(data) // 2], lambda data: b"x" * len(data), lambda data: b""):
        for file in files:
            file.write_bytes(damage(file.read_bytes()))
        for task in tasks:
            assert _digest(sink, task) != digest_of(codes_of(task))
        write_all(sink, tasks)
        assert content(tmp_path / "campaign") == before


def _digest(sink, task):
    try:
        return digest_of(sink.read(task))
    except ReadError:
        return "unreadable"


def test_a_missing_chunk_is_seen(tmp_path):
    job = make_job(tmp_path / "c")
    sink = prepared(job)
    task = make_tasks(job)[0]
    digest = sink.write(task, codes_of(task))
    (_zarr(job) / "cloud_mask" / "c" / "0" / "1" / "1").unlink()
    assert _digest(sink, task) not in (digest, "unreadable")


# -- times that come later ------------------------------------------------------------------------------------------


def test_times_are_added_and_nothing_is_lost(job):
    sink = prepared(job)
    tasks = make_tasks(job)
    write_all(sink, tasks)
    worker = open_sink(job)
    worker.read(tasks[0])  # has the times of before in mind
    more = {"2023-12-31T10:00:00": ["S2A_1231"], "2024-02-01": ["S2A_0201"]}
    sink.prepare([(CELL, STEPS | more)])
    later = [replace(task, ids=tuple(more[task.time])) for task in make_tasks(job, times=tuple(more))]
    write_all(worker, later)
    for task in [*tasks, *later]:
        np.testing.assert_array_equal(open_sink(job).read(task), codes_of(task))
    mask = sink.masks(CELL)
    assert mask.sizes["time"] == 5
    assert mask.indexes["time"].is_monotonic_increasing
    assert mask.item_id.values[[0, -1]].tolist() == ["S2A_1231", "S2A_0201"]
    # Only what is new may be named as well.
    sink.prepare([(CELL, {"2024-03-01": ["S2A_0301"]})])
    assert open_sink(job).masks(CELL).sizes["time"] == (6 if job.kind != "cog" else 5)


def test_an_item_that_was_processed_anew_takes_the_place_of_the_old_one(job):
    sink = prepared(job)
    tasks = make_tasks(job)
    write_all(sink, tasks)
    sink.prepare([(CELL, STEPS | {"2024-01-11": ["S2A_0111_anew"]})])
    changed = [task for task in tasks if task.time == "2024-01-11"]
    anew = [replace(task, ids=("S2A_0111_anew",)) for task in changed]
    token = sink.begin()
    done = [sink.write(task, codes_of(task) // 2, token) for task in anew]
    sink.commit([one[1] for one in done if token is not None], [])
    mask = open_sink(job).masks(CELL)
    assert mask.item_id.values.tolist()[2] == "S2A_0111_anew"
    assert mask.sizes["time"] == 3
    for task in changed:
        np.testing.assert_array_equal(sink.read(task), codes_of(task) // 2)


def test_two_coordinators_prepare_at_the_same_time(plain_job, tmp_path, undisturbed):
    """The lease forbids it; where it happens all the same, both come to the same."""
    barrier = threading.Barrier(4)

    def prepare():
        barrier.wait()
        prepared(plain_job, CELL, OTHER)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(prepare) for _ in range(4)]:
            done.result()
    write_all(open_sink(plain_job), make_tasks(plain_job, (CELL, OTHER)))
    assert content(tmp_path / "campaign") == undisturbed[named(plain_job)]


def test_a_store_that_stays_locked(tmp_path, monkeypatch):
    monkeypatch.setattr("xcloudmask.run.stores.zarr._LONGEST_WAIT_S", 0.2)
    job = make_job(tmp_path / "c")
    prepared(job)
    with locked_folder(_zarr(job), label="c"), pytest.raises(WriteError, match=r"32TPS\.zarr: another process"):
        prepared(job)
    prepared(job)


@pytest.mark.parametrize("after_s", [0.15, 0.5, 0.9])
def test_a_coordinator_that_is_killed_while_it_prepares(job, tmp_path, after_s):
    """What it left can be prepared again, and is then as if nothing had been."""
    changes = {"store": job.store, "kind": job.kind, "shard_px": job.shard_px}
    processes.run_killed("store_cells:prepare_job", after_s=after_s, **changes)
    if job.kind == "icechunk":
        write_all(prepared(job), make_tasks(job))
        np.testing.assert_array_equal(open_sink(job).masks(CELL), whole(CELL, job))
        return
    cells = [replace(CELL, name=f"cell{number}") for number in range(3)]
    masks = tmp_path / "campaign" / "masks"
    for other in masks.glob("cell*") if masks.exists() else []:
        if other.name.removesuffix(".zarr") not in {cell.name for cell in cells}:
            shutil.rmtree(other)
    prepared(job, *cells)
    undisturbed = replace(job, store=str(tmp_path / "undisturbed"))
    prepared(undisturbed, *cells)
    found = {name: digest for name, digest in content(tmp_path / "campaign").items() if ".partial/" not in name}
    assert found == content(tmp_path / "undisturbed")


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model_sha256": "cd" * 32}, "model_sha256"),
        ({"model": "other"}, "model"),
        ({"options": {"normalize": "lattice"}}, "normalize"),
        ({"options": {"halo_px": 99}}, "halo_px"),
        ({"reading": {"resampling": "cubic"}}, "resampling"),
        ({"options": {"output_style": "cloud-noncloud"}}, "output_style"),
        ({"block_px": 128}, "block_px"),
    ],
)
def test_other_settings_are_not_mixed_in(job, tmp_path, changes, match):
    sink = prepared(job)
    write_all(sink, make_tasks(job))
    before = content(tmp_path)
    with pytest.raises(WriteError, match=rf"{match}.*xcloudmask run fork"):
        prepared(replace(job, **changes))
    assert content(tmp_path) == before


def test_the_version_may_differ(job):
    prepared(job)
    prepared(replace(job, version="9.9.9"))


@pytest.mark.parametrize(
    "cell",
    [
        replace(CELL, crs="EPSG:32633"),
        replace(CELL, transform=(10.0, 0.0, 600_010.0, 0.0, -10.0, 5_000_000.0)),
        replace(CELL, shape=(80, 101)),
    ],
)
def test_another_grid_is_not_mixed_in(job, cell):
    prepared(job)
    with pytest.raises(WriteError, match=r"32TPS.*xcloudmask run fork"):
        open_sink(job).prepare([(cell, STEPS)])


@pytest.mark.parametrize("kind", ["zarr", "icechunk"])
@pytest.mark.parametrize("changes", [{"chunk_px": 16}, {"shard_px": 64}])
def test_another_cut_is_not_mixed_in(tmp_path, kind, changes):
    job = make_job(tmp_path / "c", kind)
    prepared(job)
    with pytest.raises(WriteError, match=r"(chunks|shards) = .*xcloudmask run fork"):
        prepared(replace(job, **changes))


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a\\b", "x" * 200, "a\x00b", "ä b"])
def test_names_of_cells_do_not_lead_out_of_the_store(job, tmp_path, name):
    with pytest.raises(ArgumentError, match="cannot be a file name"):
        open_sink(job).prepare([(replace(CELL, name=name), STEPS)])
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "masks.icechunk" not in str(path)]
    for ask in (open_sink(job).read, lambda task: open_sink(job).write(task, codes_of(task))):
        with pytest.raises((ArgumentError, WriteError)):
            ask(make_task(job, "2024-01-11", cell=replace(CELL, name=name)))


@pytest.mark.parametrize("steps", [["2024-01-01", "2024-01-01T00:00:00Z"], ["yesterday"], ["NaT"]])
def test_times_that_are_none_or_twice(job, steps):
    with pytest.raises(ArgumentError, match=r"twice|is no time"):
        open_sink(job).prepare([(CELL, steps)])


def test_a_rotated_grid(job):
    with pytest.raises(ArgumentError, match="rotated"):
        open_sink(job).prepare([(replace(CELL, transform=(10.0, 1.0, 0.0, 1.0, -10.0, 0.0)), STEPS)])


def test_codes_of_another_shape_or_type(job):
    sink = prepared(job)
    task = make_tasks(job)[0]
    for wrong in (codes_of(task)[1:], codes_of(task).astype(np.int64), codes_of(task)[None]):
        with pytest.raises(InputError, match=r"Expected uint8 \("):
            sink.write(task, wrong)


@pytest.mark.parametrize("region", [Region(y=(0, 40), x=(0, 64)), Region(y=(1, 32), x=(0, 64))])
def test_a_region_that_cuts_what_is_written_whole(job, region):
    sink = prepared(job)
    task = make_task(job, "2024-01-11", region)
    with pytest.raises(ArgumentError, match=r"whole"):
        sink.write(task, codes_of(task))


@pytest.mark.parametrize("shard", [Region(y=(0, 32), x=(0, 64)), Region(y=(0, 64), x=(0, 128))])
def test_a_region_that_cuts_a_shard_or_leaves_the_cell(tmp_path, shard):
    job = make_job(tmp_path / "c", shard_px=64)
    task = make_task(job, "2024-01-11", shard)
    with pytest.raises(ArgumentError, match="64 pixels"):
        prepared(job).write(task, codes_of(task))


def test_a_store_that_was_not_prepared(job):
    task = make_tasks(job)[0]
    with pytest.raises(WriteError):
        open_sink(job).write(task, codes_of(task))
    with pytest.raises(ReadError):
        open_sink(job).read(task)
    with pytest.raises(ReadError):
        open_sink(job).masks(CELL).compute()
    prepared(job, OTHER)
    with pytest.raises(WriteError, match=r"32TPS|prepared"):
        open_sink(job).write(task, codes_of(task))
    with pytest.raises(ReadError):
        open_sink(job).masks(CELL)


def test_a_time_that_was_not_prepared(job):
    if job.kind == "cog":
        pytest.skip("a file needs no place")
    sink = prepared(job)
    task = make_task(job, "2030-01-01")
    with pytest.raises(WriteError, match="no time 2030-01-01"):
        sink.write(task, codes_of(task))
    with pytest.raises(ReadError, match="no time 2030-01-01"):
        sink.read(task)


def test_something_else_lies_there(tmp_path):
    job = make_job(tmp_path / "c")
    _zarr(job).mkdir(parents=True)
    (_zarr(job) / "letter.txt").write_text("mine")
    with pytest.raises(WriteError, match="no Zarr store"):
        prepared(job)
    assert (_zarr(job) / "letter.txt").read_text() == "mine"


def test_percentages_and_shards_that_do_not_fit():
    with pytest.raises(ArgumentError, match="percentages"):
        open_sink(make_job("c", options={"categorise": False}))
    with pytest.raises(ArgumentError, match="shard_px = 64"):
        open_sink(make_job("c", shard_px=40))
    with pytest.raises(ArgumentError, match="'zarr', 'cog' or 'icechunk'"):
        open_sink(make_job("c", "netcdf"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_what_the_system_says_can_be_told(tmp_path, monkeypatch, code):
    """A full disk stops a run, and must be told from errors of a scene."""
    job = make_job(tmp_path / "c")
    sink = prepared(job)
    task = make_tasks(job)[0]

    async def refuse(self, key, value, *rest):
        raise OSError(code, "system says no")

    monkeypatch.setattr(LocalStore, "set", refuse)
    with pytest.raises(WriteError, match=r"32TPS.zarr cannot be written: system says no") as caught:
        sink.write(task, codes_of(task))
    assert caught.value.errno == code


def test_what_the_system_says_of_a_geotiff_can_be_told(tmp_path, monkeypatch):
    sink = prepared(make_job(tmp_path / "c", "cog"))
    task = make_tasks(sink.job)[0]

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(WriteError, match=r"32TPS_20240106T102030123456\.tif cannot be written: No space") as caught:
        sink.write(task, codes_of(task))
    assert caught.value.errno == errno.ENOSPC


def test_a_file_that_vanishes_under_a_writer_is_written_again(tmp_path, monkeypatch):
    job = make_job(tmp_path / "c")
    sink = prepared(job)
    task = make_tasks(job)[0]
    calls = []
    original = LocalStore.set

    async def taken_once(self, key, value, *rest):
        calls.append(key)
        if len(calls) == 1:
            raise FileNotFoundError(errno.ENOENT, "gone")
        await original(self, key, value, *rest)

    monkeypatch.setattr(LocalStore, "set", taken_once)
    sink.write(task, codes_of(task))
    np.testing.assert_array_equal(sink.read(task), codes_of(task))


# -- helpers --------------------------------------------------------------------------------------------------------


def test_a_sink_travels_as_its_job(job):
    sink = pickle.loads(pickle.dumps(prepared(job)))  # noqa: S301
    task = make_tasks(job)[0]
    sink.write(task, codes_of(task))
    np.testing.assert_array_equal(open_sink(job).read(task), codes_of(task))
    assert sink.transactional == (job.kind == "icechunk")


def test_nothing_of_dask_is_computed_to_prepare_and_write(plain_job, no_compute):
    sink = prepared(plain_job)
    task = make_tasks(plain_job)[0]
    sink.write(task, codes_of(task))
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(sink.read(task), codes_of(task))


def test_ten_thousand_times_are_prepared_in_a_moment(tmp_path):
    job = make_job(tmp_path / "c")
    start = np.datetime64("2000-01-01")
    steps = {f"{start + day}T10:00:00": [f"item_{day}"] for day in range(10_000)}
    sink = open_sink(job)
    sink.prepare([(CELL, steps)])
    task = make_task(job, list(steps)[-1])
    sink.write(task, codes_of(task))
    np.testing.assert_array_equal(sink.read(task), codes_of(task))
    assert open_mask(_zarr(job)).sizes["time"] == 10_000


@given(
    style=st.sampled_from(sorted(STYLES)),
    codes=st.lists(st.sampled_from([0, 1, 2, 3, 255]), min_size=1, max_size=50),
)
def test_shares_add_up(style, codes):
    array = np.array(codes, np.uint8)
    meanings = get_style(style).meanings
    array[(array != 255) & (array >= len(meanings))] = 0
    shares = class_shares(array, style=style)
    assert list(shares) == [*meanings, "nodata"]
    assert sum(shares.values()) == pytest.approx(1)
    for code, name in enumerate(meanings):
        assert shares[name] == (array == code).mean()


def test_shares_of_codes_that_are_none():
    with pytest.raises(InputError, match="1 of 2 pixels"):
        class_shares(np.array([0, 7], np.uint8))
    with pytest.raises(InputError, match="2 of 2 pixels"):
        class_shares(np.array([2, 3], np.uint8), style="valid-invalid")
    with pytest.raises(InputError):
        class_shares(np.zeros((0, 4), np.uint8))


def test_attributes_tell_how_a_mask_was_made():
    job = make_job(
        "c",
        model="/models/mine.json",
        options={"halo_px": 72, "normalize": "lattice", "device": "cuda", "batch_size": 4, "bands": {"red": "B04"}},
        reading={"bands": ["B04", "B03"], "resampling": "cubic", "sign": "planetary-computer"},
    )
    attrs = mask_attributes(job)
    assert (attrs["model"], attrs["normalize"], attrs["output_style"]) == ("mine", "lattice", "4-class")
    assert json.loads(attrs["settings"]) == {
        "halo_px": 72,
        "bands": {"red": "B04"},
        "block_px": 64,
        "reading": {"bands": ["B04", "B03"], "resampling": "cubic"},
    }
