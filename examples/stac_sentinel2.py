"""Mask Sentinel-2 scenes of a STAC catalogue (Earth Search) and write the masks to Zarr.

Needs a network, and: pip install 'xcloudmask[stac]'
"""

from __future__ import annotations

import argparse
from pathlib import Path

import odc.stac
import pystac_client

import xcloudmask

CATALOGUE = "https://earth-search.aws.element84.com/v1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where masks.zarr is written")
    parser.add_argument(
        "--bbox",
        type=float,
        nargs=4,
        default=(5.6, 52.0, 5.9, 52.2),
        metavar=("WEST", "SOUTH", "EAST", "NORTH"),
        help="area in degrees (default: %(default)s)",
    )
    parser.add_argument("--dates", default="2024-05-01/2024-05-31", help="FROM/TO (default: %(default)s)")
    parser.add_argument("--cloud-cover", type=float, default=80, help="most clouds, in %% (default: %(default)s)")
    parser.add_argument("--resolution", type=float, default=10, help="pixel size in m (default: %(default)s)")
    parser.add_argument("--catalogue", default=CATALOGUE, help="STAC API (default: %(default)s)")
    arguments = parser.parse_args()

    search = pystac_client.Client.open(arguments.catalogue).search(
        collections=["sentinel-2-l2a"],
        bbox=arguments.bbox,
        datetime=arguments.dates,
        query={"eo:cloud_cover": {"lte": arguments.cloud_cover}},
    )
    items = list(search.items())
    if not items:
        raise SystemExit("No scene found: another area, more dates or a higher --cloud-cover?")
    print(f"{len(items)} scenes")

    odc.stac.configure_rio(cloud_defaults=True)
    cube = odc.stac.load(
        items,
        bands=["red", "green", "nir"],
        bbox=arguments.bbox,
        crs="utm",
        resolution=arguments.resolution,
        groupby="solar_day",
        chunks={"x": 2048, "y": 2048},
    )
    print(cube.cloudmask.plan())

    mask = cube.cloudmask.predict()
    store = mask.cloudmask.to_zarr(arguments.folder / "masks.zarr", mode="w")

    clear = xcloudmask.open_mask(store).cloudmask.clear_fraction().compute()
    for time, fraction in zip(clear.time.values, clear.values, strict=True):
        print(f"{time.astype('datetime64[D]')}  {fraction:.0%} clear")


if __name__ == "__main__":
    main()
