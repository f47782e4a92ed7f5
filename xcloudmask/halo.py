"""Integer arithmetic of stride phase, halo, chunks and tiles. No arrays here.

Two rules carry everything. Chunks and tiles start on multiples of the network's stride, because the network gives other
answers off phase; and the halo is the receptive radius rounded up to the stride, so that what is cropped away is all
that the border of a tile can have touched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

__all__ = [
    "BlockPlace",
    "Tile",
    "core_tiles",
    "fitting_core",
    "round_up",
    "snap_chunks",
    "window_starts",
    "window_tiles",
]

_STEP_PX = 64
"""Tiles of a block have sides that are multiples of this: a shape of its own costs what a network keeps for a shape."""


def round_up(value: int, multiple: int) -> int:
    """Round up to a multiple.

    Parameters
    ----------
    value, multiple
        Integers; the multiple is positive.

    Returns
    -------
    int

    Examples
    --------
    >>> round_up(71, 8)
    72
    """
    return -(-value // multiple) * multiple


def snap_chunks(chunks: Sequence[int], *, multiple: int, minimum: int) -> tuple[int, ...]:
    """Move the chunk borders of one axis to multiples, and merge chunks that become too small.

    Chunks of one size stay chunks of one size, the nearest multiple, because a Zarr store can hold no others: writing
    them rechunks nothing. Else each border goes to the nearest multiple.

    Parameters
    ----------
    chunks
        Sizes along the axis, in pixels.
    multiple
        Every border inside the axis becomes a multiple of it.
    minimum
        No chunk is smaller than this, unless the axis is. Dask rechunks to irregular chunks on its own where a chunk is
        smaller than the overlap.

    Returns
    -------
    tuple of int
        The sizes, unchanged where they respect the rules.

    Examples
    --------
    >>> snap_chunks((100, 100, 50), multiple=8, minimum=72)
    (104, 146)
    """
    length = sum(chunks)
    minimum = max(minimum, 1)
    borders = [0]
    for border in _wanted_borders(chunks, multiple, minimum):
        if border - borders[-1] >= minimum and length - border >= minimum:
            borders.append(border)
    borders.append(length)
    return tuple(end - start for start, end in pairwise(borders)) if length else tuple(chunks)


def _wanted_borders(chunks: Sequence[int], multiple: int, minimum: int) -> Iterator[int]:
    regular = len(set(chunks[:-1])) == 1 and chunks[-1] <= chunks[0]
    if regular:
        size = max((chunks[0] + multiple // 2) // multiple * multiple, round_up(minimum, multiple))
        yield from range(size, sum(chunks), size)
        return
    for position in accumulate(chunks[:-1]):
        yield (position + multiple // 2) // multiple * multiple


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlace:
    """Where a block lies along one axis of the cube, in pixels."""

    start: int
    """First pixel that the block must deliver."""
    stop: int
    """One past the last pixel that the block must deliver."""
    depth: int
    """Overlap that the block brings on both sides, where the cube goes on."""
    length: int
    """Pixels of the whole cube along the axis."""

    @property
    def origin(self) -> int:
        """Position of the first pixel that the block brings."""
        return max(0, self.start - self.depth)

    @property
    def end(self) -> int:
        """One past the last pixel that the block brings."""
        return min(self.length, self.stop + self.depth)

    def coarsened(self, factor: int) -> BlockPlace:
        """Return the same place on a grid whose cells are `factor` pixels wide."""
        return BlockPlace(
            start=self.start // factor,
            stop=-(-self.stop // factor),
            depth=-(-self.depth // factor),
            length=-(-self.length // factor),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A stretch of the cube that is predicted at once along one axis, in pixels of the cube."""

    start: int
    """First pixel fed to the network; may lie before the cube."""
    size: int
    """Pixels fed to the network."""
    keep_start: int
    """First pixel whose prediction is kept."""
    keep_stop: int
    """One past the last pixel whose prediction is kept."""

    @property
    def crop(self) -> slice:
        """The kept stretch, counted from the start of the tile."""
        return slice(self.keep_start - self.start, self.keep_stop - self.start)


def fitting_core(length: int, *, core: int, stride: int) -> int:
    """How much the tiles of a block deliver, so that they are few, equal and of few shapes in all.

    Parameters
    ----------
    length
        Pixels of the block along an axis.
    core
        The most that a tile delivers; a multiple of the stride.
    stride
        Stride of the network.

    Returns
    -------
    int
        A multiple of the stride; of 64 px too, unless it is the most.

    Examples
    --------
    >>> [fitting_core(length, core=1832, stride=8) for length in (1832, 1820, 452, 2500)]
    [1832, 1832, 512, 1280]
    """
    pieces = max(1, -(-length // core))
    return min(core, round_up(-(-length // pieces), math.lcm(stride, _STEP_PX)))


def core_tiles(place: BlockPlace, *, core: int, halo: int, anchor: int) -> Iterator[Tile]:
    """Cut what a block must deliver into tiles of one fixed shape.

    Parameters
    ----------
    place
        The block along this axis.
    core
        Pixels a tile delivers; a multiple of the network's stride.
    halo
        Context on both sides; a multiple of the network's stride.
    anchor
        Where the first tile starts: 0 for the lattice of the cube, the start of the block for tiles that follow it.

    Yields
    ------
    Tile
        Size ``core + 2 * halo``; kept parts cover the block once.

    Examples
    --------
    >>> place = BlockPlace(start=0, stop=100, depth=8, length=100)
    >>> [(t.start, t.size, t.keep_start, t.keep_stop) for t in core_tiles(place, core=64, halo=8, anchor=0)]
    [(-8, 80, 0, 64), (56, 80, 64, 100)]
    """
    first = anchor + (place.start - anchor) // core * core
    for start in range(first, place.stop, core):
        yield Tile(
            start=start - halo,
            size=core + 2 * halo,
            keep_start=max(start, place.start),
            keep_stop=min(start + core, place.stop),
        )


def window_starts(length: int, *, window: int, step: int) -> range:
    """Starts of the moving windows that cover an axis, on multiples of the step.

    Parameters
    ----------
    length, window, step
        Pixels. The last window may reach past the end by less than one step.

    Returns
    -------
    range

    Examples
    --------
    >>> list(window_starts(1000, window=512, step=256))
    [0, 256, 512]
    """
    return range(0, round_up(max(length - window, 0), step) + 1, step)


def window_tiles(place: BlockPlace, *, window: int, step: int) -> Iterator[Tile]:
    """Moving windows that touch a block; those of one pixel are the same for every layout of chunks.

    Parameters
    ----------
    place
        The block along this axis; its depth is at least the window.
    window, step
        Pixels; both multiples of the network's stride.

    Yields
    ------
    Tile
        Size `window`; kept parts overlap.

    Examples
    --------
    >>> place = BlockPlace(start=512, stop=1000, depth=512, length=1000)
    >>> [(t.start, t.keep_start, t.keep_stop) for t in window_tiles(place, window=512, step=256)]
    [(256, 512, 768), (512, 512, 1000)]
    """
    for start in window_starts(place.length, window=window, step=step):
        if start < place.stop and start + window > place.start:
            yield Tile(
                start=start,
                size=window,
                keep_start=max(start, place.start),
                keep_stop=min(start + window, place.stop),
            )
