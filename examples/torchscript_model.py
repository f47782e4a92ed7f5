"""Mask with a network that was made elsewhere: a TorchScript file, and a TOML file that says what it does.

The network is random here, so the mask means nothing. Put your own two files in its place.
"""

from __future__ import annotations

import argparse
import hashlib
import warnings
from pathlib import Path

import torch
from torch import nn

import xcloudmask
from xcloudmask.simulate.scene import simulate_sentinel2

SPEC = """
architecture = "torchscript"
weights = "{weights}"
sha256 = "{sha256}"
bands = ["red", "green", "nir"]
classes = ["clear", "thick_cloud", "thick_cloud", "cloud_shadow"]
output = "probabilities"
normalization = "none"
mean = [0.2, 0.2, 0.3]
std = [0.2, 0.2, 0.2]
stride_px = 2
radius_px = "measure"
"""


def save_network(folder: Path) -> Path:
    """Where somebody else's training would leave its network."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 4, 2, stride=2),
        nn.Softmax(dim=1),
    ).eval()
    path = folder / "elsewhere.pt"
    with warnings.catch_warnings():  # torch would like to see torch.export instead
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(net, torch.zeros(1, 3, 64, 64)), path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where network, spec and mask are written")
    parser.add_argument("--quick", action="store_true", help="a small cube")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    size_px = 128 if arguments.quick else 1024

    weights = save_network(arguments.folder)
    toml = arguments.folder / "elsewhere.toml"
    toml.write_text(SPEC.format(weights=weights.name, sha256=hashlib.sha256(weights.read_bytes()).hexdigest()))
    print(xcloudmask.register_model(toml))

    cube = simulate_sentinel2(size_px=size_px, times=1, chunks=64)
    mask = cube.cloudmask.predict(model="elsewhere", normalize="lattice", scale=1e-4)
    mask.cloudmask.to_zarr(arguments.folder / "masks.zarr", mode="w")
    print(f"mask of model {mask.attrs['model']!r}, weights {mask.attrs['model_sha256'][:12]}")


if __name__ == "__main__":
    main()
