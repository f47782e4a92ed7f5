"""Geometries as users have them, brought onto the grid of a mask."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask._areas import Area
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError
from xcloudmask.grid import spatial_dims
from xcloudmask.io._georef import affine_of, crs_of

__all__ = ["Areas", "areas_on"]

_LONLAT = "EPSG:4326"
_SEGMENTS = 100
"""Straight lines are cut into so many pieces before they are projected, where they are as long as the geometry."""

_EXPECTED = (
    "Expected a shapely geometry, a GeoJSON dictionary, an odc.geo Geometry, or several: a GeoSeries, a "
    "FeatureCollection or a list."
)


@dataclass(frozen=True, slots=True)
class Areas:
    """The areas that a caller asked for."""

    areas: tuple[Area, ...]
    labels: tuple[Hashable, ...] | None
    """One per area; None for a single geometry."""


def areas_on(mask: xr.DataArray, geometry: Any, *, geometry_crs: Any, all_touched: bool) -> Areas:
    """Bring geometries onto the grid of a mask, and refuse those that lie elsewhere."""
    transform = affine_of(mask)
    if transform is None:
        raise InputError(
            "The mask has no regular grid: a geometry cannot be placed on it. Expected evenly spaced coordinates of x "
            "and y. Type: mask = mask.assign_coords(x=cube.x, y=cube.y)"
        )
    found = _several(geometry)
    single = found is None
    pairs: list[tuple[Hashable, Any]] = [(0, geometry)] if found is None else found
    if not pairs:
        raise ArgumentError(f"geometry= has no geometry in it. {_EXPECTED}")
    areas = []
    for label, one in pairs:
        name = "The geometry" if single else f"Geometry {label!r}"
        placed = _in_pixels(one, mask, transform, geometry_crs, name)
        area = Area.of(placed.pixels, all_touched=all_touched)
        _check_inside(area, placed, mask, transform, name)
        areas.append(area)
    return Areas(tuple(areas), None if single else tuple(label for label, _ in pairs))


@dataclass(frozen=True, slots=True)
class _Placed:
    pixels: Any
    """Shapely, in pixels."""
    bounds: tuple[float, ...]
    """In coordinates of the mask."""


def _several(geometry: Any) -> list[tuple[Hashable, Any]] | None:
    """Labels and geometries of a collection; None for a single geometry."""
    if isinstance(geometry, Mapping):
        if geometry.get("type") != "FeatureCollection":
            return None
        shared = {"crs": geometry["crs"]} if geometry.get("crs") else {}
        features = [shared | feature for feature in geometry.get("features", ())]
        ids = [feature.get("id") for feature in features]
        named = len(set(ids)) == len(ids) and None not in ids
        return list(zip(ids if named else range(len(features)), features, strict=True))
    if hasattr(geometry, "geometry") and hasattr(geometry, "index") and hasattr(geometry, "crs"):
        # GeoSeries and GeoDataFrame of geopandas, which is not needed for that.
        series = geometry.geometry
        return [
            (label, one if geometry.crs is None else _with_crs(one, geometry.crs))
            for label, one in zip(list(series.index), list(series), strict=True)
        ]
    if isinstance(geometry, list | tuple):
        return list(enumerate(geometry))
    return None


def _with_crs(shape: Any, crs: Any) -> Any:
    from odc.geo.geom import Geometry

    return Geometry(shape, crs)


def _in_pixels(
    geometry: Any, mask: xr.DataArray, transform: tuple[float, ...], geometry_crs: Any, name: str
) -> _Placed:
    import shapely
    from odc.geo.geom import Geometry

    shape, crs = _shape_of(geometry, name)
    if shape.is_empty:
        raise ArgumentError(f"{name} is empty. {_EXPECTED}")
    if not shape.is_valid:
        shape = shapely.make_valid(shape)
    source = _source_crs(crs, geometry_crs, name)
    placed = Geometry(shape, source)
    if source is not None:
        target = crs_of(mask)
        if target is None:
            raise InputError(
                "The mask has no CRS: a geometry in another CRS cannot be placed on it. Type: "
                "mask = mask.rio.write_crs('EPSG:...'), or geometry_crs='mask' if it is in coordinates of the mask."
            )
        left, bottom, right, top = shape.bounds
        step = max(right - left, top - bottom) / _SEGMENTS
        shape = placed.to_crs(target, resolution=step if step > 0 else None).geom
    bounds = shape.bounds
    if not np.isfinite(bounds).all():
        found = ", ".join(f"{value:.10g}" for value in placed.geom.bounds)
        raise InputError(
            f"{name} cannot be projected into the CRS of the mask. Its bounds ({found}) were taken for coordinates in "
            f"{source}. If they are others, type geometry_crs='EPSG:...', or 'mask' for those of the mask."
        )
    a, _, left, _, e, upper = transform
    pixels = shapely.transform(shape, lambda xy: (xy - [left, upper]) / [a, e])
    # Parts that overlap would be holes to the rasteriser.
    return _Placed(shapely.union_all([pixels]) if pixels.is_valid else shapely.make_valid(pixels), bounds)


def _shape_of(geometry: Any, name: str) -> tuple[Any, Any]:
    """A shapely geometry, and the CRS that it came with."""
    import shapely
    from odc.geo.geom import Geometry
    from shapely.errors import ShapelyError

    if isinstance(geometry, Geometry):
        return geometry.geom, geometry.crs
    if isinstance(geometry, shapely.Geometry):
        return geometry, None
    described = geometry if isinstance(geometry, Mapping) else getattr(geometry, "__geo_interface__", None)
    if isinstance(geometry, str | PathLike):
        raise ArgumentTypeError(
            f"{name} is a {type(geometry).__name__}. {_EXPECTED} Type: geometry=geopandas.read_file(...), or "
            "json.load(...) for GeoJSON."
        )
    if not isinstance(described, Mapping):
        raise ArgumentTypeError(f"{name} is a {type(geometry).__name__}. {_EXPECTED}")
    crs = _named_crs(described, name)
    if described.get("type") == "Feature":
        described = described.get("geometry") or {}
    try:
        return shapely.geometry.shape(described), crs
    except (ShapelyError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ArgumentError(f"{name} is no GeoJSON geometry: {error}. {_EXPECTED}") from error


def _named_crs(described: Mapping[str, Any], name: str) -> Any:
    """The member "crs" of GeoJSON, as it was before RFC 7946 and as GDAL and QGIS still write it."""
    from odc.geo import CRS, CRSError

    try:
        text = str((described.get("crs") or {})["properties"]["name"])
    except (KeyError, TypeError, AttributeError):
        return None
    if text.endswith("CRS84"):
        return None  # longitude and latitude, as without it
    try:
        return CRS(text)
    except (CRSError, ValueError, TypeError) as error:
        raise ArgumentError(
            f"{name} has the CRS {text!r}, which is unknown: {error}. Expected an EPSG code."
        ) from error


def _source_crs(own: Any, given: Any, name: str) -> Any:
    """The CRS to project from; None for coordinates of the mask."""
    from odc.geo import CRS, CRSError

    if isinstance(given, str) and given == "mask":
        if own is None:
            return None
        raise ArgumentError(f"{name} has the CRS {own}, and geometry_crs='mask' says that it has none. Leave it out.")
    try:
        known = None if given is None else CRS(given)
    except (CRSError, ValueError, TypeError) as error:
        raise ArgumentError(
            f"geometry_crs={given!r} is no CRS: {error}. Expected one such as 'EPSG:4326', or 'mask'."
        ) from error
    if own is not None and known is not None and own != known:
        raise ArgumentError(f"{name} has the CRS {own}, and geometry_crs= says {known}. Leave geometry_crs= out.")
    return own or known or CRS(_LONLAT)


def _check_inside(area: Area, placed: _Placed, mask: xr.DataArray, transform: Iterable[float], name: str) -> None:
    y, x = spatial_dims(mask)
    rows, columns = mask.sizes[y], mask.sizes[x]
    if area.touches((rows, columns)):
        return
    a, _, left, _, e, top = transform
    xs, ys = sorted((left, left + a * columns)), sorted((top, top + e * rows))
    edges = ", ".join(f"{value:.10g}" for value in (xs[0], ys[0], xs[1], ys[1]))
    found = ", ".join(f"{value:.10g}" for value in placed.bounds)
    raise InputError(
        f"{name} lies outside the mask. In the coordinates of the mask its bounds are ({found}), those of the mask "
        f"({edges}). Expected that they overlap: check geometry_crs=, which is {_LONLAT} (longitude, latitude) unless "
        "the geometry has a CRS."
    )
