"""Which parts of a cell are masked at a time step: regions that a scene touches, inside the wanted area."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from xcloudmask.run.cells import Window, bounds_in, family_of, geobox_of, outline_step, whole_outwards, window_in
from xcloudmask.run.task import Cell, Region

__all__ = ["area_filter", "regions_of", "touching"]


def touching(cell: Cell, grid: Cell) -> Window | None:
    """Return the pixels of a cell that a scene touches; None where it touches none.

    Parameters
    ----------
    cell
        The cell.
    grid
        Of the scene, in any coordinate system.

    Returns
    -------
    tuple of int or None
    """
    if grid.crs == cell.crs and family_of(replace(grid, name=""), "") == family_of(replace(cell, name=""), ""):
        found = window_in(cell, grid)
    else:
        found = whole_outwards(cell, bounds_in(grid, cell.crs))
    top_row, bottom_row = max(found[0], 0), min(found[1], cell.shape[0])
    left_column, right_column = max(found[2], 0), min(found[3], cell.shape[1])
    if top_row >= bottom_row or left_column >= right_column:
        return None
    return top_row, bottom_row, left_column, right_column


def regions_of(
    cell: Cell,
    scenes: Iterable[tuple[int, Window]],
    *,
    region_px: int | None,
    context_px: int = 0,
    wanted: Callable[[Region], bool] | None = None,
) -> Iterator[tuple[Region, list[int]]]:
    """Cut a time step into regions, each with the scenes that touch it.

    Parameters
    ----------
    cell
        The cell.
    scenes
        Number and window of each scene, the first on top.
    region_px
        Side of a region; None for the whole cell.
    context_px
        What the model sees around a region: scenes that touch no more than that belong to it too.
    wanted
        Whether a region is to be masked; None for all.

    Yields
    ------
    tuple
        Region, and numbers of its scenes. Regions that no scene touches are left out.

    Examples
    --------
    >>> cell = Cell(name="a", crs="EPSG:32631", transform=(10.0, 0.0, 0.0, 0.0, -10.0, 0.0), shape=(5, 8))
    >>> for region, scenes in regions_of(cell, [(7, (0, 5, 0, 5)), (8, (0, 2, 4, 8))], region_px=4):
    ...     print(region.y, region.x, scenes)
    (0, 4) (0, 4) [7]
    (0, 4) (4, 8) [7, 8]
    (4, 5) (0, 4) [7]
    (4, 5) (4, 8) [7]
    """
    rows, columns = cell.shape
    side_y, side_x = (region_px, region_px) if region_px is not None else (rows, columns)
    found: dict[tuple[int, int], list[int]] = {}
    touched: set[tuple[int, int]] = set()
    for number, (top, bottom, left, right) in scenes:
        touched.update(product(range(top // side_y, -(-bottom // side_y)), range(left // side_x, -(-right // side_x))))
        first_y, first_x = max(top - context_px, 0) // side_y, max(left - context_px, 0) // side_x
        last_y, last_x = -(-min(bottom + context_px, rows) // side_y), -(-min(right + context_px, columns) // side_x)
        for place in product(range(first_y, last_y), range(first_x, last_x)):
            found.setdefault(place, []).append(number)
    for y, x in sorted(touched):
        numbers = found[y, x]
        region = Region(y=(y * side_y, min((y + 1) * side_y, rows)), x=(x * side_x, min((x + 1) * side_x, columns)))
        if wanted is None or wanted(region):
            yield region, numbers


def area_filter(cell: Cell, area: Mapping[str, Any] | None) -> Callable[[Region], bool] | None:
    """Return a function that tells whether a region touches the wanted area.

    Parameters
    ----------
    cell
        The cell.
    area
        GeoJSON geometry in degrees; None for everything.

    Returns
    -------
    callable or None
        None where all do.
    """
    if area is None:
        return None
    from odc.geo.geom import Geometry
    from shapely.geometry import box as shapely_box
    from shapely.prepared import prep

    grid = geobox_of(cell)
    around: Any = grid.extent.to_crs("EPSG:4326", resolution=outline_step(grid.extent))
    near: Any = Geometry(dict(area), "EPSG:4326").intersection(around.buffer(0.1))
    inside = near if near.is_empty else near.to_crs(cell.crs, resolution=outline_step(near))
    prepared = prep(inside.geom)
    a, _, c, _, e, f = cell.transform
    known: dict[Region, bool] = {}

    def wanted(region: Region) -> bool:
        if region not in known:
            (top, bottom), (left, right) = region.y, region.x
            sides = sorted((c + left * a, c + right * a)), sorted((f + top * e, f + bottom * e))
            known[region] = bool(prepared.intersects(shapely_box(sides[0][0], sides[1][0], sides[0][1], sides[1][1])))
        return known[region]

    return wanted
