"""What more bands are worth on snow and on thin cloud: ``python -m benchmarks.snow_and_veils --data DIR``.

The model "any-bands" with all bands against red, green and blue alone, beside "default" with red, green and near
infrared. Snow: simulated scenes of the biome "snow" with other seeds than any training. Thin cloud: the patches of
Landsat 8 Biome of the split "eval", where veils are labelled as such. The share of the ground that is called cloud, of
the (thin) cloud that is found, and how well the two are told apart: the mean of what is right of each.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import xcloudmask
from xcloudmask.classes import NODATA, CloudClass
from xcloudmask.sensors import get_sensor
from xcloudmask.simulate import simulate_scene, simulate_scene_truth
from xcloudmask.training.data import ALL_BANDS, load_patches, only_bands
from xcloudmask.training.labels import CLEAR, NOT_CLOUD, SHADOW, THIN
from xcloudmask.training.predictor import predict_patch

RGB = ("red", "green", "blue")
CLOUD = (CloudClass.THICK_CLOUD, CloudClass.THIN_CLOUD)
SENSORS = ("sentinel-2-l1c", "landsat-oli-c2-l1")
FIRST_SEED = 2000


def snow_scene(sensor: str, seed: int, *, size_px: int) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the truth of a scene and the masks of it, by what the model was shown."""
    how = {"size_px": size_px, "times": 2, "biome": "snow", "seed": seed}
    cube = simulate_scene(sensor, **how).compute()  # type: ignore[arg-type]
    rows = get_sensor(sensor)
    rgb = [rows.candidates(role)[0].name for role in RGB]
    return {
        "truth": simulate_scene_truth(sensor, **how)["truth"].values,  # type: ignore[arg-type]
        "any-bands, all": xcloudmask.predict(cube, model="any-bands", sensor=sensor).values,
        "any-bands, RGB": xcloudmask.predict(cube, model="any-bands", sensor=sensor, bands=rgb).values,
        "default": xcloudmask.predict(cube, sensor=sensor).values,
    }


def on_snow(sensor: str, *, scenes: int, size_px: int) -> list[str]:
    """Return a row for each way."""
    found = [snow_scene(sensor, FIRST_SEED + index, size_px=size_px) for index in range(scenes)]
    whole = {way: np.concatenate([one[way].ravel() for one in found]) for way in found[0]}
    truth = whole.pop("truth")
    clear, cloud = truth == CloudClass.CLEAR, np.isin(truth, CLOUD)
    return [row(f"snow, {sensor} ({scenes})", way, mask, clear, cloud) for way, mask in whole.items()]


def row(
    images: str,
    way: str,
    mask: npt.NDArray[np.uint8],
    ground: npt.NDArray[np.bool_],
    cloud: npt.NDArray[np.bool_],
) -> str:
    """Return false cloud on the ground, cloud that is found, and the balanced accuracy of both, in percent."""
    false, found = (100 * float(np.isin(mask[part & (mask != NODATA)], CLOUD).mean()) for part in (ground, cloud))
    return f"| {images} | {way} | {false:.1f} | {found:.1f} | {(100 - false + found) / 2:.1f} |"


def on_veils(data: Path, *, splits: Sequence[str] = ("eval",)) -> list[str]:
    """Return a row for each way."""
    patches = [one for one in load_patches(data, splits=splits, bands=ALL_BANDS) if (one.allowed == THIN).any()]
    rows = []
    ways = {
        "any-bands, all": ("any-bands", ALL_BANDS),
        "any-bands, RGB": ("any-bands", RGB),
        "default": ("default", ()),
    }
    allowed = np.concatenate([np.where(patch.valid, patch.allowed, 0).ravel() for patch in patches])
    ground = np.isin(allowed, (CLEAR, SHADOW, NOT_CLOUD))
    for way, (model, roles) in ways.items():
        masks = []
        for patch in patches:
            shown = only_bands(patch, [band for band in patch.bands if band in roles]) if roles else patch
            masks.append(predict_patch(model, shown, level_known=True).ravel())
        images = f"thin cloud, Landsat 8 Biome ({len(patches)})"
        rows.append(row(images, way, np.concatenate(masks), ground, allowed == THIN))
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--size", type=int, default=320)
    asked = parser.parse_args()
    print("| images | bands | false cloud, % of ground | cloud found, % | told apart, % |\n|---|---|---|---|---|")
    for sensor in SENSORS:
        print("\n".join(on_snow(sensor, scenes=asked.scenes, size_px=asked.size)))
    if asked.data is not None:
        print("\n".join(on_veils(asked.data)))


if __name__ == "__main__":
    main()
