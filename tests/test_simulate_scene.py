import subprocess
import sys

import dask
import numpy as np
import pytest
import xarray as xr

from xcloudmask.bands import select_bands
from xcloudmask.errors import ArgumentError
from xcloudmask.grid import resolution_m
from xcloudmask.radiometry import nodata_values
from xcloudmask.simulate.landscape import BANDS, draw_landscape, render
from xcloudmask.simulate.scene import simulate_sentinel2, simulate_truth

SMALL = {"size_px": 128, "times": 3, "chunks": 64}


@pytest.fixture(scope="module")
def computed():
    return dask.compute(simulate_sentinel2(**SMALL), simulate_truth(**SMALL), scheduler="synchronous")


def test_it_looks_like_odc_stac():
    def fail(*args, **kwargs):
        raise AssertionError("a dask array was computed")

    with dask.config.set(scheduler=fail):
        cube = simulate_sentinel2(size_px=100, chunks=64)
        truth = simulate_truth(size_px=100, chunks=64)
    assert list(cube.data_vars) == list(BANDS)
    assert cube["red"].dims == ("time", "y", "x")
    assert cube["red"].dtype == np.uint16
    assert cube["red"].chunks == ((1, 1, 1), (64, 36), (64, 36))
    assert cube["red"].attrs == {"units": "1", "nodata": 0}
    assert cube["red"].encoding["grid_mapping"] == "spatial_ref"
    assert cube["spatial_ref"].item() == 32631
    assert "crs_wkt" in cube["spatial_ref"].attrs
    assert resolution_m(cube) == (10.0, 10.0)
    assert cube["y"].values[0] == 5_399_995.0
    selection = select_bands(cube, roles=("red", "green", "nir"))
    assert nodata_values(selection) == (0.0,) * 3
    assert truth.dtype == np.uint8
    assert truth.dims == ("time", "y", "x")
    assert truth.attrs["flag_meanings"] == "clear thick_cloud thin_cloud cloud_shadow"
    xr.testing.assert_equal(truth.coords.to_dataset(), cube.coords.to_dataset())


def test_the_same_seed_gives_the_same_pixels(computed):
    again = simulate_sentinel2(**SMALL).compute(scheduler="synchronous")
    xr.testing.assert_identical(again, computed[0])
    other = simulate_sentinel2(**SMALL, seed=1)["red"].compute(scheduler="synchronous")
    assert (other != computed[0]["red"]).mean() > 0.5


def test_chunks_do_not_change_pixels(computed):
    other = simulate_sentinel2(**(SMALL | {"chunks": 50})).compute(scheduler="synchronous")
    xr.testing.assert_equal(other, computed[0])


def test_keys_are_the_same_in_any_process():
    code = "from xcloudmask.simulate.scene import *; print(simulate_sentinel2(size_px=32)['red'].data.name)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.strip() == simulate_sentinel2(size_px=32)["red"].data.name


def test_cube_and_truth_share_their_tasks():
    cube, truth = simulate_sentinel2(**SMALL), simulate_truth(**SMALL)
    shared = set(cube["red"].__dask_graph__()) & set(truth.__dask_graph__())
    assert len(shared) >= 1 + SMALL["times"]


def test_nodata_wedge(computed):
    cube, truth = computed
    empty = (truth == 255).values
    for band in BANDS:
        np.testing.assert_array_equal((cube[band] == 0).values, empty)
    assert empty.mean(axis=(1, 2)).round(2)[[0, 2]].tolist() == [0, 0]
    assert 0.02 < empty[1].mean() < 0.4
    whole = simulate_truth(**SMALL, nodata_wedge=False).compute(scheduler="synchronous")
    assert (whole != 255).all()


def test_spectra_are_plausible(computed):
    cube, truth = computed
    clear, thick = (truth == 0), (truth == 1)
    red, nir = cube["red"].astype(float) / 1e4, cube["nir"].astype(float) / 1e4
    ndvi = (nir - red) / (nir + red)
    assert 0.3 < float(ndvi.where(clear).mean()) < 0.85
    assert float(red.where(clear).mean()) < 0.12
    assert float(red.where(thick).mean()) > 0.3
    assert abs(float(ndvi.where(thick).mean())) < 0.2


def test_shadows_are_darker_than_clear_land(computed):
    cube, truth = computed
    nir = cube["nir"].astype(float)
    assert float(nir.where(truth == 3).mean()) < 0.75 * float(nir.where(truth == 0).mean())


@pytest.mark.parametrize("wanted", [0.0, 0.3, 1.0])
def test_cloud_cover_is_about_what_was_asked(wanted):
    truth = simulate_truth(size_px=128, times=4, cloud_cover=wanted, nodata_wedge=False)
    truth = truth.compute(scheduler="synchronous")
    cover = truth.isin([1, 2]).mean(("y", "x"))
    assert abs(float(cover.mean()) - wanted) < 0.2
    if wanted == 0.0:
        assert (truth == 0).all()


def test_covers_repeat():
    truth = simulate_truth(size_px=64, times=3, cloud_cover=[0.0, 0.5], nodata_wedge=False)
    truth = truth.compute(scheduler="synchronous")
    assert (truth.isel(time=[0, 2]) == 0).all()
    assert (truth.isel(time=1) != 0).any()


@pytest.mark.parametrize("size_px", [16, 17, 31])
@pytest.mark.parametrize("resolution_m", [3.0, 60.0])
def test_odd_sizes_and_resolutions(size_px, resolution_m):
    cube = simulate_sentinel2(size_px=size_px, times=1, resolution_m=resolution_m).compute(scheduler="synchronous")
    assert dict(cube.sizes) == {"time": 1, "y": size_px, "x": size_px}
    assert (cube["red"] > 0).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"size_px": 8},
        {"times": 0},
        {"chunks": 0},
        {"seed": -1},
        {"resolution_m": 0.0},
        {"resolution_m": float("nan")},
        {"cloud_cover": 1.5},
        {"cloud_cover": ()},
    ],
)
def test_wrong_arguments(wrong):
    with pytest.raises(ArgumentError):
        simulate_sentinel2(**wrong)


@pytest.mark.parametrize("seed", range(6))
def test_landscapes_are_sound(seed):
    rng = np.random.default_rng(seed)
    land = draw_landscape((96, 80), resolution_m=10.0, rng=rng)
    for name, cover in land.layers:
        assert 0.0 <= cover.min() <= cover.max() <= 1.0, name
    image = render(land, day_of_year=150, sun_zenith_deg=30, sun_azimuth_deg=155, rng=rng)
    assert image.shape == (4, 96, 80)
    assert image.dtype == np.float32
    assert np.isfinite(image).all()
    assert image.min() > 0
    assert image.max() <= 1


def test_crops_green_up():
    rng = np.random.default_rng(0)
    land = draw_landscape((128, 128), resolution_m=10.0, rng=rng)
    sky = {"sun_zenith_deg": 30, "sun_azimuth_deg": 155}
    march, june = (render(land, day_of_year=day, rng=np.random.default_rng(1), **sky) for day in (60, 155))
    crops = ~land.pasture[land.parcel] & (np.max([cover for _, cover in land.layers], axis=0) < 0.05)
    assert june[3][crops].mean() > march[3][crops].mean() + 0.03
    np.testing.assert_allclose(june[:, ~crops].mean(), march[:, ~crops].mean(), rtol=0.05)
