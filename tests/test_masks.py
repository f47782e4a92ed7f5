"""apply, dilate, to_style and clear_fraction: lazy, positional, and nothing of the caller's is touched."""

import copy

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xcloudmask.classes import CLASS_DIM, STYLES, mask_attrs
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError, NotACubeError
from xcloudmask.fractions import clear_fraction
from xcloudmask.masks import apply, dilate, style_of, to_style
from xcloudmask.morphology import disc_px, flag_codes

CODES = np.array(
    [
        [[0, 0, 0, 0], [0, 1, 0, 255], [0, 0, 0, 0]],
        [[2, 0, 0, 3], [0, 0, 0, 0], [255, 255, 0, 0]],
    ],
    np.uint8,
)


def refuse(*args, **kwargs):
    raise AssertionError("something was computed")


@pytest.fixture
def no_compute():
    with dask.config.set(scheduler=refuse):
        yield


def coords():
    return {
        "time": np.array(["2024-01-01", "2024-01-06"], "M8[ns]"),
        "y": [30.0, 20.0, 10.0],
        "x": [100.0, 110.0, 120.0, 130.0],
        "spatial_ref": ((), 32631, {"crs_wkt": "a projection"}),
    }


def make_mask(codes=CODES, *, style="4-class", chunks=None):
    attrs = mask_attrs(STYLES[style]) | {"model": "default", "normalize": "chunk"}
    mask = xr.DataArray(codes, dims=("time", "y", "x"), coords=coords(), name="cloud_mask", attrs=attrs)
    mask.encoding["grid_mapping"] = "spatial_ref"
    return mask if chunks is None else mask.chunk(chunks)


def make_cube(dtype="uint16", *, attrs=None, chunks=None):
    data = np.arange(1, 25).reshape(2, 3, 4).astype(dtype)
    cube = xr.DataArray(data, dims=("time", "y", "x"), coords=coords(), name="red", attrs=attrs or {})
    cube.encoding["grid_mapping"] = "spatial_ref"
    return cube if chunks is None else cube.chunk(chunks)


def test_float_becomes_nan():
    masked = apply(make_cube("float32"), make_mask())
    assert masked.dtype == np.float32
    np.testing.assert_array_equal(masked.isnull(), CODES > 0)


@pytest.mark.parametrize("key", ["nodata", "_FillValue"])
def test_integers_become_their_nodata(key):
    masked = apply(make_cube(attrs={key: 0}), make_mask())
    assert masked.dtype == np.uint16
    np.testing.assert_array_equal(masked == 0, CODES > 0)
    assert masked.attrs == {key: 0}


@pytest.mark.parametrize(("dtype", "promoted"), [("uint8", "f4"), ("uint16", "f4"), ("int32", "f8"), ("bool", "f4")])
@pytest.mark.parametrize("attrs", [{}, {"nodata": -9999999999}, {"nodata": float("nan")}])
def test_integers_without_a_usable_nodata_are_promoted(dtype, promoted, attrs):
    masked = apply(make_cube(dtype, attrs=attrs), make_mask())
    assert masked.dtype == promoted
    np.testing.assert_array_equal(masked.isnull(), CODES > 0)


def test_a_dataset_keeps_what_is_no_image():
    extra = {
        "tile": ("time", ["a", "b"]),
        "height": (("y", "x"), np.zeros((3, 4))),
        "red": make_cube(attrs={"nodata": 0}),
    }
    cube = xr.Dataset(extra)
    mask = make_mask()
    masked = apply(cube.drop_vars("height"), mask)
    assert list(masked) == ["tile", "red"]
    np.testing.assert_array_equal(masked["red"] == 0, CODES > 0)
    xr.testing.assert_identical(masked["tile"], cube["tile"])


def test_bands_are_masked_together_and_dims_keep_their_order():
    stacked = xr.concat([make_cube("float64"), make_cube("float64") * 2], dim="band").transpose(
        "x", "band", "time", "y"
    )
    masked = apply(stacked, make_mask().transpose("y", "x", "time"))
    assert masked.dims == stacked.dims
    np.testing.assert_array_equal(masked.isel(band=1).transpose("time", "y", "x").isnull(), CODES > 0)


