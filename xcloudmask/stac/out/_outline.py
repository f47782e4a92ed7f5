"""From pixels to a GeoJSON geometry: the convex outline of the data in longitude and latitude.

RFC 7946: WGS 84, exterior rings counterclockwise, shapes across the antimeridian cut at it (section 3.1.9), and
bounding boxes whose west is larger than their east there (section 5.2), or that hold all longitudes at a pole (5.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["outline_of_pixels", "to_geojson"]

Affine6 = tuple[float, float, float, float, float, float]
Points = npt.NDArray[np.float64]

_PIECES = 48
"""Parts that the longer sides of an outline are cut into: straight lines of a projection are curves in degrees."""
_DIGITS = 7
"""Decimals of a degree: a centimetre."""
_GRID_DIGITS = 9
"""Longitudes that were moved by 360 degrees are rounded to so many decimals, so that ends that meet are equal."""
_SIMPLE_DEG = 1e-6
"""Points that lie that close to the line between others are left out: a decimetre."""


def outline_of_pixels(left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], transform: Affine6) -> Any | None:
    """Return the convex hull of the pixels with data, in the coordinates of the raster.

    Parameters
    ----------
    left, right
        First column with data of each row, and the last one plus 1; equal where a row has none.
    transform
        From pixel corners to coordinates.

    Returns
    -------
    shapely Polygon or None
        None where no pixel has data.

    Examples
    --------
    >>> rows = np.array([0, 2]), np.array([2, 2])
    >>> outline_of_pixels(*rows, (10.0, 0.0, 0.0, 0.0, -10.0, 0.0)).bounds
    (0.0, -10.0, 20.0, 0.0)
    """
    from shapely.geometry import MultiPoint

    rows = np.flatnonzero(right > left)
    if rows.size == 0:
        return None
    columns = np.concatenate([left[rows], right[rows], left[rows], right[rows]]).astype(float)
    lines = np.concatenate([rows, rows, rows + 1, rows + 1]).astype(float)
    a, b, c, d, e, f = transform
    return MultiPoint(np.column_stack([a * columns + b * lines + c, d * columns + e * lines + f])).convex_hull


def to_geojson(outline: Any, crs: Any) -> tuple[dict[str, Any], list[float]] | None:
    """Return an outline as GeoJSON geometry with its bounding box, in degrees.

    Parameters
    ----------
    outline
        shapely Polygon in the coordinates of `crs`.
    crs
        odc.geo.CRS.

    Returns
    -------
    tuple or None
        (Polygon or MultiPolygon, [west, south, east, north]); None where it lies outside of what the CRS can map.
    """
    ring = _degrees(_off_the_pole(outline, crs), crs)
    if len(ring) < 3:
        return None
    ring = _unwrapped(ring)
    winding = _step(ring[-1, 0], ring[0, 0]) + ring[-1, 0] - ring[0, 0]
    if abs(winding) > 180:
        ring = _over_the_pole(ring, winding)
    return _cut(ring)


def _off_the_pole(outline: Any, crs: Any) -> Any:
    """Move an outline whose border runs through a pole a little inwards: there a border has no longitude."""
    from shapely.geometry import Point

    small = 1e-6 * math.sqrt(outline.area)
    for pole in _poles(crs):
        if outline.boundary.distance(Point(pole)) < small:
            return outline.buffer(-2 * small, join_style="mitre")
    return outline


def _poles(crs: Any) -> list[tuple[float, float]]:
    """Where the poles lie in a projection that maps them to one point each."""
    if crs.geographic:
        return []
    found = []
    for latitude in (90.0, -90.0):
        points = _transform("EPSG:4326", crs, np.array([[0.0, latitude], [90.0, latitude]]))
        if np.isfinite(points).all() and np.allclose(points[0], points[1], atol=1e-3):
            found.append((float(points[0, 0]), float(points[0, 1])))
    return found


def _degrees(outline: Any, crs: Any) -> Points:
    """Return the open ring of an outline in degrees, with points along its sides; what cannot be mapped is left out."""
    corners = np.asarray(outline.exterior.coords, float)
    length = outline.exterior.length
    poles = [np.array(pole) for pole in _poles(crs)]
    sides = [_along(first, last, length, poles) for first, last in pairwise(corners)]
    placed = np.concatenate(sides)
    points = _transform(crs, "EPSG:4326", placed)
    # Beyond the edge of the map some projections wrap around instead of giving up: such points do not come back.
    back = _transform("EPSG:4326", crs, points)
    there = np.isfinite(points).all(axis=1)
    if not crs.geographic:
        there &= np.abs(back - placed).max(axis=1) < 1e-3 * length
    return points[there]


def _along(first: Points, last: Points, length: float, poles: Sequence[Points]) -> Points:
    """Return points along one side, its end left out: evenly, and close together where it passes a pole."""
    way = last - first
    size = float(np.hypot(*way))
    count = max(1, math.ceil(size / length * _PIECES))
    places = set((np.arange(count) / count).tolist())
    for pole in poles:
        nearest = float(np.clip(way @ (pole - first) / size**2, 0.0, 1.0))
        if np.hypot(*(first + nearest * way - pole)) < length / _PIECES:
            near = 0.5 ** np.arange(2, 14)
            places |= {nearest, *(nearest + near).tolist(), *(nearest - near).tolist()}
    kept = np.array(sorted(place for place in places if 0.0 <= place < 1.0))
    points: Points = first + way * kept[:, None]
    return points


def _transform(source: Any, target: Any, points: Points) -> Points:
    from pyproj import Transformer

    source, target = (getattr(crs, "proj", crs) for crs in (source, target))
    transformer = Transformer.from_crs(source, target, always_xy=True)
    return np.column_stack(transformer.transform(points[:, 0], points[:, 1]))


def _step(start: float, end: float) -> float:
    """Return the shorter way from one longitude to another, in degrees."""
    return (end - start + 180.0) % 360.0 - 180.0


def _unwrapped(ring: Points) -> Points:
    """Let longitudes run on beyond 180 degrees, so that neighbours are neighbours."""
    unwrapped = np.unwrap(ring[:, 0], period=360.0)
    return np.column_stack([unwrapped, np.clip(ring[:, 1], -90.0, 90.0)])


def _over_the_pole(ring: Points, winding: float) -> Points:
    """Close a ring that goes once around the Earth along the pole that it holds."""
    pole = math.copysign(90.0, float(ring[:, 1].mean()))
    turn = math.copysign(360.0, winding)
    first, last = ring[0], ring[0] + [turn, 0.0]
    return np.vstack([ring, last, [last[0], pole], [first[0], pole]])


def _cut(ring: Points) -> tuple[dict[str, Any], list[float]] | None:
    """Cut an unwrapped ring at the antimeridian."""
    from shapely import affinity, unary_union
    from shapely.geometry import MultiPolygon, Polygon, box
    from shapely.geometry.polygon import orient

    # Latitudes like 2e-313, which are as good as 0, lead geometry astray.
    shape = Polygon(np.round(ring, _GRID_DIGITS)).buffer(0)
    west, _, east, _ = shape.bounds
    parts: list[Any] = []
    for turn in range(math.floor((west + 180.0) / 360.0), math.ceil((east + 180.0) / 360.0)):
        moved = affinity.translate(shape, xoff=-360.0 * turn)
        inside = moved.intersection(box(-180.0, -90.0, 180.0, 90.0))
        parts.append(inside)
    # All longitudes: the two ends of the ring meet again somewhere else than at the antimeridian.
    joined = unary_union(parts, grid_size=10.0**-_GRID_DIGITS)
    rounded = [_rounded(orient(part)) for part in getattr(joined, "geoms", [joined]) if part.geom_type == "Polygon"]
    kept = [part for part in rounded if part is not None]
    if not kept:
        return None
    whole = kept[0] if len(kept) == 1 else MultiPolygon(kept)
    return _plain(whole), _bounds(kept)


def _rounded(polygon: Any) -> Any | None:
    from shapely.geometry import Polygon

    simple = polygon.simplify(_SIMPLE_DEG)
    ring = np.round(np.asarray(simple.exterior.coords, float), _DIGITS) + 0.0  # no -0.0
    ring = ring[np.r_[True, np.any(np.diff(ring, axis=0) != 0, axis=1)]]
    return Polygon(ring) if len(ring) >= 4 else None


def _plain(shape: Any) -> dict[str, Any]:
    def ring_of(polygon: Any) -> list[list[list[float]]]:
        return [[[float(x), float(y)] for x, y in polygon.exterior.coords]]

    if shape.geom_type == "Polygon":
        return {"type": "Polygon", "coordinates": ring_of(shape)}
    return {"type": "MultiPolygon", "coordinates": [ring_of(part) for part in shape.geoms]}


def _bounds(parts: Sequence[Any]) -> list[float]:
    wests, souths, easts, norths = (list(side) for side in zip(*(part.bounds for part in parts), strict=True))
    south, north = min(souths), max(norths)
    east_side = [west for west, east in zip(wests, easts, strict=True) if east == 180.0]
    west_side = [east for west, east in zip(wests, easts, strict=True) if west == -180.0]
    whole = any(west == -180.0 and east == 180.0 for west, east in zip(wests, easts, strict=True))
    if len(parts) > 1 and east_side and west_side and not whole:
        return [min(east_side), south, max(west_side), north]
    return [min(wests), south, max(easts), north]
