"""Icechunk: commits that tell how a mask was made, and time travel; errors that name the target."""

from __future__ import annotations

import dataclasses
import datetime as dt
import subprocess
import sys
import time

import dask
import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from icechunk_masks import CHUNK_PX, SIZE_PX, codes, lazy_mask, make_mask

import xcloudmask
from xcloudmask.classes import CLASS_DIM
from xcloudmask.errors import (
    ArgumentError,
    ArgumentTypeError,
    MissingPackageError,
    NotACubeError,
    ReadError,
    WriteError,
)
from xcloudmask.io._icechunk_place import cut, spans
from xcloudmask.io.icechunk import history, open_icechunk, to_icechunk

icechunk = pytest.importorskip("icechunk")
icechunk.set_logs_filter("error")  # of the storage in folders; see docs/icechunk.md


def stored_array(repo, group=None, name="cloud_mask"):
    session = icechunk.Repository.open(icechunk.local_filesystem_storage(str(repo))).readonly_session("main")
    return zarr.open_group(session.store, path=group, mode="r")[name]


@pytest.mark.parametrize("make", [make_mask, lazy_mask])
def test_round_trip(tmp_path, make):
    mask = make()
    snapshot = to_icechunk(mask, tmp_path / "m.icechunk")
    opened = open_icechunk(tmp_path / "m.icechunk")
    assert opened.dtype == np.uint8
    assert isinstance(opened.data, da.Array)
    xr.testing.assert_identical(opened.compute(), mask.compute())
    assert opened.rio.crs.to_epsg() == 32631
    assert opened.rio.transform() == mask.rio.transform()
    assert history(tmp_path / "m.icechunk")[0].snapshot == snapshot
    assert stored_array(tmp_path / "m.icechunk").fill_value == 255


def test_a_commit_tells_how_the_mask_was_made(tmp_path):
    mask = lazy_mask(xcloudmask_version="9.9")
    to_icechunk(mask, tmp_path / "r")
    to_icechunk(lazy_mask([3]), tmp_path / "r", append_dim="time", message="third\nof May")
    last, first, empty = history(tmp_path / "r")
    assert first.message == "default: 2 dates, 2024-05-01 to 2024-05-02"
    assert (first.model, first.model_sha256, first.version) == ("default", "0" * 64, "9.9")
    assert first.settings == {"dtype": "uint8", "output_style": "4-class", "normalize": "chunk", "halo_px": 72}
    assert first.grid == {
        "crs": "EPSG:32631",
        "transform": [20.0, 0.0, 599_990.0, 0.0, -20.0, 5_000_010.0],
        "shape": [SIZE_PX, SIZE_PX],
    }
    assert first.times == ("2024-05-01T10:50:31", "2024-05-02T10:50:31")
    assert (first.write, last.write, last.message) == ("new", "appended", "third\nof May")
    assert empty.model is None
    assert abs(dt.datetime.now(dt.UTC) - last.time) < dt.timedelta(minutes=5)
    assert str(first).startswith(first.snapshot)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.model = "other"


def test_time_travel(tmp_path):
    repo = tmp_path / "r"
    one = to_icechunk(make_mask([1], seed=1), repo)
    time.sleep(0.01)
    between = dt.datetime.now(dt.UTC)
    time.sleep(0.01)
    two = to_icechunk(make_mask([1], seed=2), repo, mode="w")
    opened = icechunk.Repository.open(icechunk.local_filesystem_storage(str(repo)))
    opened.create_tag("v1", one)
    opened.create_branch("trial", one)
    to_icechunk(make_mask([9]), repo, branch="trial", append_dim="time")
    for options, seed in [
        ({}, 2),
        ({"branch": "main"}, 2),
        ({"snapshot": one}, 1),
        ({"snapshot": two}, 2),
        ({"tag": "v1"}, 1),
        ({"as_of": between}, 1),
        ({"as_of": between.replace(tzinfo=None).isoformat()}, 1),  # without a zone it is UTC
        ({"as_of": np.datetime64(between.replace(tzinfo=None)), "branch": "main"}, 1),
        ({"as_of": "2999-01-01"}, 2),
    ]:
        np.testing.assert_array_equal(open_icechunk(repo, **options)[0], codes(1, seed), err_msg=str(options))
    assert open_icechunk(repo, branch="trial").sizes["time"] == 2
    np.testing.assert_array_equal(open_icechunk(opened, branch="trial")[1], codes(9))
    assert [commit.snapshot for commit in history(repo)][:2] == [two, one]


