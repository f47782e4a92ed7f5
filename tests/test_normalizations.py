"""Normalisations of a model: what specs may say, what networks are fed, and that no path feeds anything else."""

import json
from dataclasses import replace

import dask
import numpy as np
import pytest
import torch
from cubes import odc_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from patches import TINY, patch, small_stream, tiny_config

import xcloudmask
from xcloudmask import errors
from xcloudmask._feed import feed
from xcloudmask.halo import BlockPlace
from xcloudmask.models.ensemble import combine
from xcloudmask.models.loading import load_network
from xcloudmask.models.spec import ModelSpec
from xcloudmask.normalize import rescale, standardised
from xcloudmask.settings import EngineSettings
from xcloudmask.tiles import jobs, prepare
from xcloudmask.training import augment
from xcloudmask.training.losses import dice_loss, partial_label_loss, set_weights
from xcloudmask.training.normalizers import WholeData, make_normalizer, measure_numbers, normalizer_of
from xcloudmask.training.options import Mixture
from xcloudmask.training.start import find_start
from xcloudmask.training.train import train_model

NUMBERS = {
    "fixed": {"mean": (0.08, 0.09, 0.2), "std": (0.05, 0.06, 0.1)},
    "percentile": {"low": (0.02, 0.03, 0.05), "high": (0.3, 0.35, 0.5)},
    "none": {},
}
SCALE = (1e-4, -0.1)


def told(spec: ModelSpec, normalization: str) -> ModelSpec:
    """The model, fed otherwise; its labels are of no use, but they are labels."""
    return replace(spec, name=normalization, normalization=normalization, level=False, **NUMBERS[normalization])


# Specs


@pytest.mark.parametrize("normalization", NUMBERS)
def test_a_card_holds_the_numbers(normalization, tiny_model, tmp_path):
    spec = told(tiny_model, normalization)
    plain = json.loads(json.dumps(spec.to_dict()))
    assert {key for key in ("mean", "std", "low", "high") if key in plain} == set(NUMBERS[normalization])
    (tmp_path / "card.json").write_text(json.dumps(plain))
    assert ModelSpec.from_card(tmp_path / "card.json") == spec
    assert hash(spec) == hash(replace(spec))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"normalization": "minmax"}, "normalization = 'minmax'. Type 'zscore'"),
        ({"normalization": "fixed"}, "0 numbers in mean and 0 numbers in std for 3 bands"),
        ({"normalization": "fixed", "mean": (1, 1, 1), "std": (1, 1)}, "2 numbers in std for 3 bands"),
        ({"normalization": "fixed", "mean": (1, 1, 1), "std": (1, 0, 1)}, "Type positive numbers"),
        ({"normalization": "fixed", "mean": (1, 1, float("nan")), "std": (1, 1, 1)}, "Type finite numbers"),
        ({"normalization": "percentile"}, "0 numbers in low and 0 numbers in high"),
        ({"normalization": "percentile", "low": (0, 0, 1), "high": (1, 1, 1)}, "a high above the low"),
        ({"normalization": "percentile", "mean": (1, 1, 1)}, "Type normalization = 'fixed'"),
        ({"normalization": "none", "mean": (1, 1, 1), "std": (1, 1, 1)}, "Type normalization = 'fixed'"),
        ({"normalization": "zscore", "low": (1, 1, 1)}, "Type normalization = 'percentile'"),
    ],
)
def test_numbers_that_say_too_little_or_too_much(fields, message, tiny_model):
    with pytest.raises(errors.ModelError, match=message):
        replace(tiny_model, **fields)


def test_a_toml_file_may_hold_them(tiny_model, tmp_path):
    text = f"""
        architecture = "unet"
        config = {{ width = 8, blocks = 1 }}
        stride_px = 8
        radius_px = {tiny_model.radius_px}
        normalization = "percentile"
        low = [0, 0.01, 0.02]
        high = [0.5, 0.5, 1]
        weights = "{tiny_model.weights}"
        sha256 = "{tiny_model.sha256}"
    """
    (tmp_path / "mine.toml").write_text(text)
    assert ModelSpec.from_card(tmp_path / "mine.toml").zero_and_unit == ((0, 0.01, 0.02), (0.5, 0.49, 0.98))


