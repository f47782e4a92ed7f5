"""Zarr stores: same codes, dtype, CRS and coordinates back; whole chunks written; errors that name the target."""

import warnings

import dask
import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st

from xcloudmask.classes import CLASS_DIM, STYLES, mask_attrs
from xcloudmask.errors import ArgumentError, ArgumentTypeError, NotACubeError, ReadError, WriteError
from xcloudmask.io import open_mask, to_zarr
from xcloudmask.io._chunks import plan_write

CRS_ATTRS = {"crs_wkt": "", "spatial_ref": ""}


@pytest.fixture(scope="module", autouse=True)
def projection():
    from odc.geo import CRS

    CRS_ATTRS.update(dict.fromkeys(CRS_ATTRS, CRS("EPSG:32631").to_wkt()))


def make_mask(shape=(2, 70, 90), *, chunks=None, georeferenced=True):
    rng = np.random.default_rng(0)
    codes = rng.choice(np.array([0, 1, 2, 3, 255], np.uint8), shape)
    coords = {"time": np.array(["2024-01-01T10:20:30.123456", "2024-01-06"], "M8[ns]")}
    if georeferenced:
        coords |= {
            "y": 5_000_000.0 - 20 * np.arange(shape[1]),
            "x": 600_000.0 + 20 * np.arange(shape[2]),
            "spatial_ref": ((), 0, CRS_ATTRS),
        }
    attrs = mask_attrs(STYLES["4-class"]) | {"model": "default"}
    mask = xr.DataArray(codes, dims=("time", "y", "x"), coords=coords, name="clouds", attrs=attrs)
    return mask if chunks is None else mask.chunk(chunks)


def stored_array(store, name="clouds"):
    return zarr.open_group(store, mode="r")[name]


@pytest.mark.parametrize("chunks", [None, {"time": 1, "y": 32, "x": 32}])
def test_round_trip(tmp_path, chunks):
    mask = make_mask(chunks=chunks)
    target = tmp_path / "masks.zarr"
    assert to_zarr(mask, target) == target
    opened = open_mask(target)
    assert opened.dtype == np.uint8
    assert isinstance(opened.data, da.Array)
    xr.testing.assert_identical(opened.compute(), mask.compute())
    assert opened.attrs["flag_values"].dtype == np.uint8
    assert opened.rio.crs.to_epsg() == 32631
    assert opened.rio.transform() == mask.rio.transform()


def test_other_readers_see_codes_and_not_floats(tmp_path):
    to_zarr(make_mask(), tmp_path / "m.zarr")
    plain = xr.open_zarr(tmp_path / "m.zarr", consolidated=False)
    assert plain["clouds"].dtype == np.uint8
    assert plain["clouds"].attrs["nodata"] == 255
    array = stored_array(tmp_path / "m.zarr")
    assert array.metadata.zarr_format == 3
    assert array.fill_value == 255
    assert "_FillValue" not in array.attrs
    assert array.attrs["grid_mapping"] == "spatial_ref"
    attrs = plain.attrs
    assert attrs["proj:code"] == "EPSG:32631"
    assert attrs["spatial:dimensions"] == ["y", "x"]
    assert attrs["spatial:shape"] == [70, 90]
    assert attrs["spatial:transform"] == [20.0, 0.0, 599_990.0, 0.0, -20.0, 5_000_010.0]
    assert {convention["name"] for convention in attrs["zarr_conventions"]} == {"proj:", "spatial:"}


def test_all_clear_chunks_are_stored_and_nodata_chunks_are_not(tmp_path):
    mask = make_mask()
    mask[0], mask[1] = 0, 255
    to_zarr(mask, tmp_path / "m.zarr")
    assert stored_array(tmp_path / "m.zarr").nchunks_initialized == 1
    xr.testing.assert_identical(open_mask(tmp_path / "m.zarr").compute(), mask)


