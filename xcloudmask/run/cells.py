"""Grids of scenes to cells: the grid that time steps share, each with a store of its own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xcloudmask.errors import InputError
from xcloudmask.run.task import Cell

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["Window", "bounds_in", "cell_of_grid", "family_of", "geobox_of", "join_grids", "outline_step"]
__all__ += ["reaches_beyond", "utm_zone", "whole_outwards", "window_in", "zone_cell"]

Window = tuple[int, int, int, int]
"""First row, one past the last, first column, one past the last."""

_SAME = 1e-3
"""Share of a pixel by which grids may differ."""
_MAX_SIDE_PX = 5_000_000
_PATH_ROW = re.compile(r"\d{6}")


def cell_of_grid(grid: GeoBox, *, name: str | None) -> Cell:
    """Return a grid as a cell.

    Parameters
    ----------
    grid
        Of a scene, or of a cube.
    name
        What its cell is called; None for a name made of the grid.

    Returns
    -------
    Cell

    Raises
    ------
    InputError
        The grid has no coordinate system.
    """
    if grid.crs is None:
        raise InputError("The grid has no coordinate system. Expected one. Type: cube.rio.write_crs('EPSG:32631')")
    crs = f"EPSG:{grid.crs.epsg}" if grid.crs.epsg is not None else grid.crs.to_wkt()
    a, b, c, d, e, f = (float(value) for value in tuple(grid.transform)[:6])
    rows, columns = (int(side) for side in grid.shape)
    text = repr((crs, (a, b, c, d, e, f), (rows, columns)))
    made = f"grid-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    return Cell(name=made if name is None else name, crs=crs, transform=(a, b, c, d, e, f), shape=(rows, columns))


def geobox_of(cell: Cell) -> GeoBox:
    """Return a cell as a grid of odc-geo."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    return GeoBox(cell.shape, Affine(*cell.transform), cell.crs)


def family_of(cell: Cell, sensor: str) -> str:
    """Return what grids have in common that may lie in one cell: sensor, name, and pixels that coincide.

    Examples
    --------
    >>> cell = Cell(name="a", crs="EPSG:32631", transform=(10.0, 0.0, 5.0, 0.0, -10.0, 0.0), shape=(8, 8))
    >>> moved = replace(cell, transform=(10.0, 0.0, 105.0, 0.0, -10.0, -30.0))
    >>> family_of(cell, "s") == family_of(moved, "s")
    True
    """
    a, _, c, _, e, f = cell.transform
    phase = ((c / a) % 1, (f / e) % 1)
    rounded = (round(part / _SAME) * _SAME % 1 for part in phase)
    # The CRS is the name's, but for WKT, which is long.
    crs = cell.crs if len(cell.crs) < 40 else hashlib.sha256(cell.crs.encode()).hexdigest()[:12]
    return "|".join([sensor, cell.name, crs, f"{a:g}x{-e:g}", ",".join(f"{part:.3g}" for part in rounded)])


def window_in(cell: Cell, grid: Cell) -> Window:
    """Return where a grid lies in a cell of the same pixels, also beyond its borders.

    Examples
    --------
    >>> cell = Cell(name="a", crs="EPSG:32631", transform=(10.0, 0.0, 0.0, 0.0, -10.0, 0.0), shape=(8, 8))
    >>> window_in(cell, replace(cell, transform=(10.0, 0.0, 20.0, 0.0, -10.0, 10.0)))
    (-1, 7, 2, 10)
    """
    a, _, c, _, e, f = cell.transform
    row, column = round((grid.transform[5] - f) / e), round((grid.transform[2] - c) / a)
    return row, row + grid.shape[0], column, column + grid.shape[1]


def join_grids(grids: Sequence[Cell], *, unit_px: int) -> Cell:
    """Return the smallest cell that holds grids of one family.

    Parameters
    ----------
    grids
        One or more.
    unit_px
        What borders are rounded outwards to where the grids of the product change from date to date: the scenes of
        Landsat do, by some hundred pixels along the track.

    Returns
    -------
    Cell

    Raises
    ------
    InputError
        It would be larger than any store should be.
    """
    first = grids[0]
    windows = [window_in(first, grid) for grid in grids]
    sides = [function(window[side] for window in windows) for side, function in enumerate((min, max, min, max))]
    if _PATH_ROW.fullmatch(first.name):
        sides = _outwards(first, sides, unit_px)
    return _cut(first, sides)


