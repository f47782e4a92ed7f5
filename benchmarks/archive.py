"""Plans of an archive of made-up items: `python -m benchmarks.archive 10000` prints seconds and peak memory."""

from __future__ import annotations

import datetime as dt
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import pystac

from xcloudmask.run import scan
from xcloudmask.run.config import CampaignConfig
from xcloudmask.run.manifest import Manifest
from xcloudmask.run.plan import make_plan

TILES, PAGE = 400, 250
BOX = [4.33, 47.73, 5.85, 48.74]
RING = [[4.33, 47.73], [5.85, 47.73], [5.85, 48.74], [4.33, 48.74], [4.33, 47.73]]
PROPERTIES = {
    "platform": "sentinel-2a",
    "constellation": "sentinel-2",
    "instruments": ["msi"],
    "eo:cloud_cover": 41.5,
    "proj:epsg": 32631,
    "mgrs:utm_zone": 31,
    "mgrs:latitude_band": "U",
    "view:sun_elevation": 50.0,
    "view:sun_azimuth": 158.0,
    "s2:processing_baseline": "05.10",
    "s2:sequence": "0",
    "earthsearch:boa_offset_applied": True,
}
ASSET = {
    "type": "image/tiff; application=geotiff; profile=cloud-optimized",
    "roles": ["data", "reflectance"],
    "proj:shape": [10_980, 10_980],
    "proj:transform": [10.0, 0.0, 600_000.0, 0.0, -10.0, 5_400_000.0],
    "raster:bands": [{"nodata": 0, "data_type": "uint16", "scale": 1e-4, "offset": -0.1}],
}
BANDS = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08"}


def item(number: int) -> pystac.Item:
    """An item as a large catalogue has it: each of 400 tiles is passed every five days."""
    square = chr(65 + number % 20) + chr(65 + number // 20 % 20)
    when = dt.datetime(2018, 1, 1, 10, 50, 31, tzinfo=dt.UTC) + dt.timedelta(number // TILES * 5)
    named = {
        "mgrs:grid_square": square,
        "grid:code": f"MGRS-31U{square}",
        "s2:product_uri": f"S2A_MSIL2A_{when:%Y%m%dT%H%M%S}_N0510_R051_T31U{square}_{when:%Y%m%d}T143000.SAFE",
    }
    found = pystac.Item(
        id=f"S2A_31U{square}_{when:%Y%m%d}_0_L2A",
        collection="sentinel-2-l2a",
        geometry={"type": "Polygon", "coordinates": [RING]},
        bbox=BOX,
        datetime=when,
        properties=PROPERTIES | named | {"created": f"{when:%Y-%m-%d}T20:00:00Z"},
    )
    for name, band in BANDS.items():
        fields = {"href": f"https://example.com/31U{square}/{number}/{band}.tif", "eo:bands": [{"common_name": name}]}
        found.add_asset(name, pystac.Asset.from_dict(json.loads(json.dumps(ASSET | fields))))
    return found


def pages(number: int) -> Iterator[list[pystac.Item]]:
    """Items as a search of an API brings them."""
    for start in range(0, number, PAGE):
        yield [item(index) for index in range(start, min(start + PAGE, number))]


def plan(number: int) -> dict[str, Any]:
    """Plan so many scenes, and list their tasks."""
    begin = time.perf_counter(), time.process_time()
    with TemporaryDirectory() as folder, mock.patch.object(scan, "item_pages", return_value=pages(number)):
        source = {"kind": "stac", "url": "https://example.com", "collections": "c", "bbox": [-20, 40, 20, 60]}
        config = CampaignConfig.from_dict({"source": source, "store": {"path": f"{folder}/masks"}})
        path = Path(folder) / "manifest.sqlite"
        scenes = make_plan(config, out=path, measure=False).steps
        with Manifest.open(path) as manifest:
            tasks = sum(1 for _ in manifest.tasks())
        size = path.stat().st_size
    return {
        "scenes": scenes,
        "tasks": tasks,
        "seconds": round(time.perf_counter() - begin[0], 1),
        "cpu_seconds": round(time.process_time() - begin[1], 1),
        "manifest_bytes": size,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


if __name__ == "__main__":
    print(json.dumps(plan(int(sys.argv[1]))))
