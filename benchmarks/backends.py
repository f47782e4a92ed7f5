"""What each backend and precision costs: CPU seconds per megapixel of a tile, taking turns in one process."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.agreement import MODELS, engines
from benchmarks.core import Figure, benchmark, cpu_seconds
from xcloudmask.models.cache import get_runner
from xcloudmask.models.registry import get_spec

TILE_PX = 1024 + 2 * 72
"""A tile of the default model with its halo."""


def cpu_of(work: Callable[[], object]) -> float:
    start = cpu_seconds()
    work()
    return cpu_seconds() - start


@benchmark
def backends(*, quick: bool) -> Iterator[Figure]:
    """Labels of a tile of noise, with one thread and with two."""
    import torch

    side, rounds = (128, 1) if quick else (TILE_PX, 5)
    rng = np.random.default_rng(0)
    tiles, level = rng.standard_normal((1, 3, side, side), np.float32), np.zeros((1, 7), np.float32)
    crop = (slice(0, side), slice(0, side))
    before = torch.get_num_threads()
    try:
        for model in MODELS[:1] if quick else MODELS:
            spec = get_spec(model)
            runners = {
                "-".join(pair): get_runner(spec, device="cpu", backend=pair[0], precision=pair[1]) for pair in engines()
            }
            for threads in (1, 2):
                torch.set_num_threads(threads)
                for runner in runners.values():
                    runner.labels(tiles, level, crop)
                seconds: dict[str, list[float]] = {name: [] for name in runners}
                for _ in range(rounds):
                    for name, runner in runners.items():
                        # One thread sees what its neighbours do to the caches; the shortest of the rounds sees least.
                        seconds[name].append(cpu_of(lambda runner=runner: runner.labels(tiles, level, crop)))
                reference = min(seconds["torch-fp32"])
                for name, taken in seconds.items():
                    label = f"backends.{model}.{name}.threads{threads}"
                    yield Figure(name=label, value=min(taken) / (side**2 / 1e6), unit="CPU s per megapixel")
                    spread = statistics.median(taken) / min(taken)
                    yield Figure(name=f"{label}.over_torch_fp32", value=min(taken) / reference, unit="times")
                    yield Figure(name=f"{label}.median_over_least", value=spread, unit="times")
    finally:
        torch.set_num_threads(before)
