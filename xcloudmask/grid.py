"""The grid of a cube: which dimensions are y, x and time, and how many metres a pixel has.

Coordinates are read (they are numpy indexes); pixels never are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterator
from typing import Any

import xarray as xr

from xcloudmask.errors import NotACubeError

__all__ = ["metres_per_degree", "resolution_m", "spatial_dims", "time_dim"]

_PAIRS = (
    ("y", "x"),
    ("latitude", "longitude"),
    ("lat", "lon"),
    ("northing", "easting"),
    ("yc", "xc"),
    ("line", "sample"),
)
_TIMES = ("time", "t", "times", "date", "datetime", "valid_time")
_STANDARD_NAMES = {"y": ("projection_y_coordinate", "latitude"), "x": ("projection_x_coordinate", "longitude")}
_DEGREES = ("degree", "degrees", "degrees_north", "degrees_east", "degree_north", "degree_east", "deg")
_METRES = {"m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "meters": 1.0, "km": 1000.0}

_WGS84_A = 6378137.0
_WGS84_E2 = 6.69437999014e-3


def spatial_dims(obj: xr.DataArray | xr.Dataset) -> tuple[str, str]:
    """Return the names of the y and the x dimension.

    They are found by name (y/x, latitude/longitude, lat/lon, northing/easting; case does not matter), then by the CF
    attributes ``axis`` and ``standard_name`` of their coordinates.

    Parameters
    ----------
    obj
        A cube.

    Returns
    -------
    tuple of str
        (y, x).

    Raises
    ------
    NotACubeError
        No such pair of dimensions.

    Examples
    --------
    >>> spatial_dims(xr.DataArray([[[1]]], dims=("time", "lat", "lon")))
    ('lat', 'lon')
    """
    by_name = {str(dim).casefold(): str(dim) for dim in obj.sizes}
    for y, x in _PAIRS:
        if y in by_name and x in by_name:
            return by_name[y], by_name[x]
    y_found, x_found = _dim_by_cf(obj, "y"), _dim_by_cf(obj, "x")
    if y_found is not None and x_found is not None:
        return y_found, x_found
    found = ", ".join(repr(str(dim)) for dim in obj.sizes) or "none"
    raise NotACubeError(
        f"No spatial dimensions found. Dimensions: {found}. Expected a pair such as 'y' and 'x', 'latitude' and "
        "'longitude', 'lat' and 'lon' or 'northing' and 'easting'. Type: "
        "cube.rename({'<name of the rows>': 'y', '<name of the columns>': 'x'})"
    )


def _dim_by_cf(obj: xr.DataArray | xr.Dataset, axis: str) -> str | None:
    for dim in obj.sizes:
        attrs = obj.coords[dim].attrs if dim in obj.coords else {}
        if str(attrs.get("axis", "")).casefold() == axis or attrs.get("standard_name") in _STANDARD_NAMES[axis]:
            return str(dim)
    return None


def time_dim(obj: xr.DataArray | xr.Dataset) -> str | None:
    """Return the name of the time dimension, or None.

    Parameters
    ----------
    obj
        A cube.

    Returns
    -------
    str or None
        A dimension called time (t, date, ...), else one whose coordinate holds dates.

    Examples
    --------
    >>> time_dim(xr.DataArray([[[1]]], dims=("time", "y", "x")))
    'time'
    """
    by_name = {str(dim).casefold(): str(dim) for dim in obj.sizes}
    for name in _TIMES:
        if name in by_name:
            return by_name[name]
    for dim in obj.sizes:
        if dim in obj.coords and obj.coords[dim].dtype.kind == "M":
            return str(dim)
    return None


def resolution_m(obj: xr.DataArray | xr.Dataset) -> tuple[float, float] | None:
    """Return the size of a pixel in metres.

    The spacing of the coordinates, else the geotransform, in the units of the CRS. Degrees become metres at the centre
    latitude. Where nothing tells the units (no CRS, no ``units`` attribute, no telling name), nothing is assumed.

    Parameters
    ----------
    obj
        A cube.

    Returns
    -------
    tuple of float or None
        (y, x) in metres, both positive; None where it cannot be known.

    Raises
    ------
    NotACubeError
        No spatial dimensions.

    Examples
    --------
    >>> grid = xr.DataArray([[1, 2], [3, 4]], dims=("y", "x"), coords={"y": [20, 0], "x": [0, 10]})
    >>> resolution_m(grid) is None
    True
    >>> resolution_m(grid.assign_attrs(crs="EPSG:32631"))
    (20.0, 10.0)
    """
    y, x = spatial_dims(obj)
    spacing = _spacing(obj, y, 5), _spacing(obj, x, 1)
    if spacing[0] is None or spacing[1] is None:
        return None
    unit = _units(obj, y, x)
    if unit is None:
        return None
    if unit == "degrees":
        if y not in obj.coords:
            return None
        north, east = metres_per_degree(_centre(obj, y))
        return spacing[0] * north, spacing[1] * east
    return spacing[0] * float(unit), spacing[1] * float(unit)


def metres_per_degree(latitude: float) -> tuple[float, float]:
    """Return the metres of one degree of latitude and of longitude.

    Parameters
    ----------
    latitude
        In degrees.

    Returns
    -------
    tuple of float
        (northwards, eastwards) in metres.

    Notes
    -----
    Radii of curvature of the WGS 84 ellipsoid (NIMA TR8350.2): meridian and prime vertical.

    Examples
    --------
    >>> [round(metres) for metres in metres_per_degree(0.0)]
    [110574, 111319]
    """
    phi = math.radians(min(max(latitude, -89.9), 89.9))
    bulge = 1.0 - _WGS84_E2 * math.sin(phi) ** 2
    meridian = _WGS84_A * (1.0 - _WGS84_E2) / bulge**1.5
    parallel = _WGS84_A / math.sqrt(bulge) * math.cos(phi)
    return math.radians(meridian), math.radians(parallel)


def _spacing(obj: xr.DataArray | xr.Dataset, dim: str, geotransform_index: int) -> float | None:
    """Mean distance of pixel centres; one pixel has none, so ask the loader's attributes."""
    # coords.get(dim) would make up 0, 1, 2, ... where the dimension has no coordinate.
    coord = obj.coords[dim] if dim in obj.coords else None  # noqa: SIM401
    if coord is not None and coord.dtype.kind not in "iuf":
        return None
    if coord is not None and coord.size > 1:
        step = abs(float(coord[-1]) - float(coord[0])) / (coord.size - 1)
        return step if step > 0 and math.isfinite(step) else None
    for step in _declared_spacing(obj, coord, geotransform_index):
        if step > 0 and math.isfinite(step):
            return step
    return None


