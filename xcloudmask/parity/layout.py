"""Which patches and which chunks can have to do with each other: integers only, known before anything is read."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import numpy.typing as npt

from xcloudmask.parity.windows import PatchSize, patch_starts, reach, shrunk_size

__all__ = ["Layout", "Place", "Window", "assemble"]

Window = tuple[int, int, int]
"""Which size of patches, which row of them, which column."""
Place = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class Layout:
    """Chunks and patches of a scene.

    Examples
    --------
    >>> layout = Layout.of(((100, 100), (150,)), PatchSize(64, 20))
    >>> layout.starts[0]
    ((0, 44, 88, 132, 136), (0, 44, 86))
    """

    borders: tuple[tuple[int, ...], tuple[int, ...]]
    """Where chunks begin along y and x, and where the scene ends."""
    sizes: tuple[PatchSize, ...]
    """Size of the patches; a second one for scenes of which much has no data, where that makes a difference."""

    @classmethod
    def of(cls, chunks: tuple[Sequence[int], Sequence[int]], size: PatchSize) -> Layout:
        """Lay patches of a size, fitted to the scene, over chunks along y and x."""
        rows, columns = (tuple(np.cumsum((0, *sizes)).tolist()) for sizes in chunks)
        small = shrunk_size(size, (rows[-1], columns[-1]))
        return cls((rows, columns), (size,) if small == size else (size, small))

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels along y and x."""
        return self.borders[0][-1], self.borders[1][-1]

    @cached_property
    def starts(self) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
        """Per size, the first pixels of the patches along y and x, before any of them moves."""
        height, width = self.shape
        return tuple((tuple(patch_starts(height, size)), tuple(patch_starts(width, size))) for size in self.sizes)

    @property
    def windows(self) -> Iterator[Window]:
        """Yield all patches in the order in which they are added up."""
        for kind, (rows, columns) in enumerate(self.starts):
            yield from product((kind,), range(len(rows)), range(len(columns)))

    def corner(self, window: Window) -> tuple[int, int]:
        """First row and column of a patch, before it moves."""
        rows, columns = self.starts[window[0]]
        return rows[window[1]], columns[window[2]]

    def square(self, window: Window, corner: tuple[int, int]) -> Place:
        """Pixels of a patch whose first row and column are given."""
        side = self.sizes[window[0]].side
        return slice(corner[0], corner[0] + side), slice(corner[1], corner[1] + side)

    def reach(self, window: Window) -> Place:
        """All pixels that a patch may cover."""
        side = self.sizes[window[0]].side
        rows, columns = (
            reach(start, side, length) for start, length in zip(self.corner(window), self.shape, strict=True)
        )
        return rows, columns

    def chunks(self, place: Place) -> tuple[range, range]:
        """Chunks along y and x that a stretch of the scene touches."""
        rows, columns = (
            range(bisect_right(borders, stretch.start) - 1, bisect_left(borders, stretch.stop))
            for borders, stretch in zip(self.borders, place, strict=True)
        )
        return rows, columns

    def chunk(self, y: int, x: int) -> Place:
        """Return the pixels of a chunk."""
        rows, columns = self.borders
        return slice(rows[y], rows[y + 1]), slice(columns[x], columns[x + 1])

    def rivals(self, window: Window) -> Iterator[Window]:
        """Yield the patches before this one that may end up in the same place."""
        kind, j, i = window
        most = 2 * (self.sizes[kind].side - 1)
        rows, columns = (
            (_near(starts, starts[at], most)) for starts, at in zip(self.starts[kind], (j, i), strict=True)
        )
        for row, column in product(rows, columns):
            if (row, column) < (j, i):
                yield kind, row, column

    def visitors(self, y: int, x: int) -> Iterator[Window]:
        """Yield the patches that may touch a chunk, in the order in which they are added up."""
        chunk = self.chunk(y, x)
        for kind, (size, starts) in enumerate(zip(self.sizes, self.starts, strict=True)):
            rows, columns = (
                [
                    index
                    for index, start in enumerate(axis)
                    if start - size.side + 1 < stretch.stop and start + 2 * size.side - 1 > stretch.start
                ]
                for axis, stretch in zip(starts, chunk, strict=True)
            )
            yield from product((kind,), rows, columns)

    def touches(self, window: Window, y: int, x: int) -> bool:
        """Whether a patch touches a chunk before it moves."""
        places = zip(self.square(window, self.corner(window)), self.chunk(y, x), strict=True)
        return all(patch.start < chunk.stop and chunk.start < patch.stop for patch, chunk in places)


def _near(starts: Sequence[int], start: int, most: int) -> range:
    return range(bisect_left(starts, start - most), bisect_right(starts, start + most))


def assemble(
    pieces: Sequence[Sequence[npt.NDArray[np.generic]]], places: Sequence[Sequence[Place]], wanted: Place
) -> npt.NDArray[np.generic]:
    """Cut a stretch of the scene out of the chunks that it touches.

    Parameters
    ----------
    pieces
        Rows of chunks (..., y, x); more than are needed is fine.
    places
        Where each lies.
    wanted
        The stretch.

    Returns
    -------
    numpy.ndarray
        (..., y, x), of its own memory.

    Examples
    --------
    >>> left, right = np.array([[1, 2]]), np.array([[3, 4]])
    >>> places = [[(slice(0, 1), slice(0, 2)), (slice(0, 1), slice(2, 4))]]
    >>> assemble([[left, right]], places, (slice(0, 1), slice(1, 3))).tolist()
    [[2, 3]]
    """
    first = pieces[0][0]
    result = np.empty((*first.shape[:-2], *(stretch.stop - stretch.start for stretch in wanted)), first.dtype)
    for row, around in zip(pieces, places, strict=True):
        for piece, place in zip(row, around, strict=True):
            shared = [
                (max(have.start, want.start), min(have.stop, want.stop))
                for have, want in zip(place, wanted, strict=True)
            ]
            if all(start < stop for start, stop in shared):
                to = [slice(a - want.start, b - want.start) for (a, b), want in zip(shared, wanted, strict=True)]
                source = [slice(a - have.start, b - have.start) for (a, b), have in zip(shared, place, strict=True)]
                result[..., to[0], to[1]] = piece[..., source[0], source[1]]
    return result
