"""The grid of a cube: the items' own, or one that was asked for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xcloudmask.errors import ArgumentError, InputError

if TYPE_CHECKING:
    import pystac
    from odc.geo.geobox import GeoBox

__all__ = ["area_of", "check_chunks", "cube_grid", "grid_name", "offset_in", "on_blocks"]

_MAX_SIDE_PX = 5_000_000
_MAX_CHUNKS = 5_000_000
"""Of all bands and time steps; each is a task, and takes about 1 kB before anything is computed."""
_BLOCK_PX = 1024
"""Catalogues have files in blocks of 256, 512 and 1024 pixels: where the largest begin, the others do."""
_LEAST_BLOCK_PX = 256
_SAME = 1e-3
"""Share of a pixel by which grids may differ."""


def area_of(bbox: Sequence[float] | None, geometry: Any | None) -> Any | None:
    """Return the wanted area as an odc-geo Geometry in degrees, or None.

    Raises
    ------
    ArgumentError
        Both are given, or they cannot be understood.
    """
    from odc.geo.geom import Geometry, box

    from xcloudmask.stac.read import check_bbox

    if bbox is not None and geometry is not None:
        raise ArgumentError("bbox and geometry are both given. Expected one of them.")
    if bbox is not None:
        return box(*check_bbox(bbox), crs="EPSG:4326")
    if geometry is None:
        return None
    plain = getattr(geometry, "__geo_interface__", geometry)
    plain = plain.get("geometry", plain) if isinstance(plain, Mapping) and plain.get("type") == "Feature" else plain
    try:
        return Geometry(plain, crs="EPSG:4326")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArgumentError(f"geometry={geometry!r:.80} is no GeoJSON geometry in degrees ({error}).") from error


def cube_grid(
    grids: Sequence[tuple[pystac.Item, GeoBox]], *, crs: Any | None, resolution: float | None, area: Any | None
) -> GeoBox:
    """Return the grid of the cube.

    Parameters
    ----------
    grids
        Items, and the grid of the finest band of each.
    crs, resolution
        What was asked for; None for the items' own.
    area
        The wanted area; the cube is cut to its bounding box.

    Returns
    -------
    GeoBox

    Raises
    ------
    InputError
        The items lie on several grids and none was asked for, or none of them touches the area.
    """
    from odc.geo import CRS

    try:
        wanted = None if crs is None else CRS(crs)
    except (RuntimeError, ValueError, TypeError) as error:  # pyproj's error is a RuntimeError
        raise ArgumentError(f"crs={crs!r:.80} is unknown ({error!r:.100}). Expected such as 'EPSG:32631'.") from error
    native = {grid_name(grid) for _, grid in grids}
    own = grids[0][1].crs
    if len(native) == 1 and resolution is None and wanted in (None, own):
        return _native(grids, area)
    if wanted is None:
        crss = {str(grid.crs) for _, grid in grids}
        if len(crss) > 1 or resolution is None:
            raise _several(grids, one_crs=len(crss) == 1)
        wanted = own
    return _asked(grids, crs=wanted, resolution=resolution, area=area)


def grid_name(grid: GeoBox) -> str:
    """Return a name that grids share whose pixels coincide."""
    affine = grid.transform
    phase = ((affine.c / affine.a) % 1, (affine.f / affine.e) % 1)
    rounded = (round(part / _SAME) * _SAME % 1 for part in phase)
    return f"{grid.crs} pixels of {affine.a:g} x {-affine.e:g}, offset {', '.join(f'{part:.3g}' for part in rounded)}"


def check_chunks(grid: GeoBox, chunks: Mapping[str, int], *, times: int, bands: int) -> None:
    """Refuse cubes whose graph alone would fill the memory, such as between two items at the ends of a zone.

    Raises
    ------
    InputError
        There would be too many chunks.
    """
    rows, columns = (-(-side // chunks[dim]) for side, dim in zip(grid.shape, ("y", "x"), strict=True))
    count = rows * columns * -(-times // chunks["time"]) * bands
    if count > _MAX_CHUNKS:
        raise InputError(
            f"The cube would have {count:,} chunks: {times} time steps, {bands} bands, {grid.shape[0]:,} x "
            f"{grid.shape[1]:,} pixels. Expected at most {_MAX_CHUNKS:,}. Type bbox=, larger chunks=, or load fewer "
            "items at a time."
        )


def on_blocks(grid: GeoBox, grids: Sequence[GeoBox], chunks: Mapping[str, int]) -> GeoBox:
    """Return the grid with its left and top edge moved outwards, so that chunks begin where blocks of files begin.

    Parameters
    ----------
    grid
        Grid of the cube.
    grids
        Those of the items; blocks are counted from the corner that most of them have.
    chunks
        Pixels along y and x.

    Returns
    -------
    GeoBox
        `grid` itself where it is one chunk, has other pixels than the items, or chunks fit no blocks.

    Notes
    -----
    Chunks that cut blocks read these twice: 1.56 times the bytes with chunks of 2048 px and blocks of 512 px, 2.25
    times with 1024 px.
    """
    name, affine = grid_name(grid), grid.transform
    corners = Counter((own.transform.c, own.transform.f) for own in grids if grid_name(own) == name)
    if not corners:
        return grid
    ((left, top), _), *_ = corners.most_common(1)
    rows = _outwards(round((affine.f - top) / affine.e), grid.shape[0], chunks["y"])
    columns = _outwards(round((affine.c - left) / affine.a), grid.shape[1], chunks["x"])
    return _moved(grid, rows, columns) if rows or columns else grid


def _outwards(start: int, length: int, chunk: int) -> int:
    """Pixels before the start at which chunks begin on blocks."""
    step = math.gcd(chunk, _BLOCK_PX)
    return start % step if length > chunk and step >= _LEAST_BLOCK_PX else 0


def _moved(grid: GeoBox, rows: int, columns: int) -> GeoBox:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    height, width = grid.shape
    return GeoBox((height + rows, width + columns), grid.transform * Affine.translation(-columns, -rows), grid.crs)


def offset_in(grid: GeoBox, other: GeoBox) -> tuple[int, int]:
    """Return row and column of a grid's corner in another grid of the same pixels.

    Examples
    --------
    >>> from odc.geo.geobox import GeoBox
    >>> grid = GeoBox.from_bbox((0, 0, 100, 100), "EPSG:32631", resolution=10)
    >>> offset_in(grid[3:, 2:], grid)
    (3, 2)
    """
    affine, corner = other.transform, grid.transform
    return round((corner.f - affine.f) / affine.e), round((corner.c - affine.c) / affine.a)


def _several(grids: Sequence[tuple[pystac.Item, GeoBox]], *, one_crs: bool) -> InputError:
    groups: dict[str, list[tuple[pystac.Item, GeoBox]]] = {}
    for item, grid in grids:
        groups.setdefault(grid_name(grid), []).append((item, grid))
    lines = "\n".join(f"  {name}: {len(members)} items, such as {members[0][0].id}" for name, members in groups.items())
    most = max(groups.values(), key=len)[0][1]
    typed = f"resolution={most.transform.a:g}" if one_crs else f"crs={str(most.crs)!r}"
    return InputError(
        f"The items lie on {len(groups)} grids:\n{lines}\n"
        "Mask each group on its own grid: for group in split_by_grid(items).values(): load(group). "
        f"Or bring all to one: load(items, {typed})."
    )


def _native(grids: Sequence[tuple[pystac.Item, GeoBox]], area: Any | None) -> GeoBox:
    """The union of grids that coincide, cut to the area."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    first = grids[0][1].transform
    corners = [_window(grid, first) for _, grid in grids]
    left, top = min(corner[0] for corner in corners), min(corner[1] for corner in corners)
    right, bottom = max(corner[2] for corner in corners), max(corner[3] for corner in corners)
    if area is not None:
        bounds = area.to_crs(grids[0][1].crs, resolution=_step(area)).boundingbox
        columns = sorted((side - first.c) / first.a for side in (bounds.left, bounds.right))
        rows = sorted((side - first.f) / first.e for side in (bounds.bottom, bounds.top))
        left, right = max(left, _floor(columns[0])), min(right, _ceil(columns[1]))
        top, bottom = max(top, _floor(rows[0])), min(bottom, _ceil(rows[1]))
        if left >= right or top >= bottom:
            raise InputError("No item touches the wanted area. Check bbox or geometry: degrees, west before south.")
    _check_sides(bottom - top, right - left)
    corner = Affine(first.a, 0, first.c + left * first.a, 0, first.e, first.f + top * first.e)
    return GeoBox((bottom - top, right - left), corner, grids[0][1].crs)


