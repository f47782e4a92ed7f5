"""How much of a mask is clear, cloud or shadow: per date, over an area, per tile. All of it is lazy."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xcloudmask._counts import Counting, count, count_area, tile_edges
from xcloudmask._geometries import Areas, areas_on
from xcloudmask._mask_checks import style_of
from xcloudmask.classes import CLASS_DIM, get_style
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError, NotACubeError
from xcloudmask.grid import resolution_m, spatial_dims

__all__ = ["class_fractions", "clear_fraction"]

GEOMETRY_DIM = "geometry"
"""The dimension of several geometries."""

_PLANE = "_plane"
_Dims = Hashable | Iterable[Hashable] | None


def class_fractions(
    mask: xr.DataArray,
    *,
    dim: _Dims = None,
    geometry: Any = None,
    geometry_crs: Any = None,
    all_touched: bool = False,
    tile_px: int | None = None,
    tile_m: float | None = None,
) -> xr.DataArray:
    """Return the share of each class among the pixels that have data.

    Each pixel counts once, whatever its area: on a grid in degrees, rows near a pole weigh as much as those near the
    equator.

    Parameters
    ----------
    mask
        (..., y, x) uint8 mask of any output style, or (..., cloud_class, y, x) percent. The share of a class in percent
        is the mean over the pixels.
    dim
        The dims to count over; None is the two spatial dims. With tiles: what to count over besides.
    geometry
        Where to count: a shapely geometry, a GeoJSON dictionary or an odc.geo Geometry; or several, in a GeoSeries, a
        FeatureCollection or a list, which become the dim ``geometry``. It is rasterised block by block, and only the
        blocks that it touches are computed. What lies outside the mask does not count.
    geometry_crs
        CRS of a geometry that does not bring one. None is longitude and latitude (EPSG:4326), ``"mask"`` the
        coordinates of the mask.
    all_touched
        True counts each pixel that the geometry touches; False those whose centre lies inside.
    tile_px
        Count in tiles of so many pixels along y and x; the last tiles may be smaller.
    tile_m
        The same in metres, rounded to whole pixels.

    Returns
    -------
    DataArray
        (..., cloud_class) float64 in 0..1; with tiles (..., cloud_class, y, x), at the centres of the tiles. NaN where
        no pixel has data. Lazy where the mask is. The coordinate ``valid_fraction`` is the share of pixels with data
        among all; it is lazy too.

    Raises
    ------
    NotACubeError
        `mask` is neither a mask nor percent.
    ArgumentError, ArgumentTypeError
        The mask has no such dim, an argument has a wrong value, or two arguments exclude each other.
    InputError
        A geometry lies outside the mask or cannot be placed on it, or the size of a pixel is not known in metres.

    Notes
    -----
    Counts are integers until they are divided: shares are the same to the last bit for every layout of chunks.
    Geometries are rasterised by GDAL. A line or a polygon can miss the centres of all pixels: its shares are NaN, and
    `all_touched` helps.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xcloudmask.classes import get_style, mask_attrs
    >>> codes = np.array([[0, 0, 0, 1, 255]], np.uint8)
    >>> mask = xr.DataArray(codes, dims=("y", "x"), attrs=mask_attrs(get_style("4-class")))
    >>> shares = class_fractions(mask)
    >>> shares.to_series().to_dict()
    {'clear': 0.75, 'thick_cloud': 0.25, 'thin_cloud': 0.0, 'cloud_shadow': 0.0}
    >>> float(shares.valid_fraction)
    0.8
    """
    names, codes = _classes(mask)
    y, x = spatial_dims(mask)
    tiles = _tile_px(mask, tile_px, tile_m)
    if geometry is not None and tiles is not None:
        raise ArgumentError("geometry= and tiles exclude each other. Type one of them, or: mask.rio.clip(...) first.")
    dims = _count_dims(mask, dim, tiled=tiles is not None)
    if geometry is None:
        counts = _count(mask, codes, dims, tiles=tiles)
    else:
        if not {y, x} <= set(dims):
            raise ArgumentError(f"geometry= counts over {y!r} and {x!r}. Type: dim={[y, x, *dims]!r}, or no dim=.")
        areas = areas_on(mask, geometry, geometry_crs=geometry_crs, all_touched=all_touched)
        counts = _count(mask, codes, dims, areas=areas)
        if areas.labels is not None:
            counts = counts.assign_coords({GEOMETRY_DIM: _labels(areas.labels)})
    return _shares(counts, names, codes)


def clear_fraction(
    mask: xr.DataArray,
    *,
    dim: _Dims = None,
    geometry: Any = None,
    geometry_crs: Any = None,
    all_touched: bool = False,
    tile_px: int | None = None,
    tile_m: float | None = None,
) -> xr.DataArray:
    """Return the share of clear pixels among those that have data.

    Clear is code 0: clear land and water in a 4-class mask, all but cloud (so shadow too) in a "cloud-noncloud" mask.

    Parameters
    ----------
    mask
        (..., y, x) uint8 mask, or percent.
    dim
        The dims to count over; None is the two spatial dims.
    geometry, geometry_crs, all_touched, tile_px, tile_m
        Where to count: see `class_fractions`.

    Returns
    -------
    DataArray
        float64 in 0..1 over the other dims; NaN where no pixel has data. Lazy where the mask is.

    Raises
    ------
    NotACubeError
        `mask` is no mask.
    ArgumentError, ArgumentTypeError, InputError
        As `class_fractions`.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xcloudmask.classes import get_style, mask_attrs
    >>> codes = np.array([[0, 0, 0, 1, 255]], np.uint8)
    >>> mask = xr.DataArray(codes, dims=("y", "x"), attrs=mask_attrs(get_style("4-class")))
    >>> float(clear_fraction(mask))
    0.75
    """
    shares = class_fractions(
        mask,
        dim=dim,
        geometry=geometry,
        geometry_crs=geometry_crs,
        all_touched=all_touched,
        tile_px=tile_px,
        tile_m=tile_m,
    )
    clear = shares.isel({CLASS_DIM: 0}, drop=True).drop_vars("valid_fraction").rename("clear_fraction")
    return clear.drop_attrs(deep=False).assign_attrs(long_name="clear fraction", units="1")


def _classes(mask: xr.DataArray) -> tuple[tuple[str, ...], int | None]:
    """Names of the classes, and their number in a mask; None in percent."""
    if not (isinstance(mask, xr.DataArray) and CLASS_DIM in mask.dims and "units" in mask.attrs):
        names = style_of(mask).meanings
        return names, len(names)
    if mask.attrs["units"] != "percent" or mask.dtype != np.uint8:
        raise NotACubeError(
            f"These are {mask.dtype} shares in units of {mask.attrs['units']!r}. Expected a mask or uint8 percent. "
            "Type: predict(categorise=False)"
        )
    if CLASS_DIM in mask.coords:
        return tuple(str(name) for name in mask.coords[CLASS_DIM].values), None
    return get_style(mask.attrs.get("output_style", "4-class")).meanings, None


def _count_dims(mask: xr.DataArray, dim: _Dims, *, tiled: bool) -> list[Hashable]:
    spatial = spatial_dims(mask)
    if dim is None:
        return [] if tiled else list(spatial)
    dims: list[Hashable] = [dim] if isinstance(dim, str) or not isinstance(dim, Iterable) else list(dim)
    allowed = [name for name in mask.dims if name != CLASS_DIM and not (tiled and name in spatial)]
    unknown = [name for name in dims if name not in allowed]
    if unknown and unknown[0] in mask.dims:
        raise ArgumentError(
            f"dim={unknown[0]!r} cannot be counted over here. Expected some of: {', '.join(map(str, allowed))}."
        )
    if unknown:
        raise ArgumentError(
            f"The mask has no dimension {unknown[0]!r}. Its dimensions: {', '.join(map(str, mask.dims))}."
        )
    return list(dict.fromkeys(dims))


def _tile_px(mask: xr.DataArray, tile_px: int | None, tile_m: float | None) -> tuple[int, int] | None:
    if tile_px is not None and tile_m is not None:
        raise ArgumentError("tile_px= and tile_m= exclude each other. Type one of them.")
    for name, value, kinds in (("tile_px", tile_px, (int, np.integer)), ("tile_m", tile_m, (int, float, np.number))):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise ArgumentTypeError(f"{name}={value!r} is a {type(value).__name__}. Expected a number such as 512.")
        if not 0 < value < np.inf:
            raise ArgumentError(f"{name}={value!r}: expected a number above 0.")
    if tile_m is None:
        return None if tile_px is None else (int(tile_px), int(tile_px))
    pixel = resolution_m(mask)
    if pixel is None:
        raise InputError(
            f"tile_m={tile_m}: the size of a pixel is not known in metres. Type: tile_px=, or "
            "mask = mask.rio.write_crs('EPSG:...')"
        )
    return max(round(tile_m / pixel[0]), 1), max(round(tile_m / pixel[1]), 1)


def _count(
    mask: xr.DataArray,
    codes: int | None,
    dims: list[Hashable],
    *,
    tiles: tuple[int, int] | None = None,
    areas: Areas | None = None,
) -> xr.DataArray:
    """Count what each plane says, as a DataArray with the coordinates that fit."""
    y, x = spatial_dims(mask)
    order = [name for name in mask.dims if name not in (CLASS_DIM, y, x)] + ([CLASS_DIM] if codes is None else [])
    ordered = mask.variable.transpose(*order, y, x)
    axes = tuple(axis - ordered.ndim if axis >= ordered.ndim - 2 else axis for axis in ordered.get_axis_num(dims))
    tile = (1, 1) if tiles is None else tuple(min(size, mask.sizes[d]) for size, d in zip(tiles, (y, x), strict=True))
    most = int(np.prod([mask.sizes[name] for name in dims], dtype=np.int64)) * tile[0] * tile[1]
    counting = Counting(
        codes=codes,
        axes=axes,
        dtype=np.min_scalar_type(most * (100 if codes is None else 1)).name,
        tile_px=None if tiles is None else (tile[0], tile[1]),
    )
    data = ordered.data if mask.chunks is not None else ordered.values
    kept = [*order, _PLANE, y, x]
    if areas is None:
        variable = xr.Variable([name for name in kept if name not in dims], count(data, counting))
    else:
        parts = [count_area(data, counting, area) for area in areas.areas]
        variable = xr.Variable([name for name in kept if name not in dims], parts[0])
        if areas.labels is not None:
            stack = da.stack if mask.chunks is not None else np.stack
            variable = xr.Variable((GEOMETRY_DIM, *variable.dims), stack(parts))
    return _placed(mask, variable, (y, x), counting.tile_px)


def _placed(
    mask: xr.DataArray, counts: xr.Variable, spatial: tuple[str, str], tiles: tuple[int, int] | None
) -> xr.DataArray:
    """Give counts the coordinates of the mask; those of tiles are the centres of the tiles."""
    moved = set(spatial) if tiles is not None else set()
    coords: dict[Hashable, Any] = {
        name: coord
        for name, coord in mask.coords.items()
        if set(coord.dims) <= set(counts.dims) - moved and name != CLASS_DIM
    }
    if tiles is None:
        return xr.DataArray(counts, coords=coords)
    for name, coord in coords.items():
        if "GeoTransform" in coord.attrs:  # that of the pixels, not of the tiles
            attrs = {key: value for key, value in coord.attrs.items() if key != "GeoTransform"}
            coords[name] = xr.Variable((), coord.values, attrs)
    for name, size in zip(spatial, tiles, strict=True):
        if name in mask.indexes:
            centres = mask.indexes[name].to_numpy()
            middle = [(centres[start] + centres[stop - 1]) / 2 for start, stop in tile_edges(centres.size, size)]
            coords[name] = xr.Variable((name,), middle, mask.coords[name].attrs)
    placed = xr.DataArray(counts, coords=coords)
    placed.encoding = {key: mask.encoding[key] for key in ("grid_mapping",) if key in mask.encoding}
    return placed


def _labels(labels: tuple[Hashable, ...]) -> Any:
    values = np.array(labels)
    if values.ndim == 1 and values.dtype.kind != "O":
        return values
    objects = np.empty(len(labels), object)
    objects[:] = labels
    return objects


def _shares(counts: xr.DataArray, names: tuple[str, ...], codes: int | None) -> xr.DataArray:
    """Divide counts: shares of the classes, and of the pixels with data as a coordinate."""
    planes = counts.variable.astype(np.float64)
    pixels = planes.isel({_PLANE: -1})
    if codes is None:
        classes, valid = planes.isel({_PLANE: 0}) / 100, planes.isel({_PLANE: 1})
        seen, pixels = valid.isel({CLASS_DIM: 0}), pixels.isel({CLASS_DIM: 0})
    else:
        classes = planes.isel({_PLANE: slice(codes)})
        valid = seen = classes.sum(_PLANE)
    untyped: Any = valid
    variable = classes / untyped.where(valid > 0)
    dims = [CLASS_DIM if name == _PLANE else name for name in variable.dims]
    untyped = pixels
    shares = xr.DataArray(
        xr.Variable(dims, variable.data, {"long_name": "share of class", "units": "1"}),
        coords={**counts.coords, CLASS_DIM: list(names)},
        name="class_fraction",
    )
    attrs = {"long_name": "share of pixels with data", "units": "1"}
    result = shares.assign_coords(valid_fraction=xr.Variable(seen.dims, (seen / untyped.where(pixels > 0)).data, attrs))
    result.encoding = dict(counts.encoding)
    return result
