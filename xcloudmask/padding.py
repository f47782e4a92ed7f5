"""A function mapped over blocks with a halo, in two tasks a block: copied edges, and the work.

`dask.array.map_overlap` takes some eight tasks a block, and each slice that it takes of a neighbour is a view that
keeps the whole neighbour in memory. Here each block leaves a copy of its four edges, and the work takes its own block
and the edges of its eight neighbours: a block is free as soon as its own work is done. The price is paid on clusters,
where all four edges travel to each worker that needs one of them.

Bands need not be stacked, and blocks need not begin where the work does: one copy puts together what the work sees.
Each pass over a scene costs as much as a layer of a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, product
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from dask.system import CPU_COUNT

from xcloudmask._buffers import Buffers

__all__ = ["Edges", "map_padded", "pad", "reaches"]

Block = npt.NDArray[np.generic]
Key = tuple[str | int, ...]
Place = tuple[int, int, int, int]
"""Of a block: time, band, y, x."""
Reach = tuple[int, int]
"""Pixels before and behind a block along an axis."""

_buffers = Buffers()

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


def reaches(given: Sequence[int], wanted: Sequence[int], depth: int) -> list[Reach] | None:
    """How far the work looks beyond each block along an axis, where blocks end elsewhere than the work does.

    Parameters
    ----------
    given
        Sizes of the blocks.
    wanted
        Sizes of what the work delivers.
    depth
        Halo of the work.

    Returns
    -------
    list of tuple, or None
        Pixels before and behind each block; None where the work needs less than a block, or more than its neighbours.

    Examples
    --------
    >>> reaches((1830, 1830, 1830), (1832, 1832, 1826), 72)
    [(0, 74), (70, 76), (68, 0)]
    """
    if len(given) != len(wanted):
        return None
    found, length = [], sum(given)
    ends = zip(accumulate(given), accumulate(wanted), given, wanted, strict=True)
    for given_end, wanted_end, given_size, wanted_size in ends:
        first = max(0, wanted_end - wanted_size - depth)
        last = min(length, wanted_end + depth)
        found.append((given_end - given_size - first, last - given_end))
    farthest = max(max(reach) for reach in found)
    fits = min(min(reach) for reach in found) >= 0 and (len(given) == 1 or farthest <= min(given))
    return found if fits else None


def map_padded(
    function: Callable[..., npt.NDArray[Any]],
    bands: da.Array | Sequence[da.Array],
    *tables: da.Array,
    depth: tuple[int, int],
    chunks: tuple[tuple[int, ...], ...],
    axes: Sequence[int | None],
    dtype: npt.DTypeLike,
    name: str,
    around: tuple[Sequence[Reach], Sequence[Reach]] | None = None,
    in_turn: bool = False,
) -> da.Array:
    """Map a function over blocks that are padded with what lies around them.

    Parameters
    ----------
    function
        Called with the padded block (time, band, y, x), a block of each table, and ``block_id`` (time, y, x);
        importable. The padded block is used again for the next one: it may not be kept, nor a view of it returned.
    bands
        (time, band, y, x), all bands in one chunk; or one (time, y, x) or (y, x) a band, in the same chunks. No chunk
        along y or x is smaller than the depth, unless it is alone.
    tables
        (time, value, 1, 1), in the time chunks of the bands.
    depth
        Halo along y and x, in pixels; at the border of the array there is none.
    chunks
        Chunks of the result.
    axes
        For each axis of the result the axis (time, band, y, x) whose chunks it follows; None for one chunk.
    dtype
        Of the result.
    name
        Of the result.
    around
        What `reaches` says along y and x, where the work is cut in another way than the bands.
    in_turn
        The work goes along the rows, so that no more than a row and some blocks are in memory. For results that are
        computed whole: a part of them would take all that comes before it.

    Returns
    -------
    dask.array.Array
        One block for each block of the bands.

    Examples
    --------
    >>> ones = da.ones((1, 1, 4, 6), chunks=(1, 1, 4, 3))
    >>> def width(block, block_id):
    ...     return np.full((1, 4, 3), block.shape[-1])
    >>> map_padded(width, ones, depth=(0, 1), chunks=((1,), (4,), (3, 3)), axes=(0, 2, 3), dtype=int, name="w").max()
    dask.array<..., shape=(), dtype=int64, chunksize=(), chunktype=numpy.ndarray>
    """
    parts = [bands] if isinstance(bands, da.Array) else list(bands)
    rows, columns = parts[0].chunks[-2:]
    if around is None:
        around = _halo(rows, depth[0]), _halo(columns, depth[1])
    deepest = tuple(max((max(reach) for reach in axis), default=0) for axis in around)
    edges = None if deepest == (0, 0) else "cloudmask-edges-" + tokenize([part.name for part in parts], name)
    counts = (parts[0].numblocks[0] if parts[0].ndim > 2 else 1, 1, len(rows), len(columns))
    work = _Work(function, stacked=isinstance(bands, da.Array))
    copied = _CopyEdges((deepest[0], deepest[1]), stacked=work.stacked)
    turns = _Turns(counts) if in_turn else None
    layer: dict[Any, Any] = {}
    for time, y, x in product(range(counts[0]), range(counts[2]), range(counts[3])):
        place = (time, 0, y, x)
        own = [_key(part, place) for part in parts]
        near: list[Any] = []
        if edges is not None:
            before = turns and turns.before(place)
            layer[edges, time, y, x] = (copied, own, before and _result_key(name, axes, before))
            near = list(_around(edges, place, counts))
        values = [(table.name, time, 0, 0, 0) for table in tables]
        layer[_result_key(name, axes, place)] = (work, own, near, (around[0][y], around[1][x]), values, (time, y, x))
    sources: list[Any] = [*parts, *tables]
    graph = HighLevelGraph.from_collections(name, layer, dependencies=sources)
    return da.Array(graph, name, chunks=chunks, meta=np.empty((0,) * len(chunks), dtype))


def _halo(sizes: Sequence[int], depth: int) -> list[Reach]:
    last = len(sizes) - 1
    return [(depth if index else 0, depth if index < last else 0) for index in range(len(sizes))]


def _key(part: da.Array, place: Place) -> Key:
    """Key of the block of an array of two, three or four axes."""
    time, band, y, x = place
    return part.name, *((time, band, y, x) if part.ndim == 4 else (time, y, x)[3 - part.ndim :])


def _result_key(name: str, axes: Sequence[int | None], place: Place) -> Key:
    return name, *(0 if axis is None else place[axis] for axis in axes)


class _Turns:
    """Which block must be done before the edges of another one are copied: the work goes along the rows.

    Left to itself, dask begins in many places at once, and most of a scene waits in memory for its neighbours.
    """

    def __init__(self, counts: Place) -> None:
        self.counts = counts
        # A row and one block more are there for the block whose turn it is, and as many as work beside it.
        self._distance = counts[3] + 1 + int(dask.config.get("num_workers", None) or CPU_COUNT)

    def before(self, place: Place) -> Place | None:
        """Return the place of that block; None for the first ones."""
        _, _, height, width = self.counts
        time, _, y, x = place
        number = (time * height + y) * width + x - self._distance
        return None if number < 0 else (number // (height * width), 0, number // width % height, number % width)


class _CopyEdges:
    """Copies the edges of a block; one instance travels in the graph."""

    def __init__(self, depth: tuple[int, int], *, stacked: bool) -> None:
        self.depth, self.stacked = depth, stacked

    def __call__(self, parts: Sequence[Block], before: object) -> Edges:  # noqa: ARG002  # only its turn
        depth_y, depth_x = self.depth
        height, width = parts[0].shape[-2:]
        sides = (
            (slice(0, depth_y), slice(None)),
            (slice(height - depth_y, None), slice(None)),
            (slice(None), slice(0, depth_x)),
            (slice(None), slice(width - depth_x, None)),
        )
        return Edges(
            *(_gathered([part[..., rows, columns] for part in parts], stacked=self.stacked) for rows, columns in sides)
        )


def _gathered(parts: Sequence[Block], *, stacked: bool) -> Block:
    """A copy (time, band, y, x) of bands that come apart or stacked."""
    if stacked:
        return parts[0].copy()
    together = np.stack(parts, axis=-3)
    return together if together.ndim == 4 else together[None]


def _around(edges: str, place: Place, counts: Place) -> Iterator[list[Any]]:
    """Step and key of each neighbour that there is."""
    time, _, y, x = place
    for step_y, step_x in _AROUND:
        row, column = y + step_y, x + step_x
        if 0 <= row < counts[2] and 0 <= column < counts[3]:
            yield [step_y, step_x, (edges, time, row, column)]


class _Work:
    """The function on a padded block; one instance travels in the graph."""

    def __init__(self, function: Callable[..., npt.NDArray[Any]], *, stacked: bool) -> None:
        self.function, self.stacked = function, stacked

    def __call__(
        self,
        parts: Sequence[Block],
        near: Sequence[Sequence[Any]],
        reach: tuple[Reach, Reach],
        tables: Sequence[Block],
        block_id: tuple[int, int, int],
    ) -> npt.NDArray[Any]:
        neighbours = {(step_y, step_x): edges for step_y, step_x, edges in near}
        planes = list(np.moveaxis(parts[0], -3, 0)) if self.stacked else parts
        return self.function(pad(planes, neighbours, reach=reach), *tables, block_id=block_id)


def pad(planes: Sequence[Block], neighbours: dict[tuple[int, int], Edges], *, reach: tuple[Reach, Reach]) -> Block:
    """Put the bands of a block and the edges around it together.

    Parameters
    ----------
    planes
        A (time, y, x) or (y, x) array a band.
    neighbours
        By step along y and x: edges (time, band, y, x) that are at least as deep as the reach.
    reach
        Pixels before and behind the block along y and along x.

    Returns
    -------
    numpy.ndarray
        (time, band, y, x); valid until the next call in the same thread.

    Examples
    --------
    >>> right = Edges(*(np.zeros((1, 1, 1, 1)),) * 4)
    >>> pad([np.ones((1, 2))], {(0, 1): right}, reach=((0, 0), (0, 1))).tolist()
    [[[[1.0, 1.0, 0.0]]]]
    """
    (above, below), (before, behind) = reach
    height, width = planes[0].shape[-2:]
    times = planes[0].shape[0] if planes[0].ndim == 3 else 1
    shape = (times, len(planes), above + height + below, before + width + behind)
    dtype = np.result_type(*(plane.dtype for plane in planes))
    padded = _buffers.get(f"padded {dtype}", shape, lambda shape: np.empty(shape, dtype))
    rows = {-1: slice(0, above), 0: slice(above, above + height), 1: slice(above + height, None)}
    columns = {-1: slice(0, before), 0: slice(before, before + width), 1: slice(before + width, None)}
    for band, plane in enumerate(planes):
        padded[:, band, rows[0], columns[0]] = plane
    for (step_y, step_x), edges in neighbours.items():
        padded[..., rows[step_y], columns[step_x]] = _facing(edges, (step_y, step_x), reach)
    return padded


def _facing(edges: Edges, step: tuple[int, int], reach: tuple[Reach, Reach]) -> Block:
    """The part of a neighbour's edges that lies next to the block in the middle."""
    (above, below), (before, behind) = reach
    side = {(0, -1): edges.right, (0, 1): edges.left}.get(step, edges.bottom if step[0] < 0 else edges.top)
    height, width = side.shape[-2:]
    rows = {-1: slice(height - above, None), 0: slice(None), 1: slice(0, below)}[step[0]]
    columns = {-1: slice(width - before, None), 0: slice(None), 1: slice(0, behind)}[step[1]]
    return side[..., rows, columns]