def _declared_spacing(
    obj: xr.DataArray | xr.Dataset, coord: xr.DataArray | None, geotransform_index: int
) -> Iterator[float]:
    if coord is not None and isinstance(coord.attrs.get("resolution"), int | float):
        yield abs(float(coord.attrs["resolution"]))
    for attrs in _crs_attrs(obj):
        parts = str(attrs.get("GeoTransform", "")).split()
        if len(parts) == 6:
            try:
                yield abs(float(parts[geotransform_index]))
            except ValueError:
                continue


def _centre(obj: xr.DataArray | xr.Dataset, dim: str) -> float:
    coord = obj.coords[dim]
    return (float(coord[0]) + float(coord[-1])) / 2


def _units(obj: xr.DataArray | xr.Dataset, y: str, x: str) -> float | str | None:
    """Metres of one unit of the coordinates, or "degrees", or None where nothing tells."""
    for text in _crs_texts(obj, y, x):
        unit = _unit_of_crs(text)
        if unit is not None:
            return unit
    units = {str(obj.coords[dim].attrs.get("units", "")).casefold() for dim in (y, x) if dim in obj.coords}
    if len(units & _METRES.keys()) == 1:
        return _METRES[units.pop()] if len(units) == 1 else None
    if (units and units <= set(_DEGREES)) or y.casefold() in ("latitude", "lat"):
        return "degrees"
    return None


def _crs_attrs(obj: xr.DataArray | xr.Dataset) -> Iterator[dict[Hashable, Any]]:
    """Attributes of grid mapping variables: scalar, and with a WKT (rioxarray, odc-geo, CF)."""
    scalars: dict[Hashable, xr.DataArray] = {name: coord for name, coord in obj.coords.items() if coord.ndim == 0}
    if isinstance(obj, xr.Dataset):
        scalars |= {name: var for name, var in obj.data_vars.items() if var.ndim == 0}
    for var in scalars.values():
        if "crs_wkt" in var.attrs or "spatial_ref" in var.attrs or "GeoTransform" in var.attrs:
            yield dict(var.attrs)


def _crs_texts(obj: xr.DataArray | xr.Dataset, y: str, x: str) -> Iterator[str]:
    """Every declaration of a CRS, the most reliable first."""
    for attrs in _crs_attrs(obj):
        yield from (str(attrs[key]) for key in ("crs_wkt", "spatial_ref") if key in attrs)
    holders = [obj.coords[dim].attrs for dim in (y, x) if dim in obj.coords] + [obj.attrs]
    yield from (str(attrs[key]) for attrs in holders for key in ("crs", "crs_wkt") if key in attrs)
    for name in ("proj:code", "proj:epsg", "epsg"):
        coord = obj.coords.get(name)
        # A coordinate along time may be a dask array, and scenes may differ: only a scalar is read.
        if coord is not None and coord.ndim == 0 and coord.chunks is None:
            text = str(coord.item())
            yield f"EPSG:{text}" if re.fullmatch(r"\d+", text) else text


def _unit_of_crs(text: str) -> float | str | None:
    # odc.geo loads pyproj, and neither rasterio nor the accessors of odc.geo.xr.
    from odc.geo import CRS, CRSError

    try:
        crs = CRS(text)
    except CRSError:
        return None
    if crs.geographic:
        return "degrees"
    factor = crs.proj.axis_info[0].unit_conversion_factor if crs.proj.axis_info else None
    return float(factor) if factor else None
