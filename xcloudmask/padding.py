"""A function mapped over blocks with a halo, in two tasks a block: copied edges, and the work.

`dask.array.map_overlap` takes some eight tasks a block, and each slice that it takes of a neighbour is a view that
keeps the whole neighbour in memory. Here each block leaves a copy of its four edges, and the work takes its own block
and the edges of its eight neighbours: a block is free as soon as its own work is done. The price is paid on clusters,
where all four edges travel to each worker that needs one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

__all__ = ["Edges", "map_padded", "pad"]

Block = npt.NDArray[np.generic]
Key = tuple[str | int, ...]

_AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""Neighbours, as steps along y and x."""


class Edges(NamedTuple):
    """Copies of the edges of a block, as deep as the halo."""

    top: Block
    """(..., depth y, x)."""
    bottom: Block
    """(..., depth y, x)."""
    left: Block
    """(..., y, depth x)."""
    right: Block
    """(..., y, depth x)."""


def map_padded(
    function: Callable[..., npt.NDArray[Any]],
    stack: da.Array,
    *tables: da.Array,
    depth: tuple[int, int],
    chunks: tuple[tuple[int, ...], ...],
    axes: Sequence[int | None],
    dtype: npt.DTypeLike,
    name: str,
) -> da.Array:
    """Map a function over blocks that are padded with what lies around them.

    Parameters
    ----------
    function
        Called with the padded block, a block of each table, and ``block_id`` (time, y, x); importable.
    stack
        (time, band, y, x), all bands in one chunk. No chunk along y or x is smaller than the depth, unless it is alone.
    tables
        (time, value, 1, 1), in the time chunks of the stack.
    depth
        Halo along y and x, in pixels; at the border of the array there is none.
    chunks
        Chunks of the result.
    axes
        For each axis of the result the axis of the stack that its chunks follow; None for one chunk.
    dtype
        Of the result.
    name
        Of the result.

    Returns
    -------
    dask.array.Array
        One block for each block of the stack.

    Examples
    --------
    >>> ones = da.ones((1, 1, 4, 6), chunks=(1, 1, 4, 3))
    >>> def width(block, block_id):
    ...     return np.full((1, 4, 3), block.shape[-1])
    >>> map_padded(width, ones, depth=(0, 1), chunks=((1,), (4,), (3, 3)), axes=(0, 2, 3), dtype=int, name="w").max()
    dask.array<..., shape=(), dtype=int64, chunksize=(), chunktype=numpy.ndarray>
    """
    edges = None if depth == (0, 0) else _edges(stack, depth)
    counts, work = stack.numblocks, _Work(function, depth)
    layer: dict[Any, Any] = {}
    for time in range(counts[0]):
        for y in range(counts[2]):
            for x in range(counts[3]):
                place = (time, 0, y, x)
                key = (name, *(0 if axis is None else place[axis] for axis in axes))
                around = [] if edges is None else list(_around(edges.name, time, y, x, counts))
                rows = [(table.name, time, 0, 0, 0) for table in tables]
                layer[key] = (work, (stack.name, *place), around, rows, (time, y, x))
    sources: list[Any] = [stack, *tables, *(() if edges is None else (edges,))]
    graph = HighLevelGraph.from_collections(name, layer, dependencies=sources)
    return da.Array(graph, name, chunks=chunks, meta=np.empty((0,) * len(chunks), dtype))


def _edges(stack: da.Array, depth: tuple[int, int]) -> da.Array:
    """One `Edges` a block; an array in name only."""
    result: da.Array = da.map_blocks(
        _copy_edges,
        stack,
        depth=depth,
        dtype=stack.dtype,
        meta=np.empty((0, 0, 0, 0), stack.dtype),
        name="cloudmask-edges-" + tokenize(stack.name, depth),
    )
    return result


def _copy_edges(block: Block, *, depth: tuple[int, int]) -> Edges:
    depth_y, depth_x = depth
    height, width = block.shape[-2:]
    return Edges(
        top=block[..., :depth_y, :].copy(),
        bottom=block[..., height - depth_y :, :].copy(),
        left=block[..., :depth_x].copy(),
        right=block[..., width - depth_x :].copy(),
    )


def _around(name: str, time: int, y: int, x: int, counts: tuple[int, ...]) -> Iterator[list[Any]]:
    """Step and key of each neighbour that there is."""
    for step_y, step_x in _AROUND:
        row, column = y + step_y, x + step_x
        if 0 <= row < counts[2] and 0 <= column < counts[3]:
            yield [step_y, step_x, (name, time, 0, row, column)]


class _Work:
    """The function on a padded block; one instance travels in the graph."""

    def __init__(self, function: Callable[..., npt.NDArray[Any]], depth: tuple[int, int]) -> None:
        self.function, self.depth = function, depth

    def __call__(
        self,
        block: Block,
        around: Sequence[Sequence[Any]],
        tables: Sequence[Block],
        block_id: tuple[int, int, int],
    ) -> npt.NDArray[Any]:
        neighbours = {(step_y, step_x): edges for step_y, step_x, edges in around}
        return self.function(pad(block, neighbours, depth=self.depth), *tables, block_id=block_id)


def pad(block: Block, neighbours: dict[tuple[int, int], Edges], *, depth: tuple[int, int]) -> Block:
    """Put a block and the edges around it together.

    Parameters
    ----------
    block
        (..., y, x).
    neighbours
        By step along y and x.
    depth
        Halo along y and x.

    Returns
    -------
    numpy.ndarray
        (..., y, x), larger by the depth wherever there is a neighbour.

    Examples
    --------
    >>> right = Edges(*(np.zeros((1, 1)),) * 4)
    >>> pad(np.ones((1, 2)), {(0, 1): right}, depth=(0, 1)).tolist()
    [[1.0, 1.0, 0.0]]
    """
    depth_y, depth_x = depth
    height, width = block.shape[-2:]
    above, below = (depth_y if (step, 0) in neighbours else 0 for step in (-1, 1))
    before, behind = (depth_x if (0, step) in neighbours else 0 for step in (-1, 1))
    padded = np.empty((*block.shape[:-2], above + height + below, before + width + behind), block.dtype)
    rows = {-1: slice(0, above), 0: slice(above, above + height), 1: slice(above + height, None)}
    columns = {-1: slice(0, before), 0: slice(before, before + width), 1: slice(before + width, None)}
    padded[..., rows[0], columns[0]] = block
    for (step_y, step_x), edges in neighbours.items():
        padded[..., rows[step_y], columns[step_x]] = _facing(edges, step_y, step_x, depth_x)
    return padded


def _facing(edges: Edges, step_y: int, step_x: int, depth_x: int) -> Block:
    """The part of a neighbour's edges that lies next to the block in the middle."""
    if step_y == 0:
        return edges.right if step_x < 0 else edges.left
    row = edges.bottom if step_y < 0 else edges.top
    if step_x == 0:
        return row
    return row[..., row.shape[-1] - depth_x :] if step_x < 0 else row[..., :depth_x]
