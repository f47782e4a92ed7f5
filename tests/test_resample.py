import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcloudmask.resample import area_mean, bilinear_up, block_mean, interpolate_valid


def test_area_mean_leaves_out_invalid_pixels():
    bands = np.arange(16, dtype=np.uint16).reshape(1, 4, 4)
    valid = np.ones((4, 4), bool)
    valid[0, 0] = False
    valid[2:, 2:] = False
    means, cells = area_mean(bands, valid, 2)
    assert means[0, 0, 0] == pytest.approx((1 + 4 + 5) / 3)
    assert cells.tolist() == [[True, True], [True, False]]


def test_area_mean_of_sides_that_are_no_multiple():
    means, valid = area_mean(np.ones((2, 5, 7)), None, 3)
    assert means.shape == (2, 2, 3)
    assert valid is None
    assert (means == 1).all()


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_bilinear_up_keeps_a_ramp_and_the_mean(factor):
    ramp = np.add.outer(np.arange(6.0), 2 * np.arange(5.0)).astype(np.float32)
    up = bilinear_up(ramp, factor)
    assert up.shape == (6 * factor, 5 * factor)
    np.testing.assert_allclose(np.diff(up[factor:-factor, factor:-factor], axis=0), 1 / factor, rtol=1e-4)
    np.testing.assert_allclose(area_mean(up[None], None, factor)[0][0, 1:-1, 1:-1], ramp[1:-1, 1:-1], rtol=1e-5)


@given(factor=st.integers(2, 12), start=st.integers(1, 9), seed=st.integers(0, 99))
def test_interpolation_of_a_window_is_that_of_the_whole(factor, start, seed):
    """To the last bit, but for the outermost pixels of the window."""
    bands = np.random.default_rng(seed).normal(size=(2, 20, 20)).astype(np.float32)
    valid = np.random.default_rng(seed + 1).random((20, 20)) > 0.2
    bands[:, ~valid] = 0
    whole = interpolate_valid(bands, valid, factor)
    rows = slice(start, start + 8)
    window = interpolate_valid(bands[:, rows, rows], valid[rows, rows], factor)
    inner = slice((start + 1) * factor, (start + 7) * factor)
    np.testing.assert_array_equal(window[:, factor:-factor, factor:-factor], whole[:, inner, inner])


def test_invalid_neighbours_have_no_weight():
    bands = np.full((1, 3, 3), 7, np.float32)
    valid = np.ones((3, 3), bool)
    valid[1, 1] = False
    bands[0, 1, 1] = 0
    up = interpolate_valid(bands, valid, 3)[0]
    np.testing.assert_array_equal(up[3:6, 3:6], 0)
    up[3:6, 3:6] = 7
    np.testing.assert_allclose(up, 7, rtol=1e-6)


def test_block_mean_brings_pixels_back():
    pixels = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(block_mean(pixels.repeat(3, axis=1).repeat(3, axis=2), 3), pixels, rtol=1e-6)
