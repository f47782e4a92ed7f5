import math

import dask
import numpy as np
import pytest
import xarray as xr
from cubes import odc_dataset, rioxarray_array, stackstac_array
from hypothesis import given
from hypothesis import strategies as st

from xcloudmask.bands import select_bands
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError, NotACubeError
from xcloudmask.radiometry import (
    band_scales,
    brightness_temperature,
    known_scale,
    nodata_values,
    radiance_to_reflectance,
    reflectance,
    to_reflectance,
    toa_reflectance_scale,
)

ROLES = ("red", "green", "nir")


@pytest.fixture(autouse=True)
def _nothing_is_computed():
    def fail(*args, **kwargs):
        raise AssertionError("a dask array was computed")

    with dask.config.set(scheduler=fail):
        yield


def choose(cube, **options):
    return select_bands(cube, roles=ROLES, optional=("nir",), **options)


def declared(*, dtype="uint16", encoding=None, **attrs):
    cube = xr.Dataset({role: (("y", "x"), np.ones((4, 4), dtype), attrs) for role in ROLES})
    for role in ROLES:
        cube[role].encoding.update(encoding or {})
    return choose(cube)


# --- nodata ---


@pytest.mark.parametrize("key", ["nodata", "_FillValue", "missing_value", "fill_value"])
@pytest.mark.parametrize("value", [-9999, np.int16(-9999), np.array([-9999]), "-9999", (-9999, -9999)])
def test_nodata_of_attributes(key, value):
    assert nodata_values(declared(dtype="int16", **{key: value})) == (-9999.0,) * 3


@pytest.mark.parametrize("value", [None, "none", (0, 1), [], True, b"x"])
def test_nodata_attributes_that_declare_nothing(value):
    assert nodata_values(declared(nodata=value)) == (None,) * 3


def test_nodata_of_the_loaders():
    assert nodata_values(choose(odc_dataset())) == (0.0,) * 3
    assert nodata_values(choose(odc_dataset(nodata=None))) == (None,) * 3
    assert nodata_values(choose(rioxarray_array(nodata=65535))) == (65535.0,) * 3
    assert nodata_values(choose(stackstac_array())) == (None,) * 3


def test_nodata_of_the_encoding():
    assert nodata_values(declared(encoding={"_FillValue": 0})) == (0.0,) * 3
    masked = nodata_values(declared(dtype="float32", encoding={"_FillValue": 0}))
    assert all(math.isnan(value) for value in masked), "0 became NaN on reading; a 0 that is left is a value"


@pytest.mark.parametrize(
    ("dtype", "nodata", "encoding"),
    [
        ("uint16", 0, {"scale_factor": 1e-4, "add_offset": -0.1}),
        ("int16", -9999, {"scale_factor": 1e-4}),
        ("uint16", 65535, {"scale_factor": 2.75e-5, "add_offset": -0.2}),
    ],
)
def test_nodata_of_the_loaders_is_scaled_as_xarray_scaled_the_pixels(dtype, nodata, encoding):
    stored = xr.DataArray(np.array([[nodata, 1000]], dtype), dims=("y", "x"), attrs={"nodata": nodata, **encoding})
    decoded = xr.decode_cf(xr.Dataset(dict.fromkeys(("red", "green", "nir"), stored)))
    (value, *_) = nodata_values(choose(decoded))
    assert (decoded["red"].values == np.array(value, decoded["red"].dtype)).tolist() == [[True, False]]


def test_nodata_of_the_sensor_is_scaled_where_the_pixels_are():
    encoding = {"scale_factor": 1e-4, "add_offset": -0.1}
    assert nodata_values(declared(dtype="float64", encoding=encoding), sensor="sentinel-2-l2a") == (-0.1,) * 3


def test_nodata_written_after_decoding_means_the_floats():
    encoding = {"scale_factor": 1e-4, "add_offset": -0.1}
    assert nodata_values(declared(dtype="float32", encoding=encoding, _FillValue=-1)) == (-1.0,) * 3


