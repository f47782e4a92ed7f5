"""`xcloudmask train` for networks of any bands and of bands that are given: from a configuration to a mask."""

import json
from dataclasses import replace

import numpy as np
import pytest
from patches import patch, tiny_config, write_data
from safetensors.torch import load_file
from typer.testing import CliRunner

import xcloudmask
from xcloudmask.cli.app import app
from xcloudmask.errors import ArgumentError
from xcloudmask.models.architectures import build
from xcloudmask.models.loading import load_network
from xcloudmask.simulate import simulate_scene
from xcloudmask.training.bandfeed import AnyBands, FixedBands
from xcloudmask.training.bandruns import begin_as_any_bands
from xcloudmask.training.bandstream import window_of
from xcloudmask.training.config import CubeOptions, DataOptions, load_config, to_toml
from xcloudmask.training.history import read_history
from xcloudmask.training.train import train_model
from xcloudmask.training.validate import mask_of

ANY = {"architecture": "sensei-unet", "config": {"channels": 16, "width": 8, "blocks": 1, "classes": 4}}
THREE = ("coastal", "red", "swir22")
OWN = {"bands": THREE, "config": {"bands": 3, "width": 8, "blocks": 1, "level": 1}}


def config_of(table, *, name="tiny", **mixture):
    config = tiny_config(name=name)
    model, drawn = replace(config.model, **table), replace(config.mixture, **mixture)
    return replace(config, model=model, mixture=drawn, data=DataOptions(holdout_every=2))


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


