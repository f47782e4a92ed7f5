"""A model of any bands, small and random, whose labels vary from pixel to pixel and with every band."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file

from xcloudmask.models.anybands import SenseiNet
from xcloudmask.models.spec import ModelSpec


def any_spec(folder: Path, *, level: int = 0) -> ModelSpec:
    """Write the weights of a network that takes reflectance, or z-scores and level, and return the spec."""
    torch.manual_seed(5)
    config = {"width": 8, "blocks": 1, "level": level}
    net = SenseiNet("unet", **config)
    with torch.no_grad():
        net.sensei.combined[-1].weight.mul_(40)
        net.body.head.weight.mul_(4)
        if level:
            torch.nn.init.normal_(net.body.level_mlp[-1].weight, std=0.05)
    path = folder / "any.safetensors"
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, path)
    return ModelSpec(
        name="tiny-any",
        architecture="sensei-unet",
        config=tuple(config.items()),
        bands=(),
        any_bands=True,
        normalization="zscore" if level else "none",
        level=bool(level),
        stride_px=8,
        radius_px=39,
        tile_px=64,
        window_px=64,
        weights=str(path),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
