"""Dates appended and overwritten, regions written: what is there, what is refused, what two processes may do."""

import itertools
import warnings

import dask
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore
from zarr_masks import content, make_mask, same

from xcloudmask.classes import CLASS_DIM
from xcloudmask.errors import ArgumentError, ArgumentTypeError, WriteError
from xcloudmask.io import open_mask, to_zarr
from xcloudmask.io._regions import runs
from xcloudmask.io._stored import UNFINISHED

DATES = [f"2024-01-{day:02}" for day in range(1, 13)]


def test_the_first_day_makes_the_store_and_the_next_ones_append(tmp_path):
    store = tmp_path / "m.zarr"
    for day in range(3):
        assert to_zarr(make_mask(DATES[day : day + 1]), store, append_dim="time", chunks=32) == store
    same(open_mask(store), make_mask(DATES[:3]))
    assert zarr.open_group(store, mode="r")["clouds"].chunks == (1, 32, 32)


@pytest.mark.parametrize("lazy", [None, {"time": 3, "y": 40, "x": 30}])
def test_the_same_date_again_overwrites_itself(tmp_path, lazy):
    store = tmp_path / "m.zarr"
    to_zarr(make_mask(DATES[:3]), store, append_dim="time", chunks=32)
    to_zarr(make_mask(DATES[1:5], seed=1, chunks=lazy), store, append_dim="time")
    once = content(store)
    same(open_mask(store), xr.concat([make_mask(DATES[:1]), make_mask(DATES[1:5], seed=1)], "time"))
    to_zarr(make_mask(DATES[1:5], seed=1, chunks=lazy), store, append_dim="time")
    assert content(store) == once, "twice is the same as once"


def test_a_late_date_lies_at_the_end_and_is_sorted_on_opening(tmp_path):
    store = tmp_path / "m.zarr"
    to_zarr(make_mask(DATES[2:4]), store, append_dim="time")
    to_zarr(make_mask(DATES[0:2]), store, append_dim="time")
    stored = xr.open_zarr(store)["time"].values
    assert stored.tolist() == make_mask([*DATES[2:4], *DATES[0:2]])["time"].values.tolist()
    opened = open_mask(store)
    same(opened, make_mask(DATES[:4]))
    assert opened.sel(time=slice("2024-01-02", "2024-01-03")).sizes["time"] == 2
    assert all(size == 1 for size in opened.chunksizes["time"])


def test_appending_a_store_equals_writing_it_at_once(tmp_path):
    to_zarr(make_mask(DATES[:4]), tmp_path / "once.zarr", append_dim="time", chunks=32)
    for part in (DATES[:1], DATES[1:3], DATES[3:4]):
        to_zarr(make_mask(part), tmp_path / "parts.zarr", append_dim="time", chunks=32)
    assert content(tmp_path / "parts.zarr") == content(tmp_path / "once.zarr")


@given(
    unit=st.integers(1, 4),
    shard=st.sampled_from([None, 2]),
    parts=st.lists(st.lists(st.integers(0, 8), min_size=1, max_size=4, unique=True), min_size=1, max_size=4),
)
def test_chunks_of_several_dates_are_read_and_written_whole(unit, shard, parts):
    store, expected = MemoryStore(), {}
    chunks = {"time": unit, "y": 16, "x": 16}
    shards = shard and {dim: size * shard for dim, size in chunks.items()}
    for number, part in enumerate(parts):
        dates = [DATES[place] for place in part]
        mask = make_mask(dates, shape=(20, 33), seed=number, chunks={"time": 2, "y": 16, "x": 33} if number else None)
        to_zarr(mask, store, append_dim="time", chunks=chunks, shards=shards)
        expected |= dict.fromkeys(dates, number)
    whole = [make_mask([date], shape=(20, 33), seed=number) for date, number in sorted(expected.items())]
    same(open_mask(store), xr.concat(whole, "time"))