@pytest.fixture(scope="module")
def any_bands(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    path = folder / "tiny.toml"
    path.write_text(to_toml(config_of(ANY)))
    done = run("train", path, "--data", data, "--out", folder / "out")
    assert done.exit_code == 0, done.output
    return folder / "out" / "tiny.json"


def test_a_network_of_any_bands_masks_cubes_of_any_sensor(any_bands):
    card = json.loads(any_bands.read_text())
    assert card["any_bands"]
    assert card["bands"] == []
    assert card["metrics"]
    for sensor, count in (("landsat-etm-c2-l2", 7), ("sentinel-2-l1c", 13)):
        cube = simulate_scene(sensor, size_px=48, times=1)
        plan = xcloudmask.plan(cube, model=any_bands)
        assert len(plan.bands) == count
        assert set(np.unique(xcloudmask.predict(cube, model=any_bands))) <= {0, 1, 2, 3, 255}


def test_the_same_command_resumes_to_the_same_bytes(any_bands, data, tmp_path):
    def stop(progress, _):
        if progress.step == 2:
            raise KeyboardInterrupt

    config = load_config(any_bands.parent / "config.toml")
    config = replace(config, fit=replace(config.fit, checkpoint_s=0.0))
    with pytest.raises(KeyboardInterrupt):
        train_model(config, data=data, out=tmp_path, on_step=stop)
    made = train_model(config, data=data, out=tmp_path)
    assert made.with_suffix(".safetensors").read_bytes() == any_bands.with_suffix(".safetensors").read_bytes()
    assert read_history(tmp_path)["holdout_agreement"]


@pytest.mark.parametrize("normalize", ["zscore", "fixed", "percentile"])
def test_a_network_of_given_bands(normalize, tmp_path):
    table = OWN if normalize == "zscore" else {**OWN, "config": {**OWN["config"], "level": 0}}
    config = config_of(table, normalize=normalize, landscapes=1.0, sensors=("sentinel-2-l1c",))
    spec = xcloudmask.ModelSpec.from_card(train_model(config, out=tmp_path))
    assert (spec.bands, spec.normalization) == (THREE, normalize)
    assert set(spec.optional_bands) == {"coastal", "swir22"}
    cube = simulate_scene("sentinel-2-l1c", size_px=48, times=1)
    whole = xcloudmask.predict(cube, model=spec)
    assert set(np.unique(whole)) <= {0, 1, 2, 3, 255}
    without = xcloudmask.predict(cube, model=spec, bands={"coastal": None, "swir22": None})
    assert without.shape == whole.shape


def test_a_model_goes_on_with_its_own_bands(any_bands, data, tmp_path):
    again = train_model(tiny_config(name="again"), data=data, out=tmp_path / "any", start=any_bands)
    assert xcloudmask.ModelSpec.from_card(again).any_bands
    own = train_model(config_of(OWN, name="own", sensors=("sentinel-2-l1c",)), out=tmp_path / "own")
    more = train_model(tiny_config(name="more"), out=tmp_path / "more", start=own)
    assert xcloudmask.ModelSpec.from_card(more).bands == THREE
    before, after = (load_file(path.with_suffix(".safetensors")) for path in (own, more))
    assert set(before) == set(after)


def test_what_cannot_be_trained_is_said(tmp_path):
    with pytest.raises(ArgumentError, match="z-scores or reflectance"):
        train_model(config_of(ANY, normalize="fixed"), out=tmp_path)
    with pytest.raises(ArgumentError, match="most_bands = 2"):
        train_model(config_of(ANY, most_bands=2), out=tmp_path)
    cubes = replace(config_of(ANY), cubes=(CubeOptions(path="a.zarr", labels="b"),))
    with pytest.raises(ArgumentError, match=r"\[\[cubes\]\]"):
        train_model(cubes, out=tmp_path)
    table = {"bands": ("red", "lwir11"), "config": {"bands": 2, "width": 8, "blocks": 1, "level": 0}}
    with pytest.raises(ArgumentError, match="'lwir11'"):
        train_model(config_of(table, normalize="fixed", sensors=("sentinel-2-l1c",)), out=tmp_path)


def beginning(any_bands, **model):
    """A network of certain bands that begins as a model of any, which takes no level, and hardly learns."""
    table = OWN | {"config": OWN["config"] | {"level": 0}, "body": str(any_bands)} | model
    config = config_of(table, name="begun", sensors=("sentinel-2-l1c",))
    return replace(config, fit=replace(config.fit, steps=1, learning_rate=1e-9))


def test_a_network_of_certain_bands_begins_as_one_of_any(any_bands, data, tmp_path):
    config = beginning(any_bands)
    net = build("unet", config.model.config).eval()
    spec = begin_as_any_bands(net, config.model.body, config)
    values = np.random.default_rng(0).integers(500, 3000, (3, 64, 64)).astype(np.uint16)
    window = window_of(replace(patch(1, side=64), image=values, bands=THREE, sensor="sentinel-2-l1c"))
    mask = mask_of(net, *FixedBands(roles=THREE)(window), valid=window.valid)
    expected = mask_of(load_network(spec, fold=False), *AnyBands(most=3)(window), valid=window.valid)
    assert (mask == expected).mean() > 0.999
    card = json.loads(train_model(config, data=data, out=tmp_path).read_text())
    assert set(json.loads(any_bands.read_text())["sources"]) <= set(card["sources"])


def test_a_network_of_certain_bands_comes_after_one_of_any(any_bands, data, tmp_path):
    (tmp_path / "tiny.toml").write_text((any_bands.parent / "config.toml").read_text())
    config = beginning("tiny.toml", after="tiny.toml")
    path = tmp_path / "begun.toml"
    path.write_text(to_toml(config))
    done = run("train", path, "--data", data, "--out", tmp_path / "out", "--quiet")
    assert done.exit_code == 0, done.output
    made = json.loads((tmp_path / "out" / "begun.json").read_text())["training"]
    before = json.loads((tmp_path / "out" / "tiny" / "tiny.json").read_text())
    assert made["body"] == {"name": "tiny", "sha256": before["sha256"]}
    assert (made["start"], made["config"]["model"]["body"]) == ({}, "tiny.toml")
    named = train_model(beginning(tmp_path / "out" / "tiny" / "tiny.json"), data=data, out=tmp_path / "named")
    assert named.with_suffix(".safetensors").read_bytes() == (tmp_path / "out" / "begun.safetensors").read_bytes()


def test_a_run_that_began_as_another_model_is_not_mixed(any_bands, data, tmp_path):
    config = beginning(any_bands)
    train_model(config, data=data, out=tmp_path / "run")
    again = train_model(tiny_config(name="tiny"), data=data, out=tmp_path / "any", start=any_bands)
    changed = replace(config, model=replace(config.model, body=str(again)))
    with pytest.raises(ArgumentError, match=r"holds a run with the network of tiny .*, and this one begins as tiny"):
        train_model(changed, data=data, out=tmp_path / "run")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"body": "default"}, "Expected a model of any bands"),
        ({"bands": ("red", "green", "yellow")}, "no band 'yellow'"),
        ({"config": OWN["config"] | {"width": 16}}, "another kind or size"),
    ],
)
def test_a_network_cannot_begin_as_any(model, message, any_bands, data, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        train_model(beginning(any_bands, **model), data=data, out=tmp_path)
