"""What a task of a campaign takes: to read a scene from COGs or Zarr, to predict, to write. For docs/scaling.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rioxarray  # noqa: F401 - registers .rio
import xarray as xr

from benchmarks.core import Figure, asked, benchmark, cpu_seconds

BANDS = ("red", "green", "nir")


@benchmark
def task(*, quick: bool) -> Iterator[Figure]:
    """CPU seconds of one thread per megapixel of the scene, halo included; bytes per megapixel of source and mask."""
    side = 256 if quick else 6144 if asked.full else 3072
    for size in (256, side):  # the first one loads libraries and the model
        with TemporaryDirectory() as name:
            figures = list(_both(Path(name), size))
    yield from figures


def _both(folder: Path, side: int) -> Iterator[Figure]:
    scene = _scene(side)
    yield from _of_source(folder, _cogs(folder, scene), "COG, deflate", side, policy=True)
    dated = scene.expand_dims(time=[np.datetime64("2024-05-14T10:50:31", "ns")])
    dated.chunk(time=1, y=1024, x=1024).to_zarr(folder / "cube.zarr", consolidated=False)
    source = {"kind": "cube", "paths": [str(folder / "cube.zarr")], "sensor": "sentinel-2-l2a"}
    yield from _of_source(folder, source, "Zarr, zstd", side)


def _of_source(folder: Path, source: dict[str, Any], name: str, side: int, *, policy: bool = False) -> Iterator[Figure]:
    from xcloudmask.run.config import CampaignConfig
    from xcloudmask.run.manifest import Manifest
    from xcloudmask.run.plan import make_plan
    from xcloudmask.run.process import process_task
    from xcloudmask.run.stores.base import open_sink

    place = folder / ("cogs" if policy else "zarr")
    sides = {"chunk_px": min(512, side), "region_px": side}
    config = CampaignConfig.from_dict(
        {"source": source, "store": {"path": str(place / "masks"), **sides}, "model": {"normalize": "lattice"}}
    )
    place.mkdir()
    make_plan(config, out=place / "manifest.sqlite", measure=False)
    megapixels = side * side / 1e6
    with Manifest.open(place / "manifest.sqlite") as manifest:
        tasks = list(manifest.tasks())
        open_sink(config.job()).prepare((cell, times) for cell, times in manifest.cells())
        first = cpu_seconds()
        records = [process_task(one) for one in tasks]
        spent = cpu_seconds() - first
        seconds = {stage: sum(one.seconds[stage] for one in records) for stage in ("read", "predict", "write")}
    for stage, value in seconds.items():
        yield Figure(name=f"task: {name}: {stage}", value=value / megapixels, unit="s/Mpx")
    yield Figure(name=f"task: {name}: CPU time of all", value=spent / megapixels, unit="CPU s/Mpx")
    stored = sum(path.stat().st_size for path in (place / "masks" / "masks").rglob("c/0/*/*"))
    yield Figure(name=f"task: {name}: mask", value=stored / megapixels / 1e3, unit="kB/Mpx")
    files = folder.glob("*.tif") if policy else (path for path in (folder / "cube.zarr").rglob("c/*/*/*"))
    read = sum(path.stat().st_size for path in files)
    yield Figure(name=f"task: {name}: source, three bands", value=read / megapixels / 1e6, unit="MB/Mpx")


def _scene(side: int) -> xr.Dataset:
    """One simulated date as digital numbers."""
    from xcloudmask.simulate.scene import simulate_sentinel2

    tile = min(side, 1024)
    small = simulate_sentinel2(size_px=tile, times=1).isel(time=0, drop=True)[list(BANDS)].compute()
    repeats = -(-side // tile)
    box = {"y": 5_200_000.0 - 5 - 10.0 * np.arange(side), "x": 600_000.0 + 5 + 10.0 * np.arange(side)}
    bands = {
        band: (
            ("y", "x"),
            np.tile(small[band].values, (repeats, repeats))[:side, :side].astype("uint16"),
            {"nodata": 0},
        )
        for band in BANDS
    }
    return xr.Dataset(bands, coords=box).rio.write_crs("EPSG:32632")


def _cogs(folder: Path, scene: xr.Dataset) -> dict[str, Any]:
    """Write a COG for each band, and their item."""
    side, assets = scene.sizes["y"], {}
    transform = [10.0, 0.0, 600_000.0, 0.0, -10.0, 5_200_000.0]
    for band in BANDS:
        path = folder / f"{band}.tif"
        scene[band].rio.write_nodata(0).rio.to_raster(
            path, driver="COG", compress="DEFLATE", predictor="YES", blocksize=1024
        )
        assets[band] = {
            "href": str(path), "type": "image/tiff; application=geotiff; profile=cloud-optimized", "roles": ["data"],
            "eo:bands": [{"name": band, "common_name": band}], "proj:shape": [side, side], "proj:transform": transform,
        }  # fmt: skip
    ring = [[9.9, 46.9], [10.9, 46.9], [10.9, 46.0], [9.9, 46.0], [9.9, 46.9]]
    known = {"platform": "sentinel-2a", "proj:epsg": 32632, "s2:processing_baseline": "05.10"}
    extensions = ("eo/v1.1.0", "projection/v1.1.0")
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [f"https://stac-extensions.github.io/{name}/schema.json" for name in extensions],
        "id": "S2A_32TPS_20240514_0_L2A",
        "collection": "sentinel-2-l2a",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [9.9, 46.0, 10.9, 46.9],
        "properties": {"datetime": "2024-05-14T10:50:31Z"} | known,
        "links": [],
        "assets": assets,
    }
    (folder / "item.json").write_text(json.dumps(item))
    return {"kind": "items", "paths": [str(folder / "item.json")], "sensor": "sentinel-2-l2a"}
