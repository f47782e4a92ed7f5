"""`xcloudmask evaluate` from end to end: patches and masks in, tables, JSON and a picture out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from test_score import write_folder
from typer.testing import CliRunner

import xcloudmask
from xcloudmask import _worst
from xcloudmask.classes import get_style, mask_attrs
from xcloudmask.cli.app import app
from xcloudmask.compare import compare_masks, open_codes
from xcloudmask.errors import InputError, NotACubeError
from xcloudmask.evaluate import Counted, confusion
from xcloudmask.models.registry import WEIGHTS_DIR
from xcloudmask.training.card import add_evaluation
from xcloudmask.training.predictor import predictor
from xcloudmask.training.score import evaluate_model, load_split


def run(*arguments):
    return CliRunner().invoke(app, ["evaluate", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    rows = [("eval", "a_1", "label4"), ("eval", "a_2", "label4"), ("eval", "b_1", "label_cloud_only")]
    return write_folder(tmp_path_factory.mktemp("patches"), rows)


@pytest.fixture
def card(tmp_path, tiny_model):
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(tiny_model.to_dict()))
    return path


def write_codes(path, codes, *, shift=0.0):
    height, width = codes.shape
    transform = Affine(10, 0, 600_000 + shift, 0, -10, 5_000_000)
    profile = {"driver": "GTiff", "count": 1, "height": height, "width": width, "dtype": "uint8", "crs": "EPSG:32631"}
    with rasterio.open(path, "w", transform=transform, **profile) as file:
        file.write(codes.astype("uint8"), 1)
    return path


# Patches


def test_a_model_on_patches(tmp_path, folder, card, tiny_model):
    files = {name: tmp_path / f"out.{name}" for name in ("json", "md", "png")}
    result = run(
        *("--data", folder, "--split", "eval", "--model", card, "--draws", 50, "--worst-count", 2),
        *("--json", files["json"], "--markdown", files["md"], "--worst", files["png"]),
    )
    assert result.exit_code == 0, result.output
    assert "| a | known | 2 |" in result.stdout
    assert "| mean over sources | unknown | 2 sources |" in result.stdout
    assert "nan" not in result.stdout
    assert files["md"].read_text().startswith("# tiny, split eval\n")
    assert tiny_model.sha256 in files["md"].read_text()
    assert files["png"].read_bytes().startswith(b"\x89PNG")

    content = json.loads(files["json"].read_text())
    assert content["model"] == {"name": "tiny", "sha256": tiny_model.sha256}
    assert content["xcloudmask_version"] == xcloudmask.__version__
    assert content["settings"]["split"] == "eval"
    assert content["settings"]["levels"] == ["known", "unknown"]
    expected = evaluate_model(tiny_model, load_split(folder, "eval"))
    for level in ("known", "unknown"):
        found = content["results"][level]
        assert [one["name"] for one in found["patches"]] == ["a_1", "a_2", "b_1"]
        assert found["bootstrap"]["draws"] == 50
        for source, group in expected[level].sources.items():
            assert found["sources"][source]["measures"]["agreement"]["value"] == group.scores.agreement
            assert found["sources"][source]["confusion"] == group.confusion.to_dict()
        assert found["sources"]["b"]["measures"]["cloud_oa"]["low"] is None
        assert found["sources"]["b"]["measures"]["cloud_shadow_f1"]["value"] is None
        low, high = (found["pooled"]["measures"]["agreement"][end] for end in ("low", "high"))
        assert 0 <= low <= found["pooled"]["measures"]["agreement"]["value"] <= high <= 1


def test_options_reach_the_model(tmp_path, folder, card, tiny_model):
    target = tmp_path / "out.json"
    common = ("--data", folder, "--split", "eval", "--model", card, "--level", "known", "--draws", 2, "--quiet")
    result = run(*common, "--without-nir", "--resolution", 20, "--precision", "fp32", "--json", target)
    assert result.exit_code == 0, result.output
    assert result.output == ""
    content = json.loads(target.read_text())
    assert content["settings"] == {
        "split": "eval",
        "levels": ["known"],
        "nir": False,
        "resolution_m": 20.0,
        "device": "cpu",
        "precision": "fp32",
    }
    expected = evaluate_model(
        predictor(tiny_model, precision="fp32"),
        load_split(folder, "eval"),
        levels=["known"],
        nir=False,
        resolution_m=20.0,
    )
    assert list(content["results"]) == ["known"]
    assert content["results"]["known"]["pooled"]["confusion"] == expected["known"].pooled.confusion.to_dict()


def test_a_checkpoint_takes_the_place_of_the_weights(tmp_path, folder, card, tiny_model):
    target = tmp_path / "out.json"
    result = run(
        *("--data", folder, "--split", "eval", "--model", card, "--checkpoint", tiny_model.weights),
        *("--json", target, "-q", "--level", "known"),
    )
    assert result.exit_code == 0, result.output
    expected = evaluate_model(tiny_model, load_split(folder, "eval"), levels=["known"])
    found = json.loads(target.read_text())["results"]["known"]["pooled"]["confusion"]
    assert found == expected["known"].pooled.confusion.to_dict()


def test_the_difference_to_an_earlier_evaluation(tmp_path, folder, card):
    common = ("--data", folder, "--split", "eval", "--model", card, "--level", "known", "--draws", 20)
    assert run(*common, "--json", tmp_path / "one.json").exit_code == 0
    result = run(*common, "--against", tmp_path / "one.json")
    assert result.exit_code == 0, result.output
    assert "| pooled | known | +0.0 (+0.0 to +0.0) |" in result.stdout
    assert run(*common[:-4], "--level", "unknown", "--against", tmp_path / "one.json").exit_code == 2
    (tmp_path / "two.json").write_text("{}")
    other = run(*common, "--against", tmp_path / "two.json")
    assert other.exit_code == 1
    assert "no evaluation" in other.stderr.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Nothing to measure"),
        (["--simulated", "--data", "."], "makes its scenes itself"),
        (["--mask", "m.tif"], "Nothing to measure"),
        (["--data", ".", "--mask", "m.tif"], "one of the two"),
        (["--mask", "m.tif", "--labels", "l.tif", "--without-nir"], "--without-nir is for models"),
        (["--data", ".", "--level", "high"], "both"),
        (["--data", ".", "--resolution", "-3"], "positive"),
        (["--data", ".", "--model", "nothing"], "nothing"),
        (["--data", ".", "--model", "nowhere.json"], "no such card"),
        (["--data", ".", "--device", "tpu"], "tpu"),
        (["--data", ".", "--precision", "int4"], "int4"),
        (["--data", ".", "--worst", "picture.gif"], ".png"),
        (["--data", ".", "--draws", "1"], "--draws"),
        (["--colour", "blue"], "--colour"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_errors_in_the_data_exit_with_1(tmp_path, folder):
    missing = run("--data", tmp_path)
    assert missing.exit_code == 1
    assert "patches.csv" in missing.stderr
    split = run("--data", folder, "--split", "val")
    assert split.exit_code == 1
    assert "Splits found: eval" in split.stderr.replace("\n", "")
    target = run("--data", folder, "--split", "eval", "--json", tmp_path / "nowhere" / "out.json")
    assert target.exit_code == 1
    assert "folder that exists" in target.stderr.replace("\n", "")


# Masks


def test_a_mask_against_labels(tmp_path):
    mask = write_codes(tmp_path / "mask.tif", np.array([[0, 1, 3, 3], [0, 2, 0, 255]]))
    labels = write_codes(tmp_path / "labels.tif", np.array([[0, 1, 1, 3], [0, 1, 255, 1]]))
    target = tmp_path / "out.json"
    result = run(
        *("--mask", mask, "--labels", labels, "--kind", "label_cloud_shadow", "--json", target),
        *("--worst", tmp_path / "worst.png", "--markdown", tmp_path / "out.md"),
    )
    assert result.exit_code == 0, result.output
    assert "| all | mask | 1 | 83.3 | 83.3 |" in result.stdout
    content = json.loads(target.read_text())
    assert content["settings"]["kind"] == "label_cloud_shadow"
    measured = content["results"]["mask"]["pooled"]["measures"]
    assert measured["cloud_shadow_precision"] == {"value": 0.5, "low": None, "high": None}
    assert (tmp_path / "worst.png").stat().st_size > 1000


def test_a_zarr_mask_of_several_dates(tmp_path):
    times = np.array(["2024-06-03", "2024-06-08"], "M8[ns]")
    codes = np.array([[[0, 1], [3, 0]], [[0, 0], [0, 2]]], np.uint8)
    attrs = mask_attrs(get_style("4-class")) | {"model": "default", "model_sha256": "abc"}
    mask = xr.DataArray(codes, dims=("time", "y", "x"), coords={"time": times}, attrs=attrs)
    xcloudmask.to_zarr(mask, tmp_path / "mask.zarr")
    labels = xr.Dataset({"label": (("time", "y", "x"), codes)}, coords={"time": times})
    labels.to_zarr(tmp_path / "labels.zarr", consolidated=False)
    target = tmp_path / "out.json"
    result = run("--mask", tmp_path / "mask.zarr", "--labels", tmp_path / "labels.zarr", "--json", target)
    assert result.exit_code == 0, result.output
    content = json.loads(target.read_text())
    assert content["model"] == {"name": "default", "sha256": "abc"}
    found = content["results"]["mask"]
    assert [one["name"] for one in found["patches"]] == ["2024-06-03 00:00", "2024-06-08 00:00"]
    assert found["pooled"]["measures"]["agreement"] == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_a_folder_of_cogs_against_a_folder_of_rasters(tmp_path):
    codes = np.array([[[0, 1], [3, 0]], [[0, 0], [0, 2]]], np.uint8)
    coords = {
        "time": np.array(["2024-06-03T10:50", "2024-06-08T10:50"], "M8[ns]"),
        "y": [4_999_995.0, 4_999_985.0],
        "x": [600_005.0, 600_015.0],
    }
    attrs = mask_attrs(get_style("4-class")) | {"crs": "EPSG:32631"}
    mask = xr.DataArray(codes, dims=("time", "y", "x"), coords=coords, attrs=attrs)
    for name in ("masks", "labels"):
        xcloudmask.to_cog(mask, tmp_path / name)
    opened = open_codes(str(tmp_path / "masks"))
    assert opened.dtype == np.uint8
    result = compare_masks(opened, open_codes(str(tmp_path / "labels")))
    assert [image.name for image in result.images] == ["2024-06-03 10:50", "2024-06-08 10:50"]
    assert result.pooled.scores.agreement == 1.0


def test_masks_that_do_not_fit_their_labels(tmp_path):
    mask = write_codes(tmp_path / "mask.tif", np.zeros((4, 4)))
    far = write_codes(tmp_path / "far.tif", np.zeros((4, 4)), shift=500.0)
    small = write_codes(tmp_path / "small.tif", np.zeros((3, 4)))
    for labels, message in ((far, "different coordinates"), (small, "entries"), (tmp_path / "no.tif", "no.tif")):
        result = run("--mask", mask, "--labels", labels)
        assert result.exit_code == 1, result.output
        assert message in result.stderr.replace("\n", "")
    kind = run("--mask", mask, "--labels", mask, "--kind", "mine")
    assert kind.exit_code == 2
    assert "label_cloud_only" in kind.stderr


# Masks in xarray


def codes_array(values, **changes):
    return xr.DataArray(np.array(values), **({"dims": ("y", "x")} | changes))


def test_the_accessor_compares():
    mask = codes_array(np.array([[0, 1]], np.uint8))
    assert mask.cloudmask.compare(codes_array([[0, 0]])).pooled.scores.agreement == 0.5


def test_nan_and_fill_values_of_labels_are_unknown():
    mask = codes_array([[0, 1, 1]])
    result = compare_masks(mask, codes_array([[0.0, np.nan, 255.0]]))
    assert result.pooled.scores.pixels == 1
    assert result.pooled.scores.agreement == 1.0


def test_one_date_with_and_without_time():
    mask = codes_array([[[0, 1]]], dims=("time", "y", "x"), coords={"time": [np.datetime64("2024-01-02", "ns")]})
    flat = codes_array([[0, 1]])
    for pair in ((mask, flat), (flat, mask), (mask, mask)):
        assert compare_masks(*pair).pooled.scores.agreement == 1.0
    two = xr.concat([mask, mask], "time")
    with pytest.raises(InputError, match="isel"):
        compare_masks(flat, two)


def test_other_arrays_are_refused():
    good = codes_array([[0, 1]])
    with pytest.raises(InputError, match="4-class"):
        compare_masks(good.assign_attrs(output_style="cloud-noncloud"), good)
    with pytest.raises(NotACubeError, match="percentages"):
        compare_masks(good.expand_dims("cloud_class"), good)
    with pytest.raises(NotACubeError, match="'band'"):
        compare_masks(good.expand_dims("band"), good)
    with pytest.raises(NotACubeError, match="DataArray"):
        compare_masks(good.to_dataset(name="a"), good)


def test_a_store_of_several_variables_is_refused(tmp_path):
    array = codes_array([[0, 1]])
    xr.Dataset({"a": array, "b": array}).to_zarr(tmp_path / "two.zarr", consolidated=False)
    with pytest.raises(InputError, match="a, b"):
        open_codes(str(tmp_path / "two.zarr"))


# The picture


def case(name, mask, allowed, **changes):
    mask, allowed = np.array([mask], np.uint8), np.array([allowed], np.uint8)
    counted = Counted(name=name, source="s", confusion=confusion(mask, allowed))
    return _worst.make_case(counted, mask=mask, allowed=allowed, **changes)


def test_worst_cases_come_first_and_once():
    good, bad, half = case("good", [0, 1], [1, 2]), case("bad", [1, 1], [1, 9]), case("half", [0, 1], [1, 1])
    unknown = case("unknown", [0, 1], [15, 15])
    again = case("good", [3, 1], [1, 2])
    found = _worst.worst([good, bad, half, unknown, again], 2)
    assert [(one.key, one.agreement) for one in found] == [("s/bad", 0.0), ("s/good", 0.5)]
    assert "100% false cloud" in bad.title
    assert "no error" in good.title


def test_large_images_are_thinned_out():
    wide = case("wide", [0] * 2000, [1] * 2000, reflectance=[np.full((1, 2000), 0.5)] * 3)
    assert wide.mask.shape[1] == wide.image.shape[1] == 500


def test_overcast_is_white_and_nodata_grey():
    image = case("a", [1, 255], [6, 0], reflectance=[np.array([[1.2, 1.2]])] * 3).image
    assert image[0].tolist() == [[255, 255, 255], [158, 158, 158]]


def test_simulated_scenes(tmp_path):
    sensors = ["sentinel-2-l2a", "hls-l30"]
    done = run(
        "--simulated",
        "--scenes",
        2,
        *(f"--sensor={name}" for name in sensors),
        "--json",
        tmp_path / "s.json",
    )
    assert done.exit_code == 0, done.output
    assert "sentinel-2-l2a" in done.output
    results = json.loads((tmp_path / "s.json").read_text())["results"]
    assert {level: list(result["sources"]) for level, result in results.items()} == dict.fromkeys(
        ["known", "unknown"], sensors
    )
    names = [image["name"] for image in results["known"]["patches"]]
    assert names == [f"{name} seed {seed}" for name in sensors for seed in (0, 1)]
    # The level is told in one and not in the other.
    assert results["known"]["pooled"]["confusion"] != results["unknown"]["pooled"]["confusion"]
    card = tmp_path / "default.json"
    card.write_bytes((WEIGHTS_DIR / "default.json").read_bytes())
    before = json.loads(card.read_text())
    add_evaluation(card, tmp_path / "s.json")
    after = json.loads(card.read_text())
    assert (after["metrics"], after["evaluation"]) == (before["metrics"], before["evaluation"])
    low, high = after["simulated"]["results"]["known"]["hls-l30"]["agreement"][1:]
    told = [after["simulated"]["scenes"]["known"][f"hls-l30 seed {seed}"] for seed in (0, 1)]
    assert low == pytest.approx(min(told), abs=1e-3)
    assert high == pytest.approx(max(told), abs=1e-3)


def test_an_unknown_sensor():
    done = run("--simulated", "--sensor", "sputnik")
    assert done.exit_code == 2
    assert "sputnik" in done.output
