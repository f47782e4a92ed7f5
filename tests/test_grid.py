import dask
import numpy as np
import pytest
import xarray as xr
from cubes import odc_dataset, rioxarray_array, stackstac_array

from xcloudmask.errors import NotACubeError
from xcloudmask.grid import metres_per_degree, resolution_m, spatial_dims, time_dim


def grid(dims=("y", "x"), *, y=None, x=None, attrs=None):
    coords = {}
    if y is not None:
        coords[dims[0]] = (dims[0], y)
    if x is not None:
        coords[dims[1]] = (dims[1], x)
    return xr.DataArray(np.zeros((3, 4)), dims=dims, coords=coords, attrs=attrs)


@pytest.mark.parametrize(
    "dims",
    [("y", "x"), ("Y", "X"), ("latitude", "longitude"), ("lat", "lon"), ("northing", "easting"), ("x", "y")],
)
def test_spatial_dims_by_name(dims):
    expected = ("y", "x") if dims == ("x", "y") else dims
    assert spatial_dims(grid(dims)) == expected
    assert spatial_dims(grid(dims).to_dataset(name="red")) == expected


def test_spatial_dims_by_cf_attributes():
    cube = grid(("rows", "cols"), y=[2.0, 1.0, 0.0], x=[0.0, 1.0, 2.0, 3.0])
    cube["rows"].attrs["axis"] = "Y"
    cube["cols"].attrs["standard_name"] = "projection_x_coordinate"
    assert spatial_dims(cube) == ("rows", "cols")


def test_spatial_dims_error_says_what_to_type():
    with pytest.raises(NotACubeError, match=r"Dimensions: 'a', 'b'.*cube\.rename"):
        spatial_dims(grid(("a", "b")))


def test_time_dim():
    assert time_dim(odc_dataset()) == "time"
    assert time_dim(odc_dataset(times=None)) is None
    cube = odc_dataset().rename(time="scene")
    assert time_dim(cube) == "scene"
    assert time_dim(cube.rename(scene="T")) == "T"


@pytest.mark.parametrize("make", [odc_dataset, stackstac_array, rioxarray_array])
@pytest.mark.parametrize("ascending", [False, True])
def test_resolution_of_every_loader(make, ascending):
    cube = make(resolution=20.0, y_ascending=ascending, chunks=32)
    with dask.config.set(scheduler=_no_compute):
        assert resolution_m(cube) == pytest.approx((20.0, 20.0))


def _no_compute(*args, **kwargs):
    raise AssertionError("a dask array was computed")


def test_degrees_become_metres_at_the_centre_latitude():
    y, x = resolution_m(odc_dataset(geographic=True))
    assert y == pytest.approx(10.0, rel=0.005)
    assert x == pytest.approx(10.0 * np.cos(np.radians(48.8)), rel=0.005)


def test_degrees_are_known_by_crs_units_or_name():
    step = [0.002, 0.001, 0.0]
    steps = [0.0, 0.001, 0.002, 0.003]
    by_name = resolution_m(grid(("lat", "lon"), y=step, x=steps))
    by_crs = resolution_m(grid(y=step, x=steps, attrs={"crs": "EPSG:4326"}))
    cube = grid(y=step, x=steps)
    cube["y"].attrs["units"] = "degrees_north"
    cube["x"].attrs["units"] = "degrees_east"
    assert by_name == pytest.approx((110.574, 111.319), rel=1e-4)
    assert by_crs == by_name == resolution_m(cube)


@pytest.mark.parametrize(("unit", "metres"), [("m", 10.0), ("metre", 10.0), ("km", 10_000.0)])
def test_units_of_the_coordinates(unit, metres):
    cube = grid(y=[20.0, 10.0, 0.0], x=[0.0, 10.0, 20.0, 30.0])
    cube["y"].attrs["units"] = cube["x"].attrs["units"] = unit
    assert resolution_m(cube) == (metres, metres)


def test_feet_are_converted():
    cube = grid(y=[20.0, 10.0, 0.0], x=[0.0, 10.0, 20.0, 30.0], attrs={"crs": "EPSG:2263"})
    assert resolution_m(cube) == pytest.approx((3.048, 3.048), rel=1e-4)


def test_nothing_is_assumed():
    y, x = [20.0, 10.0, 0.0], [0.0, 10.0, 20.0, 30.0]
    assert resolution_m(grid()) is None
    assert resolution_m(grid(y=y)) is None
    assert resolution_m(grid(y=y, x=x)) is None
    assert resolution_m(grid(y=y, x=x, attrs={"crs": "no such thing"})) is None
    assert resolution_m(grid(y=[5.0, 5.0, 5.0], x=x, attrs={"crs": "EPSG:32631"})) is None
    assert resolution_m(grid(y=["a", "b", "c"], x=x, attrs={"crs": "EPSG:32631"})) is None
    cube = grid(y=y, x=x)
    cube["y"].attrs["units"], cube["x"].attrs["units"] = "m", "km"
    assert resolution_m(cube) is None


def test_one_pixel_asks_the_loader():
    assert resolution_m(odc_dataset(shape=(1, 1))) == (10.0, 10.0)
    assert resolution_m(rioxarray_array(shape=(1, 1))) == (10.0, 10.0)
    bare = odc_dataset(shape=(1, 1)).drop_attrs(deep=True)
    assert resolution_m(bare) is None


def test_geotransform_without_coordinates():
    cube = rioxarray_array(resolution=30.0).drop_vars(["y", "x"])
    assert resolution_m(cube) == (30.0, 30.0)
    cube["spatial_ref"].attrs["GeoTransform"] = "a b c d e f"
    assert resolution_m(cube) is None
    degrees = odc_dataset(geographic=True).rename(latitude="y", longitude="x").drop_vars(["y", "x"])
    assert resolution_m(degrees) is None


def test_spatial_ref_as_a_variable():
    cube = odc_dataset().reset_coords("spatial_ref")
    for name in ("y", "x"):
        cube[name].attrs.clear()
    assert resolution_m(cube) == (10.0, 10.0)


def test_epsg_along_time_is_not_read():
    cube = stackstac_array(chunks=32)
    cube.attrs.clear()
    assert resolution_m(cube) == (10.0, 10.0)
    mixed = cube.drop_vars("epsg").assign_coords(epsg=("time", [32631, 32632]))
    assert resolution_m(mixed) is None


def test_metres_per_degree_at_the_poles():
    north, east = metres_per_degree(90.0)
    assert north == pytest.approx(111_694, rel=1e-4)
    assert 0 < east < 300
