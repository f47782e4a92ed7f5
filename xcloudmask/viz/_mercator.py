"""From the grid of a cube to the grid of web maps: which pixel lies where."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudmask.errors import InputError
from xcloudmask.grid import spatial_dims
from xcloudmask.io._georef import affine_of, crs_of

__all__ = ["WebGrid", "web_grid"]

_RADIUS_M = 6378137.0
_LATITUDE_MAX = 85.0511287798066
"""Where the square map of the world ends."""
_SAMPLES = 33
"""Points along each axis of the cube that tell where it lies."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WebGrid:
    """Pixels of a picture in Web Mercator, and the pixel of the cube that each of them shows."""

    bounds: tuple[tuple[float, float], tuple[float, float]]
    """(south, west), (north, east) in degrees."""
    rows: npt.NDArray[np.intp]
    """(y, x) row in the cube; 0 outside."""
    columns: npt.NDArray[np.intp]
    """(y, x) column in the cube; 0 outside."""
    inside: npt.NDArray[np.bool_]
    """(y, x): whether there is a pixel of the cube."""

    def show(self, layer: npt.NDArray[Any], *, outside: Any) -> npt.NDArray[Any]:
        """Bring a layer of the cube onto the map: the nearest pixel of each.

        Parameters
        ----------
        layer
            (y, x) or (y, x, channel).
        outside
            The value beside the cube.

        Returns
        -------
        numpy.ndarray
        """
        taken = layer[self.rows, self.columns]
        taken[~self.inside] = outside
        return taken


def web_grid(layer: xr.DataArray, *, max_px: int) -> WebGrid:
    """Find the place of a cube on a web map.

    Parameters
    ----------
    layer
        (..., y, x) with coordinates and a CRS; no pixel is read.
    max_px
        Longest side of the picture.

    Returns
    -------
    WebGrid

    Notes
    -----
    Web Mercator is EPSG:3857, a sphere of 6378137 m; datums are shifted by PROJ.
    """
    crs, y_edges, x_edges = _georeference(layer)
    forward, back, geographic = _transformers(crs)
    west, south, east, north = _extent(forward, back, y_edges, x_edges, geographic=geographic)
    rows, columns = layer.sizes[spatial_dims(layer)[0]], layer.sizes[spatial_dims(layer)[1]]
    height, width = _size(west, south, east, north, longest=min(max_px, 2 * max(rows, columns)))
    longitude = west + (np.arange(width) + 0.5) * (east - west) / width
    up = _northing(north) - (np.arange(height) + 0.5) * (_northing(north) - _northing(south)) / height
    latitude = np.degrees(np.arctan(np.sinh(up)))
    grid_longitude, grid_latitude = np.meshgrid(longitude, latitude)
    if geographic:
        # Longitudes of the cube may run from -180 or from 0.
        first = min(x_edges[0], x_edges[-1])
        grid_longitude = (grid_longitude - first) % 360.0 + first
    x, y = (np.asarray(values) for values in back.transform(grid_longitude, grid_latitude))
    row, row_inside = _index(y_edges, y)
    column, column_inside = _index(x_edges, x)
    inside = row_inside & column_inside
    return WebGrid(
        bounds=((south, west), (north, east)),
        rows=np.where(inside, row, 0),
        columns=np.where(inside, column, 0),
        inside=inside,
    )


def _georeference(layer: xr.DataArray) -> tuple[Any, Floats, Floats]:
    """Return the CRS and the borders of rows and columns, or say what is missing."""
    crs = crs_of(layer)
    if crs is None:
        raise InputError(
            "This mask has no CRS, so its place on a map is not known. Type: mask = mask.rio.write_crs('EPSG:...') "
            "with the CRS of its coordinates (import rioxarray first), or xcloudmask.plot(mask) for a picture."
        )
    y, x = spatial_dims(layer)
    for dim in (y, x):
        if dim not in layer.coords or layer.coords[dim].dtype.kind not in "iuf":
            raise InputError(
                f"This mask has no coordinates along {dim!r}, so its place on a map is not known. "
                "Type: mask = mask.assign_coords(y=..., x=...) with the centres of the pixels."
            )
    affine = affine_of(layer)
    steps = (None, None) if affine is None else (affine[4], affine[0])
    y_edges, x_edges = (
        _edges(np.asarray(layer.coords[dim].to_numpy(), float), step, dim)
        for dim, step in zip((y, x), steps, strict=True)
    )
    return crs, y_edges, x_edges