@given(st.lists(st.integers(0, 40), min_size=1, unique=True), st.integers(1, 7))
def test_runs_hold_all_places_and_whole_chunks(places, unit):
    total = max(places) + 1
    found = runs(places, unit=unit, total=total)
    assert {place for start, stop in found for place in range(start, stop)} >= set(places)
    assert all(start % unit == 0 and (stop % unit == 0 or stop == total) for start, stop in found)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(found))
    assert all(any(start <= place // unit * unit < stop for place in places) for start, stop in found)


def test_nothing_is_computed_before_the_delayed_is(tmp_path):
    store = tmp_path / "m.zarr"
    to_zarr(make_mask(DATES[:2]), store, append_dim="time")
    mask = make_mask(DATES[1:3], seed=1, chunks={"time": 1, "y": 70, "x": 90})
    with dask.config.set(scheduler=lambda *args, **kwargs: pytest.fail("computed")):
        delayed = to_zarr(mask, store, append_dim="time", compute=False)
    assert xr.open_zarr(store).sizes["time"] == 2, "new dates appear when all is written"
    delayed.compute()
    same(open_mask(store), xr.concat([make_mask(DATES[:1]), mask], "time"))


def test_coordinates_that_one_side_lacks(tmp_path):
    store = tmp_path / "m.zarr"
    first = make_mask(DATES[:1]).assign_coords(sun=("time", [1.5]), orbit=("time", [3]))
    to_zarr(first, store, append_dim="time")
    second = make_mask(DATES[1:2]).drop_vars("item_id").assign_coords(orbit=("time", np.array([4], "int32")))
    to_zarr(second, store, append_dim="time")
    opened = open_mask(store)
    assert opened.item_id.values.tolist() == ["item of 2024-01-01", ""]
    assert opened.orbit.values.tolist() == [3, 4]
    np.testing.assert_array_equal(opened.sun, [1.5, np.nan])
    with pytest.raises(WriteError, match=r"coordinate 'orbit' \(int64\).*assign_coords\(orbit="):
        to_zarr(second.drop_vars("orbit"), store, append_dim="time")
    with pytest.raises(WriteError, match=r"'orbit' is float64 in the mask and int64"):
        to_zarr(second.assign_coords(orbit=("time", [4.5])), store, append_dim="time")
    with pytest.warns(UserWarning, match="no coordinates 'new': they are left out"):
        to_zarr(second.assign_coords(new=("time", [1])), store, append_dim="time")


def test_instants_finer_than_the_store(tmp_path):
    store = tmp_path / "m.zarr"
    mask = make_mask(["2024-01-01T00:00:00.123456789"])
    for _ in range(2):
        to_zarr(mask, store, append_dim="time")
    assert open_mask(store)["time"].values.tolist() == [mask["time"].values.astype("M8[us]").astype("M8[ns]").item()]


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (make_mask(DATES[:1], model="other"), "model = 'default', and this one has 'other'"),
        (make_mask(DATES[:1], settings='{"halo_px":8}'), "halo_px = 72, and this one has 8"),
        (make_mask(DATES[:1], shape=(70, 80)), r"pixels \(y, x\)"),
        (make_mask(DATES[:1], epsg=32632), "CRS = 'EPSG:32631', and this one has 'EPSG:32632'"),
    ],
)
@pytest.mark.parametrize("options", [{"append_dim": "time"}, {"region": {"time": slice(0, 1)}}])
def test_another_kind_of_mask_is_refused(tmp_path, other, match, options):
    store = tmp_path / "m.zarr"
    to_zarr(make_mask(DATES[:1]), store)
    before = content(store)
    with pytest.raises((WriteError, ArgumentError), match=rf"{match}|expected as many|Expected as many"):
        to_zarr(other, store, **options)
    assert content(store) == before