def test_coordinates_crs_and_attrs_are_the_cubes_own():
    cube = make_cube("float32", attrs={"units": "1"})
    mask = make_mask().assign_coords(spatial_ref=0, time=make_mask().time.astype("M8[us]"))
    masked = apply(cube, mask)
    assert masked.attrs == {"units": "1"}
    assert masked.encoding == {"grid_mapping": "spatial_ref"}
    xr.testing.assert_identical(masked.coords.to_dataset(), cube.coords.to_dataset())


def test_the_callers_objects_stay_as_they_were():
    cube, mask = make_cube(attrs={"nodata": 0, "tags": {"a": 1}}), make_mask()
    before = copy.deepcopy((cube, mask, cube.attrs, mask.attrs, cube.encoding))
    apply(cube, mask, dilate_px=1).attrs["new"] = 1
    dilate(mask, px=1).attrs["new"] = 1
    to_style(mask, "valid-invalid").attrs["new"] = 1
    xr.testing.assert_identical(cube, before[0])
    xr.testing.assert_identical(mask, before[1])
    assert cube.encoding == before[4]
    assert "new" not in mask.attrs


def test_nodata_may_be_kept():
    masked = apply(make_cube("float32"), make_mask(), keep_nodata=True)
    np.testing.assert_array_equal(masked.isnull(), (CODES > 0) & (CODES < 255))


def test_classes_choose():
    masked = apply(make_cube("float32"), make_mask(), classes="cloud_shadow", keep_nodata=True)
    np.testing.assert_array_equal(masked.isnull(), CODES == 3)


def test_a_mask_without_time_serves_all_times():
    masked = apply(make_cube("float32"), make_mask().isel(time=0, drop=True))
    assert masked.dims == ("time", "y", "x")
    np.testing.assert_array_equal(masked.isel(time=1).isnull(), CODES[0] > 0)


def test_other_spatial_names():
    names = {"y": "latitude", "x": "longitude"}
    masked = apply(make_cube("float32").rename(names), make_mask().rename(names), dilate_px=1)
    np.testing.assert_array_equal(
        masked.isnull(), flag_codes(CODES, grown=[(code, disc_px(1)) for code in (1, 2, 3)], flag_nodata=True)
    )


def test_corner_and_centre_coordinates_are_the_same_pixels():
    cube = make_cube("float32").assign_coords(x=[95.0, 105.0, 115.0, 125.0])
    assert float(apply(cube, make_mask()).isnull().sum()) == (CODES > 0).sum()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (make_mask().isel(x=slice(3)), "3 entries"),
        (make_mask().assign_coords(x=[110.0, 120.0, 130.0, 140.0]), "different coordinates along 'x'"),
        (make_mask().isel(time=[1, 0]), "different coordinates along 'time'"),
        (make_mask().rename(time="date"), "mask.isel"),
    ],
)
def test_a_mask_of_other_pixels_is_refused(mask, message):
    with pytest.raises(InputError, match=message):
        apply(make_cube(), mask)


@pytest.mark.parametrize("chunks", [{"time": 1, "y": 2, "x": 3}, {"x": 1}, {}])
def test_lazy_equals_eager(chunks, no_compute):
    cube, mask = make_cube(attrs={"nodata": 0}), make_mask()
    lazy_cube, lazy_mask = cube.chunk(chunks), mask.chunk(chunks)
    lazy = [
        apply(lazy_cube, lazy_mask, dilate_px=2),
        apply(lazy_cube.to_dataset(), lazy_mask)["red"],
        apply(cube, lazy_mask, dilate_px=1),
        dilate(lazy_mask, px=1),
        to_style(lazy_mask, "cloud-noncloud"),
        clear_fraction(lazy_mask),
        clear_fraction(lazy_mask, dim="time"),
    ]
    assert all(isinstance(array.data, da.Array) for array in lazy)
    assert lazy[0].chunks == lazy_cube.chunks
    eager = [
        apply(cube, mask, dilate_px=2),
        apply(cube, mask),
        apply(cube, mask, dilate_px=1),
        dilate(mask, px=1),
        to_style(mask, "cloud-noncloud"),
        clear_fraction(mask),
        clear_fraction(mask, dim="time"),
    ]
    with dask.config.set(scheduler="sync"):
        for one, other in zip(lazy, eager, strict=True):
            xr.testing.assert_identical(one.compute(), other)