def test_members_are_fed_the_same(tiny_model):
    fixed = told(tiny_model, "fixed")
    both = combine([fixed, replace(fixed, name="again")], name="both")
    assert (both.normalization, both.mean, both.std) == ("fixed", fixed.mean, fixed.std)
    with pytest.raises(errors.ModelError, match=r"std=\(0.05, 0.06, 0.2\), expected \(0.05, 0.06, 0.1\)"):
        combine([fixed, replace(fixed, std=(0.05, 0.06, 0.2))], name="other")


# What is fed


@given(
    dn=st.lists(st.integers(0, 65535), min_size=4, max_size=4),
    zero=st.floats(-0.5, 0.5),
    unit=st.floats(0.01, 500.0),
    clip=st.booleans(),
)
@settings(deadline=None, max_examples=50)
def test_rescaled_values_are_the_formula(dn, zero, unit, clip):
    array = np.array(dn, np.uint16).reshape(1, 2, 2)
    scale, offset = standardised(np.array([[1e-4], [-0.1]]), ((zero,), (unit,)))
    expected = (array.astype(np.float64) * 1e-4 - 0.1 - zero) / unit
    expected = np.clip(expected, 0, 1) if clip else expected
    got = rescale(array, np.array([[True, True], [True, False]]), scale=scale, offset=offset, clip=clip)
    expected[0, 1, 1] = 0
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 / unit + 1e-6)


@pytest.mark.parametrize(("normalization", "invalid"), [("fixed", 0.0), ("percentile", 0.0), ("none", 0.0)])
def test_the_engine_feeds_the_formula(normalization, invalid, tiny_model):
    spec = told(tiny_model, normalization)
    dn = np.random.default_rng(0).integers(1000, 8000, (3, 64, 64)).astype(np.uint16)
    dn[:, 10, 20] = 0
    here = EngineSettings(
        spec=spec, halo_px=(0, 0), tile_px=(64, 64), nodata=(0.0,) * 3, scale=(SCALE[0],) * 3, offset=(SCALE[1],) * 3
    )
    place = BlockPlace(start=0, stop=64, depth=0, length=64)
    image = prepare(dn, here)
    assert image.stats is None
    tiles, level = feed(jobs([image], (place, place), here), 1, [image], (place, place), here)
    reflectance = dn * SCALE[0] + SCALE[1]
    zero, unit = (np.array(part)[:, None, None] for part in spec.zero_and_unit)
    expected = (reflectance - zero) / unit
    expected = np.clip(expected, 0, 1) if normalization == "percentile" else expected
    expected[:, 10, 20] = invalid
    np.testing.assert_allclose(tiles[0], expected, atol=1e-5)
    assert not level.any()


@pytest.mark.parametrize("normalization", NUMBERS)
def test_predictions_are_those_of_the_network(normalization, tiny_model):
    spec, cube = told(tiny_model, normalization), odc_dataset(shape=(64, 72), times=1, nodata=None)
    reflectance = np.stack([cube[name].values[0] for name in ("red", "green", "nir")]) * SCALE[0] + SCALE[1]
    zero, unit = (np.array(part)[:, None, None] for part in spec.zero_and_unit)
    fed = (reflectance - zero) / unit
    fed = torch.from_numpy(np.clip(fed, 0, 1) if normalization == "percentile" else fed).float()
    with torch.inference_mode():
        expected = torch.softmax(load_network(spec)(fed[None]), dim=1)[0].numpy()
    got = cube.cloudmask.predict_proba(model=spec, scale=SCALE, precision="fp32")
    np.testing.assert_allclose(got.isel(time=0).transpose("cloud_class", "y", "x").values, expected, atol=1e-4)


@pytest.mark.parametrize("normalization", NUMBERS)
def test_no_layout_changes_a_label(normalization, tiny_model):
    # No statistics, so the chunks do not matter either; tiles of another size round otherwise.
    spec, cube = told(tiny_model, normalization), odc_dataset(shape=(130, 150), times=2, nodata_fraction=0.1)
    chunked = cube.chunk({"y": 64, "x": 72})
    whole = cube.cloudmask.predict(model=spec, normalize="lattice", scale=SCALE, precision="fp32").values
    for normalize in ("lattice", "scene", "chunk"):
        mask = chunked.cloudmask.predict(model=spec, normalize=normalize, scale=SCALE, precision="fp32").values
        if normalize == "chunk":
            assert (mask != whole).mean() < 1e-3
        else:
            np.testing.assert_array_equal(mask, whole)
    assert len(np.unique(whole)) > 2