def _window(grid: GeoBox, first: Any) -> tuple[int, int, int, int]:
    """Left, top, right and bottom in pixels from the corner of the first grid."""
    left = round((grid.transform.c - first.c) / first.a)
    top = round((grid.transform.f - first.f) / first.e)
    return left, top, left + grid.shape[1], top + grid.shape[0]


def _floor(value: float) -> int:
    return int((value + _SAME) // 1)


def _ceil(value: float) -> int:
    return -_floor(-value)


def _step(area: Any) -> float:
    """Degrees between points of an outline, so that it bends as projections do."""
    bounds = area.boundingbox
    step: float = max(bounds.right - bounds.left, bounds.top - bounds.bottom) / 16
    return step


def _asked(
    grids: Sequence[tuple[pystac.Item, GeoBox]], *, crs: Any, resolution: float | None, area: Any | None
) -> GeoBox:
    from odc.geo.geobox import GeoBox
    from odc.geo.geom import bbox_union

    finest = min((grid for _, grid in grids), key=lambda grid: abs(float(grid.transform.a)))
    if resolution is None:
        if finest.crs is None or crs.projected != finest.crs.projected:
            raise ArgumentError(f"crs={str(crs)!r} has other units than the items. Type resolution= in its units.")
        resolution = float(finest.transform.a)
    if isinstance(resolution, bool) or not isinstance(resolution, int | float) or not resolution > 0:
        raise ArgumentError(f"resolution={resolution!r}: expected a positive number in units of the CRS.")
    union = bbox_union(grid.extent.to_crs(crs).boundingbox for _, grid in grids)
    if area is not None:
        wanted = area.to_crs(crs, resolution=_step(area)).boundingbox
        sides = (
            max(union.left, wanted.left),
            max(union.bottom, wanted.bottom),
            min(union.right, wanted.right),
            min(union.top, wanted.top),
        )
        if sides[0] >= sides[2] or sides[1] >= sides[3]:
            raise InputError("No item touches the wanted area. Check bbox or geometry: degrees, west before south.")
    else:
        sides = (union.left, union.bottom, union.right, union.top)
    _check_sides((sides[3] - sides[1]) / resolution, (sides[2] - sides[0]) / resolution)
    return GeoBox.from_bbox(sides, crs, resolution=resolution)


def _check_sides(height: float, width: float) -> None:
    """Refuse what would be millions of chunks of nothing between items far apart."""
    if not max(height, width) <= _MAX_SIDE_PX:
        raise InputError(
            f"The cube would have {height:,.0f} x {width:,.0f} pixels, since the items lie far apart. Expected at most "
            f"{_MAX_SIDE_PX:,} along a side. Type bbox=, or load fewer items at a time."
        )
