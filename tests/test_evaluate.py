"""Measures with partial labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xcloudmask.errors import InputError
from xcloudmask.evaluate import confusion, pool, scores, sets_from_labels

CLEAR, THICK, THIN, SHADOW, CLOUD, NOT_CLOUD, ANY = 1, 2, 4, 8, 6, 9, 15


def score(mask, allowed):
    return scores(confusion(np.asarray([mask]), np.asarray([allowed])))


def test_perfect_prediction():
    result = score([0, 1, 2, 3], [CLEAR, THICK, THIN, SHADOW])
    assert result.agreement == result.cloud_oa == result.cloud_ba == 1.0
    assert all(c.f1 == c.iou == c.precision == c.recall == 1.0 for c in result.classes)
    assert result.pixels == 4


def test_sets_decide_what_counts():
    result = score([2, 1, 3, 0, 0], [CLOUD, CLOUD, NOT_CLOUD, NOT_CLOUD, ANY])
    assert result.agreement == 1.0
    assert result.cloud_oa == 1.0
    assert result.pixels == 4
    # Shadow is not known anywhere, and the cloud pixels are known not to be shadow.
    assert result.classes[3].support == 0
    assert np.isnan(result.classes[3].recall)


def test_shadow_predicted_on_cloud_costs_precision():
    shadow = score([3, 3, 0, 3], [SHADOW, CLOUD, SHADOW, NOT_CLOUD]).classes[3]
    assert shadow.precision == 0.5
    assert shadow.recall == 0.5
    assert shadow.f1 == 0.5
    assert shadow.iou == pytest.approx(1 / 3)


def test_cloud_measures():
    result = score([1, 0, 0, 0, 2], [THICK, THIN, CLEAR, SHADOW, CLEAR])
    assert result.cloud_oa == 0.6
    assert result.cloud_ba == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert result.cloud.precision == 0.5
    assert result.cloud.recall == 0.5


def test_one_side_only_balanced_accuracy_is_its_recall():
    assert score([0, 1], [CLEAR, CLEAR]).cloud_ba == 0.5


def test_nothing_to_measure_is_nan():
    result = score([0, 255], [ANY, CLEAR])
    assert result.pixels == 0
    assert np.isnan(result.agreement)
    assert np.isnan(result.cloud_oa)
    assert np.isnan(result.to_dict()["cloud_shadow_f1"])


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 2, 3, 255]), st.integers(0, 15)), min_size=2, max_size=60),
    st.integers(1, 59),
)
@settings(deadline=None)
def test_counts_of_parts_add_up(pixels, cut):
    mask, allowed = np.array(pixels).T
    whole = confusion(mask, allowed)
    parts = pool([confusion(mask[:cut], allowed[:cut]), confusion(mask[cut:], allowed[cut:])])
    np.testing.assert_array_equal(whole.counts, parts.counts)
    values = [value for value in scores(whole).to_dict().values() if not np.isnan(value)]
    assert all(value >= 0 for value in values)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.lists(st.integers(0, 3), min_size=40, max_size=40))
@settings(deadline=None)
def test_exact_labels_agree_with_plain_accuracy(label, predicted):
    label, mask = np.array(label), np.array(predicted[: len(label)])
    result = scores(confusion(mask, sets_from_labels(label)))
    assert result.agreement == pytest.approx((label == mask).mean())
    cloud = np.isin(label, (1, 2)) == np.isin(mask, (1, 2))
    assert result.cloud_oa == pytest.approx(cloud.mean())


def test_bad_input_says_what_was_found():
    with pytest.raises(InputError, match=r"\(1, 2\).*\(2,\)"):
        confusion(np.zeros((1, 2), np.uint8), np.ones(2, np.uint8))
    with pytest.raises(InputError, match="output_style"):
        confusion(np.array([[7]]), np.array([[1]]))
    with pytest.raises(InputError, match="sets_from_labels"):
        confusion(np.array([[0]]), np.array([[255]]))