@settings(deadline=None, max_examples=30)
@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.just(2), st.integers(1, 13), st.integers(1, 13)),
        elements=st.sampled_from([0, 1, 3, 255]),
    ),
    st.integers(1, 6),
    st.integers(0, 5),
)
def test_dilation_does_not_depend_on_chunks(codes, chunk, px):
    mask = xr.DataArray(codes, dims=("time", "y", "x"), attrs=mask_attrs(STYLES["4-class"]))
    with dask.config.set(scheduler="sync"):
        lazy = dilate(mask.chunk({"y": chunk, "x": chunk}), px=px).compute()
    xr.testing.assert_identical(lazy, dilate(mask, px=px))
    assert set(np.unique(lazy)) <= set(np.unique(codes))


@pytest.mark.parametrize(
    ("style", "codes"),
    [("4-class", [0, 1, 2, 3, 255]), ("cloud-noncloud", [0, 1, 1, 0, 255]), ("valid-invalid", [0, 1, 1, 1, 255])],
)
def test_styles(style, codes):
    mask = make_mask(np.resize(np.array([0, 1, 2, 3, 255], np.uint8), (2, 3, 4)))
    styled = to_style(mask, style)
    assert styled.dtype == np.uint8
    assert styled.values.ravel()[:5].tolist() == codes
    assert styled.attrs["output_style"] == style
    assert styled.attrs["flag_meanings"] == " ".join(STYLES[style].meanings)
    assert styled.attrs["model"] == "default"
    assert styled.encoding == mask.encoding


def test_lost_classes_do_not_come_back():
    with pytest.raises(InputError, match="4-class mask"):
        to_style(make_mask(style="valid-invalid"), "4-class")
    with pytest.raises(ArgumentError, match="unknown"):
        to_style(make_mask(), "5-class")


def test_clear_fraction_leaves_nodata_out():
    fraction = clear_fraction(make_mask())
    np.testing.assert_allclose(fraction, [10 / 11, 8 / 10])
    assert fraction.dims == ("time",)
    assert fraction.name == "clear_fraction"
    assert fraction.attrs == {"long_name": "clear fraction", "units": "1"}
    assert float(clear_fraction(make_mask(), dim=["time", "y", "x"])) == 18 / 21


def test_clear_fraction_without_data_is_nan():
    fraction = clear_fraction(make_mask(np.full_like(CODES, 255)))
    assert fraction.dtype == np.float64
    assert fraction.isnull().all()


def test_other_styles_are_applied_as_they_are():
    cube = make_cube("float32")
    clouds = to_style(make_mask(), "cloud-noncloud")
    np.testing.assert_array_equal(apply(cube, clouds).isnull(), np.isin(CODES, [1, 2, 255]))
    np.testing.assert_array_equal(apply(cube, clouds, classes=("cloud",)).isnull(), np.isin(CODES, [1, 2, 255]))
    invalid = to_style(make_mask(), "valid-invalid")
    np.testing.assert_array_equal(apply(cube, invalid).isnull(), CODES > 0)
    with pytest.raises(ArgumentError, match=r"does not tell thick_cloud from thin_cloud.*classes=\('cloud',\)"):
        apply(cube, clouds, classes=("thick_cloud",))
    with pytest.raises(ArgumentError, match="has no class 'cloud_shadow'"):
        apply(cube, clouds, classes=("cloud_shadow",))


def test_clear_pixels_can_be_removed_too():
    masked = apply(make_cube("float32"), make_mask(), classes=("clear",), keep_nodata=True)
    np.testing.assert_array_equal(masked.isnull(), CODES == 0)


def test_no_classes_remove_only_nodata():
    np.testing.assert_array_equal(apply(make_cube("float32"), make_mask(), classes=()).isnull(), CODES == 255)


