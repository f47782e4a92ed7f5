"""`xcloudmask train` and what is below it: from a configuration to a model that predicts."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from cubes import odc_dataset
from patches import TINY, tiny_config, write_data
from safetensors.torch import load_file
from typer.testing import CliRunner

import xcloudmask
from xcloudmask.cli.app import app
from xcloudmask.errors import ArgumentError, ModelError, UnknownModelError, WeightsError
from xcloudmask.models.ensemble import combine
from xcloudmask.training.card import add_evaluation
from xcloudmask.training.config import CardOptions, CubeOptions, DataOptions, Mixture, load_config, to_toml
from xcloudmask.training.history import read_history
from xcloudmask.training.start import find_start
from xcloudmask.training.train import load_pools, train, train_model


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write_config(folder, config):
    path = folder / "tiny.toml"
    path.write_text(to_toml(config))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A trained model, from the command line, on simulated scenes alone."""
    folder = tmp_path_factory.mktemp("run")
    config = replace(tiny_config(), card=CardOptions(licence="CC0-1.0", known_failures=("all",)))
    done = run("train", write_config(folder, config), "--out", folder / "out", "--seed", 5)
    assert done.exit_code == 0, done.output
    assert "simulated scenes alone" in done.stderr
    assert "3 steps" in done.stdout
    return folder


def test_simulated_scenes_alone_make_a_model(model):
    out = model / "out"
    made = {path.name for path in out.iterdir()}
    assert {"tiny.json", "tiny.safetensors", "history.csv", "config.toml", "run.json", "checkpoint.safetensors"} <= made
    assert not any(name.endswith(".partial") for name in made)
    card = json.loads((out / "tiny.json").read_text())
    training = card["training"]
    assert training["command"] == "xcloudmask train tiny.toml --seed 5"
    assert (training["steps"], training["seed"], training["start"]) == (3, 5, {})
    assert training["code_version"] == xcloudmask.__version__
    assert training["config"]["mixture"]["size_px"] == 64
    assert str(model) not in json.dumps(card)
    assert card["sources"] == ["scenes simulated by xcloudmask.simulate"]
    assert (card["licence"], card["known_failures"], card["metrics"]) == ("CC0-1.0", ["all"], {})
    assert read_history(out)["step"] == [3]


def test_the_model_predicts(model, tmp_path):
    spec = xcloudmask.ModelSpec.from_card(model / "out" / "tiny.json")
    cube = odc_dataset(shape=(48, 48), times=1)
    mask = xcloudmask.predict(cube, model=spec)
    assert set(np.unique(mask)) <= {0, 1, 2, 3, 255}
    for variable in cube.variables.values():
        variable.encoding.clear()
    cube.to_zarr(tmp_path / "cube.zarr", consolidated=False)
    done = run("predict", tmp_path / "cube.zarr", tmp_path / "m.zarr", "--model", model / "out" / "tiny.json")
    assert done.exit_code == 0, done.output


def test_the_same_command_resumes_to_the_same_bytes(model, tmp_path):
    config = load_config(model / "tiny.toml")
    config = replace(config, fit=replace(config.fit, seed=5, checkpoint_s=0.0))

    def stop(progress, _):
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_model(config, out=tmp_path, on_step=stop)
    assert not (tmp_path / "tiny.json").exists()
    done = run("train", model / "tiny.toml", "--out", tmp_path, "--seed", 5, "--quiet")
    assert done.exit_code == 0, done.output
    weights = (tmp_path / "tiny.safetensors").read_bytes()
    assert weights == (model / "out" / "tiny.safetensors").read_bytes()
    again = run("train", tmp_path / "config.toml", "--out", tmp_path, "--quiet")  # the config as used, finished
    assert again.exit_code == 0, again.output
    assert (tmp_path / "tiny.safetensors").read_bytes() == weights


def test_the_start_keeps_its_share(model, tmp_path):
    config = tiny_config(name="mine", learning_rate=0.1)
    start = model / "out" / "tiny.json"
    halved = replace(config, model=replace(config.model, start_share=0.5))
    cards = [train_model(each, out=tmp_path / name, start=start) for name, each in (("a", config), ("b", halved))]
    begin, end, mean = (load_file(path.with_suffix(".safetensors")) for path in (start, cards[0], cards[1]))
    for key, value in begin.items():
        if value.dtype.is_floating_point:
            torch.testing.assert_close(mean[key], (value + end[key]) / 2)
    assert any(not torch.equal(begin[key], end[key]) for key in begin)
    with pytest.raises(ArgumentError, match="start_share = 2"):
        train(replace(config, model=replace(config.model, start_share=2.0)), out=tmp_path / "c", start=start)


