"""What the engine costs beyond the bare network, in CPU seconds, and how many pixels it computes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import dask
import dask.array as da
import numpy as np
import xarray as xr

import xcloudmask  # noqa: F401 - registers the accessor
from benchmarks.core import Figure, benchmark, cpu_seconds
from xcloudmask.models.cache import get_runner
from xcloudmask.models.registry import get_spec

CHUNK_PX = 2048


def cube(chunk: int, side: int) -> xr.Dataset:
    rng = np.random.default_rng(0)
    length = chunk * side
    pixels = rng.integers(1, 4000, (3, length, length), dtype=np.uint16)
    bands = {
        name: (("y", "x"), da.from_array(band, chunks=chunk), {"nodata": 0})
        for name, band in zip(("red", "green", "nir"), pixels, strict=True)
    }
    return xr.Dataset(bands)


def cpu_of(work: Callable[[], object]) -> float:
    start = cpu_seconds()
    work()
    return cpu_seconds() - start


@benchmark
def engine(*, quick: bool) -> Iterator[Figure]:
    """End to end against the bare forward pass of the same tiles: same process, same threads, taking turns."""
    import torch

    chunk, side, rounds = (256, 2, 1) if quick else (CHUNK_PX, 2, 5)
    source = cube(chunk, side)
    plan = source.cloudmask.plan(resolution_m=10)
    mask = source.cloudmask.predict(resolution_m=10)
    runner = get_runner(get_spec("default"))
    batch = torch.randn(1, 3, *plan.tile_px).to(runner.dtype)
    level = torch.zeros(1, 7).to(runner.dtype)

    def bare() -> None:
        with torch.inference_mode():
            for _ in range(side**2):
                runner.net(batch, level)

    with dask.config.set(scheduler="synchronous"):
        mask.data.compute()
        bare()
        pairs = [(cpu_of(mask.data.compute), cpu_of(bare)) for _ in range(rounds)]
    ratio = statistics.median(whole / alone for whole, alone in pairs)
    megapixels = (chunk * side) ** 2 / 1e6
    yield Figure(name="engine.cpu_over_bare_forward", value=ratio, unit="times", target="<= 1.10")
    yield Figure(
        name="engine.cpu_per_megapixel", value=statistics.median(p[0] for p in pairs) / megapixels, unit="CPU s"
    )
    yield Figure(name="engine.pixels_computed_over_delivered", value=plan.pixel_ratio, unit="times", target="<= 1.15")
