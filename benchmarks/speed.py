"""CPU seconds beside omnicloudmask 1.8.1 with the same two networks, and beside the bare forward pass.

Ratios are of one run: the sides take turns, each in a process of its own, and the median counts.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmarks.core import Figure, asked, benchmark, note
from benchmarks.speed_sides import BANDS, Process
from xcloudmask.simulate.scene import simulate_sentinel2

CHUNK_PX = 2048
SCENE_PX, SCENE_CHUNK_PX = 10980, 1830
"""A Sentinel-2 tile at 10 m, and its chunks in the Zarr products of ESA's EOPF: six along each side."""
FIELD_PX = 1024
"""Side of the simulated field that a scene is tiled with."""

Answers = list[dict[str, Any]]


@benchmark
def speed(*, quick: bool) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        # To see that it runs, one process for all sides: the imports are the most of it.
        shared = stack.enter_context(Process()) if quick else None
        yield from beside_omnicloudmask(folder, shared)
        yield from whole_process(folder, shared)
        yield from on_device(folder, shared)


def take_turns(sides: Mapping[str, dict[str, Any]], *, rounds: int, shared: Process | None) -> dict[str, Answers]:
    """Run all sides in turn, round by round; each in a process of its own, unless one is shared."""
    answers: dict[str, Answers] = {name: [] for name in sides}
    with ExitStack() as stack:
        processes = {name: shared or stack.enter_context(Process()) for name in sides}
        for _ in range(rounds):
            for name, arguments in sides.items():
                answers[name].append(processes[name](**arguments))
    return answers


def alone(arguments: dict[str, Any], shared: Process | None) -> dict[str, Any]:
    """Run one side once."""
    return take_turns({"": arguments}, rounds=1, shared=shared)[""][0]


def ratio(answers: Mapping[str, Answers], above: str, below: str, *, clock: str = "cpu") -> float:
    """Median over the rounds of one side's seconds over another's."""
    pairs = zip(answers[above], answers[below], strict=True)
    return statistics.median(one[clock] / other[clock] for one, other in pairs)


def beside_omnicloudmask(folder: str, shared: Process | None) -> Iterator[Figure]:
    """The networks of OmniCloudMask 4 with random weights: both packages, and the default model."""
    made = alone({"side": "weights", "folder": folder}, shared)
    if "skipped" in made:
        note(f"speed: nothing beside omnicloudmask: {made['skipped']}")
        return
    # Chunks that divide the scene well: the last of a row is fed as a whole tile, however little of it there is.
    side_px, chunk_px, patch_px = (
        (192, 128, 128) if shared else (4000, CHUNK_PX, 1000) if asked.full else (2496, 1248, 1000)
    )
    theirs = {"side": "ocm", "folder": folder, "side_px": side_px, "patch_px": patch_px}
    ours = {"side": "ours", "model": folder, "side_px": side_px, "chunk_px": chunk_px}
    sides: dict[str, dict[str, Any]] = {
        "ocm_defaults": theirs | {"overlap_px": 64 if shared else 300},
        "ours": ours,
        "ours_fp32": ours | {"precision": "fp32"},
        "ocm_overlap_50": theirs | {"overlap_px": 50},
        "ours_halo_25": ours | {"halo_px": 25},
        "ours_halo_25_fp32": ours | {"halo_px": 25, "precision": "fp32"},
        "default_model": ours | {"model": "default"},
    }
    if not asked.full:
        sides = {name: side for name, side in sides.items() if not name.endswith("fp32")}
    if shared:
        sides = {name: sides[name] for name in ("ocm_defaults", "ours", "default_model")}
    answers = take_turns(sides, rounds=1 if shared else asked.rounds, shared=shared)
    skipped = {one["skipped"] for turns in answers.values() for one in turns if "skipped" in one}
    if skipped:
        note(f"speed: nothing beside omnicloudmask: {', '.join(sorted(skipped))}")
        return
    yield Figure(name="speed.scene_side", value=side_px, unit="px")
    for name, turns in answers.items():
        seconds = statistics.median(one["cpu"] for one in turns) / (side_px**2 / 1e6)
        yield Figure(name=f"speed.{name}.cpu_per_megapixel", value=seconds, unit="CPU s")
        if not shared:
            yield Figure(name=f"speed.{name}.peak", value=max(one["peak"] for one in turns) / 1e6, unit="MB")
    for above, below, target in (
        ("ocm_defaults", "ours", ">= 1.8"),
        ("ocm_defaults", "ours_fp32", ""),
        ("ocm_overlap_50", "ours_halo_25", ">= 1.0"),
        ("ocm_overlap_50", "ours_halo_25_fp32", ""),
        ("ocm_defaults", "default_model", ">= 15"),
    ):
        if {above, below} <= answers.keys():
            value = ratio(answers, above, below)
            yield Figure(name=f"speed.{above}_over_{below}", value=value, unit="times", target=target)


