"""Configurations: what is read, what is refused, and that the written file is read back."""

import tomllib
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xcloudmask.errors import ArgumentError
from xcloudmask.training.config import (
    CardOptions,
    CubeOptions,
    FitOptions,
    ModelOptions,
    TrainConfig,
    list_recipes,
    load_config,
    to_toml,
)
from xcloudmask.training.options import TABLES, describe_table


def write(folder, text):
    path = folder / "run.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", sorted(list_recipes()))
def test_every_recipe_is_read(name):
    config = load_config(name)
    assert config.fit.steps
    assert config.mixture.normalize == ("percentile" if name == "percentile-s2" else "zscore")


def test_what_is_left_out_has_its_default(tmp_path):
    config = load_config(write(tmp_path, "[fit]\nsteps = 5\nlearning_rate = 1\n"))
    assert config == TrainConfig(fit=FitOptions(steps=5, learning_rate=1.0))
    assert isinstance(config.fit.learning_rate, float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[fitt]\n", r"'fitt' is unknown. Did you mean 'fit'\?"),
        ("[fit]\nstep = 5\n", r"'step' is unknown. Did you mean 'steps'\?"),
        ("[fit]\nsteps = 5.5\n", "steps = 5.5 is a float. Expected int"),
        ("[fit]\nbf16 = 1\n", "is a int. Expected bool"),
        ("[fit]\nbatch = true\n", "is a bool. Expected int"),
        ("[model]\nconfig = { width = 'x' }\n", r"config.width = 'x'"),
        ("[model]\nconfig = 5\n", "config = 5 is a int. Expected table"),
        ("[data]\nsplits = 'train'\n", "splits = 'train' is a str. Expected list"),
        ("[mixture]\nnormalize = 'minmax'\n", "Expected one of 'zscore'"),
        ("fit = 5\n", "Expected a table"),
        ("[cubes]\npath = 'a.zarr'\n", r"Expected \[\[cubes\]\]"),
        ("[[cubes]]\nlabels = 'a'\n", "lacks 'path'. Type: path ="),
        ("[[cubes]]\npath = 'a'\nkind = 'label5'\n", "Expected one of 'label4'"),
        ("[fit\n", "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    with pytest.raises(ArgumentError, match=message):
        load_config(write(tmp_path, text))


def test_missing_and_huge_files(tmp_path):
    with pytest.raises(ArgumentError, match=r"recipes: .*default"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ArgumentError, match="larger than"):
        load_config(write(tmp_path, "#" * 200_000))


def test_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "labels.tif").touch()
    text = """
        [model]
        start = "old/model.json"
        [data]
        folder = "patches"
        [[cubes]]
        path = "cube.zarr"
        labels = "truth"
        [[cubes]]
        path = "s3://bucket/cube.zarr"
        labels = "labels.tif"
    """
    config = load_config(write(tmp_path, text))
    assert config.model.start == str(tmp_path / "old" / "model.json")
    assert config.data.folder == str(tmp_path / "patches")
    first, second = config.cubes
    assert (first.path, first.labels) == (str(tmp_path / "cube.zarr"), "truth")
    assert (second.path, second.labels) == ("s3://bucket/cube.zarr", str(tmp_path / "labels.tif"))
    assert load_config(write(tmp_path, "[model]\nstart = 'default'\n")).model.start == "default"


texts = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12)
floats = st.floats(min_value=0, max_value=1e6, allow_nan=False)


@settings(max_examples=8)
@given(name=texts, rate=floats, seed=st.integers(0, 2**40), failures=st.lists(texts, max_size=3), role=texts)
def test_written_settings_are_read_back(tmp_path_factory, name, rate, seed, failures, role):
    cube = CubeOptions(path="/a.zarr", bands={role: name}, scale=rate)
    config = replace(
        TrainConfig(cubes=(cube, CubeOptions(path="/b.tif", kind="clear"))),
        model=ModelOptions(name=name),
        fit=FitOptions(learning_rate=rate, seed=seed),
        card=CardOptions(known_failures=tuple(failures)),
    )
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert load_config(path) == config
    assert set(tomllib.loads(to_toml(config))) == set(TABLES)


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_setting_says_what_it_does(table):
    described = describe_table(table)
    assert [name for name, _, _ in described] == [entry.name for entry in fields(TABLES[table])]
    assert all(text.endswith(".") for _, _, text in described)