def test_what_is_open_stays_as_it_is(tmp_path):
    to_icechunk(make_mask([1], seed=1), tmp_path / "r")
    before = open_icechunk(tmp_path / "r")
    to_icechunk(make_mask([1], seed=2), tmp_path / "r", mode="w")
    np.testing.assert_array_equal(before[0], codes(1, 1))
    after = open_icechunk(tmp_path / "r")
    assert before.data.name != after.data.name  # dask would take one for the other
    assert after.data.name == open_icechunk(tmp_path / "r").data.name


@pytest.mark.parametrize("time_chunk", [1, 2])
def test_append_overwrites_dates_that_are_there(tmp_path, time_chunk):
    repo = tmp_path / "r"
    to_icechunk(lazy_mask([1, 3]).chunk(time=-1), repo, append_dim="time", chunks={"time": time_chunk})
    to_icechunk(lazy_mask([3, 2, 4], seed=7), repo, append_dim="time")
    opened = open_icechunk(repo)
    np.testing.assert_array_equal(opened.time.dt.day, [1, 2, 3, 4])
    for day, seed in [(1, 0), (2, 7), (3, 7), (4, 7)]:
        found = opened.sel(time=f"2024-05-{day:02d}").squeeze("time")
        np.testing.assert_array_equal(found, codes(day, seed))
        assert found.item_id == f"S2_{day}_{seed}"
    again = to_icechunk(make_mask([3, 2, 4], seed=7), repo, append_dim="time")
    xr.testing.assert_identical(open_icechunk(repo).compute(), opened.compute())
    assert history(repo)[0].snapshot == again
    assert stored_array(repo).chunks[0] == time_chunk


@given(
    stored=st.lists(st.integers(1, 8), min_size=1, max_size=4, unique=True),
    added=st.lists(st.integers(1, 8), min_size=1, max_size=5, unique=True),
    time_chunk=st.integers(1, 3),
    dask_chunk=st.integers(1, 3),
)
def test_any_order_of_dates(tmp_path_factory, stored, added, time_chunk, dask_chunk):
    repo = tmp_path_factory.mktemp("any") / "r"
    with dask.config.set(scheduler="synchronous"):
        to_icechunk(make_mask(stored, size_px=6), repo, chunks={"time": time_chunk, "y": 4, "x": 4})
        mask = make_mask(added, seed=1, size_px=6, chunks={"time": dask_chunk, "y": 5, "x": 3})
        to_icechunk(mask, repo, append_dim="time")
        opened = open_icechunk(repo).compute()
    expected = dict.fromkeys(stored, 0) | dict.fromkeys(added, 1)
    assert opened.time.dt.day.values.tolist() == sorted(expected)
    for day, seed in expected.items():
        np.testing.assert_array_equal(opened.sel(time=f"2024-05-{day:02d}").squeeze("time"), codes(day, seed, 6))


def test_lazy_coordinates_and_another_name(tmp_path):
    def rich(days, seed):
        count = len(days)
        return lazy_mask(days, seed=seed).assign_coords(
            angle=("time", da.from_array(np.arange(count) + seed + 0.5, chunks=1)),
            lat=(("y", "x"), da.ones((SIZE_PX, SIZE_PX), chunks=CHUNK_PX)),
            sun=(("time", "y"), da.ones((count, SIZE_PX), chunks=(1, CHUNK_PX)) * seed),
            geometry=("time", np.array([{1}] * count, object)),  # nothing that Zarr can hold
        )

    to_icechunk(rich([1, 2], 0), tmp_path / "r")
    to_icechunk(rich([3, 2], 4).rename("other"), tmp_path / "r", append_dim="time")
    opened = open_icechunk(tmp_path / "r").compute()
    assert opened.name == "cloud_mask"
    assert opened.angle.values.tolist() == [0.5, 5.5, 4.5]
    assert opened.sun.values[:, -1].tolist() == [0, 4, 4]
    assert opened.lat.values.min() == 1
    assert "geometry" not in opened.coords
    np.testing.assert_array_equal(opened, np.stack([codes(1), codes(2, 4), codes(3, 4)]))


