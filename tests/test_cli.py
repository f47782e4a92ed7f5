"""The command line: what it writes, what it says when things go wrong, and that no half output stays behind."""

import filecmp
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from cubes import odc_dataset
from rasterio.shutil import copy
from typer.testing import CliRunner

import xcloudmask
from xcloudmask.cli import _masking
from xcloudmask.cli import _options as opt
from xcloudmask.cli.app import app
from xcloudmask.errors import ArgumentError
from xcloudmask.io import open_mask, to_cog

SHAPE = (64, 96)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def names(folder):
    """What lies in a folder, but for the sidecars of GeoTIFFs."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".tif.aux.xml"))


def write_scene(folder, *, date="20240603T105031", bands=("B03", "B04", "B08"), shape=SHAPE, seed=0, transform=True):
    """One GeoTIFF a band, as COG: the directory is at the start, so that a truncated file still opens."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    profile = {"driver": "GTiff", "count": 1, "height": shape[0], "width": shape[1], "dtype": "uint16", "nodata": 0}
    if transform:
        profile |= {"crs": "EPSG:32631", "transform": Affine(10, 0, 600_000, 0, -10, 5_000_000)}
    for band in bands:
        with rasterio.open(folder / "plain.tif", "w", **profile) as file:
            file.write(rng.integers(500, 3000, shape).astype("uint16"), 1)
        copy(folder / "plain.tif", folder / f"T31_{date}_{band}.tif", driver="COG", compress="none", blocksize=128)
    (folder / "plain.tif").unlink()
    return folder


@pytest.fixture
def scene(tmp_path):
    return write_scene(tmp_path / "scene")


def test_zarr_out(tmp_path, scene):
    result = run("predict", scene, tmp_path / "masks.zarr", "--normalize", "scene")
    assert result.exit_code == 0, result.output
    mask = open_mask(tmp_path / "masks.zarr")
    assert mask.shape == SHAPE
    assert mask.attrs["normalize"] == "scene"
    expected = xcloudmask.predict(xcloudmask.io.open_cube(scene), normalize="scene")
    np.testing.assert_array_equal(mask, expected)
    assert re.search(r"2024-06-03 10:50  \d+\.\d% clear", result.stdout)
    assert "Masking 1 chunk" in result.stderr
    assert names(tmp_path) == ["masks.zarr", "scene"]


def test_cog_out_with_a_picture(tmp_path, scene):
    result = run("predict", scene, tmp_path / "mask.tif", "--picture", tmp_path / "mask.png", "--band", "red=B04")
    assert result.exit_code == 0, result.output
    assert names(tmp_path) == ["mask.png", "mask.tif", "scene"]
    with rasterio.open(tmp_path / "mask.tif") as file:
        np.testing.assert_array_equal(file.read(1), xcloudmask.predict(xcloudmask.io.open_cube(scene)))


def test_a_folder_of_cogs(tmp_path):
    for day, seed in [("20240603", 0), ("20240608", 1)]:
        write_scene(tmp_path / "scenes", date=f"{day}T105031", seed=seed)
    result = run("predict", tmp_path / "scenes", f"{tmp_path}/masks/", "--quiet", "--chunk-px", 32)
    assert result.exit_code == 0, result.output
    assert result.output == ""
    assert names(tmp_path / "masks") == ["cloud_mask_20240603T105031.tif", "cloud_mask_20240608T105031.tif"]
    assert (tmp_path / "masks" / "cloud_mask_20240608T105031.tif.aux.xml").exists()


def test_several_files_and_giving_up_a_band(tmp_path, scene):
    files = sorted(scene.glob("*B0[34].tif"))
    missing = run("predict", *files, tmp_path / "mask.tif")
    assert missing.exit_code == 1
    assert "nir" in missing.stderr
    result = run("predict", *files, tmp_path / "mask.tif", "--band", "nir=none", "--picture", tmp_path / "m.png")
    assert result.exit_code == 0, result.output


def test_percent(tmp_path, scene):
    result = run("predict", scene, tmp_path / "masks.zarr", "--percent")
    assert result.exit_code == 0, result.output
    mask = open_mask(tmp_path / "masks.zarr")
    assert mask.dims == ("cloud_class", "y", "x")
    assert mask.dtype == np.uint8
    assert run("predict", scene, tmp_path / "mask.tif", "--percent").exit_code == 0
    wrong = run("predict", scene, tmp_path / "other.tif", "--percent", "--picture", "m.png")
    assert wrong.exit_code == 2
    assert "--percent" in wrong.stderr


