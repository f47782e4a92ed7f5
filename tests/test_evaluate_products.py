"""Product masks, other models and earlier results beside a mask: the same pixels, paired differences, clear errors."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from test_cli_evaluate import run, write_codes
from test_score import write_folder

from xcloudmask._product_masks import PRODUCTS, find_product, layer_in, open_product
from xcloudmask.codes import SCHEMES, decode_table
from xcloudmask.compare import compare_with
from xcloudmask.errors import ArgumentError, InputError
from xcloudmask.evaluate import Bootstrap, Pairs, confusion, difference, summarise
from xcloudmask.recode import to_codes
from xcloudmask.training.predictor import predictor
from xcloudmask.training.references import compare_model, product_of_patches
from xcloudmask.training.score import load_split

CODES = np.array([[4, 9, 10, 3, 0, 7, 11, 8]] * 8, np.uint8)
"""Vegetation, cloud, cirrus, shadow, no data, unclassified, snow, cloud of the SCL."""


def add_layer(folder, patch, **layers):
    path = folder / "patches" / f"{patch}.npz"
    with np.load(path) as arrays:
        kept = dict(arrays)
    np.savez(path, **kept, **layers)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four patches: two with an SCL, one of these full of nodata; one with QA_PIXEL; one without anything."""
    rows = [("eval", name, "label4") for name in ("a_1", "a_2", "b_1", "b_2")]
    place = write_folder(tmp_path_factory.mktemp("patches"), rows)
    rng = np.random.default_rng(5)
    for name in ("a_1", "a_2"):
        add_layer(place, name, scl=rng.integers(0, 12, (40, 40)).astype(np.uint8))
    add_layer(place, "b_1", QA_PIXEL=rng.choice([21824, 22280, 54596, 23888, 1], (40, 40)).astype(np.uint16))
    add_layer(place, "b_2", scl=np.zeros((40, 40), np.uint8))
    return place


@pytest.fixture
def card(tmp_path, tiny_model):
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(tiny_model.to_dict()))
    return path


def common(folder, card, *more):
    return ("--data", folder, "--split", "eval", "--model", card, "--draws", 20, *more)


# Names


def test_names_of_products_and_of_schemes():
    assert find_product("SCL") is PRODUCTS["scl"]
    assert find_product("default") is None
    mine = find_product("Mine=landsat-qa-pixel")
    assert (mine.name, mine.scheme) == ("Mine", "landsat-qa-pixel")
    assert layer_in(["img", "MINE"], mine) == "MINE"
    assert layer_in(["img"], mine) is None
    assert {product.scheme for product in PRODUCTS.values()} == set(SCHEMES)
    for wrong, message in (("a=scheme", "sentinel-2-scl"), ("=fmask", "layer=scheme")):
        with pytest.raises(ArgumentError, match=message):
            find_product(wrong)


# Pairs


@given(st.lists(st.lists(st.sampled_from([0, 1, 2, 3, 255]), min_size=6, max_size=6), min_size=2, max_size=6))
def test_both_are_measured_on_the_pixels_that_both_have(rows):
    pairs, kept = Pairs("other"), []
    allowed = np.array([1, 2, 4, 8, 9, 15])
    masks = [np.array(row) for row in rows]
    for index, (ours, theirs) in enumerate(zip(masks, masks[::-1], strict=True)):
        pairs.add(ours, theirs, allowed, name=str(index), source="s")
        both = (ours != 255) & (theirs != 255)
        if both.any():
            kept.append((confusion(ours[both], allowed[both]), confusion(theirs[both], allowed[both])))
    if not kept:
        with pytest.raises(InputError, match="'other'"):
            pairs.compared()
        return
    result = pairs.compared(Bootstrap(draws=5))
    assert result.left_out == len(masks) - len(kept)
    for found, side in ((result.ours, 0), (result.theirs, 1)):
        counts = [image.confusion.counts for image in found.images]
        assert all((one == pair[side].counts).all() for one, pair in zip(counts, kept, strict=True))
    again = difference(summarise(result.ours.images, how=Bootstrap(draws=5)), result.theirs)
    assert repr(again) == repr(result.difference)  # NaN is not NaN


def test_a_difference_is_paired():
    rng = np.random.default_rng(0)
    pairs = Pairs("worse")
    for index, share in enumerate(np.linspace(0.2, 0.9, 12)):
        truth = np.ones(1000, int)
        ours = (rng.random(1000) < share).astype(int)
        worse = ours.copy()
        worse[np.flatnonzero(ours)[:50]] = 0
        pairs.add(ours, worse, 1 << truth, name=str(index), source="s")
    result = pairs.compared()
    found = result.difference.sources["s"]["cloud_recall"]
    assert (found.low, found.value, found.high) == pytest.approx((0.05, 0.05, 0.05))
    wide = result.ours.sources["s"].estimates["cloud_recall"]
    assert wide.high - wide.low > 0.1  # far wider than the difference


