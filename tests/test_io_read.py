"""Files in: names, grids, dates, laziness, and errors that name the file."""

import os
import pickle
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import xarray as xr
from affine import Affine
from rasterio.crs import CRS

from xcloudmask.errors import ArgumentError, ArgumentTypeError, BandNotFoundError, InputError, ReadError
from xcloudmask.io import open_cube
from xcloudmask.io._names import acquisition_time, band_of, is_auxiliary, platform_of

SCENES = Path(os.environ.get("XCLOUDMASK_DATA", Path(__file__).parents[2] / "shared" / "data")) / "scenes"
needs_scenes = pytest.mark.skipif(not SCENES.exists(), reason="the real scenes are not part of the package")


def from_origin(west, north, x, y):
    return Affine(x, 0, west, 0, -y, north)


UTM = from_origin(600_000, 5_000_000, 10, 10)


def write(path, pixels, *, crs="EPSG:32631", transform=UTM, names=None, nodata=0, tags=None, driver="GTiff", **options):
    pixels = np.atleast_3d(pixels) if pixels.ndim == 3 else pixels[None]
    profile = {"count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2], "dtype": pixels.dtype}
    if transform is not None:
        profile |= {"crs": CRS.from_user_input(crs), "transform": transform}
    with rasterio.open(path, "w", driver=driver, nodata=nodata, **profile, **options) as target:
        target.write(pixels)
        target.update_tags(**(tags or {}))
        for index, name in enumerate(names or (), start=1):
            target.set_band_description(index, name)
    return path


def pixels(seed=0, shape=(40, 50), dtype="uint16"):
    return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


@pytest.fixture
def no_compute():
    with dask.config.set(scheduler=lambda *args, **kwargs: pytest.fail("computed")):
        yield


@pytest.mark.parametrize(
    ("stem", "band"),
    [
        ("B04", "B04"),
        ("ref_input_S2_B8A", "B8A"),
        ("T31UFU_20190411T105621_B04_10m", "B04"),
        ("HLS.S30.T18TYN.2020182T154911.v2.0.B8A", "B8A"),
        ("LC08_L1TP_017051_20151205_20200908_02_T1_B4", "B4"),
        ("LC08_L2SP_017051_20151205_20200908_02_T1_SR_B4", "SR_B4"),
        ("scene-red", "red"),
        ("green_i", "green_i"),
        ("thesis", None),
    ],
)
def test_band_names(stem, band):
    assert band_of(stem) == band


def test_dates_and_platforms():
    assert acquisition_time("S2A_MSIL1C_20190411T105621_N0207") == np.datetime64("2019-04-11T10:56:21")
    assert acquisition_time("LC08_L2SP_017051_20151205_20200908_02") == np.datetime64("2015-12-05")
    assert acquisition_time("tile_2024_02_31") is None
    assert acquisition_time("B04") is None
    assert platform_of("LE07_L1TP_1") == "landsat-7"
    assert platform_of("sentinel") is None


@pytest.mark.parametrize(
    "name", ["SCL", "CLP", "T31_SCL_20m", "sunAzimuthAngles", "LC08_T1_QA_PIXEL", "x_udm2", "SR_QA_AEROSOL"]
)
def test_layers_about_the_image(name):
    assert is_auxiliary(name)
    assert not is_auxiliary("B04")


def test_one_file_per_band(tmp_path, no_compute):
    data = {name: pixels(seed) for seed, name in enumerate(["B03", "B04", "B08"])}
    for name, values in data.items():
        write(tmp_path / f"T31UFU_20190411T105621_{name}.tif", values, nodata=65535)
    write(tmp_path / "T31UFU_20190411T105621_SCL.tif", pixels(9, dtype="uint8"))
    (tmp_path / "README.txt").write_text("hello")
    cube = open_cube(tmp_path)
    assert list(cube) == ["B03", "B04", "B08"]
    assert all(isinstance(variable.data, da.Array) for variable in cube.data_vars.values())
    assert cube["B04"].dims == ("y", "x")
    assert cube["B04"].attrs["nodata"] == 65535
    assert cube["time"] == np.datetime64("2019-04-11T10:56:21")
    np.testing.assert_array_equal(cube["x"][:2], [600_005, 600_015])
    np.testing.assert_array_equal(cube["y"][:2], [4_999_995, 4_999_985])
    with dask.config.set(scheduler="threads"):
        for name, values in data.items():
            np.testing.assert_array_equal(cube[name], values)


def test_what_other_libraries_make_of_it(tmp_path):
    import rioxarray

    write(tmp_path / "B04.tif", pixels())
    ours = open_cube(tmp_path / "B04.tif")["B04"]
    theirs = rioxarray.open_rasterio(tmp_path / "B04.tif").squeeze("band")
    assert ours.rio.crs == theirs.rio.crs
    assert ours.rio.transform() == theirs.rio.transform()
    np.testing.assert_allclose(ours["y"], theirs["y"])
    np.testing.assert_array_equal(ours, theirs)
    theirs.close()


def test_several_bands_in_one_file(tmp_path):
    path = write(tmp_path / "scene.tif", np.stack([pixels(i) for i in range(3)]), names=["B04", "B08", "SCL"])
    cube = open_cube(str(path), chunks=16)
    assert list(cube) == ["B04", "B08"]
    assert cube.chunks == {"y": (16, 16, 8), "x": (16, 16, 16, 2)}
    np.testing.assert_array_equal(cube["B08"], pixels(1))
    assert list(open_cube(path, bands=["SCL"])) == ["SCL"]


def test_bands_without_names(tmp_path):
    grey = write(tmp_path / "a.tif", np.stack([pixels(i) for i in range(4)]), photometric="minisblack")
    assert list(open_cube(grey)) == ["band_1", "band_2", "band_3", "band_4"]
    rgb = write(tmp_path / "b.tif", np.stack([pixels(i, dtype="uint8") for i in range(3)]), photometric="rgb")
    assert list(open_cube(rgb)) == ["red", "green", "blue"]
    assert list(open_cube(write(tmp_path / "image.tif", pixels()))) == ["image"]


def test_scale_is_left_to_be_applied(tmp_path):
    path = write(tmp_path / "B04.tif", pixels())
    assert "scale_factor" not in open_cube(path)["B04"].attrs
    with rasterio.open(path, "r+") as target:
        target.scales, target.offsets = (1e-4,), (-0.1,)
    band = open_cube(path)["B04"]
    assert band.dtype == np.uint16
    assert (band.attrs["scale_factor"], band.attrs["add_offset"]) == (1e-4, -0.1)


def test_dates_become_a_time_series(tmp_path):
    for day in (16, 1, 26):
        write(
            tmp_path / f"s_2024-08-{day:02d}_12-21-19.tif",
            np.stack([pixels(day), pixels(day + 1)]),
            names=["B04", "B08"],
        )
    cube = open_cube(tmp_path)
    assert cube["B04"].dims == ("time", "y", "x")
    assert cube["B04"].chunks[0] == (1, 1, 1)
    assert cube["time"].values.tolist() == sorted(cube["time"].values.tolist())
    np.testing.assert_array_equal(cube["B08"].isel(time=2), pixels(27))


def test_tags_win_over_names(tmp_path):
    path = write(tmp_path / "s_2024-08-01.tif", pixels(), tags={"datetime": "2024-08-02T11:21:19.024000Z"})
    assert open_cube(path)["time"] == np.datetime64("2024-08-02T11:21:19")


def test_other_grids_are_left_out_with_a_warning(tmp_path):
    write(tmp_path / "B04_10m.tif", pixels())
    write(tmp_path / "B04_20m.tif", pixels(shape=(20, 25)), transform=from_origin(600_000, 5_000_000, 20, 20))
    write(tmp_path / "B11_20m.tif", pixels(shape=(20, 25)), transform=from_origin(600_000, 5_000_000, 20, 20))
    with pytest.warns(UserWarning, match="not on the grid of B04.*: B11"):
        cube = open_cube(tmp_path)
    assert list(cube) == ["B04"]
    assert cube["B04"].shape == (40, 50)


def test_files_that_do_not_fit_together(tmp_path):
    one = write(tmp_path / "a_2024-08-01_B04.tif", pixels())
    two = write(tmp_path / "a_2024-08-02_B04.tif", pixels(), transform=from_origin(0, 0, 10, 10))
    with pytest.raises(InputError, match=r"(?s)2 grids.*2024-08-01_B04"):
        open_cube([one, two])
    with pytest.raises(InputError, match=r"both hold a band 'B04'"):
        open_cube([one, write(tmp_path / "b_2024-08-01_B04.tif", pixels())])
    with pytest.raises(InputError, match=r"others have none"):
        open_cube([one, write(tmp_path / "B08.tif", pixels())])
    with pytest.raises(InputError, match=r"different nodata or scale"):
        open_cube([one, write(tmp_path / "c_2024-08-03_B04.tif", pixels(), nodata=9)])
    with pytest.raises(InputError, match=r"no band in common"):
        open_cube([one, write(tmp_path / "d_2024-08-03_B08.tif", pixels())])
    with pytest.raises(InputError, match=r"no image: SCL"):
        open_cube(write(tmp_path / "SCL.tif", pixels()))
    with pytest.raises(BandNotFoundError, match=r"'B12'. Found: B04"):
        open_cube(one, bands=["B12"])


def test_without_georeference(tmp_path):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write(tmp_path / "LC08_L1TP_017051_20151205_20200908_02_T1_B4.TIF", pixels(), transform=None)
    cube = open_cube(tmp_path, chunks=(20, 20))
    assert set(cube.coords) == {"time"}
    assert cube.attrs["platform"] == "landsat-8"
    with dask.config.set(scheduler="threads"):
        np.testing.assert_array_equal(cube["B4"], pixels())


def test_other_formats_are_read_one_at_a_time(tmp_path):
    write(tmp_path / "B04.png", pixels(dtype="uint8"), driver="PNG")
    cube = open_cube(tmp_path / "B04.png", chunks=16)
    with dask.config.set(scheduler="threads"):
        np.testing.assert_array_equal(cube["B04"], pixels(dtype="uint8"))


def test_a_sentinel_2_product(tmp_path):
    product = tmp_path / "S2A_MSIL2A_20190411T105621_N0500_R094_T31UFU_20221001T000000.SAFE"
    for size, bands in {10: ("B03", "B04", "B08"), 20: ("B04", "B8A", "SCL")}.items():
        images = product / "GRANULE" / "L2A_T31UFU" / "IMG_DATA" / f"R{size}m"
        images.mkdir(parents=True)
        for seed, band in enumerate(bands):
            path = images / f"T31UFU_20190411T105621_{band}_{size}m.jp2"
            grid = from_origin(600_000, 5_000_000, size, size)
            values = pixels(seed, shape=(800 // size, 1000 // size))
            write(path, values, transform=grid, driver="JP2OpenJPEG", nodata=None, quality="100", reversible="YES")
    with pytest.warns(UserWarning, match="B8A"):
        cube = open_cube(product, chunks=32)
    assert list(cube) == ["B03", "B04", "B08"]
    with dask.config.set(scheduler="threads"):
        np.testing.assert_array_equal(cube["B04"], pixels(1, shape=(80, 100)))


def test_keys_are_the_same_in_any_process_and_change_with_the_file(tmp_path):
    path = write(tmp_path / "B04.tif", pixels())
    cube = open_cube(path)
    assert open_cube(path)["B04"].data.name == cube["B04"].data.name
    xr.testing.assert_identical(pickle.loads(pickle.dumps(cube)).compute(), cube.compute())  # noqa: S301
    write(path, pixels(1, shape=(41, 50)))
    assert open_cube(path)["B04"].data.name != cube["B04"].data.name


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(ReadError, match=r"nowhere\.tif does not exist"):
        open_cube(tmp_path / "nowhere.tif")
    (tmp_path / "bad.tif").write_bytes(b"II*\0 this is no tiff")
    with pytest.raises(ReadError, match=r"bad\.tif cannot be read"):
        open_cube(tmp_path / "bad.tif")
    (tmp_path / "scene.vrt").write_text("<VRTDataset/>")
    with pytest.raises(ReadError, match=r"scene\.vrt is no raster"):
        open_cube(tmp_path / "scene.vrt")
    (tmp_path / "folder" / "empty").mkdir(parents=True)
    with pytest.raises(ReadError, match=r"holds no raster.*Found: empty"):
        open_cube(tmp_path / "folder")
    with pytest.raises(ReadError, match=r"none\.nc does not exist"):
        open_cube(tmp_path / "none.nc")
    (tmp_path / "bad.nc").write_text("no netcdf")
    with pytest.raises(ReadError, match=r"bad\.nc cannot be read"):
        open_cube(tmp_path / "bad.nc")


def test_a_truncated_file_is_named_when_its_pixels_are_read(tmp_path):
    plain = write(tmp_path / "plain.tif", np.random.default_rng(0).integers(0, 60000, (400, 500)).astype("uint16"))
    path = tmp_path / "B04.tif"
    rasterio.shutil.copy(plain, path, driver="COG")  # whose directory is at the start
    path.write_bytes(path.read_bytes()[:200_000])
    cube = open_cube(path)
    with pytest.raises(ReadError, match=r"B04\.tif cannot be read"):
        cube.compute(scheduler="threads")


def test_wrong_arguments(tmp_path):
    path = write(tmp_path / "B04.tif", pixels())
    for chunks, error in [
        (0, ArgumentError),
        ("big", ArgumentTypeError),
        ({"band": 1}, ArgumentError),
        (2.5, ArgumentTypeError),
    ]:
        with pytest.raises(error, match="chunks="):
            open_cube(path, chunks=chunks)
    with pytest.raises(ArgumentError, match="No input"):
        open_cube([])
    with pytest.raises(ArgumentTypeError, match="no path"):
        open_cube(3)


@pytest.mark.parametrize("shards", [None, (1, 32, 32)])
def test_zarr(tmp_path, no_compute, shards):
    cube = xr.Dataset({"red": (("time", "y", "x"), np.zeros((2, 40, 50), "uint16"), {"nodata": 0})})
    encoding = {"red": {"chunks": (1, 16, 16)} | ({"shards": shards} if shards else {})}
    cube.to_zarr(tmp_path / "cube.zarr", consolidated=False, encoding=encoding)
    opened = open_cube(tmp_path / "cube.zarr")
    assert opened["red"].chunks[1] == ((32, 8) if shards else (16, 16, 8))
    assert opened["red"].dtype == np.uint16
    assert open_cube(tmp_path / "cube.zarr", chunks=32)["red"].chunks[1] == (32, 8)
    with pytest.raises(BandNotFoundError, match="'nir'"):
        open_cube(tmp_path / "cube.zarr", bands=["nir"])
    with pytest.raises(ArgumentError, match="alone"):
        open_cube([tmp_path / "cube.zarr", tmp_path / "cube.zarr"])


def test_netcdf(tmp_path):
    cube = xr.Dataset({"red": (("y", "x"), pixels()), "nir": (("y", "x"), pixels(1))}, coords={"x": np.arange(50.0)})
    cube.to_netcdf(tmp_path / "cube.nc")
    opened = open_cube(tmp_path / "cube.nc", bands=["nir"], chunks={"y": 20, "x": 20})
    assert opened["nir"].chunks == ((20, 20), (20, 20, 10))
    np.testing.assert_array_equal(opened["nir"], pixels(1))
    opened.close()


@needs_scenes
@pytest.mark.parametrize(
    ("folder", "pattern", "bands", "sizes"),
    [
        ("sentinel2_20m_series", "*2024-08*", "B02 B03 B04 B08", {"time": 3, "y": 335, "x": 354}),
        ("sentinel2_20m_series", "*UTM*", "B02 B03 B04 B08", {"y": 337, "x": 356}),
        ("sentinel2_l1c_10m", None, "B02 B03 B04 B08 B11 B8A", {"y": 1024, "x": 512}),
        ("sentinel2_wgs84_20190522", None, "B02 B03 B04 B08 B11", {"y": 1697, "x": 1284}),
        ("landsat/LC08_L1TP_227074_20190809_20200827_02_T1-cropped", None, "B2 B3 B4 B5 B6 B7", {"y": 901, "x": 667}),
    ],
)
def test_real_scenes(folder, pattern, bands, sizes):
    paths = SCENES / folder
    cube = open_cube(paths if pattern is None else sorted(paths.glob(pattern)))
    assert list(cube) == bands.split()
    assert dict(cube.sizes) == sizes
    assert int(cube.to_array().max()) > 0
