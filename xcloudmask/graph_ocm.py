"""The Dask graph of ``normalize="ocm"`` (dask arrays in, dask arrays out; no xarray).

Where a patch of OmniCloudMask ends up depends on the pixels, and a graph is built before any is read. But a patch never
moves by its own side or more, so the chunks that it can need and the chunks that it can touch are known. Each time step
has

- a task for each chunk: which pixels have data (bits);
- a task for each patch: where it moves to, from the bits around it;
- a task for each patch that stays: its logits, from the chunks that it touches;
- a task for each chunk: what patches that moved need of it, mostly nothing;
- a task for each patch that moved: its logits, from what the chunks around it lend;
- a task for each chunk: the blend of the patches that touch it, and of those that have moved over it;
- where patches are longer than half the scene, one more task: whether over 30 % of the values have no data. There both
  sizes of patches are in the graph, and the tasks of one of them do nothing.

Of the two tasks that a patch has, one computes it and the other does nothing; both do nothing where an earlier patch
has come to the same place. Were it one task, every chunk would wait for all patches that might move over it, and their
logits would fill the memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from xcloudmask.parity.layout import Layout, Place, Window
from xcloudmask.parity.tasks import OcmTasks
from xcloudmask.parity.windows import PatchSize
from xcloudmask.settings import EngineSettings

__all__ = ["ocm_graph", "ocm_layout", "ocm_tasks"]

Key = tuple[str | int, ...]


def ocm_layout(settings: EngineSettings, chunks: tuple[tuple[int, ...], tuple[int, ...]]) -> Layout:
    """Lay the patches of the settings over chunks along y and x.

    Parameters
    ----------
    settings
        What to do: `tile_px` is the side of the patches, `step_px` the step from one to the next.
    chunks
        Along y and x.

    Returns
    -------
    Layout
    """
    side = settings.tile_px[0]
    return Layout.of(chunks, PatchSize(side, side - (settings.step_px or side)))


def ocm_graph(
    stack: da.Array,
    settings: EngineSettings,
    *,
    timeless: bool = False,
    scales: npt.NDArray[np.float64] | da.Array | None = None,
) -> da.Array:
    """Build the lazy mask of a stack.

    Parameters
    ----------
    stack
        (time, band, y, x); one time step and all bands in a chunk.
    settings
        What to do.
    timeless
        Leave the time axis, of length 1, out of the result.
    scales
        (time, band of the model * 2) all scales, then all offsets, where they differ between time steps; NaN for
        unknown.

    Returns
    -------
    dask.array.Array
        (time, y, x) labels, or (time, code, y, x) percent or probability; in the chunks of the stack.
    """
    times, _, rows, columns = stack.chunks
    layout = ocm_layout(settings, (rows, columns))
    table = None
    if isinstance(scales, da.Array):
        scales = table = scales.rechunk((times, (scales.shape[1],)))
    token = tokenize(stack.name, settings, timeless, None if scales is None else tokenize(scales))
    build = _Builder(stack, OcmTasks(settings, layout, timeless=timeless), scales, token)
    layer: dict[Any, Any] = {}
    for time in range(len(times)):
        layer.update(build.time_step(time))
    labels = settings.output == "labels"
    chunks = (*(() if timeless else (times,)), *(() if labels else ((settings.codes,),)), rows, columns)
    dtype = np.dtype(np.float32 if settings.output == "probability" else np.uint8)
    sources: list[Any] = [stack, *([table] if table is not None else [])]
    graph = HighLevelGraph.from_collections(build.name, layer, dependencies=sources)
    return da.Array(graph, build.name, chunks=chunks, meta=np.empty((0,) * len(chunks), dtype))


def ocm_tasks(stack: da.Array, settings: EngineSettings) -> int:
    """Count the tasks of the graph, beyond those of the stack.

    Parameters
    ----------
    stack, settings
        As `ocm_graph`.

    Returns
    -------
    int
    """
    times, _, rows, columns = stack.chunks
    layout = ocm_layout(settings, (rows, columns))
    patches = sum(len(down) * len(along) for down, along in layout.starts)
    return len(times) * (3 * len(rows) * len(columns) + 3 * patches + (len(layout.sizes) > 1))


class _Builder:
    """Keys and tasks of one mask."""

    def __init__(
        self, stack: da.Array, tasks: OcmTasks, scales: npt.NDArray[np.float64] | da.Array | None, token: str
    ) -> None:
        self.tasks, self.layout, self.stack, self.scales = tasks, tasks.layout, stack.name, scales
        self.name = f"cloudmask-{token}"
        self._validity, self._sparse, self._corner, self._lent, self._stayed, self._moved = (
            f"cloudmask-ocm-{what}-{token}" for what in ("validity", "sparse", "corner", "lent", "stayed", "moved")
        )

    def time_step(self, time: int) -> Iterator[tuple[Key, Any]]:
        """Yield all tasks of a time step."""
        layout, tasks = self.layout, self.tasks
        rows, columns = (range(len(borders) - 1) for borders in layout.borders)
        chunks = [(y, x) for y in rows for x in columns]
        for y, x in chunks:
            yield (self._validity, time, y, x), (tasks.validity, (self.stack, time, 0, y, x))
        sparse = None
        if len(layout.sizes) > 1:
            sparse = (self._sparse, time)
            yield sparse, (tasks.sparse, [(self._validity, time, y, x) for y, x in chunks])
        for window in layout.windows:
            yield from self._of_patch(time, window, sparse)
        for y, x in chunks:
            yield from self._of_chunk(time, y, x)

    def _of_patch(self, time: int, window: Window, sparse: Key | None) -> Iterator[tuple[Key, Any]]:
        layout, tasks = self.layout, self.tasks
        corner = (self._corner, time, *window)
        far, near = layout.reach(window), layout.square(window, layout.corner(window))
        yield corner, (tasks.corner, window, sparse, self._around(far, self._validity, time))
        rivals = [(self._corner, time, *rival) for rival in layout.rivals(window)]
        pixels, scale = self._around(near, self.stack, time, 0), self._scale(time)
        yield (self._stayed, time, *window), (tasks.stayed, window, corner, rivals, pixels, scale)
        lent = [key for row in self._around(far, self._lent, time) for key in row]
        yield (self._moved, time, *window), (tasks.moved, window, corner, rivals, lent, scale)

    def _of_chunk(self, time: int, y: int, x: int) -> Iterator[tuple[Key, Any]]:
        layout, tasks = self.layout, self.tasks
        windows = list(layout.visitors(y, x))
        corners = [(self._corner, time, *window) for window in windows]
        pixels = (self.stack, time, 0, y, x)
        yield (self._lent, time, y, x), (tasks.lend, y, x, pixels, windows, corners)
        patches = []
        for window in windows:
            if layout.touches(window, y, x):
                patches.append((self._stayed, time, *window))
            patches.append((self._moved, time, *window))
        yield self._out(time, y, x), (tasks.blend, y, x, (self._validity, time, y, x), patches)

    def _around(self, place: Place, *prefix: str | int) -> list[list[Key]]:
        """Keys of the chunks that a stretch of the scene touches, row by row."""
        rows, columns = self.layout.chunks(place)
        return [[(*prefix, y, x) for x in columns] for y in rows]

    def _scale(self, time: int) -> Any:
        """Scales, then offsets: numbers, a key, or None; only models that take the level ask for them."""
        settings = self.tasks.settings
        if isinstance(self.scales, da.Array):
            return self.scales.name, time, 0
        if self.scales is not None:
            return self.scales[time].tolist()
        if settings.scale is None or settings.offset is None:
            return None
        return [*settings.scale, *settings.offset]

    def _out(self, time: int, y: int, x: int) -> Key:
        inner = () if self.tasks.settings.output == "labels" else (0,)
        return (self.name, *(() if self.tasks.timeless else (time,)), *inner, y, x)
