"""Clouds of one image over another: labels stay true."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xcloudmask.training.labels import ANY, CLEAR, CLOUD, NOT_CLOUD, SHADOW, THICK
from xcloudmask.training.paste import paste_clouds


def pasted(seed, cloud=CLOUD):
    clear, white = np.full((3, 96, 96), 0.15, np.float32), np.full((3, 96, 96), 0.7, np.float32)
    sets = np.full((96, 96), CLEAR, np.uint8)
    sets[40:55, 40:55] = cloud
    image, new = paste_clouds(clear, white, sets, resolution_m=20.0, rng=np.random.default_rng(seed))
    return clear, image, sets, new


@given(seed=st.integers(0, 60))
def test_labels_tell_what_the_image_shows(seed):
    clear, image, sets, new = pasted(seed)
    assert np.isfinite(image).all()
    np.testing.assert_array_equal(new == CLOUD, sets == CLOUD)
    assert (image[:, new == CLOUD] > 0.5).all()
    shadow = new == SHADOW
    assert (image[:, shadow] < clear[:, shadow] - 0.01).any(axis=0).all()
    untouched = new == CLEAR
    assert np.abs(image[:, untouched] - clear[:, untouched]).max() < 0.03
    assert set(np.unique(new)) <= {CLEAR, CLOUD, SHADOW, NOT_CLOUD, ANY}


def test_most_draws_cast_a_shadow():
    assert sum(bool((pasted(seed)[3] == SHADOW).any()) for seed in range(20)) > 8


def test_the_donor_keeps_its_label():
    _, _, _, new = pasted(0, cloud=THICK)
    assert (new[42:53, 42:53] == THICK).all()


def test_nothing_to_paste_changes_nothing():
    clear = np.full((3, 32, 32), 0.2, np.float32)
    sets = np.full((32, 32), NOT_CLOUD, np.uint8)
    image, new = paste_clouds(clear, clear + 0.5, sets, resolution_m=10.0, rng=np.random.default_rng(0))
    np.testing.assert_allclose(image, clear, atol=1e-6)
    assert (new == CLEAR).all()
