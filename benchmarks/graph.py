"""Size of the graph and time to build it, against a plain map_blocks without a halo."""

from __future__ import annotations

import time
from collections.abc import Iterator

import dask
import dask.array as da
import numpy as np
import xarray as xr

import xcloudmask  # noqa: F401 - registers the accessor
from benchmarks.core import Figure, benchmark

CHUNK_PX = 2048


def cube(side: int) -> xr.Dataset:
    """A lazy cube of side x side chunks, without pixels; each band is an array of its own.

    Dask fuses what loads a chunk into the task that stacks the bands; loaders that it cannot fuse add their own tasks.
    """
    shape = (side * CHUNK_PX, side * CHUNK_PX)
    bands = {
        name: (("y", "x"), da.full(shape, value, chunks=CHUNK_PX, dtype="uint16"))
        for value, name in enumerate(("red", "green", "nir"))
    }
    return xr.Dataset(bands)


def plain(source: xr.Dataset) -> da.Array:
    """What people write by hand: a model mapped over the chunks, with no halo."""
    stack = da.stack([source[name].data for name in source.data_vars]).rechunk({0: -1})
    return da.map_blocks(np.max, stack, drop_axis=0, dtype=np.uint8, axis=0, meta=np.empty((0, 0), np.uint8))


def measure(array: da.Array) -> tuple[int, float]:
    """Tasks after optimisation, and seconds to optimise and to make the graph concrete, as a client does."""
    start = time.perf_counter()
    (optimised,) = dask.optimize(array)
    tasks = len(dict(optimised.__dask_graph__()))
    return tasks, time.perf_counter() - start


@benchmark
def graph(*, quick: bool) -> Iterator[Figure]:
    side = 10 if quick else 100
    per_chunk: dict[int, float] = {}
    for n in (side // 2, side):
        source = cube(n)
        start = time.perf_counter()
        mask = source.cloudmask.predict(resolution_m=10)
        building = time.perf_counter() - start
        tasks, seconds = measure(mask.data)
        per_chunk[n] = (building + seconds) / n**2
    yield Figure(name="graph.tasks_per_chunk", value=tasks / side**2, unit="tasks", target="<= 11")
    yield Figure(name="graph.client_time", value=building + seconds, unit="s")
    yield Figure(name="graph.client_time_per_chunk", value=1e3 * per_chunk[side], unit="ms")
    growth = per_chunk[side] / per_chunk[side // 2]
    yield Figure(name="graph.time_per_chunk_when_chunks_quadruple", value=growth, unit="times", target="<= 1.3")
    source = cube(side)
    start = time.perf_counter()
    by_hand = plain(source)
    building_plain = time.perf_counter() - start
    tasks_plain, seconds_plain = measure(by_hand)
    yield Figure(name="graph.plain_map_blocks_tasks_per_chunk", value=tasks_plain / side**2, unit="tasks")
    yield Figure(name="graph.plain_map_blocks_client_time", value=building_plain + seconds_plain, unit="s")
    yield Figure(
        name="graph.client_time_over_plain", value=(building + seconds) / (building_plain + seconds_plain), unit="times"
    )
