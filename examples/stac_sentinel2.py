"""Mask Sentinel-2 scenes of a STAC catalogue (Earth Search) and write the masks to Zarr.

Needs a network, and: pip install 'xcloudmask[stac]'

The same from a shell: xcloudmask stac earth-search --collection sentinel-2-c1-l2a --bbox 5.6,52.0,5.9,52.2
--datetime 2024-05 --out masks.zarr
"""

from __future__ import annotations

import argparse
from pathlib import Path

import xcloudmask
from xcloudmask.stac import HrefPolicy, dedupe, load, search, split_by_grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the masks are written")
    parser.add_argument(
        "--bbox",
        type=float,
        nargs=4,
        default=(5.6, 52.0, 5.9, 52.2),
        metavar=("WEST", "SOUTH", "EAST", "NORTH"),
        help="area in degrees (default: %(default)s)",
    )
    parser.add_argument("--dates", default="2024-05", help="a month, or FROM/TO (default: %(default)s)")
    parser.add_argument("--cloud-cover", type=float, default=80, help="most clouds, in %% (default: %(default)s)")
    parser.add_argument("--catalogue", default="earth-search", help="STAC API (default: %(default)s)")
    parser.add_argument("--collection", default="sentinel-2-c1-l2a", help="(default: %(default)s)")
    parser.add_argument("--allow-private", action="store_true", help="files may come from private addresses")
    arguments = parser.parse_args()

    found = search(
        arguments.catalogue,
        collections=arguments.collection,
        bbox=arguments.bbox,
        datetime=arguments.dates,
        query={"eo:cloud_cover": {"lte": arguments.cloud_cover}},
    )
    if not found:
        raise SystemExit("No scene found: another area, more dates or a higher --cloud-cover?")
    # Catalogues keep scenes that were processed again: the newest processing of each is enough.
    items = dedupe(found)
    print(f"{len(found)} items, {len(items)} scenes")

    # Near 6 degrees east tiles lie in two UTM zones: each zone is masked on its own pixels.
    policy = HrefPolicy(allow_private=arguments.allow_private)
    for number, group in enumerate(split_by_grid(items, policy=policy).values()):
        # Lazy, with bands by role and the scale and offset of each date: DN are not changed.
        cube = load(group, bbox=arguments.bbox, policy=policy)
        print(cube.cloudmask.plan())
        mask = cube.cloudmask.predict()

        # Here the work is done, chunk by chunk.
        store = mask.cloudmask.to_zarr(arguments.folder / f"masks-{number}.zarr", mode="w")
        mask = xcloudmask.open_mask(store)
        clear = mask.cloudmask.clear_fraction().compute()
        for name, fraction in zip(mask.item_id.values, clear.values, strict=True):
            print(f"{name}  {fraction:.0%} clear")


if __name__ == "__main__":
    main()
