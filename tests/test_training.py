"""The stream of samples, the fit, its checkpoints, and the command lines of training."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from xcloudmask.errors import ReadError, WeightsError
from xcloudmask.models.registry import WEIGHTS_DIR
from xcloudmask.models.spec import ModelSpec
from xcloudmask.models.unet import CloudUNet
from xcloudmask.training import card, data, fit, score
from xcloudmask.training.checkpoint import load_checkpoint, load_network, read_progress
from xcloudmask.training.config import CONFIG
from xcloudmask.training.labels import (
    ANY,
    CLEAR,
    CLOUD,
    NOT_CLOUD,
    SHADOW,
    THICK,
)
from xcloudmask.training.losses import partial_label_loss, set_weights
from xcloudmask.training.stream import Mixture, SampleStream

DATA = Path(os.environ.get("XCLOUDMASK_DATA", Path(__file__).parents[2] / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not (DATA / "patches.csv").is_file(), reason="the real patches are not here: set XCLOUDMASK_DATA"
)


def patch(seed, *, allowed=None, nir=True, resolution_m=10.0, side=96, source="a"):
    rng = np.random.default_rng(seed)
    image = rng.integers(300, 4000, (3, side, side)).astype(np.uint16)
    if not nir:
        image[2] = 0
    return data.Patch(
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


# Stream


def test_sample_depends_on_its_number_alone():
    first, second = small_stream(), small_stream()
    second[5]
    for left, right in zip(first[7], second[7], strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_samples_are_what_the_network_takes():
    stream = small_stream()
    assert len(stream) == 400
    known, flat = 0, 0
    for index in range(60):
        image, level, allowed, weight = stream[index]
        assert image.shape == (3, 64, 64)
        assert image.dtype == torch.float32
        assert torch.isfinite(image).all()
        assert level.shape == (7,)
        assert allowed.dtype == torch.uint8
        assert int(allowed.min()) >= 1
        assert int(allowed.max()) <= ANY
        assert weight.item() == 1.0
        known += int(level[0])
        flat += int(not image[2].any())
    assert 10 < known < 50
    assert flat >= 10


def test_stream_of_backgrounds_alone():
    stream = small_stream(labelled=[], thumbnails=[])
    sets = {int(code) for index in range(20) for code in stream[index][2].unique()}
    assert {CLEAR, THICK, SHADOW} <= sets


def test_holdout_is_every_tenth_by_name():
    patches = [patch(seed, side=8) for seed in range(20)]
    kept, held = data.split_holdout(patches)
    assert len(held) == 2
    assert {p.name for p in kept}.isdisjoint(p.name for p in held)


# Fit


class Tiny(CloudUNet):
    """A network small enough for a test."""

    def __init__(self):
        super().__init__(width=4, blocks=1)


def options(**changes):
    return fit.FitOptions(**({"steps": 6, "batch": 2, "workers": 0, "bf16": False} | changes))


def trained(tmp_path, **changes):
    torch.manual_seed(0)
    return fit.fit(Tiny(), small_stream(), tmp_path, options=options(**changes))


def test_fit_lowers_the_loss(tmp_path):
    torch.manual_seed(0)
    net, stream = Tiny(), small_stream(200, labelled=[], thumbnails=[])
    batch = [torch.stack(parts) for parts in zip(*(stream[i] for i in range(40, 48)), strict=True)]

    def loss(module):
        logits = module.eval()(batch[0], batch[1])
        return partial_label_loss(logits, batch[2], sample_weight=batch[3], weights=set_weights()).item()

    before = loss(net)
    fit.fit(net, stream, tmp_path, options=options(steps=80, learning_rate=0.02))
    assert loss(net) < 0.9 * before


def test_resumed_run_equals_undisturbed_run(tmp_path, monkeypatch):
    whole = trained(tmp_path / "whole", checkpoint_s=1e9)
    real_step, seen = fit._step, []

    def failing(*args, **kwargs):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(1)
        return real_step(*args, **kwargs)

    monkeypatch.setattr(fit, "_step", failing)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", checkpoint_s=0.0)
    monkeypatch.setattr(fit, "_step", real_step)
    assert read_progress(tmp_path / "cut" / fit.CHECKPOINT).step == 3
    torch.manual_seed(123)
    resumed = fit.fit(Tiny(), small_stream(), tmp_path / "cut", options=options())
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[key], value, rtol=0, atol=0)


def test_minutes_end_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "_LOG_STEPS", 2)
    trained(tmp_path, steps=None, minutes=1e-4)
    assert read_progress(tmp_path / fit.CHECKPOINT).step == 2


def test_bf16_step_is_finite(tmp_path):
    ema = trained(tmp_path, steps=2, bf16=True)
    assert all(torch.isfinite(value).all() for value in ema.state_dict().values())


def test_checkpoint_of_another_network_is_refused(tmp_path):
    trained(tmp_path)
    other = CloudUNet(width=8, blocks=1)
    with pytest.raises(WeightsError, match="--out"):
        load_checkpoint(tmp_path / fit.CHECKPOINT, net=other, ema=other)
    with pytest.raises(WeightsError, match="does not fit"):
        load_network(other, tmp_path / fit.CHECKPOINT)
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(WeightsError, match="no checkpoint"):
        read_progress(tmp_path / "junk.safetensors")


# Score and export


def test_predict_patch_honours_nodata():
    net = Tiny().eval()
    hole = patch(0, side=50)
    hole.valid[:5] = False
    mask = score.predict_patch(net, hole, level_known=True)
    assert mask.shape == (50, 50)
    assert (mask[:5] == 255).all()
    assert (mask[5:] < 4).all()


def test_score_by_source_and_level():
    net = Tiny().eval()
    result = score.score(net, [patch(0), patch(1, nir=False, source="Sentinel-2 Cloud Mask Catalogue")])
    assert set(result["p0"]) == {"known", "unknown"}
    assert set(result["s2cmc"]) == {"unknown"}
    flat = card.flat_metrics(result)
    assert "p0_level_known_cloud_oa" in flat
    assert not any(np.isnan(value) for value in flat.values())


def write_data(folder):
    """A data folder with one patch of every split and two thumbnails."""
    image_module = pytest.importorskip("PIL.Image")
    (folder / "patches").mkdir()
    rng = np.random.default_rng(0)
    rows = ["split,name,kind,source,licence,res_m"]
    for split, name, kind in (
        ("train", "a_1", "label4"),
        ("train", "a_2", "label_cloud_only"),
        ("background", "b_1", "clear"),
        ("eval", "c_1", "label4"),
    ):
        rows.append(f"{split},{name},{kind},owner/{name},CC0,10")
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


def test_command_lines_train_score_and_export(tmp_path, capsys):
    write_data(tmp_path)
    out = tmp_path / "run"
    fit.main(["--data", str(tmp_path), "--out", str(out), "--steps", "1", "--workers", "0"])
    checkpoint = str(out / fit.CHECKPOINT)
    score.main(["--data", str(tmp_path), "--checkpoint", checkpoint, "--split", "eval", "--json", str(out / "s.json")])
    assert "| c | known |" in capsys.readouterr().out
    assert "s2cmc" in json.loads((out / "s.json").read_text())
    fit.main(
        ["--data", str(tmp_path), "--out", str(out / "next"), "--start", checkpoint, "--steps", "1", "--workers", "0"]
    )
    card.main(["--data", str(tmp_path), "--checkpoint", checkpoint, "--out", str(out / "w"), "--notes", "a test"])
    spec = ModelSpec.from_card(out / "w" / "default.json")
    assert spec.radius_px == 71
    assert spec.sources[0] == "owner/a_1: CC0"
    assert dict(spec.metrics)["c_level_known_cloud_oa"] >= 0
    again = load_network(CloudUNet(**CONFIG), out / "w" / "default.safetensors")
    assert not again.training
    score.main(["--data", str(tmp_path), "--checkpoint", checkpoint])


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
    assert (thumbnail.allowed == CLOUD).all()


@needs_data
def test_real_patches_load():
    patches = data.load_patches(DATA, splits=("train", "background", "eval"))
    assert {p.split for p in patches} == {"train", "background", "eval"}
    for p in patches:
        assert p.image.shape == (3, *p.valid.shape)
        assert p.allowed.shape == p.valid.shape
        assert (p.allowed[~p.valid] == ANY).all()


@needs_data
def test_shipped_weights_tell_cloud_from_land():
    net = load_network(CloudUNet(**CONFIG), WEIGHTS_DIR / "default.safetensors")
    pair = [p for p in data.load_patches(DATA, splits=("eval",)) if p.name.startswith(("scg", "l8biome"))]
    for by_level in score.score(net, pair).values():
        assert all(measured.cloud_oa > 0.6 for measured in by_level.values())


def test_shipped_weights_are_averaged_and_finite():
    tensors = load_file(WEIGHTS_DIR / "default.safetensors")
    assert all(torch.isfinite(value).all() for value in tensors.values() if value.is_floating_point())
