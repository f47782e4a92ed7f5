"""Active learning: uncertainty, features, the choice, chips."""

import numpy as np
import pytest
import xarray as xr

from xcloudmask.errors import ArgumentError, InputError, ReadError
from xcloudmask.training.selection import choose, cut_cube, patch_chips, rank_chips
from xcloudmask.training.selection.kmeans import kmeans
from xcloudmask.training.selection.measures import describe, levelled, standardised, uncertainty_of

BANDS = ("red", "green", "nir")


def cube(height, width, *, seed=0):
    rng = np.random.default_rng(seed)
    attrs = {"scale_factor": 1e-4, "add_offset": 0.0}
    values = rng.integers(100, 9000, (3, height // 8, width // 8)).repeat(8, 1).repeat(8, 2).astype(np.float32)
    return xr.Dataset({band: (("y", "x"), plane, attrs) for band, plane in zip(BANDS, values, strict=True)})


def places(ranked):
    return [(one.chip.name, one.chip.y_px, one.chip.x_px) for one in ranked]


def test_certain_pixels_have_no_uncertainty_and_equal_ones_have_all():
    sure = np.zeros((4, 2, 2))
    sure[1] = 1.0
    for how in ("entropy", "margin"):
        assert uncertainty_of([sure], how=how) == pytest.approx(0.0, abs=1e-9)
        assert uncertainty_of([np.full((4, 2, 2), 0.25)], how=how) == pytest.approx(1.0)


def test_members_that_are_unsure_alike_do_not_disagree():
    unsure = np.full((4, 2, 2), 0.25)
    assert uncertainty_of([unsure, unsure], how="disagreement") == pytest.approx(0.0)
    one, other = np.zeros((2, 4, 2, 2))
    one[0], other[1] = 1.0, 1.0
    assert uncertainty_of([one, other], how="disagreement") == pytest.approx(0.5)  # 1 bit of 2


def test_pixels_without_data_do_not_count():
    half = np.full((4, 1, 2), 0.25)
    half[:, 0, 1] = np.nan
    assert uncertainty_of([half], how="entropy") == pytest.approx(1.0)
    assert np.isnan(uncertainty_of([np.full((4, 1, 2), np.nan)], how="entropy"))


def test_features_do_not_see_invalid_pixels():
    rng = np.random.default_rng(0)
    image, probabilities = rng.random((3, 16, 16)), rng.random((4, 16, 16))
    valid = np.ones((16, 16), bool)
    valid[:, 8:] = False
    other = np.where(valid, image, np.nan)
    np.testing.assert_array_equal(describe(image, valid, probabilities), describe(other, valid, probabilities))
    assert not describe(image, np.zeros((16, 16), bool), probabilities).any()


def test_the_unit_of_the_pixels_makes_no_distance():
    rng = np.random.default_rng(0)
    images, valid = rng.uniform(0.1, 0.9, (4, 3, 16, 16)), np.ones((16, 16), bool)
    answer = np.full((4, 16, 16), 0.25)
    both = np.stack([describe(image * unit, valid, answer) for unit in (1.0, 1e4) for image in images])
    features = levelled(both, np.ones(8, bool), ["", "", "", "", *4 * ["dn.tif"]], bands=3)
    np.testing.assert_allclose(features[:4], features[4:], atol=1e-9)
    assert np.ptp(features[:4], axis=0)[:2].min() > 0  # brighter is still brighter within a file


def test_one_odd_chip_does_not_stretch_the_features():
    features = np.concatenate([np.random.default_rng(0).normal(size=(50, 4)), np.full((1, 4), 1e6)])
    assert np.abs(standardised(features, np.ones(51, bool))).max() <= 1.5  # 3 spreads over the root of 4


def test_without_diversity_the_most_uncertain_come_first():
    values = np.array([0.1, 0.9, np.nan, 0.5])
    order = [choice.index for choice in choose(values, np.zeros((4, 2)), count=9, diversity=0.0)]
    assert order == [1, 3, 0]


def groups(sizes, *, spread=0.01):
    """Chips in groups far apart: (chip, feature), and the group of each."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    noise = np.random.default_rng(0).normal(scale=spread, size=(len(group), 2))
    return np.stack([10.0 * group, np.zeros(len(group))], axis=1) + noise, group


def test_each_group_of_alike_chips_gives_one():
    features, group = groups((20, 3, 9))
    values = np.linspace(1.0, 0.0, len(group))  # the twenty of one group are the most uncertain
    chosen = [choice.index for choice in choose(values, features, count=3, diversity=1.0)]
    assert sorted(group[chosen]) == [0, 1, 2]
    assert set(group[[choice.index for choice in choose(values, features, count=3, diversity=0.0)]]) == {0}


def test_the_middle_of_a_group_is_chosen_and_not_its_edge():
    features = np.array([[-1.0], [-0.5], [0.1], [0.5], [1.0], [50.0], [50.5], [51.1]])
    chosen = {choice.index for choice in choose(np.ones(8), features, count=2, diversity=1.0)}
    assert chosen == {2, 6}


def test_only_the_shortlist_is_clustered():
    features, group = groups((10, 10))
    values = np.where(group == 0, 0.9, 0.1) + np.linspace(0, 0.01, 20)
    # 2 and half of the other 18 are 11: ten of the first group and the best of the second.
    chosen = [choice.index for choice in choose(values, features, count=2, diversity=0.5)]
    assert chosen[1] == 19
    assert group[chosen[0]] == 0


def test_what_is_labelled_is_not_chosen_again():
    features, group = groups((8, 8, 8))
    chosen = choose(np.ones(24), features, count=1, diversity=1.0, labelled=features[[0, 8]])
    assert group[chosen[0].index] == 2
    assert chosen[0].distance == pytest.approx(10.0, abs=0.1)


def test_as_many_as_asked_for_even_where_all_are_alike():
    known = np.zeros((1, 2))
    for labelled in (None, known):
        chosen = choose(np.linspace(0, 1, 6), np.zeros((6, 2)), count=4, diversity=1.0, labelled=labelled)
        assert len({choice.index for choice in chosen}) == 4
    assert len(choose(np.ones(3), np.zeros((3, 2)), count=9, diversity=1.0)) == 3


def test_the_seed_decides_between_equal_chips_only():
    firsts = {choose(np.ones(8), np.zeros((8, 1)), count=1, diversity=0.5, seed=seed)[0].index for seed in range(20)}
    assert len(firsts) > 1
    values = np.linspace(0, 1, 8)
    assert {choose(values, np.zeros((8, 1)), count=1, diversity=0.5, seed=s)[0].index for s in range(5)} == {7}


def test_centres_that_are_held_do_not_move():
    points = np.array([[0.0], [1.0], [9.0], [11.0]])
    centres, nearest = kmeans(points, count=1, rng=np.random.default_rng(0), fixed=np.array([[0.5]]))
    assert centres.tolist() == [[10.0]]
    assert nearest.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(("diversity", "count"), [(-0.1, 1), (1.1, 1), (float("nan"), 1), (0.5, 0)])
def test_wrong_numbers_are_refused(diversity, count):
    with pytest.raises(ArgumentError, match="Expected"):
        choose(np.ones(2), np.zeros((2, 1)), count=count, diversity=diversity)


def test_chips_cover_the_cube_and_have_one_size():
    chips = cut_cube(cube(96, 160), name="a", chip_px=64)
    assert [(chip.y_px, chip.x_px) for chip in chips] == [(y, x) for y in (0, 32) for x in (0, 64, 96)]
    assert {tuple(chip.cube.sizes.values()) for chip in chips} == {(64, 64)}
    series = xr.concat([cube(32, 32), cube(32, 32)], "time").assign_coords(
        time=np.array(["2018-01-01", "2018-01-02"], "M8[ns]")
    )
    assert [chip.time for chip in cut_cube(series, name="a", chip_px=32)] == [
        "2018-01-01T00:00:00",
        "2018-01-02T00:00:00",
    ]
    with pytest.raises(ArgumentError, match="chip_px"):
        cut_cube(cube(32, 32), name="a", chip_px=8)


def test_the_ranking_is_deterministic_and_sorted(tiny_model):
    chips = cut_cube(cube(128, 192), name="a", chip_px=64)
    first = rank_chips(tiny_model, chips, count=4)
    assert places(first) == places(rank_chips(tiny_model, chips, count=4))
    assert [one.uncertainty for one in first] == sorted((one.uncertainty for one in first), reverse=True)
    plain = rank_chips(tiny_model, chips, count=6, diversity=0.0)
    assert [one.uncertainty for one in plain] == sorted((one.uncertainty for one in plain), reverse=True)
    assert plain[0].uncertainty > plain[-1].uncertainty


def test_lazy_cubes_rank_as_loaded_ones(tiny_model):
    whole = cube(128, 128)
    loaded = rank_chips(tiny_model, cut_cube(whole, name="a", chip_px=64), count=3)
    lazy = rank_chips(tiny_model, cut_cube(whole.chunk(96), name="a", chip_px=64), count=3)
    assert places(loaded) == places(lazy)


def test_a_copy_of_a_chosen_chip_is_not_chosen(tiny_model):
    twice = [chip for name in ("a", "b") for chip in cut_cube(cube(64, 192), name=name, chip_px=64)]
    ranked = rank_chips(tiny_model, twice, count=3, diversity=1.0)
    assert len({place[1:] for place in places(ranked)}) == 3
    assert ranked[2].distance > 0.0


def test_chips_like_labelled_ones_come_in_last(tiny_model):
    chips = cut_cube(cube(64, 192), name="a", chip_px=64)
    ranked = rank_chips(tiny_model, chips, count=1, diversity=1.0, labelled=chips[:2])
    assert places(ranked) == [("a", 0, 128)]


def test_chips_without_data_are_never_chosen(tiny_model):
    holed = cube(64, 192)
    holed["red"][:, :64] = np.nan
    holed["red"][:40, 64:128] = np.nan
    chips = cut_cube(holed, name="a", chip_px=64)
    for diversity in (0.0, 1.0):
        assert places(rank_chips(tiny_model, chips, count=3, diversity=diversity)) == [("a", 0, 128)]
    ranked = rank_chips(tiny_model, chips, count=3, min_valid_share=0.0)
    assert {one.chip.x_px for one in ranked} == {64, 128}
    assert all(np.isfinite(one.uncertainty) for one in ranked)


def test_wrong_arguments_of_the_ranking(tiny_model):
    chips = cut_cube(cube(64, 64), name="a", chip_px=64)
    with pytest.raises(ArgumentError, match="single network"):
        rank_chips(tiny_model, chips, count=1, uncertainty="disagreement")
    with pytest.raises(ArgumentError, match="'entropy', 'margin'"):
        rank_chips(tiny_model, chips, count=1, uncertainty="doubt")
    with pytest.raises(ArgumentError, match="min_valid_share"):
        rank_chips(tiny_model, chips, count=1, min_valid_share=2.0)
    with pytest.raises(InputError, match="no chip"):
        rank_chips(tiny_model, [], count=1)


def test_an_ensemble_can_disagree(tiny_model):
    from dataclasses import replace

    from xcloudmask.models.ensemble import combine

    both = combine([tiny_model, replace(tiny_model, name="other")], name="both")
    (ranked,) = rank_chips(both, cut_cube(cube(64, 64), name="a"), count=1, uncertainty="disagreement")
    assert ranked.uncertainty == pytest.approx(0.0, abs=1e-6)  # twice the same weights


def test_patches_become_chips(tmp_path, tiny_model):
    (tmp_path / "patches").mkdir()
    valid = np.ones((64, 64), bool)
    valid[:, 32:] = False
    image = np.full((3, 64, 64), 2000, np.uint16)
    np.savez(tmp_path / "patches" / "one.npz", img=image, bands=np.array(["green", "red", "nir"]), valid=valid)
    (tmp_path / "patches.csv").write_text("split,name,bands,h,w,res_m\nunlabelled,one,red green nir,64,64,10\n")
    chips = patch_chips(tmp_path, chip_px=32)
    assert [chip.x_px for chip in chips] == [0, 32, 0, 32]
    assert list(chips[0].cube.data_vars) == ["red", "green", "nir"]
    assert {one.chip.x_px for one in rank_chips(tiny_model, chips, count=4)} == {0}
    with pytest.raises(ReadError, match="Splits found: unlabelled"):
        patch_chips(tmp_path, splits=("train",))
    (tmp_path / "patches" / "one.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"one\.npz"):
        rank_chips(tiny_model, patch_chips(tmp_path, chip_px=32), count=1)
