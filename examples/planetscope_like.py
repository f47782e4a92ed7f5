"""Mask a cube with pixels of 3 m, finer than those the model was trained for.

The cube is simulated, in the shape of a four-band PlanetScope scene: no PlanetScope scene may be passed on with the
package. So this shows how fine pixels are handled, and says nothing about how good the masks of real scenes are.
"""

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
    size_px = 512 if arguments.quick else 4096

    cube = simulate_sentinel2(size_px=size_px, times=1, chunks=2048, resolution_m=3.0)

    # The pixel size comes from the coordinates. Where a cube has none, say resolution_m=3.
    plan = cube.cloudmask.plan(sensor="planetscope-4b")
    print(plan)
    cell_m = plan.factor * plan.resolution_m[0]
    print(f"{plan.factor} x {plan.factor} pixels are averaged to a cell of {cell_m:g} m before the model sees them")

    # The probabilities are brought back to pixels of 3 m: the mask lies on the cube's own grid.
    mask = cube.cloudmask.predict(sensor="planetscope-4b")
    store = mask.cloudmask.to_zarr(arguments.folder / "masks.zarr", mode="w")

    mask = xcloudmask.open_mask(store)
    print(f"mask {dict(mask.sizes)}, {mask.cloudmask.clear_fraction().values[0]:.0%} clear")


if __name__ == "__main__":
    main()
