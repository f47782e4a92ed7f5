"""Which masks may lie in one store: made in the same way, on the same grid."""

import json

import numpy as np
import pytest
import xarray as xr
from cubes import odc_dataset
from hypothesis import given
from hypothesis import strategies as st

from xcloudmask.classes import CLASS_DIM, STYLES, mask_attrs
from xcloudmask.errors import WriteError
from xcloudmask.io._identity import check_same, grid_of, settings_of


def make_mask(shape=(4, 6), *, start=(600_000.0, 5_000_000.0), spacing=20.0, crs="EPSG:32631", **attrs):
    from odc.geo import CRS

    coords = {
        "y": start[1] - spacing * np.arange(shape[0]),
        "x": start[0] + spacing * np.arange(shape[1]),
        "spatial_ref": ((), 0, {"crs_wkt": CRS(crs).to_wkt()}),
    }
    return xr.DataArray(
        np.zeros(shape, np.uint8), dims=("y", "x"), coords=coords, attrs=mask_attrs(STYLES["4-class"]) | attrs
    )


def test_settings_of_a_predicted_mask(tiny_model):
    cube = odc_dataset(shape=(70, 90), chunks={"time": 1, "y": 40, "x": 90})
    found = settings_of(cube.cloudmask.predict(model=tiny_model, normalize="lattice"))
    assert found == {
        "dtype": "uint8",
        "output_style": "4-class",
        "model": "tiny",
        "model_sha256": tiny_model.sha256,
        "normalize": "lattice",
        "bands": "red green nir",
        "factor": 1,
        "halo_px": 40,
        "level": "unknown",
        "precision": "auto",
        "tile_px": 64,
        "upsample": 1,
    }


def test_the_layout_is_no_setting_and_dates_may_differ_in_scale(tiny_model):
    cube = odc_dataset(shape=(70, 90), times=2)
    for band in cube.data_vars:
        cube[band].attrs |= {"scale_factor": 1e-4, "add_offset": 0.0}
    other = cube.isel(time=[0]).chunk(y=32, x=32)
    for band in other.data_vars:
        other[band].attrs |= {"add_offset": -0.1}
    first, second = (c.cloudmask.predict(model=tiny_model) for c in (cube, other))
    assert settings_of(first) == settings_of(second)
    assert json.loads(first.attrs["settings"])["level"] == "known"


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ({"halo_px": 8}, "halo_px"),
        ({"stride": 32}, "stride"),
        ({"precision": "fp32"}, "precision"),
        ({"bands": {"nir": None}}, "bands"),
        ({"scale": 1e-4}, "level"),
        ({"resolution_m": 3.0}, "factor"),
        ({"normalize": "lattice"}, "tile_px"),
        ({"output_style": "valid-invalid"}, "output_style"),
        ({"categorise": False}, CLASS_DIM),
    ],
)
def test_what_changes_the_codes_is_told(option, name, tiny_model):
    cube = odc_dataset(shape=(70, 90), chunks={"time": 1, "y": 70, "x": 90})
    plain, other = (settings_of(cube.cloudmask.predict(model=tiny_model, **each)) for each in ({}, option))
    assert plain.get(name) != other[name]


def test_settings_survive_a_style_and_a_store(tiny_model, tmp_path):
    from xcloudmask.io import open_mask, to_zarr

    mask = odc_dataset(shape=(64, 64)).cloudmask.predict(model=tiny_model)
    to_zarr(mask, tmp_path / "m.zarr")
    opened = open_mask(tmp_path / "m.zarr")
    assert settings_of(opened) == settings_of(mask)
    check_same(opened, mask, target="m.zarr")


@pytest.mark.parametrize(
    ("other", "name"),
    [
        (make_mask(model="other"), "model"),
        (make_mask(model="mine", settings='{"halo_px":72}'), "halo_px"),
        (make_mask(model="mine", settings="as I like"), "settings"),
        (make_mask(model="mine", processing="dilate px=3"), "processing"),
        (make_mask((4, 7), model="mine"), r"pixels \(y, x\)"),
        (make_mask(start=(600_010.0, 5e6), model="mine"), "transform"),
        (make_mask(spacing=20.01, model="mine"), "transform"),
        (make_mask(crs="EPSG:32632", model="mine"), "CRS"),
        (make_mask(model="mine").expand_dims(time=1), "dimensions"),
        (make_mask(model="mine").astype("int16"), "dtype"),
        (make_mask(model="mine").drop_vars(["x", "spatial_ref"]), "CRS"),
        (make_mask(model="mine").drop_vars("x"), "transform"),
    ],
)
def test_differences_are_named(other, name):
    with pytest.raises(WriteError, match=rf"^m\.zarr holds a mask with {name} = .*and this one has .*mode='w'"):
        check_same(make_mask(model="mine"), other, target="m.zarr")


def test_irregular_coordinates_are_compared():
    mask = make_mask().assign_coords(x=[0.0, 1, 2, 4, 8, 16])
    assert grid_of(mask).transform is None
    check_same(mask, mask.copy(), target="m.zarr")
    with pytest.raises(WriteError, match="coordinates"):
        check_same(mask, mask.assign_coords(x=[0.0, 1, 2, 4, 8, 17]), target="m.zarr")


@given(st.floats(-1e-4, 1e-4), st.floats(-1e-7, 1e-7))
def test_rounding_errors_are_no_difference(shift, stretch):
    mask = make_mask()
    moved = mask.assign_coords(x=mask.x * (1 + stretch * 1e-6) + 20 * shift)
    check_same(mask, moved, target="m.zarr")


def test_two_spellings_of_one_crs_are_the_same():
    from pyproj import CRS

    mask = make_mask()
    other = mask.assign_coords(spatial_ref=((), 0, {"crs_wkt": CRS.from_epsg(32631).to_wkt("WKT1_GDAL")}))
    check_same(mask, other, target="m.zarr")


def test_the_version_is_told_and_not_compared():
    check_same(make_mask(xcloudmask_version="0.1"), make_mask(xcloudmask_version="0.2"), target="m.zarr")
