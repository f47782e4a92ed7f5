"""What the tasks of the graph do: numpy in, numpy out, one method a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudmask.parity.block import Patch, blend_patches, predict_patch
from xcloudmask.parity.layout import Layout, Place, Window, assemble
from xcloudmask.parity.validity import Bits, Validity, chunk_validity
from xcloudmask.parity.windows import MISSING_MOST, slide
from xcloudmask.settings import EngineSettings

__all__ = ["OcmTasks"]

Pixels = npt.NDArray[np.generic]
Corner = tuple[int, int]


class OcmTasks:
    """The tasks of one scene; one instance travels in the graph.

    Parameters
    ----------
    settings
        What to do.
    layout
        Chunks and patches.
    timeless
        Leave the time axis, of length 1, out of the result.
    """

    def __init__(self, settings: EngineSettings, layout: Layout, *, timeless: bool) -> None:
        self.settings, self.layout, self.timeless = settings, layout, timeless

    def validity(self, block: Pixels) -> Validity:
        """Return what a chunk (1, band, y, x) has data for."""
        absent = self.settings.present.count(False)
        return chunk_validity(block[0], self.settings.nodata, absent=absent)

    def sparse(self, chunks: Sequence[Validity]) -> bool:
        """Whether so much of the scene has no data that the patches become smaller."""
        height, width = self.layout.shape
        values = height * width * len(self.settings.present)
        return sum(chunk.missing for chunk in chunks) / values > MISSING_MOST

    def corner(self, window: Window, sparse: bool | None, around: Sequence[Sequence[Validity]]) -> Corner | None:  # noqa: FBT001
        """Where a patch moves to, or None where it holds no data or its size is not the one.

        `around` are the chunks of its reach, row by row; `sparse` is None where there is one size.
        """
        if sparse is not None and sparse != bool(window[0]):
            return None
        side = self.layout.sizes[window[0]].side
        top, left = self.layout.corner(window)
        planes = [[chunk.some for chunk in row] for row in around]
        reach, (height, width) = self.layout.reach(window), self.layout.shape
        if all(plane.full for row in planes for plane in row):
            return top, left
        data = self._data(planes, reach)
        y, x = reach[0].start, reach[1].start
        lines = data[:, left - x : left - x + side].any(axis=1)
        if not lines[top - y : top - y + side].any():
            return None
        top = slide(lines, top, side, first=y, length=height)
        return top, slide(data[top - y : top - y + side].any(axis=0), left, side, first=x, length=width)

    def _data(self, planes: Sequence[Sequence[Bits]], reach: Place) -> npt.NDArray[np.bool_]:
        pieces = [[plane.plane() for plane in row] for row in planes]
        return assemble(pieces, self._places(reach), reach).view(np.bool_)

    def _places(self, place: Place) -> list[list[Place]]:
        rows, columns = self.layout.chunks(place)
        return [[self.layout.chunk(y, x) for x in columns] for y in rows]

    def patch(
        self,
        window: Window,
        corner: Corner | None,
        rivals: Sequence[Corner | None],
        around: Sequence[Sequence[Pixels]],
        scale: npt.ArrayLike | None,
    ) -> Patch | None:
        """Predict a patch where it ended up, unless one of its rivals has come there before it.

        `around` are the chunks (1, band, y, x) of its reach, row by row.
        """
        if corner is None or corner in rivals:
            return None
        size = self.layout.sizes[window[0]]
        wanted = (slice(corner[0], corner[0] + size.side), slice(corner[1], corner[1] + size.side))
        places = self._places(self.layout.reach(window))
        pixels = assemble([[block[0] for block in row] for row in around], places, wanted)
        return predict_patch(pixels, self.settings, size, corner=corner, scale=self._known(scale))

    def _known(self, scale: npt.ArrayLike | None) -> npt.NDArray[np.float64] | None:
        """(2, band) scale and offset, 0 for bands that were given up; None unless all are known."""
        if scale is None:
            return None
        table, present = np.asarray(scale, np.float64).reshape(2, -1), np.array(self.settings.present)
        known = np.isfinite(table).all() and (table[0, present] > 0).all()
        return np.where(present, table, 0.0) if known else None

    def blend(self, y: int, x: int, chunk: Validity, patches: Sequence[Patch | None]) -> npt.NDArray[Any]:
        """Blend the patches that touch a chunk; (1, y, x), or (1, code, y, x)."""
        rows, columns = self.layout.chunk(y, x)
        result = blend_patches(patches, chunk.whole, self.settings, rows=rows, columns=columns)
        return result if self.timeless else result[None]
