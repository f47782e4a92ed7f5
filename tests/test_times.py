"""Dates that are clear enough, and periods."""

import dask
import dask.array as da
import numpy as np
import pytest
import shapely
import xarray as xr
from test_fractions import make_mask

import xcloudmask
from xcloudmask.classes import STYLES, mask_attrs
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError, NotACubeError
from xcloudmask.fractions import class_fractions
from xcloudmask.masks import to_style
from xcloudmask.times import filter_times, periods_of

CODES = np.array(
    [
        [[0, 0, 0, 1]],  # a quarter thick
        [[0, 0, 0, 0]],
        [[0, 0, 2, 1]],  # half
        [[255] * 4],
        [[3, 3, 3, 0]],  # shadow
        [[0, 255, 255, 255]],
    ],
    np.uint8,
)
DATES = np.array(["2024-01-01", "2024-01-11", "2024-01-21", "2024-02-01", "2024-02-11", "2024-02-21"], "M8[ns]")


def small_mask():
    return xr.DataArray(
        CODES, dims=("time", "y", "x"), coords={"time": DATES}, attrs=mask_attrs(STYLES["4-class"]), name="cloud_mask"
    )


def kept(**request):
    mask = small_mask()
    cube = xr.Dataset({"red": mask.astype(np.uint16).drop_attrs(), "height": mask[0].drop_vars("time").drop_attrs()})
    found = filter_times(cube, class_fractions(mask), **request)
    assert "time" not in found.height.dims
    np.testing.assert_array_equal(found.red, CODES[np.isin(DATES, found.time)])
    xr.testing.assert_identical(filter_times(cube, mask, **request), found)
    return np.flatnonzero(np.isin(DATES, found.time)).tolist()


@pytest.mark.parametrize(
    ("request_", "dates"),
    [
        ({}, [1, 4, 5]),
        ({"max_cloud": 0.25}, [0, 1, 4, 5]),
        ({"max_cloud": 1}, [0, 1, 2, 4, 5]),
        ({"max_cloud": 0.0, "min_valid": 0.5}, [1, 4]),
        ({"max_cloud": 0.3, "classes": "thick_cloud"}, [0, 1, 2, 4, 5]),
        ({"classes": xcloudmask.masks.NOT_CLEAR}, [1, 5]),
        ({"max_cloud": 1, "min_valid": 1}, [0, 1, 2, 4]),
    ],
)
def test_dates_that_stay(request_, dates):
    assert kept(**request_) == dates


@pytest.mark.parametrize(("style", "dates"), [("cloud-noncloud", [1, 4, 5]), ("valid-invalid", [1, 5])])
def test_other_styles(style, dates):
    mask = small_mask()
    found = filter_times(mask, class_fractions(to_style(mask, style)))
    np.testing.assert_array_equal(found.time, DATES[dates])


def test_in_a_geometry():
    mask = make_mask((2, 10, 10), nodata=0)
    mask[:] = 0
    mask[0, :5] = 1
    box = shapely.box(500_000, 4_999_900, 500_100, 4_999_950)  # the southern half
    request = {"geometry": box, "geometry_crs": "mask"}
    assert filter_times(mask, mask).sizes["time"] == 1
    assert filter_times(mask, mask, **request).sizes["time"] == 2
    assert filter_times(mask, class_fractions(mask, **request)).sizes["time"] == 2
    with pytest.raises(ArgumentError, match="belongs to a mask"):
        filter_times(mask, class_fractions(mask), **request)


def test_a_lazy_cube_stays_lazy_and_lazy_masks_are_refused(no_compute):
    mask, lazy = small_mask(), small_mask().chunk(time=1)
    found = filter_times(lazy, class_fractions(mask))
    assert isinstance(found.data, da.Array)
    assert found.shape == (3, 1, 4)
    with pytest.raises(InputError, match=r"class_fractions\(mask\)\.compute\(\)"):
        filter_times(lazy, lazy)
    with pytest.raises(InputError, match=r"fractions = fractions\.compute\(\)"):
        filter_times(lazy, class_fractions(lazy))


def test_what_the_error_says_works():
    mask = small_mask().chunk(time=1)
    fractions = xcloudmask.class_fractions(mask).compute()
    with dask.config.set(scheduler="sync"):
        found = xcloudmask.filter_times(mask, fractions).compute()
    xr.testing.assert_identical(found, mask.cloudmask.filter_times(fractions).compute())
    np.testing.assert_array_equal(found.time, DATES[[1, 4, 5]])


def test_wrong_arguments():
    mask = small_mask()
    cases = [
        ((mask, mask), {"max_cloud": 20}, ArgumentError, "20 % is 0.2"),
        ((mask, mask), {"min_valid": -1}, ArgumentError, "0 to 1"),
        ((mask, mask), {"max_cloud": "0.2"}, ArgumentTypeError, "str"),
        ((mask, mask), {"classes": "clouds"}, ArgumentError, "unknown"),
        ((mask[0], mask), {}, InputError, "no time dimension"),
        ((mask, mask[0]), {}, InputError, "Expected time and cloud_class"),
        ((mask[1:], mask), {}, InputError, "not those of the cube"),
        ((mask.assign_coords(time=DATES + np.timedelta64(1, "D")), mask), {}, InputError, "not those of the cube"),
        ((mask, class_fractions(mask, tile_px=2)), {}, InputError, "Expected time and cloud_class"),
        ((mask, class_fractions(mask).isel(cloud_class=[1])), {}, InputError, "no output style"),
        ((mask, mask.astype(float)), {}, NotACubeError, "no mask"),
        ((mask.values, mask), {}, NotACubeError, "ndarray"),
    ]
    for positional, request, error, match in cases:
        with pytest.raises(error, match=match):
            filter_times(*positional, **request)


def test_periods():
    cube = small_mask().isel(time=[5, 0, 3])
    assert periods_of(cube, "time", None).sizes == (3,)
    assert periods_of(cube, "time", None).order.tolist() == [1, 2, 0]
    months = periods_of(cube, "time", "MS")
    assert months.sizes == (1, 2)
    np.testing.assert_array_equal(months.starts, np.array(["2024-01-01", "2024-02-01"], "M8[ns]"))
    ends = periods_of(cube, "time", "ME")
    assert ends.sizes == (1, 2)
    np.testing.assert_array_equal(ends.starts, np.array(["2024-01-31", "2024-02-29"], "M8[ns]"))
    assert periods_of(cube, "time", "20D").sizes == (1, 1, 1)
    assert periods_of(cube, "time", "5D").sizes == (1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1)


def test_periods_of_other_calendars():
    times = xr.date_range("2001-01-20", periods=3, freq="30D", calendar="360_day", use_cftime=True)
    cube = xr.DataArray(np.zeros(3), dims="time", coords={"time": times})
    assert periods_of(cube, "time", "MS").sizes == (1, 1, 1)


def test_periods_need_dates():
    cube = small_mask()
    with pytest.raises(ArgumentError, match="no frequency"):
        periods_of(cube, "time", "fortnight")
    with pytest.raises(InputError, match="a date for each"):
        periods_of(cube.drop_vars("time"), "time", "MS")
    with pytest.raises(InputError, match="a date for each"):
        periods_of(cube.assign_coords(time=range(6)), "time", "MS")
    with pytest.raises(InputError, match="no dates"):
        periods_of(cube[:0], "time", None)