class TestRegions:
    def write(self, tmp_path, **options):
        to_zarr(make_mask(DATES[:3]), tmp_path / "m.zarr", **({"chunks": {"time": 1, "y": 32, "x": 30}} | options))
        return tmp_path / "m.zarr"

    def test_by_coordinates(self, tmp_path):
        store, other = self.write(tmp_path), make_mask(DATES[:3], seed=1)
        to_zarr(other.isel(time=[1], y=slice(32, 70), x=slice(30, 60)), store, region="auto")
        expected = make_mask(DATES[:3])
        expected[1, 32:70, 30:60] = other[1, 32:70, 30:60]
        same(open_mask(store), expected)

    def test_by_slices(self, tmp_path):
        store, other = self.write(tmp_path), make_mask(DATES[:3], seed=1, chunks={"time": 2, "y": 9, "x": 90})
        to_zarr(other.isel(y=slice(0, 32)), store, region={"y": slice(0, 32), "time": "auto"}, mode="r+")
        expected = make_mask(DATES[:3])
        expected[:, :32] = other[:, :32]
        same(open_mask(store), expected)

    def test_a_store_of_metadata_is_filled_by_regions(self, tmp_path):
        mask = make_mask(DATES[:3], chunks={"time": 1, "y": 32, "x": 30})
        to_zarr(mask, tmp_path / "m.zarr", compute=False)
        for start in range(0, 70, 32):
            to_zarr(mask.isel(y=slice(start, start + 32)), tmp_path / "m.zarr", region="auto")
        same(open_mask(tmp_path / "m.zarr"), make_mask(DATES[:3]))

    def test_regions_write_pixels_and_nothing_else(self, tmp_path):
        store = self.write(tmp_path)
        before = content(store)
        part = make_mask(DATES[:3], seed=1).isel(y=slice(0, 32)).assign_coords(item_id=("time", ["a", "b", "c"]))
        to_zarr(part, store, region="auto")
        after = content(store)
        assert {key for key in after if after[key] != before[key]} == {
            f"clouds/c/{time}/0/{x}" for time in range(3) for x in range(3)
        }

    def test_whole_chunks_or_shards(self, tmp_path):
        store, mask = self.write(tmp_path, chunks=16, shards={"time": 1, "y": 32, "x": 32}), make_mask(DATES[:3])
        with pytest.raises(ArgumentError, match=r"16:32 along 'y' cuts a chunk of 32.*'y': slice\(0, 32\)"):
            to_zarr(mask.isel(y=slice(16, 32)), store, region="auto")
        with pytest.raises(ArgumentError, match=r"0:80 along 'x' cuts.*'x': slice\(0, 90\)"):
            to_zarr(mask.isel(x=slice(0, 80)), store, region={"x": slice(0, 80)})
        to_zarr(mask.isel(y=slice(64, 70)), store, region="auto")

    @pytest.mark.parametrize(
        ("part", "region", "error", "match"),
        [
            ({"y": slice(0, 32)}, {"y": slice(0, 64)}, ArgumentError, "mask has 32"),
            ({"y": slice(0, 32)}, {"y": slice(32, 64)}, WriteError, "transform"),
            ({}, {"y": slice(0, 700)}, ArgumentError, "mask has 70"),
            ({}, {"band": slice(0, 7)}, ArgumentError, "'band' does not fit"),
            ({"time": 0}, "auto", ArgumentError, "expand_dims"),
            ({"time": [0, 2]}, "auto", ArgumentError, "side by side"),
            ({}, "all", ArgumentTypeError, "not understood"),
            ({}, {"y": 3}, ArgumentTypeError, "no slice"),
            ({}, {"y": slice(None, None, 2)}, ArgumentTypeError, "no slice"),
            ({}, {"y": slice("a", "b")}, ArgumentTypeError, "no slice"),
            ({"time": [1]}, {"time": slice(0, 1)}, WriteError, "time = "),
        ],
    )
    def test_what_is_refused(self, tmp_path, part, region, error, match):
        with pytest.raises(error, match=match):
            to_zarr(make_mask(DATES[:3]).isel(part), self.write(tmp_path), region=region)

    def test_dates_and_pixels_that_are_not_there(self, tmp_path):
        store = self.write(tmp_path)
        with pytest.raises(ArgumentError, match=r"no time = 2024-01-05.*append_dim='time'"):
            to_zarr(make_mask(DATES[4:5]), store, region="auto")
        moved = make_mask(DATES[:3])
        with pytest.raises(ArgumentError, match="no y = "):
            to_zarr(moved.assign_coords(y=moved.y + 7), store, region="auto")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mode": "a"}, "needs more.*append_dim='time'"),
        ({"mode": "r+"}, "needs more"),
        ({"mode": "w", "append_dim": "time"}, "writes a new store"),
        ({"mode": "w-", "region": "auto"}, "writes a new store"),
        ({"append_dim": "time", "region": "auto"}, "exclude each other"),
        ({"mode": "x"}, "unknown"),
        ({"append_dim": "band"}, "no such dimension"),
        ({"append_dim": "y"}, "time dimension"),
    ],
)
def test_modes_that_make_no_sense(tmp_path, options, match):
    with pytest.raises(ArgumentError, match=match):
        to_zarr(make_mask(), tmp_path / "m.zarr", **options)
    assert not list(tmp_path.iterdir())


