"""Partial labels, their loss, and the augmentation of windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xcloudmask import normalize
from xcloudmask.errors import ArgumentError
from xcloudmask.simulate import add_clouds
from xcloudmask.training import augment, data
from xcloudmask.training.labels import (
    ANY,
    CLEAR,
    CLOUD,
    NOT_CLOUD,
    SHADOW,
    allowed_from_labels,
    allowed_from_scene,
)
from xcloudmask.training.losses import partial_label_loss, set_weights


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("label4", [CLEAR, 2, 4, SHADOW, ANY]),
        ("label3_noshadowclass", [NOT_CLOUD, 2, 4, ANY, ANY]),
        ("label_cloud_only", [NOT_CLOUD, CLOUD, CLOUD, ANY, ANY]),
        ("label_cloud_shadow", [CLEAR, CLOUD, CLOUD, SHADOW, ANY]),
        ("label_shadow_manual_cloud_auto", [CLEAR, CLOUD, CLOUD, SHADOW, ANY]),
    ],
)
def test_sets_of_each_kind(kind, expected):
    assert allowed_from_labels(np.array([0, 1, 2, 3, 255], np.uint8), kind=kind).tolist() == expected


def test_clear_patch_without_clouds_has_no_shadow():
    assert allowed_from_labels(np.zeros(3, np.uint8), kind="label3_noshadowclass").tolist() == [CLEAR] * 3


def test_unknown_kind():
    with pytest.raises(ArgumentError, match="'label4'"):
        allowed_from_labels(np.zeros(1, np.uint8), kind="label5")


@given(seed=st.integers(0, 40))
@settings(deadline=None, max_examples=20)
def test_simulated_sets_hold_the_truth(seed):
    rng = np.random.default_rng(seed)
    image = np.full((3, 48, 48), 0.12, np.float32)
    scene = add_clouds(image, wavelengths_nm=data.WAVELENGTHS_NM, resolution_m=20.0, rng=rng)
    allowed = allowed_from_scene(scene)
    assert ((allowed >> scene.truth) & 1).all()
    assert (allowed > 0).all()
    assert (allowed <= ANY).all()


# Loss


def test_loss_is_the_summed_probability():
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 1, 1)
    p = torch.softmax(logits, 1).flatten()
    loss = partial_label_loss(logits, torch.tensor([[[CLOUD]]]), sample_weight=torch.ones(1), weights=set_weights())
    assert loss.item() == pytest.approx(-torch.log(p[1] + p[2]).item(), abs=1e-3)


def test_loss_leaves_the_unknown_alone():
    logits = torch.randn(1, 4, 2, 2, requires_grad=True)
    allowed = torch.tensor([[[ANY, 0], [CLEAR, ANY]]], dtype=torch.uint8)
    partial_label_loss(logits, allowed, sample_weight=torch.ones(1), weights=set_weights()).backward()
    changed = logits.grad.abs().sum(1)[0] > 0
    assert changed.tolist() == [[False, False], [True, False]]


def test_loss_of_nothing_is_zero():
    allowed = torch.full((1, 2, 2), ANY, dtype=torch.uint8)
    loss = partial_label_loss(torch.randn(1, 4, 2, 2), allowed, sample_weight=torch.ones(1), weights=set_weights())
    assert loss.item() == 0.0


def test_sample_weight_counts():
    logits = torch.zeros(2, 4, 1, 1)
    logits[0, 0] = 5.0
    allowed = torch.tensor([[[CLEAR]], [[CLEAR]]])
    first = partial_label_loss(logits, allowed, sample_weight=torch.tensor([100.0, 1.0]), weights=set_weights())
    second = partial_label_loss(logits, allowed, sample_weight=torch.tensor([1.0, 100.0]), weights=set_weights())
    assert first < second


# Augmentation


@given(seed=st.integers(0, 50), known=st.booleans(), nir=st.booleans(), holes=st.booleans(), constant=st.booleans())
@settings(deadline=None, max_examples=40)
def test_window_is_normalised_as_the_engine_does(seed, known, nir, holes, constant):
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 1, (3, 24, 24)).astype(np.float32)
    if constant:
        image[1] = 0.25
    valid = rng.random((24, 24)) > 0.3 if holes else None
    scored, level = augment.normalize_window(image, valid, level_known=known, nir=nir)
    stats = normalize.statistics(image, valid)
    expected = normalize.zscore(image, valid, stats)
    if not nir:
        expected[2] = 0.0
    np.testing.assert_allclose(scored, expected, atol=2e-4)
    scale, offset = (1.0, 1.0, 1.0 if nir else 0.0), (0.0, 0.0, 0.0)
    vector = normalize.level_vector(stats, scale=scale if known else None, offset=offset if known else None)
    np.testing.assert_allclose(level, vector, atol=2e-3)


def test_mixed_statistics_are_those_of_the_joined_window():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.2, 0.05, (1, 30, 30)), rng.normal(0.6, 0.1, (1, 10, 30))
    joined = normalize.statistics(np.concatenate([first, second], axis=1), None)
    mixed = augment.mix_statistics(normalize.statistics(first, None), normalize.statistics(second, None), share=0.25)
    np.testing.assert_allclose(mixed.mean, joined.mean)
    np.testing.assert_allclose(mixed.std, joined.std)


def test_window_without_a_valid_pixel():
    scored, level = augment.normalize_window(
        np.ones((3, 8, 8), np.float32), np.zeros((8, 8), bool), level_known=True, nir=True
    )
    assert not scored.any()
    assert not level.any()


@pytest.mark.parametrize("size", [32, 64, 128])
def test_resize_keeps_mean_and_codes(size):
    rng = np.random.default_rng(0)
    image = np.repeat(np.repeat(rng.random((3, 8, 8)), 8, 1), 8, 2).astype(np.float32)
    code = (image[0] > 0.5).astype(np.uint8)
    scaled, (codes,) = augment.resize(image, [code], size)
    assert scaled.shape == (3, size, size)
    assert codes.shape == (size, size)
    assert scaled.mean() == pytest.approx(image.mean(), abs=1e-3)
    assert codes.mean() == pytest.approx(code.mean(), abs=1e-6)


def test_dihedral_moves_all_arrays_alike():
    image, code = np.arange(48).reshape(3, 4, 4), np.arange(16).reshape(4, 4)
    for seed in range(8):
        turned, moved = augment.dihedral([image, code], np.random.default_rng(seed))
        np.testing.assert_array_equal(turned[0], moved)


def test_snow_is_bright_and_finite():
    image = np.random.default_rng(0).uniform(0.02, 0.3, (3, 32, 32)).astype(np.float32)
    for seed in range(6):
        white = augment.snow(image, np.random.default_rng(seed))
        assert np.isfinite(white).all()
        assert white.mean() > image.mean()


def test_water_is_dark_in_the_near_infrared():
    image = np.full((3, 48, 48), 0.3, np.float32)
    for seed in range(6):
        wet = augment.water(image, np.random.default_rng(seed))
        assert np.isfinite(wet).all()
        assert wet.min() >= 0
        assert wet[2].mean() <= wet[0].mean() + 1e-6


def test_relief_keeps_the_colour():
    image = np.random.default_rng(0).uniform(0.1, 0.3, (3, 32, 32)).astype(np.float32)
    shade = augment.relief(image, np.random.default_rng(1)) / image
    np.testing.assert_allclose(shade[0], shade[2], rtol=1e-4)


def test_a_jittered_level_keeps_its_flag_and_what_was_given_up():
    level = np.array([1, -0.5, -2.0, 0.3, -1.0, 0, 0], np.float32)
    draws = np.stack([augment.jitter_level(level, spread=0.4, rng=np.random.default_rng(i)) for i in range(400)])
    assert (draws[:, 0] == 1).all()
    assert (draws[:, 5:] == 0).all()
    logs = draws * normalize.LEVEL_UNIT
    # A third of the spread for each band beside that of all.
    assert logs[:, 1].std() == pytest.approx(0.4 * (1 + 1 / 9) ** 0.5, rel=0.15)
    assert (logs[:, 1] - logs[:, 3]).std() == pytest.approx(0.4 * 2**0.5 / 3, rel=0.15)
    assert (logs[:, 2] - logs[:, 1]).std() == pytest.approx(0.2, rel=0.15)
    np.testing.assert_array_equal(augment.jitter_level(level, spread=0.0, rng=np.random.default_rng(0)), level)
