"""Dask graphs with overlap (dask arrays in, dask arrays out; no xarray).

The graph carries the settings (with the ModelSpec), never a model. Names are tokens of the input's name and the
settings, so they are the same in every process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, get_args

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import tokenize

from xcloudmask.blocks import predict_block
from xcloudmask.errors import ChunkError
from xcloudmask.halo import BlockPlace, snap_chunks
from xcloudmask.models.process import configured
from xcloudmask.padding import map_padded, reaches
from xcloudmask.scene import reduce_scene_moments, scene_moments_block, uses_scene
from xcloudmask.settings import EngineSettings

__all__ = ["OverlapKind", "map_overlapped", "map_with_halo", "overlap_kind", "predict_graph"]

Bands = da.Array | Sequence[da.Array]
Chunks = tuple[tuple[int, ...], ...]
OverlapKind = Literal["map_overlap", "edges"]

_TIME, _BAND, _Y, _X = range(4)


def predict_graph(
    stack: da.Array,
    settings: EngineSettings,
    *,
    chunks: Chunks,
    depth: tuple[int, int],
    timeless: bool = False,
    scales: npt.NDArray[np.float64] | da.Array | None = None,
    planes: Sequence[da.Array] | None = None,
) -> da.Array:
    """Build the lazy mask of a stack.

    Parameters
    ----------
    stack
        (time, band, y, x).
    settings
        What to do in a block.
    chunks
        Chunks of time, y and x to work in; no chunk along y or x is smaller than the depth, unless it is alone.
    depth
        Overlap along y and x, in pixels.
    timeless
        Leave the time axis, of length 1, out of the result.
    scales
        (time, band of the model * 2) all scales, then all offsets, where they differ between time steps; NaN for
        unknown.
    planes
        The bands of the stack, (time, y, x) or (y, x), in its chunks; with the edges copied they need not be stacked.

    Returns
    -------
    dask.array.Array
        (time, y, x) labels, or (time, code, y, x) percent or probability.
    """
    bands: Bands = stack if planes is None else planes
    stack = stack.rechunk((chunks[0], (stack.shape[_BAND],), chunks[1], chunks[2]))
    # A single chunk has no neighbour to overlap with, and dask refuses a depth larger than the axis.
    depth_y, depth_x = (d if len(c) > 1 else 0 for d, c in zip(depth, chunks[1:], strict=True))
    tables = [_scene_statistics(stack, settings)] if uses_scene(settings) else []
    if scales is not None:
        tables.append(_along_time(scales, chunks[0]))
    labels = settings.output == "labels"
    how = overlap_kind()
    names = [stack.name, *(table.name for table in tables)]
    # The token of the usual way has no word for it: its names stay what they were.
    token = tokenize(names, settings, chunks, depth, timeless, *([how] if how != "map_overlap" else []))
    if how == "edges":
        mapped, bands = _padded_from(bands, stack, chunks, (depth_y, depth_x))
    else:
        mapped, bands = map_overlapped, stack
    return mapped(
        _PredictBlock(settings, chunks, (depth_y, depth_x), timeless=timeless),
        bands,
        *tables,
        depth=(depth_y, depth_x),
        chunks=(*(() if timeless else (chunks[0],)), *(() if labels else ((settings.codes,),)), chunks[1], chunks[2]),
        axes=(*(() if timeless else (_TIME,)), *(() if labels else (None,)), _Y, _X),
        dtype=np.dtype(np.float32 if settings.output == "probability" else np.uint8),
        name="cloudmask-" + token,
    )


def _padded_from(
    bands: Bands, rechunked: da.Array, chunks: Chunks, depth: tuple[int, int]
) -> tuple[Callable[..., da.Array], Bands]:
    """From the blocks as they come where the work ends near their borders, else from blocks that were rechunked.

    Dask's configuration says under ``xcloudmask.in_turn`` whether the work goes along the rows; see `map_padded`.
    """
    padded = partial(map_padded, in_turn=bool(dask.config.get("xcloudmask.in_turn", False)))
    if isinstance(bands, da.Array) and bands.numblocks[_BAND] > 1:
        return padded, rechunked
    rows, columns = (bands if isinstance(bands, da.Array) else bands[0]).chunks[-2:]
    above, beside = reaches(rows, chunks[1], depth[0]), reaches(columns, chunks[2], depth[1])
    if above is None or beside is None:
        return padded, rechunked
    return partial(padded, around=(above, beside)), bands


def overlap_kind() -> OverlapKind:
    """Return how blocks get their halo, as dask's configuration says under ``xcloudmask.overlap``.

    Returns
    -------
    str
        ``"map_overlap"``, the default: some ten tasks a chunk; a neighbour is sent the pixels that it needs and no
        more. ``"edges"``: three tasks a chunk and less memory, but each neighbour is sent all four edges of a block,
        which costs eight times the traffic between the workers of a large cluster. Meant for one machine.

    Raises
    ------
    ArgumentError
        The configuration holds something else.

    Examples
    --------
    >>> import dask
    >>> with dask.config.set({"xcloudmask.overlap": "edges"}):
    ...     overlap_kind()
    'edges'
    """
    return configured("xcloudmask.overlap", "map_overlap", get_args(OverlapKind))


def map_overlapped(
    function: _PredictBlock,
    stack: da.Array,
    *tables: da.Array,
    depth: tuple[int, int],
    chunks: Chunks,
    axes: tuple[int | None, ...],
    dtype: npt.DTypeLike,
    name: str,
) -> da.Array:
    """Map a function over blocks that dask overlaps; arguments and result are those of `padding.map_padded`."""
    # Overlapped along y, then along x: 8 tasks a chunk instead of 12, because the corners come with the second step.
    rows = da.overlap.overlap(stack, depth={_Y: depth[0]}, boundary="none", allow_rechunk=False)
    timeless, labels = _TIME not in axes, None not in axes
    result: da.Array = da.map_overlap(
        function,
        rows,
        *tables,
        depth=[{_X: depth[1]}, *({} for _ in tables)],
        boundary="none",
        trim=False,
        align_arrays=False,
        allow_rechunk=False,
        drop_axis=[*([_TIME] if timeless else []), *([_BAND] if labels or timeless else [])],
        new_axis=[0] if timeless and not labels else None,
        chunks=chunks,
        dtype=dtype,
        meta=np.empty((0,) * len(chunks), dtype),
        name=name,
    )
    return result


def _along_time(table: npt.NDArray[np.float64] | da.Array, times: tuple[int, ...]) -> da.Array:
    """(time, value) as (time, value, 1, 1), in the chunks of the cube: each task carries its own rows only."""
    chunks = (times, (table.shape[1],), (1,), (1,))
    if isinstance(table, da.Array):
        lazy: da.Array = table[:, :, None, None].rechunk(chunks)
        return lazy
    known: da.Array = da.from_array(table[:, :, None, None], chunks=chunks, name="cloudmask-scales-" + tokenize(table))
    return known


class _OnBlock:
    """A function of a block that knows where each block lies.

    Instances travel in the graph: chunk borders are kept once, not once a task.
    """

    def __init__(
        self, settings: EngineSettings, chunks: Chunks, depth: tuple[int, int], *, timeless: bool = False
    ) -> None:
        self.settings, self.depth, self.timeless = settings, depth, timeless
        self.borders = tuple(tuple(np.cumsum((0, *sizes)).tolist()) for sizes in chunks[1:])

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return type(self).__name__, tokenize(self.settings), self.borders, self.depth, self.timeless

    def places(self, block_id: tuple[int, ...]) -> tuple[BlockPlace, BlockPlace]:
        """Where the block of that index lies along y and x."""
        y, x = (
            BlockPlace(start=borders[index], stop=borders[index + 1], depth=depth, length=borders[-1])
            for borders, index, depth in zip(self.borders, block_id[-2:], self.depth, strict=True)
        )
        return y, x


class _PredictBlock(_OnBlock):
    def __call__(
        self,
        block: npt.NDArray[np.generic],
        *tables: npt.NDArray[np.float64],
        block_id: tuple[int, ...],
    ) -> npt.NDArray[Any]:
        rows = [table[:, :, 0, 0] for table in tables]
        scene = rows.pop(0) if uses_scene(self.settings) else None
        scales = rows.pop(0) if rows else None
        result = predict_block(block, places=self.places(block_id), settings=self.settings, scene=scene, scales=scales)
        return result[0] if self.timeless else result


class _MomentsBlock(_OnBlock):
    def __call__(self, block: npt.NDArray[np.generic], *, block_id: tuple[int, ...]) -> npt.NDArray[np.float64]:
        return scene_moments_block(block, places=self.places(block_id), settings=self.settings)


def _scene_statistics(stack: da.Array, settings: EngineSettings) -> da.Array:
    """(time, band * 3, 1, 1): count, mean and spread of each band over the whole scene."""
    times, _, rows, columns = stack.chunks
    bands = stack.shape[_BAND]
    on_block = _MomentsBlock(settings, (times, rows, columns), (0, 0))
    tiles = [
        tuple(-(-size // (core * settings.factor)) for size in sizes)
        for sizes, core in zip((rows, columns), settings.tile_px, strict=True)
    ]
    parts = da.map_blocks(
        on_block,
        stack,
        chunks=(times, (bands * 4,), *tiles),
        dtype=np.float64,
        meta=np.empty((0, 0, 0, 0)),
        name="cloudmask-moments-" + tokenize(stack.name, settings),
    )
    whole = parts.rechunk({_Y: -1, _X: -1})
    result: da.Array = da.map_blocks(
        reduce_scene_moments,
        whole,
        chunks=(times, (bands * 3,), (1,), (1,)),
        dtype=np.float64,
        meta=np.empty((0, 0, 0, 0)),
        name="cloudmask-statistics-" + tokenize(whole.name),
    )
    return result


def map_with_halo(
    array: da.Array,
    function: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
    *,
    depth_px: int | tuple[int, int],
    dtype: npt.DTypeLike,
) -> da.Array:
    """Map a function over blocks with a halo along the last two axes.

    Dask would rechunk to irregular chunks when one is smaller than the halo, and say nothing. Here small chunks are
    joined for the work, and the result is cut where the input was, so that it goes on to Zarr as the input would.

    Parameters
    ----------
    array
        (..., y, x) array with known chunks.
    function
        Takes and returns a block of one shape; importable, so that workers can find it.
    depth_px
        Depth of the halo, or depths along y and x.
    dtype
        Type of the result.

    Returns
    -------
    dask.array.Array
        Shape and chunks of the input.

    Raises
    ------
    ChunkError
        The chunk sizes are not known.

    Examples
    --------
    >>> zeros = da.zeros((100, 100), chunks=(45, 45), dtype=bool)
    >>> map_with_halo(zeros, np.logical_not, depth_px=20, dtype=bool).chunks
    ((45, 45, 10), (45, 45, 10))
    """
    if np.isnan(array.shape).any():
        raise ChunkError("The chunk sizes of the array are not known. Type: array.compute_chunk_sizes()")
    meta = np.empty((0,) * array.ndim, dtype)
    axes = (array.ndim - 2, array.ndim - 1)
    depths = dict(zip(axes, (depth_px, depth_px) if isinstance(depth_px, int) else depth_px, strict=True))
    plan = tuple(
        snap_chunks(sizes, multiple=1, minimum=depths[axis]) if axis in axes else sizes
        for axis, sizes in enumerate(array.chunks)
    )
    result: da.Array = da.map_overlap(
        function,
        array.rechunk(plan),
        depth={axis: depth if len(plan[axis]) > 1 else 0 for axis, depth in depths.items()},
        boundary="none",
        trim=True,
        allow_rechunk=False,
        align_arrays=False,
        dtype=dtype,
        meta=meta,
    )
    cut: da.Array = result.rechunk(array.chunks)
    return cut
