"""Mask a cube on a Dask cluster of two processes, and compare the bytes with those of the threaded scheduler."""

from __future__ import annotations

import argparse
from pathlib import Path

import dask
from distributed import Client

import xcloudmask
from xcloudmask.cluster import local_cluster
from xcloudmask.simulate.scene import simulate_sentinel2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the two stores are written")
    parser.add_argument("--quick", action="store_true", help="a small cube")
    arguments = parser.parse_args()
    size_px = 256 if arguments.quick else 2048

    cube = simulate_sentinel2(size_px=size_px, times=4, chunks=size_px // 2)
    # normalize="lattice" gives the same labels for every layout of chunks and any number of workers.
    mask = cube.cloudmask.predict(normalize="lattice")
    print(f"{mask.data.npartitions} chunks of the mask")

    with dask.config.set(scheduler="threads"):
        threads = mask.cloudmask.to_zarr(arguments.folder / "threads.zarr", mode="w")

    # The graph carries a description of the model. Each process loads the weights once.
    with local_cluster(workers=2) as cluster, Client(cluster) as client:
        print(f"{len(client.scheduler_info()['workers'])} worker processes")
        processes = mask.cloudmask.to_zarr(arguments.folder / "processes.zarr", mode="w")

    same = xcloudmask.open_mask(threads).identical(xcloudmask.open_mask(processes))
    print(f"same mask: {same}")
    if not same:
        raise SystemExit(1)


# Worker processes import this file: without the guard each of them would start a cluster of its own.
if __name__ == "__main__":
    main()
