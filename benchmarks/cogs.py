"""GeoTIFFs of a mask: size and time of compressions, and `to_cog` against `rio.to_raster(driver="COG")`."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from benchmarks.core import Figure, benchmark, cpu_seconds
from xcloudmask.classes import STYLES, mask_attrs
from xcloudmask.io import to_cog

CREATION = {
    "lzw": {"compress": "LZW"},
    "deflate-6": {"compress": "DEFLATE", "level": 6},
    "deflate-8": {"compress": "DEFLATE", "level": 8},
    "deflate-9": {"compress": "DEFLATE", "level": 9},
    "zstd-9": {"compress": "ZSTD", "level": 9},
}
"""As GDAL's COG driver takes them. Its default is LZW."""
LIKE_OURS = {"compress": "DEFLATE", "level": 6, "blocksize": 512, "overview_resampling": "nearest"}


def smooth_noise(rng: np.random.Generator, side: int, scale_px: int) -> np.ndarray:
    """Noise with features of some size, from bilinear interpolation of a coarse grid."""
    coarse = rng.standard_normal((side // scale_px + 2,) * 2)
    at = np.arange(side) / scale_px
    first, share = at.astype(int), at % 1
    rows = coarse[first] * (1 - share)[:, None] + coarse[first + 1] * share[:, None]
    return rows[:, first] * (1 - share) + rows[:, first + 1] * share


def cloudy_mask(side: int) -> xr.DataArray:
    """Clouds with thin edges and shadows, down to single pixels: as ragged as what a network predicts."""
    rng = np.random.default_rng(0)
    scales = [2**n for n in range(1, 9) if 2**n < side]
    height = sum(smooth_noise(rng, side, scale) * scale**0.7 for scale in scales)
    low, high = np.quantile(height, [0.75, 0.85])
    codes = np.where(height > high, 1, np.where(height > low, 2, 0)).astype(np.uint8)
    shadow = np.roll(codes == 1, (side // 40, side // 60), (0, 1)) & (codes == 0)
    codes[shadow] = 3
    codes[:, : side // 20] = 255
    attrs = mask_attrs(STYLES["4-class"])
    coords = {"y": 5e6 - 10.0 * np.arange(side), "x": 5e5 + 10.0 * np.arange(side), "epsg": 32631}
    mask = xr.DataArray(codes, dims=("y", "x"), coords=coords, attrs=attrs, name="mask")
    return mask.chunk(min(1024, side))


@benchmark
def cogs(*, quick: bool) -> Iterator[Figure]:
    """Bytes and CPU time for each megapixel; ratios of runs that take turns."""
    mask = cloudy_mask(512 if quick else 4096)
    megapixels = mask.size / 1e6
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.tif"
        _rioxarray(mask, path, {})  # the first call loads libraries
        _ours(mask, path)
        for name, options in CREATION.items():
            milliseconds = _time(_rioxarray, mask, path, options | {"overview_resampling": "nearest"}) / megapixels
            yield Figure(name=f"{name}: size", value=path.stat().st_size / megapixels, unit="bytes/Mpx")
            yield Figure(name=f"{name}: CPU time of rio.to_raster", value=milliseconds, unit="ms/Mpx")
        rounds = 1 if quick else 5
        jobs = ((_ours, mask, path), (_rioxarray, mask, path, LIKE_OURS), (_rioxarray, mask, path, {}))
        turns = [[_time(*job) for job in jobs] for _ in range(rounds)]
        ours = statistics.median(first for first, _, _ in turns)
        yield Figure(name="to_cog: CPU time", value=ours / megapixels, unit="ms/Mpx")
        yield Figure(
            name="to_cog / rio.to_raster, same compression and overviews: CPU time",
            value=statistics.median(a / b for a, b, _ in turns),
            unit="ratio",
            target="<= 2.5",
        )
        yield Figure(
            name="to_cog / rio.to_raster, defaults (LZW, cubic overviews): CPU time",
            value=statistics.median(a / c for a, _, c in turns),
            unit="ratio",
        )
        yield from _sizes(mask, path)
        for resampling in ("nearest", "mode"):
            yield from _overviews(mask, path, resampling)


def _sizes(mask: xr.DataArray, path: Path) -> Iterator[Figure]:
    _ours(mask, path)
    ours = path.stat().st_size
    yield Figure(name="to_cog: size", value=ours / (mask.size / 1e6), unit="bytes/Mpx")
    _rioxarray(mask, path, {})
    yield Figure(
        name="to_cog / rio.to_raster, defaults: size", value=ours / path.stat().st_size, unit="ratio", target="<= 1"
    )


def _overviews(mask: xr.DataArray, path: Path, resampling: Literal["nearest", "mode"]) -> Iterator[Figure]:
    """How well the smallest overview stands for the whole."""
    import rasterio

    to_cog(mask, path, overview_resampling=resampling, overwrite=True)
    with rasterio.open(path) as file:
        whole, factors = file.read(1), file.overviews(1)
    with rasterio.open(path, overview_level=len(factors) - 1) if factors else rasterio.open(path) as file:
        small = file.read(1)
    factor = factors[-1] if factors else 1
    rows, columns = (size // factor for size in whole.shape)
    cells = whole[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    counts = np.stack([(cells == code).sum((1, 3)) for code in range(4)])
    covered = (counts.sum(0) > 0) & (small[:rows, :columns] != 255)
    error = np.abs(_shares(whole) - _shares(small)).sum() / 2
    chosen = np.take_along_axis(counts, np.minimum(small[:rows, :columns], 3)[None].astype(int), axis=0)[0]
    name = f"{resampling}, 1:{factor}"
    yield Figure(name=f"{name}: pixels of the wrong class in the sum", value=100 * error, unit="percent")
    agreement = chosen[covered].sum() / counts.sum(0)[covered].sum()
    yield Figure(name=f"{name}: pixels that have the class of their overview", value=100 * agreement, unit="percent")


def _shares(codes: np.ndarray) -> np.ndarray:
    counts = np.bincount(codes.ravel(), minlength=256)[:4]
    return counts / counts.sum()


def _ours(mask: xr.DataArray, path: Path) -> None:
    to_cog(mask, path, overwrite=True)


def _rioxarray(mask: xr.DataArray, path: Path, options: dict[str, Any]) -> None:
    import rioxarray  # noqa: F401 - registers .rio

    plain = mask.drop_attrs().rio.write_crs(32631).rio.write_nodata(255)
    plain.rio.to_raster(path, driver="COG", **options)


def _time(function: Callable[..., None], *arguments: Any) -> float:
    """CPU milliseconds: others at work on the machine do not count."""
    start = cpu_seconds()
    function(*arguments)
    return 1e3 * (cpu_seconds() - start)
