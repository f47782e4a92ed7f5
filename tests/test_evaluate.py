"""Measures with partial labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xcloudmask.errors import ArgumentError, InputError
from xcloudmask.evaluate import (
    Bootstrap,
    Confusion,
    Counted,
    compare,
    confusion,
    difference,
    difference_table,
    evaluation_from_dict,
    markdown,
    measures,
    pool,
    scores,
    set_name,
    sets_from_labels,
    source_table,
    summarise,
)
from xcloudmask.evaluate.bootstrap import estimates, resample
from xcloudmask.training.labels import allowed_from_labels

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


# Without support


def test_a_class_without_support_has_no_measure():
    """Shadow is predicted, and no pixel is known to be shadow: there is nothing to find, so 0 would be wrong."""
    result = score([3, 3, 0, 1], [CLEAR, NOT_CLOUD, CLEAR, CLOUD])
    shadow = result.classes[3]
    assert shadow.support == 0
    assert all(np.isnan(value) for value in (shadow.precision, shadow.recall, shadow.f1, shadow.iou))
    # It is an error of the class that is there all the same.
    assert result.classes[0].recall == 0.5
    assert result.agreement == 0.75


def test_means_are_over_the_classes_that_have_support():
    result = score([0, 0, 3, 3], [CLEAR, CLEAR, SHADOW, CLEAR])
    clear, shadow = result.classes[0], result.classes[3]
    assert result.mean_f1 == pytest.approx((clear.f1 + shadow.f1) / 2)
    assert result.mean_iou == pytest.approx((clear.iou + shadow.iou) / 2)
    assert result.mean_recall == pytest.approx((2 / 3 + 1) / 2)
    assert np.isnan(score([0], [ANY]).mean_f1)


def test_a_class_that_is_never_predicted_has_no_precision_and_an_f1_of_0():
    shadow = score([0, 0], [SHADOW, CLEAR]).classes[3]
    assert np.isnan(shadow.precision)
    assert shadow.recall == shadow.f1 == shadow.iou == 0.0


def test_specificity_is_the_recall_of_not_cloud():
    result = score([0, 1, 3, 0], [CLEAR, NOT_CLOUD, SHADOW, CLOUD])
    assert result.cloud_specificity == pytest.approx(2 / 3)
    assert np.isnan(score([1], [THICK]).cloud_specificity)


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 15)), min_size=1), min_size=1, max_size=4))
def test_many_counts_at_once_equal_one_by_one(images):
    counted = [confusion(*np.array(pixels).T) for pixels in images]
    together = measures(np.stack([one.counts for one in counted]))
    for index, one in enumerate(counted):
        for name, value in scores(one).to_dict().items():
            np.testing.assert_equal(together[name][index], value)


def test_confusion_matrix_is_of_the_pixels_of_one_class():
    counted = confusion(np.array([0, 1, 1, 3]), np.array([CLEAR, CLEAR, CLOUD, SHADOW]))
    assert counted.matrix.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert counted.to_dict()["thick_cloud or thin_cloud"] == [0, 1, 0, 0]
    assert set_name(NOT_CLOUD) == "clear or cloud_shadow"


# Labels


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("label4", [1, 2, 4, 8, 15, 15]),
        ("label3_noshadowclass", [9, 2, 4, 15, 15, 15]),
        ("label_cloud_only", [9, 6, 6, 15, 15, 15]),
        ("label_cloud_shadow", [1, 6, 6, 8, 15, 15]),
        ("label_shadow_manual_cloud_auto", [1, 6, 6, 8, 15, 15]),
        ("clear", [1, 15, 15, 15, 15, 15]),
    ],
)
def test_labels_mean_the_same_in_training_and_in_evaluation(kind, expected):
    label = np.array([0, 1, 2, 3, 255, 7], np.uint8)
    assert sets_from_labels(label, kind=kind).tolist() == expected
    assert allowed_from_labels(label, kind=kind).tolist() == expected


def test_unknown_kind_names_those_that_are_known():
    with pytest.raises(ArgumentError, match="label_cloud_only"):
        sets_from_labels(np.array([0]), kind="labels")


# Intervals


def binomial_patches(rng, *, patches, pixels, share):
    """Counts of clear patches of which a share of the pixels is called cloud, each pixel on its own."""
    counts = np.zeros((patches, 16, 4), np.int64)
    counts[:, CLEAR, 1] = rng.binomial(pixels, share, patches)
    counts[:, CLEAR, 0] = pixels - counts[:, CLEAR, 1]
    return counts


def test_intervals_cover_a_known_binomial():
    rng, how = np.random.default_rng(1), Bootstrap(draws=400)
    inside = 0
    for index in range(300):
        drawn = resample(binomial_patches(rng, patches=60, pixels=5, share=0.3), how=how, stream=str(index))
        estimate = estimates(drawn, how=how)["cloud_oa"]
        inside += estimate.low <= 0.7 <= estimate.high
        assert estimate.low <= estimate.value <= estimate.high
    # 95 % with 300 trials: 0.95 +- 4 standard errors of 0.0126, and percentile intervals are a little narrow.
    assert 0.89 <= inside / 300 <= 0.99


def test_width_is_that_of_the_standard_error():
    how = Bootstrap(draws=4000)
    counts = binomial_patches(np.random.default_rng(0), patches=400, pixels=10, share=0.3)
    estimate = estimates(resample(counts, how=how), how=how)["cloud_oa"]
    error = np.std(counts[:, CLEAR, 0] / 10) / np.sqrt(400)
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def images(*groups):
    """Counted images: each group is (source, pairs of mask and allowed sets)."""
    return [
        Counted(name=f"{source}{index}", source=source, confusion=confusion(np.array(mask), np.array(allowed)))
        for source, pairs in groups
        for index, (mask, allowed) in enumerate(pairs)
    ]


RIGHT, HALF, WRONG = ([0, 1], [CLEAR, THICK]), ([1, 1], [CLEAR, THICK]), ([1, 0], [CLEAR, THICK])


def test_one_patch_has_no_interval():
    result = summarise(images(("a", [HALF]), ("b", [RIGHT, HALF, WRONG])))
    alone = result.sources["a"].estimates["cloud_oa"]
    assert (alone.value, alone.low, alone.high) == (0.5, None, None)
    assert result.sources["b"].estimates["cloud_oa"].low < 0.5
    assert result.pooled.estimates["cloud_oa"].low is not None
    # The mean over sources rests on the one patch of a, too.
    assert result.mean["cloud_oa"].value == 0.5
    assert result.mean["cloud_oa"].low is None


def test_what_one_patch_of_several_has_gets_no_interval():
    shadowed = ([3, 0], [SHADOW, CLEAR])
    result = summarise(images(("a", [shadowed, RIGHT, HALF]))).pooled.estimates
    assert result["cloud_shadow_recall"].value == 1.0
    assert result["cloud_shadow_recall"].low is None
    assert result["mean_f1"].low is None
    assert result["cloud_oa"].low is not None
    assert result["cloud_shadow_support"].low is None


def test_pooled_adds_pixels_and_mean_weighs_sources_alike():
    result = summarise(images(("a", [RIGHT, RIGHT, RIGHT]), ("b", [WRONG, WRONG])))
    assert result.pooled.estimates["cloud_oa"].value == pytest.approx(0.6)
    assert result.mean["cloud_oa"].value == 0.5
    assert (result.mean["cloud_oa"].low, result.mean["cloud_oa"].high) == (0.5, 0.5)
    assert result.pooled.patches == 5
    assert list(result.sources) == ["a", "b"]


def test_a_source_has_the_same_interval_whatever_stands_beside_it():
    pairs = [RIGHT, HALF, WRONG, RIGHT]
    alone, beside = summarise(images(("a", pairs))), summarise(images(("b", [HALF, WRONG]), ("a", pairs)))
    assert alone.sources["a"].to_dict() == beside.sources["a"].to_dict()


def test_the_seed_decides_the_draws():
    counts = binomial_patches(np.random.default_rng(0), patches=50, pixels=10, share=0.3)
    draws = [resample(counts, how=Bootstrap(draws=50, seed=seed)).draws["cloud_oa"] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


@pytest.mark.parametrize("wrong", [{"draws": 1}, {"confidence": 1.0}, {"seed": -1}])
def test_bootstrap_that_makes_no_interval_is_refused(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        Bootstrap(**wrong)


def test_nothing_to_summarise_is_refused():
    with pytest.raises(InputError, match="no image"):
        summarise([])


# From arrays to tables


def test_compare_groups_and_names_images():
    masks, labels = np.array([[[0, 1]], [[3, 0]], [[0, 0]]]), np.array([[[0, 2]], [[3, 3]], [[255, 1]]])
    result = compare(masks, labels, kind="label_cloud_shadow", by=["s2", "s2", "l8"], names=["x", "y", "z"])
    assert [image.name for image in result.images] == ["x", "y", "z"]
    assert result.sources["s2"].scores.cloud_oa == 1.0
    assert result.sources["s2"].scores.classes[3].recall == 0.5
    assert result.sources["l8"].scores.cloud_oa == 0.0
    with pytest.raises(InputError, match="3 masks and 2 by"):
        compare(masks, labels, by=["s2", "l8"])


def test_tables_show_a_dash_where_nothing_can_be_measured():
    result = summarise(images(("a", [RIGHT, HALF])))
    cells = [cell.strip() for cell in source_table({"known": result}).splitlines()[2].split("|")[1:-1]]
    head = [cell.strip() for cell in source_table({"known": result}).splitlines()[0].split("|")[1:-1]]
    row = dict(zip(head, cells, strict=True))
    assert row["source"] == "a"
    assert row["cloud OA"].startswith("75.0 (")
    assert row["shadow F1"] == row["shadow P"] == "-"
    assert "nan" not in markdown({"known": result})


def test_tables_of_several_sources_and_levels():
    both = {
        "known": summarise(images(("a", [RIGHT]), ("b", [HALF]))),
        "unknown": summarise(images(("a", [WRONG]))),
    }
    text = markdown(both, title="A title", note="A note.")
    assert text.startswith("# A title\n\nA note.\n")
    rows = [line.split(" | ")[:3] for line in source_table(both, intervals=False).splitlines()[2:]]
    assert rows == [
        ["| a", "known", "1"],
        ["| a", "unknown", "1"],
        ["| b", "known", "1"],
        ["| pooled", "known", "2"],
        ["| mean over sources", "known", "2 sources"],
    ]
    assert "## pooled, known" in text
    assert "| thick cloud | 0 | 2 | 0 | 0 |" in text


def test_plain_data_is_json_without_nan():
    plain = summarise(images(("a", [RIGHT, ([3], [NOT_CLOUD])]))).to_dict()
    again = json.loads(json.dumps(plain, allow_nan=False))
    assert again["sources"]["a"]["measures"]["cloud_shadow_f1"] == {"value": None, "low": None, "high": None}
    assert again["sources"]["a"]["measures"]["pixels"] == 3
    assert again["patches"][1]["confusion"] == {"clear or cloud_shadow": [0, 0, 0, 1]}
    assert sum(sum(row) for patch in again["patches"] for row in patch["confusion"].values()) == 3


# Differences


def test_a_difference_is_paired():
    """One more pixel right in every patch: certain, however much the patches differ."""
    rng = np.random.default_rng(0)
    worse = binomial_patches(rng, patches=30, pixels=50, share=0.5)
    better = worse.copy()
    better[:, CLEAR, 0] += 1
    better[:, CLEAR, 1] -= 1
    first, second = (
        summarise(Counted(name=str(i), source="a", confusion=Confusion(counts=one)) for i, one in enumerate(counts))
        for counts in (better, worse)
    )
    gain = difference(first, second).sources["a"]["cloud_oa"]
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.02, 0.02, 0.02))
    assert first.sources["a"].estimates["cloud_oa"].low < second.sources["a"].estimates["cloud_oa"].value
    assert "+2.0 (+2.0 to +2.0)" in difference_table({"known": difference(first, second)})


def test_differences_of_several_sources_and_none():
    result = summarise(images(("a", [RIGHT]), ("b", [HALF, WRONG])))
    gain = difference(result, result).sources
    assert list(gain) == ["a", "b", "pooled"]
    assert gain["a"]["cloud_oa"].low is None
    assert np.isnan(gain["a"]["cloud_shadow_f1"].value)
    with pytest.raises(InputError, match="'b1'"):
        difference(result, summarise(images(("a", [RIGHT]), ("b", [HALF]))))


def test_evaluations_come_back_from_their_counts():
    result = summarise(images(("a", [RIGHT, ([3, 0], [NOT_CLOUD, ANY])]), ("b", [WRONG])), how=Bootstrap(draws=30))
    assert evaluation_from_dict(json.loads(json.dumps(result.to_dict()))).to_dict() == result.to_dict()
    with pytest.raises(InputError, match="no evaluation"):
        evaluation_from_dict({"patches": []})
    with pytest.raises(InputError, match="no row"):
        evaluation_from_dict(
            {"bootstrap": {}, "patches": [{"name": "a", "source": "a", "confusion": {"fog": [1, 2, 3, 4]}}]}
        )
