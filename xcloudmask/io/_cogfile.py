"""One cloud-optimised GeoTIFF in the making: a tiled GeoTIFF, block by block, then a copy in the right layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudmask.classes import NODATA, get_style
from xcloudmask.errors import WriteError
from xcloudmask.io._cogfolder import SIDECAR, naming
from xcloudmask.io._cogmeta import Counts, FileMeta, attribute_table, colour_table
from xcloudmask.io._raster import file_turns, open_quietly
from xcloudmask.io._rastercache import small_cache

__all__ = ["BLOCK_PX", "CogFile"]

BLOCK_PX = 512
"""Side of a tile of the file."""
DEFLATE_LEVEL = 6
"""Level 9 takes eight times as long, for 8 % on masks of real scenes: see benchmarks/cogs.py."""


class CogFile:
    """Takes blocks from the top of each range of columns to its bottom, and makes the file of them.

    Parameters
    ----------
    folder
        Where it is made: a folder of its own.
    meta
        The header.
    resampling
        Of the overviews.
    label
        What the file is called in messages.
    """

    def __init__(self, folder: Path, meta: FileMeta, *, resampling: str, label: str) -> None:
        self._plain = folder / "plain.tif"
        self._final = folder / "final.tif"
        self._meta = meta
        self._resampling = resampling
        self._label = label
        self._counts = Counts(meta)
        self._rest: npt.NDArray[np.uint8] | None = None
        with naming(label):
            folder.mkdir()
            with file_turns.shared(), open_quietly(str(self._plain), "w", **self._profile()) as file:
                self._describe(file)  # libtiff takes no colour table once pixels are written

    def write(self, row: int, column: int, block: npt.NDArray[np.uint8]) -> None:
        """Write (band, y, x) pixels; rows that do not fill a tile wait for the next block below."""
        self._counts.add(block)
        if self._rest is not None:
            row -= self._rest.shape[1]
            block = np.concatenate([self._rest, block], axis=1)
        end = row + block.shape[1]
        whole = end if end == self._meta.shape[1] else end // BLOCK_PX * BLOCK_PX
        ready, rest = block[:, : max(whole - row, 0)], block[:, max(whole - row, 0) :]
        self._rest = rest.copy() if rest.shape[1] else None
        if not ready.shape[1]:
            return
        window = ((row, row + ready.shape[1]), (column, column + ready.shape[2]))
        # Closed after each write: while the next block is computed, other files may be read that GDAL's drivers want
        # to have for themselves, and the pixels of this one would wait in the cache that all files share.
        with naming(self._label), file_turns.shared(), open_quietly(str(self._plain), "r+") as file:
            file.write(ready, window=window)

    def finish(self) -> tuple[Path, Path | None]:
        """Return the finished file and its sidecar (None for percentages), both still under temporary names."""
        from rasterio.shutil import copy

        with naming(self._label), file_turns.shared(), small_cache():
            with open_quietly(str(self._plain), "r+") as file:
                file.update_tags(**self._meta.tags, **self._counts.tags())
            copy(
                str(self._plain),
                str(self._final),
                driver="COG",
                BLOCKSIZE=BLOCK_PX,
                COMPRESS="DEFLATE",
                LEVEL=DEFLATE_LEVEL,
                BIGTIFF="IF_SAFER",
                OVERVIEW_RESAMPLING=self._resampling.upper(),
            )
            self._plain.unlink()
            self._verify()
            if self._meta.bands:
                return self._final, None
            sidecar = self._final.with_name(self._final.name + SIDECAR)
            sidecar.write_text(attribute_table(self._meta, self._counts))
        return self._final, sidecar

    def _verify(self) -> None:
        """Read the file once: what GDAL fails to write when it closes a file on a full disk is no error to it."""
        found = Counts(self._meta)
        with open_quietly(str(self._final)) as file:
            for row in range(0, file.height, BLOCK_PX):
                window = ((row, min(row + BLOCK_PX, file.height)), (0, file.width))
                found.add(file.read(window=window))
            levels = range(len(file.overviews(1)))
        for level in levels:
            with open_quietly(str(self._final), overview_level=level) as file:
                file.checksum(1)
        if not found.same(self._counts):
            raise WriteError(f"{self._label} cannot be written: parts of it did not reach the disk. Is it full?")

    def _profile(self) -> dict[str, Any]:
        bands, height, width = self._meta.shape
        profile: dict[str, Any] = {
            "driver": "GTiff",
            "count": bands,
            "height": height,
            "width": width,
            "dtype": "uint8",
            "nodata": NODATA,
            "tiled": True,
            "blockxsize": BLOCK_PX,
            "blockysize": BLOCK_PX,
            "compress": "deflate",
            "zlevel": 1,
            "bigtiff": "if_safer",
        }
        if self._meta.bands:
            # GDAL would take four bands of bytes for red, green, blue and alpha.
            profile |= {"photometric": "minisblack", "alpha": "no", "interleave": "band"}
        if self._meta.transform is not None:
            from affine import Affine

            profile |= {"transform": Affine(*self._meta.transform), "crs": self._meta.crs_wkt}
        return profile

    def _describe(self, file: Any) -> None:
        style = get_style(self._meta.style)
        if self._meta.bands:
            for index, name in enumerate(self._meta.bands, start=1):
                file.set_band_description(index, f"{name} (percent)")
        else:
            file.set_band_description(1, f"cloud mask, {style.name}")
            file.write_colormap(1, colour_table(style))
