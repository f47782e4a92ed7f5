"""Which blocks of a cell a region needs, so that its mask is the one that `predict` makes of the whole step.

With statistics of chunks, blocks are those of a cube that is chunked so. With statistics of the lattice any blocks of
whole tiles give the same mask, and those that just cover the region are taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from xcloudmask.geometry import Geometry, plan_geometry, resolution_factor, upsample_factor
from xcloudmask.halo import BlockPlace
from xcloudmask.models.spec import ModelSpec
from xcloudmask.run.task import Region
from xcloudmask.settings import Normalize

__all__ = ["Places", "Reading", "block_chunks", "blocks_along", "context_of", "plan_reads"]

Places = tuple[BlockPlace, BlockPlace]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Pixels that are read at once, and the blocks that are predicted from them."""

    y: tuple[int, int]
    """First row, and one past the last."""
    x: tuple[int, int]
    """First column, and one past the last."""
    blocks: tuple[Places, ...]
    """Places of the blocks along y and x, in pixels of the cell."""


def block_chunks(length: int, block_px: int) -> tuple[int, ...]:
    """Cut an axis into blocks.

    Parameters
    ----------
    length
        Pixels of the cell along the axis.
    block_px
        Pixels of a block; the last one may be smaller.

    Returns
    -------
    tuple of int

    Examples
    --------
    >>> block_chunks(5000, 2048)
    (2048, 2048, 904)
    """
    return tuple(min(block_px, length - start) for start in range(0, length, block_px))


def context_of(
    spec: ModelSpec, options: Mapping[str, Any], *, region_px: int, block_px: int, pixel_m: float | None
) -> int:
    """Return how far around a region pixels are read.

    Parameters
    ----------
    spec
        The model.
    options
        Of the job.
    region_px, block_px
        Sides of regions and blocks.
    pixel_m
        Side of a pixel of the cell; None where it is not in metres.

    Returns
    -------
    int
        Pixels; at least as many as are read.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> spec = get_spec("default")
    >>> [context_of(spec, {}, region_px=4096, block_px=2048, pixel_m=side) for side in (10.0, 3.0)]
    [144, 576]
    """
    asked = options.get("resolution_m")
    pixel = pixel_m if asked is None else float(min(asked) if isinstance(asked, Sequence) else asked)
    sides = None if pixel is None else (pixel, pixel)
    normalize: Normalize = options.get("normalize", "chunk")
    geometry = plan_geometry(
        ((block_px,) * 3, (block_px,) * 3),
        spec,
        factor=resolution_factor(sides, spec),
        normalize=normalize,
        halo_px=options.get("halo_px"),
        step_px=options.get("stride"),
        upsample=upsample_factor(sides, spec, options.get("upsample", False)),
    )
    # A chunk that is smaller than its halo is joined to its neighbour, and tiles of the lattice are predicted whole.
    beyond = geometry.depth if normalize == "chunk" else [side if region_px % side else 0 for side in geometry.multiple]
    return max(depth + more for depth, more in zip(geometry.depth, beyond, strict=True))


def blocks_along(
    sizes: Sequence[int], span: tuple[int, int], *, normalize: Normalize, multiple: int, depth: int, block_px: int
) -> list[BlockPlace]:
    """Return the blocks along an axis that touch a stretch of it.

    Parameters
    ----------
    sizes
        Chunks along the axis, as the geometry has them.
    span
        First pixel, and one past the last.
    normalize
        ``"chunk"``: the chunks themselves; ``"lattice"``: whole tiles that cover the stretch.
    multiple
        Tiles begin on multiples of it.
    depth
        Overlap, in pixels.
    block_px
        Pixels of a block of the lattice, at most, but for one tile.

    Returns
    -------
    list of BlockPlace

    Examples
    --------
    >>> places = blocks_along((2048, 2048), (1024, 3072), normalize="lattice", multiple=1024, depth=72, block_px=2048)
    >>> [(place.start, place.stop) for place in places]
    [(1024, 3072)]
    """
    length = sum(sizes)
    if normalize == "chunk":
        borders = [0, *np.cumsum(sizes).tolist()]
        # A chunk without neighbours has no overlap; see `predict_graph`.
        depth = depth if len(sizes) > 1 else 0
    else:
        first, step = span[0] // multiple * multiple, max(block_px // multiple, 1) * multiple
        last = min(length, -(-span[1] // multiple) * multiple)
        borders = [*range(first, last, step), last]
    return [
        BlockPlace(start=start, stop=stop, depth=depth, length=length)
        for start, stop in pairwise(borders)
        if start < span[1] and stop > span[0]
    ]


def plan_reads(
    geometry: Geometry, region: Region, *, normalize: Normalize, block_px: int, pixel_bytes: int, most_bytes: int
) -> list[Reading]:
    """Plan what is read at once: the whole region, else rows of blocks, else block by block, as memory allows.

    Blocks that are read together share their halo and the blocks of the file below it.

    Parameters
    ----------
    geometry
        Of the whole step.
    region
        What is wanted.
    normalize
        ``"chunk"`` or ``"lattice"``.
    block_px
        Side of a block.
    pixel_bytes
        Bytes of a pixel, all bands together.
    most_bytes
        What a reading may take, unless a single block takes more.

    Returns
    -------
    list of Reading

    Examples
    --------
    >>> from xcloudmask.geometry import plan_geometry
    >>> from xcloudmask.models.registry import get_spec
    >>> chunks = (block_chunks(4096, 2048), block_chunks(4096, 2048))
    >>> geometry = plan_geometry(
    ...     chunks, get_spec("default"), factor=1, normalize="chunk", halo_px=None, step_px=None
    ... )
    >>> region = Region(y=(0, 4096), x=(0, 2048))
    >>> options = {"normalize": "chunk", "block_px": 2048, "pixel_bytes": 6}
    >>> [(one.y, one.x, len(one.blocks)) for one in plan_reads(geometry, region, most_bytes=2**28, **options)]
    [((0, 4096), (0, 2120), 2)]
    >>> [(one.y, one.x, len(one.blocks)) for one in plan_reads(geometry, region, most_bytes=2**25, **options)]
    [((0, 2120), (0, 2120), 1), ((1976, 4096), (0, 2120), 1)]
    """
    rows, columns = (
        blocks_along(sizes, span, normalize=normalize, multiple=multiple, depth=depth, block_px=block_px)
        for sizes, span, multiple, depth in zip(
            geometry.chunks, (region.y, region.x), geometry.multiple, geometry.depth, strict=True
        )
    )
    every = [_reading(rows, columns)]
    if _fit(every, most_bytes // pixel_bytes):
        return every
    strips = [_reading([row], columns) for row in rows]
    if _fit(strips, most_bytes // pixel_bytes):
        return strips
    return [_reading([row], [column]) for row in rows for column in columns]


def _reading(rows: Sequence[BlockPlace], columns: Sequence[BlockPlace]) -> Reading:
    return Reading(
        y=(rows[0].origin, rows[-1].end),
        x=(columns[0].origin, columns[-1].end),
        blocks=tuple(_pairs(rows, columns)),
    )


def _pairs(rows: Sequence[BlockPlace], columns: Sequence[BlockPlace]) -> Iterator[Places]:
    for row in rows:
        for column in columns:
            yield row, column


def _fit(readings: Sequence[Reading], most_px: int) -> bool:
    return all((one.y[1] - one.y[0]) * (one.x[1] - one.x[0]) <= most_px for one in readings)