def test_regions(tmp_path):
    repo = tmp_path / "r"
    to_icechunk(lazy_mask(), repo)
    part = lazy_mask(seed=5).isel(time=[1], y=slice(10, 70), x=slice(0, 33))  # it cuts chunks
    to_icechunk(part, repo, region="auto")
    to_icechunk(make_mask(seed=6).isel(y=slice(90, 96)), repo, region={"y": slice(90, 96)}, message="the south")
    expected = make_mask().values.copy()
    expected[1, 10:70, :33] = codes(2, 5)[10:70, :33]
    expected[:, 90:] = make_mask(seed=6).values[:, 90:]
    np.testing.assert_array_equal(open_icechunk(repo), expected)
    assert [commit.write for commit in history(repo)[:2]] == ["region", "region"]
    with pytest.raises(ArgumentError, match="2024-05-09"):
        to_icechunk(make_mask([9]), repo, region="auto")
    with pytest.raises(WriteError, match=r"2024-05-01.*the mask has 2024-05-02"):
        to_icechunk(make_mask([2]), repo, region={"time": slice(0, 1)})
    np.testing.assert_array_equal(open_icechunk(repo), expected)


def test_groups_share_a_repository(tmp_path):
    repo = tmp_path / "r"
    to_icechunk(make_mask([1]), repo, group="s2/codes")
    to_icechunk(make_mask([2]), repo, group="/s2/")
    to_icechunk(make_mask([3]), repo)
    to_icechunk(make_mask([4]), repo, mode="w")
    to_icechunk(make_mask([5]), repo, group="s2", mode="w")
    for group, day in [("s2/codes", 1), ("s2", 5), (None, 4)]:
        np.testing.assert_array_equal(open_icechunk(repo, group=group)[0], codes(day))
    with pytest.raises(ReadError, match=r"no mask in group s3.*s2/codes"):
        open_icechunk(repo, group="s3")


def test_a_mask_is_replaced_by_one_of_another_kind(tmp_path):
    repo = tmp_path / "r"
    to_icechunk(make_mask(), repo, shards=64, chunks=32)
    array = stored_array(repo)
    assert (array.chunks, array.shards) == ((1, 32, 32), (1, 64, 64))
    percent = xr.DataArray(
        np.full((1, 4, 20, 20), 25, np.uint8),
        dims=("time", CLASS_DIM, "y", "x"),
        coords={CLASS_DIM: ["clear", "thick_cloud", "thin_cloud", "cloud_shadow"]},
        name="percent",
    )
    with pytest.raises(WriteError, match=r"holds a mask.*mode='w'"):
        to_icechunk(percent, repo)
    to_icechunk(percent, repo, mode="w")
    xr.testing.assert_equal(open_icechunk(repo).compute(), percent)
    probabilities = (percent / 100).astype(np.float32).chunk(y=10)
    to_icechunk(probabilities, repo, group="probabilities", mode="w-")
    xr.testing.assert_equal(open_icechunk(repo, group="probabilities").compute(), probabilities.compute())


def test_without_time_and_georeference(tmp_path):
    mask = xr.DataArray(codes(1), dims=("y", "x"), attrs=make_mask().attrs)
    to_icechunk(mask, tmp_path / "r")
    assert history(tmp_path / "r")[0].message == "default: no date"
    np.testing.assert_array_equal(open_icechunk(tmp_path / "r"), mask)


def test_a_commit_for_each_date(tmp_path):
    repo = tmp_path / "r"
    for _ in range(2):  # the second overwrites
        to_icechunk(lazy_mask([1, 2, 3]), repo, append_dim="time", times_per_commit=2)
    assert [len(commit.times) for commit in history(repo)] == [1, 2, 1, 2, 0]
    xr.testing.assert_identical(open_icechunk(repo).compute(), make_mask([1, 2, 3]))
    to_icechunk(lazy_mask([1, 2, 3]), repo, mode="w", times_per_commit=1)
    assert [commit.write for commit in history(repo)[:3]] == ["appended", "appended", "replaced"]
    for wrong, options in [(0, {}), (1, {"region": "auto"})]:
        with pytest.raises(ArgumentError, match="times_per_commit"):
            to_icechunk(lazy_mask(), repo, times_per_commit=wrong, **options)


def test_nothing_to_write_is_no_commit(tmp_path):
    mask = make_mask()
    first = to_icechunk(mask, tmp_path / "r")
    assert to_icechunk(mask.isel(time=slice(0)), tmp_path / "r", append_dim="time") == first