def test_stale_encoding_is_dropped_and_the_mask_is_not_touched(tmp_path):
    to_zarr(make_mask(), tmp_path / "one.zarr", chunks=16)
    mask = open_mask(tmp_path / "one.zarr").isel(y=slice(3, 60)).chunk({"time": 2, "y": 30, "x": 30})
    mask.encoding |= {"chunks": (1, 16, 16), "scale_factor": 2.0, "_FillValue": 9, "dtype": "int16"}
    mask.attrs["scale_factor"] = 0.5
    before = repr((mask.encoding, mask.attrs, mask["time"].encoding))
    to_zarr(mask, tmp_path / "two.zarr")
    assert repr((mask.encoding, mask.attrs, mask["time"].encoding)) == before
    assert stored_array(tmp_path / "two.zarr").chunks == (2, 30, 30)
    again = open_mask(tmp_path / "two.zarr")
    assert again.dtype == np.uint8
    np.testing.assert_array_equal(again, mask)


def test_irregular_dask_chunks_are_made_regular(tmp_path):
    mask = make_mask(chunks={"time": 1, "y": (20, 33, 17), "x": (10, 80)})
    to_zarr(mask, tmp_path / "m.zarr")
    assert stored_array(tmp_path / "m.zarr").chunks == (1, 33, 80)
    xr.testing.assert_identical(open_mask(tmp_path / "m.zarr").compute(), mask.compute())


def test_shards(tmp_path):
    mask = make_mask(chunks={"time": 1, "y": 50, "x": 50})
    to_zarr(mask, tmp_path / "m.zarr", chunks=8, shards={"y": 32, "x": 32})
    array = stored_array(tmp_path / "m.zarr")
    assert (array.chunks, array.shards) == ((1, 8, 8), (1, 32, 32))
    opened = open_mask(tmp_path / "m.zarr")
    assert opened.chunksizes["y"] == (32, 32, 6)
    xr.testing.assert_identical(opened.compute(), mask.compute())


