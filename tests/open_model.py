"""A model of any bands, small and random, whose labels vary from pixel to pixel and with every band."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file

from xcloudmask.models.anybands import SenseiNet
from xcloudmask.models.spec import ModelSpec


def any_spec(folder: Path) -> ModelSpec:
    """Write the weights into a folder, and return the spec."""
    torch.manual_seed(5)
    net = SenseiNet("unet", width=8, blocks=1)
    with torch.no_grad():
        net.sensei.combined[-1].weight.mul_(40)
        net.body.head.weight.mul_(4)
    path = folder / "any.safetensors"
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, path)
    return ModelSpec(
        name="tiny-any",
        architecture="sensei-unet",
        config=(("width", 8), ("blocks", 1)),
        bands=(),
        any_bands=True,
        stride_px=8,
        radius_px=39,
        tile_px=64,
        window_px=64,
        weights=str(path),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
