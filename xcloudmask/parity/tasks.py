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
Piece = tuple[Place, Pixels]


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
        lines = _any(data[:, left - x : left - x + side], axis=1)
        if not lines[top - y : top - y + side].any():
            return None
        top = slide(lines, top, side, first=y, length=height)
        return top, slide(_any(data[top - y : top - y + side], axis=0), left, side, first=x, length=width)

    def _data(self, planes: Sequence[Sequence[Bits]], reach: Place) -> npt.NDArray[np.bool_]:
        pieces = [[plane.plane() for plane in row] for row in planes]
        return assemble(pieces, self._places(reach), reach).view(np.bool_)

    def _places(self, place: Place) -> list[list[Place]]:
        rows, columns = self.layout.chunks(place)
        return [[self.layout.chunk(y, x) for x in columns] for y in rows]

    def lend(
        self, y: int, x: int, block: Pixels, windows: Sequence[Window], corners: Sequence[Corner | None]
    ) -> dict[Window, Piece]:
        """Cut out of a chunk (1, band, y, x) what the patches that moved need of it: mostly nothing."""
        lent: dict[Window, Piece] = {}
        chunk = self.layout.chunk(y, x)
        for window, corner in zip(windows, corners, strict=True):
            if corner is None or corner == self.layout.corner(window):
                continue
            wanted = self.layout.square(window, corner)
            shared = tuple(
                slice(max(have.start, want.start), min(have.stop, want.stop))
                for have, want in zip(chunk, wanted, strict=True)
            )
            if all(stretch.start < stretch.stop for stretch in shared):
                place = (shared[0], shared[1])
                lent[window] = (place, assemble([[block[0]]], [[chunk]], place))
        return lent

    def stayed(
        self,
        window: Window,
        corner: Corner | None,
        rivals: Sequence[Corner | None],
        around: Sequence[Sequence[Pixels]],
        scale: npt.ArrayLike | None,
    ) -> Patch | None:
        """Predict a patch that did not move; None for others, and where an earlier one has come to its place.

        `around` are the chunks (1, band, y, x) that it touches, row by row.
        """
        if corner is None or corner != self.layout.corner(window) or corner in rivals:
            return None
        wanted = self.layout.square(window, corner)
        pieces = [[block[0] for block in row] for row in around]
        return self._predict(window, corner, assemble(pieces, self._places(wanted), wanted), scale)

    def moved(
        self,
        window: Window,
        corner: Corner | None,
        rivals: Sequence[Corner | None],
        lent: Sequence[dict[Window, Piece]],
        scale: npt.ArrayLike | None,
    ) -> Patch | None:
        """Predict a patch that moved; None for others, and where an earlier one has come to its place."""
        if corner is None or corner == self.layout.corner(window) or corner in rivals:
            return None
        pieces = [chunk[window] for chunk in lent if window in chunk]
        wanted = self.layout.square(window, corner)
        pixels = assemble([[piece for _, piece in pieces]], [[place for place, _ in pieces]], wanted)
        return self._predict(window, corner, pixels, scale)

    def _predict(self, window: Window, corner: Corner, pixels: Pixels, scale: npt.ArrayLike | None) -> Patch:
        size = self.layout.sizes[window[0]]
        return predict_patch(pixels, self.settings, size, corner=corner, scale=self._known(scale))

    def _known(self, scale: npt.ArrayLike | None) -> npt.NDArray[np.float64] | None:
        """(2, band) scale and offset, 0 for bands that were given up; None unless all are known."""
        if scale is None:
            return None
        table, present = np.asarray(scale, np.float64).reshape(2, -1), np.array(self.settings.present)
        known = bool(np.isfinite(table).all() and (table[0, present] > 0).all())
        return np.asarray(np.where(present, table, 0.0)) if known else None

    def blend(self, y: int, x: int, chunk: Validity, patches: Sequence[Patch | None]) -> npt.NDArray[Any]:
        """Blend the patches that touch a chunk; (1, y, x), or (1, code, y, x)."""
        rows, columns = self.layout.chunk(y, x)
        result = blend_patches(patches, chunk.whole, self.settings, rows=rows, columns=columns)
        return result if self.timeless else result[None]


def _any(plane: npt.NDArray[np.bool_], *, axis: int) -> npt.NDArray[np.bool_]:
    lines: npt.NDArray[np.bool_] = np.asarray(plane.any(axis=axis))
    return lines