@pytest.mark.parametrize(
    "wrong",
    [
        make_cube(),
        make_cube().to_dataset(),
        CODES,
        make_mask().astype(float),
        make_mask().expand_dims({CLASS_DIM: 4}),
    ],
)
def test_what_is_no_mask_is_refused(wrong):
    with pytest.raises(NotACubeError):
        style_of(wrong)
    with pytest.raises(NotACubeError):
        apply(make_cube(), wrong)
    with pytest.raises(NotACubeError):
        clear_fraction(wrong)


def test_wrong_arguments():
    with pytest.raises(NotACubeError, match="ndarray"):
        apply(CODES, make_mask())
    with pytest.raises(ArgumentError, match="'clouds' is unknown"):
        apply(make_cube(), make_mask(), classes=("clouds",))
    with pytest.raises(ArgumentError, match="negative"):
        dilate(make_mask(), px=-1)
    with pytest.raises(ArgumentTypeError, match="str"):
        apply(make_cube(), make_mask(), dilate_px="3")
    with pytest.raises(ArgumentError, match="no dimension 'band'"):
        clear_fraction(make_mask(), dim="band")


def growing(mask, codes, px):
    """Pixels within so many of a code, by brute force."""
    ys, xs = np.indices(mask.shape[1:])
    near = np.zeros(mask.shape, bool)
    for time, y, x in np.argwhere(np.isin(mask, codes)).tolist():
        near[time] |= (ys - y) ** 2 + (xs - x) ** 2 <= px**2
    return near


@settings(deadline=None, max_examples=50)
@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.just(2), st.integers(1, 13), st.integers(1, 13)),
        elements=st.sampled_from([0, 0, 0, 1, 2, 3, 255]),
    ),
    st.integers(1, 6),
    st.integers(1, 6),
    st.dictionaries(st.sampled_from(["thick_cloud", "thin_cloud", "cloud_shadow"]), st.integers(0, 5)),
    st.booleans(),
)
def test_apply_by_class_does_not_depend_on_chunks(codes, chunk, other, px, keep):
    mask = xr.DataArray(codes, dims=("time", "y", "x"), attrs=mask_attrs(STYLES["4-class"]))
    cube = xr.DataArray(np.ones((2, 3, *codes.shape[1:]), np.float32), dims=("time", "band", "y", "x"))
    gone = (np.isin(codes, [1, 2, 3])) | ((codes == 255) & (not keep))
    for code, name in ((1, "thick_cloud"), (2, "thin_cloud"), (3, "cloud_shadow")):
        # Flags grow over nodata too.
        gone |= growing(codes, [code], px.get(name, 0))
    whole = apply(cube, mask, dilate_px=px, keep_nodata=keep)
    np.testing.assert_array_equal(whole.isnull(), np.broadcast_to(gone[:, None], whole.shape))
    lazy_cube = cube.chunk({"time": 1, "y": chunk, "x": chunk})
    lazy = apply(lazy_cube, mask.chunk({"y": other, "x": other}), dilate_px=px, keep_nodata=keep)
    assert lazy.chunks == lazy_cube.chunks
    with dask.config.set(scheduler="sync"):
        xr.testing.assert_identical(lazy.compute(), whole)


def metric(mask, pixel=10.0):
    return mask.assign_coords(spatial_ref=((), 32631, {"crs_wkt": "EPSG:32631"}), y=-pixel * np.arange(3))


def test_metres_are_pixels_of_the_grid():
    mask = metric(make_mask())
    cube = make_cube("float32").assign_coords(y=mask.y)
    xr.testing.assert_identical(apply(cube, mask, dilate_m=10), apply(cube, mask, dilate_px=1))
    xr.testing.assert_identical(apply(cube, mask, dilate_m=9.9), apply(cube, mask))
    by_class = {"thick_cloud": 20.0, "cloud_shadow": 10.0}
    in_px = {"thick_cloud": 2, "cloud_shadow": 1}
    xr.testing.assert_identical(apply(cube, mask, dilate_m=by_class), apply(cube, mask, dilate_px=in_px))
    assert not apply(cube, mask, dilate_px=in_px).identical(apply(cube, mask, dilate_px=2))
    np.testing.assert_array_equal(dilate(mask, m=by_class), dilate(mask, px=in_px))