def test_zarr_and_netcdf_in(tmp_path):
    cube = odc_dataset(shape=SHAPE, times=2)
    cube.to_zarr(tmp_path / "cube.zarr", consolidated=False)
    cube.to_netcdf(tmp_path / "cube.nc")
    assert run("predict", tmp_path / "cube.zarr", tmp_path / "a.zarr").exit_code == 0
    assert run("predict", tmp_path / "cube.nc", tmp_path / "b.zarr").exit_code == 0
    xr.testing.assert_equal(open_mask(tmp_path / "a.zarr").compute(), open_mask(tmp_path / "b.zarr").compute())


def test_plan(scene):
    result = run("plan", scene, "--resolution-m", "10,12", "--halo-px", 80)
    assert result.exit_code == 0, result.output
    assert "B04" in result.stdout
    assert "10 x 12 m" in result.stdout


def test_demo_can_be_repeated(tmp_path):
    for _ in range(2):
        result = run("demo", "--out", tmp_path / "demo", "--size-px", 64, "--times", 2)
        assert result.exit_code == 0, result.output
        assert names(tmp_path / "demo") == ["demo.png", "masks.zarr"]
    assert len(re.findall(r"clear, .*agree with the simulated truth", result.stdout)) == 2
    assert open_mask(tmp_path / "demo" / "masks.zarr").sizes["time"] == 2


def test_demo_does_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setattr("xcloudmask._optional.available", lambda name: name != "matplotlib")
    result = run("demo", "--out", tmp_path, "--size-px", 64, "--times", 1)
    assert result.exit_code == 0, result.output
    assert "xcloudmask[viz]" in result.stderr
    assert names(tmp_path) == ["masks.zarr"]


def test_models():
    assert "default" in run("models").stdout
    shown = run("models", "show", "default")
    assert shown.exit_code == 0
    assert "stride_px" in shown.stdout
    unknown = run("models", "show", "defalt")
    assert unknown.exit_code == 2
    assert "Did you mean 'default'" in unknown.stderr


def test_doctor():
    result = run("doctor")
    assert result.exit_code == 0, result.output
    for word in ("xcloudmask", "Python", "torch", "device cpu", "matplotlib"):
        assert word in result.stdout


def test_version_and_help():
    assert run("--version").stdout.strip() == xcloudmask.__version__
    assert run("predict", "--help").exit_code == 0


def test_help_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['xcloudmask', '--help']\n"
        "from xcloudmask.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, [m for m in ('torch', 'rasterio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("0 []")


def test_an_unreadable_file_is_named_and_leaves_nothing(tmp_path):
    scene = write_scene(tmp_path / "scene", shape=(600, 500))
    broken = next(scene.glob("*B08.tif"))
    broken.write_bytes(broken.read_bytes()[:300_000])
    for output in ("masks.zarr", "mask.tif", "masks/"):
        result = run("predict", scene, f"{tmp_path}/{output}", "--chunk-px", 256)
        assert result.exit_code == 1
        assert f"{broken.name} cannot be read" in result.stderr.replace("\n", "")
        assert "Traceback" not in result.output
    assert names(tmp_path) == ["scene"]


def test_a_failure_keeps_the_old_output(tmp_path):
    scene = write_scene(tmp_path / "scene", shape=(600, 500))
    target = tmp_path / "masks.zarr"
    assert run("predict", scene, target, "--chunk-px", 256).exit_code == 0
    before = open_mask(target).compute()
    broken = next(scene.glob("*B08.tif"))
    broken.write_bytes(broken.read_bytes()[:300_000])
    assert run("predict", scene, target, "--chunk-px", 256, "--overwrite").exit_code == 1
    xr.testing.assert_identical(open_mask(target).compute(), before)
    assert names(tmp_path) == ["masks.zarr", "scene"]


@pytest.mark.parametrize("output", ["masks.zarr", "mask.tif", "masks/"])
def test_what_exists_is_replaced_only_on_request(tmp_path, scene, output):
    output = f"{tmp_path}/{output}"
    assert run("predict", scene, output).exit_code == 0
    refused = run("predict", scene, output)
    assert refused.exit_code == 1
    assert "--overwrite" in refused.stderr
    assert run("predict", scene, output, "--overwrite").exit_code == 0


def test_a_folder_that_is_no_store_is_never_replaced(tmp_path, scene):
    precious = tmp_path / "photos.zarr"
    precious.mkdir()
    (precious / "holiday.jpg").write_text("")
    result = run("predict", scene, precious, "--overwrite")
    assert result.exit_code == 1
    assert "no Zarr store" in result.stderr
    assert names(precious) == ["holiday.jpg"]


