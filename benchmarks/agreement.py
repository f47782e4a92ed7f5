"""How many labels each backend and precision shares with torch in fp32, on real patches and scenes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmarks.core import Figure, benchmark, data_dir, note
from benchmarks.seams import scenes
from xcloudmask._optional import available
from xcloudmask.classes import NODATA
from xcloudmask.grid import spatial_dims

MODELS = ("default", "default-ensemble")
BANDS = ("red", "green", "nir")
SCENE_PX = 1024
NODATA_DN = 65535

ENGINES = {
    ("torch", "fp32"): "",
    ("torch", "bf16"): ">= 99.8",
    ("openvino", "fp32"): ">= 99.8",
    ("openvino", "bf16"): ">= 99.8",
    ("openvino", "int8"): ">= 99.0",
    ("onnxruntime", "fp32"): ">= 99.8",
}
"""Backends and precisions, and the percent of labels that must be those of the first."""


def engines() -> list[tuple[str, str]]:
    """Those that can run here."""
    needs = {"openvino": ("openvino",), "onnxruntime": ("onnxruntime",), "int8": ("nncf",)}
    return [pair for pair in ENGINES if all(available(name) for key in pair for name in needs.get(key, ()))]


def patches(root: Path) -> Iterator[tuple[xr.Dataset, dict[str, Any]]]:
    """Patches for training, as cubes of their own."""
    table = root / "patches.csv"
    if not table.exists():
        return
    for row in csv.DictReader(table.read_text().splitlines()):
        if row["split"] != "train":
            continue
        with np.load(root / "patches" / f"{row['name']}.npz") as file:
            names, image, valid = list(file["bands"]), file["img"], file["valid"]
        given = {"bands": {"nir": None}} if "nir" not in names else {}
        attrs = {"scale_factor": 1e-4, "add_offset": 0.0, "nodata": NODATA_DN}
        cube = xr.Dataset(
            {
                band: (("y", "x"), np.where(valid, image[names.index(band)], NODATA_DN).astype(np.uint16), attrs)
                for band in BANDS
                if band in names
            }
        )
        yield cube, {"resolution_m": float(row["res_m"]), **given}


@benchmark
def agreement(*, quick: bool) -> Iterator[Figure]:
    """Labels of the same cubes; each is predicted as one chunk of its own."""
    root = data_dir()
    cubes = [] if root is None else [*patches(root), *scenes(root)]
    if not cubes:
        note("agreement: not measured: no real imagery. Type --data DIR, a folder with patches.csv and scenes/.")
        return
    side = 128 if quick else SCENE_PX
    cubes = [(cube.isel({dim: slice(0, side) for dim in spatial_dims(cube)}), given) for cube, given in cubes]
    for model in MODELS[:1] if quick else MODELS:
        shared, pixels = dict.fromkeys(engines(), 0), 0
        for cube, given in cubes[:2] if quick else cubes:
            masks = {
                (backend, precision): cube.cloudmask.predict(
                    model=model, device="cpu", backend=backend, precision=precision, **given
                ).values
                for backend, precision in shared
            }
            exact = masks["torch", "fp32"]
            there = exact != NODATA
            pixels += int(there.sum())
            for key, mask in masks.items():
                shared[key] += int((mask == exact)[there].sum())
        yield Figure(name=f"agreement.{model}.pixels", value=pixels / 1e6, unit="megapixels")
        for (backend, precision), same in shared.items():
            if ENGINES[backend, precision]:
                name = f"agreement.{model}.{backend}-{precision}"
                target = ENGINES[backend, precision]
                yield Figure(name=name, value=100 * same / pixels, unit="% of labels", target=target)
