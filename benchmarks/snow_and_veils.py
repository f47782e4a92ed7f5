"""What more bands are worth on snow and on thin cloud: ``python -m benchmarks.snow_and_veils --data DIR``.

The model "any-bands" with all bands against red, green and blue alone, beside "default" with red, green and near
infrared. Snow: simulated scenes of the biome "snow" with other seeds than any training; the share of clear snow that is
called cloud, and of cloud that is found. Thin cloud: the patches of Landsat 8 Biome of the split "eval", where veils
are labelled as such; the share that is called cloud.
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
from xcloudmask.training.labels import THIN
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
    """Return a row for each way: false cloud on clear ground, and cloud that is found, in percent."""
    found = [snow_scene(sensor, FIRST_SEED + index, size_px=size_px) for index in range(scenes)]
    whole = {way: np.concatenate([one[way].ravel() for one in found]) for way in found[0]}
    truth = whole.pop("truth")
    clear, cloud = truth == CloudClass.CLEAR, np.isin(truth, CLOUD)
    rows = []
    for way, mask in whole.items():
        called = np.isin(mask, CLOUD)[mask != NODATA], (mask != NODATA)
        false, right = (100 * float(called[0][part[called[1]]].mean()) for part in (clear, cloud))
        rows.append(f"| snow, {sensor} ({scenes}) | {way} | {false:.1f} | {right:.1f} |")
    return rows


def on_veils(data: Path, *, splits: Sequence[str] = ("eval",)) -> list[str]:
    """Return a row for each way: thin cloud that is called cloud, in percent."""
    patches = [one for one in load_patches(data, splits=splits, bands=ALL_BANDS) if (one.allowed == THIN).any()]
    rows = []
    ways = {
        "any-bands, all": ("any-bands", ALL_BANDS),
        "any-bands, RGB": ("any-bands", RGB),
        "default": ("default", ()),
    }
    for way, (model, roles) in ways.items():
        hits = pixels = 0
        for patch in patches:
            shown = only_bands(patch, [band for band in patch.bands if band in roles]) if roles else patch
            veil = (patch.allowed == THIN) & patch.valid
            hits += int(np.isin(predict_patch(model, shown, level_known=True)[veil], CLOUD).sum())
            pixels += int(veil.sum())
        rows.append(f"| thin cloud, Landsat 8 Biome ({len(patches)}) | {way} | - | {100 * hits / pixels:.1f} |")
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--size", type=int, default=320)
    asked = parser.parse_args()
    print("| images | bands | false cloud, % of clear | cloud found, % |\n|---|---|---|---|")
    for sensor in SENSORS:
        print("\n".join(on_snow(sensor, scenes=asked.scenes, size_px=asked.size)))
    if asked.data is not None:
        print("\n".join(on_veils(asked.data)))


if __name__ == "__main__":
    main()