def test_an_unwritable_target(tmp_path, scene):
    (tmp_path / "a_file").write_text("")
    result = run("predict", scene, tmp_path / "a_file" / "masks.zarr")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--band", "red"], "ROLE=NAME"),
        (["--model", "nothing"], "nothing"),
        (["--model", "nowhere.json"], "no such card"),
        (["--normalize", "all"], "'lattice'"),
        (["--output-style", "5-class"], "5-class"),
        (["--resolution-m", "ten"], "number"),
        (["--resolution-m", "1,2,3"], "two"),
        (["--nodata", "none"], "number"),
        (["--nodata", "0", "--nodata", "1"], "ROLE=NUMBER"),
        (["--batch-size", "many"], "whole number"),
        (["--scheduler", "magic"], "distributed"),
        (["--device", "tpu"], "tpu"),
        (["--halo-px", "far"], "--halo-px"),
        (["--colour", "blue"], "--colour"),
    ],
)
def test_wrong_usage_exits_with_2(tmp_path, scene, arguments, message):
    result = run("predict", scene, tmp_path / "masks.zarr", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert names(tmp_path) == ["scene"]


def test_wrong_outputs(tmp_path, scene):
    assert run("predict", scene, tmp_path / "masks.nc").exit_code == 2
    cube = odc_dataset(shape=SHAPE)
    cube.to_zarr(tmp_path / "cube.zarr", consolidated=False)
    same = run("predict", tmp_path / "cube.zarr", tmp_path / "cube.zarr", "--overwrite")
    assert same.exit_code == 2
    assert "one of the inputs" in same.stderr
    several = run("predict", tmp_path / "cube.zarr", tmp_path / "mask.tif")
    assert several.exit_code == 2
    assert "2 dates" in several.stderr


def test_a_mask_as_input_is_refused(tmp_path, scene):
    assert run("predict", scene, tmp_path / "masks.zarr").exit_code == 0
    result = run("predict", tmp_path / "masks.zarr", tmp_path / "again.zarr")
    assert result.exit_code == 1
    assert "is a mask" in result.stderr


@pytest.mark.filterwarnings("default:Left out")
def test_notes(tmp_path, scene):
    write_scene(tmp_path / "coarse", bands=("B11",), shape=(32, 48))
    next((tmp_path / "coarse").glob("*")).rename(scene / "T31_20240603T105031_B11.tif")
    result = run("predict", scene, tmp_path / "masks.zarr")
    assert result.exit_code == 0
    assert "Note: Left out" in result.stderr
    assert "B11" in result.stderr


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (RuntimeError("out of luck"), 1)])
def test_interrupts_and_surprises(tmp_path, scene, monkeypatch, error, code):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(_masking, "write_output", fail)
    result = run("predict", scene, tmp_path / "masks.zarr")
    assert result.exit_code == code
    assert "Traceback" not in result.output
    shown = run("predict", scene, tmp_path / "masks.zarr", "--debug")
    assert shown.exit_code == code
    assert "Traceback" in shown.stderr


def test_option_texts():
    assert opt._nodata(["0"]) == 0.0
    assert opt._nodata(["red=0", "nir=-1"]) == {"red": 0.0, "nir": -1.0}
    assert opt._nodata(None) is None
    assert opt._resolution("10") == 10.0
    assert opt._bands(None) is None
    assert opt._whole("3", "--batch-size") == 3
    card = Path(xcloudmask.__file__).parent / "models" / "weights" / "default.json"
    assert opt._model(str(card)).name == "default"
    with pytest.raises(ArgumentError):
        opt._bands(["=B04"])


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["processes", "distributed", "synchronous"])
def test_any_scheduler_writes_the_same_bytes(tmp_path, scheduler):
    scene = write_scene(tmp_path / "scene", shape=(300, 200))
    common = ["--chunk-px", 128, "--workers", 2]
    assert run("predict", scene, tmp_path / "a.zarr", *common).exit_code == 0
    result = run("predict", scene, tmp_path / "b.zarr", "--scheduler", scheduler, *common)
    assert result.exit_code == 0, result.output
    assert same_files(tmp_path / "a.zarr", tmp_path / "b.zarr")


def same_files(one, other):
    files = [path.relative_to(one) for path in one.rglob("*") if path.is_file()]
    matches, differing, missing = filecmp.cmpfiles(one, other, files, shallow=False)
    return matches and not differing and not missing


def test_a_cog_is_opened_as_it_was_written(tmp_path):
    cube = odc_dataset(shape=SHAPE, times=2, y_ascending=True)
    mask = xcloudmask.predict(cube)
    written = xcloudmask.io.cog.open_cogs(to_cog(mask, tmp_path), like=mask)
    xr.testing.assert_identical(written.compute(), mask)
