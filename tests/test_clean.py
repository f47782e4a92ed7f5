"""clean: the filters' meaning, what fills what, and the same answer for every layout of chunks."""

import copy

import dask
import numpy as np
import pytest
import xarray as xr
from cubes import odc_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from xcloudmask import clean, dilate, to_style
from xcloudmask._mask_maps import MAX_HALO_PX
from xcloudmask.classes import STYLES, mask_attrs
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError, NotACubeError

NAMES = ("opening", "closing", "erosion", "dilation")


def make_mask(codes, *, style="4-class", **attrs):
    codes = np.asarray(codes, np.uint8)
    dims = ("time", "y", "x")[-codes.ndim :]
    return xr.DataArray(codes, dims=dims, attrs=mask_attrs(STYLES[style]) | attrs)


def row(text):
    """One row of codes; n is nodata."""
    return make_mask([[255 if letter == "n" else int(letter) for letter in text]])


def told(mask):
    return "".join("n" if code == 255 else str(code) for code in mask.values.ravel())


codes_3d = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 2), st.integers(1, 16), st.integers(1, 16)),
    elements=st.sampled_from([0, 0, 1, 1, 2, 3, 255]),
)
filters = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 3)), max_size=3)
wholes = st.one_of(st.none(), st.integers(0, 6))
by_class = st.dictionaries(st.sampled_from(["thick_cloud", "thin_cloud", "cloud_shadow"]), st.integers(0, 5))


@settings(deadline=None, max_examples=60)
@given(
    codes=codes_3d,
    chunk=st.tuples(st.integers(1, 2), st.integers(2, 9), st.integers(2, 9)),
    pairs=st.one_of(filters, st.dictionaries(st.sampled_from(["thick_cloud", "cloud_shadow"]), filters)),
    size=st.one_of(wholes, by_class),
    hole=st.one_of(wholes, by_class),
    connectivity=st.sampled_from([4, 8]),
)
def test_the_layout_of_chunks_changes_nothing(codes, chunk, pairs, size, hole, connectivity):
    asked = {"filters": pairs, "min_size_px": size, "min_hole_px": hole, "connectivity": connectivity}
    if not pairs and size is None and hole is None:
        asked["min_size_px"] = 3
    mask = make_mask(codes)
    whole = clean(mask, **asked)
    lazy = clean(mask.chunk(dict(zip(mask.dims, chunk, strict=True))), **asked)
    assert lazy.chunks == mask.chunk(dict(zip(mask.dims, chunk, strict=True))).chunks
    with dask.config.set(scheduler="sync"):
        xr.testing.assert_identical(lazy.compute(), whole)
    np.testing.assert_array_equal(whole == 255, codes == 255)
    assert set(np.unique(whole)) <= set(np.unique(codes)) | {0}


def disc(radius):
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return y**2 + x**2 <= radius**2


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 25), st.integers(1, 25))), st.sampled_from(NAMES), st.integers(1, 5))
def test_filters_are_those_of_binary_morphology(flags, name, radius):
    def dilated(there):
        return ndimage.binary_dilation(there, disc(radius), border_value=0)

    def eroded(there):
        return ndimage.binary_erosion(there, disc(radius), border_value=1)

    expected = {
        "dilation": lambda: dilated(flags),
        "erosion": lambda: eroded(flags),
        "opening": lambda: dilated(eroded(flags)),
        "closing": lambda: eroded(dilated(flags)),
    }[name]()
    found = clean(make_mask(flags, style="cloud-noncloud"), [(name, radius)])
    np.testing.assert_array_equal(found == 1, expected)


@pytest.mark.parametrize(
    ("before", "pairs", "after"),
    [
        ("0110111100", [("opening", 1)], "0000111100"),
        ("00110111100", [("closing", 1)], "00111111100"),
        ("0110111100", [("erosion", 1)], "0000011000"),
        ("0110000000", [("dilation", 2)], "1111100000"),
        ("0110111100", [("opening", 1), ("dilation", 1)], "0001111110"),
        ("00110111100", [("dilation", 1), ("erosion", 1)], "00111111100"),
        # The classes are one set: a thin rim stays with its thick cloud.
        ("0021112000", [("opening", 2)], "0021112000"),
        ("0002000000", [("opening", 1)], "0000000000"),
        # The first class within the radius fills.
        ("3001000000", [("dilation", 2)], "3111110000"),
        ("3020000000", [("closing", 1)], "3220000000"),
        # Nodata and the edge neither grow nor gnaw.
        ("11n0001111", [("erosion", 1)], "11n0000111"),
        ("01n1000000", [("opening", 1)], "00n0000000"),
        ("n110n00000", [("dilation", 3)], "n111n10000"),
        # So a gap between cloud and nodata, or the edge, is a gap like others.
        ("0011000110n000", [("closing", 1)], "0011000111n000"),
        ("0110001100", [("closing", 1)], "1110001100"),
    ],
)
def test_what_filters_do(before, pairs, after):
    wide = make_mask(np.repeat(row(before).values, 9, axis=0))
    np.testing.assert_array_equal(clean(wide, pairs), np.repeat(row(after).values, 9, axis=0))


