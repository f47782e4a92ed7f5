"""The pre-training of SEnSeI: its spectra, its fit, and the networks that start from it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from patches import tiny_config
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

import xcloudmask
from xcloudmask.cli.app import app
from xcloudmask.errors import ArgumentError, ModelError, WeightsError
from xcloudmask.models.anybands import SenseiNet
from xcloudmask.models.sensei import OFFSET, THERMAL_K, Sensei
from xcloudmask.sensors import SENSORS
from xcloudmask.simulate.spectra import SPECTRA, is_thermal, sample
from xcloudmask.training import spectra_stream
from xcloudmask.training.checkpoint import load_network
from xcloudmask.training.config import load_chain, load_config, to_toml
from xcloudmask.training.fit import fit
from xcloudmask.training.history import read_history
from xcloudmask.training.initial import spread_out
from xcloudmask.training.options import LEARNING_RATE, FitOptions, ModelOptions
from xcloudmask.training.pretrain import MEASURES, SpectrumAutoencoder, measure_autoencoder, pretraining_loss
from xcloudmask.training.spectra_stream import SpectraStream, draw_bands, draw_spectra
from xcloudmask.training.start import find_start
from xcloudmask.training.train import train_model

SMALL = {"channels": 16, "pair_width": 16}


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def small(*, network=SMALL, **fit_options):
    """The recipe, with a network and a run that are over in a second."""
    recipe = load_config("sensei")
    model = replace(recipe.model, config=network)
    return replace(recipe, model=model, fit=replace(recipe.fit, **({"steps": 4, "batch": 2} | fit_options)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Made by the command, on a network small enough for a test."""
    folder = tmp_path_factory.mktemp("pretrained")
    (folder / "small.toml").write_text(to_toml(small()))
    done = run("train", folder / "small.toml", "--out", folder / "out")
    assert done.exit_code == 0, done.output
    assert "xcloudmask train any-bands-start --from" in done.stdout
    assert "simulated scenes alone" not in done.stderr
    return folder / "out"


# Spectra


@pytest.mark.parametrize("sensor", ["sentinel-2-l1c", "landsat-etm-c2-l1", "sentinel-3-slstr-l1b", "modis-09"])
def test_bands_see_of_a_material_what_the_library_says(sensor):
    for band in (one.wavelength_nm for one in SENSORS[sensor].bands):
        if not is_thermal(band):
            expected = [sample(name, wavelength_nm=band) for name in SPECTRA]
            np.testing.assert_allclose(spectra_stream._band_means(band), expected, atol=1e-4)


@settings(max_examples=60)
@given(st.integers(0, 2**31), st.integers(0, 2**31))
def test_samples_are_what_sensei_is_fed(seed, index):
    values, side, asked, present, truth = SpectraStream(seed=seed, length=1)[index]
    there = side[:, 3] == 1
    assert 3 <= int(there.sum()) <= spectra_stream.MOST_BANDS
    assert not side[~there].any()
    assert not values[~there].any()
    assert all(part.isfinite().all() for part in (values, side, truth))
    reflectance = values[there] - OFFSET
    assert reflectance.min() > -0.01
    assert reflectance.max() < 2.5
    # Half of the bands asked about are in the set, and showed what stands there; the others are not.
    assert present.sum() == spectra_stream.ASKED / 2
    for band, inside, shown in zip(asked, present, truth, strict=True):
        same = (side[there][:, :3] == band).all(dim=1)
        assert bool(same.any()) == bool(inside)
        if inside:
            torch.testing.assert_close(values[there][same][0] - OFFSET, shown)
        else:
            assert not shown.any()


def test_a_sample_depends_on_its_number_alone():
    def equal(one, other):
        return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))

    assert equal(SpectraStream(seed=3, length=9)[7], SpectraStream(seed=3, length=1000)[7])
    assert not equal(SpectraStream(seed=3, length=9)[7], SpectraStream(seed=4, length=9)[7])
    assert not equal(SpectraStream(seed=3, length=9)[7], SpectraStream(seed=3, length=9, held_out=True)[7])
    assert not equal(SpectraStream(seed=3, length=9)[0], SpectraStream(seed=3, length=9, held_out=True)[0])


@given(st.integers(0, 2**31))
def test_sets_of_bands_are_of_the_range_of_the_paper(seed):
    bands = draw_bands(np.random.default_rng(seed))
    assert len(set(bands)) == len(bands)
    assert all(300.0 < low < centre < high and 399.0 < centre < 20_001.0 for low, centre, high in bands)


