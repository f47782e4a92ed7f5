"""Zarr: size and time of compressors on class masks, and the time to write a store, beside what people write by hand.

The masks are those of the default model on real scenes where they are (``XCLOUDMASK_DATA``, else ``../shared/data``),
else the truth of simulated scenes.
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from numcodecs import BZ2, LZ4, Blosc, Zlib, Zstd

import xcloudmask
from benchmarks.core import Figure, benchmark
from xcloudmask.grid import spatial_dims
from xcloudmask.io import to_zarr
from xcloudmask.io._layout import ZSTD_LEVEL
from xcloudmask.simulate.scene import simulate_truth

Codes = npt.NDArray[np.uint8]
Coder = tuple[Callable[[Codes], Any], Callable[[Any], Any]]

CHUNK_PX = 1024
SCENES = (
    "scenes/sentinel2_l1c_10m",
    "scenes/sentinel2_wgs84_20190522",
    "scenes/sentinel2_20m_series/*.tif",
    "scenes/landsat/*",
)


def masks(*, quick: bool) -> tuple[list[Codes], str]:
    """Masks of one chunk each, and where they are from."""
    root = Path(os.environ.get("XCLOUDMASK_DATA", Path(__file__).parents[2] / "shared" / "data"))
    paths = [path for pattern in SCENES for path in sorted(root.glob(pattern))]
    if quick or not paths:
        side = 256 if quick else CHUNK_PX
        truth = simulate_truth(size_px=side, times=2 if quick else 6, chunks=side)
        return [np.asarray(one) for one in truth.values], "simulated"
    return [chunk for path in paths[:12] if (chunk := mask_of(path)) is not None], "real"


def mask_of(path: Path) -> Codes | None:
    """Mask of the middle of a scene, or None where that has too little data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # auxiliary rasters left out, no georeference
        cube = xcloudmask.open_cube(path, chunks=CHUNK_PX)
        y, x = spatial_dims(cube)
        middle = {dim: slice(start := max(0, (cube.sizes[dim] - CHUNK_PX) // 2), start + CHUNK_PX) for dim in (y, x)}
        resolution = {"resolution_m": 30} if "landsat" in str(path) else {}
        codes = cube.isel(middle).cloudmask.predict(**resolution).squeeze().values
    return codes if codes.ndim == 2 and (codes != 255).mean() > 0.2 else None


def in_planes(codec: Any, codes: Codes) -> Any:
    """Three bits a pixel, each of them packed by itself: 255 becomes 7."""
    small = np.where(codes == 255, np.uint8(7), codes)
    return codec.encode(b"".join(np.packbits(small >> bit & 1).tobytes() for bit in range(3)))


def from_planes(codec: Any, packed: Any) -> Codes:
    planes = np.unpackbits(np.frombuffer(codec.decode(packed), np.uint8).reshape(3, -1), axis=1)
    small = planes[0] | planes[1] << 1 | planes[2] << 2
    return np.where(small == 7, np.uint8(255), small)


def coders() -> dict[str, Coder]:
    """How to encode and decode a chunk."""
    found: dict[str, Coder] = {}

    def add(name: str, codec: Any) -> None:
        found[name] = (codec.encode, lambda packed: np.frombuffer(codec.decode(packed), np.uint8))

    for level in (1, 3, 5, 9, 12, 15, 19, 22):
        add(f"zstd_{level}", Zstd(level=level))
    shuffles = {"no": Blosc.NOSHUFFLE, "byte": Blosc.SHUFFLE, "bit": Blosc.BITSHUFFLE}
    for shuffle, code in shuffles.items():
        add(f"blosc_zstd_5_{shuffle}shuffle", Blosc(cname="zstd", clevel=5, shuffle=code))
    add("blosc_zstd_9_bitshuffle", Blosc(cname="zstd", clevel=9, shuffle=Blosc.BITSHUFFLE))
    add("blosc_lz4_5_bitshuffle", Blosc(cname="lz4", clevel=5, shuffle=Blosc.BITSHUFFLE))
    add("lz4", LZ4())
    add("gzip_6", Zlib(level=6))
    add("bz2_9", BZ2(level=9))
    for level in (5, ZSTD_LEVEL):
        zstd = Zstd(level=level)
        found[f"bitplanes_zstd_{level}"] = (partial(in_planes, zstd), partial(from_planes, zstd))
    return found


@benchmark
def stores(*, quick: bool) -> Iterator[Figure]:
    chunks, source = masks(quick=quick)
    pixels = sum(chunk.size for chunk in chunks)
    yield Figure(name=f"stores.{source}_masks", value=pixels / 1e6, unit="Mpx")
    for name, (encode, decode) in coders().items():
        start = time.process_time()
        packed = [encode(chunk) for chunk in chunks]
        encoding = time.process_time() - start
        start = time.process_time()
        decoded = [decode(one) for one in packed]
        decoding = time.process_time() - start
        pairs = zip(decoded, chunks, strict=True)
        if not all(np.array_equal(one[: chunk.size], chunk.ravel()) for one, chunk in pairs):
            raise RuntimeError(f"{name} lost codes")
        size = sum(len(one) for one in packed)
        yield Figure(name=f"stores.{name}.size", value=size / pixels * 1e3, unit="kB/Mpx")
        yield Figure(name=f"stores.{name}.encode", value=encoding / pixels * 1e9, unit="ns/px")
        yield Figure(name=f"stores.{name}.decode", value=decoding / pixels * 1e9, unit="ns/px")
    yield from writing(chunks, quick=quick)


def writing(chunks: list[Codes], *, quick: bool) -> Iterator[Figure]:
    """Seconds of wall time for a mask that is in memory: the least of some rounds, one after the other."""
    import rioxarray  # noqa: F401 - the accessor .rio

    side = 1 if quick else 4
    codes = np.tile(chunks[0], (side, side))
    mask = as_mask(codes)
    plain = mask.drop_attrs().chunk(y=CHUNK_PX, x=CHUNK_PX)
    lazy = mask.chunk(y=CHUNK_PX, x=CHUNK_PX)
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Callable[[Path], Any]] = {
            "to_zarr": lambda path: to_zarr(lazy, path / "m.zarr"),
            "to_zarr_shards": lambda path: to_zarr(lazy, path / "s.zarr", chunks=CHUNK_PX // 4, shards=CHUNK_PX),
            "plain_to_zarr": lambda path: plain.to_zarr(path / "p.zarr", consolidated=False, zarr_format=3),
            "rio_to_raster": lambda path: plain.rio.to_raster(path / "m.tif"),
            "rio_to_raster_deflate": lambda path: plain.rio.to_raster(path / "d.tif", compress="deflate", tiled=True),
        }
        least = dict.fromkeys(ways, float("inf"))
        sizes = {}
        for number in range(1 if quick else 7):
            for name, write in ways.items():
                path = Path(folder, f"{name}{number}")
                path.mkdir()
                start = time.perf_counter()
                write(path)
                least[name] = min(least[name], time.perf_counter() - start)
                sizes[name] = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    for name, seconds in least.items():
        yield Figure(name=f"stores.write.{name}", value=seconds / codes.size * 1e9, unit="ns/px")
        yield Figure(name=f"stores.write.{name}.size", value=sizes[name] / codes.size * 1e3, unit="kB/Mpx")
    for other in ("plain_to_zarr", "rio_to_raster", "rio_to_raster_deflate"):
        yield Figure(name=f"stores.write.to_zarr_over_{other}", value=least["to_zarr"] / least[other], unit="times")


def as_mask(codes: Codes) -> xr.DataArray:
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_coords

    from xcloudmask.classes import STYLES, mask_attrs

    grid = GeoBox.from_bbox((600_000, 5_000_000, 600_000 + 10 * codes.shape[1], 5_000_000 + 10 * codes.shape[0]),
                            crs="EPSG:32631", resolution=10)  # fmt: skip
    return xr.DataArray(codes, dims=("y", "x"), coords=xr_coords(grid), attrs=mask_attrs(STYLES["4-class"]), name="m")
