"""Labelled cubes as patches: bands, scale, validity and labels as they were written."""

import numpy as np
import pytest
import xarray as xr
from cubes import odc_dataset

from xcloudmask.errors import ArgumentError, BandNotFoundError, InputError
from xcloudmask.training.config import CubeOptions
from xcloudmask.training.cubes import load_cube
from xcloudmask.training.labels import ANY, CLEAR, CLOUD, NOT_CLOUD, SHADOW


def write_cube(folder, *, shape=(64, 96), times=2, dims=("time", "y", "x"), codes=None, **changes):
    cube = odc_dataset(shape=shape, times=times, nodata_fraction=0.1, **changes)
    if codes is None:
        codes = np.random.default_rng(0).integers(0, 5, (times, *shape))
    cube["truth"] = (dims, codes.astype(np.uint8))
    for variable in cube.variables.values():
        variable.encoding.clear()
    cube.to_zarr(folder / "cube.zarr", consolidated=False)
    return cube


def load(folder, **changes):
    return load_cube(CubeOptions(path=str(folder / "cube.zarr"), **({"labels": "truth"} | changes)))


def test_patches_hold_reflectance_and_labels(tmp_path):
    cube = write_cube(tmp_path)
    patches = load(tmp_path, scale=1e-4, offset=-0.1, window_px=32, name="mine")
    assert len(patches) == 2 * 2 * 3
    assert len({patch.name for patch in patches}) == len(patches)
    for patch in patches:
        assert (patch.source, patch.level_known, patch.nir, patch.resolution_m) == ("mine", True, True, 10.0)
        time, y, x = (int(part) for part in patch.name.split("_")[1:])
        part = cube.isel(time=time, y=slice(y, y + 32), x=slice(x, x + 32))
        stored = np.stack([part[band].values for band in ("red", "green", "nir")])
        np.testing.assert_array_equal(patch.valid, (stored != 0).all(axis=0))
        # Reflectance below 0 becomes 0.
        expected = np.clip(stored.astype(float) - 1000, 0, None)
        np.testing.assert_allclose(patch.image[:, patch.valid], expected[:, patch.valid], atol=1)
        sets = np.array([CLEAR, 2, 4, SHADOW, ANY])[part["truth"].values]
        np.testing.assert_array_equal(patch.allowed, np.where(patch.valid, sets, ANY))


def test_windows_are_bounded_and_the_same_each_time(tmp_path):
    write_cube(tmp_path)
    first = [patch.name for patch in load(tmp_path, window_px=32, windows=3)]
    assert len(first) == 3
    assert first == [patch.name for patch in load(tmp_path, window_px=32, windows=3)]
    (whole, other) = load(tmp_path)  # larger than the cube: one a date
    assert whole.valid.shape == other.valid.shape == (64, 96)


def test_windows_without_a_label_are_left_out(tmp_path):
    codes = np.full((2, 64, 96), 255)
    codes[1, :10, :10] = 1
    write_cube(tmp_path, codes=codes)
    (patch,) = load(tmp_path, window_px=32, kind="label_cloud_only")
    assert patch.name == "cube_0001_000000_000000"
    assert {int(code) for code in np.unique(patch.allowed)} == {CLOUD, ANY}
    with pytest.raises(InputError, match="no valid pixel with a label"):
        load_cube(CubeOptions(path=str(tmp_path / "cube.zarr"), labels="truth", nodata=0.0, windows=0))


def test_an_unknown_scale_is_not_told(tmp_path):
    write_cube(tmp_path)
    patches = load(tmp_path)
    assert not any(patch.level_known for patch in patches)
    bright = np.percentile(np.concatenate([patch.image[:, patch.valid].ravel() for patch in patches]), 99)
    assert bright == pytest.approx(6000, rel=0.05)
    assert load(tmp_path, sensor="landsat-oli-c2-l2")[0].level_known
    (known, _) = load(tmp_path, scale=1e-4, offset=0.05)
    assert known.level_known
    assert known.image[:, known.valid].min() >= 500


def test_near_infrared_may_be_missing(tmp_path):
    write_cube(tmp_path, bands=("red", "green"))
    with pytest.raises(BandNotFoundError):
        load(tmp_path)
    (patch, _) = load(tmp_path, bands={"nir": "none"}, scale=1e-4)
    assert not patch.nir
    assert not patch.image[2].any()
    assert patch.image[:2].any()