def test_dates_that_cannot_be_told_apart(tmp_path):
    store, mask = tmp_path / "m.zarr", make_mask(DATES[:2])
    with pytest.raises(ArgumentError, match="2024-01-01 00:00:00 is there twice"):
        to_zarr(mask.isel(time=[0, 0]), store, append_dim="time")
    with pytest.raises(ArgumentError, match="no coordinate"):
        to_zarr(mask.drop_vars("time"), store, append_dim="time")
    unknown = mask.assign_coords(time=np.array(["2024-01-01", "NaT"], "M8[ns]"))
    with pytest.raises(ArgumentError, match="NaT"):
        to_zarr(unknown, store, append_dim="time")
    to_zarr(mask.isel(time=[0, 0]), store)
    with pytest.raises(WriteError, match="a date twice"):
        to_zarr(mask, store, append_dim="time")


def test_where_there_is_nothing_to_write_into(tmp_path):
    for options in ({"region": "auto"}, {"append_dim": "time", "mode": "r+"}):
        with pytest.raises(WriteError, match=r"m\.zarr holds no store"):
            to_zarr(make_mask(), tmp_path / "m.zarr", **options)
    assert not list(tmp_path.iterdir())
    xr.Dataset({"red": ("x", [1])}).to_zarr(tmp_path / "cube.zarr", consolidated=False)
    with pytest.raises(WriteError, match=r"no mask of xcloudmask\. Arrays found: red"):
        to_zarr(make_mask(), tmp_path / "cube.zarr", append_dim="time")
    xr.Dataset({"red": ("x", [1])}).to_zarr(tmp_path / "old.zarr", zarr_format=2, consolidated=False)
    with pytest.raises(WriteError, match="Zarr v2"):
        to_zarr(make_mask(), tmp_path / "old.zarr", append_dim="time")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("precious")
    with pytest.raises(WriteError, match="no Zarr store"):
        to_zarr(make_mask(), tmp_path / "folder", append_dim="time")


@pytest.mark.parametrize("names", [{}, {"chunk_key_encoding": {"name": "v2", "separator": "."}}])
def test_stores_that_xarray_wrote_can_be_appended_to(tmp_path, names):
    mask = make_mask(DATES[:2])
    mask = mask.assign_coords(item_id=mask.item_id.astype(object))
    encoding = {"chunks": (1, 70, 45), **names}
    mask.to_dataset(name="codes").to_zarr(
        tmp_path / "m.zarr", consolidated=False, zarr_format=3, encoding={"codes": encoding}
    )
    to_zarr(make_mask(DATES[1:4]), tmp_path / "m.zarr", append_dim="time")
    same(open_mask(tmp_path / "m.zarr"), make_mask(DATES[:4]))
    to_zarr(make_mask(DATES[1:2], seed=1), tmp_path / "m.zarr", region="auto")
    same(open_mask(tmp_path / "m.zarr").isel(time=[1]), make_mask(DATES[1:2], seed=1))
    assert open_mask(tmp_path / "m.zarr").name == "codes"


class Interrupted(MemoryStore):
    """Fails at the n-th chunk."""

    chunks_left = 10**6

    async def set(self, key, value, byte_range=None):
        if key.startswith("clouds/c/"):
            self.chunks_left -= 1
            if self.chunks_left < 0:
                raise OSError(28, "No space left on device")
        await super().set(key, value)


def test_a_failed_append_shows_nothing_new_and_names_overwritten_dates():
    store = Interrupted()
    to_zarr(make_mask(DATES[:2]), store, append_dim="time", chunks=32)
    store.chunks_left = 4
    with pytest.raises(WriteError, match="No space left on device"):
        to_zarr(make_mask(DATES[2:3]), store, append_dim="time")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(open_mask(store), make_mask(DATES[:2]))
    store.chunks_left = 4
    with pytest.raises(WriteError):
        to_zarr(make_mask(DATES[1:3], seed=1), store, append_dim="time")
    with pytest.warns(UserWarning, match="2024-01-02T00:00:00.* were being overwritten"):
        assert open_mask(store).sizes["time"] == 2
    store.chunks_left = 10**6
    to_zarr(make_mask(DATES[1:3], seed=1), store, append_dim="time")
    assert UNFINISHED not in zarr.open_group(store, mode="r").attrs
    same(open_mask(store), xr.concat([make_mask(DATES[:1]), make_mask(DATES[1:3], seed=1)], "time"))


