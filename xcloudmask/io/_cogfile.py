"""One cloud-optimised GeoTIFF in the making: a tiled GeoTIFF beside the target, then a copy in the right layout."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from xcloudmask._pictures import hex_to_rgb
from xcloudmask.classes import NODATA, NODATA_COLOUR, Style, get_style
from xcloudmask.errors import WriteError
from xcloudmask.io._raster import open_quietly

__all__ = ["CogFile", "CogMeta"]

BLOCK_PX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class CogMeta:
    """What stands in the header."""

    shape: tuple[int, int, int]
    """Bands, rows, columns."""
    crs_wkt: str | None
    """The CRS, or None."""
    transform: tuple[float, float, float, float, float, float] | None
    """Affine transform, or None."""
    style: str
    """Output style."""
    bands: tuple[str, ...]
    """Class of each band of percentages; empty for codes."""
    datetime: str
    """Time of acquisition, ISO 8601; empty where it is not known."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Model and settings."""


class CogFile:
    """Context manager: `write` blocks from the top, then `finish`. Leaving it earlier leaves nothing behind."""

    def __init__(self, path: Path, meta: CogMeta, *, resampling: str) -> None:
        self._path = path
        self._meta = meta
        self._resampling = resampling
        self._sums = np.zeros(256 if not meta.bands else len(meta.bands))
        self._valid = 0
        self._folder: Path | None = None
        self._file: Any = None

    def __enter__(self) -> Self:
        """Open the GeoTIFF that is written block by block."""
        with self._naming_target():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # A folder beside the target: on the same disk, so that the last step is a rename.
            self._folder = Path(tempfile.mkdtemp(prefix=f".{self._path.stem}-", dir=self._path.parent))
            self._file = open_quietly(str(self._folder / "plain.tif"), "w", **self._profile())
            self._describe()  # libtiff takes no colour table once pixels are written
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove what is not finished."""
        if self._file is not None and not self._file.closed:
            with suppress(Exception):  # what went wrong before is the error to see
                self._file.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def write(self, first_row: int, block: npt.NDArray[np.uint8]) -> None:
        """Write (band, y, x) rows, and count classes."""
        if self._meta.bands:
            valid = block[0] != NODATA
            self._sums += [band[valid].sum(dtype=np.int64) for band in block]
            self._valid += int(valid.sum())
        else:
            self._sums += np.bincount(block.ravel(), minlength=256)
            self._valid += int((block != NODATA).sum())
        window = ((first_row, first_row + block.shape[1]), (0, block.shape[2]))
        with self._naming_target():
            self._file.write(block, window=window)

    def finish(self) -> None:
        """Write the header, put the file in the right layout, and give it its name."""
        from rasterio.shutil import copy

        if self._folder is None:
            return
        final = self._folder / "final.tif"
        with self._naming_target():
            self._file.update_tags(**self._tags())
            self._file.close()
            copy(
                str(self._folder / "plain.tif"),
                str(final),
                driver="COG",
                BLOCKSIZE=BLOCK_PX,
                COMPRESS="DEFLATE",
                LEVEL=9,
                BIGTIFF="IF_SAFER",
                OVERVIEW_RESAMPLING=self._resampling.upper(),
            )
            final.replace(self._path)
        shutil.rmtree(self._folder, ignore_errors=True)

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

    def _describe(self) -> None:
        style = get_style(self._meta.style)
        if self._meta.bands:
            for index, name in enumerate(self._meta.bands, start=1):
                self._file.set_band_description(index, f"{name} (percent)")
        else:
            self._file.set_band_description(1, f"cloud mask, {style.name}")
            self._file.write_colormap(1, _colour_table(style))

    def _tags(self) -> dict[str, str]:
        style = get_style(self._meta.style)
        names = self._meta.bands or style.meanings
        codes = {} if self._meta.bands else {"flag_values": " ".join(map(str, range(len(names))))}
        total = self._meta.shape[1] * self._meta.shape[2]
        unit = 1.0 if self._meta.bands else 100.0
        shares = {
            f"percent_{name}": f"{unit * self._sums[index] / self._valid:.3f}" if self._valid else "nan"
            for index, name in enumerate(names)
        }
        return {
            "output_style": style.name,
            "flag_meanings": " ".join(names),
            **codes,
            **shares,
            "percent_nodata": f"{100.0 * (total - self._valid) / total:.3f}",
            **({"datetime": self._meta.datetime} if self._meta.datetime else {}),
            **self._meta.provenance,
        }

    @contextmanager
    def _naming_target(self) -> Iterator[None]:
        from rasterio.errors import RasterioError

        try:
            yield
        except (OSError, RasterioError) as error:
            if isinstance(error, WriteError):
                raise
            raise WriteError(f"{self._path} cannot be written: {error}") from error


def _colour_table(style: Style) -> dict[int, tuple[int, int, int, int]]:
    table = {code: (*hex_to_rgb(colour), 255) for code, colour in enumerate(style.colours)}
    return table | {NODATA: (*hex_to_rgb(NODATA_COLOUR), 0)}
