"""The reader of `load`: signs each href before each read, and reads one band of a file."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np

from xcloudmask.io._raster import file_turns
from xcloudmask.stac._grids import offset_in
from xcloudmask.stac.catalogues import Sign
from xcloudmask.stac.driver import GuardedDriver
from xcloudmask.stac.hrefs import check_href

__all__ = ["SceneDriver", "SourceNote", "is_geotiff", "takes_turns"]


class SourceNote(TypedDict):
    """What odc-stac carries along with a file, for the reader; a plain dict, since odc-stac looks into it."""

    item: str
    """Id of the item."""
    asset: str
    """Key of the asset."""
    band: int
    """Band of the file, from 1."""
    subdataset: str
    """Asset and band once more, and what is cut: odc-loader makes the names of tasks from this and the address."""


def takes_turns(href: str, *, exclusive: bool = False) -> AbstractContextManager[None]:
    """Wait for the turn to open a file: GDAL reads GeoTIFF in many threads, and JPEG 2000 only alone."""
    return file_turns.alone() if exclusive or not is_geotiff(href) else file_turns.shared()


def is_geotiff(href: str) -> bool:
    """Whether the name of a file says that it is a GeoTIFF."""
    return href.partition("?")[0].lower().endswith((".tif", ".tiff"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneDriver:
    """Driver for ``odc.stac.load(driver=...)`` of items that `scene_items` made."""

    guarded: GuardedDriver
    """Checks and reads."""
    sign: Sign | None
    """Signs hrefs, in the process that reads."""
    exclusive: bool
    """Whether no two files are open in a process at the same time: JPEG 2000 needs that."""
    dtypes: dict[str, str] = field(default_factory=dict)
    """Type of each variable."""
    nodata: dict[str, float | None] = field(default_factory=dict)
    """Nodata of each variable."""
    wanted: Any = None
    """Grid outside of which no pixels are read, since they are cut away; None to read all."""

    def new_load(self, geobox: Any, *, chunks: dict[str, int] | None = None) -> Any:
        """State that the tasks of a load share."""
        return self.guarded.new_load(geobox, chunks=chunks)

    def finalise_load(self, load_state: Any) -> Any:
        """End of a load."""
        return self.guarded.finalise_load(load_state)

    def capture_env(self) -> dict[str, Any]:
        """GDAL settings of the process that builds the graph."""
        return self.guarded.capture_env()

    def restore_env(self, env: dict[str, Any], load_state: Any) -> Any:
        """GDAL settings for a task."""
        return self.guarded.restore_env(env, load_state)

    def open(self, src: Any, ctx: Any) -> _SigningReader:
        """Reader of one source; nothing is opened before pixels are read."""
        return _SigningReader(src=src, ctx=ctx, driver=self)

    @property
    def md_parser(self) -> _SceneParser:
        """What there is in the items of `scene_items`: a band for each asset."""
        corner = "" if self.wanted is None else str(tuple(self.wanted.transform)[:6])
        return _SceneParser(dtypes=self.dtypes, nodata=self.nodata, corner=corner)

    @property
    def dask_reader(self) -> None:
        """There is none."""
        return None

    @property
    def aux_reader(self) -> None:
        """There is none."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _SigningReader:
    src: Any
    ctx: Any
    driver: SceneDriver

    def read(
        self, cfg: Any, dst_geobox: Any, *, dst: np.ndarray[Any, Any] | None = None, selection: Any = None
    ) -> tuple[tuple[slice, slice], np.ndarray[Any, Any]]:
        """Pixels of a part of the output."""
        if self.driver.wanted is not None:
            rows, columns = _inside(dst_geobox, self.driver.wanted)
            part = None if dst is None else dst[rows, columns]
            place, pixels = self._read(cfg, dst_geobox[rows, columns], dst=part, selection=selection)
            return (_shifted(place[0], rows.start), _shifted(place[1], columns.start)), pixels
        return self._read(cfg, dst_geobox, dst=dst, selection=selection)

    def _read(
        self, cfg: Any, dst_geobox: Any, *, dst: np.ndarray[Any, Any] | None, selection: Any
    ) -> tuple[tuple[slice, slice], np.ndarray[Any, Any]]:
        note: SourceNote = self.src.driver_data
        policy = self.driver.guarded.policy
        href = self.src.uri
        if self.driver.sign is not None:
            # No token for an address that is refused; what the hook returns is checked again below.
            check_href(href, item=note["item"], asset=note["asset"], policy=policy)
            href = self.driver.sign(href)
        names = (note["item"], note["asset"])
        source = self.src.patch(uri=href, band=note["band"], subdataset=None, driver_data=names)
        with takes_turns(self.src.uri, exclusive=self.driver.exclusive):
            found: tuple[tuple[slice, slice], np.ndarray[Any, Any]] = self.driver.guarded.open(source, self.ctx).read(
                cfg, dst_geobox, dst=dst, selection=selection
            )
        return found


def _inside(chunk: Any, wanted: Any) -> tuple[slice, slice]:
    """Rows and columns of a chunk that lie in the wanted grid; a chunk hangs over at the left and at the top alone."""
    row, column = offset_in(wanted, chunk)
    return slice(max(row, 0), chunk.shape[0]), slice(max(column, 0), chunk.shape[1])


def _shifted(part: slice, start: int) -> slice:
    return slice(part.start + start, part.stop + start)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SceneParser:
    """odc-loader's MDParser: a variable is an asset of the same name with one band."""

    dtypes: dict[str, str]
    nodata: dict[str, float | None]
    corner: str = ""
    """Of the wanted grid: what is read depends on it, so that the names of tasks must too."""

    def extract(self, md: Any) -> Any:
        from odc.loader.types import RasterBandMetadata, RasterGroupMetadata

        bands = {
            (name, 1): RasterBandMetadata(self.dtypes[name], self.nodata[name], "1")
            for name in md.assets
            if name in self.dtypes
        }
        return RasterGroupMetadata(bands)

    def driver_data(self, md: Any, band_key: tuple[str, int]) -> SourceNote:
        note = md.assets[band_key[0]].extra_fields["xcloudmask:source"]
        asset, band = note["asset"], note["band"]
        return SourceNote(item=md.id, asset=asset, band=band, subdataset=f"{asset}:{band}:{self.corner}")
