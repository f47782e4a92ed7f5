"""Areas on the grid of a mask: geometries in pixels, rasterised block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Area", "Span"]

Span = tuple[int, int]
"""Start and stop along an axis, in pixels."""

_STEPS_PER_PX = 2.0**16


@dataclass(frozen=True, slots=True)
class Area:
    """A geometry in pixels of a grid: x counts columns, y counts rows, from the corner of the first pixel."""

    wkb: bytes
    """The geometry as well-known binary: plain bytes travel well in a graph."""
    all_touched: bool
    """Take each pixel that is touched; else those whose centre lies inside."""

    @classmethod
    def of(cls, geometry: Any, *, all_touched: bool) -> Area:
        """Take a shapely geometry in pixels.

        Its corners are rounded to 1/65536 pixel. Whole pixels can then be taken from them without a rounding error, so
        a block sees the borders where its neighbours see them.
        """
        import shapely

        rounded = shapely.transform(geometry, lambda xy: np.round(xy * _STEPS_PER_PX) / _STEPS_PER_PX)
        return cls(shapely.to_wkb(rounded), all_touched)

    def touches(self, shape: Sequence[int]) -> bool:
        """Whether any part of it lies on a grid of so many rows and columns."""
        import shapely

        return bool(shapely.intersects(shapely.from_wkb(self.wkb), shapely.box(0, 0, shape[1], shape[0])))

    def window(self, shape: Sequence[int]) -> tuple[Span, Span]:
        """Rows and columns that it can take part in."""
        import shapely

        left, top, right, bottom = shapely.bounds(shapely.from_wkb(self.wkb)).tolist()
        rows, columns = (
            # One pixel more: a border that lies on an edge of pixels touches both sides.
            (min(max(int(np.floor(low)) - 1, 0), length - 1), min(max(int(np.ceil(high)) + 1, 1), length))
            for low, high, length in ((top, bottom, shape[0]), (left, right, shape[1]))
        )
        return rows, columns

    def runs(self, borders: Sequence[Sequence[int]]) -> Iterator[tuple[Span, Span]]:
        """Rows and columns of the blocks that it touches, neighbours in a row of blocks together."""
        import shapely

        geometry = shapely.from_wkb(self.wkb)
        shapely.prepare(geometry)
        rows, columns = (np.asarray(edges) for edges in borders)
        for top, bottom in zip(rows[:-1].tolist(), rows[1:].tolist(), strict=True):
            boxes = shapely.box(columns[:-1], top, columns[1:], bottom)
            touched = np.concatenate(([0], shapely.intersects(geometry, boxes).astype(int), [0]))
            starts, stops = np.flatnonzero(np.diff(touched) == 1), np.flatnonzero(np.diff(touched) == -1)
            for start, stop in zip(starts, stops, strict=True):
                yield (top, bottom), (int(columns[start]), int(columns[stop]))

    def inside(self, rows: Span, columns: Span) -> npt.NDArray[np.bool_]:
        """Rasterise a block: (y, x) bool."""
        import shapely
        from rasterio.features import rasterize

        shift = np.array([columns[0], rows[0]], float)
        geometry = shapely.transform(shapely.from_wkb(self.wkb), lambda xy: xy - shift)
        burnt = rasterize(
            [(geometry, 1)],
            out_shape=(rows[1] - rows[0], columns[1] - columns[0]),
            all_touched=self.all_touched,
            dtype=np.uint8,
        )
        inside: npt.NDArray[np.bool_] = burnt.astype(bool)
        return inside
