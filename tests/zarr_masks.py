"""Masks for the tests of Zarr stores, and jobs that write them in processes of their own."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr

from xcloudmask.classes import STYLES, mask_attrs
from xcloudmask.io import to_zarr

CODES = np.array([0, 1, 2, 3, 255], np.uint8)


def make_mask(
    dates: list[str] | None = None,
    *,
    shape: tuple[int, int] = (70, 90),
    seed: int = 0,
    chunks: dict[str, int] | None = None,
    epsg: int | None = 32631,
    **attrs: Any,
) -> xr.DataArray:
    """(time, y, x), random codes that depend on the date; item_id along time."""
    from odc.geo import CRS

    stamps = np.array(dates or ["2024-01-01T10:20:30.123456", "2024-01-06"], "M8[ns]")
    codes = np.stack(
        [np.random.default_rng([seed, int(stamp.astype("M8[s]").astype(int))]).choice(CODES, shape) for stamp in stamps]
    )
    coords: dict[str, Any] = {
        "time": stamps,
        "y": 5_000_000.0 - 20 * np.arange(shape[0]),
        "x": 600_000.0 + 20 * np.arange(shape[1]),
        "item_id": ("time", [f"item of {str(stamp)[:10]}" for stamp in stamps]),
    }
    if epsg is not None:
        coords["spatial_ref"] = ((), epsg, {"crs_wkt": CRS(epsg).to_wkt(), "spatial_ref": CRS(epsg).to_wkt()})
    attrs = mask_attrs(STYLES["4-class"]) | {"model": "default", "settings": '{"halo_px":72}'} | attrs
    mask = xr.DataArray(codes, dims=("time", "y", "x"), coords=coords, name="clouds", attrs=attrs)
    return mask if chunks is None else mask.chunk(chunks).assign_coords(item_id=mask.item_id)


def same(one: xr.DataArray, other: xr.DataArray) -> None:
    """Same codes and coordinates; texts may be of another type."""
    xr.testing.assert_equal(one.drop_vars("item_id").compute(), other.drop_vars("item_id").compute())
    assert one.item_id.values.tolist() == other.item_id.values.tolist()


def content(folder: str | Path) -> dict[str, str]:
    """All files of a folder, hidden ones too, with a checksum each."""
    root = Path(folder)
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def slow(block: np.ndarray, seconds: float) -> np.ndarray:
    """A block that takes its time, as a model would."""
    time.sleep(seconds if block.size else 0)
    return block


def write_slowly(target: str, dates: list[str], seconds: float = 0.004, seed: int = 0, **options: Any) -> None:
    """Job: write a lazy mask of 12 chunks a date."""
    mask = make_mask(dates, seed=seed, chunks={"time": 1, "y": 20, "x": 30})
    meta = np.empty((0, 0, 0), np.uint8)
    slowly = mask.copy(data=mask.data.map_blocks(slow, seconds, dtype=np.uint8, meta=meta))
    with dask.config.set(scheduler="threads", num_workers=2):
        to_zarr(slowly, target, **options)


def write_region(target: str, rows: tuple[int, int], seconds: float = 0.008) -> None:
    """Job: write some rows of both dates."""
    mask = make_mask(seed=1, chunks={"time": 1, "y": 20, "x": 30}).isel(y=slice(*rows))
    meta = np.empty((0, 0, 0), np.uint8)
    slowly = mask.copy(data=mask.data.map_blocks(slow, seconds, dtype=np.uint8, meta=meta))
    with dask.config.set(scheduler="threads", num_workers=2):
        to_zarr(slowly, target, region="auto")


def pattern(block_info: Any = None) -> np.ndarray:
    """A block of squares that tell where they lie; takes little more memory than itself."""
    rows, columns = (np.arange(*block_info[None]["array-location"][axis]) // 8 % 4 for axis in (1, 2))
    return (rows.astype(np.uint8)[:, None] + columns.astype(np.uint8))[None] % 4


def big_mask(times: int, side: int, chunk: int) -> xr.DataArray:
    """A lazy mask that is made block by block."""
    sizes = ((1,) * times, (chunk,) * (side // chunk), (chunk,) * (side // chunk))
    data = da.map_blocks(pattern, chunks=sizes, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    stamps = np.datetime64("2024-01-01", "ns") + np.arange(times) * np.timedelta64(1, "D")
    return xr.DataArray(
        data, dims=("time", "y", "x"), coords={"time": stamps}, name="clouds", attrs=mask_attrs(STYLES["4-class"])
    )


def write_big(target: str, times: int, side: int, chunk: int, **options: Any) -> None:
    """Job: write a big mask, two tasks at a time. Stacks count as memory, and those of 8 MB are never filled."""
    threading.stack_size(2**19)
    with dask.config.set(scheduler="threads", num_workers=2):
        to_zarr(big_mask(times, side, chunk), target, **options)
