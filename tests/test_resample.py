import numpy as np
import pytest

from xcloudmask.resample import area_mean, bilinear_up


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
