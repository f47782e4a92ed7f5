"""`xcloudmask convert`, and what `predict` writes by the name of its output."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import xcloudmask
from xcloudmask.cli.app import app
from xcloudmask.io.stores import open_store
from xcloudmask.simulate.scene import simulate_sentinel2, simulate_truth

FORMATS = ["m.zarr", "m.icechunk", "folder/", "stac/catalog.json"]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def opened(path):
    return open_store(path.removesuffix("/catalog.json"))


@pytest.fixture(scope="module")
def mask():
    return simulate_truth(size_px=96, times=3, chunks=48).compute().rename("cloud_mask")


@pytest.fixture(scope="module")
def store(mask, tmp_path_factory):
    path = tmp_path_factory.mktemp("masks") / "start.zarr"
    mask.cloudmask.to_zarr(path)
    return path


@pytest.mark.parametrize("output", FORMATS)
def test_every_format_into_every_other(mask, store, tmp_path, output):
    first = f"{tmp_path}/{output}"
    done = run("convert", store, first)
    assert done.exit_code == 0, done.output
    assert "time 3" in done.output
    assert "% clear" in done.output
    np.testing.assert_array_equal(opened(first), mask)
    done = run("convert", first.removesuffix("/catalog.json"), tmp_path / "back.zarr")
    assert done.exit_code == 0, done.output
    back = xcloudmask.open_mask(tmp_path / "back.zarr")
    np.testing.assert_array_equal(back, mask)
    np.testing.assert_array_equal(back["time"], mask["time"].astype("M8[s]"))


@pytest.mark.parametrize("output", FORMATS)
def test_dates_are_appended_once(mask, tmp_path, output):
    for name, part in {"a": mask[:2], "b": mask[1:]}.items():
        part.cloudmask.to_zarr(tmp_path / f"{name}.zarr")
    target = f"{tmp_path}/{output}"
    assert run("convert", tmp_path / "a.zarr", target).exit_code == 0
    for _ in range(2):
        done = run("convert", tmp_path / "b.zarr", target, "--append")
        assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(opened(target), mask)


@pytest.mark.parametrize("output", FORMATS)
def test_dates_that_were_made_in_another_way_are_not_appended(mask, tmp_path, output):
    for name, part in {"a": mask[:2], "b": mask[2:]}.items():
        part.assign_attrs(model="mine", model_sha256=name * 64).cloudmask.to_zarr(tmp_path / f"{name}.zarr")
    target = f"{tmp_path}/{output}"
    assert run("convert", tmp_path / "a.zarr", target).exit_code == 0
    done = run("convert", tmp_path / "b.zarr", target, "--append")
    assert done.exit_code == 1, done.output
    assert "model_sha256" in done.output
    np.testing.assert_array_equal(opened(target), mask[:2])


@pytest.mark.parametrize("output", ["m.zarr", "m.icechunk", "m.tif", "stac/catalog.json"])
def test_what_exists_is_replaced_only_when_told(mask, store, tmp_path, output):
    mask[:1].cloudmask.to_zarr(tmp_path / "one.zarr")
    target = f"{tmp_path}/{output}"
    assert run("convert", tmp_path / "one.zarr", target).exit_code == 0
    refused = run("convert", tmp_path / "one.zarr", target)
    assert refused.exit_code == 1
    assert "exists" in refused.output
    assert "--overwrite" in refused.output
    done = run("convert", tmp_path / "one.zarr", target, "--overwrite", "--style", "valid-invalid")
    # A catalogue keeps what it has, and what it has is of another style.
    assert (done.exit_code == 0) == (not output.startswith("stac")), done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{store}", "mask.png"], "expected masks.zarr, masks.icechunk"),
        (["{store}", "{store}", "--overwrite"], "is one of the inputs"),
        (["{store}", "m.zarr", "--overwrite", "--append"], "exclude each other"),
        (["{store}", "m.tif", "--append"], "is one file"),
        (["{store}", "m.tif"], "3 dates"),
        (["nowhere.zarr", "m.zarr"], "does not exist"),
        (["{store}", "m.zarr", "--style", "two"], "'two' is unknown"),
    ],
)
def test_wrong_arguments(store, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    done = run("convert", *(text.format(store=store) for text in arguments))
    assert done.exit_code in (1, 2)
    assert said in " ".join(done.output.split())
    assert list(tmp_path.iterdir()) == []


def test_masks_without_time_cannot_be_appended(mask, tmp_path):
    mask[0].drop_vars("time").cloudmask.to_zarr(tmp_path / "one.zarr")
    done = run("convert", tmp_path / "one.zarr", tmp_path / "m.zarr", "--append")
    assert done.exit_code == 2
    assert "no time" in " ".join(done.output.split())


@pytest.mark.parametrize("output", FORMATS)
def test_predict_writes_by_the_name_of_the_output(tmp_path, output):
    cube = simulate_sentinel2(size_px=96, times=2, chunks=96).compute()
    cube.drop_encoding().to_zarr(tmp_path / "cube.zarr", consolidated=False)
    target = f"{tmp_path}/{output}"
    done = run("predict", tmp_path / "cube.zarr", target)
    assert done.exit_code == 0, done.output
    expected = xcloudmask.open_cube(tmp_path / "cube.zarr").cloudmask.predict()
    xr.testing.assert_equal(
        opened(target).drop_vars(("time", *()), errors="ignore"), expected.compute().drop_vars("time")
    )
