"""Does it help to scale each band between percentiles 1 and 99 of the training data? Train in May, test in July.

Two U-Nets with a MobileNetV2 encoder learn the same simulated windows, one of them as reflectance, the other scaled.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from xcloudmask.models.architectures import build
from xcloudmask.simulate import simulate_scene, simulate_scene_truth, simulate_sentinel2, simulate_truth
from xcloudmask.training.data import Patch, load_patches
from xcloudmask.training.fit import FitOptions, fit
from xcloudmask.training.normalizers import WholeData, make_normalizer
from xcloudmask.training.score import evaluate_model

BANDS = ("blue", "green", "red", "nir")
LEVEL_2A = [simulate_sentinel2, simulate_truth]
LEVEL_1C = [partial(made, "sentinel-2-l1c", bands=BANDS) for made in (simulate_scene, simulate_scene_truth)]


def simulate(source: list[Callable], dates: slice, *, seeds: range, size_px: int) -> list[Patch]:
    """Return patches of some dates, ten days apart from 14 May on: reflectance * 10,000 and sets of classes."""
    patches = []
    for seed in seeds:
        cube, truth = (made(seed=seed, times=dates.stop, size_px=size_px).isel(time=dates).compute() for made in source)
        numbers = np.stack([cube[band] for band in BANDS], axis=1) + 10_000 * cube.red.attrs.get("add_offset", 0.0)
        codes = getattr(truth, "truth", truth).values
        for image, code in zip(np.clip(numbers, 0, None).astype(np.uint16), codes, strict=True):
            sets = np.where(code == 255, 15, 1 << np.minimum(code, 3)).astype(np.uint8)
            fields = {"name": f"scene_{seed}", "source": "", "split": "", "resolution_m": 10.0, "bands": BANDS}
            patches.append(Patch(image=image, valid=code != 255, allowed=sets, **fields))
    return patches


def train(patches: list[Patch], values: WholeData, folder: Path, *, steps: int, size_px: int) -> Callable:
    """Fit a network to random windows, and return a function from a patch to its mask."""
    feed = partial(values, level_known=True, nir=True)
    fed = [feed(patch.image * np.float32(1e-4), patch.valid) for patch in patches]
    rng, samples = np.random.default_rng(0), []
    for index in rng.integers(len(patches), size=8 * steps):
        y, x = rng.integers(0, patches[index].valid.shape[0] - size_px + 1, size=2)
        cut, (image, level) = (..., slice(y, y + size_px), slice(x, x + size_px)), fed[index]
        samples.append((image[cut], level, patches[index].allowed[cut], np.float32(1.0)))
    torch.manual_seed(0)
    start = build("mobile-unet", {"bands": len(BANDS), "width": 16})
    net = fit(start, samples, folder, options=FitOptions(steps=steps, batch=8, workers=0, loss="dice"))
    logits = torch.inference_mode()(lambda image: net(torch.from_numpy(image)[None])[0].numpy())
    return lambda patch: logits(feed(patch.image * np.float32(1e-4), patch.valid)[0]).argmax(0).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for checkpoints; a run goes on where it stopped")
    parser.add_argument("--data", type=Path, help="folder of labelled patches: also test on its split train")
    parser.add_argument("--quick", action="store_true", help="tiny: to see that it runs")
    given = parser.parse_args()
    size_px, scenes, steps = (64, 3, 2) if given.quick else (256, 18, 500)
    draw, new = partial(simulate, size_px=size_px), range(1000, 1000 + scenes // 3)
    learnt = draw(LEVEL_2A, slice(0, 2), seeds=range(scenes))
    tests = {"same season, same source": draw(LEVEL_2A, slice(0, 2), seeds=new)}
    tests |= {"two months later": draw(LEVEL_2A, slice(6, 8), seeds=new)}
    tests |= {"another source (Level-1C)": draw(LEVEL_1C, slice(0, 2), seeds=new)}
    tests |= {"real patches": load_patches(given.data, splits=("train",), bands=BANDS)} if given.data else {}
    plain = WholeData(low=(0.0,) * len(BANDS), spread=(1.0,) * len(BANDS))
    print("| values | test | mean IoU | accuracy | shadow IoU |\n|---|---|---|---|---|")
    for name, values in {"reflectance": plain, "percentiles": make_normalizer("percentile", learnt)}.items():
        model = train(learnt, values, given.folder / name, steps=steps, size_px=size_px // 2)
        for test, patches in tests.items():
            found = evaluate_model(model, patches, levels=["known"])["known"].pooled.scores
            print(f"| {name} | {test} | {found.mean_iou:.2f} | {found.agreement:.2f} | {found.classes[3].iou:.2f} |")


if __name__ == "__main__":
    main()
