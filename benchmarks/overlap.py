"""The two ways to a halo: `map_overlap`, and the copied edges of `xcloudmask.overlap = "edges"`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np

from benchmarks.core import Figure, benchmark
from xcloudmask.graph import map_overlapped
from xcloudmask.padding import map_padded

DEPTH_PX = 72
WAYS = {"map_overlap": map_overlapped, "edges": map_padded}


def load(block_id: tuple[int, ...], side: int) -> np.ndarray:
    """A chunk of three bands, as a reader would return it."""
    return np.full((1, 3, side, side), sum(block_id), np.uint16)


def work(block: np.ndarray, block_id: tuple[int, ...], side: int) -> np.ndarray:  # noqa: ARG001
    """Some milliseconds in place of the model."""
    time.sleep(0.005)
    return block[:, 0, :side, :side].astype(np.uint8)


class Work:
    """`work`, for blocks of one side."""

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, block: np.ndarray, block_id: tuple[int, ...]) -> np.ndarray:
        return work(block, block_id, self.side)


def masks(way: str, *, count: int, side: int) -> da.Array:
    sizes = (side,) * count
    stack = da.map_blocks(
        load, side=side, chunks=((1,), (3,), sizes, sizes), dtype=np.uint16, meta=np.empty((0, 0, 0, 0), np.uint16)
    )
    depth, chunks = (DEPTH_PX, DEPTH_PX), ((1,), sizes, sizes)
    return WAYS[way](
        Work(side), stack, depth=depth, chunks=chunks, axes=(0, 2, 3), dtype=np.dtype(np.uint8), name=f"bench-{way}"
    )


def client_side(way: str, *, count: int) -> tuple[float, float]:
    """Tasks a chunk, and milliseconds a chunk to build, optimise and make the graph concrete."""
    start = time.perf_counter()
    (optimised,) = dask.optimize(masks(way, count=count, side=2048))
    tasks = len(dict(optimised.__dask_graph__()))
    return tasks / count**2, 1e3 * (time.perf_counter() - start) / count**2


def peak_mb(way: str, *, count: int, side: int) -> float:
    """Most memory over that of the start, with two threads."""
    array: Any = masks(way, count=count, side=side).max()
    base, peak, stop = _resident_mb(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.002):
            peak = max(peak, _resident_mb() - base)

    watcher = threading.Thread(target=watch)
    watcher.start()
    array.compute(scheduler="threads", num_workers=2)
    stop.set()
    watcher.join()
    return peak


def bytes_moved(way: str, *, count: int, side: int) -> float:
    """Bytes between two worker processes, over the bytes of the cube."""
    from distributed import Client, LocalCluster

    array: Any = masks(way, count=count, side=side).max()
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        array.compute()
        moved = client.run(lambda dask_worker: sum(entry["total"] for entry in dask_worker.transfer_incoming_log))
    return sum(moved.values()) / (count**2 * side**2 * 3 * 2)


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def _alone(what: str, way: str, **sizes: int) -> float:
    """Measure in a process of its own: memory that was freed before is not counted as free by the system."""
    command = [sys.executable, "-m", "benchmarks.overlap", what, way, json.dumps(sizes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


@benchmark
def overlap(*, quick: bool) -> Iterator[Figure]:
    count = 10 if quick else 100
    sizes = {"count": 4, "side": 256} if quick else {"count": 8, "side": 2048}
    for way in WAYS:
        tasks, milliseconds = client_side(way, count=count)
        yield Figure(name=f"overlap.tasks_per_chunk_{way}", value=tasks, unit="tasks")
        yield Figure(name=f"overlap.client_time_per_chunk_{way}", value=milliseconds, unit="ms")
        yield Figure(name=f"overlap.peak_{way}", value=_alone("peak_mb", way, **sizes), unit="MB")
        yield Figure(name=f"overlap.bytes_moved_{way}", value=_alone("bytes_moved", way, **sizes), unit="bytes a byte")


if __name__ == "__main__":
    print(globals()[sys.argv[1]](sys.argv[2], **json.loads(sys.argv[3])))
