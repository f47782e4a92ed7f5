"""What a sensor costs that the training never saw: two runs that differ in nothing but that sensor.

``python -m benchmarks.leftout --data DIR --out DIR --start SENSEI`` trains the recipe "any-bands" twice for some steps
from the same weights of SEnSeI (``xcloudmask train sensei``) and the same seed, once with Landsat 8 and 9 (and HLS,
which has the same bands) and once without: neither patches nor simulated scenes of them. The network behind SEnSeI
begins at random. Both are measured on Landsat patches that neither saw, on simulated scenes of that sensor with other
seeds, and on those of Sentinel-2.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from xcloudmask.evaluate import Confusion, confusion, pool, scores
from xcloudmask.training.bandfeed import AnyBands
from xcloudmask.training.bandstream import BandWindows, window_of
from xcloudmask.training.bandwindow import BandWindow
from xcloudmask.training.config import TrainConfig, load_config
from xcloudmask.training.data import ALL_BANDS, load_patches
from xcloudmask.training.options import Mixture
from xcloudmask.training.train import train
from xcloudmask.training.validate import mask_of

LEFT_OUT = ("landsat-oli-c2-l1", "landsat-oli-c2-l2", "hls-l30")
SCENES = 60
SIZE_PX = 192
SEED = 977
"""Far from that of any training."""
BAND_SETS = {
    "all": ALL_BANDS,
    "red green blue nir": ("red", "green", "blue", "nir"),
    "red green blue": ("red", "green", "blue"),
}


def shortened(steps: int, *, left_out: Sequence[str]) -> TrainConfig:
    """Return the recipe for a short run, without some sensors."""
    config = load_config("any-bands")
    return replace(
        config,
        model=replace(config.model, after="", body=""),  # the shipped network has seen every sensor
        mixture=replace(config.mixture, left_out=tuple(left_out)),
        fit=replace(config.fit, steps=steps, validate_steps=0, workers=0),
    )


def simulated(sensor: str, *, scenes: int) -> list[BandWindow]:
    """Draw scenes of a sensor that no training draws."""
    only = Mixture(real=0, thumbnails=0, clouded=0, pasted=0, landscapes=1, sensors=(sensor,), size_px=SIZE_PX)
    draw = BandWindows(labelled=[], thumbnails=[], backgrounds=[], mixture=only, seed=SEED)
    return [draw(index)[0] for index in range(scenes)]


def patches(data: Path, *, sensor: str) -> list[BandWindow]:
    """Return the patches of a sensor that no training sees."""
    return [
        window_of(patch) for patch in load_patches(data, splits=("eval",), bands=ALL_BANDS) if patch.sensor == sensor
    ]


def score(net: nn.Module, windows: Iterable[BandWindow], roles: Sequence[str]) -> str:
    """Return cloud against not cloud OA and shadow F1 of all windows together, shown with some of their bands."""
    feed = AnyBands(most=max(3, len(ALL_BANDS) + 6))
    counts: list[Confusion] = []
    for window in windows:
        chosen = [index for index, role in enumerate(window.roles) if roles is ALL_BANDS or role in roles]
        shown = window.picked(chosen)
        mask = mask_of(net, *feed(shown), valid=window.valid)
        counts.append(confusion(mask, window.allowed * window.valid))
    result = scores(pool(counts))
    shadow = result.classes[3].f1
    oa = f"{100 * result.cloud_oa:.1f}"
    return oa if math.isnan(shadow) else f"{oa} ({100 * shadow:.0f})"


def main() -> None:
    """Train both, measure both, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", default=None)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--scenes", type=int, default=SCENES)
    asked = parser.parse_args()
    nets = {
        name: train(shortened(asked.steps, left_out=left_out), data=asked.data, out=asked.out / name, start=asked.start)
        for name, left_out in (("with", ()), ("without", LEFT_OUT))
    }
    sets = {
        "Landsat 8 patches, eval": patches(asked.data, sensor="landsat-oli-c2-l1"),
        "Landsat 8, simulated": simulated("landsat-oli-c2-l1", scenes=asked.scenes),
        "Sentinel-2 patches, eval": patches(asked.data, sensor="sentinel-2-l1c"),
        "Sentinel-2, simulated": simulated("sentinel-2-l1c", scenes=asked.scenes),
    }
    print(f"cloud OA in percent (shadow F1); {asked.steps} steps each\n")
    print("| images | bands | with Landsat 8 | without |\n|---|---|---|---|")
    with torch.inference_mode():
        for title, windows in sets.items():
            for name, roles in BAND_SETS.items():
                told = [score(nets[which], windows, roles) for which in ("with", "without")]
                print(f"| {title} ({len(windows)}) | {name} | {told[0]} | {told[1]} |")


if __name__ == "__main__":
    main()
