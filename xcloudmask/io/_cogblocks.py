"""Which parts of a mask are computed together: whole dask chunks, from top to bottom, as many as memory allows."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from dask import base as dask_base
from dask import config
from dask.utils import parse_bytes

from xcloudmask.io._cogfile import BLOCK_PX

__all__ = ["Piece", "batches", "compute_pieces"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a mask: whole dask chunks."""

    dates: tuple[int, int]
    """First date, last date + 1."""
    rows: tuple[int, int]
    """First row, last row + 1."""
    columns: tuple[int, int]
    """First column, last column + 1."""

    @property
    def size(self) -> int:
        """Pixels of one band."""
        (t0, t1), (y0, y1), (x0, x1) = self.dates, self.rows, self.columns
        return (t1 - t0) * (y1 - y0) * (x1 - x0)


def batches(mask: xr.DataArray, wanted: Collection[int]) -> Iterator[list[Piece]]:
    """Group the pieces of a mask until they fill the memory that is allowed.

    No chunk lies in two pieces: each is computed once. The pieces of one date and range of columns come in order, and
    the columns of all but the last range are whole tiles of the file.

    Parameters
    ----------
    mask
        (time, band, y, x).
    wanted
        Dates that are needed.

    Yields
    ------
    list of Piece
        What is computed together: `array.chunk-size` of dask's configuration, or one piece where that is larger.
    """
    allowed = parse_bytes(config.get("array.chunk-size")) // mask.shape[1]
    batch: list[Piece] = []
    room = allowed
    for piece in _pieces(mask, wanted, allowed):
        if batch and piece.size > room:
            yield batch
            batch, room = [], allowed
        batch.append(piece)
        room -= piece.size
    if batch:
        yield batch


def compute_pieces(mask: xr.DataArray, batch: list[Piece]) -> list[npt.NDArray[np.uint8]]:
    """Compute pieces together, with whatever scheduler is at hand.

    Parameters
    ----------
    mask
        (time, band, y, x).
    batch
        What is to be computed.

    Returns
    -------
    list of numpy.ndarray
        (time, band, y, x) each.
    """
    parts = [mask.variable[slice(*p.dates), :, slice(*p.rows), slice(*p.columns)] for p in batch]
    untyped: Any = dask_base
    return [np.asarray(part.values) for part in untyped.compute(*parts)]


def _pieces(mask: xr.DataArray, wanted: Collection[int], allowed: int) -> Iterator[Piece]:
    for dates in _chunk_borders(mask, 0, 1):
        if not any(date in wanted for date in range(*dates)):
            continue
        count = dates[1] - dates[0]
        row_chunks = list(_chunk_borders(mask, 2, BLOCK_PX))
        highest = max((last - first for first, last in row_chunks), default=1)
        for columns in _column_groups(mask, allowed // (count * highest)):
            width = columns[1] - columns[0]
            for rows in _joined(row_chunks, allowed // (count * width)):
                yield Piece(dates=dates, rows=rows, columns=columns)


def _chunk_borders(mask: xr.DataArray, axis: int, size: int) -> Iterator[tuple[int, int]]:
    length = mask.shape[axis]
    sizes = mask.chunks[axis] if mask.chunks is not None else (size,) * -(-length // size)
    first = 0
    for chunk in sizes:
        if chunk:
            yield first, min(first + chunk, length)
        first += chunk


def _column_groups(mask: xr.DataArray, allowed: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of columns that end on borders of both chunks and tiles; one range where there are no such."""
    whole: list[tuple[int, int]] = []
    first = 0
    for _, last in _chunk_borders(mask, 3, BLOCK_PX):
        if last % BLOCK_PX == 0 or last == mask.shape[3]:
            whole.append((first, last))
            first = last
    yield from _joined(whole, allowed)


def _joined(ranges: list[tuple[int, int]], allowed: int) -> Iterator[tuple[int, int]]:
    """Join neighbours as long as they are no longer than allowed; single ones may be."""
    first = last = None
    for start, end in ranges:
        if first is None or last is None:
            first, last = start, end
        elif end - first <= allowed:
            last = end
        else:
            yield first, last
            first, last = start, end
    if first is not None and last is not None:
        yield first, last
