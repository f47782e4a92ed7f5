"""Models on labelled patches: the engine's own mask, what is kept from the model, and which patches are loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from safetensors.torch import load_file, save_file

import xcloudmask
from xcloudmask.errors import ArgumentError, InputError, ReadError, WeightsError
from xcloudmask.evaluate import Bootstrap
from xcloudmask.models.cache import get_runner
from xcloudmask.models.ensemble import combine
from xcloudmask.training.data import Patch
from xcloudmask.training.predictor import checkpoint_model, predict_patch, predictor
from xcloudmask.training.score import (
    coarser,
    evaluate_model,
    load_split,
    score,
    source_of,
    without_nir,
)

CLEAR, THICK, CLOUD, SHADOW, ANY = 1, 2, 6, 8, 15


def patch(seed=0, *, side=(50, 66), hole=False, **changes):
    rng = np.random.default_rng(seed)
    valid = np.ones(side, bool)
    if hole:
        valid[:7] = False
    parts = {
        "name": f"here_{seed}",
        "source": "somewhere",
        "split": "eval",
        "image": rng.integers(300, 4000, (3, *side)).astype(np.uint16),
        "valid": valid,
        "allowed": rng.choice([CLEAR, CLOUD, SHADOW, ANY], side).astype(np.uint8),
        "resolution_m": 10.0,
    }
    return Patch(**(parts | changes))


def as_cube(given, *, scaled):
    attrs = {"scale_factor": 1e-4, "add_offset": 0.0} if scaled else {}
    image = np.where(given.valid, given.image.astype(np.float32), np.nan) if not given.valid.all() else given.image
    bands = ("red", "green", "nir") if given.nir else ("red", "green")
    return xr.Dataset({name: (("y", "x"), band, attrs) for name, band in zip(bands, image, strict=False)})


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("hole", [True, False])
@pytest.mark.parametrize("nir", [True, False])
@pytest.mark.parametrize("resolution_m", [10.0, 4.0])
def test_what_is_measured_is_what_predict_gives(tiny_model, known, hole, nir, resolution_m):
    given = patch(1, hole=hole, nir=nir, resolution_m=resolution_m)
    cube = as_cube(given, scaled=known)
    expected = xcloudmask.predict(
        cube, model=tiny_model, bands=None if nir else {"nir": None}, resolution_m=resolution_m
    )
    mask = predict_patch(tiny_model, given, level_known=known)
    np.testing.assert_array_equal(mask, expected)
    assert (mask[~given.valid] == 255).all()


def test_the_level_changes_the_mask_and_a_patch_without_one_has_none(tiny_model):
    known, unknown = (predict_patch(tiny_model, patch(), level_known=level) for level in (True, False))
    assert not np.array_equal(known, unknown)
    np.testing.assert_array_equal(predict_patch(tiny_model, patch(level_known=False), level_known=True), unknown)


@pytest.mark.parametrize("hole", [True, False])
def test_a_network_in_memory_gives_the_mask_of_its_file(tiny_model, hole):
    net = get_runner(tiny_model, device="cpu", precision="fp32").net
    given = patch(2, hole=hole)
    from_file = predictor(tiny_model, device="cpu", precision="fp32")(given)
    np.testing.assert_array_equal(predict_patch(net, given, level_known=True), from_file)


def test_known_answers():
    half = patch(allowed=np.full((50, 66), CLEAR, np.uint8), name="half_1")
    truth = np.where(np.arange(66) < 33, 0, 1).astype(np.uint8)
    results = evaluate_model(
        lambda given: np.broadcast_to(truth, given.valid.shape),
        [half, replace(half, name="half_2", level_known=False), replace(half, name="other_1")],
    )
    assert results["known"].sources["half"].patches == 1
    assert results["unknown"].sources["half"].patches == 2
    assert results["known"].pooled.scores.cloud_oa == 0.5
    assert results["known"].pooled.scores.classes[0].recall == 0.5
    assert np.isnan(results["known"].pooled.scores.classes[3].f1)


def test_the_predictor_is_told_what_it_may_know():
    seen = []

    def predict(given):
        seen.append((given.level_known, given.nir, given.image[2].any(), given.resolution_m))
        return np.zeros(given.valid.shape, np.uint8)

    evaluate_model(predict, [patch()], levels=["unknown"], nir=False, resolution_m=20.0)
    assert seen == [(False, False, False, 20.0)]


def test_pixels_without_data_do_not_count():
    given = patch(hole=True, allowed=np.full((50, 66), CLEAR, np.uint8))
    result = evaluate_model(lambda one: np.ones(one.valid.shape, np.uint8), [given], levels=["known"])
    assert result["known"].pooled.confusion.counts[CLEAR].tolist() == [0, 43 * 66, 0, 0]


def test_on_patch_sees_every_patch_and_level(tiny_model):
    seen = []
    evaluate_model(
        tiny_model,
        [patch(0), patch(1)],
        how=Bootstrap(draws=2),
        on_patch=lambda level, given, mask, counted: seen.append((level, given.name, mask.shape, counted.name)),
    )
    assert [entry[:2] for entry in seen] == [(level, f"here_{i}") for level in ("known", "unknown") for i in (0, 1)]
    assert all(entry[2] == (50, 66) and entry[1] == entry[3] for entry in seen)


def test_no_patch_is_an_error(tiny_model):
    with pytest.raises(InputError, match="no patch"):
        evaluate_model(tiny_model, [])
    with pytest.raises(InputError, match="known"):
        evaluate_model(tiny_model, [patch(level_known=False)], levels=["known"])


def test_models_of_other_bands_are_refused(tiny_model):
    with pytest.raises(InputError, match="'blue'"):
        predict_patch(replace(tiny_model, bands=("red", "green", "blue")), patch(), level_known=True)
    with pytest.raises(InputError, match="near infrared"):
        predict_patch(replace(tiny_model, optional_bands=()), patch(nir=False), level_known=True)


def test_score_names_sources_and_levels(tiny_model):
    thumbnail = patch(1, nir=False, level_known=False, name="S2A_1", source="Sentinel-2 Cloud Mask Catalogue")
    result = score(tiny_model, [patch(0), thumbnail])
    assert {source: set(levels) for source, levels in result.items()} == {
        "here": {"known", "unknown"},
        "s2cmc": {"unknown"},
    }
    assert source_of(patch(name="scg_eval_1")) == "scg_pair"


# Changed patches


def test_coarser_averages_pixels_and_joins_sets():
    image = np.zeros((3, 3, 4), np.uint16)
    image[0, 0, :2] = 100
    valid = np.ones((3, 4), bool)
    valid[:2, 2:] = False
    allowed = np.full((3, 4), CLEAR, np.uint8)
    allowed[0, 0] = THICK
    result = coarser(patch(image=image, valid=valid, allowed=allowed), resolution_m=20.0)
    assert result.image[0].tolist() == [[50, 0], [0, 0]]
    assert result.valid.tolist() == [[True, False], [True, True]]
    # A cell with a part that is unknown is unknown.
    assert result.allowed.tolist() == [[CLEAR | THICK, ANY], [CLEAR, CLEAR]]
    assert result.resolution_m == 20.0


def test_coarser_uses_whole_factors_and_never_refines():
    assert coarser(patch(resolution_m=30.0), resolution_m=40.0).resolution_m == 60.0
    given = patch(resolution_m=40.0)
    assert coarser(given, resolution_m=40.0) is given
    assert coarser(given, resolution_m=10.0) is given


def test_without_nir_leaves_the_original_alone():
    given = patch()
    assert not without_nir(given).image[2].any()
    assert not without_nir(given).nir
    assert given.image[2].any()


# Checkpoints


def test_checkpoint_weights_are_the_averaged_ones(tiny_model, tmp_path):
    tensors = load_file(tiny_model.weights)
    save_file(
        {f"ema.{key}": value for key, value in tensors.items()}
        | {f"net.{key}": value + 1.0 for key, value in tensors.items()},
        tmp_path / "checkpoint.safetensors",
    )
    expected = predict_patch(tiny_model, patch(), level_known=True)
    for path in (tmp_path / "checkpoint.safetensors", Path(tiny_model.weights)):
        with checkpoint_model(path, like=tiny_model) as spec:
            np.testing.assert_array_equal(predict_patch(spec, patch(), level_known=True), expected)


def test_checkpoint_of_another_network_is_refused(tiny_model, tmp_path):
    save_file({"ema.head.weight": load_file(tiny_model.weights)["head.bias"]}, tmp_path / "other.safetensors")
    with (
        checkpoint_model(tmp_path / "other.safetensors", like=tiny_model) as spec,
        pytest.raises(WeightsError, match="do not fit"),
    ):
        predict_patch(spec, patch(), level_known=True)
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with (
        pytest.raises(WeightsError, match="cannot be read"),
        checkpoint_model(tmp_path / "junk.safetensors", like=spec),
    ):
        pass


def test_checkpoint_in_place_of_an_ensemble_is_refused(tiny_model, tmp_path):
    both = combine([tiny_model, tiny_model], name="both")
    with pytest.raises(ArgumentError, match="a member"), checkpoint_model(Path(tiny_model.weights), like=both):
        pass


# Splits


def write_folder(folder, rows):
    (folder / "patches").mkdir()
    lines = [
        "split,name,kind,source,licence,res_m",
        *(f"{split},{name},{kind},o/r,CC0,10" for split, name, kind in rows),
    ]
    (folder / "patches.csv").write_text("\n".join(lines) + "\n")
    for index, (_, name, _) in enumerate(rows):
        rng = np.random.default_rng(index)
        np.savez(
            folder / "patches" / f"{name}.npz",
            img=rng.integers(0, 9000, (3, 40, 40)).astype(np.uint16),
            bands=np.array(["green", "red", "nir"]),
            valid=np.ones((40, 40), bool),
            label=rng.integers(0, 4, (40, 40)).astype(np.uint8),
        )
    return folder


def test_splits_are_those_of_the_table(tmp_path):
    rows = [("train", f"a_{index:02}", "label4") for index in range(12)] + [("mine", "b_1", "label_cloud_only")]
    folder = write_folder(tmp_path, rows)
    assert [one.name for one in load_split(folder, "mine")] == ["b_1"]
    assert [one.name for one in load_split(folder, "holdout")] == ["a_05"]
    assert len(load_split(folder, "train")) == 12
    with pytest.raises(ReadError, match="Splits found: mine, train"):
        load_split(folder, "eval")


def test_a_patch_that_cannot_be_read_says_what_is_expected(tmp_path):
    folder = write_folder(tmp_path, [("mine", "b_1", "label4")])
    np.savez(folder / "patches" / "b_1.npz", img=np.zeros((3, 4, 4), np.uint16))
    with pytest.raises(ReadError, match="img, bands, valid and label"):
        load_split(folder, "mine")
    with pytest.raises(ReadError, match="--data"):
        load_split(folder / "nowhere", "mine")


def test_real_holdout_has_thumbnails(data_dir):
    patches = load_split(data_dir, "holdout")
    assert {one.split for one in patches} == {"train"}
    assert "s2cmc" in {source_of(one) for one in patches}
