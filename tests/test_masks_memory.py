"""Masks at work on cubes 20 times larger than the memory that the process may take, written chunk by chunk."""

from __future__ import annotations

import threading
from functools import cache, partial
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import processes
import pytest
import scipy.ndimage  # noqa: F401  # code is no memory of the cube: it is there before the limit is set
import xarray as xr
import zarr

from xcloudmask import apply, clean
from xcloudmask.classes import STYLES, mask_attrs

MEMORY_MB = 28
SIZE, CHUNK = 2048, 512
GROWTH = {"thick_cloud": 5, "cloud_shadow": 3}
FILTERS = [("opening", 2), ("dilation", 5)]


@cache
def pattern() -> np.ndarray:
    """Clouds, shadows, specks and nodata."""
    y, x = np.ogrid[:700, :900]
    waves = np.sin(y / 37) * np.cos(x / 53) + np.sin((x + y) / 11) / 4
    codes = np.select([waves > 0.8, waves > 0.6, waves < -0.9], [1, 2, 3], 0).astype(np.uint8)
    codes[:, 400:410] = 255
    return codes


def blobs(block_info: Any = None, *, cloudy: bool) -> np.ndarray:
    """The pattern again and again, from where the block lies alone; borders of chunks cut it anywhere."""
    _, rows, columns = (np.arange(*place) for place in block_info[None]["array-location"])
    image = pattern()[np.ix_(rows % 700, columns % 900)]
    return (image if cloudy else np.zeros_like(image))[None]


def ones(block_info: Any = None) -> np.ndarray:
    return np.ones([stop - start for start, stop in block_info[None]["array-location"]], np.uint16)


def lazy(function: Any, dtype: Any, attrs: dict[str, Any]) -> xr.DataArray:
    chunks = ((1,), (CHUNK,) * (SIZE // CHUNK), (CHUNK,) * (SIZE // CHUNK))
    data = da.map_blocks(function, chunks=chunks, dtype=dtype, meta=np.empty((0, 0, 0), dtype))
    return xr.DataArray(data, dims=("time", "y", "x"), attrs=attrs)


def write(what: str, times: int, store: str) -> None:
    """Work on a cube, and write it date by date: the graph of all dates at once takes more memory than the pixels."""
    # Threads of zarr would each claim 8 MB for their stack.
    threading.stack_size(2**18)
    dtype = np.uint8 if what == "clean" else np.uint16
    target = zarr.create_array(store, shape=(times, SIZE, SIZE), chunks=(1, CHUNK, CHUNK), dtype=dtype)
    with dask.config.set(scheduler="synchronous"):
        for time in range(times):
            # Every fourth date is cloudy, to save time.
            mask = lazy(partial(blobs, cloudy=time % 4 == 0), np.uint8, mask_attrs(STYLES["4-class"]))
            image = lazy(ones, np.uint16, {"nodata": 0})
            result = clean(mask, FILTERS, min_size_px=30) if what == "clean" else apply(image, mask, dilate_px=GROWTH)
            da.store(result.data, target, regions=(slice(time, time + 1),), lock=False)


@pytest.mark.slow
@pytest.mark.parametrize(("what", "bytes_px"), [("apply", 3), ("clean", 1)])
def test_a_cube_20_times_larger_than_memory(tmp_path: Path, what: str, bytes_px: int) -> None:
    times = -(-20 * MEMORY_MB * 2**20 // (bytes_px * SIZE**2))
    store = str(tmp_path / "result.zarr")
    processes.run_limited("test_masks_memory:write", memory_mb=MEMORY_MB, what=what, times=times, store=store)
    written = zarr.open_array(store, mode="r")
    # Where four chunks meet, against the same part worked on in memory.
    rows, columns = np.arange(2 * CHUNK - 200, 2 * CHUNK + 200), np.arange(CHUNK - 200, CHUNK + 200)
    codes = pattern()[np.ix_(rows % 700, columns % 900)]
    mask = xr.DataArray(codes, dims=("y", "x"), attrs=mask_attrs(STYLES["4-class"]))
    if what == "clean":
        expected = clean(mask, FILTERS, min_size_px=30)
    else:
        expected = apply(xr.ones_like(mask, np.uint16).assign_attrs(nodata=0), mask, dilate_px=GROWTH)
    found = np.asarray(written[(times - 1) // 4 * 4, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    assert len(np.unique(found)) > 1
    np.testing.assert_array_equal(found[100:-100, 100:-100], expected[100:-100, 100:-100])