def test_the_order_of_the_classes_decides_what_fills():
    assert told(clean(row("003020"), [("closing", 1)], classes=("cloud_shadow", "thin_cloud"))) == "003322"
    assert told(clean(row("003020"), [("closing", 1)])) == "003222"
    assert told(clean(row("3020"), min_hole_px=2, classes=("cloud_shadow", "thin_cloud"))) == "3322"
    assert told(clean(row("3020"), min_hole_px=2)) == "3222"


def test_specks_go_before_holes_and_holes_before_filters():
    assert told(clean(row("1000111010001"), [("dilation", 1)], min_size_px=2, min_hole_px=3)) == "0001111100000"
    assert told(clean(row("1000111011001"), [("erosion", 1)], min_size_px=2, min_hole_px=2)) == "0000011110000"


def test_one_class_by_itself():
    # A speck within another class becomes that class; beside clear ground it becomes clear.
    assert told(clean(row("0112110020000"), min_size_px={"thin_cloud": 2})) == "0111110000000"
    assert told(clean(row("0112110020000"), min_size_px=2)) == "0112110000000"
    # Only clear pixels join: the shadow stays.
    assert told(clean(row("1310100"), [("closing", 1)], classes="thick_cloud")) == "1311100"
    assert told(clean(row("0103033"), [("dilation", 1)], classes="cloud_shadow")) == "0133333"


def test_by_class_is_one_call_after_the_other():
    rng = np.random.default_rng(0)
    mask = make_mask(rng.choice([0, 0, 0, 1, 2, 3, 255], (2, 40, 40)))
    asked = {"thin_cloud": [("opening", 1)], "thick_cloud": [("closing", 2), ("dilation", 1)]}
    chained = clean(clean(mask, asked["thin_cloud"], classes="thin_cloud"), asked["thick_cloud"], classes="thick_cloud")
    np.testing.assert_array_equal(clean(mask, asked), chained)