def test_nodata_of_the_sensor_comes_last():
    assert nodata_values(declared(), sensor="sentinel-2-l2a") == (0.0,) * 3
    assert nodata_values(declared(), sensor="hls-l30") == (-9999.0,) * 3
    assert nodata_values(declared(nodata=7), sensor="hls-l30") == (7.0,) * 3


def test_nodata_argument_comes_first():
    selection = declared(nodata=7)
    assert nodata_values(selection, nodata=0) == (0.0,) * 3
    assert nodata_values(selection, nodata={"red": np.float32(1)}) == (1.0, 7.0, 7.0)
    assert nodata_values(selection, nodata={"red": None}) == (None, 7.0, 7.0)
    assert all(math.isnan(value) for value in nodata_values(selection, nodata=math.nan))


def test_nodata_of_a_band_given_up():
    assert nodata_values(choose(odc_dataset(), bands={"nir": None}), nodata=0) == (0.0, 0.0, None)


@pytest.mark.parametrize("value", ["0", True, [0], {"red": "0"}, {"red": False}])
def test_nodata_of_wrong_type(value):
    with pytest.raises(ArgumentTypeError, match="Expected a number"):
        nodata_values(declared(), nodata=value)


def test_nodata_of_unknown_role():
    with pytest.raises(ArgumentError, match="has the role 'swir'"):
        nodata_values(declared(), nodata={"swir": 0})


# --- scale and offset ---


def test_attributes_are_still_to_be_applied():
    scale, offset = known_scale(declared(scale_factor=1e-4, add_offset=-0.1))
    assert scale == (1e-4,) * 3
    assert offset == (-0.1,) * 3
    # masked=True of rioxarray makes floats of DN and leaves the scale in the attributes.
    assert known_scale(declared(dtype="float32", scale_factor=1e-4)) == ((1e-4,) * 3, (0.0,) * 3)


def test_encoding_was_applied():
    encoding = {"scale_factor": 2.75e-5, "add_offset": -0.2}
    assert known_scale(declared(dtype="float32", encoding=encoding)) == ((1.0,) * 3, (0.0,) * 3)
    assert known_scale(declared(dtype="uint16", encoding=encoding)) is None, "integers that were scaled: contradictory"


def test_nothing_declared_is_unknown():
    assert known_scale(declared()) is None
    assert known_scale(choose(odc_dataset())) is None
    assert known_scale(choose(stackstac_array())) is None


def test_scale_of_one_declares_nothing():
    assert known_scale(choose(rioxarray_array())) is None
    assert known_scale(declared(dtype="float32", encoding={"scale_factor": 1.0, "add_offset": 0.0})) is None
    assert known_scale(choose(rioxarray_array(bands=ROLES)), sensor="hls-l30") == ((1e-4,) * 3, (0.0,) * 3)


@pytest.mark.parametrize("attrs", [{"scale_factor": "x"}, {"scale_factor": -1.0}, {"scale_factor": math.nan}])
def test_nonsense_is_unknown(attrs):
    assert known_scale(declared(**attrs)) is None


@pytest.mark.parametrize("units", ["W m-2 sr-1 um-1", "K", "%"])
def test_other_quantities_are_unknown(units):
    assert known_scale(declared(scale_factor=0.01, units=units)) is None
    assert known_scale(declared(units=units), sensor="landsat-oli-c2-l2") is None
    assert known_scale(declared(scale_factor=0.01, units="1")) is not None


def test_sensor_tables():
    assert known_scale(declared(), sensor="landsat-oli-c2-l2") == ((2.75e-5,) * 3, (-0.2,) * 3)
    assert known_scale(declared(dtype="float32"), sensor="landsat-oli-c2-l2") is None, "scaled or not: unknown"
    for sensor in ("sentinel-2-l2a", "sentinel-2-l1c", "landsat-oli-c2-l1", "planetscope-8b"):
        assert known_scale(declared(), sensor=sensor) is None