def test_clouds_are_bright_and_cold(monkeypatch):
    bands = [(850.0, 865.0, 880.0), (10_600.0, 10_900.0, 11_190.0)]
    clear, cloudy = [], []
    for seed in range(40):
        for share, kept in ((1.1, clear), (-0.1, cloudy)):
            monkeypatch.setattr(spectra_stream, "_CLEAR", share)
            kept.append(draw_spectra(bands, count=50, rng=np.random.default_rng(seed)))
    clear, cloudy = (np.concatenate(parts, axis=1) for parts in (clear, cloudy))
    assert cloudy[0].mean() > clear[0].mean() + 0.1
    assert cloudy[1].mean() < clear[1].mean() - 0.02
    assert clear[1].min() * THERMAL_K > 230
    assert clear[1].max() * THERMAL_K < 340


# The fit


def first_samples(stream, count=32):
    """What the network is fed of some samples."""
    return [torch.stack(part) for part in zip(*(stream[index][:3] for index in range(count)), strict=True)]


def test_spread_out_keeps_bands_apart():
    inputs = first_samples(SpectraStream(seed=0, length=32))

    def spread(net):
        there = inputs[1][..., 3] == 1
        vectors = net.sensei.vectors(inputs[1][..., :3], inputs[1][..., 3])[there]
        return float(vectors.std(dim=0).mean() / vectors.abs().mean())

    torch.manual_seed(0)
    with torch.no_grad():
        net = SpectrumAutoencoder()
        before = spread(net)
        spread_out(net, inputs)
        assert before < 0.4
        assert spread(net) > 0.8
    assert not any(module._forward_hooks for module in net.modules())


def test_the_fit_learns_bands_and_values(tmp_path):
    torch.manual_seed(0)
    net, stream = SpectrumAutoencoder(**SMALL), SpectraStream(seed=1, length=800)
    spread_out(net, first_samples(stream))
    before = measure_autoencoder(net.eval(), seed=1, sets=64)
    assert before["holdout_bands_told"] < 0.55
    options = FitOptions(steps=100, batch=8, workers=0, bf16=False, learning_rate=8e-3, ema=0.9)
    fitted = fit(net, stream, tmp_path, options=options, loss=pretraining_loss)
    after = measure_autoencoder(fitted, seed=1, sets=64)
    assert after["holdout_bands_told"] > 0.55
    for name in MEASURES[1:]:
        assert after[name] < 0.5 * before[name]
    losses = read_history(tmp_path)["loss"]
    assert losses[-1] < 0.8 * losses[0]


def test_the_loss_is_0_where_all_is_known():
    *batch, present, truth = (part[None] for part in SpectraStream(seed=0, length=1)[0])
    right = present.unsqueeze(-1).expand_as(truth)

    def loss(there, value):
        return float(pretraining_loss(lambda *_: (there, value), [*batch, present, truth]))

    # What is said of the value of a band that is not there costs nothing.
    assert loss(right, truth + (1 - right) * 7.0) == 0.0
    assert loss(1 - right, truth) == pytest.approx(1.0)
    assert loss(right, truth + 0.1) == pytest.approx(0.01, rel=1e-4)


def test_resumed_run_equals_undisturbed_run(trained, tmp_path):
    config = load_config(trained / "config.toml")

    def stop(progress, _):
        if progress.step == 2:
            raise KeyboardInterrupt

    cut = replace(config, fit=replace(config.fit, checkpoint_s=0.0))
    with pytest.raises(KeyboardInterrupt):
        train_model(cut, out=tmp_path, on_step=stop)
    assert not (tmp_path / "sensei.safetensors").exists()
    torch.manual_seed(99)
    train_model(config, out=tmp_path)
    assert (tmp_path / "sensei.safetensors").read_bytes() == (trained / "sensei.safetensors").read_bytes()


def test_other_settings_in_the_same_folder_are_refused(trained):
    with pytest.raises(ArgumentError, match="Two runs are not mixed"):
        train_model(small(seed=5), out=trained)


# What it makes


def test_what_a_run_leaves(trained):
    weights = load_file(trained / "sensei.safetensors")
    assert set(weights) == set(Sensei(**SMALL).state_dict())
    card = json.loads((trained / "sensei.json").read_text())
    assert (card["architecture"], card["config"]) == ("sensei", SMALL)
    assert card["sources"] == ["spectra simulated by xcloudmask.simulate"]
    assert set(card["metrics"]) == set(MEASURES)
    assert card["training"]["steps"] == 4
    assert card["training"]["command"] == "xcloudmask train small.toml"
    history = read_history(trained)
    assert history["step"] == [4]
    # What is measured on the way is what the card says: the same spectra.
    for name in MEASURES:
        assert history[name] == [pytest.approx(card["metrics"][name], abs=1e-3, rel=1e-3)]


def test_it_has_a_picture(trained):
    pytest.importorskip("matplotlib")
    from xcloudmask.training.curves import save_curves

    assert save_curves(trained).stat().st_size > 10_000