def test_the_accessor(tmp_path):
    make_mask().cloudmask.to_icechunk(tmp_path / "r")
    assert xcloudmask.open_icechunk(tmp_path / "r").sizes["time"] == 2


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"model_sha256": "1" * 64}, "model_sha256"),
        ({"settings": '{"halo_px":80}'}, "halo_px"),
        ({"normalize": "lattice"}, "normalize"),
    ],
)
def test_masks_made_in_another_way_are_refused(tmp_path, change, found):
    repo = tmp_path / "r"
    to_icechunk(make_mask(), repo)
    for options in ({"append_dim": "time"}, {"region": "auto"}):
        with pytest.raises(WriteError, match=found) as caught:
            to_icechunk(make_mask(**change), repo, **options)
        assert "mode='w'" in str(caught.value)
        assert str(repo) in str(caught.value)
    assert len(history(repo)) == 2


def test_another_grid_is_refused(tmp_path):
    repo = tmp_path / "r"
    to_icechunk(make_mask(), repo)
    with pytest.raises(WriteError, match="pixels"):
        to_icechunk(make_mask([3]).isel(x=slice(50)), repo, append_dim="time")
    with pytest.raises(WriteError, match="transform"):
        to_icechunk(make_mask([3]).assign_coords(x=np.arange(SIZE_PX)), repo, append_dim="time")
    assert open_icechunk(repo).sizes["time"] == 2


def test_wrong_arguments(tmp_path):
    repo, mask = tmp_path / "r", make_mask()
    with pytest.raises(NotACubeError):
        to_icechunk(mask.drop_attrs(), repo)
    with pytest.raises(NotACubeError):
        to_icechunk(mask.to_dataset(), repo)
    with pytest.raises(ArgumentError, match="mode='x'"):
        to_icechunk(mask, repo, mode="x")
    with pytest.raises(ArgumentError, match="append_dim"):
        to_icechunk(mask, repo, append_dim="time", region="auto")
    with pytest.raises(ArgumentError, match="too small"):
        to_icechunk(mask, repo, chunks=0)
    with pytest.raises(ArgumentError, match="there twice"):
        to_icechunk(make_mask([1, 1]), repo, append_dim="time")
    with pytest.raises(ArgumentTypeError, match="int"):
        to_icechunk(mask, 7)
    with pytest.raises(ArgumentError, match="in memory"):
        to_icechunk(mask, icechunk.Repository.create(icechunk.in_memory_storage()))
    with pytest.raises(ArgumentError, match=r"ftp://host.*not understood"):
        to_icechunk(mask, "ftp://host/masks")
    with pytest.raises(ArgumentError, match=r"colour.*s3_storage"):
        to_icechunk(mask, "s3://bucket/masks", storage_options={"colour": 1})
    with pytest.raises(ArgumentError, match="storage_options"):
        to_icechunk(mask, repo, storage_options={"region": "eu-west-1"})
    with pytest.raises(WriteError, match=r"does not exist.*whole mask first"):
        to_icechunk(mask, repo, region="auto")
    assert not repo.exists()