# Patches


def test_products_of_patches(folder):
    patches = {patch.name: patch for patch in load_split(folder, "eval")}
    read = product_of_patches(folder, PRODUCTS["scl"])
    with np.load(folder / "patches" / "a_1.npz") as arrays:
        expected = decode_table("sentinel-2-scl")[arrays["scl"]]
    np.testing.assert_array_equal(read(patches["a_1"]), expected)
    assert read(patches["b_1"]) is None
    qa = product_of_patches(folder, PRODUCTS["qa_pixel"])(patches["b_1"])
    assert set(np.unique(qa)) == {0, 1, 2, 3, 255}


def test_a_product_beside_a_model(folder, tiny_model):
    patches = load_split(folder, "eval")
    read = product_of_patches(folder, PRODUCTS["scl"])
    results, compared = compare_model(tiny_model, patches, {"scl": read}, levels=["known"], how=Bootstrap(draws=20))
    assert len(results["known"].images) == 4
    found = compared["scl"]["known"]
    assert found.left_out == 2
    assert [image.name for image in found.theirs.images] == ["a_1", "a_2"]
    for image, patch in zip(found.ours.images, patches[:2], strict=True):
        mask, other = predictor(tiny_model)(patch), read(patch)
        shared = other != 255
        np.testing.assert_array_equal(image.confusion.counts, confusion(mask[shared], patch.allowed[shared]).counts)


def test_a_perfect_product_and_a_model_that_is_itself(folder, tiny_model):
    patches = load_split(folder, "eval")
    truth = {"truth": lambda patch: np.log2(patch.allowed).astype(np.uint8), "itself": predictor(tiny_model)}
    _, compared = compare_model(tiny_model, patches, truth, how=Bootstrap(draws=20))
    assert compared["truth"]["unknown"].theirs.pooled.scores.agreement == 1.0
    assert all(
        estimate.value == 0.0 or np.isnan(estimate.value)
        for estimate in compared["itself"]["known"].difference.sources["pooled"].values()
    )


def test_a_layer_of_another_shape_is_refused(tmp_path):
    place = write_folder(tmp_path, [("eval", "a_1", "label4")])
    add_layer(place, "a_1", scl=np.zeros((20, 20), np.uint8))
    with pytest.raises(InputError, match=r"\(20, 20\)"):
        product_of_patches(place, PRODUCTS["scl"])(load_split(place, "eval")[0])


def test_the_command_against_products(tmp_path, folder, card):
    files = {name: tmp_path / f"out.{name}" for name in ("json", "md")}
    result = run(*common(folder, card, "--against", "scl,qa_pixel"), "--json", files["json"], "--markdown", files["md"])
    assert result.exit_code == 0, result.output
    for text in (result.stdout, files["md"].read_text()):
        assert "| a | known: scl | 2 |" in text
        assert "| b | unknown: qa_pixel | 1 |" in text
        assert "2 patches are left out: they have no scl" in text
        assert "tiny less scl, in percentage points" in text
    content = json.loads(files["json"].read_text())
    assert content["settings"]["against"] == ["scl", "qa_pixel"]
    found = content["against"]["scl"]["known"]
    assert found["patches_left_out"] == 2
    ours, theirs = (found[side]["pooled"]["measures"]["agreement"]["value"] for side in ("ours", "theirs"))
    assert found["difference"]["a"]["agreement"]["value"] == pytest.approx(ours - theirs)
    assert found["difference"]["a"]["agreement"]["low"] is not None


def test_the_command_against_everything_at_once(tmp_path, folder, card):
    assert run(*common(folder, card), "--json", tmp_path / "one.json", "-q").exit_code == 0
    result = run(*common(folder, card, "--level", "known"), "--against", f"SCL,{tmp_path / 'one.json'},{card}")
    assert result.exit_code == 0, result.output
    assert "| a | known: SCL | 2 |" in result.stdout
    assert result.stdout.count("| pooled | known | +0.0 (+0.0 to +0.0) |") == 2  # the same model, and what it gave


def test_the_command_says_what_is_wrong(tmp_path, folder, card):
    expected = {
        ("--against", "fmask"): (1, "None of 4 images has 'fmask'"),
        ("--against", "a=b"): (2, "no codes called 'b'"),
        ("--against", "nothing"): (2, "no product (scl, qa_pixel"),
        ("--against", "scl", "--resolution", 20): (2, "cannot be averaged"),
        ("--against", "scl", "--cube", "c.zarr"): (2, "--cube goes with --mask"),
    }
    for arguments, (code, message) in expected.items():
        result = run(*common(folder, card, *arguments))
        assert result.exit_code == code, result.output
        assert message in result.stderr.replace("\n", "")
    simulated = run("--simulated", "--against", "scl")
    assert simulated.exit_code == 2
    assert "no product's mask" in simulated.stderr