def test_the_recipe_is_that_of_any_bands():
    recipe = load_config("sensei")
    assert recipe.model.architecture == "sensei"
    sensei = Sensei(**recipe.model.config)
    first, *_, last = load_chain("any-bands")
    assert first == recipe
    assert load_config("any-bands-start").model.after == "sensei"
    assert sensei.channels == last.model.config["channels"]


def test_it_predicts_nothing(trained):
    with pytest.raises(ModelError, match="train any-bands-start --from"):
        xcloudmask.ModelSpec.from_card(trained / "sensei.json")


@pytest.mark.parametrize("network", [{"bands": 3}, {"channels": 15}])
def test_other_arguments_are_refused(tmp_path, network):
    with pytest.raises(ArgumentError, match=r"\[model\].*channels = 64"):
        train_model(small(network=network), out=tmp_path)


def test_it_begins_at_random(trained, tmp_path):
    with pytest.raises(ArgumentError, match="leave it out"):
        train_model(small(), out=tmp_path, start=trained / "sensei.json")


# Where networks start


@pytest.mark.parametrize("file", ["sensei.json", "sensei.safetensors"])
def test_a_network_starts_from_it(trained, file):
    start = find_start(str(trained / file))
    torch.manual_seed(1)
    net = SenseiNet("unet", channels=16, width=8, blocks=1)
    net.sensei = Sensei(**SMALL)
    body = {key: value.clone() for key, value in net.body.state_dict().items()}
    load_network(net, start.weights, part=start.part)
    for key, value in load_file(trained / "sensei.safetensors").items():
        torch.testing.assert_close(net.sensei.state_dict()[key], value, rtol=0, atol=0)
    for key, value in net.body.state_dict().items():
        torch.testing.assert_close(value, body[key], rtol=0, atol=0)


def test_only_that_part_may_be_missing(trained):
    start = find_start(str(trained / "sensei.safetensors"))
    with pytest.raises(WeightsError, match="does not fit"):
        load_network(SenseiNet("unet", channels=64, width=8, blocks=1), start.weights, part=start.part)
    with pytest.raises(WeightsError, match="does not fit"):
        load_network(SenseiNet("unet", channels=64, width=8, blocks=1).body, start.weights, part=start.part)
    with pytest.raises(WeightsError, match="does not fit"):
        load_network(nn.ModuleDict({"sensei": Sensei(**SMALL), "body": nn.Linear(1, 1)}), start.weights)


def test_weights_of_another_card_are_refused(trained, tmp_path):
    (tmp_path / "sensei.json").write_bytes((trained / "sensei.json").read_bytes())
    (tmp_path / "sensei.safetensors").write_bytes((trained / "sensei.safetensors").read_bytes() + b" ")
    with pytest.raises(WeightsError, match="is not the file"):
        find_start(str(tmp_path / "sensei.json"))
    (tmp_path / "sensei.json").write_text('{"architecture": "sensei", "name": "sensei"}')
    with pytest.raises(ModelError, match="lacks 'weights'"):
        find_start(str(tmp_path / "sensei.json"))


def any_bands(**model):
    """A run of a network of any bands, on simulated scenes alone."""
    tiny = tiny_config()
    network = {"channels": 16, "width": 8, "blocks": 1}
    options = ModelOptions(name="any", architecture="sensei-unet", config=network, **model)
    return replace(tiny, model=options, fit=replace(tiny.fit, steps=1, learning_rate=None))


def test_the_recipe_runs_before_the_network_that_starts_there(tmp_path):
    card = json.loads(
        train_model(any_bands(), out=tmp_path, before=[small(network={"channels": 16}, steps=2)]).read_text()
    )
    first = json.loads((tmp_path / "sensei" / "sensei.json").read_text())
    assert card["training"]["start"] == {"name": "sensei", "sha256": first["sha256"], "licence": "Apache-2.0"}
    assert card["architecture"] == "sensei-unet"
    assert set(first["sources"]) < set(card["sources"])
    # What stands behind SEnSeI begins at random, so the rate is not that of a fine-tuning.
    assert card["training"]["config"]["fit"]["learning_rate"] == LEARNING_RATE
    made = load_file(tmp_path / "any.safetensors")
    start = load_file(tmp_path / "sensei" / "sensei.safetensors")
    near = max(float((made[f"sensei.{key}"] - value).abs().max()) for key, value in start.items())
    assert near < 5 * LEARNING_RATE


def test_a_part_keeps_no_share(trained, tmp_path):
    with pytest.raises(ArgumentError, match="start_share"):
        train_model(any_bands(start_share=0.5), out=tmp_path / "out", start=trained / "sensei.json")
