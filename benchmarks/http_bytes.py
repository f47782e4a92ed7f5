"""Bytes that a mask costs over HTTP, against the bytes that it needs."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np

from benchmarks.core import Figure, benchmark
from tests.http_server import Server, serve

BANDS = ("red", "green", "nir")
CHUNK_PX = 2048
BLOCK_PX = 512
ORIGIN = (500_000.0, 4_500_000.0)
PIXEL_M = 10


def smooth_noise(side: int, seed: int) -> np.ndarray:
    """Hills of some 64 px under a little noise: about as hard to compress as a scene."""
    rng = np.random.default_rng(seed)
    hills = np.kron(rng.integers(300, 3000, (side // 64, side // 64)), np.ones((64, 64)))
    return (hills + rng.normal(0, 40, (side, side))).clip(1, 10_000).astype(np.uint16)


def write_bands(folder: Path, side: int, block: int) -> None:
    """A COG for each band, with overviews, as catalogues have them."""
    import rasterio
    from rasterio.shutil import copy
    from rasterio.transform import from_origin

    grid = {"crs": "EPSG:32630", "transform": from_origin(*ORIGIN, PIXEL_M, PIXEL_M), "nodata": 0}
    for seed, band in enumerate(BANDS):
        with rasterio.MemoryFile() as memory:
            with memory.open(driver="GTiff", dtype="uint16", count=1, width=side, height=side, **grid) as file:
                file.write(smooth_noise(side, seed), 1)
            copy(memory.name, folder / f"{band}.tif", driver="COG", blocksize=block, compress="deflate", predictor=2)


def item_of(server: Server, side: int) -> Any:
    import pystac

    x, y = ORIGIN
    span = side * PIXEL_M
    fields = {"proj:code": "EPSG:32630", "proj:shape": [side, side], "proj:transform": [10, 0, x, 0, -10, y]}
    box = _degrees(x, y - span, x + span, y)
    ring = [[box[i], box[j]] for i, j in ((0, 1), (2, 1), (2, 3), (0, 3), (0, 1))]
    projection = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
    item = pystac.Item(
        "SCENE",
        {"type": "Polygon", "coordinates": [ring]},
        list(box),
        dt.datetime(2024, 6, 1, tzinfo=dt.UTC),
        fields,
        stac_extensions=[projection],
    )
    for band in BANDS:
        facts = {"raster:bands": [{"data_type": "uint16", "nodata": 0}], "eo:bands": [{"common_name": band}]}
        asset = pystac.Asset(server.url(f"{band}.tif"), media_type=pystac.MediaType.COG, roles=["data"])
        asset.extra_fields.update(facts)
        item.add_asset(band, asset)
    return item


def _degrees(left: float, bottom: float, right: float, top: float) -> tuple[float, float, float, float]:
    from rasterio.warp import transform_bounds

    west, south, east, north = transform_bounds("EPSG:32630", "EPSG:4326", left, bottom, right, top)
    return west, south, east, north


def block_bytes(path: Path, rows: slice, columns: slice) -> int:
    """Compressed bytes of the blocks, at full resolution, that a window touches: each once."""
    import rasterio

    with rasterio.open(path) as file:
        height, width = file.block_shapes[0]
        return sum(
            int(file.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=1))
            for row in range(rows.start // height, -(-rows.stop // height))
            for column in range(columns.start // width, -(-columns.stop // width))
        )


def measure(server: Server, side: int, chunk: int, window: tuple[slice, slice] | None) -> tuple[float, float]:
    """Bytes over bytes needed, and requests per chunk and band, of the mask of a scene or of a window of it."""
    import xcloudmask  # noqa: F401 - registers the accessor
    from xcloudmask.stac.hrefs import HrefPolicy
    from xcloudmask.stac.load import load

    policy = HrefPolicy(allow_private=True)
    area = None
    rows, columns = window or (slice(0, side), slice(0, side))
    if window is not None:
        x, y = ORIGIN
        area = _degrees(
            x + columns.start * PIXEL_M, y - rows.stop * PIXEL_M, x + columns.stop * PIXEL_M, y - rows.start * PIXEL_M
        )
    server.reset()
    cube = load([item_of(server, side)], bands=BANDS, chunks={"y": chunk, "x": chunk}, policy=policy, bbox=area)
    top = round((ORIGIN[1] - float(cube.y[0]) - PIXEL_M / 2) / PIXEL_M)
    left = round((float(cube.x[0]) - PIXEL_M / 2 - ORIGIN[0]) / PIXEL_M)
    rows, columns = slice(top, top + cube.sizes["y"]), slice(left, left + cube.sizes["x"])
    with dask.config.set(scheduler="threads", num_workers=2):
        cube.cloudmask.predict().compute()
    needed = sum(block_bytes(server.folder / f"{band}.tif", rows, columns) for band in BANDS)
    chunks = cube[BANDS[0]].data.npartitions * len(BANDS)
    return sum(server.bodies.values()) / needed, len(server.requests) / chunks


@benchmark
def http_bytes(*, quick: bool) -> Iterator[Figure]:
    """Bodies of all answers, headers of files included, over the blocks that are needed; default chunks and halo."""
    shrink = 4 if quick else 1
    side, chunk, block = 4096 // shrink, CHUNK_PX // shrink, BLOCK_PX // shrink
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as server:
        write_bands(server.folder, side, block)
        whole, requests = measure(server, side, chunk, None)
        yield Figure(name="http_bytes.over_needed", value=whole, unit="times", target="<= 1.35")
        yield Figure(name="http_bytes.requests_per_chunk_and_band", value=requests, unit="requests")
    # A crop whose corner lies in the middle of a block, off the stride of the network too.
    off_grid = slice(block // 2 + 3, side - block // 2)
    for size in (block, 2 * block):
        with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as server:
            write_bands(server.folder, side, size)
            cut, _ = measure(server, side, chunk, (off_grid, off_grid))
            name = f"http_bytes.over_needed_of_a_crop_blocks_{size}"
            yield Figure(name=name, value=cut, unit="times", target="<= 1.35")
