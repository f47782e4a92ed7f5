"""cloud_distance against brute force, capped, and the same for every layout of chunks."""

import dask
import numpy as np
import pytest
import xarray as xr
from cubes import odc_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xcloudmask import apply, cloud_distance, dilate
from xcloudmask.classes import STYLES, mask_attrs
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError
from xcloudmask.grid import resolution_m

codes_3d = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 2), st.integers(1, 15), st.integers(1, 15)),
    elements=st.sampled_from([0, 0, 0, 0, 0, 0, 0, 1, 3, 255]),
)


def make_mask(codes, pixel=None, **attrs):
    mask = xr.DataArray(codes, dims=("time", "y", "x"), attrs=mask_attrs(STYLES["4-class"]) | attrs)
    if pixel is not None:
        grid = {dim: size * np.arange(mask.sizes[dim]) for dim, size in zip(("y", "x"), pixel, strict=True)}
        mask = mask.assign_coords(grid).assign_attrs(crs="EPSG:32631")
    return mask


def brute_force(codes, to, cap, pixel=(1.0, 1.0)):
    ys, xs = np.indices(codes.shape[1:])
    result = np.full(codes.shape, float(cap))
    for time, y, x in np.argwhere(np.isin(codes, to)).tolist():
        np.minimum(result[time], np.hypot((ys - y) * pixel[0], (xs - x) * pixel[1]), out=result[time])
    result[codes == 255] = np.nan
    return result


@settings(deadline=None, max_examples=40)
@given(codes_3d, st.integers(1, 8), st.integers(1, 8), st.integers(0, 12))
def test_pixels(codes, chunk_y, chunk_x, cap):
    mask = make_mask(codes)
    distances = cloud_distance(mask, max_px=cap)
    assert distances.dtype == np.float32
    np.testing.assert_array_equal(distances, brute_force(codes, [1, 3], cap).astype(np.float32))
    lazy = cloud_distance(mask.chunk({"y": chunk_y, "x": chunk_x}), max_px=cap)
    with dask.config.set(scheduler="sync"):
        xr.testing.assert_identical(lazy.compute(), distances)


@settings(deadline=None, max_examples=40)
@given(
    codes_3d,
    st.integers(1, 8),
    st.tuples(st.sampled_from([10.0, 30.0, 7.3]), st.sampled_from([10.0, 30.0, 27.83])),
    st.floats(0.0, 200.0),
)
def test_metres(codes, chunk, pixel, cap):
    # One pixel along an axis has no size.
    codes = np.pad(codes, ((0, 0), (0, 1), (0, 1)))
    mask = make_mask(codes, pixel)
    distances = cloud_distance(mask, max_m=cap, classes="cloud_shadow")
    np.testing.assert_allclose(distances, brute_force(codes, [3], cap, pixel), rtol=1e-5, atol=1e-4)
    assert np.nanmax(distances, initial=0.0) <= np.float32(cap)
    lazy = cloud_distance(mask.chunk({"y": chunk, "x": chunk}), max_m=cap, classes="cloud_shadow")
    with dask.config.set(scheduler="sync"):
        xr.testing.assert_identical(lazy.compute(), distances)


def test_attributes():
    mask = make_mask(np.zeros((1, 4, 4), np.uint8), (10.0, 10.0), model="default", processing="dilated: cloud 1 px")
    distances = cloud_distance(mask, unit="m", classes=("thick_cloud", "thin_cloud"))
    assert distances.name == "cloud_distance"
    assert distances.attrs == {
        "long_name": "distance to the nearest of thick_cloud, thin_cloud",
        "units": "m",
        "max_m": 2000.0,
        "model": "default",
        "processing": "dilated: cloud 1 px",
    }
    assert float(distances.min()) == 2000.0
    assert float(cloud_distance(mask).min()) == 200.0
    xr.testing.assert_identical(distances.coords.to_dataset(), mask.coords.to_dataset())


def test_degrees_have_metres_of_their_own_along_each_axis():
    cube = odc_dataset(shape=(40, 40), times=1, geographic=True, resolution=0.0001)
    y, x = cube.red.dims[1:]
    north, east = resolution_m(cube)
    assert east < 0.9 * north
    codes = np.zeros((1, 40, 40), np.uint8)
    codes[0, 20, 20] = 1
    mask = cube.red.copy(data=codes)
    mask.attrs = mask_attrs(STYLES["4-class"])
    distances = cloud_distance(mask, max_m=500.0)[0]
    assert float(distances[{y: 23, x: 20}]) == pytest.approx(3 * north, rel=1e-6)
    assert float(distances[{y: 20, x: 23}]) == pytest.approx(3 * east, rel=1e-6)
    # What dilates by metres is what lies within them.
    grown = dilate(mask, m=60.0)[0] > 0
    np.testing.assert_array_equal(grown, distances <= 60.0)
    removed = apply(cube.red.astype("float32"), mask, dilate_m=60.0)[0].isnull()
    np.testing.assert_array_equal(removed, grown)


def test_nothing_is_computed(no_compute):
    lazy = cloud_distance(make_mask(np.zeros((2, 8, 8), np.uint8)).chunk({"y": 4}), max_px=3)
    assert lazy.chunks == ((2,), (4, 4), (8,))


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"max_px": 3, "max_m": 30.0}, ArgumentError, "Type one of them"),
        ({"max_px": 3, "unit": "m"}, ArgumentError, "Type max_m="),
        ({"max_m": 3, "unit": "px"}, ArgumentError, "Type max_px="),
        ({"unit": "km"}, ArgumentError, "'px' or 'm'"),
        ({"max_px": 2.5}, ArgumentTypeError, "max_px=2.5"),
        ({"max_m": float("inf")}, ArgumentError, "max_m=inf"),
        ({"max_m": 30.0}, InputError, r"size of its pixels.*give pixels: max_px"),
        ({"classes": "cloud"}, ArgumentError, "'cloud' is unknown"),
        ({"max_px": 1024}, ArgumentError, "halo of 1025 px"),
    ],
)
def test_wrong_arguments(asked, error, message):
    with pytest.raises(error, match=message):
        cloud_distance(make_mask(np.zeros((1, 40, 40), np.uint8)).chunk({"y": 20}), **asked)
