"""Codes of other masks: what they become, and that they come back."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xcloudmask  # noqa: F401
from xcloudmask.classes import NODATA, STYLES, mask_attrs
from xcloudmask.codes import SCHEMES, decode_table, encode_table, get_scheme
from xcloudmask.errors import ArgumentError, InputError, NotACubeError
from xcloudmask.recode import from_codes, to_codes

OURS = [0, 1, 2, 3, NODATA]
CLEAR, THICK, THIN, SHADOW = range(4)


def as_mask(values, style="4-class"):
    return xr.DataArray(np.array([values], np.uint8), dims=("y", "x"), attrs=mask_attrs(STYLES[style]))


@pytest.mark.parametrize("name", SCHEMES)
def test_our_codes_come_back_but_for_classes_that_a_scheme_does_not_know(name):
    back = from_codes(to_codes(as_mask(OURS), name), name).values[0].tolist()
    expected = [CLEAR, THICK, THICK, SHADOW, NODATA] if name == "fmask" else OURS
    assert back == expected


@pytest.mark.parametrize(
    ("name", "codes", "expected"),
    [
        # The table that the CloudSEN12 data set gives for the masks that come with it.
        ("sentinel-2-scl", [2, 4, 5, 6, 11, 8, 9, 10, 3], [CLEAR] * 5 + [THICK] * 2 + [THIN, SHADOW]),
        ("sentinel-2-scl", [0, 1, 7, 12, 255], [NODATA, NODATA, CLEAR, NODATA, NODATA]),
        ("kappamask", [1, 4, 3, 2, 0, 5, 66], [CLEAR, THICK, THIN, SHADOW, NODATA, NODATA, NODATA]),
        ("cmix", [1, 4, 3, 2, 0], [CLEAR, THICK, THIN, SHADOW, NODATA]),
        ("fmask", [0, 1, 3, 4, 2, 255], [CLEAR, CLEAR, CLEAR, THICK, SHADOW, NODATA]),
        ("cloudsen12", [0, 1, 2, 3, 99], [CLEAR, THICK, THIN, SHADOW, NODATA]),
        # Clear land, clear water, dilated cloud over land, snow, cloud, cirrus, shadow, fill.
        (
            "landsat-qa-pixel",
            [21824, 21952, 21826, 30048, 22280, 54596, 23888, 1],
            [CLEAR, CLEAR, CLEAR, CLEAR, THICK, THIN, SHADOW, NODATA],
        ),
        # Clear land with moderate aerosol, water, adjacent, snow, cloud, shadow, cirrus, cloud and shadow, fill.
        ("hls-fmask", [128, 32, 4, 16, 66, 72, 65, 10, 255], [CLEAR] * 4 + [THICK, SHADOW, THIN, THICK, NODATA]),
    ],
)
def test_codes_become_what_their_definitions_say(name, codes, expected):
    array = xr.DataArray(np.array([codes], np.int32), dims=("y", "x"))
    mask = array.cloudmask.from_codes(name)
    assert mask.values[0].tolist() == expected
    assert mask.dtype == np.uint8
    assert mask.attrs["source_codes"] == name
    assert mask.cloudmask.clear_fraction().item() == pytest.approx(
        expected.count(CLEAR) / (len(expected) - expected.count(NODATA))
    )


@given(st.sampled_from(sorted(SCHEMES)), st.data())
def test_tables_are_total_and_decode_what_they_encode(name, data):
    scheme, table = get_scheme(name), decode_table(name)
    value = data.draw(st.integers(0, np.iinfo(scheme.dtype).max))
    assert int(table[value]) in OURS
    code = int(table[value])
    written = int(encode_table(name)[code])
    assert int(table[written]) == code
    assert written == scheme.code_of_nodata or written in scheme.code_of_class


@given(st.lists(st.floats(width=32) | st.integers(-5, 300).map(float), min_size=1, max_size=30))
def test_floats_are_codes_only_where_they_are_whole(values):
    array = xr.DataArray(np.array([values], np.float32), dims=("y", "x"))
    mask = from_codes(array, "sentinel-2-scl").values[0]
    for value, code in zip(array.values[0], mask, strict=True):
        whole = np.isfinite(value) and value == np.floor(value) and 0 <= value < 256
        assert code == (decode_table("sentinel-2-scl")[int(value)] if whole else NODATA)


def test_lazy_codes_stay_lazy_and_keep_chunks_coordinates_and_crs():
    def fail(block):
        raise AssertionError("computed")

    pixels = da.ones((2, 64, 64), chunks=(1, 32, 64), dtype=np.uint8).map_blocks(fail, dtype=np.uint8)
    scl = xr.DataArray(
        pixels, dims=("time", "y", "x"), coords={"time": [0, 1], "spatial_ref": 0}, attrs={"scale_factor": 2}
    )
    mask = scl.cloudmask.from_codes("sentinel-2-scl")
    assert mask.chunks == scl.chunks
    assert "spatial_ref" in mask.coords
    assert "scale_factor" not in mask.attrs
    assert mask.cloudmask.to_codes("landsat-qa-pixel").dtype == np.uint16


def test_a_product_mask_is_compared_and_combined_with_ours():
    ours = as_mask([0, 1, 2, 3, 0])
    scl = xr.DataArray(np.array([[4, 8, 4, 3, 0]], np.uint8), dims=("y", "x"))
    theirs = scl.cloudmask.from_codes("sentinel-2-scl")
    assert ours.cloudmask.compare(theirs) is not None
    cube = xr.DataArray(np.ones((1, 5), np.float32), dims=("y", "x"))
    kept = cube.cloudmask.apply(theirs)
    assert np.isnan(kept.values[0]).tolist() == [False, True, False, True, True]


def test_wrong_arguments_are_told():
    scl = xr.DataArray(np.zeros((2, 2), np.uint8), dims=("y", "x"), name="SCL")
    with pytest.raises(ArgumentError, match="sentinel-2-scl"):
        from_codes(scl, "scl")
    with pytest.raises(NotACubeError, match="from_codes"):
        scl.to_dataset().cloudmask.from_codes("sentinel-2-scl")
    with pytest.raises(NotACubeError, match="integers"):
        from_codes(scl.astype(bool), "sentinel-2-scl")
    with pytest.raises(NotACubeError):
        to_codes(scl, "sentinel-2-scl")
    with pytest.raises(InputError, match="lost the classes"):
        to_codes(as_mask([0, 1], "valid-invalid"), "sentinel-2-scl")