def test_fine_cubes_are_averaged(tmp_path):
    write_cube(tmp_path, resolution=3.0, codes=np.zeros((2, 64, 96)))
    patch = load(tmp_path, sensor="sentinel-2-l2a")[0]
    assert patch.resolution_m == 12.0
    assert patch.valid.shape == (16, 24)
    assert set(np.unique(patch.allowed)) <= {CLEAR, ANY}


def test_labels_of_another_file_and_without_time(tmp_path):
    cube = write_cube(tmp_path, times=1, codes=np.ones((1, 64, 96)))
    labels = cube["truth"].isel(time=0, drop=True).to_dataset(name="mask")
    labels.to_zarr(tmp_path / "labels.zarr", consolidated=False)
    (patch,) = load(tmp_path, labels=str(tmp_path / "labels.zarr"), kind="label_cloud_shadow")
    assert (patch.allowed[patch.valid] == CLOUD).all()
    labels.assign_coords(x=labels.x + 500.0).to_zarr(tmp_path / "moved.zarr", consolidated=False)
    with pytest.raises(InputError, match="lie elsewhere along 'x'"):
        load(tmp_path, labels=str(tmp_path / "moved.zarr"))
    labels.isel(x=slice(5)).to_zarr(tmp_path / "small.zarr", consolidated=False)
    with pytest.raises(InputError, match="shape"):
        load(tmp_path, labels=str(tmp_path / "small.zarr"))
    labels.assign(second=labels["mask"]).to_zarr(tmp_path / "two.zarr", consolidated=False)
    with pytest.raises(InputError, match="single one"):
        load(tmp_path, labels=str(tmp_path / "two.zarr"))


def test_a_clear_cube_needs_no_labels(tmp_path):
    write_cube(tmp_path, codes=np.zeros((2, 64, 96)))
    (patch, _) = load_cube(CubeOptions(path=str(tmp_path / "cube.zarr"), kind="clear", scale=1e-4))
    assert patch.is_clear
    assert patch.split == "background"
    with pytest.raises(ArgumentError, match=r"says no labels.*truth"):
        load_cube(CubeOptions(path=str(tmp_path / "cube.zarr")))


def test_labels_read_as_floats_and_without_pixel_size(tmp_path):
    red = np.full((32, 32), 2000, np.uint16)
    cube = xr.Dataset(dict.fromkeys(("red", "green", "nir"), (("y", "x"), red)))
    codes = np.where(np.arange(32) < 16, 0.0, np.nan) * np.ones((32, 1))
    cube["truth"] = (("y", "x"), codes)
    cube.to_zarr(tmp_path / "cube.zarr", consolidated=False)
    with pytest.raises(InputError, match="Type resolution_m = 10"):
        load(tmp_path)
    (patch,) = load(tmp_path, resolution_m=30.0, kind="label_cloud_only")
    assert patch.resolution_m == 30.0
    assert (patch.allowed[:, :16] == NOT_CLOUD).all()
    assert (patch.allowed[:, 16:] == ANY).all()


@pytest.mark.parametrize("suffix", ["nc", "tif"])
def test_the_same_patches_from_netcdf_and_geotiff(tmp_path, suffix):
    cube = write_cube(tmp_path, times=1).isel(time=0, drop=True)
    names = ["red", "green", "nir"]
    if suffix == "nc":
        cube.drop_attrs(deep=False).to_netcdf(tmp_path / "cube.nc")
        labels = "truth"
    else:
        for name in names:
            cube[name].rio.to_raster(tmp_path / f"{name}.tif")
        (tmp_path / "labels").mkdir()
        cube["truth"].rio.to_raster(tmp_path / "labels" / "truth.tif")
        (tmp_path / "cube.tif").mkdir()
        for name in names:
            (tmp_path / f"{name}.tif").rename(tmp_path / "cube.tif" / f"{name}.tif")
        labels = str(tmp_path / "labels" / "truth.tif")
    options = {"scale": 1e-4, "window_px": 32, "nodata": 0}
    (expected, *_) = load(tmp_path, **options)
    (found, *_) = load_cube(CubeOptions(path=str(tmp_path / f"cube.{suffix}"), labels=labels, **options))
    np.testing.assert_array_equal(found.image, expected.image)
    np.testing.assert_array_equal(found.valid, expected.valid)
    np.testing.assert_array_equal(found.allowed, expected.allowed)
