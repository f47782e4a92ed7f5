"""Masks of real scenes through every format: written, and read again by us, xarray, rioxarray, rasterio, GDAL."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import odc.geo.xr  # noqa: F401  # .odc
import pytest
import rasterio
import rioxarray
import xarray as xr
from typer.testing import CliRunner

import xcloudmask
from xcloudmask.cli.app import app
from xcloudmask.io.stores import open_store

pytestmark = pytest.mark.slow

NAMES = [
    "sentinel2_l1c_10m",
    "sentinel2_wgs84_20190522",
    "exe_2024-08-01_12-21-19",
    "LC08_L2SP_204023",
    "LC08_L1TP_227074",
]
GDALINFO = shutil.which("gdalinfo")
FORMATS = ["masks.zarr", "masks.icechunk", "mask.tif", "folder/", "stac/catalog.json"]


def run(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def find(scenes: Path, name: str) -> Path:
    (path,) = [path for path in [*scenes.glob("*"), *scenes.glob("*/*")] if path.name.startswith(name)]
    return path


@pytest.fixture(scope="module", params=NAMES)
def mask(request, data_dir):
    """The mask of a scene, with a date where its name tells one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # auxiliary rasters left out, no georeference
        cube = xcloudmask.open_cube(find(data_dir / "scenes", request.param), chunks=512)
    resolution = {"resolution_m": 30} if request.param.startswith("LC") else {}
    mask = cube.cloudmask.predict(**resolution).compute()
    if "time" not in mask.dims:
        mask = mask.expand_dims(time=np.array(["2020-01-02T03:04:05"], "M8[ns]"))
    return mask


@pytest.fixture(scope="module")
def store(mask, tmp_path_factory):
    path = tmp_path_factory.mktemp("masks") / "start.zarr"
    mask.cloudmask.to_zarr(path)
    return path


def northern_first(array: xr.DataArray) -> np.ndarray:
    values = array.squeeze().values
    y = array[array.odc.spatial_dims[0]].values
    # Without a CRS, rows are counted from the top.
    return values if y[0] > y[-1] or array.odc.crs is None else values[::-1]


@pytest.mark.parametrize("output", FORMATS)
def test_codes_grid_and_nodata_come_back(mask, store, output, tmp_path):
    target = f"{tmp_path}/{output}"
    run("convert", store, target, "--quiet")
    back = open_store(str(Path(target).parent) if output.startswith("stac") else target)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(northern_first(back), northern_first(mask))
    assert int(back.attrs["nodata"]) == 255
    assert back.attrs["output_style"] == "4-class"
    if mask.odc.crs is not None:
        assert back.odc.crs == mask.odc.crs
        np.testing.assert_allclose(back.odc.geobox.transform, mask.odc.geobox.transform, rtol=0, atol=1e-6)


def test_xarray_alone_reads_the_store(mask, store):
    plain = xr.open_zarr(store, decode_coords="all")["cloud_mask"]
    assert plain.dtype == np.uint8
    np.testing.assert_array_equal(plain, mask)
    if mask.odc.crs is not None:
        assert plain.rio.crs == mask.rio.crs
        np.testing.assert_allclose(plain.rio.transform(), mask.rio.transform(), rtol=0, atol=1e-6)


def test_rasterio_and_rioxarray_read_the_cog(mask, store, tmp_path):
    """As QGIS does: values through GDAL, the colours of the table, nodata seen through."""
    path = tmp_path / "mask.tif"
    run("convert", store, path, "--quiet")
    with rasterio.open(path) as file:
        codes = file.read(1)
        np.testing.assert_array_equal(codes, northern_first(mask))
        assert (file.nodata, file.dtypes) == (255.0, ("uint8",))
        assert file.colorinterp[0].name == "palette"
        colours = file.colormap(1)
        assert len({colours[code][:3] for code in range(4)}) == 4
        np.testing.assert_array_equal(file.read_masks(1) == 0, codes == 255)
        if mask.odc.crs is not None:
            assert file.crs == mask.rio.crs
            assert np.array(mask[mask.odc.spatial_dims[0]])[0] == pytest.approx(file.xy(0, 0)[1])
    again = rioxarray.open_rasterio(path)
    assert again.dtype == np.uint8
    assert again.rio.nodata == 255
    assert again.rio.encoded_nodata is None


@pytest.mark.skipif(GDALINFO is None, reason="gdalinfo is not installed")
def test_gdalinfo_finds_colours_and_the_attribute_table(mask, store, tmp_path):
    path = tmp_path / "mask.tif"
    run("convert", store, path, "--quiet")
    done = subprocess.run([GDALINFO, "-json", path], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    (band,) = told["bands"]
    assert (band["type"], band["noDataValue"], band["colorInterpretation"]) == ("Byte", 255.0, "Palette")
    assert len(band["colorTable"]["entries"]) >= 4
    assert told["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
    plain = subprocess.run([GDALINFO, path], capture_output=True, text=True, check=True).stdout
    assert "<GDALRasterAttributeTable" in plain
    for name in ("clear", "thick_cloud", "thin_cloud", "cloud_shadow"):
        assert name in plain


def test_styles_are_converted(mask, store, tmp_path):
    run("convert", store, tmp_path / "two.tif", "--style", "cloud-noncloud", "--quiet")
    two = open_store(tmp_path / "two.tif")
    np.testing.assert_array_equal(northern_first(two), northern_first(xcloudmask.to_style(mask, "cloud-noncloud")))
