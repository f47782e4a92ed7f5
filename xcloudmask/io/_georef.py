"""Where a mask lies: its CRS and affine transform, and the attributes that say so in Zarr."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask.grid import spatial_dims

__all__ = ["affine_of", "crs_of", "geozarr_attrs", "grid_mapping_name", "with_spatial_ref"]

Affine6 = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f) as in rasterio: x = a * column + b * row + c, y = d * column + e * row + f."""

_AGREE = 1e-4
"""Share of a pixel up to which two georeferences are the same."""

PROJ_CONVENTION = {
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/geo-proj/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/geo-proj/blob/v1/README.md",
    "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "name": "proj:",
    "description": "Coordinate reference system information for geospatial data",
}
SPATIAL_CONVENTION = {
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/spatial/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/spatial/blob/v1/README.md",
    "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
    "name": "spatial:",
    "description": "Spatial coordinate information",
}


def grid_mapping_name(array: xr.DataArray) -> Hashable | None:
    """Return the name of the scalar coordinate that holds the CRS, or None.

    Parameters
    ----------
    array
        A mask or a cube.

    Returns
    -------
    Hashable or None

    Examples
    --------
    >>> crs = xr.Variable((), 0, {"crs_wkt": "a projection"})
    >>> grid_mapping_name(xr.DataArray(0, coords={"spatial_ref": crs}))
    'spatial_ref'
    """
    named = array.encoding.get("grid_mapping", array.attrs.get("grid_mapping"))
    candidates = [named, "spatial_ref", *(name for name, coord in array.coords.items() if coord.ndim == 0)]
    for name in candidates:
        if name in array.coords and {"crs_wkt", "spatial_ref"} & set(array.coords[name].attrs):
            return name
    return None


def crs_of(array: xr.DataArray) -> Any | None:
    """Return the CRS that an array declares, or None.

    Parameters
    ----------
    array
        A mask or a cube.

    Returns
    -------
    odc.geo.CRS or None
        From the grid mapping (rioxarray, odc-geo, CF), else from a scalar ``epsg`` or ``proj:code`` (stackstac).

    Examples
    --------
    >>> crs_of(xr.DataArray(0, coords={"epsg": 32631})).to_epsg()
    32631
    """
    from odc.geo import CRS, CRSError

    for text in _crs_texts(array):
        try:
            return CRS(text)
        except CRSError:
            continue
    return None


def _crs_texts(array: xr.DataArray) -> Iterator[str]:
    mapping = grid_mapping_name(array)
    if mapping is not None:
        attrs = array.coords[mapping].attrs
        yield from (str(attrs[key]) for key in ("crs_wkt", "spatial_ref") if key in attrs)
    for name in ("proj:code", "proj:epsg", "epsg"):
        coord = array.coords.get(name)
        if coord is not None and coord.ndim == 0 and coord.chunks is None:
            text = str(coord.item())
            yield f"EPSG:{text}" if re.fullmatch(r"\d+", text) else text


def affine_of(array: xr.DataArray) -> Affine6 | None:
    """Return the affine transform of a regular grid, or None.

    Parameters
    ----------
    array
        (..., y, x) with pixel centres as coordinates.

    Returns
    -------
    tuple of float or None
        From pixel corner (column, row) to coordinates; None without coordinates or where they are not regular.

    Examples
    --------
    >>> affine_of(xr.DataArray(np.zeros((2, 2)), dims=("y", "x"), coords={"y": [15.0, 5.0], "x": [5.0, 15.0]}))
    (10.0, 0.0, 0.0, 0.0, -10.0, 20.0)
    """
    y, x = spatial_dims(array)
    if y not in array.coords or x not in array.coords:
        return None
    a, _, c, _, e, f = _declared_transform(array) or (None,) * 6
    rows, columns = _axis(array, y, step=e, start=f), _axis(array, x, step=a, start=c)
    if rows is None or columns is None:
        return None
    return (columns[0], 0.0, columns[1], 0.0, rows[0], rows[1])