def test_a_run_that_comes_after_another(tmp_path):
    first = tiny_config(name="first")
    (tmp_path / "first.toml").write_text(to_toml(first))
    second = tiny_config(name="second", learning_rate=1e-9)
    second = replace(second, model=replace(second.model, after="first.toml"))
    path = tmp_path / "second.toml"
    path.write_text(to_toml(second))
    done = run("train", path, "--out", tmp_path / "out", "--steps", 2, "--quiet")
    assert done.exit_code == 0, done.output
    card = json.loads((tmp_path / "out" / "second.json").read_text())
    before = json.loads((tmp_path / "out" / "first" / "first.json").read_text())
    assert card["training"]["command"] == "xcloudmask train second.toml --steps 2"
    assert card["training"]["start"]["sha256"] == before["sha256"]
    assert (card["training"]["steps"], before["training"]["steps"]) == (2, 2)
    # With a model to start from, the first run is not made.
    again = run("train", path, "--out", tmp_path / "other", "--from", tmp_path / "out" / "first" / "first.json", "-q")
    assert again.exit_code == 0, again.output
    assert not (tmp_path / "other" / "first").exists()


def test_three_runs_in_a_row(tmp_path):
    for name, before in (("one", ""), ("two", "one.toml"), ("three", "two.toml")):
        config = tiny_config(name=name, steps=1)
        (tmp_path / f"{name}.toml").write_text(to_toml(replace(config, model=replace(config.model, after=before))))
    out = tmp_path / "out"
    done = run("train", tmp_path / "three.toml", "--out", out, "--quiet")
    assert done.exit_code == 0, done.output
    cards = [json.loads(path.read_text()) for path in (out / "three.json", out / "two" / "two.json")]
    assert cards[0]["training"]["start"]["sha256"] == cards[1]["sha256"]
    assert (out / "two" / "one" / "one.json").exists()
    (tmp_path / "one.toml").write_text((tmp_path / "three.toml").read_text())
    assert "comes round again" in run("train", tmp_path / "three.toml", "--out", tmp_path / "round").stderr


def test_another_run_in_the_same_folder_is_refused(model):
    config = load_config(model / "out" / "config.toml")
    out = model / "out"
    for changed, message in (
        (replace(config, fit=replace(config.fit, seed=6)), r"fit.seed = 5, and this one has 6.*--out"),
        (replace(config, mixture=replace(config.mixture, clear=0.5)), "mixture.clear"),
    ):
        with pytest.raises(ArgumentError, match=message):
            train(changed, out=out)
    with pytest.raises(ArgumentError, match="start weights random ones, and this one begins with tiny"):
        train(config, out=out, start=out / "tiny.json")
    free = replace(config, fit=replace(config.fit, workers=1, checkpoint_s=5.0), card=CardOptions(notes="new"))
    train(free, out=out)
    (out / "broken").mkdir()
    (out / "broken" / "run.json").write_text("{")
    with pytest.raises(ArgumentError, match="not the record of a run"):
        train(config, out=out / "broken")


def test_fine_tuning_on_labels_of_ones_own(model, tmp_path):
    cube = odc_dataset(shape=(64, 64), times=2)
    cube["clouds"] = (("time", "y", "x"), np.random.default_rng(0).integers(0, 2, (2, 64, 64)).astype(np.uint8))
    for variable in cube.variables.values():
        variable.encoding.clear()
    cube.to_zarr(tmp_path / "cube.zarr", consolidated=False)
    text = """
        [model]
        name = "mine"
        [[cubes]]
        path = "cube.zarr"
        labels = "clouds"
        kind = "label_cloud_only"
        sensor = "landsat-oli-c2-l2"
        licence = "CC BY 4.0"
        [mixture]
        size_px = 64
        landscapes = 0
        clouded = 0
        [fit]
        steps = 2
        batch = 2
        workers = 0
    """
    (tmp_path / "mine.toml").write_text(text)
    start = model / "out" / "tiny.json"
    done = run("train", tmp_path / "mine.toml", "--from", start, "--out", tmp_path / "mine")
    assert done.exit_code == 0, done.output
    card = json.loads((tmp_path / "mine" / "mine.json").read_text())
    assert card["config"] == TINY  # of the model, not of the file
    assert card["training"]["start"]["sha256"] == json.loads(start.read_text())["sha256"]
    assert card["training"]["config"]["fit"]["learning_rate"] == 0.0005
    assert card["sources"] == ["scenes simulated by xcloudmask.simulate", "cube: CC BY 4.0"]
    assert card["training"]["patches"]["labelled"] == 2
    assert card["training"]["command"] == "xcloudmask train mine.toml --from tiny.json"
    xcloudmask.ModelSpec.from_card(tmp_path / "mine" / "mine.json")


