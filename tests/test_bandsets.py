"""Tables of band sets and the cost of SEnSeI: which bands a set has, what each model is fed, that both run."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_cli_evaluate import run
from test_score import write_folder

from benchmarks import bands, bandsets
from xcloudmask.evaluate import Bootstrap, Counted, confusion
from xcloudmask.models.anybands import SenseiNet
from xcloudmask.models.registry import get_spec
from xcloudmask.models.spec import ModelSpec
from xcloudmask.sensors import get_sensor
from xcloudmask.training.data import ALL_BANDS, load_patches
from xcloudmask.training.score import predict_patch

CONFIG = {"width": 8, "blocks": 1}


@pytest.fixture(scope="module")
def any_bands(tmp_path_factory):
    """A model of any bands, with fresh weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        path = tmp_path_factory.mktemp("any") / "any.safetensors"
        save_file(SenseiNet("unet", **CONFIG).state_dict(), path)
    return ModelSpec(
        name="tiny-any",
        architecture="sensei-unet",
        config=tuple(CONFIG.items()),
        any_bands=True,
        bands=(),
        stride_px=8,
        radius_px=39,
        weights=str(path),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def centres(sensor):
    return {band.role: band.wavelength_nm[1] for band in sensor.bands if band.role != "pan"}


def test_sets_of_sensors():
    sentinel, planet, slstr = (
        centres(get_sensor(name)) for name in ("sentinel-2-l1c", "planetscope-8b", "sentinel-3-slstr-l1b")
    )
    assert len(bandsets.chosen("ALL", sentinel)) == 13
    assert bandsets.chosen("COMMON", sentinel) == list(bandsets.COMMON)
    assert not {"blue", "green", "red"} & set(bandsets.chosen("No-RGB", sentinel))
    assert len(bandsets.chosen("No-RGB", sentinel)) == 10
    assert bandsets.chosen("COMMON", planet) is None
    assert bandsets.chosen("No-RGB", planet) == ["coastal", "rededge1", "nir"]
    assert bandsets.chosen("RGB", slstr) is None  # it has no blue
    assert bandsets.chosen("No-RGB", {"red": 660.0, "nir": 840.0, "swir16": 1610.0}) is None
    assert len(bandsets.chosen("ALL", centres(bandsets.HYPERSPECTRAL))) == 20


def test_models_of_given_bands_are_measured_once_for_each_input():
    default = get_spec("default")
    sentinel = centres(get_sensor("sentinel-2-l1c"))
    assert list(bandsets.sets_for(default, sentinel)) == ["RGB", "RGBNIR"]
    assert list(bandsets.sets_for(default, centres(get_sensor("sentinel-3-slstr-l1b")))) == ["ALL"]


def test_the_sets_of_an_any_bands_model(any_bands):
    assert list(bandsets.sets_for(any_bands, centres(get_sensor("modis-09")))) == list(bandsets.SETS)


@pytest.fixture
def folder(tmp_path):
    """A patch of seven bands, and one of four."""
    names = ("a_1", "b_1")
    place = write_folder(tmp_path, [("mine", name, "label4") for name in names])
    text = (place / "patches.csv").read_text().splitlines()
    rows = [f"{line},{'sensor' if index == 0 else 'Sentinel-2'}" for index, line in enumerate(text)]
    (place / "patches.csv").write_text("\n".join(rows) + "\n")
    rng = np.random.default_rng(2)
    for name, count in zip(names, (7, 4), strict=True):
        np.savez(
            place / "patches" / f"{name}.npz",
            img=rng.integers(300, 6000, (count, 48, 48)).astype(np.uint16),
            bands=np.array(ALL_BANDS[:count]),
            valid=np.ones((48, 48), bool),
            label=rng.integers(0, 4, (48, 48)).astype(np.uint8),
        )
    return place


def test_patches_with_each_set(folder, any_bands, tiny_model):
    patches = load_patches(folder, splits=("mine",), bands=ALL_BANDS)
    counted = bandsets.of_patches({"any": any_bands, "default": tiny_model}, patches)
    sources = {key: [image.source for image in images] for key, images in counted.items()}
    assert sources == {
        **{(name, "any"): ["a", "b"] for name in ("ALL", "RGB", "RGBNIR")},
        **{(name, "any"): ["a"] for name in ("COMMON", "No-RGB")},
        **{(name, "default"): ["a", "b"] for name in ("RGB", "RGBNIR")},
    }
    # All of four bands are RGB and near infrared, whatever their order; seven bands are more.
    every, named = (bandsets.summarise(counted[name, "any"]).sources for name in ("ALL", "RGBNIR"))
    assert every["b"].scores.cloud_oa == pytest.approx(named["b"].scores.cloud_oa, abs=0.01)
    assert every["a"].scores.cloud_oa != named["a"].scores.cloud_oa


def test_differences_are_of_the_same_images():
    def images(names, mask):
        truth = np.array([2, 2, 1, 1])
        return [Counted(name=name, source=name[0], confusion=confusion(np.array(mask), truth)) for name in names]

    half, right = [1, 0, 0, 0], [1, 1, 0, 0]
    counted = {
        ("ALL", "any"): images(["a1", "a2"], right),
        ("RGB", "any"): images(["a1", "a2", "b1"], half),
        ("RGB", "default"): images(["a1", "a2", "b1"], right),
    }
    rows = bandsets.gains(counted, how=Bootstrap(draws=5))
    found = {(row.source, row.what): (row.images, row.measures["cloud_oa"].value) for row in rows}
    assert found == {
        ("a", "ALL | any less RGB"): (2, 0.25),
        ("a", "RGB | any less default"): (2, -0.25),
        ("b", "RGB | any less default"): (1, -0.25),
        ("pooled", "RGB | any less default"): (3, -0.25),
    }
    assert "| a | ALL | any less RGB | 2 | +25.0 (+25.0 to +25.0) |" in bandsets.table(rows, signed=True)


def test_it_runs_on_patches_and_simulated_scenes(tmp_path, folder, any_bands, capsys):
    card = tmp_path / "any.json"
    card.write_text(json.dumps(any_bands.to_dict()))
    files = ("--markdown", str(tmp_path / "t.md"), "--json", str(tmp_path / "t.json"))
    line = ["--quick", "--data", str(folder), "--split", "mine", "--models", str(card), "default", *files]
    assert bandsets.main([*line, "--sensors", "landsat-etm-c2-l1", "hyperspectral"]) == 0
    text = (tmp_path / "t.md").read_text()
    assert text.rstrip() == capsys.readouterr().out.rstrip()
    assert "| mean of the 2 sources with all sets | No-RGB | tiny-any | 2 |" in text
    plain = json.loads((tmp_path / "t.json").read_text())
    assert set(plain["models"]) == {"tiny-any", "default"}
    _, simulated = plain["tables"].values()
    rows = {(row["source"], row["what"]): row for row in simulated["accuracy"]}
    assert 0 < rows["hyperspectral", "ALL | tiny-any"]["cloud_oa"]["value"] < 1
    # Heat counts: Landsat 7 has a thermal band, which is in ALL and not in COMMON.
    every, common = (rows["landsat-etm-c2-l1", f"{name} | tiny-any"] for name in ("ALL", "COMMON"))
    assert every["cloud_oa"] != common["cloud_oa"]
    assert "RGB | tiny-any less default" in {row["what"] for row in simulated["differences"]}


def test_the_networks_that_are_compared_are_what_they_say():
    wavelengths = [band.wavelength_nm for band in get_sensor("sentinel-2-l1c").bands][:5]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        whole = SenseiNet("unet", **CONFIG).eval()
        image = torch.rand(1, 5, 64, 64)
        body = torch.nn.Module.eval(bands.BODIES["unet"](bands=64, level=0, **CONFIG))
    first = whole.get_submodule("body").first_convolution()
    weights = {f"{key}": value for key, value in whole.body.state_dict().items()}
    body.load_state_dict(weights)
    assert first.weight.shape == body.first_convolution().weight.shape
    unfolded = bands.Unfolded(whole.sensei, body, wavelengths).eval()
    with torch.inference_mode():
        torch.testing.assert_close(unfolded(image), whole.specialised(wavelengths)(image), atol=1e-4, rtol=1e-4)


def test_the_table_of_speed(tmp_path, capsys):
    assert bands.main(["--quick", "--out", str(tmp_path / "speed.md")]) == 0
    lines = (tmp_path / "speed.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[4:]] == ["| 3", "| 8", "| 13"]
    assert "float32" in capsys.readouterr().out


def test_the_command_measures_a_model_of_any_bands(tmp_path, folder, any_bands):
    card, target = tmp_path / "any.json", tmp_path / "out.json"
    card.write_text(json.dumps(any_bands.to_dict()))
    line = ("--data", folder, "--split", "mine", "--model", card, "--level", "known", "--draws", 5, "--json", target)
    result = run(*line, "--against", "default", "--worst", tmp_path / "worst.png")
    assert result.exit_code == 0, result.output
    content = json.loads(target.read_text())
    patches = load_patches(folder, splits=("mine",), bands=ALL_BANDS)
    for patch, image in zip(patches, content["results"]["known"]["patches"], strict=True):
        mask = predict_patch(any_bands, patch, level_known=True)
        assert image["confusion"] == confusion(mask, patch.allowed).to_dict()
    # Beside it, the default model sees red, green and near infrared, wherever they stand in the patch.
    theirs = content["against"]["default"]["known"]["theirs"]["patches"]
    narrow = load_patches(folder, splits=("mine",))
    masks = [predict_patch("default", patch, level_known=True) for patch in narrow]
    assert [one["confusion"] for one in theirs] == [
        confusion(mask, patch.allowed).to_dict() for mask, patch in zip(masks, narrow, strict=True)
    ]
    assert run(*line, "--without-nir").exit_code == 0
