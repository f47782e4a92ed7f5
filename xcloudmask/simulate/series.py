"""Simulated dates as a lazy xarray cube, shaped as odc-stac would load it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudmask.classes import STYLES, mask_attrs
from xcloudmask.errors import ArgumentError
from xcloudmask.simulate.weather import SeriesSettings

__all__ = ["Layer", "Series", "as_covers", "day_of_year", "lazy_series", "truth_layer"]

_CRS = "EPSG:32631"
_ORIGIN_M = (600_000.0, 5_400_000.0)
"""Upper left corner (x, y) in UTM zone 31 north: 48.7 degrees north."""
_FIRST_DATE = np.datetime64("2024-05-14T10:50:31", "ns")
_REVISIT_DAYS = 10

_Settings = TypeVar("_Settings", bound=SeriesSettings)
_Land = TypeVar("_Land")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A variable of a cube, and where a scene holds it."""

    index: int
    """Number of the layer in each scene."""
    dtype: str
    """Of the variable."""
    attrs: Mapping[str, Any]
    """Of the variable."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """Scenes that one dask task each draws."""

    settings: SeriesSettings
    """What they depend on."""
    scenes: tuple[Any, ...]
    """One (layer, y, x) dask array per date."""
    chunks: int
    """Chunk size in y and x."""

    def dataset(self, layers: Mapping[str, Layer]) -> xr.Dataset:
        """Return variables (time, y, x) with coordinates: x, y and `spatial_ref` in UTM, and time."""
        import dask.array as da

        variables = {}
        for name, layer in layers.items():
            stack = da.stack([scene[layer.index] for scene in self.scenes]).rechunk((1, self.chunks, self.chunks))
            variables[name] = xr.Variable(
                ("time", "y", "x"), stack.astype(layer.dtype), dict(layer.attrs), {"grid_mapping": "spatial_ref"}
            )
        return xr.Dataset(variables, coords=self._coords())

    def _coords(self) -> dict[str, Any]:
        # odc.geo.xr loads rasterio, so it is imported here.
        from affine import Affine
        from odc.geo.geobox import GeoBox
        from odc.geo.xr import xr_coords

        step, (left, top) = self.settings.resolution_m, _ORIGIN_M
        box = GeoBox(self.settings.shape, Affine(step, 0.0, left, 0.0, -step, top), _CRS)
        times = np.array([_date(index) for index in range(len(self.scenes))])
        return {str(name): coord for name, coord in xr_coords(box).items()} | {"time": times}


def lazy_series(
    settings: _Settings,
    *,
    ground: Callable[[_Settings], _Land],
    date: Callable[[_Land, _Settings, int], npt.NDArray[Any]],
    layers: int,
    dtype: npt.DTypeLike,
    times: int,
    chunks: int,
) -> Series:
    """Return scenes that are not drawn yet. Pure tasks: equal settings share them.

    Parameters
    ----------
    settings
        All that a scene depends on, besides its number.
    ground
        Draws what all dates share.
    date
        Draws one date: (layer, y, x).
    layers, dtype
        Number of layers of a scene, and their type.
    times
        Number of dates.
    chunks
        Chunk size in y and x.

    Returns
    -------
    Series

    Raises
    ------
    ArgumentError
        `times` or `chunks` is below 1.
    """
    import dask.array as da
    from dask.delayed import delayed

    if times < 1 or chunks < 1:
        raise ArgumentError(f"times={times}, chunks={chunks}: expected at least 1 each.")
    land = delayed(ground, pure=True)(settings)
    tasks = [delayed(date, pure=True)(land, settings, index) for index in range(times)]
    scenes = tuple(da.from_delayed(task, (layers, *settings.shape), dtype) for task in tasks)
    return Series(settings=settings, scenes=scenes, chunks=chunks)


def truth_layer(index: int) -> Layer:
    """Return the layer of the true classes.

    Parameters
    ----------
    index
        Number of the layer in each scene.

    Returns
    -------
    Layer
    """
    return Layer(index=index, dtype="uint8", attrs=mask_attrs(STYLES["4-class"]))


def as_covers(cloud_cover: float | Sequence[float]) -> tuple[float, ...]:
    """Return the wanted covers as a tuple.

    Parameters
    ----------
    cloud_cover
        One for all dates, or one for each.

    Returns
    -------
    tuple of float

    Examples
    --------
    >>> as_covers(0.5), as_covers([0, 1])
    ((0.5,), (0.0, 1.0))
    """
    return tuple(float(cover) for cover in np.atleast_1d(cloud_cover))


def day_of_year(index: int) -> int:
    """Return the day of the year of a date, from 1.

    Parameters
    ----------
    index
        Number of the date.

    Returns
    -------
    int

    Examples
    --------
    >>> day_of_year(0)  # 14 May 2024
    135
    """
    date = _date(index)
    return int((date - date.astype("datetime64[Y]")) / np.timedelta64(1, "D")) + 1


def _date(index: int) -> np.datetime64:
    return _FIRST_DATE + np.timedelta64(index * _REVISIT_DAYS, "D")
