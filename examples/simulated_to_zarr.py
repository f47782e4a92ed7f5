"""Mask a simulated Sentinel-2 time series, write the mask to Zarr, and open it again."""

from __future__ import annotations

import argparse
from pathlib import Path

import xcloudmask
from xcloudmask.simulate.scene import simulate_sentinel2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where masks.zarr is written")
    parser.add_argument("--quick", action="store_true", help="a small cube")
    arguments = parser.parse_args()
    size_px = 256 if arguments.quick else 2048

    # A Dataset with a variable per band, as odc.stac.load gives it. Nothing is computed yet.
    cube = simulate_sentinel2(size_px=size_px, times=3, chunks=size_px)
    print(cube.cloudmask.plan())

    # Still lazy: (time, y, x) uint8.
    mask = cube.cloudmask.predict()

    # Here the work is done, chunk by chunk.
    store = mask.cloudmask.to_zarr(arguments.folder / "masks.zarr", mode="w")

    mask = xcloudmask.open_mask(store)
    clear = mask.cloudmask.clear_fraction().compute()
    for time, fraction in zip(clear.time.values, clear.values, strict=True):
        print(f"{time.astype('datetime64[D]')}  {fraction:.0%} clear")

    # Integers keep their type: removed pixels get the nodata value that the cube declares.
    clean = cube.cloudmask.apply(mask, dilate_px=3)
    print(clean.red)


if __name__ == "__main__":
    main()