def whole_process(folder: str, shared: Process | None) -> Iterator[Figure]:
    """`xcloudmask predict` from Zarr to Zarr with the default model, start of Python included."""
    side_px = 128 if shared else SCENE_PX if asked.full else SCENE_CHUNK_PX * 2
    small, scene, double = (
        write_scene(Path(folder, f"cube{number}.zarr"), *shape)
        for number, shape in enumerate([(128, 128), (side_px, side_px), (2 * side_px, side_px)])
    )
    one_worker = ["--workers", "1"]
    sides: dict[str, tuple[str, list[str]]] = {
        "small": (small, []),
        "scene": (scene, []),
        "double": (double, []),
        "scene_one_worker": (scene, one_worker),
        "double_one_worker": (double, one_worker),
    }
    bare = {"side": "bare", "model": "default", "side_px": side_px, "tile_px": CHUNK_PX}
    rounds: list[dict[str, dict[str, Any]]] = []
    for number in range(1 if shared else asked.rounds):
        answers: dict[str, dict[str, Any]] = {}
        for name, (source, options) in sides.items():
            target = str(Path(folder, f"{name}{number}.zarr"))
            command = {"side": "command_line", "source": source, "target": target, "options": options}
            answers[name] = alone(command, shared)
        answers["bare"] = alone(bare, shared)
        rounds.append(answers)
    clock = "cpu" if shared else "process_cpu"
    megapixels = side_px**2 / 1e6

    def middle(name: str, key: str) -> float:
        return statistics.median(one[name][key] for one in rounds)

    yield Figure(name="speed.process.scene_side", value=side_px, unit="px")
    yield Figure(name="speed.process.start", value=middle("small", clock), unit="CPU s")
    yield Figure(name="speed.bare.cpu_per_megapixel", value=middle("bare", "cpu") / megapixels, unit="CPU s")
    for how, target in (("", "<= 1.35"), ("_one_worker", "")):
        scene, double = f"scene{how}", f"double{how}"
        over = statistics.median(one[scene][clock] / one["bare"]["cpu"] for one in rounds)
        yield Figure(name=f"speed.process{how}_over_bare_forward", value=over, unit="times", target=target)
        later = statistics.median((one[double][clock] - one[scene][clock]) / one["bare"]["cpu"] for one in rounds)
        yield Figure(name=f"speed.second_scene{how}_over_bare_forward", value=later, unit="times")
        peak, twice = middle(scene, "peak"), middle(double, "peak")
        yield Figure(name=f"speed.process{how}.peak", value=peak / 1e9, unit="GB", target="<= 1.5")
        yield Figure(
            name=f"speed.process{how}.peak_when_scene_doubles", value=twice / peak, unit="times", target="<= 1.1"
        )


@cache
def simulated(size_px: int) -> xr.Dataset:
    return simulate_sentinel2(size_px=size_px, times=1, chunks=size_px, nodata_wedge=False).compute()


def write_scene(path: Path, height_px: int, width_px: int) -> str:
    """Write a simulated cube, tiled with one field, as uint16 Zarr."""
    field = simulated(min(FIELD_PX, width_px))
    counts = -(-height_px // field.sizes["y"]), -(-width_px // field.sizes["x"])
    grid = {
        "y": field.y.values[0] - 10.0 * np.arange(height_px),
        "x": field.x.values[0] + 10.0 * np.arange(width_px),
        "spatial_ref": field.spatial_ref,
    }
    chunks = (min(SCENE_CHUNK_PX, height_px), min(SCENE_CHUNK_PX, width_px))
    for band in BANDS:
        tiled = np.tile(field[band].values[0], counts)[:height_px, :width_px]
        array = xr.DataArray(tiled, dims=("y", "x"), coords=grid, name=band, attrs=field[band].attrs)
        array.encoding = {"chunks": chunks, "grid_mapping": "spatial_ref"}
        array.to_dataset().to_zarr(path, mode="a", zarr_format=3, consolidated=False)
    return str(path)


def on_device(folder: str, shared: Process | None) -> Iterator[Figure]:
    """On a CUDA device: from Zarr in the memory of the host to labels there, over the bare forward pass; seconds."""
    side_px = 256 if shared else SCENE_PX
    ours = {"side": "ours", "side_px": side_px, "chunk_px": SCENE_CHUNK_PX, "scheduler": "threads"}
    found = alone({"side": "device"}, shared)
    if "skipped" in found:
        note(f"speed: not measured on a GPU: {found['skipped']}")
        if shared:
            # That the device engine runs can be seen without one.
            alone(ours | {"model": "default", "device": "cpu", "device_engine": "always"}, shared)
        return
    models = {"default": "default"} | ({"omnicloudmask": folder} if any(Path(folder).glob("*.safetensors")) else {})
    for name, model in models.items():
        sides: dict[str, dict[str, Any]] = {
            "ours": ours | {"model": model, "device": "cuda"},
            "bare": {"side": "bare", "model": model, "side_px": side_px, "tile_px": CHUNK_PX},
        }
        answers = take_turns(sides, rounds=1 if shared else asked.rounds, shared=shared)
        megapixels = side_px**2 / 1e6
        seconds = statistics.median(one["wall"] for one in answers["ours"])
        yield Figure(name=f"speed.gpu.{name}.scene", value=seconds, unit="s")
        yield Figure(name=f"speed.gpu.{name}.megapixels_per_second", value=megapixels / seconds, unit="Mpx/s")
        over = ratio(answers, "ours", "bare", clock="wall")
        yield Figure(name=f"speed.gpu.{name}_over_bare_forward", value=over, unit="times", target="<= 1.3")
