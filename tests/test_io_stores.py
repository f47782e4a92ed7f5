"""`open_store`: masks are opened again as they were written, told by what they are."""

import json

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  # registers .rio
import xarray as xr
from test_webreport import make_mask

from xcloudmask.classes import get_style, mask_attrs
from xcloudmask.errors import ArgumentTypeError, InputError, ReadError
from xcloudmask.io import to_cog
from xcloudmask.io.stores import open_store

MADE = {"model": "tiny", "model_sha256": "0f", "normalize": "chunk", "settings": '{"halo_px":72}'}


@pytest.fixture
def mask():
    coords = {"item_id": ("time", ["b", "a", "c"]), "platform": ("time", ["sentinel-2a"] * 3)}
    return make_mask(3, chunks={"time": 1, "y": 20, "x": 20}).assign_coords(coords).assign_attrs(MADE)


def same(found, mask):
    np.testing.assert_array_equal(found, mask)
    assert found.dtype == np.uint8
    assert found.chunks is not None
    for name in ("time", "y", "x", "item_id", "platform"):
        np.testing.assert_array_equal(found[name], mask[name])
    assert found.rio.crs == mask.rio.crs
    assert found.rio.transform() == mask.rio.transform()
    for key, value in mask.attrs.items():
        np.testing.assert_array_equal(found.attrs[key], value)


def test_zarr(tmp_path, mask):
    mask.cloudmask.to_zarr(tmp_path / "anything")
    same(open_store(tmp_path / "anything"), mask)


def test_icechunk(tmp_path, mask):
    pytest.importorskip("icechunk")
    from xcloudmask.io.icechunk import to_icechunk

    to_icechunk(mask, tmp_path / "repo")
    same(open_store(str(tmp_path / "repo")), mask)


def test_a_folder_of_cogs(tmp_path, mask):
    to_cog(mask.isel(time=[2, 0]), tmp_path / "masks")
    to_cog(mask.isel(time=[1]), tmp_path / "masks")
    (tmp_path / "masks" / "notes.txt").write_text("no mask")
    same(open_store(tmp_path / "masks"), mask)


def test_one_cog(tmp_path, mask):
    (path,) = to_cog(mask[1], tmp_path / "mask.tif")
    same(open_store(path), mask[1:2])
    bare = mask[1].drop_vars(["time", "item_id", "platform"])
    (path,) = to_cog(bare, tmp_path / "bare.tif")
    found = open_store(path)
    assert found.dims == ("y", "x")
    np.testing.assert_array_equal(found, bare)


def test_of_several_styles_the_one_with_most_classes(tmp_path, mask):
    coarse = mask.cloudmask.to_style("valid-invalid")
    to_cog(coarse[0], tmp_path / "masks" / "a.tif")
    assert open_store(tmp_path / "masks").attrs["output_style"] == "valid-invalid"
    to_cog(mask, tmp_path / "masks")
    same(open_store(tmp_path / "masks"), mask)


def test_the_folder_of_a_catalogue(tmp_path, mask):
    pytest.importorskip("pystac")
    from xcloudmask.stac.out import to_stac

    to_stac(mask, tmp_path / "catalogue")
    same(open_store(tmp_path / "catalogue"), mask)
    same(open_store(tmp_path / "catalogue" / "catalog.json"), mask)


def test_a_catalogue_leads_nowhere_else(tmp_path, mask):
    to_cog(mask, tmp_path / "elsewhere")
    (tmp_path / "catalogue").mkdir()
    link = {"rel": "item", "href": "../elsewhere/item.json"}
    (tmp_path / "catalogue" / "catalog.json").write_text(json.dumps({"type": "Catalog", "links": [link]}))
    with pytest.raises(ReadError, match="holds no masks"):
        open_store(tmp_path / "catalogue")


def test_masks_that_were_made_otherwise_or_lie_elsewhere(tmp_path, mask):
    to_cog(mask[:2], tmp_path / "masks")
    to_cog(mask[2].assign_attrs(model="other"), tmp_path / "masks" / "other.tif")
    with pytest.raises(InputError, match="model = 'other'"):
        open_store(tmp_path / "masks")
    to_cog(mask[2, :20], tmp_path / "masks" / "other.tif", overwrite=True)
    with pytest.raises(InputError, match="another grid"):
        open_store(tmp_path / "masks")
    bare = mask[2].drop_vars("time")
    to_cog(bare, tmp_path / "masks" / "other.tif", overwrite=True)
    with pytest.raises(InputError, match="have a time"):
        open_store(tmp_path / "masks")


def test_what_is_no_mask(tmp_path):
    with pytest.raises(ReadError, match="does not exist"):
        open_store(tmp_path / "masks")
    with pytest.raises(ReadError, match="Found: nothing"):
        open_store(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ReadError, match=r"Found: a\.txt"):
        open_store(tmp_path)
    with pytest.raises(ReadError, match="is no mask"):
        open_store(tmp_path / "a.txt")
    with pytest.raises(ArgumentTypeError):
        open_store(3)
    profile = {"driver": "GTiff", "count": 1, "height": 4, "width": 4, "dtype": "uint8", "crs": "EPSG:32631"}
    with rasterio.open(tmp_path / "image.tif", "w", **profile, transform=rasterio.Affine(10, 0, 0, 0, -10, 0)) as file:
        file.write(np.zeros((1, 4, 4), np.uint8))
        file.update_tags(output_style="5-class")
    with pytest.raises(ReadError, match=r"no classes of xcloudmask in .*image\.tif"):
        open_store(tmp_path)


def test_percent_is_no_mask_of_classes(tmp_path):
    shares = np.full((4, 8, 8), 25, np.uint8)
    attrs = {"units": "percent", "nodata": 255, "output_style": "4-class"}
    percent = xr.DataArray(shares, dims=("cloud_class", "y", "x"), attrs=attrs)
    to_cog(percent.assign_coords(cloud_class=list(get_style("4-class").meanings)), tmp_path / "percent.tif")
    with pytest.raises(ReadError, match="no single band"):
        open_store(tmp_path / "percent.tif")


def test_a_mask_without_georeference(tmp_path):
    codes = xr.DataArray(np.eye(5, dtype="u1"), dims=("y", "x"), attrs=mask_attrs(get_style("4-class")))
    to_cog(codes, tmp_path / "mask.tif")
    found = open_store(tmp_path / "mask.tif")
    np.testing.assert_array_equal(found, codes)
    assert not found.coords
