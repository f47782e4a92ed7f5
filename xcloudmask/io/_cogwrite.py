"""Blocks of a mask into the files that need them: computed once, in as many styles as are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudmask.classes import get_style, style_lookup
from xcloudmask.io._cogblocks import batches, compute_pieces
from xcloudmask.io._cogfile import CogFile
from xcloudmask.io._cogmeta import FileMeta

__all__ = ["Target", "write_files"]


class Target(Protocol):
    """A folder that gets files: `Folder` or `RemoteFolder`."""

    def label(self, name: str) -> str:
        """Return what a file is called in messages."""

    def result(self, name: str) -> Any:
        """Return what the caller gets for a file."""

    def check(self, names: list[str]) -> None:
        """Refuse what can be seen to fail before anything is computed."""

    def existing(self, names: list[str]) -> set[str]:
        """Return those that are there."""

    def header(self, name: str) -> AbstractContextManager[Path]:
        """Yield a file whose header can be read."""

    def tidy(self) -> None:
        """Remove what killed runs left, as `staging` does."""

    def staging(self) -> AbstractContextManager[Path]:
        """Yield a folder where files are made."""

    def publish(self, name: str, file: Path, sidecar: Path | None) -> None:
        """Give a complete file its name."""


def write_files(mask: xr.DataArray, target: Target, metas: Mapping[str, FileMeta], resampling: str) -> None:
    """Write files, each of which appears when it is complete.

    Parameters
    ----------
    mask
        (time, band, y, x).
    target
        Where they go.
    metas
        Their headers by name.
    resampling
        Of the overviews.

    Raises
    ------
    WriteError
        A file cannot be written.
    """
    with target.staging() as staging:
        makers = _Makers(mask, target, metas, staging, resampling)
        for batch in batches(mask, makers.dates):
            for piece, block in zip(batch, compute_pieces(mask, batch), strict=True):
                last = (piece.rows[1], piece.columns[1]) == mask.shape[2:]
                for date, pixels in zip(range(*piece.dates), block, strict=True):
                    makers.take(date, (piece.rows[0], piece.columns[0]), pixels, last=last)


class _Makers:
    """The files in the making."""

    def __init__(
        self, mask: xr.DataArray, target: Target, metas: Mapping[str, FileMeta], staging: Path, resampling: str
    ) -> None:
        self._own_style = mask.attrs.get("output_style", "4-class")
        self._target = target
        self._metas = metas
        self._staging = staging
        self._resampling = resampling
        self._made: dict[str, CogFile] = {}
        self.dates: dict[int, list[str]] = {}
        """Names of the files of each date."""
        for name, meta in metas.items():
            self.dates.setdefault(meta.date, []).append(name)

    def take(self, date: int, corner: tuple[int, int], pixels: npt.NDArray[np.uint8], *, last: bool) -> None:
        """Write (band, y, x) pixels to all files of a date."""
        for name, codes in self._in_styles(self.dates.get(date, []), pixels):
            if name not in self._made:
                self._made[name] = self._new(name)
            self._made[name].write(*corner, codes)
            if last:
                self._target.publish(name, *self._made.pop(name).finish())

    def _in_styles(
        self, names: list[str], pixels: npt.NDArray[np.uint8]
    ) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
        for name in names:
            style = self._metas[name].style
            yield name, pixels if style == self._own_style else style_lookup(get_style(style))[pixels]

    def _new(self, name: str) -> CogFile:
        meta = self._metas[name]
        folder = self._staging / f"{meta.date}-{meta.style}"
        return CogFile(folder, meta, resampling=self._resampling, label=self._target.label(name))