@pytest.mark.parametrize("connectivity", [4, 8])
def test_connectivity_is_of_specks_and_the_other_of_holes(connectivity):
    corner = make_mask([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    assert clean(corner, min_size_px=2, connectivity=connectivity).any() == (connectivity == 8)
    ring = make_mask([[0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1]])
    # With 8 neighbours for clouds the two clear pixels are two holes of one pixel each.
    filled = clean(ring, min_hole_px=2, connectivity=connectivity)
    assert filled.values.all() == (connectivity == 8)


def test_square_metres():
    cube = odc_dataset(shape=(6, 6), times=1, resolution=20.0)
    mask = cube.red.copy(data=np.zeros((1, 6, 6), np.uint8)).astype(np.uint8)
    mask[0, 0, :3], mask[0, 4, :2] = 1, 1
    mask.attrs = mask_attrs(STYLES["4-class"])
    assert int((clean(mask, min_size_m2=1200.0) > 0).sum()) == 3
    assert int((clean(mask, min_size_m2=800.0) > 0).sum()) == 5
    assert int((clean(mask, min_size_m2=1201.0) > 0).sum()) == 0
    assert clean(mask, min_hole_m2=13200).values.all()
    with pytest.raises(InputError, match=r"size of its pixels.*min_size_px"):
        clean(row("010"), min_size_m2=100.0)
    with pytest.raises(ArgumentError, match="Type one of them"):
        clean(mask, min_size_m2=100.0, min_size_px=3)


def test_what_was_done_is_told_and_kept():
    mask = make_mask(np.eye(6), model="default", settings="{}", normalize="chunk")
    cleaned = clean(dilate(mask, px={"thick_cloud": 2}), [["opening", 1]], min_size_px=3, classes="thick_cloud")
    assert cleaned.attrs["processing"] == (
        "dilated: thick_cloud 2 px; cleaned: specks below 3 px removed (8 neighbours), opening 1 px of thick_cloud"
    )
    assert to_style(cleaned, "valid-invalid").attrs["processing"] == cleaned.attrs["processing"]
    assert {key: cleaned.attrs[key] for key in mask.attrs if key != "flag_values"} == {
        key: value for key, value in mask.attrs.items() if key != "flag_values"
    }
    assert "processing" not in clean(mask, [("opening", 0)], min_size_px=1).attrs


def test_coordinates_encoding_and_the_callers_mask_stay():
    mask = odc_dataset(shape=(8, 9), times=2).red.copy(data=np.zeros((2, 8, 9), np.uint8))
    mask.attrs = mask_attrs(STYLES["4-class"])
    before = copy.deepcopy(mask)
    cleaned = clean(mask, [("closing", 2)])
    cleaned.attrs["new"] = 1
    xr.testing.assert_identical(mask, before)
    xr.testing.assert_identical(cleaned.coords.to_dataset(), mask.coords.to_dataset())
    assert cleaned.encoding == {key: mask.encoding[key] for key in ("grid_mapping",) if key in mask.encoding}
    assert cleaned.name == mask.name


def test_nothing_is_computed_and_names_are_the_same(no_compute):
    mask = make_mask(np.zeros((1, 64, 64))).chunk({"y": 32, "x": 32})
    asked = {"filters": [("opening", 2), ("dilation", 5)], "min_size_px": 9}
    with dask.config.set({"tokenize.ensure-deterministic": True}):
        assert clean(mask, **asked).data.name == clean(mask, **asked).data.name
    assert clean(mask, **asked).data.name != clean(mask, **(asked | {"min_size_px": 8})).data.name


def test_dims_in_another_order():
    mask = make_mask(np.random.default_rng(1).choice([0, 1, 255], (2, 12, 13)))
    turned = clean(mask.transpose("x", "time", "y"), [("opening", 1)], min_hole_px=3)
    assert turned.dims == ("x", "time", "y")
    xr.testing.assert_identical(turned.transpose("time", "y", "x"), clean(mask, [("opening", 1)], min_hole_px=3))


def test_a_radius_beyond_the_image_costs_no_memory():
    mask = row("0100n0")
    assert told(clean(mask, [("dilation", 10**12)])) == "1111n1"
    assert told(clean(mask, [("opening", 10**12)])) == "0000n0"
    assert told(dilate(mask, px=10**12)) == "1111n1"
    metric = xr.concat([mask, mask], "y").assign_coords(y=[0, 10], x=range(0, 60, 10)).assign_attrs(crs="EPSG:32631")
    assert told(dilate(metric, m=1e15)) == "1111n1" * 2


def test_a_halo_too_wide_is_refused_unless_images_are_one_chunk():
    mask = make_mask(np.pad(np.ones((1, 30, 60)), ((0, 0), (10, 10), (10, 10))))
    chunked = mask.chunk({"y": 40, "x": 40})
    with pytest.raises(
        ArgumentError, match=rf"halo of 1800 px.*{MAX_HALO_PX} px.*mask.chunk\(\{{'y': -1, 'x': -1\}}\)"
    ):
        clean(chunked, min_size_px=1801)
    with dask.config.set(scheduler="sync"):
        assert clean(chunked.chunk({"y": -1, "x": -1}), min_size_px=1800).values.any()
        assert not clean(chunked.chunk({"y": -1, "x": -1}), min_size_px=1801).values.any()
        xr.testing.assert_identical(
            clean(chunked, min_size_px=MAX_HALO_PX + 1).compute(), clean(mask, min_size_px=MAX_HALO_PX + 1)
        )


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({}, ArgumentError, "nothing to do"),
        ({"filters": ("opening", 2)}, ArgumentError, r"'opening' is no pair.*\[\('opening', 2\)"),
        ({"filters": "opening"}, ArgumentError, "no list of pairs"),
        ({"filters": [("blur", 2)]}, ArgumentError, "'blur' is unknown.*'closing'"),
        ({"filters": [("opening", 2.5)]}, ArgumentTypeError, "radius of opening=2.5"),
        ({"filters": [("opening", -1)]}, ArgumentError, "negative"),
        ({"filters": {"cloud_shadow": [("opening", 1)]}, "classes": "thick_cloud"}, ArgumentError, "not among classes"),
        ({"min_size_px": 2.5}, ArgumentTypeError, "min_size_px=2.5"),
        ({"min_hole_px": {"thick": 2}}, ArgumentError, "'thick' is unknown"),
        ({"min_hole_m2": -1.0}, ArgumentError, "min_hole_m2=-1.0"),
        ({"min_size_px": 2, "connectivity": 6}, ArgumentError, "Expected 4 or 8"),
        ({"min_size_px": 2, "classes": "clear"}, ArgumentError, "cannot be cleaned"),
        ({"min_size_px": 2, "classes": ()}, ArgumentError, "cannot be cleaned"),
    ],
)
def test_wrong_arguments(asked, error, message):
    with pytest.raises(error, match=message):
        clean(row("0110"), **asked)


def test_what_is_no_mask_is_refused():
    with pytest.raises(NotACubeError):
        clean(xr.DataArray(np.zeros((3, 3)), dims=("y", "x")), min_size_px=3)