def test_attributes_go_before_the_sensor():
    assert known_scale(declared(scale_factor=1e-4), sensor="landsat-oli-c2-l2") == ((1e-4,) * 3, (0.0,) * 3)


def test_band_given_up_has_scale_zero():
    selection = choose(odc_dataset(), bands={"nir": None})
    assert known_scale(selection, sensor="hls-l30") == ((1e-4, 1e-4, 0.0), (0.0,) * 3)


def test_one_unknown_band_is_enough():
    cube = odc_dataset()
    cube["red"].attrs["scale_factor"] = 1e-4
    assert known_scale(choose(cube)) is None


def test_tuples_of_rioxarray():
    cube = rioxarray_array()
    del cube.attrs["scale_factor"], cube.attrs["add_offset"]
    cube.attrs.update(scales=(1.0, 2.0, 3.0, 4.0), offsets=(0.0, 0.1, 0.2, 0.3))
    assert known_scale(choose(cube)) == ((3.0, 2.0, 4.0), (0.2, 0.1, 0.3))
    cube.attrs["scales"] = (1.0,)
    assert known_scale(choose(cube)) is None


RASTER_BANDS = [{"scale": 1e-4, "offset": -0.1, "nodata": 0}] * 4


def test_raster_bands_of_stackstac():
    integers = stackstac_array(dtype="uint16", raster_bands=RASTER_BANDS)
    assert known_scale(choose(integers)) == ((1e-4,) * 3, (-0.1,) * 3)
    one = integers.drop_vars("raster:bands").assign_coords({"raster:bands": xr.Variable((), RASTER_BANDS[0])})
    assert known_scale(choose(one)) == ((1e-4,) * 3, (-0.1,) * 3)
    floats = stackstac_array(raster_bands=RASTER_BANDS)
    assert known_scale(choose(floats)) is None, "rescaled by default, but not if asked not to: unknown"
    without = stackstac_array(dtype="uint16", raster_bands=[{"nodata": 0}] * 4)
    assert known_scale(choose(without)) is None


@pytest.mark.parametrize(("unit", "known"), [("W/(m2 sr nm)", False), ("%", False), ("1", True), (None, True)])
def test_raster_bands_of_radiance_are_no_reflectance(unit, known):
    cube = stackstac_array(dtype="uint16", raster_bands=[{"scale": 0.01, "unit": unit}] * 4)
    assert known_scale(choose(cube)) == (((0.01,) * 3, (0.0,) * 3) if known else None)


def test_raster_bands_follow_the_bands():
    items = [{"scale": float(index + 2)} for index in range(4)]
    cube = stackstac_array(dtype="uint16", raster_bands=items)
    assert known_scale(choose(cube)) == ((4.0, 3.0, 5.0), (0.0,) * 3)
    assert known_scale(choose(cube, bands={"nir": None})) == ((4.0, 3.0, 0.0), (0.0,) * 3)


def test_raster_bands_of_variables():
    assert known_scale(declared(**{"raster:bands": [{"scale": 1e-4, "offset": 0}]})) == ((1e-4,) * 3, (0.0,) * 3)


def test_earth_search_offsets_are_not_trusted():
    cube = stackstac_array(dtype="uint16", raster_bands=RASTER_BANDS)
    flagged = cube.assign_coords({"earthsearch:boa_offset_applied": ("time", [True, False])})
    assert known_scale(choose(flagged)) is None


# --- reflectance ---


def test_reflectance_casts_before_the_arithmetic():
    dn = xr.DataArray(np.array([[0, 900], [1000, 2000]], "uint16"), dims=("y", "x"), attrs={"nodata": 0, "title": "t"})
    result = reflectance(dn, scale=1e-4, offset=-0.1)
    np.testing.assert_allclose(result, [[np.nan, -0.01], [0.0, 0.1]], atol=1e-7)
    assert result.dtype == np.float32
    assert result.attrs == {"title": "t", "units": "1"}
    assert dn.attrs == {"nodata": 0, "title": "t"}