def test_scenes_are_not_read_twice(tiny_model):
    cube = odc_dataset(shape=(130, 150), times=2).chunk({"y": 64, "x": 72})
    spec = told(tiny_model, "fixed")
    scene, lattice = (
        len(cube.cloudmask.predict(model=spec, normalize=how, scale=SCALE).__dask_graph__())
        for how in ("scene", "lattice")
    )
    assert scene == lattice
    plan = cube.cloudmask.plan(model=spec, scale=SCALE)
    assert "reflectance" in plan.scale
    assert dict(plan.rows())["normalize"] == "chunk, for the tiles alone: no statistics are taken"


@pytest.mark.parametrize("normalization", ["fixed", "percentile"])
@pytest.mark.parametrize(
    "options", [{}, {"categorise": False}, {"stride": 64}, {"normalize": "lattice"}, {"normalize": "scene"}]
)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_the_device_engine_feeds_the_same(normalization, options, dtype, tiny_model):
    spec, cube = told(tiny_model, normalization), odc_dataset(shape=(96, 120), times=2, nodata_fraction=0.1)
    scale = SCALE
    if dtype == "float32":
        cube, scale = cube.cloudmask.to_reflectance(scale=SCALE), 1.0
    arguments = {"model": spec, "device": "cpu", "precision": "fp32", "scale": scale, **options}
    results = []
    for how in ("never", "always"):
        with dask.config.set({"xcloudmask.device_engine": how}):
            results.append(cube.chunk().cloudmask.predict(**arguments).values.astype(int))
    assert np.abs(results[0] - results[1]).max() <= (1 if options.get("categorise") is False else 0)


def test_bands_that_are_given_up_are_zeros(tiny_model):
    spec, cube = told(tiny_model, "fixed"), odc_dataset(shape=(64, 64), times=1, nodata=None)
    arguments = {"model": spec, "precision": "fp32", "scale": 1.0}
    mean = cube.cloudmask.to_reflectance(scale=SCALE).assign(nir=lambda ds: ds.nir * 0 + np.float32(0.2))
    np.testing.assert_allclose(
        mean.drop_vars("nir").cloudmask.predict_proba(bands={"nir": None}, **arguments),
        mean.cloudmask.predict_proba(**arguments),
        atol=1e-4,
    )


@pytest.mark.parametrize("options", [{"resolution": 3.0}, {"resolution": 60.0, "upsample": 2}])
def test_cells_that_are_no_pixels(options, tiny_model):
    cube = odc_dataset(shape=(96, 96), times=1, resolution=options.pop("resolution"), nodata=None)
    spec = told(tiny_model, "percentile")
    zero = cube.cloudmask.predict_proba(model=spec, scale=(1e-9, -1.0), precision="fp32", **options)
    dark = cube.cloudmask.predict_proba(model=spec, scale=(1e-9, -0.5), precision="fp32", **options)
    np.testing.assert_array_equal(zero, dark)  # both are below the lowest level
    got = cube.cloudmask.predict_proba(model=spec, scale=SCALE, precision="fp32", **options)
    assert float(np.abs(got - dark).max()) > 0.001


def test_a_gain_changes_the_answer_by_design(tiny_model):
    cube, spec = odc_dataset(shape=(64, 64), times=1, nodata=None), told(tiny_model, "fixed")
    one, two = (cube.cloudmask.predict_proba(model=spec, scale=scale) for scale in (1e-4, 2e-4))
    assert float(np.abs(one - two).max()) > 0.01
    with pytest.raises(errors.InputError, match="takes reflectance, and the scale is not known"):
        cube.cloudmask.predict(model=spec)
    with pytest.raises(errors.ArgumentError, match="takes reflectance, and normalize='ocm'"):
        odc_dataset(shape=(64, 64)).cloudmask.predict(model=spec, normalize="ocm", scale=1e-4)


def test_masks_say_with_which_numbers_they_were_made(tiny_model):
    cube, spec = odc_dataset(shape=(64, 64), times=1), told(tiny_model, "percentile")
    one = json.loads(cube.cloudmask.predict(model=spec, scale=SCALE).attrs["settings"])
    assert (one["normalization"], one["high"]) == ("percentile", "0.3 0.35 0.5")
    plain = json.loads(cube.cloudmask.predict(model=tiny_model).attrs["settings"])
    assert not {"normalization", "low", "mean"} & set(plain)


