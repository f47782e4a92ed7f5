"""What a campaign will take: memory of a task, seconds for a megapixel, megabytes in a second.

What is measured never goes into the manifest, which is the same on every machine.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask._optional import available, require
from xcloudmask.errors import ArgumentError
from xcloudmask.models.registry import get_spec
from xcloudmask.models.spec import ModelSpec
from xcloudmask.run.config import CampaignConfig
from xcloudmask.run.task import WHOLE_STEP, Job, Task

__all__ = ["PROCESS_BYTES", "Needs", "check_memory", "look_at", "measure_predict", "measure_read"]

PROCESS_BYTES = 550_000_000
"""What a worker takes beside its tasks: 0.42 GB with distributed, torch, GDAL and the default model loaded (measured on
Linux, Python 3.11), and room for caches."""
_SAMPLE_PX = 1024
_MANY_BANDS = 12
"""Bands that a model of any is measured with where the configuration names none: those of Sentinel-2 Level-2A."""
_ROUNDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one task needs."""

    slot_bytes: int
    """Memory of a task at work (about)."""
    pixel_bytes: int
    """Bytes of a pixel of the source, all bands that are read together."""
    read_ratio: float
    """Pixels read over pixels masked: the halo."""
    warnings: tuple[str, ...]
    """What deserves a thought, as `xcloudmask.plan` says it."""


def look_at(task: Task) -> Needs:
    """Open a task as a worker would, without reading pixels, and tell what it needs.

    Parameters
    ----------
    task
        Of the campaign; one of the largest, all of which are alike.

    Returns
    -------
    Needs

    Raises
    ------
    XCloudMaskError
        The scene is not for the model, or its headers cannot be read.
    """
    from xcloudmask.report import describe
    from xcloudmask.run.blocks import plan_reads
    from xcloudmask.run.process import READ_BYTES
    from xcloudmask.run.read import check_model, open_step

    prepared = open_step(task, check_model(task.job)).prepared
    plan = describe(prepared)
    pixel_bytes = prepared.stack.shape[1] * prepared.stack.dtype.itemsize
    pixels = math.prod(task.region.shape)
    if prepared.settings.normalize in WHOLE_STEP:
        read = most = pixels
    else:
        normalize = prepared.settings.normalize
        kind = {"normalize": normalize, "block_px": task.job.block_px, "pixel_bytes": pixel_bytes}
        reads = plan_reads(prepared.geometry, task.region, most_bytes=READ_BYTES, **kind)
        sizes = [(one.y[1] - one.y[0]) * (one.x[1] - one.x[0]) for one in reads]
        read, most = sum(sizes), max(sizes)
    # Bands are read one by one and stacked; codes are made, and encoded.
    slot = 2 * most * pixel_bytes + plan.block_bytes + 2 * pixels
    return Needs(slot_bytes=slot, pixel_bytes=pixel_bytes, read_ratio=read / pixels, warnings=plan.warnings)