def test_reflectance_is_lazy_and_keeps_coordinates():
    cube = odc_dataset(chunks=32, nodata_fraction=0.1)["red"]
    result = reflectance(cube, scale=2.75e-5, offset=-0.2, nodata=0)
    assert result.chunks == cube.chunks
    assert set(result.coords) == set(cube.coords)
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(np.isnan(result.values), cube.values == 0)


@pytest.mark.parametrize(("dtype", "expected"), [("int16", "float32"), ("int32", "float64"), ("float64", "float64")])
def test_reflectance_dtype(dtype, expected):
    assert reflectance(xr.DataArray(np.ones((2, 2), dtype)), scale=1.0, offset=0.0).dtype == expected


# --- scale and offset per time step ---


def dated(cube, gains, offsets, *, names=ROLES):
    coords = {f"{name}_scale_factor": ("time", gains) for name in names}
    return cube.assign_coords(coords | {f"{name}_add_offset": ("time", offsets) for name in names})


def pairs(cube, **options):
    """(gain, offset) of each band, as lists over time."""
    return [
        None if one is None else (one.gain.values.tolist(), one.offset.values.tolist())
        for one in band_scales(choose(cube), **options)
    ]


def test_coordinates_along_time():
    cube = dated(odc_dataset(times=3), [1e-4, 1e-4, math.nan], [0.0, -0.1, math.nan])
    (gain, offset), *_ = pairs(cube)
    np.testing.assert_array_equal(gain, [1e-4, 1e-4, math.nan])
    np.testing.assert_array_equal(offset, [0.0, -0.1, math.nan])
    assert [one.known.values.tolist() for one in band_scales(choose(cube))] == [[True, True, False]] * 3
    assert known_scale(choose(cube)) is None, "it differs from date to date"
    assert known_scale(choose(cube.isel(time=[1]))) == ((1e-4,) * 3, (-0.1,) * 3)
    assert known_scale(choose(cube.isel(time=1))) == ((1e-4,) * 3, (-0.1,) * 3), "scalars without time"


def test_coordinates_win_over_attributes_and_stay_with_their_band():
    cube = dated(odc_dataset(times=2), [2.0, 3.0], [0.0, 0.0], names=("red",))
    for name in ROLES:
        cube[name].attrs["scale_factor"] = 5.0
    assert pairs(cube) == [([2.0, 3.0], [0.0, 0.0]), (5.0, 0.0), (5.0, 0.0)]
    unknown = dated(cube, [math.nan, math.nan], [0.0, 0.0], names=("red",))
    assert known_scale(choose(unknown.isel(time=[0]))) is None, "NaN is unknown, whatever the attributes say"


def test_one_coordinate_without_the_other_and_one_with_zero():
    cube = odc_dataset(times=2).assign_coords(red_scale_factor=("time", [1.0, 2.0]))
    assert pairs(cube)[0] == ([1.0, 2.0], 0.0)
    declared = dated(odc_dataset(times=2, dtype="float32"), [1.0, 1.0], [0.0, 0.0])
    assert known_scale(choose(declared)) == ((1.0,) * 3, (0.0,) * 3), "said of this cube, not by habit"


