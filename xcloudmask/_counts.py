"""Counting classes: in blocks of a mask, over tiles or areas, and the Dask graph that adds the counts up (no xarray).

A block is looked at once, and only integers leave it. So the counts are the same for every layout of chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import tokenize

from xcloudmask._areas import Area
from xcloudmask.classes import NODATA

__all__ = ["Counting", "count", "count_area", "tile_edges"]

Edges = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """What is counted of (..., y, x) codes, or of percent in planes."""

    codes: int | None
    """Number of classes; None for percent."""
    axes: tuple[int, ...]
    """Axes that are counted over: negative for y and x, else positive."""
    dtype: str
    """Type that holds the largest count."""
    tile_px: tuple[int, int] | None = None
    """Tiles along y and x, which are then not among the axes."""

    @property
    def planes(self) -> int:
        """Numbers told of each place: pixels per class and of all; or percent, pixels with data and of all."""
        return 3 if self.codes is None else self.codes + 1


def count(array: Any, counting: Counting) -> Any:
    """Count over whole axes, or over tiles.

    Parameters
    ----------
    array
        (..., y, x) uint8, numpy or dask.
    counting
        What to count.

    Returns
    -------
    array
        (..., plane, y, x) without the axes that were counted over; y and x are those of the tiles.
    """
    if not isinstance(array, da.Array):
        edges = None if counting.tile_px is None else _all_tiles(array.shape[-2:], counting.tile_px)
        return _count_block(array, counting, edges=edges).sum(axis=counting.axes, dtype=counting.dtype)
    borders = _borders(array)
    partial = _map(array, _CountBlock(counting, borders), counting)
    if counting.tile_px is not None:
        for axis, sizes, tile_px in zip((-2, -1), array.chunks[-2:], counting.tile_px, strict=True):
            partial = _merge_tiles(partial, axis, [tile for tiles in _tiles(sizes, tile_px) for tile in tiles])
    return partial.sum(axis=counting.axes, dtype=counting.dtype)


def count_area(array: Any, counting: Counting, area: Area) -> Any:
    """Count in an area; blocks that it does not touch take no part.

    Parameters
    ----------
    array
        (..., y, x) uint8, numpy or dask.
    counting
        What to count; y and x are among the axes.
    area
        Where.

    Returns
    -------
    array
        (..., plane) without the axes that were counted over.
    """
    if not isinstance(array, da.Array):
        rows, columns = area.window(array.shape[-2:])
        inside = area.inside(rows, columns)
        part = array[..., slice(*rows), slice(*columns)]
        return _count_block(part, counting, inside=inside).sum(axis=counting.axes, dtype=counting.dtype)
    parts = []
    for rows, columns in area.runs(_borders(array)):
        run = array[..., slice(*rows), slice(*columns)]
        borders = tuple(
            tuple(start + edge for edge in edges)
            for start, edges in zip((rows[0], columns[0]), _borders(run), strict=True)
        )
        partial = _map(run, _CountBlock(counting, borders, area), counting)
        parts.append(partial.sum(axis=counting.axes, dtype=counting.dtype))
    return parts[0] if len(parts) == 1 else da.stack(parts).sum(axis=0, dtype=counting.dtype)


def tile_edges(length: int, tile_px: int) -> list[tuple[int, int]]:
    """Start and stop of each tile along an axis; the last one may be smaller.

    Parameters
    ----------
    length
        Of the axis, in pixels.
    tile_px
        Size of a tile.

    Returns
    -------
    list of tuple of int

    Examples
    --------
    >>> tile_edges(5, 2)
    [(0, 2), (2, 4), (4, 5)]
    """
    return [(start, min(start + tile_px, length)) for start in range(0, length, tile_px)]


def _borders(array: da.Array) -> Edges:
    return tuple(tuple(np.cumsum((0, *sizes)).tolist()) for sizes in array.chunks[-2:])


def _map(array: da.Array, on_block: _CountBlock, counting: Counting) -> da.Array:
    """One task a block, which leaves one entry along the axes that are counted over, and one per tile."""
    chunks: list[tuple[int, ...]] = list(array.chunks)
    for axis in counting.axes:
        chunks[axis] = (1,) * len(array.chunks[axis])
    if counting.tile_px is not None:
        chunks[-2:] = [
            tuple(len(tiles) for tiles in _tiles(sizes, tile_px))
            for sizes, tile_px in zip(array.chunks[-2:], counting.tile_px, strict=True)
        ]
    chunks.insert(len(chunks) - 2, (counting.planes,))
    result: da.Array = da.map_blocks(
        on_block,
        array,
        new_axis=[array.ndim - 2],
        chunks=tuple(chunks),
        dtype=counting.dtype,
        meta=np.empty((0,) * len(chunks), counting.dtype),
        name="cloudmask-count-" + tokenize(array.name, on_block),
    )
    return result


class _CountBlock:
    """Counts in a block that knows where it lies; chunk borders travel once, not once a task."""

    def __init__(self, counting: Counting, borders: Edges, area: Area | None = None) -> None:
        self.counting, self.borders, self.area = counting, borders, area

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        area = None if self.area is None else (self.area.wkb, self.area.all_touched)
        return type(self).__name__, repr(self.counting), self.borders, area

    def __call__(self, block: npt.NDArray[np.uint8], *, block_id: tuple[int, ...]) -> npt.NDArray[Any]:
        spans = [
            (borders[index], borders[index + 1]) for borders, index in zip(self.borders, block_id[-2:], strict=True)
        ]
        inside = None if self.area is None else self.area.inside(*spans)
        edges = None
        if self.counting.tile_px is not None:
            edges = tuple(
                _local_edges(span, tile_px) for span, tile_px in zip(spans, self.counting.tile_px, strict=True)
            )
        return _count_block(block, self.counting, edges=edges, inside=inside)


def _count_block(
    block: npt.NDArray[np.uint8],
    counting: Counting,
    *,
    edges: Edges | None = None,
    inside: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[Any]:
    counts = []
    for plane in _planes(block, counting.codes):
        seen = plane if inside is None else plane * inside
        counted = seen.sum(axis=counting.axes, dtype=counting.dtype, keepdims=True) if counting.axes else seen
        if edges is not None:
            rows, columns = edges
            # Rows first: the second pass then has few of them.
            counted = np.add.reduceat(counted, rows, axis=-2, dtype=counting.dtype)
            counted = np.add.reduceat(counted, columns, axis=-1, dtype=counting.dtype)
        counts.append(counted)
    return np.stack(counts, axis=-3)


def _planes(block: npt.NDArray[np.uint8], codes: int | None) -> Iterator[npt.NDArray[Any]]:
    if codes is None:
        seen = block != NODATA
        yield block * seen
        yield seen
    else:
        for code in range(codes):
            yield block == code
    yield np.ones(block.shape, bool)


def _tiles(sizes: Sequence[int], tile_px: int) -> list[range]:
    """Tiles that each chunk has a part of."""
    stops = np.cumsum(sizes).tolist()
    return [range((stop - size) // tile_px, -(-stop // tile_px)) for size, stop in zip(sizes, stops, strict=True)]


def _local_edges(span: tuple[int, int], tile_px: int) -> tuple[int, ...]:
    start, stop = span
    return tuple(max(tile * tile_px - start, 0) for tile in range(start // tile_px, -(-stop // tile_px)))


def _all_tiles(shape: Sequence[int], tile_px: Sequence[int]) -> Edges:
    return tuple(tuple(range(0, length, size)) for length, size in zip(shape, tile_px, strict=True))


def _merge_tiles(partial: da.Array, axis: int, tiles: list[int]) -> da.Array:
    """Add up what neighbouring chunks say of the same tile.

    Chunk borders move to where the next tile begins. Counts are small: no pixel moves.
    """
    begins = [place for place, tile in enumerate(tiles) if place == 0 or tile != tiles[place - 1]]
    if len(begins) == len(tiles):
        return partial
    axis %= partial.ndim
    stops = np.cumsum(partial.chunks[axis])
    places = np.searchsorted(begins, [0, *stops])
    borders = sorted({begins[place] if place < len(begins) else len(tiles) for place in places.tolist()})
    sizes = tuple(np.diff(borders).tolist())
    starts = [
        tuple(begin - start for begin in begins if start <= begin < start + size)
        for start, size in zip(borders, sizes, strict=False)
    ]
    aligned = partial.rechunk({axis: sizes})
    chunks = list(aligned.chunks)
    chunks[axis] = tuple(map(len, starts))
    merged: da.Array = da.map_blocks(
        _MergeBlock(axis, starts),
        aligned,
        chunks=tuple(chunks),
        dtype=partial.dtype,
        meta=np.empty((0,) * partial.ndim, partial.dtype),
        name="cloudmask-tiles-" + tokenize(aligned.name, axis, starts),
    )
    return merged


class _MergeBlock:
    def __init__(self, axis: int, starts: list[tuple[int, ...]]) -> None:
        self.axis, self.starts = axis, starts

    def __call__(self, block: npt.NDArray[Any], *, block_id: tuple[int, ...]) -> npt.NDArray[Any]:
        return np.add.reduceat(block, self.starts[block_id[self.axis]], axis=self.axis, dtype=block.dtype)
