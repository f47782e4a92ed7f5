"""Small patches, streams and settings for the tests of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xcloudmask.training.config import TrainConfig
from xcloudmask.training.data import Patch
from xcloudmask.training.labels import CLEAR, CLOUD, NOT_CLOUD, SHADOW
from xcloudmask.training.stream import Mixture, SampleStream

TINY = {"bands": 3, "classes": 4, "width": 8, "blocks": 1, "level": 1}


def patch(seed, *, allowed=None, nir=True, resolution_m=10.0, side=96, source="a"):
    rng = np.random.default_rng(seed)
    image = rng.integers(300, 4000, (3, side, side)).astype(np.uint16)
    if not nir:
        image[2] = 0
    return Patch(
        name=f"p{seed}",
        source=source,
        split="train",
        image=image,
        valid=np.ones((side, side), bool),
        allowed=np.full((side, side), CLEAR, np.uint8) if allowed is None else allowed,
        resolution_m=resolution_m,
        nir=nir,
        level_known=nir,
    )


def small_stream(length=400, **changes):
    labels = np.random.default_rng(9).choice([CLEAR, CLOUD, SHADOW], (96, 96)).astype(np.uint8)
    parts = {
        "labelled": [patch(1, allowed=labels, resolution_m=30.0)],
        "backgrounds": [patch(2), patch(3)],
        "thumbnails": [patch(4, nir=False, resolution_m=40.0, allowed=np.full((96, 96), NOT_CLOUD, np.uint8))],
        "mixture": Mixture(size_px=64),
        "seed": 0,
        "length": length,
    }
    return SampleStream(**(parts | changes))


def tiny_config(config=None, *, steps=3, name="tiny", **fit):
    """Settings of a run of a second."""
    config = config or TrainConfig()
    settings = {"steps": steps, "batch": 2, "workers": 0, "bf16": False} | fit
    return replace(
        config,
        model=replace(config.model, name=name, config=TINY),
        mixture=replace(config.mixture, size_px=64),
        fit=replace(config.fit, **settings),
    )


def write_data(folder: Path):
    """A data folder with a few patches of every split and two thumbnails."""
    image_module = pytest.importorskip("PIL.Image")
    (folder / "patches").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["split,name,kind,source,licence,res_m,sensor"]
    for split, name, kind in (
        ("train", "a_1", "label4"),
        ("train", "a_2", "label_cloud_only"),
        ("background", "b_1", "clear"),
        ("eval", "c_1", "label4"),
    ):
        rows.append(f"{split},{name},{kind},owner/{name},CC0,10,Sentinel-2")
        np.savez(
            folder / "patches" / f"{name}.npz",
            img=rng.integers(0, 9000, (4, 40, 40)).astype(np.uint16),
            bands=np.array(["blue", "green", "red", "nir"]),
            valid=np.ones((40, 40), bool),
            label=rng.integers(0, 4, (40, 40)).astype(np.uint8),
        )
    (folder / "patches.csv").write_text("\n".join(rows) + "\n")
    for split in ("train", "val"):
        place = folder / "s2cmc_rgb" / split
        place.mkdir(parents=True)
        image_module.fromarray(rng.integers(0, 255, (40, 40, 3)).astype(np.uint8)).save(place / "x.jpg")
        image_module.fromarray(np.full((80, 80), 255, np.uint8)).save(place / "x_mask.png")
    return folder