# Training


@pytest.mark.parametrize("normalize", ["fixed", "percentile"])
def test_training_feeds_what_the_engine_feeds(normalize, tiny_model):
    numbers = make_normalizer(normalize, [patch(1), patch(2)])
    spec = replace(tiny_model, level=False, **numbers.spec_fields)
    here = EngineSettings(spec=spec, halo_px=(0, 0), tile_px=(96, 96), scale=(1e-4,) * 3, offset=(0.0,) * 3)
    place = BlockPlace(start=0, stop=96, depth=0, length=96)
    image = prepare(patch(3).image, here)
    tiles, _ = feed(jobs([image], (place, place), here), 1, [image], (place, place), here)
    own, _ = numbers(patch(3).image.astype(np.float32) * np.float32(1e-4), None, level_known=True, nir=True)
    np.testing.assert_allclose(tiles[0], own, atol=1e-4)
    again = normalizer_of(spec)
    np.testing.assert_allclose((again.low, again.spread), (numbers.low, numbers.spread), atol=1e-6)


def test_numbers_are_those_of_the_pixels_that_there_are():
    without = patch(5, nir=False)
    fixed = make_normalizer("fixed", [patch(1), without])
    assert isinstance(fixed, WholeData)
    assert fixed.low[2] == pytest.approx(patch(1).image[2, ::4, ::4].mean() * 1e-4, abs=1e-6)
    seven = replace(patch(1), image=np.concatenate([patch(1).image, patch(2).image]), bands=tuple("abcdef"))
    assert len(make_normalizer("percentile", [seven]).low) == 6
    with pytest.raises(errors.ArgumentError, match="has the bands a, b"):
        make_normalizer("percentile", [patch(1), seven])
    with pytest.raises(errors.ArgumentError, match="there is none with band 3"):
        make_normalizer("fixed", [without])
    with pytest.raises(errors.ArgumentError, match="one value only"):
        measure_numbers("percentile", [np.ones(5)])
    assert make_normalizer("zscore", []) is augment.normalize_window


def test_without_patches_they_are_measured_on_simulated_scenes():
    alone = Mixture(size_px=64, normalize="percentile", landscapes=1.0)
    stream = small_stream(labelled=[], backgrounds=[], thumbnails=[], mixture=alone)
    image, level, *_ = stream[0]
    assert float(image.min()) >= 0.0
    assert float(image.max()) <= 1.0
    assert not level.any()
    assert all(0.0 <= low < 0.5 for low in stream.normalizer.low)


@pytest.mark.parametrize("normalize", ["fixed", "percentile"])
def test_a_fit_exports_a_model_that_goes_on(normalize, tmp_path):
    config = tiny_config(name="mine", steps=2, loss="dice")
    config = replace(config, mixture=replace(config.mixture, normalize=normalize))
    card = train_model(config, out=tmp_path / "first")
    spec = ModelSpec.from_card(card)
    assert (spec.normalization, spec.level) == (normalize, False)
    begin = find_start(str(card))
    assert begin.normalizer == normalizer_of(spec)
    more = ModelSpec.from_card(train_model(tiny_config(name="more", steps=1), out=tmp_path / "more", start=card))
    np.testing.assert_allclose(more.zero_and_unit, spec.zero_and_unit, atol=1e-6)
    assert more.normalization == normalize
    cube = odc_dataset(shape=(64, 64), times=1)
    mask = xcloudmask.predict(cube, model=more, scale=1e-4)
    assert set(np.unique(mask)) <= {0, 1, 2, 3, 255}
    odd = {"fixed": "percentile", "percentile": "fixed"}[normalize]
    other = replace(tiny_config(), mixture=replace(tiny_config().mixture, normalize=odd))
    with pytest.raises(errors.ArgumentError, match=f"was trained with '{normalize}'"):
        train_model(other, out=tmp_path / "odd", start=card)


# Dice


def loss_of(logits, sets, **how):
    return dice_loss(logits, sets, **({"sample_weight": torch.ones(len(sets)), "weights": set_weights()} | how)).item()