def _declared_transform(array: xr.DataArray) -> Affine6 | None:
    """Return the GeoTransform of the grid mapping: the only spacing that one single pixel has."""
    mapping = grid_mapping_name(array)
    parts = str(array.coords[mapping].attrs.get("GeoTransform", "")).split() if mapping is not None else []
    try:
        c, a, b, f, d, e = (float(part) for part in parts)
    except ValueError:
        return None
    return (a, b, c, d, e, f)


def _axis(array: xr.DataArray, dim: str, *, step: float | None, start: float | None) -> tuple[float, float] | None:
    """Return the spacing and the outer edge of the first pixel along an axis.

    What the grid mapping declares is taken where the coordinates agree with it: they carry rounding errors.
    """
    centres = array.coords[dim].to_numpy()
    if centres.dtype.kind not in "iuf" or centres.size == 0:
        return None
    spacing = step
    if centres.size > 1:
        spacing = float(centres[-1] - centres[0]) / (centres.size - 1)
        if spacing == 0 or not np.allclose(np.diff(centres), spacing, rtol=1e-3, atol=0.0):
            return None
        if step is not None and abs(spacing - step) * centres.size < abs(step) * _AGREE:
            spacing = step
    if spacing is None:
        return None
    edge = float(centres[0]) - spacing / 2
    return spacing, start if start is not None and abs(edge - start) < abs(spacing) * _AGREE else edge


def with_spatial_ref(array: xr.DataArray) -> tuple[xr.DataArray, Hashable | None]:
    """Make sure that a known CRS stands in a grid mapping coordinate.

    Parameters
    ----------
    array
        A mask.

    Returns
    -------
    DataArray
        The array, or a copy with a new coordinate ``spatial_ref``.
    Hashable or None
        The name of the grid mapping; None without a CRS.

    Examples
    --------
    >>> with_spatial_ref(xr.DataArray(0, coords={"epsg": 32631}))[1]
    'spatial_ref'
    """
    name = grid_mapping_name(array)
    if name is not None:
        return array, name
    crs = crs_of(array)
    if crs is None:
        return array, None
    attrs = dict(crs.proj.to_cf()) | {"spatial_ref": crs.to_wkt()}
    return array.assign_coords(spatial_ref=xr.Variable((), crs.to_epsg() or 0, attrs)), "spatial_ref"


def geozarr_attrs(array: xr.DataArray) -> dict[str, Any]:
    """Return the attributes of the Zarr conventions ``proj:`` and ``spatial:``.

    Parameters
    ----------
    array
        (..., y, x) mask.

    Returns
    -------
    dict
        Plain JSON.

    Notes
    -----
    The conventions geo-proj v1 and spatial v1 of zarr-conventions.

    Examples
    --------
    >>> geozarr_attrs(xr.DataArray(np.zeros((2, 2)), dims=("y", "x")))["spatial:dimensions"]
    ['y', 'x']
    """
    y, x = spatial_dims(array)
    conventions = [SPATIAL_CONVENTION]
    height, width = array.sizes[y], array.sizes[x]
    attrs: dict[str, Any] = {"spatial:dimensions": [y, x], "spatial:shape": [height, width]}
    transform = affine_of(array)
    if transform is not None:
        a, _, left, _, e, top = transform
        xs, ys = sorted((left, left + a * width)), sorted((top, top + e * height))
        attrs |= {"spatial:transform": list(transform), "spatial:bbox": [xs[0], ys[0], xs[1], ys[1]]}
        attrs |= {"spatial:transform_type": "affine", "spatial:registration": "pixel"}
    crs = crs_of(array)
    if crs is not None:
        conventions.insert(0, PROJ_CONVENTION)
        epsg = crs.to_epsg()
        attrs |= {"proj:code": f"EPSG:{epsg}"} if epsg else {"proj:wkt2": crs.proj.to_wkt("WKT2_2019")}
    return {"zarr_conventions": conventions, **attrs}
