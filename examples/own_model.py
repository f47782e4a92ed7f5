"""Register a model of your own: the package's U-Net with other weights.

The weights are random here, so the mask means nothing. Train them first: xcloudmask train --help
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file

import xcloudmask
from xcloudmask.models.unet import STRIDE_PX, CloudUNet, receptive_radius
from xcloudmask.simulate.scene import simulate_sentinel2

CONFIG = {"bands": 3, "classes": 4, "width": 16, "blocks": 2, "level": 0}


def save_weights(folder: Path) -> Path:
    """Where your own training would leave its weights."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "small.safetensors"
    save_file(CloudUNet(**CONFIG).state_dict(), path)
    return path


def describe(weights: Path) -> xcloudmask.ModelSpec:
    """All that the engine needs to know of the model. A JSON file with these fields is read by ModelSpec.from_card."""
    # The halo follows from the radius, so it is measured: by the gradient of an output with respect to the inputs.
    radius_px = receptive_radius(CloudUNet(**CONFIG).eval(), bands=3, stride_px=STRIDE_PX, reach_px=96)
    return xcloudmask.ModelSpec(
        name="small",
        architecture="unet",
        config=tuple(CONFIG.items()),
        bands=("red", "green", "nir"),
        stride_px=STRIDE_PX,
        radius_px=radius_px,
        weights=str(weights.resolve()),
        sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        licence="CC0-1.0",
        notes="random weights",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where weights and mask are written")
    parser.add_argument("--quick", action="store_true", help="a small cube")
    arguments = parser.parse_args()
    size_px = 128 if arguments.quick else 1024

    spec = describe(save_weights(arguments.folder))
    print(spec)
    xcloudmask.register_model(spec)

    cube = simulate_sentinel2(size_px=size_px, times=1, chunks=size_px)
    mask = cube.cloudmask.predict(model="small")
    mask.cloudmask.to_zarr(arguments.folder / "masks.zarr", mode="w")
    print(f"mask of model {mask.attrs['model']!r}, weights {mask.attrs['model_sha256'][:12]}")


if __name__ == "__main__":
    main()
