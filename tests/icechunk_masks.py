"""Masks and jobs for the tests of Icechunk; nothing here imports icechunk before a job runs."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import xarray as xr

from xcloudmask.classes import STYLES, mask_attrs
from xcloudmask.io.icechunk import to_icechunk

SIZE_PX = 96
CHUNK_PX = 32


def codes(day: int, seed: int = 0, size_px: int = SIZE_PX) -> np.ndarray:
    """The codes of a date: the same in every process."""
    rng = np.random.default_rng((day, seed))
    return rng.choice(np.array([0, 1, 2, 3, 255], np.uint8), (size_px, size_px))


def make_mask(days=(1, 2), *, seed=0, chunks=None, size_px=SIZE_PX, **attrs) -> xr.DataArray:
    """(time, y, x) in EPSG:32631, with text along time, as predict() on a loaded cube gives it."""
    from odc.geo import CRS

    wkt = CRS("EPSG:32631").to_wkt()
    mask = xr.DataArray(
        np.stack([codes(day, seed, size_px) for day in days]),
        dims=("time", "y", "x"),
        coords={
            "time": np.array([f"2024-05-{day:02d}T10:50:31" for day in days], "M8[ns]"),
            "item_id": ("time", np.array([f"S2_{day}_{seed}" for day in days], object)),
            "y": 5_000_000.0 - 20 * np.arange(size_px),
            "x": 600_000.0 + 20 * np.arange(size_px),
            "spatial_ref": ((), 32631, {"crs_wkt": wkt, "spatial_ref": wkt}),
        },
        name="cloud_mask",
        attrs=mask_attrs(STYLES["4-class"])
        | {"model": "default", "model_sha256": "0" * 64, "normalize": "chunk", "settings": '{"halo_px":72}'}
        | attrs,
    )
    return mask if chunks is None else mask.chunk(chunks)


def lazy_mask(days=(1, 2), **options) -> xr.DataArray:
    """The same, in dask chunks."""
    return make_mask(days, chunks={"time": 1, "y": CHUNK_PX, "x": CHUNK_PX}, **options)


def append(repo: str, days: list[int], size_px: int = SIZE_PX) -> None:
    """A job: append dates."""
    with dask.config.set(scheduler="synchronous"):
        to_icechunk(lazy_mask(days, size_px=size_px), repo, append_dim="time")


def append_one_by_one(repo: str, days: list[int]) -> None:
    """A job: a commit for each date."""
    for day in days:
        append(repo, [day])


def write_large(repo: str, times: int, size_px: int) -> None:
    """A job: a mask made of blocks that exist one at a time."""
    import threading

    import zarr

    threading.stack_size(2**18)  # the limit counts stacks, which are 8 MB each where nothing else is said
    with dask.config.set(scheduler="synchronous"), zarr.config.set({"threading.max_workers": 1}):
        to_icechunk(large_mask(times, size_px), repo)


def large_mask(times: int, size_px: int, block_px: int = 1024) -> xr.DataArray:
    """Codes that take little time to make and to compress: every row of a block is the same."""
    template = make_mask([1], size_px=2)
    edges = (block_px,) * (size_px // block_px)
    data = da.map_blocks(
        _block_of_rows,
        chunks=((1,) * times, edges, edges),
        dtype=np.uint8,
        meta=np.empty((0, 0, 0), np.uint8),
    )
    return xr.DataArray(data, dims=("time", "y", "x"), name="cloud_mask", attrs=template.attrs)


def _block_of_rows(block_info=None) -> np.ndarray:
    shape, where = block_info[None]["chunk-shape"], block_info[None]["chunk-location"]
    row = np.random.default_rng(where).integers(0, 4, shape[2], dtype=np.uint8)
    return np.ascontiguousarray(np.broadcast_to(row, shape))


def append_twice(repo: str, first: list[int], then: list[int]) -> None:
    """A job: two commits, the first of more than one date."""
    append(repo, first, size_px=2 * CHUNK_PX)
    append(repo, then, size_px=2 * CHUNK_PX)