def test_simulated_scenes_against_another_model(tmp_path, card):
    target = tmp_path / "out.json"
    line = ("--simulated", "--sensor", "modis-09", "--scenes", 1, "--level", "known", "--model", card)
    result = run(*line, "--against", card, "--json", target, "--draws", 5)
    assert result.exit_code == 0, result.output
    found = json.loads(target.read_text())["against"][str(card)]["known"]
    assert found["difference"]["modis-09"]["cloud_oa"]["value"] == 0.0


# Cubes


def scl_cube(path, codes, **coords):
    array = xr.DataArray(codes, dims=("time", "y", "x"), coords=coords)
    xr.Dataset({"red": array * 100, "green": array * 90, "nir": array * 110, "SCL": array}).to_zarr(
        path, consolidated=False
    )
    return path


def test_a_cube_with_a_product(tmp_path):
    times = np.array(["2024-06-03", "2024-06-08"], "M8[ns]")
    codes = np.stack([CODES, np.zeros_like(CODES)])
    cube = scl_cube(tmp_path / "cube.zarr", codes, time=times)
    opened = open_product(str(cube), PRODUCTS["scl"])
    assert opened.chunks is not None
    np.testing.assert_array_equal(opened[0].values[0], [0, 1, 2, 3, 255, 0, 0, 1])
    mask = xr.DataArray(np.ones((2, 8, 8), np.uint8), dims=("time", "y", "x"), coords={"time": times})
    labels = mask * 0 + np.array([0, 1, 1, 3, 1, 255, 1, 1], np.uint8)
    result, compared = compare_with(mask, labels, {"scl": opened}, how=Bootstrap(draws=5))
    assert result.pooled.scores.pixels == 2 * 8 * 7
    found = compared["scl"]
    assert found.left_out == 1  # the second date has no SCL
    assert found.ours.pooled.scores.pixels == found.theirs.pooled.scores.pixels == 8 * 6
    assert found.ours.pooled.scores.agreement == pytest.approx(4 / 6)
    assert found.theirs.pooled.scores.agreement == pytest.approx(4 / 6)
    assert found.theirs.pooled.scores.classes[3].recall == 1.0


def test_the_command_on_a_mask_and_a_cube(tmp_path, card):
    codes = np.kron(CODES, np.ones((8, 8), np.uint8))
    cube = tmp_path / "image.zarr"
    array = xr.DataArray(codes, dims=("y", "x"))
    bands = {name: (array * 100).astype("uint16") for name in ("red", "green", "nir")}
    xr.Dataset(bands | {"SCL": array}).to_zarr(cube, consolidated=False)
    ours = decode_table("sentinel-2-scl")[codes]
    mask, labels = write_codes(tmp_path / "mask.tif", ours), write_codes(tmp_path / "labels.tif", ours)
    line = ("--mask", mask, "--labels", labels, "--draws", 5)
    result = run(*line, "--against", f"scl,{card}", "--cube", cube, "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    assert "| all | mask: scl | 1 | 100.0 |" in result.stdout
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["settings"]["cube"] == str(cube)
    assert set(content["against"]) == {"scl", str(card)}
    expected = {
        ("--against", "scl"): (2, "Type: --cube CUBE"),
        ("--against", "fmask", "--cube", cube): (1, "no layer 'fmask'"),
        ("--against", "scl", "--cube", tmp_path / "no.zarr"): (1, "no.zarr"),
    }
    for arguments, (code, message) in expected.items():
        failed = run(*line, *arguments)
        assert failed.exit_code == code, failed.output
        assert message in failed.stderr.replace("\n", "")


def test_a_product_on_another_grid_is_refused():
    mask = xr.DataArray(np.zeros((4, 4), np.uint8), dims=("y", "x"))
    with pytest.raises(InputError, match="entries"):
        compare_with(mask, mask, {"scl": mask[:2]})


def test_what_our_codes_become_and_back_agrees_with_itself():
    truth = xr.DataArray(
        np.random.default_rng(1).integers(0, 4, (9, 9)).astype(np.uint8),
        dims=("y", "x"),
        attrs={"output_style": "4-class"},
    )
    others = {
        name: to_codes(truth, scheme).cloudmask.from_codes(scheme)
        for name, scheme in (("scl", "sentinel-2-scl"), ("qa", "landsat-qa-pixel"))
    }
    _, compared = compare_with(truth, truth, others)
    assert all(found.theirs.pooled.scores.agreement == 1.0 for found in compared.values())