def test_two_that_append_at_once_are_noticed():
    store, other = MemoryStore(), make_mask(DATES[2:3], chunks={"time": 1, "y": 70, "x": 90})
    to_zarr(make_mask(DATES[:2]), store, append_dim="time")
    delayed = to_zarr(other, store, append_dim="time", compute=False)
    to_zarr(make_mask(DATES[3:4]), store, append_dim="time")
    with pytest.raises(WriteError, match=r"changed by another writer.*type the same again"):
        delayed.compute()
    same(open_mask(store), make_mask([*DATES[:2], DATES[3]]))
    to_zarr(other, store, append_dim="time")
    same(open_mask(store), make_mask(DATES[:4]))


def test_a_cluster_of_two_processes(tmp_path):
    distributed = pytest.importorskip("distributed")
    store, chunks = tmp_path / "m.zarr", {"time": 1, "y": 32, "x": 30}
    to_zarr(make_mask(DATES[:2]), tmp_path / "alone.zarr", append_dim="time", chunks=chunks)
    to_zarr(make_mask(DATES[1:4], seed=1), tmp_path / "alone.zarr", append_dim="time")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
    ):
        to_zarr(make_mask(DATES[:2], chunks=chunks), store, append_dim="time")
        delayed = to_zarr(make_mask(DATES[1:3], seed=1, chunks=chunks), store, append_dim="time", compute=False)
        delayed.compute()
        to_zarr(make_mask(DATES[3:4], seed=1, chunks=chunks), store, append_dim="time")
        to_zarr(make_mask(DATES[3:4], seed=1, chunks=chunks), store, region="auto")
    assert content(store) == content(tmp_path / "alone.zarr")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_shares_are_appended_and_written_by_regions(tmp_path, dtype):
    def shares(dates, seed):
        codes = make_mask(dates, seed=seed, chunks={"time": 1, "y": 32, "x": 90})
        classes = {CLASS_DIM: ["clear", "thick_cloud", "thin_cloud", "cloud_shadow"]}
        return (codes == xr.DataArray(range(4), dims=CLASS_DIM, coords=classes)).astype(dtype).transpose(
            "time", CLASS_DIM, "y", "x"
        ).assign_attrs(output_style="4-class").rename("shares")  # fmt: skip

    store = tmp_path / "m.zarr"
    for part in (DATES[:2], DATES[1:3]):
        to_zarr(shares(part, seed=0), store, append_dim="time", chunks=32)
    to_zarr(shares(DATES[:3], seed=1).isel(y=slice(32, 64)), store, region="auto")
    expected = shares(DATES[:3], seed=0).compute()
    expected[:, :, 32:64] = shares(DATES[:3], seed=1)[:, :, 32:64].compute()
    opened = open_mask(store)
    assert opened.dtype == dtype
    np.testing.assert_array_equal(opened, expected)
    with pytest.raises(WriteError, match=CLASS_DIM):
        to_zarr(shares(DATES[:3], seed=1).isel({CLASS_DIM: slice(0, 2)}), store, append_dim="time")
    with pytest.raises(WriteError, match="dtype"):
        to_zarr(shares(DATES[:3], seed=1).astype("float32" if dtype == np.uint8 else "uint8"), store, append_dim="time")


def test_a_mask_without_time_is_written_by_regions(tmp_path):
    one, other = make_mask(DATES[:1])[0], make_mask(DATES[1:2])[0]
    to_zarr(one, tmp_path / "m.zarr", chunks=32)
    with pytest.raises(WriteError, match="time = "):
        to_zarr(other.isel(x=slice(32, 64)), tmp_path / "m.zarr", region="auto")
    to_zarr(other.drop_vars("time").isel(x=slice(32, 64)), tmp_path / "m.zarr", region="auto")
    np.testing.assert_array_equal(open_mask(tmp_path / "m.zarr")[:, 32:64], other[:, 32:64])
    np.testing.assert_array_equal(open_mask(tmp_path / "m.zarr")[:, :32], one[:, :32])


def test_stores_of_version_2_are_opened(tmp_path):
    mask = make_mask(DATES[:1]).drop_vars("item_id")
    mask.to_dataset().to_zarr(tmp_path / "m.zarr", zarr_format=2, consolidated=False)
    np.testing.assert_array_equal(open_mask(tmp_path / "m.zarr"), mask)
