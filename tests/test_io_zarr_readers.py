"""What others read out of a store: xarray without arguments, rioxarray, odc-geo, cf-xarray, GDAL."""

import warnings

import cf_xarray  # noqa: F401 - the accessor .cf
import numpy as np
import odc.geo.xr  # noqa: F401 - the accessor .odc
import pytest
import rioxarray  # noqa: F401 - the accessor .rio
import xarray as xr
import zarr
from cubes import odc_dataset, rioxarray_array, stackstac_array
from odc.geo.geobox import GeoBox
from zarr_masks import make_mask

from xcloudmask.io import open_mask, to_zarr


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("readers") / "m.zarr"
    to_zarr(make_mask(["2024-01-01"]), path, append_dim="time", chunks=16, shards=32)
    to_zarr(make_mask(["2024-01-02"]), path, append_dim="time")
    return path


@pytest.fixture(scope="module")
def mask():
    return make_mask(["2024-01-01", "2024-01-02"])


def test_xarray_without_arguments_and_without_warnings(store, mask):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = xr.open_zarr(store)
    assert opened.clouds.dtype == np.uint8
    assert set(opened.coords) == {"time", "y", "x", "spatial_ref", "item_id"}
    np.testing.assert_array_equal(opened.clouds, mask)
    assert opened.clouds.attrs["nodata"] == 255


@pytest.mark.parametrize("options", [{"consolidated": False}, {"consolidated": True}, {"decode_coords": "all"}])
def test_xarray_with_arguments(store, mask, options):
    opened = xr.open_dataset(store, engine="zarr", **options)
    np.testing.assert_array_equal(opened.clouds, mask)
    assert opened.clouds.rio.crs.to_epsg() == 32631


@pytest.mark.parametrize("opened_by", [xr.open_zarr, open_mask])
def test_rioxarray_and_odc_geo(store, mask, opened_by):
    opened = opened_by(store)
    codes = opened.clouds if isinstance(opened, xr.Dataset) else opened
    assert codes.rio.crs.to_epsg() == codes.odc.crs.to_epsg() == 32631
    assert codes.rio.transform() == codes.odc.transform == mask.rio.transform()
    assert codes.rio.nodata is None or codes.rio.nodata == 255
    assert codes.odc.nodata == 255
    assert codes.odc.geobox == mask.odc.geobox


def test_cf_xarray_finds_the_classes(store, mask):
    for codes in (open_mask(store), xr.open_zarr(store).clouds):
        assert list(codes.cf.flags) == ["clear", "thick_cloud", "thin_cloud", "cloud_shadow"]
        np.testing.assert_array_equal(codes.cf == "thick_cloud", mask == 1)
        np.testing.assert_array_equal(codes.cf.isin(["thin_cloud", "cloud_shadow"]), mask.isin([2, 3]))
    assert xr.open_zarr(store).cf["status_flag"].name == "clouds"


def test_zarr_alone(store, mask):
    group = zarr.open_group(store, mode="r")
    assert group.metadata.consolidated_metadata is not None
    array = group["clouds"]
    assert (array.chunks, array.shards, array.fill_value) == ((1, 16, 16), (1, 32, 32), 255)
    np.testing.assert_array_equal(array[:], mask)
    alone = zarr.open_group(store, mode="r", use_consolidated=False)
    assert {name: each.shape for name, each in alone.arrays()} == {name: each.shape for name, each in group.arrays()}


def test_gdal(tmp_path):
    """Where its Zarr driver knows the codecs; that of 3.10 does not."""
    rasterio = pytest.importorskip("rasterio")
    if not has_driver("Zarr"):
        pytest.skip("this GDAL has no Zarr driver")
    mask = make_mask(["2024-01-01"])
    to_zarr(mask, tmp_path / "m.zarr")
    try:
        with rasterio.open(f'ZARR:"{tmp_path / "m.zarr"}":/clouds:0') as file:
            assert file.dtypes == ("uint8",)
            assert file.nodata == 255
            np.testing.assert_array_equal(file.read(1), mask[0])
    except rasterio.errors.RasterioIOError as error:
        pytest.skip(f"GDAL {rasterio.__gdal_version__} cannot: {error}")


def has_driver(name):
    from rasterio.env import Env

    with Env() as environment:
        return name in environment.drivers()


@pytest.mark.parametrize(
    "cube",
    [odc_dataset(), odc_dataset(geographic=True), rioxarray_array(), stackstac_array()],
    ids=["odc", "degrees", "rioxarray", "stackstac"],
)
def test_masks_of_any_loader(cube, tiny_model, tmp_path):
    mask = cube.cloudmask.predict(model=tiny_model)
    to_zarr(mask, tmp_path / "m.zarr", chunks=32)
    opened = open_mask(tmp_path / "m.zarr")
    np.testing.assert_array_equal(opened, mask)
    assert opened.rio.crs == mask.rio.crs
    assert opened.rio.transform().almost_equals(mask.rio.transform())
    plain = xr.open_zarr(tmp_path / "m.zarr")["cloud_mask"]
    assert plain.rio.crs == mask.rio.crs
    assert isinstance(plain.odc.geobox, GeoBox)
    assert opened.attrs == mask.attrs | {"flag_values": opened.attrs["flag_values"]}