def test_what_does_not_exist_is_told_with_what_does(tmp_path):
    repo = tmp_path / "r"
    first = to_icechunk(make_mask(), repo)
    icechunk.Repository.open(icechunk.local_filesystem_storage(str(repo))).create_tag("v1", first)
    with pytest.raises(ArgumentError, match=r"no branch 'dev'. Found: main"):
        open_icechunk(repo, branch="dev")
    with pytest.raises(ArgumentError, match=r"no branch 'dev'. Found: main"):
        to_icechunk(make_mask(), repo, branch="dev")
    with pytest.raises(ArgumentError, match=r"no branch 'dev'. Found: main"):
        history(repo, branch="dev")
    with pytest.raises(ArgumentError, match=r"no tag 'v2'. Found: v1"):
        open_icechunk(repo, tag="v2")
    for wrong in ("nonsense", "1CECHNKREP0F1RSTCMTX"):
        with pytest.raises(ArgumentError, match=f"no snapshot.*{first} .default: 2 dates"):
            open_icechunk(repo, snapshot=wrong)
    with pytest.raises(ArgumentError, match="nothing as old as 2001-01-01"):
        open_icechunk(repo, as_of="2001-01-01")
    for wrong in ("yesterday-ish", 2024, np.datetime64("NaT")):
        with pytest.raises(ArgumentError, match="no time"):
            open_icechunk(repo, as_of=wrong)
    with pytest.raises(ArgumentError, match="tag and snapshot are given"):
        open_icechunk(repo, tag="v1", snapshot=first)
    with pytest.raises(ArgumentError, match="as_of goes with a branch"):
        open_icechunk(repo, tag="v1", as_of="2024-01-01")
    with pytest.raises(ReadError, match="does not exist"):
        open_icechunk(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_folders_of_others_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(WriteError, match="no Icechunk repository"):
        to_icechunk(make_mask(), tmp_path)
    with pytest.raises(ReadError, match="no Icechunk repository"):
        open_icechunk(tmp_path)
    with pytest.raises(WriteError, match=r"thesis\.tex exists and is no"):
        to_icechunk(make_mask(), tmp_path / "thesis.tex")
    with pytest.raises(WriteError, match=r"tex/r cannot be written"):
        to_icechunk(make_mask(), tmp_path / "thesis.tex" / "r")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_repository_that_holds_other_arrays(tmp_path):
    repo = icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path / "r")))
    session = repo.writable_session("main")
    xr.Dataset({"red": ("x", [1])}).to_zarr(session.store, consolidated=False)
    session.commit("bands")
    for options in ({}, {"mode": "w"}, {"append_dim": "time"}):
        with pytest.raises(WriteError, match=r"red.*group="):
            to_icechunk(make_mask(), repo, **options)
    to_icechunk(make_mask(), repo, group="masks")
    np.testing.assert_array_equal(open_icechunk(repo, group="masks")[0], codes(1))
    with pytest.raises(ReadError, match="red"):
        open_icechunk(repo)


def broken_block(block):
    if block.size:
        raise ReadError("scene.tif cannot be read")
    return block


def no_such_file(block):
    if block.size:
        raise FileNotFoundError("scene.tif")
    return block


@pytest.mark.parametrize(("function", "error"), [(broken_block, ReadError), (no_such_file, FileNotFoundError)])
def test_errors_of_the_pixels_pass_as_they_are_and_commit_nothing(tmp_path, function, error):
    repo, mask = tmp_path / "r", lazy_mask()
    to_icechunk(mask, repo)
    broken = mask.copy(data=mask.data.map_blocks(function, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)))
    with pytest.raises(error, match=r"scene\.tif"):
        to_icechunk(broken, repo, mode="w")
    assert len(history(repo)) == 2
    xr.testing.assert_identical(open_icechunk(repo).compute(), mask.compute())


def test_an_empty_folder_becomes_a_repository(tmp_path):
    (tmp_path / "r").mkdir()
    to_icechunk(make_mask(), tmp_path / "r")
    assert open_icechunk(f"file://{tmp_path}/r").sizes["time"] == 2


def test_without_icechunk_the_pip_line_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "icechunk", None)
    for call in (lambda: to_icechunk(make_mask(), tmp_path / "r"), lambda: open_icechunk(tmp_path / "r")):
        with pytest.raises(MissingPackageError, match=r"pip install 'xcloudmask\[icechunk\]'"):
            call()
    assert not (tmp_path / "r").exists()


def test_nothing_imports_icechunk_before_it_is_needed():
    code = "import sys, xcloudmask, xcloudmask.io.icechunk; print('icechunk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# -- integers ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 30), unique=True, max_size=12))
def test_spans_cover_each_step_once(places):
    covered = {}
    for here, there in spans(places):
        assert here.stop - here.start == there.stop - there.start
        covered |= dict(zip(range(here.start, here.stop), range(there.start, there.stop), strict=True))
    assert covered == dict(enumerate(places))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 60), st.integers(1, 20))
def test_no_two_dask_chunks_share_a_stored_one(axis, start, step):
    chunks = cut(axis, start=start, step=step)
    assert sum(chunks) == sum(axis)
    assert all(size > 0 for size in chunks)
    assert all((start + end) % step == 0 for end in np.cumsum(chunks)[:-1])


def test_the_chunks_of_the_mask_are_those_of_the_store(tmp_path):
    to_icechunk(lazy_mask(), tmp_path / "r")
    assert stored_array(tmp_path / "r").chunks == (1, CHUNK_PX, CHUNK_PX)
    assert open_icechunk(tmp_path / "r").chunksizes["y"] == (CHUNK_PX,) * 3
