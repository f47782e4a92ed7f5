"""Labelled patches and thumbnails from a folder."""

import numpy as np
import pytest
from patches import patch, write_data

from xcloudmask.errors import ReadError
from xcloudmask.training import data
from xcloudmask.training.labels import ANY, CLEAR, CLOUD


def test_holdout_is_every_tenth_by_name():
    patches = [patch(seed, side=8) for seed in range(20)]
    kept, held = data.split_holdout(patches)
    assert len(held) == 2
    assert {p.name for p in kept}.isdisjoint(p.name for p in held)
    assert data.split_holdout(patches, every=0)[1] == []


def test_missing_data_says_what_to_type(tmp_path):
    with pytest.raises(ReadError, match="--data"):
        data.read_table(tmp_path)
    with pytest.raises(ReadError, match="thumbnails"):
        data.load_thumbnails(tmp_path, split="train")


def test_bands_are_red_green_nir(tmp_path):
    write_data(tmp_path)
    loaded = data.load_patches(tmp_path, splits=("eval",))[0]
    with np.load(tmp_path / "patches" / "c_1.npz") as arrays:
        np.testing.assert_array_equal(loaded.image, arrays["img"][[2, 1, 3]])
    thumbnail = data.load_thumbnails(tmp_path, split="train")[0]
    assert not thumbnail.image[2].any()
    assert not thumbnail.nir
    assert (thumbnail.allowed == CLOUD).all()
    (background,) = data.load_patches(tmp_path, splits=("background",))
    assert (background.allowed == CLEAR).all()


def test_a_guessed_near_infrared_is_marked(tmp_path):
    write_data(tmp_path)
    (guessed,) = data.load_thumbnails(tmp_path, split="train", guess=lambda rgb: rgb[0] * 2)
    assert guessed.nir
    assert guessed.nir_guessed
    np.testing.assert_allclose(guessed.image[2], 2.0 * guessed.image[0], atol=2)
    (colours,) = data.load_thumbnails(tmp_path, split="train", guess=lambda rgb: rgb[0] * 2, rgb=True)
    assert colours.bands == ("red", "green", "blue", "nir")
    np.testing.assert_array_equal(colours.image[[0, 1, 3]], guessed.image)
    (image,) = data.load_rgbn(tmp_path, split="eval")
    assert image.shape == (4, 40, 40)
    assert image.max() < 1.0


def test_real_patches_load(data_dir):
    patches = data.load_patches(data_dir, splits=("train", "background", "eval"))
    assert {p.split for p in patches} == {"train", "background", "eval"}
    for p in patches:
        assert p.image.shape == (3, *p.valid.shape)
        assert p.allowed.shape == p.valid.shape
        assert (p.allowed[~p.valid] == ANY).all()