@pytest.mark.parametrize("dims", [("time",), ("band",), ("time", "band"), ("band", "time")])
def test_coordinates_of_stacks(dims):
    sizes = {"time": 2, "band": 4}
    values = np.arange(1.0, 1 + math.prod(sizes[dim] for dim in dims)).reshape([sizes[dim] for dim in dims])
    cube = stackstac_array(dtype="uint16").assign_coords(scale_factor=(dims, values), add_offset=(dims, -values))
    expected = xr.DataArray(values, dims=dims).broadcast_like(xr.DataArray(np.zeros((2, 4)), dims=("time", "band")))
    for role, band in zip(ROLES, (2, 1, 3), strict=True):
        gain, offset = pairs(cube)[ROLES.index(role)]
        np.testing.assert_array_equal(np.broadcast_to(gain, 2), expected.transpose("time", "band")[:, band])
        np.testing.assert_array_equal(offset, -np.asarray(gain))
    without = band_scales(choose(cube, bands={"nir": None}))
    np.testing.assert_array_equal(without[0].gain, band_scales(choose(cube))[0].gain)


def test_coordinates_of_a_dataset_made_a_stack():
    cube = dated(odc_dataset(times=2), [1e-4, 2e-4], [0.0, -0.1], names=("green",))
    stack = cube.to_dataarray("band")
    assert pairs(stack) == [None, ([1e-4, 2e-4], [0.0, -0.1]), None]


@pytest.mark.parametrize("coord", [("y", np.ones(64)), ("time", ["a", "b"]), ("time", [0.0, -1.0])])
def test_coordinates_that_make_no_sense_are_unknown(coord):
    cube = odc_dataset(times=2).assign_coords(red_scale_factor=coord)
    cube["red"].attrs["scale_factor"] = 1e-4
    found = band_scales(choose(cube))[0]
    assert found is None or not found.known.values.any()
    assert known_scale(choose(cube)) is None


def test_dask_coordinates_are_neither_computed_nor_forgotten():
    cube = dated(odc_dataset(times=2), [1e-4, 1e-4], [0.0, -0.1]).chunk({"time": 1})
    assert all(one.lazy for one in band_scales(choose(cube)))
    assert known_scale(choose(cube)) is None


def test_the_argument_goes_first():
    cube = dated(odc_dataset(times=2), [1e-4, 1e-4], [0.0, -0.1])
    assert known_scale(choose(cube), scale=1e-3) == ((1e-3,) * 3, (0.0,) * 3)
    assert known_scale(choose(cube), scale=[1e-3, -0.2]) == ((1e-3,) * 3, (-0.2,) * 3)
    cube = declared(scale_factor=1e-4, units="W m-2 sr-1 um-1")
    assert known_scale(cube, scale={"red": 1e-3}) is None
    assert known_scale(cube, scale={"red": 1e-3, "green": 1e-3, "nir": 1e-3}) is not None


# --- whole cubes ---


def computed(cube):
    with dask.config.set(scheduler="synchronous"):
        return cube.compute()


def test_to_reflectance_of_a_dataset():
    cube = dated(odc_dataset(times=2, nodata_fraction=0.1, chunks=32), [1e-4, 2e-4], [0.0, -0.1])
    cube = cube.assign(SCL=cube.red, cloud_mask=cube.red.assign_attrs(flag_values=[0, 1])).assign_attrs(sensor="x")
    before = cube.copy(deep=True)
    result = cube.cloudmask.to_reflectance()
    assert result.attrs == {"sensor": "x"}
    for name in ROLES:
        assert result[name].chunks == cube[name].chunks
        assert result[name].dtype == np.float32
        assert result[name].attrs == {"units": "1"}
        values = computed(cube[name]).values.astype(float)
        expected = values * np.array([1e-4, 2e-4])[:, None, None] + np.array([0, -0.1])[:, None, None]
        expected = np.where(values == 0, np.nan, expected)
        np.testing.assert_allclose(computed(result[name]), expected, rtol=1e-5, atol=1e-7)
    for name in ("SCL", "cloud_mask"):
        xr.testing.assert_identical(computed(result[name]).variable, computed(cube[name]).variable)
    assert not [name for name in result.coords if "scale_factor" in name or "add_offset" in name]
    assert set(result.coords) == {"time", "y", "x", "spatial_ref"}
    xr.testing.assert_identical(computed(cube), computed(before))