def check_memory(config: CampaignConfig, needs: Needs) -> int | None:
    """Refuse a campaign whose tasks do not fit into the memory of a worker.

    Parameters
    ----------
    config
        The campaign.
    needs
        Of a task.

    Returns
    -------
    int or None
        Limit of a worker in bytes; None where it is not known.

    Raises
    ------
    ArgumentError
        They do not fit.
    """
    limit, threads = memory_limit(config), config.run.threads
    wanted = worker_bytes(config, needs)
    if limit is None or wanted <= limit:
        return limit
    fitting = int((limit - PROCESS_BYTES) // needs.slot_bytes)
    choices = [f"memory_limit = '{math.ceil(wanted / 1e8) / 10:g} GB' in [run] where a worker may have as much"]
    if 1 <= fitting < threads:
        choices.insert(0, f"threads = {fitting} in [run]")
    workers = limit * slots(config)[0] // wanted
    if workers >= 1 and config.run.memory_limit in (None, "auto"):
        choices.insert(0, f"workers = {workers} in [run], which leaves each a larger share")
    choices.append(_less_at_once(config))
    raise ArgumentError(
        f"A worker needs about {wanted / 1e9:.1f} GB: {PROCESS_BYTES / 1e9:.2f} GB for itself and "
        f"{needs.slot_bytes / 1e9:.2f} GB for each of {threads} tasks at once. It has {limit / 1e9:.1f} GB. Type "
        f"{', or '.join(choices)}."
    )


def worker_bytes(config: CampaignConfig, needs: Needs) -> int:
    """Memory of a worker with all its threads at work."""
    return PROCESS_BYTES + config.run.threads * needs.slot_bytes


def _less_at_once(config: CampaignConfig) -> str:
    """What to type for tasks that hold fewer pixels."""
    if config.whole:
        return "normalize = 'lattice' with kind = 'zarr', whose tasks are parts of scenes"
    half, chunk = config.block_px // 2, config.store.chunk_px
    if half and half % chunk == 0 and config.region_px % half == 0:
        return f"block_px = {half} in [store], which predicts less at once"
    return "smaller chunk_px, region_px and block_px in [store]"


def memory_limit(config: CampaignConfig) -> int | None:
    """Return what a worker may take: as configured, or its share of this machine; None where that is unknown."""
    asked = config.run.memory_limit
    if isinstance(asked, str) and asked != "auto":
        from dask.utils import parse_bytes

        return int(parse_bytes(asked))
    if isinstance(asked, float) and asked > 1:
        return int(asked)
    if asked == 0 or config.run.scheduler is not None or not available("distributed"):
        return None
    total = int(require("distributed.system", extra="run").MEMORY_LIMIT)
    if isinstance(asked, float):
        return int(total * asked)
    return total // slots(config)[0]


def slots(config: CampaignConfig) -> tuple[int, int]:
    """Return workers, and tasks at once; one worker where that is for another machine to say."""
    workers = config.run.workers
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = 1 if config.run.scheduler is not None else max(cores // config.run.threads, 1)
    return workers, workers * config.run.threads


def measure_predict(job: Job, *, resolution_m: float = 10.0) -> float:
    """Mask a made-up block, and tell how long a megapixel takes.

    Parameters
    ----------
    job
        The model and its options.
    resolution_m
        Pixel of the scenes: fine ones are averaged, which is quicker.

    Returns
    -------
    float
        Seconds for a megapixel on one thread of the processor, or on the GPU of this machine.
    """
    from xcloudmask.predict import predict

    spec = get_spec(job.model)
    pixels = np.random.default_rng(0).integers(200, 9000, (_SAMPLE_PX, _SAMPLE_PX), dtype=np.uint16)
    attrs = {"scale_factor": 1e-4, "add_offset": 0.0}
    bands = {name: (("y", "x"), pixels, attrs | more) for name, more in _made_up_bands(job, spec)}
    places = np.arange(_SAMPLE_PX) * resolution_m
    cube = xr.Dataset(bands, coords={"y": places[::-1], "x": places})
    left_out = ("sensor", "resolution_m", *(("bands", "scale", "nodata") if spec.any_bands else ()))
    options = {name: value for name, value in job.options.items() if name not in left_out}
    options |= {"model": spec, "resolution_m": resolution_m}
    with _one_thread():
        seconds = [_timed(lambda: predict(cube, **options)) for _ in range(_ROUNDS)]
    return min(seconds) / (_SAMPLE_PX**2 / 1e6)


def _made_up_bands(job: Job, spec: ModelSpec) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the names of the bands that a model is fed, with a wavelength where it takes any: their number counts."""
    given = job.options.get("bands")
    if spec.any_bands:
        for index in range(len(job.reading.get("bands") or given or ()) or _MANY_BANDS):
            yield f"b{index}", {"wavelength_nm": 450.0 + 100.0 * (index % 20)}
        return
    for role in spec.bands:
        name = given.get(role, role) if isinstance(given, dict) else role
        if name is not None:
            yield str(name), {}


def measure_read(task: Task) -> float:
    """Read a block of a task at its source, and tell how fast that was.

    Parameters
    ----------
    task
        The task.

    Returns
    -------
    float
        Decoded megabytes in a second, for one reader.

    Raises
    ------
    XCloudMaskError
        It cannot be read.
    """
    from xcloudmask.run.read import check_model, open_step

    step = open_step(task, check_model(task.job))
    (top, bottom), (left, right) = task.region.y, task.region.x
    # In the middle: at the borders of scenes there is often nothing, which is read in no time.
    sides = [min(task.job.block_px, last - first) for first, last in ((top, bottom), (left, right))]
    starts = [
        (first + last - side) // 2 for (first, last), side in zip(((top, bottom), (left, right)), sides, strict=True)
    ]
    begun = time.perf_counter()
    pixels = step.read(((starts[0], starts[0] + sides[0]), (starts[1], starts[1] + sides[1])))
    return pixels.nbytes / 1e6 / max(time.perf_counter() - begun, 1e-6)


def _timed(work: Any) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread of torch, as each task of a worker has."""
    torch = require("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
