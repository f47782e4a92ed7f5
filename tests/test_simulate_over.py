"""Simulated clouds over a given cube: what stays, what changes, and laziness."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr

from xcloudmask.errors import ArgumentError, InputError
from xcloudmask.simulate.over import clouds_over
from xcloudmask.simulate.scene import simulate_sentinel2

LAZY = {"scale": 1e-4, "seed": 3}


@pytest.fixture(scope="module")
def clear():
    return simulate_sentinel2(size_px=64, times=2, chunks=32, cloud_cover=0.0)


@pytest.fixture(scope="module")
def done(clear):
    cube, truth = clouds_over(clear, kinds=["cumulus"], **LAZY)
    return dask.compute(clear, cube, truth, scheduler="synchronous")


def test_lazy_stays_lazy(clear, no_compute):
    cube, truth = clouds_over(clear, **LAZY)
    assert cube["red"].chunks == clear["red"].chunks
    assert truth["truth"].chunks == clear["red"].chunks
    again, _ = clouds_over(clear, **LAZY)
    assert cube["red"].data.name == again["red"].data.name


def test_the_cube_keeps_its_looks(done):
    before, cube, truth = done
    for band in before.data_vars:
        assert cube[band].dtype == np.uint16
        assert cube[band].dims == before[band].dims
        assert cube[band].attrs == before[band].attrs
        assert cube[band].encoding["grid_mapping"] == "spatial_ref"
    xr.testing.assert_equal(cube.coords.to_dataset(), before.coords.to_dataset())
    xr.testing.assert_equal(truth.coords.to_dataset(), before.coords.to_dataset())
    assert truth["truth"].dtype == np.uint8
    assert truth["truth"].attrs["flag_meanings"] == "clear thick_cloud thin_cloud cloud_shadow"


def test_nodata_stays_and_clouds_are_bright(done):
    before, cube, truth = done
    empty = (before["red"] == 0).values
    assert empty.any()
    np.testing.assert_array_equal((cube["red"] == 0).values, empty)
    np.testing.assert_array_equal((truth["truth"] == 255).values, empty)
    np.testing.assert_array_equal(np.isnan(truth["optical_thickness"]).values, empty)
    thick = (truth["truth"] == 1).values
    assert thick.any()
    assert cube["red"].values[thick].mean() > before["red"].values[thick].mean() + 1000
    assert not np.array_equal(truth["truth"][0], truth["truth"][1])


def test_eager_equals_lazy(done):
    before, cube, truth = done
    eager, eager_truth = clouds_over(before, kinds=["cumulus"], **LAZY)
    assert isinstance(eager["red"].data, np.ndarray)
    xr.testing.assert_identical(eager, cube)
    xr.testing.assert_identical(eager_truth, truth)


def test_an_array_with_bands_gives_the_same_pixels(done):
    before, cube, _ = done
    stack = before.to_dataarray("band").assign_attrs(nodata=0)
    clouded, _ = clouds_over(stack.transpose("time", "y", "band", "x"), kinds=["cumulus"], **LAZY)
    assert clouded.dims == ("time", "y", "band", "x")
    np.testing.assert_array_equal(clouded.sel(band="red").values, cube["red"].values)


def test_declared_scale_and_other_variables(done):
    before = done[0].isel(time=0, drop=True)[["red", "nir"]]
    before = before.assign({name: before[name].assign_attrs(scale_factor=1e-4, add_offset=0.0) for name in before})
    before["SCL"] = xr.full_like(before["red"], 4, dtype=np.uint8)
    cube, truth = clouds_over(before, kinds=["stratus"], seed=1)
    assert truth["truth"].dims == ("y", "x")
    assert cube["red"].attrs["scale_factor"] == 1e-4
    xr.testing.assert_identical(cube["SCL"], before["SCL"])
    assert float(cube["red"].mean()) > float(before["red"].mean())


def test_a_thermal_band_in_kelvin_gets_colder():
    ground = {"units": "K"}
    clear = xr.Dataset(
        {
            "red": (("y", "x"), np.full((48, 48), 1200, np.uint16)),
            "lwir11": (("y", "x"), np.full((48, 48), 295.0, np.float32), ground),
        }
    )
    cube, _ = clouds_over(clear, kinds=["stratus"], seed=1, scale=1e-4, resolution_m=30.0)
    assert 215 < float(cube["lwir11"].mean()) < 294
    assert cube["lwir11"].attrs == ground


def test_what_is_not_known_is_asked_for():
    plain = xr.Dataset({"red": (("y", "x"), np.ones((16, 16), np.uint16))})
    with pytest.raises(InputError, match="scale=1e-4"):
        clouds_over(plain, resolution_m=10.0)
    with pytest.raises(ArgumentError, match="resolution_m"):
        clouds_over(plain, scale=1e-4)
    with pytest.raises(InputError, match="known role"):
        clouds_over(plain.rename(red="ghost"), scale=1e-4, resolution_m=10.0)
    with pytest.raises(ArgumentError, match="seed"):
        clouds_over(plain, scale=1e-4, resolution_m=10.0, seed=-1)