def test_a_folder_of_patches_and_its_measures(tmp_path):
    data = write_data(tmp_path / "data")
    options = DataOptions(folder=str(data), nir_guess=False, holdout_every=2)
    # Real patches alone: nothing is simulated.
    mixture = Mixture(clouded=0, landscapes=0, pasted=0, thumbnails=0)
    config = tiny_config(replace(tiny_config(), data=options, mixture=mixture), steps=1)
    pools = load_pools(data, config)
    assert [len(part) for part in pools.by_use().values()] == [1, 1, 1, 1]
    card = json.loads(train_model(config, out=tmp_path / "out").read_text())
    assert card["sources"][0] == "owner/a_1: CC0"
    assert set(card["metrics"]) <= {"holdout_agreement", "holdout_cloud_ba", "holdout_shadow_f1"}
    assert all(0 <= value <= 1 for value in card["metrics"].values())


def test_mixtures_that_make_no_sample_are_refused(tmp_path):
    config = tiny_config()
    with pytest.raises(ArgumentError, match="Type size_px = 64"):
        train(replace(config, mixture=Mixture(size_px=70)), out=tmp_path)
    with pytest.raises(ArgumentError, match="nothing to draw samples from"):
        train(replace(config, mixture=Mixture(size_px=64, landscapes=0)), out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_a_training_can_start_from(model, tmp_path):
    assert find_start(str(model / "out" / "tiny.safetensors")).architecture == ""
    assert dict(find_start(str(model / "out" / "tiny.json")).config) == TINY
    with pytest.raises(UnknownModelError, match="defaut"):
        find_start("defaut")
    with pytest.raises(ModelError, match="cannot be read"):
        find_start(str(tmp_path / "none.json"))
    with pytest.raises(WeightsError, match="cannot be read"):
        find_start(str(tmp_path / "none.safetensors"))
    pair = combine(["default", "default"], name="pair")
    xcloudmask.register_model(pair)
    with pytest.raises(ArgumentError, match="is an ensemble of default, default"):
        find_start("pair")
    changed = json.loads((model / "out" / "tiny.json").read_text()) | {"sha256": "0" * 64}
    (model / "out" / "changed.json").write_text(json.dumps(changed))
    with pytest.raises(WeightsError, match="not the file that the card"):
        find_start(str(model / "out" / "changed.json"))


def test_an_evaluation_goes_into_its_card(model, tmp_path):
    data = write_data(tmp_path / "data")
    card, measured = model / "out" / "tiny.json", tmp_path / "eval.json"
    done = run("evaluate", "--data", data, "--split", "eval", "--model", card, "--json", measured, "--draws", 5)
    assert done.exit_code == 0, done.output
    add_evaluation(card, measured)
    plain = json.loads(card.read_text())
    assert 0 <= plain["metrics"]["c_level_known_agreement"] <= 1
    # Thumbnails tell no shadow: there is no such measure.
    assert "s2cmc_level_unknown_cloud_shadow_f1" not in plain["metrics"]
    assert {"low", "high"} <= set(plain["evaluation"]["results"]["known"]["pooled"]["measures"]["agreement"])
    assert "patches" not in plain["evaluation"]["results"]["known"]
    xcloudmask.ModelSpec.from_card(card)
    train_model(load_config(model / "out" / "config.toml"), out=model / "out")  # the command typed again
    assert json.loads(card.read_text())["evaluation"] == plain["evaluation"]
    other = json.loads(measured.read_text()) | {"model": {"name": "x", "sha256": "1" * 64}}
    measured.write_text(json.dumps(other))
    with pytest.raises(ArgumentError, match="xcloudmask evaluate --model"):
        add_evaluation(card, measured)
    measured.write_text("[]")
    with pytest.raises(ArgumentError, match="Expected a JSON object"):
        add_evaluation(card, measured)


def test_clear_cubes_of_unknown_scale_are_no_ground_for_simulated_clouds(tmp_path):
    cube = odc_dataset(shape=(64, 64), times=1)
    for variable in cube.variables.values():
        variable.encoding.clear()
    cube.to_zarr(tmp_path / "cube.zarr", consolidated=False)
    options = CubeOptions(path=str(tmp_path / "cube.zarr"), kind="clear")
    for options_now, used in ((options, "labelled"), (replace(options, scale=1e-4), "backgrounds")):
        pools = load_pools(None, replace(tiny_config(), cubes=(options_now,)))
        assert [name for name, patches in pools.by_use().items() if patches] == [used]


def test_wrong_usage(tmp_path):
    assert run("train", tmp_path / "none.toml").exit_code == 2
    (tmp_path / "file").touch()
    done = run("train", write_config(tmp_path, tiny_config()), "--out", tmp_path / "file")
    assert done.exit_code == 2
    assert "is a file" in done.stderr