def test_to_reflectance_of_stacks():
    cube = stackstac_array(
        dtype="uint16", raster_bands=[{"scale": 1e-4, "offset": -0.1 * i} for i in range(4)], chunks=32
    )
    result = to_reflectance(cube, nodata=0)
    assert result.dims == cube.dims
    assert result.chunks == cube.chunks
    assert result.name == cube.name
    assert "raster:bands" not in result.coords
    expected = computed(cube).values * 1e-4 - 0.1 * np.arange(4)[:, None, None]
    np.testing.assert_allclose(computed(result), expected, atol=1e-6)
    by_name = to_reflectance(cube, scale={"B02": 1.0, "B03": (2.0, 1.0)})
    np.testing.assert_allclose(computed(by_name)[:, 1], computed(cube)[:, 1] * 2.0 + 1)
    np.testing.assert_allclose(computed(by_name)[:, 3], expected[:, 3], atol=1e-6)


def test_to_reflectance_of_one_band():
    cube = dated(odc_dataset(times=2), [1e-4, 2e-4], [0.0, -0.1])
    red = to_reflectance(cube["red"])
    assert red.name == "red"
    xr.testing.assert_identical(red, to_reflectance(cube)["red"])
    unnamed = to_reflectance(cube["red"].rename(None), scale=1e-4)
    assert unnamed.name is None
    scene = to_reflectance(cube.isel(time=0))
    xr.testing.assert_allclose(scene.red, to_reflectance(cube).red[0])


def test_a_dataset_around_a_stack():
    stack = rioxarray_array(times=2)
    assert stack.dims == ("time", "band", "y", "x")
    result = to_reflectance(stack.to_dataset(name="image"), scale=1e-4)
    np.testing.assert_allclose(result["image"], np.where(stack == 0, np.nan, stack * 1e-4), rtol=1e-6)


def test_bands_with_and_without_time():
    cube = odc_dataset(times=2)
    mixed = cube.assign(blue=cube.red[0].drop_vars("time"), index=("time", [1, 2]))
    result = to_reflectance(
        mixed, scale={"red": 1e-4, "green": 1e-4, "nir": 2e-4, "blue": (1e-4, -0.1)}, nodata={"red": 7}
    )
    np.testing.assert_allclose(result.blue, cube.red[0] * 1e-4 - 0.1, atol=1e-6)
    np.testing.assert_allclose(result.nir, cube.nir * 2e-4, rtol=1e-5)
    xr.testing.assert_identical(result["index"], mixed["index"])
    with pytest.raises(ArgumentError, match="has the role 'swir'"):
        to_reflectance(cube, scale=1e-4, nodata={"swir": 0})


def test_what_was_converted_is_known():
    cube = dated(odc_dataset(times=2), [1e-4, 2e-4], [0.0, -0.1])
    result = to_reflectance(cube)
    assert known_scale(choose(result)) == ((1.0,) * 3, (0.0,) * 3)
    assert known_scale(choose(result.isel(time=[0]).chunk())) is not None
    assert known_scale(choose(result * 10_000)) is None, "calculated with: not reflectance any more"