def test_dice_is_the_formula():
    torch.manual_seed(0)
    logits, sets = torch.randn(2, 4, 8, 8), torch.randint(0, 16, (2, 8, 8))
    share = torch.softmax(logits, 1).movedim(1, -1)
    allowed = torch.stack([(sets >> code) & 1 for code in range(4)], -1)
    truth = share * allowed / (share * allowed).sum(-1, keepdim=True).clamp(min=1e-9)
    weight = set_weights()[sets]
    terms = []
    for code in range(4):
        p, y = share[..., code], truth[..., code]
        terms.append(1 - 2 * (weight * p * y).sum() / (weight * (p**2 + y**2)).sum())
    assert loss_of(logits, sets) == pytest.approx(float(torch.stack(terms).mean()), abs=1e-4)


def test_dice_says_nothing_where_nothing_is_known():
    logits = torch.randn(1, 4, 4, 4)
    assert loss_of(logits, torch.full((1, 4, 4), 15)) == 0.0
    assert loss_of(logits, torch.zeros((1, 4, 4), dtype=torch.int)) == 0.0
    some = torch.full((1, 4, 4), 15)
    some[0, 0] = 1
    doubled = torch.cat([logits, logits + torch.randn(1, 4, 4, 4)])
    alone = loss_of(logits, some)
    assert alone > 0
    ignored = torch.cat([some, some])
    assert loss_of(doubled, ignored, sample_weight=torch.tensor([1.0, 0.0])) == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize("loss", [dice_loss, partial_label_loss])
def test_a_pixel_of_two_classes_is_led_to_one_of_them_and_not_told_which(loss):
    # Thick or thin; the network leans to thin, and thinks clear as likely.
    logits = torch.tensor([1.0, 0.0, 1.0, -3.0]).reshape(1, 4, 1, 1).repeat(1, 1, 4, 4).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(80):
        optimizer.zero_grad()
        loss(logits, torch.full((1, 4, 4), 6), sample_weight=torch.ones(1), weights=set_weights()).backward()
        optimizer.step()
    share = torch.softmax(logits.detach(), 1).mean(dim=(0, 2, 3))
    assert float(share[1] + share[2]) > 0.95
    assert float(share[2]) > float(share[1])


@pytest.mark.parametrize("loss", [dice_loss, partial_label_loss])
def test_both_losses_lead_to_the_labels(loss):
    torch.manual_seed(0)
    logits = torch.zeros(1, 4, 6, 6, requires_grad=True)
    sets = 2 ** torch.randint(0, 4, (1, 6, 6))
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        loss(logits, sets, sample_weight=torch.ones(1), weights=set_weights()).backward()
        optimizer.step()
    np.testing.assert_array_equal(2 ** logits.argmax(1), sets)


def test_networks_of_mobilenet_are_trained_and_predict(tmp_path):
    config = tiny_config(name="mobile", steps=1)
    network = {"bands": 3, "classes": TINY["classes"], "width": 8, "stages": 5}
    config = replace(
        config,
        model=replace(config.model, architecture="mobile-unet", config=network),
        mixture=replace(config.mixture, normalize="percentile"),
    )
    spec = ModelSpec.from_card(train_model(config, out=tmp_path))
    assert (spec.stride_px, spec.radius_px) == (16, 164)
    cube = odc_dataset(shape=(64, 80), times=1)
    plain = xcloudmask.predict(cube, model=spec, scale=1e-4, normalize="lattice")
    chunked = xcloudmask.predict(cube.chunk({"y": 32, "x": 32}), model=spec, scale=1e-4, normalize="lattice")
    np.testing.assert_array_equal(plain, chunked)


def test_int8_is_calibrated_on_what_is_fed(tiny_model):
    pytest.importorskip("openvino")
    from xcloudmask.models.backends.int8 import _tile
    from xcloudmask.sensors import get_sensor

    spec = told(tiny_model, "percentile")
    (tile,) = _tile(spec, get_sensor("sentinel-2-l2a"), 1)
    assert float(tile.min()) >= 0.0
    assert 0.1 < float(tile.max()) <= 1.0


@pytest.mark.parametrize("how", ["never", "always"])
def test_level_and_fixed_numbers_go_together(how, tiny_model):
    # The level is that of the reflectance, whatever is fed.
    spec, cube = told(tiny_model, "fixed"), odc_dataset(shape=(64, 64), times=1, nodata=None)
    arguments = {"scale": SCALE, "precision": "fp32", "device": "cpu"}
    with dask.config.set({"xcloudmask.device_engine": how}):
        one, two = (cube.cloudmask.predict_proba(model=replace(spec, level=on), **arguments) for on in (False, True))
    assert float(np.abs(one - two).max()) > 1e-4
