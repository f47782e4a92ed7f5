"""Small fits for experiments: a start model of simulated scenes alone, and fine-tunings of seconds."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xcloudmask.models.architectures import build, measure_geometry
from xcloudmask.models.spec import ModelSpec
from xcloudmask.training.config import Mixture
from xcloudmask.training.data import Patch
from xcloudmask.training.losses import partial_label_loss, set_weights
from xcloudmask.training.stream import SampleStream

__all__ = ["SIZE_PX", "Bank", "fine_tune", "start_model", "write_model"]

SIZE_PX = 128
BATCH = 8
REAL = 6
"""Samples of a batch that are real; the others are simulated, so that what the start model knew is kept."""
_EMA = 0.95
"""The network that is measured is a mean over about the last twenty steps: single steps are noise."""
_START_BANK = 640
_Sample = tuple[Tensor, Tensor, Tensor, Tensor]
_NOTHING = Mixture(real=0.0, thumbnails=0.0, clouded=0.0, landscapes=0.0, pasted=0.0, size_px=SIZE_PX)


class Bank:
    """Simulated samples, drawn once, so that all fine-tunings see the same and none waits for them."""

    def __init__(self, count: int, *, seed: int) -> None:
        stream = _simulated(seed=seed, length=count)
        self.samples = [stream[index] for index in range(count)]


def _simulated(*, seed: int, length: int) -> SampleStream:
    mixture = replace(_NOTHING, landscapes=1.0)
    return SampleStream(labelled=[], thumbnails=[], backgrounds=[], mixture=mixture, seed=seed, length=length)


def start_model(folder: Path, *, width: int, steps: int) -> nn.Module:
    """Train a network on simulated scenes alone, or load it where that was done."""
    net = build("unet", {"bands": 3, "classes": 4, "width": width, "blocks": 3, "level": 1})
    path = folder / f"start-{width}-{steps}.safetensors"
    if path.exists():
        net.load_state_dict(load_file(path))
        return net.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build("unet", {"bands": 3, "classes": 4, "width": width, "blocks": 3, "level": 1})
    # Samples are drawn again and again: making one takes longer than learning from it.
    drawn = Bank(min(_START_BANK, steps * BATCH), seed=0).samples
    trained = _descend(net, (drawn[index % len(drawn)] for index in range(steps * BATCH)), steps=steps, peak=2e-3)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in trained.state_dict().items()}, path)
    return trained


def fine_tune(start: nn.Module, chips: Sequence[Patch], bank: Bank, *, steps: int, seed: int) -> nn.Module:
    """Train a copy of the start model: `REAL` of each batch are real chips, the rest simulated samples."""
    mixture = replace(_NOTHING, real=1.0, mixed_resolution=False, statistics_mixed=0.0)
    real = SampleStream(labelled=chips, thumbnails=[], backgrounds=[], mixture=mixture, seed=seed, length=steps * REAL)
    draw = np.random.default_rng((seed, 1))
    simulated = draw.integers(len(bank.samples), size=(steps, BATCH - REAL))

    def samples() -> Iterator[_Sample]:
        for step, others in enumerate(simulated):
            yield from (real[step * REAL + index] for index in range(REAL))
            yield from (bank.samples[other] for other in others)

    return _descend(copy.deepcopy(start), samples(), steps=steps, peak=1e-3)


def _descend(net: nn.Module, samples: Iterator[_Sample], *, steps: int, peak: float) -> nn.Module:
    """AdamW on a short warm-up and a cosine; returns the moving average of the weights, in eval mode."""
    net = net.train().requires_grad_(requires_grad=True).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), lr=peak, weight_decay=1e-3)
    average = copy.deepcopy(net)
    weights = set_weights()
    warm = max(1, steps // 10)
    for step in range(steps):
        rate = peak * min(1.0, (step + 1) / warm) * 0.5 * (1.0 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = rate
        image, level, allowed, weight = (
            torch.stack(part) for part in zip(*(next(samples) for _ in range(BATCH)), strict=True)
        )
        logits = net(image.contiguous(memory_format=torch.channels_last), level)
        loss = partial_label_loss(logits, allowed, sample_weight=weight, weights=weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        _move(average, net, kept=min(_EMA, (1 + step) / (10 + step)))
    return average.eval()


@torch.no_grad()
def _move(average: nn.Module, net: nn.Module, *, kept: float) -> None:
    for old, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1.0 - kept)
        else:
            old.copy_(new)


def write_model(net: nn.Module, path: Path, *, width: int) -> ModelSpec:
    """Write weights, and say what the engine has to know of them."""
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, path)
    config = {"bands": 3, "classes": 4, "width": width, "blocks": 3, "level": 1}
    stride_px, radius_px = measure_geometry("unet", config)
    return ModelSpec(
        name=path.stem,
        architecture="unet",
        config=tuple(config.items()),
        optional_bands=("nir",),
        stride_px=stride_px,
        radius_px=radius_px,
        level=True,
        tile_px=512,
        window_px=256,
        weights=str(path),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
