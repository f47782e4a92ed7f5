import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcloudmask.normalize import combine_moments, level_vector, moments, statistics, zscore


@given(st.integers(0, 1000), st.sampled_from(["uint8", "uint16", "int32", "float32", "float64"]), st.booleans())
def test_statistics_are_those_of_numpy(seed, dtype, masked):
    rng = np.random.default_rng(seed)
    bands = (rng.random((3, 150, 7)) * 200).astype(dtype)
    valid = rng.random((150, 7)) > 0.3 if masked else None
    stats = statistics(bands, valid)
    picked = bands[:, valid] if masked else bands.reshape(3, -1)
    np.testing.assert_allclose(stats.mean, picked.mean(axis=1, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(stats.std, picked.std(axis=1, dtype=np.float64), rtol=1e-9)
    assert stats.count == picked.shape[1]


def test_parts_combine_to_the_whole():
    bands = np.random.default_rng(0).random((2, 100, 30)) + 1e6
    parts = np.stack([moments(bands[:, i : i + 10], None) for i in range(0, 100, 10)])
    whole = statistics(bands, None)
    combined = combine_moments(parts)
    np.testing.assert_allclose(combined.mean, whole.mean, rtol=1e-14)
    np.testing.assert_allclose(combined.std, whole.std, rtol=1e-9)


@pytest.mark.parametrize("value", [0.1, 1e30, 65535, -3])
def test_constant_band_divides_by_one(value):
    bands = np.full((1, 5, 5), value)
    stats = statistics(bands, None)
    assert stats.std[0] == 0
    assert not zscore(bands, None, stats).any()


def test_invalid_pixels_become_zero_and_count_for_nothing():
    bands = np.array([[[1.0, 3.0, np.nan]]])
    valid = np.array([[True, True, False]])
    np.testing.assert_array_equal(zscore(bands, valid, statistics(bands, valid)), [[[-1, 1, 0]]])


def test_a_large_offset_keeps_the_digits():
    small = np.random.default_rng(0).random((1, 64, 64))
    large = small + 1e9
    a, b = (zscore(x, None, statistics(x, None)) for x in (small, large))
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_largest_float32_does_not_overflow():
    bands = np.full((1, 4, 4), 1.0, np.float32)
    bands[0, 0, 0] = np.finfo(np.float32).max
    assert np.isfinite(zscore(bands, None, statistics(bands, None))).all()


def test_no_valid_pixel():
    bands, valid = np.ones((2, 3, 3)), np.zeros((3, 3), bool)
    stats = statistics(bands, valid)
    assert stats.count == 0
    assert not zscore(bands, valid, stats).any()
    assert not level_vector(stats, scale=(1.0, 1.0), offset=(0.0, 0.0)).any()


def test_level_is_zero_where_the_scale_is_unknown_or_the_band_was_given_up():
    stats = statistics(np.full((2, 4, 4), 3000.0), None)
    assert not level_vector(stats, scale=None, offset=None).any()
    known = level_vector(stats, scale=(1e-4, 0.0), offset=(0.0, 0.0))
    assert known[0] == 1
    assert known[1] == pytest.approx((np.log(0.3) + 2) / 1.5, rel=1e-6)
    assert not known[3:].any()
