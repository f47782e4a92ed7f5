"""Reader for odc-stac that checks every file in the task that opens it, on whichever worker."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xcloudmask._optional import require
from xcloudmask.errors import HrefError, ReadError
from xcloudmask.stac.guard import check_header_once, reading, safe_env
from xcloudmask.stac.hrefs import HrefPolicy, check_href, redact

__all__ = ["GuardedDriver"]

_PAUSES_S = (0.25, 0.5)
_BROKEN_OFF = re.compile("read failed|warp failed", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedDriver:
    """Driver for ``odc.stac.load(driver=...)``: rasterio behind the checks of `xcloudmask.stac.guard`.

    A file that cannot be read is always an error, also with odc-stac's ``fail_on_error=False``, which would leave
    nodata in its place.
    """

    policy: HrefPolicy
    """What hrefs may lead to."""
    stac_cfg: Mapping[str, Any] | None = None
    """odc-stac's ``stac_cfg``; what ``load`` gets itself is not used with a driver that parses items."""

    def new_load(self, geobox: Any, *, chunks: dict[str, int] | None = None) -> Any:
        """State that the tasks of a load share."""
        return _rio().new_load(geobox, chunks=chunks)

    def finalise_load(self, load_state: Any) -> Any:
        """End of a load."""
        return _rio().finalise_load(load_state)

    def capture_env(self) -> dict[str, Any]:
        """GDAL settings of the process that builds the graph, as far as they are the user's."""
        from odc.loader._rio import GDAL_CLOUD_DEFAULTS  # what odc puts where there are none

        env: dict[str, Any] = _rio().capture_env()
        return {} if env == GDAL_CLOUD_DEFAULTS else env

    def restore_env(self, env: dict[str, Any], load_state: Any) -> AbstractContextManager[Any]:
        """GDAL settings for a task."""
        context: AbstractContextManager[Any] = _rio().restore_env(safe_env(env), load_state)
        return context

    def open(self, src: Any, ctx: Any) -> _GuardedReader:
        """Reader of one source; the file is opened when pixels are read."""
        return _GuardedReader(src=src, ctx=ctx, policy=self.policy)

    @property
    def md_parser(self) -> Any:
        """Parser of items that also keeps the names of item and asset, for errors."""
        return _NamingParser(stac_cfg=dict(self.stac_cfg or {}))

    @property
    def dask_reader(self) -> None:
        """There is none."""
        return None

    @property
    def aux_reader(self) -> None:
        """There is none."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _GuardedReader:
    src: Any
    ctx: Any
    policy: HrefPolicy

    def read(
        self, cfg: Any, dst_geobox: Any, *, dst: np.ndarray[Any, Any] | None = None, selection: Any = None
    ) -> tuple[tuple[slice, slice], np.ndarray[Any, Any]]:
        """Pixels of a part of the output."""
        item, asset = self.src.driver_data or ("unknown", "unknown")
        url = check_href(self.src.uri, item=item, asset=asset, policy=self.policy)
        reader = _rio().open(self.src.patch(uri=url), self.ctx)

        def once() -> tuple[tuple[slice, slice], np.ndarray[Any, Any]]:
            with reading(url, item=item, asset=asset, policy=self.policy), _quiet():
                check_header_once(url, item, asset, self.policy)
                found: tuple[tuple[slice, slice], np.ndarray[Any, Any]]
                found = reader.read(replace(cfg, fail_on_error=True), dst_geobox, dst=dst, selection=selection)
                return found

        for pause_s in (*_PAUSES_S, None):
            try:
                return once()
            except (ReadError, HrefError) as error:
                failed = error
            # GDAL tries again after an answer that says so, not after one that breaks off.
            if pause_s is None or isinstance(failed, HrefError) or not _BROKEN_OFF.search(str(failed)):
                break
            time.sleep(pause_s)
        # Errors of rasterio cannot be unpickled: of one that has such a cause a cluster hands on the text alone.
        failed.__cause__ = failed.__context__ = None
        raise failed


@dataclass(frozen=True, slots=True, kw_only=True)
class _NamingParser:
    stac_cfg: dict[str, Any]

    def extract(self, md: Any) -> Any:
        return self._parser().extract(md)

    def driver_data(self, md: Any, band_key: tuple[str, int]) -> tuple[str, str]:
        return md.id, band_key[0]

    def _parser(self) -> Any:
        from odc.stac._mdtools import StacMDParser  # not exported; what load() uses where a driver has no parser

        return StacMDParser(self.stac_cfg)


def _rio() -> Any:
    return require("odc.loader", extra="stac").RioDriver()


@contextmanager
def _quiet() -> Iterator[None]:
    """odc-loader logs the whole URL of a file that fails: leave its signature out."""

    def shorten(record: logging.LogRecord) -> bool:
        record.args = tuple(redact(arg) if isinstance(arg, str) else arg for arg in record.args or ())
        return True

    logger = logging.getLogger("odc.loader._rio")
    logger.addFilter(shorten)
    try:
        yield
    finally:
        logger.removeFilter(shorten)