def test_results_are_written_as_they_are(tmp_path):
    result = to_reflectance(dated(odc_dataset(times=2, nodata_fraction=0.1), [1e-4, 2e-4], [0.0, -0.1]))
    result.to_netcdf(tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc", decode_coords="all") as again:
        xr.testing.assert_equal(again.load(), result)


@pytest.mark.parametrize("cube", [odc_dataset(), rioxarray_array(), stackstac_array()])
def test_an_unknown_scale_is_refused(cube):
    with pytest.raises(InputError, match=r"The scale of '(red|B02)' is not known.*Expected.*Type to_reflectance"):
        to_reflectance(cube)
    with pytest.raises(InputError, match="sensor 'sentinel-2-l2a' does not fix it"):
        to_reflectance(odc_dataset(), sensor="sentinel-2-l2a")


def test_refusals_say_what_to_type():
    cube = dated(odc_dataset(times=3), [1e-4, math.nan, math.nan], [0.0] * 3)
    with pytest.raises(InputError, match=r"not known for 2 of 3 dates \(2024-06-08, 2024-06-13\)"):
        to_reflectance(cube)
    with pytest.raises(InputError, match="dask arrays, which are not computed"):
        to_reflectance(cube.chunk())
    with pytest.raises(InputError, match="units 'W m-2 sr-1 um-1'"):
        to_reflectance(odc_dataset()["red"].assign_attrs(units="W m-2 sr-1 um-1", scale_factor=0.01))
    with pytest.raises(ArgumentError, match="has the band 'swir'"):
        to_reflectance(odc_dataset(), scale={"swir": 1.0})
    with pytest.raises(NotACubeError, match="Expected an xarray"):
        to_reflectance(np.zeros((3, 3)))
    with pytest.raises(NotACubeError, match="No variable of the Dataset is a band"):
        to_reflectance(xr.Dataset({"SCL": (("y", "x"), np.zeros((2, 2)))}))


def test_surface_temperature_of_level_2():
    cube = odc_dataset(bands=("SR_B4", "ST_B10"), chunks=32)
    result = to_reflectance(cube, sensor="landsat-oli-c2-l2")
    assert result["ST_B10"].attrs["units"] == "K"
    np.testing.assert_allclose(computed(result)["ST_B10"], computed(cube)["ST_B10"] * 0.00341802 + 149.0, rtol=1e-5)
    np.testing.assert_allclose(computed(result)["SR_B4"], computed(cube)["SR_B4"] * 2.75e-5 - 0.2, atol=1e-6)


# --- Landsat Level 1 ---


def landsat_level_1():
    """DN as an MTL file describes them; its numbers are those of a Landsat 8 scene of Collection 2."""
    scale, offset = toa_reflectance_scale(mult=2e-5, add=-0.1, sun_elevation=45.0)
    cube = odc_dataset(bands=("B4", "B10"), chunks=32, nodata_fraction=0.1)
    cube["B4"].attrs |= {"scale_factor": scale, "add_offset": offset}
    cube["B10"].attrs |= {"scale_factor": 3.342e-4, "add_offset": 0.1, "k1": 774.8853, "k2": 1321.0789}
    return cube


def test_level_1_to_reflectance_and_kelvin():
    cube = landsat_level_1()
    result = to_reflectance(cube)
    dn = computed(cube)
    expected = (dn["B4"] * 2e-5 - 0.1) / math.sin(math.radians(45))
    np.testing.assert_allclose(computed(result)["B4"], expected.where(dn["B4"] > 0), rtol=1e-5, atol=1e-6)
    kelvin = 1321.0789 / np.log(774.8853 / (dn["B10"] * 3.342e-4 + 0.1) + 1)
    np.testing.assert_allclose(computed(result)["B10"], kelvin.where(dn["B10"] > 0), rtol=1e-5)
    assert result["B10"].attrs["units"] == "K"
    assert "k1" not in result["B10"].attrs
    assert result["B10"].chunks == cube["B10"].chunks


def test_level_1_from_the_sensor_and_the_sun():
    cube = odc_dataset(bands=("B3", "B4", "B5", "B10"), nodata_fraction=0.1)
    sensor = "landsat-oli-c2-l1"
    with pytest.raises(InputError, match="The scale of 'B3' is not known"):
        to_reflectance(cube, sensor=sensor)
    lit = cube.assign_coords(sun_elevation=("time", [30.0, 60.0]))
    result = to_reflectance(lit, sensor=sensor)
    sine = np.sin(np.deg2rad([30.0, 60.0]))[:, None, None]
    np.testing.assert_allclose(result["B4"], ((cube["B4"] * 2e-5 - 0.1) / sine).where(cube["B4"] > 0), atol=1e-6)
    kelvin = 1321.0789 / np.log(774.8853 / (cube["B10"] * 3.342e-4 + 0.1) + 1)
    np.testing.assert_allclose(result["B10"], kelvin.where(cube["B10"] > 0), rtol=1e-5)
    selection = select_bands(lit, roles=ROLES, sensor=sensor)
    np.testing.assert_allclose(band_scales(selection, sensor=sensor)[0].gain, 2e-5 / sine[:, 0, 0])
    night = to_reflectance(lit.drop_vars("B10"), sensor=sensor, scale=1.0)
    assert float(night["B4"].max()) > 1, "the argument goes first"
    with pytest.raises(InputError, match="not known for 1 of 2 dates"):
        to_reflectance(cube.assign_coords(sun_elevation=("time", [30.0, -1.0])), sensor=sensor)


def test_thermal_constants_are_those_of_the_satellite():
    cube = odc_dataset(bands=("B10",)).assign_coords(platform=("time", ["landsat-9", "landsat-9"]))
    kelvin = 1329.2405 / np.log(799.0284 / (cube["B10"] * 3.8e-4 + 0.1) + 1)
    result = to_reflectance(cube, sensor="landsat-oli-c2-l1")
    np.testing.assert_allclose(result["B10"], kelvin, rtol=1e-5)
    both = cube.assign_coords(platform=("time", ["landsat-8", "landsat-9"]))
    with pytest.raises(InputError, match="differ between landsat_8 and landsat_9"):
        to_reflectance(both, sensor="landsat-oli-c2-l1")


def test_nodata_of_the_sensor_is_one_of_the_dn():
    cube = odc_dataset(bands=("B3", "B4", "B5"), nodata=None).assign_attrs(sensor="hls-l30")
    result = to_reflectance(cube)
    empty = nodata_values(select_bands(result, roles=ROLES))
    assert all(math.isnan(value) for value in empty)


@given(st.floats(200.0, 340.0), st.sampled_from([(774.8853, 1321.0789), (607.76, 1260.56)]))
def test_brightness_temperature_inverts_planck(kelvin, constants):
    k1, k2 = constants
    radiance = k1 / (math.exp(k2 / kelvin) - 1)
    assert float(brightness_temperature(radiance, k1=k1, k2=k2)) == pytest.approx(kelvin)
    array = xr.DataArray(np.array([radiance, 0.0, -1.0, math.nan]), dims="x")
    found = brightness_temperature(array, k1=k1, k2=k2)
    assert float(found[0]) == pytest.approx(kelvin)
    assert np.isnan(found[1:]).all()


def test_radiance_and_reflectance_coefficients_agree():
    """REFLECTANCE_MULT of an MTL file is pi * d**2 / ESUN * RADIANCE_MULT: both ways lead to one reflectance."""
    esun, distance, mult, add = 1536.0, 1.0133, 9.9e-3, -49.5
    scale, offset = toa_reflectance_scale(
        mult=mult * math.pi * distance**2 / esun, add=add * math.pi * distance**2 / esun, sun_elevation=33.0
    )
    radiance = 12_000 * mult + add
    other = radiance_to_reflectance(radiance, esun=esun, sun_elevation=33.0, earth_sun_distance=distance)
    assert 12_000 * scale + offset == pytest.approx(other)


@pytest.mark.parametrize("elevation", [0.0, -5.0, 91.0, math.nan])
def test_the_sun_must_be_up(elevation):
    with pytest.raises(ArgumentError, match="above the horizon"):
        toa_reflectance_scale(mult=2e-5, add=-0.1, sun_elevation=elevation)
    with pytest.raises(ArgumentError, match="must be positive"):
        radiance_to_reflectance(1.0, esun=0.0, sun_elevation=45.0)
