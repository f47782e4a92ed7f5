import math

import dask
import numpy as np
import pytest
import xarray as xr
from cubes import odc_dataset, rioxarray_array, stackstac_array

from xcloudmask.bands import select_bands
from xcloudmask.errors import ArgumentError, ArgumentTypeError
from xcloudmask.radiometry import known_scale, nodata_values, reflectance

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