def test_pixels_that_are_not_square_grow_to_an_ellipse():
    codes = np.zeros((2, 3, 4), np.uint8)
    codes[0, 1, 1] = 1
    grown = dilate(metric(make_mask(codes), pixel=30.0), m=20.0)
    np.testing.assert_array_equal(grown[0], [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])


def test_a_lazy_cube_keeps_its_chunks_under_any_mask():
    cube, mask = make_cube("float32", chunks={"time": 1, "y": 2, "x": 2}), make_mask()
    for other in (mask, mask.chunk({"time": 2, "y": 1, "x": 3}), mask.isel(time=0, drop=True)):
        assert apply(cube, other).chunks == cube.chunks
        assert apply(cube.to_dataset(), other, dilate_px=1)["red"].chunks == cube.chunks


def test_what_was_done_to_a_mask_is_told():
    mask = make_mask().assign_attrs(settings='{"halo_px":72}', model_sha256="ab", xcloudmask_version="0.1.0")
    grown = dilate(dilate(mask, px=3), px={"cloud_shadow": 1}, classes=("cloud_shadow",))
    said = "dilated: thick_cloud 3 px, thin_cloud 3 px, cloud_shadow 3 px; dilated: cloud_shadow 1 px"
    assert grown.attrs["processing"] == said
    assert set(grown.attrs) == {*mask.attrs, "processing"}
    styled = to_style(grown, "cloud-noncloud")
    kept = ("model", "model_sha256", "normalize", "settings", "xcloudmask_version", "processing")
    assert {key: styled.attrs[key] for key in kept} == {key: grown.attrs[key] for key in kept}
    assert {*styled.attrs} - {*kept} == {*mask_attrs(STYLES["cloud-noncloud"])}
    assert dilate(metric(mask), m=10.5, classes="thin_cloud").attrs["processing"] == "dilated: thin_cloud 10.5 m"
    assert "processing" not in dilate(mask, px=0).attrs
    assert "processing" not in mask.attrs


def test_what_predict_tells_stays_in_every_style():
    from cubes import odc_dataset

    mask = odc_dataset(times=1).cloudmask.predict()
    styled = to_style(mask, "valid-invalid")
    assert set(styled.attrs) == set(mask.attrs)
    changed = {key for key in mask.attrs if not np.array_equal(styled.attrs[key], mask.attrs[key])}
    assert changed == {"flag_values", "flag_meanings", "output_style"}


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"dilate_px": 1, "dilate_m": 10}, ArgumentError, "dilate_px=1 and dilate_m=10 are both given"),
        ({"dilate_m": 10}, InputError, r"dilate_m is in metres.*give pixels: dilate_px"),
        ({"dilate_m": -1.0}, ArgumentError, "dilate_m=-1.0 is no distance"),
        ({"dilate_m": float("nan")}, ArgumentError, "dilate_m=nan"),
        ({"dilate_m": "30 m"}, ArgumentTypeError, "dilate_m='30 m' is a str"),
        ({"dilate_px": {"cloud": 1}}, ArgumentError, "'cloud' is unknown"),
        (
            {"dilate_px": {"cloud_shadow": 1}, "classes": "thick_cloud"},
            ArgumentError,
            "not among classes='thick_cloud'",
        ),
        ({"dilate_px": {"cloud_shadow": 1.5}}, ArgumentTypeError, "dilate_px=1.5"),
    ],
)
def test_wrong_growth(asked, error, message):
    with pytest.raises(error, match=message):
        apply(make_cube(), make_mask().drop_vars("spatial_ref"), **asked)


def test_wrong_dilations():
    with pytest.raises(ArgumentError, match="px=3, or m=30"):
        dilate(make_mask())
    with pytest.raises(ArgumentError, match="clear cannot grow"):
        dilate(make_mask(), px=1, classes="clear")
    wide = xr.DataArray(np.zeros((8, 2400), np.uint8), dims=("y", "x"), attrs=mask_attrs(STYLES["4-class"]))
    with pytest.raises(ArgumentError, match=r"dilation needs a halo of 2000 px.*mask.chunk"):
        dilate(wide.chunk({"x": 1200}), px=2000)
