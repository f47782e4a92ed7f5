"""--scale, --offset and --upsample: from text to the arguments of `predict`."""

import numpy as np
import pytest
from cubes import odc_dataset
from typer.testing import CliRunner

import xcloudmask
from xcloudmask.cli import _options as opt
from xcloudmask.cli.app import app
from xcloudmask.errors import ArgumentError
from xcloudmask.io import open_mask


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("scale", "offset", "expected"),
    [
        (None, None, None),
        (["1e-4"], None, 1e-4),
        (["1e-4"], ["-0.1"], (1e-4, -0.1)),
        (["red=1e-4", "nir=2e-4"], None, {"red": 1e-4, "nir": 2e-4}),
        (["red=1e-4", "nir=2e-4"], ["-0.1"], {"red": (1e-4, -0.1), "nir": (2e-4, -0.1)}),
        (["red=1e-4", "nir=2e-4"], ["nir=-0.1"], {"red": (1e-4, 0.0), "nir": (2e-4, -0.1)}),
    ],
)
def test_scales(scale, offset, expected):
    assert opt._scale(scale, offset) == expected


@pytest.mark.parametrize(
    ("scale", "offset", "match"),
    [
        (None, ["-0.1"], "--offset needs --scale"),
        (["1e-4"], ["red=-0.1"], "--offset is given per band"),
        (["red=1e-4"], ["nir=-0.1"], "--scale says nothing"),
        (["many"], None, "--scale many: expected a number"),
        (["1e-4", "2e-4"], None, "expected one number, or ROLE=NUMBER"),
    ],
)
def test_scales_that_make_no_sense(scale, offset, match):
    with pytest.raises(ArgumentError, match=match):
        opt._scale(scale, offset)


def test_upsample():
    assert opt._upsample(None) is False
    assert opt._upsample("auto") is True
    assert opt._upsample("3") == 3
    with pytest.raises(ArgumentError, match="--upsample yes"):
        opt._upsample("yes")


def test_predict_and_plan(tmp_path):
    cube = odc_dataset(times=1, resolution=120.0)
    cube.to_netcdf(tmp_path / "cube.nc")
    asked = ("--upsample", "auto", "--scale", "0.0001", "--offset", "-0.1")
    result = run("predict", tmp_path / "cube.nc", tmp_path / "a.zarr", *asked)
    assert result.exit_code == 0, result.output
    expected = xcloudmask.predict(cube, upsample=True, scale=(1e-4, -0.1))
    np.testing.assert_array_equal(open_mask(tmp_path / "a.zarr"), expected)
    shown = run("plan", tmp_path / "cube.nc", *asked)
    assert "interpolated by 3 to 40 m" in shown.stdout
    assert "scale known" in shown.stdout
    assert "Type upsample=True to interpolate them by 3" in run("plan", tmp_path / "cube.nc").stdout.replace("\n", " ")
    wrong = run("plan", tmp_path / "cube.nc", "--scale", "-1")
    assert wrong.exit_code != 0
    assert "needs a positive scale" in " ".join(wrong.stderr.split())