def _edges(centres: Floats, step: float | None, dim: str) -> Floats:
    """Return the borders of pixels, halfway between their centres."""
    if centres.size == 1:
        if step is None:
            raise InputError(f"There is one pixel along {dim!r}, and nothing tells how large it is.")
        return np.array([centres[0] - step / 2, centres[0] + step / 2])
    steps = np.diff(centres)
    if not (np.all(steps > 0) or np.all(steps < 0)):
        raise InputError(f"The coordinates along {dim!r} neither grow nor fall throughout. Type: mask.sortby({dim!r})")
    middles = centres[:-1] + steps / 2
    return np.concatenate([[centres[0] - steps[0] / 2], middles, [centres[-1] + steps[-1] / 2]])


def _transformers(crs: Any) -> tuple[Any, Any, bool]:
    """Return the ways from the CRS to longitude and latitude and back, and whether the CRS is itself in degrees."""
    from pyproj import Transformer

    forward = Transformer.from_crs(crs.proj, "EPSG:4326", always_xy=True)
    return forward, Transformer.from_crs("EPSG:4326", crs.proj, always_xy=True), bool(crs.geographic)


def _extent(
    forward: Any, back: Any, y_edges: Floats, x_edges: Floats, *, geographic: bool
) -> tuple[float, float, float, float]:
    """Return west, south, east and north of the cube, in degrees."""
    x, y = (values.ravel() for values in np.meshgrid(_spread(x_edges), _spread(y_edges)))
    longitude, latitude = (np.asarray(values) for values in forward.transform(x, y))
    if geographic:
        # PROJ wraps what lies beyond 180 degrees, so longitudes are taken as they are.
        west, east = sorted((float(x_edges[0]), float(x_edges[-1])))
        known = np.isfinite(latitude) & np.isfinite(longitude)
        longitude = np.linspace(west, min(east, west + 360.0), known.size)
    else:
        known = _same_place(back, longitude, latitude, x, y)
    longitude, latitude = longitude[known], latitude[known]
    if not geographic and longitude.size and np.ptp(longitude) > 180.0:
        turned = np.where(longitude < 0, longitude + 360.0, longitude)
        # Across the 180th meridian the cube is narrower when counted from 0.
        longitude = min(longitude, turned, key=np.ptp)
    latitude = np.clip(latitude, -_LATITUDE_MAX, _LATITUDE_MAX)
    if not longitude.size or np.ptp(latitude) == 0 or np.ptp(longitude) == 0:
        raise InputError(
            "No part of this mask lies on a web map: its coordinates do not fit its CRS, or it lies beyond 85 degrees "
            "north or south. Type: xcloudmask.plot(mask)"
        )
    return float(longitude.min()), float(latitude.min()), float(longitude.max()), float(latitude.max())


def _same_place(back: Any, longitude: Floats, latitude: Floats, x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
    """Tell points on the globe from those beside it, which PROJ may bring to some other place on it."""
    x_again, y_again = (np.asarray(values) for values in back.transform(longitude, latitude))
    # There and back, datums may differ by some metres; points beside the globe are off by much more.
    close = max(float(np.ptp(x)) * 0.1, float(np.ptp(y)) * 0.1, 1000.0)
    with np.errstate(invalid="ignore"):
        same: npt.NDArray[np.bool_] = (np.abs(x_again - x) < close) & (np.abs(y_again - y) < close)
    return same & np.isfinite(longitude) & np.isfinite(latitude)


def _spread(edges: Floats) -> Floats:
    taken: Floats = edges[np.linspace(0, edges.size - 1, min(_SAMPLES, edges.size)).round().astype(int)]
    return taken


def _northing(latitude: float) -> float:
    """Return y of Web Mercator, in radii."""
    return math.asinh(math.tan(math.radians(latitude)))


def _size(west: float, south: float, east: float, north: float, *, longest: int) -> tuple[int, int]:
    wide, tall = math.radians(east - west), _northing(north) - _northing(south)
    scale = longest / max(wide, tall)
    return max(1, round(tall * scale)), max(1, round(wide * scale))


def _index(edges: Floats, values: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Return the pixel that each value lies in, and whether there is one."""
    falling = edges[0] > edges[-1]
    ordered = edges[::-1] if falling else edges
    known = np.isfinite(values)
    found = np.searchsorted(ordered, np.where(known, values, ordered[0]), side="right") - 1
    inside = known & (values >= ordered[0]) & (values <= ordered[-1])
    found = np.clip(found, 0, edges.size - 2)
    return (edges.size - 2 - found if falling else found), inside
