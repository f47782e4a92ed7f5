"""`xcloudmask select` from end to end: images and patches in, a table, chips and a picture out."""

import csv
import inspect
import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from typer.testing import CliRunner

from xcloudmask.cli.app import app
from xcloudmask.cli.select import select
from xcloudmask.training.selection.rank import DIVERSITY, UNCERTAINTY

NODATA = 65_535


def run(*arguments):
    return CliRunner().invoke(app, ["select", *(str(argument) for argument in arguments)])


@pytest.fixture
def card(tmp_path, tiny_model):
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(tiny_model.to_dict()))
    return path


@pytest.fixture
def scene(tmp_path):
    """Three bands of 96 x 128 px of 10 m; the first 40 columns hold no data."""
    path = tmp_path / "scene.tif"
    pixels = np.random.default_rng(0).integers(200, 9000, (3, 12, 16), np.uint16).repeat(8, 1).repeat(8, 2)
    pixels[:, :, :40] = NODATA
    profile = {"driver": "GTiff", "count": 3, "height": 96, "width": 128, "dtype": "uint16", "nodata": NODATA}
    transform = Affine(10, 0, 600_000, 0, -10, 5_000_000)
    with rasterio.open(path, "w", crs="EPSG:32631", transform=transform, **profile) as file:
        file.write(pixels)
        file.descriptions = ("red", "green", "nir")
    return path


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_scene_becomes_a_table_chips_and_a_picture(tmp_path, card, scene):
    table, chips, picture = tmp_path / "chosen.csv", tmp_path / "chips", tmp_path / "chosen.png"
    result = run(
        *(scene, "--model", card, "--count", 4, "--chip-px", 32),
        *("--out", table, "--chips", chips, "--picture", picture),
    )
    assert result.exit_code == 0, result.output
    assert "4 of 12 chips" in result.stdout
    rows = read(table)
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert {row["file"] for row in rows} == {"scene.tif"}
    assert all(int(row["x_px"]) >= 32 for row in rows)  # the first column of chips holds no data
    assert picture.stat().st_size > 1000
    files = sorted(chips.iterdir())
    assert len(files) == 4
    with rasterio.open(scene) as whole, rasterio.open(files[0]) as chip:
        y, x = int(rows[0]["y_px"]), int(rows[0]["x_px"])
        assert files[0].name == f"001_scene_y{y}_x{x}.tif"
        np.testing.assert_array_equal(chip.read(), whole.read()[:, y : y + 32, x : x + 32])
        assert chip.crs == whole.crs
        assert chip.nodata == NODATA
        assert chip.descriptions == ("red", "green", "nir")
        assert chip.transform == whole.transform * Affine.translation(x, y)


def test_the_same_line_gives_the_same_table(tmp_path, card, scene):
    tables = []
    for name in ("a.csv", "b.csv"):
        assert run(scene, "--model", card, "--count", 3, "--chip-px", 32, "--out", tmp_path / name, "-q").output == ""
        tables.append((tmp_path / name).read_bytes())
    assert tables[0] == tables[1]


def test_a_folder_of_patches(tmp_path, card):
    (tmp_path / "data" / "patches").mkdir(parents=True)
    lines = ["split,name,bands,h,w,res_m"]
    for name, split in (("one", "unlabelled"), ("two", "train")):
        image = np.random.default_rng(1).integers(200, 9000, (3, 64, 64), np.uint16)
        arrays = {"img": image, "bands": np.array(["red", "green", "nir"]), "valid": np.ones((64, 64), bool)}
        np.savez(tmp_path / "data" / "patches" / f"{name}.npz", **arrays)
        lines.append(f"{split},{name},red green nir,64,64,10")
    (tmp_path / "data" / "patches.csv").write_text("\n".join(lines) + "\n")
    table = tmp_path / "chosen.csv"
    assert run(tmp_path / "data", "--model", card, "--chip-px", 32, "--out", table).exit_code == 0
    assert [row["file"] for row in read(table)] == ["one"] * 4
    wrong = run(tmp_path / "data", "--model", card, "--split", "eval")
    assert wrong.exit_code == 1
    assert "Splits found: train, unlabelled" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--count", 0), 2, "count"),
        (("--diversity", 2), 2, "diversity=2"),
        (("--uncertainty", "doubt"), 2, "'entropy', 'margin'"),
        (("--uncertainty", "disagreement"), 2, "single network"),
        (("--picture", "chosen.txt"), 2, ".png"),
        (("--out", "nowhere/chosen.csv"), 1, "a folder that exists"),
        (("--model", "nothing"), 2, "nothing"),
        (("--band", "red"), 2, "ROLE=NAME"),
    ],
)
def test_wrong_arguments(scene, arguments, code, text):
    result = run(scene, *arguments)
    assert result.exit_code == code
    assert text in result.stderr


def test_the_defaults_are_those_of_the_library():
    defaults = inspect.signature(select).parameters
    assert defaults["diversity"].default == DIVERSITY
    assert defaults["uncertainty"].default == UNCERTAINTY


def test_a_folder_with_files_is_not_written_into(tmp_path, scene, card):
    (tmp_path / "chips").mkdir()
    (tmp_path / "chips" / "mine.tif").write_bytes(b"")
    result = run(scene, "--model", card, "--chips", tmp_path / "chips")
    assert result.exit_code == 1
    assert "not empty" in result.stderr