def test_nothing_is_computed_before_the_delayed_is(tmp_path):
    mask = make_mask(chunks={"time": 1, "y": 32, "x": 32})
    with dask.config.set(scheduler=lambda *args, **kwargs: pytest.fail("computed")):
        delayed = to_zarr(mask, tmp_path / "m.zarr", compute=False)
    assert stored_array(tmp_path / "m.zarr").nchunks_initialized == 0
    delayed.compute()
    xr.testing.assert_identical(open_mask(tmp_path / "m.zarr").compute(), mask.compute())


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_percent_and_probability_cubes(tmp_path, dtype):
    shares = xr.DataArray(
        np.arange(2 * 4 * 5 * 6).reshape(2, 4, 5, 6).astype(dtype),
        dims=("time", CLASS_DIM, "y", "x"),
        coords={CLASS_DIM: ["clear", "thick_cloud", "thin_cloud", "cloud_shadow"]},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_zarr(shares, tmp_path / "m.zarr")
    opened = open_mask(tmp_path / "m.zarr")
    assert opened.dtype == dtype
    assert opened.name == "cloud_mask"
    assert opened[CLASS_DIM].values.tolist() == shares[CLASS_DIM].values.tolist()
    np.testing.assert_array_equal(opened, shares)


def test_coordinates_of_a_loader(tmp_path):
    mask = make_mask(chunks={"time": 1}).drop_vars("spatial_ref")
    mask = mask.assign_coords(
        epsg=32631,
        id=("time", ["a", "bb"]),
        platform=("time", np.array(["s2a", "s2b"], object)),
        geometry=("time", np.array([{1}, None], object)),
        angle=("time", da.from_array(np.array([1.5, np.nan]), chunks=1)),
    )
    to_zarr(mask, tmp_path / "m.zarr")
    opened = open_mask(tmp_path / "m.zarr")
    assert opened.rio.crs.to_epsg() == 32631
    assert opened["id"].values.tolist() == ["a", "bb"]
    assert opened["platform"].values.tolist() == ["s2a", "s2b"]
    assert "geometry" not in opened.coords
    np.testing.assert_array_equal(opened["angle"], [1.5, np.nan])


def test_texts_that_chunking_made_lazy(tmp_path):
    mask = make_mask(chunks={"time": 1}).assign_coords(item_id=("time", np.array(["a", "bb"], object)))
    mask = mask.chunk(time=1)
    assert mask["item_id"].chunks is not None
    to_zarr(mask, tmp_path / "m.zarr")
    assert open_mask(tmp_path / "m.zarr")["item_id"].values.tolist() == ["a", "bb"]
    with pytest.warns(UserWarning, match=r"'item_id'.*load\(\)"):
        to_zarr(mask, tmp_path / "later.zarr", compute=False)


def test_without_georeference(tmp_path):
    mask = make_mask(georeferenced=False).isel(time=0)
    to_zarr(mask, tmp_path / "m.zarr")
    opened = open_mask(tmp_path / "m.zarr")
    xr.testing.assert_identical(opened.compute(), mask)
    assert "spatial:transform" not in xr.open_zarr(tmp_path / "m.zarr", consolidated=False).attrs


def test_an_existing_store_is_refused_or_replaced(tmp_path):
    target = tmp_path / "m.zarr"
    to_zarr(make_mask(), target)
    with pytest.raises(WriteError, match=r"m\.zarr exists.*mode='w'"):
        to_zarr(make_mask(), str(target))
    other = make_mask().isel(time=[0])
    to_zarr(other, target, mode="w")
    assert open_mask(target).sizes["time"] == 1


def test_a_folder_that_is_no_store_is_never_emptied(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(WriteError, match="no Zarr store"):
        to_zarr(make_mask(), tmp_path, mode="w")
    assert (tmp_path / "thesis.tex").exists()


def test_an_unwritable_target_is_named(tmp_path):
    blocker = tmp_path / "a_file"
    blocker.write_text("")
    with pytest.raises(WriteError, match=r"a_file/m\.zarr cannot be written"):
        to_zarr(make_mask(), blocker / "m.zarr")


def broken_block(block):
    if block.size:
        raise ReadError("scene.tif cannot be read")
    return block


def test_errors_of_the_pixels_pass_as_they_are(tmp_path):
    mask = make_mask(chunks={"time": 1})
    broken = mask.copy(data=mask.data.map_blocks(broken_block, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)))
    with pytest.raises(ReadError, match=r"scene\.tif"):
        to_zarr(broken, tmp_path / "m.zarr")


def test_wrong_arguments(tmp_path):
    target, mask = tmp_path / "m.zarr", make_mask()
    with pytest.raises(NotACubeError):
        to_zarr(mask.drop_attrs(), target)
    with pytest.raises(NotACubeError):
        to_zarr(mask.to_dataset(), target)
    with pytest.raises(ArgumentError, match="mode='a'"):
        to_zarr(mask, target, mode="a")
    with pytest.raises(ArgumentError, match="no dimension 'band'"):
        to_zarr(mask, target, chunks={"band": 1})
    with pytest.raises(ArgumentError, match="too small"):
        to_zarr(mask, target, chunks=0)
    with pytest.raises(ArgumentTypeError, match="not understood"):
        to_zarr(mask, target, chunks="auto")
    with pytest.raises(ArgumentTypeError, match="str"):
        to_zarr(mask, target, chunks={"y": "8"})
    with pytest.raises(ArgumentError, match=r"multiple of chunks=8.*'y': 16"):
        to_zarr(mask, target, chunks=8, shards={"y": 12})
    assert not target.exists()


def test_what_holds_no_mask_is_refused(tmp_path):
    with pytest.raises(ReadError, match="nowhere"):
        open_mask(tmp_path / "nowhere.zarr")
    xr.Dataset({"red": ("x", [1])}).to_zarr(tmp_path / "cube.zarr", consolidated=False)
    with pytest.raises(ReadError, match="red"):
        open_mask(tmp_path / "cube.zarr")


sizes_of_axis = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@given(sizes_of_axis, st.none() | st.integers(1, 50), st.none() | st.integers(1, 4))
def test_no_two_tasks_write_one_file(axis, chunk, shard_factor):
    total = sum(axis)
    shards = None if shard_factor is None else shard_factor * (chunk or 7)
    plan = plan_write(
        {"y": total, "x": 3}, spatial=("y", "x"), dask_chunks=(tuple(axis), (3,)), chunks=chunk and {"y": chunk},
        shards=shards and {"y": shards},
    )  # fmt: skip
    written = (plan.dask_chunks or (tuple(axis), (3,)))[0]
    unit = (plan.shards or plan.chunks)[0]
    assert sum(written) == total
    assert all(border % unit == 0 for border in np.cumsum(written)[:-1])
    assert plan.shards is None or plan.shards[0] % plan.chunks[0] == 0