def _outwards(cell: Cell, sides: Sequence[int], unit: int) -> list[int]:
    """Sides on multiples of a unit, counted from the origin of the coordinate system."""
    a, _, c, _, e, f = cell.transform
    rows, columns = _floor(f / e), _floor(c / a)
    found = []
    for side, origin, upwards in zip(sides, (rows, rows, columns, columns), (False, True) * 2, strict=True):
        steps = -(-(side + origin) // unit) if upwards else (side + origin) // unit
        found.append(steps * unit - origin)
    return found


def _floor(value: float) -> int:
    return int((value + _SAME) // 1)


def _cut(cell: Cell, sides: Sequence[int]) -> Cell:
    top, bottom, left, right = sides
    if max(bottom - top, right - left) > _MAX_SIDE_PX:
        raise InputError(
            f"The cell {cell.name} would have {bottom - top:,} x {right - left:,} pixels, since its scenes lie far "
            f"apart. Expected at most {_MAX_SIDE_PX:,} along a side. Type bbox = [...]."
        )
    a, b, c, d, e, f = cell.transform
    corner = (a, b, c + left * a, d, e, f + top * e)
    return replace(cell, transform=corner, shape=(bottom - top, right - left))


# -- UTM zones ---------------------------------------------------------------------------------------------------------


def utm_zone(grid: Cell) -> str:
    """Return the zone that a scene belongs to: its own, else that of its middle.

    Parameters
    ----------
    grid
        Of the scene.

    Returns
    -------
    str
        ``"EPSG:32632"``.

    Examples
    --------
    >>> utm_zone(Cell(name="a", crs="EPSG:4326", transform=(0.1, 0.0, 8.0, 0.0, -0.1, -30.0), shape=(10, 10)))
    'EPSG:32732'
    """
    if re.fullmatch(r"EPSG:32[67]\d\d", grid.crs):
        return grid.crs
    ((longitude, latitude),) = geobox_of(grid).extent.centroid.to_crs("EPSG:4326").points
    return f"EPSG:{326 if latitude >= 0 else 327}{min(int((longitude + 180) // 6) + 1, 60):02d}"


def zone_cell(
    grids: Sequence[Cell], *, zone: str, resolution: float | None, area: Mapping[str, Any] | None, unit_px: int
) -> Cell | None:
    """Return the cell of a UTM zone: what its scenes cover of the area, on multiples of a unit.

    Parameters
    ----------
    grids
        Of the scenes of the zone.
    zone
        As `utm_zone` returns it.
    resolution
        Metres; None for the finest of the scenes.
    area
        GeoJSON geometry in degrees; None for all that the scenes cover.
    unit_px
        What borders are rounded outwards to, counted from the origin of the zone.

    Returns
    -------
    Cell or None
        None where no scene touches the area.
    """
    own = sorted((grid for grid in grids if grid.crs == zone), key=lambda grid: (grid.transform[0], grid.transform))
    if resolution is None and not own:
        raise InputError(
            f"The scenes of {zone} are in other coordinate systems. Type resolution_m = ... in [store], such as 10."
        )
    pixel = float(own[0].transform[0]) if resolution is None else resolution
    phase = (0.0, 0.0)
    if own and own[0].transform[0] == pixel:
        phase = (own[0].transform[2] % pixel, own[0].transform[5] % pixel)
    boxes = [bounds_in(grid, zone) for grid in grids]
    left, bottom = (min(box[side] for box in boxes) for side in (0, 1))
    right, top = (max(box[side] for box in boxes) for side in (2, 3))
    if area is not None:
        west, south, east, north = _area_bounds(area, zone)
        left, bottom, right, top = max(left, west), max(bottom, south), min(right, east), min(top, north)
        if left >= right or bottom >= top:
            return None
    name = f"utm{zone[-2:]}{'n' if zone[5:8] == '326' else 's'}"
    corner = Cell(name=name, crs=zone, transform=(pixel, 0.0, phase[0], 0.0, -pixel, phase[1]), shape=(1, 1))
    sides = whole_outwards(corner, (left, bottom, right, top))
    units = [side // unit_px if place % 2 == 0 else -(-side // unit_px) for place, side in enumerate(sides)]
    return _cut(corner, [unit * unit_px for unit in units])


def reaches_beyond(cell: Cell, grid: Cell, area: Mapping[str, Any] | None) -> bool:
    """Whether a scene shows pixels that are wanted, and that the cell of its zone does not have.

    Parameters
    ----------
    cell
        As `zone_cell` made it, of other scenes perhaps.
    grid
        Of the scene.
    area
        As in `zone_cell`.

    Returns
    -------
    bool
    """
    left, bottom, right, top = bounds_in(grid, cell.crs)
    if area is not None:
        west, south, east, north = _area_bounds(area, cell.crs)
        left, bottom, right, top = max(left, west), max(bottom, south), min(right, east), min(top, north)
        if left >= right or bottom >= top:
            return False
    sides = whole_outwards(cell, (left, bottom, right, top))
    return min(sides) < 0 or sides[1] > cell.shape[0] or sides[3] > cell.shape[1]


def whole_outwards(cell: Cell, box: tuple[float, float, float, float]) -> Window:
    """Return the pixels of a cell that a box (left, bottom, right, top) touches, also beyond its borders."""
    a, _, c, _, e, f = cell.transform
    rows = sorted((edge - f) / e for edge in (box[1], box[3]))
    columns = sorted((edge - c) / a for edge in (box[0], box[2]))
    return _floor(rows[0]), -_floor(-rows[1]), _floor(columns[0]), -_floor(-columns[1])


def bounds_in(grid: Cell, crs: str) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top of a grid in a coordinate system."""
    box: Any = geobox_of(grid).extent
    found = (box if grid.crs == crs else box.to_crs(crs, resolution=outline_step(box))).boundingbox
    return found.left, found.bottom, found.right, found.top


def _area_bounds(area: Mapping[str, Any], zone: str) -> tuple[float, float, float, float]:
    """Bounds of what the area has near a zone: far from it, its coordinates mean nothing."""
    from odc.geo.geom import Geometry, box

    middle = int(zone[-2:]) * 6 - 183
    near = Geometry(dict(area), "EPSG:4326").intersection(box(middle - 20, -84, middle + 20, 84, "EPSG:4326"))
    if near.is_empty:
        return 0.0, 0.0, 0.0, 0.0
    found = near.to_crs(zone, resolution=outline_step(near)).boundingbox
    return found.left, found.bottom, found.right, found.top


def outline_step(shape: Any) -> float:
    """Units between points of an outline, so that it bends as projections do."""
    box = shape.boundingbox
    step: float = max(box.right - box.left, box.top - box.bottom) / 16
    return step
