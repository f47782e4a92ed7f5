"""Cubes in the shape of each loader, for all tests.

    from cubes import odc_dataset, rioxarray_array, stackstac_array

Pixels are random DN of reflectance around 0.05 to 0.45, the same for the same seed whatever the chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

BANDS = ("red", "green", "nir")

Chunks = int | dict[str, int] | None


def pixels(
    *,
    shape: tuple[int, int],
    times: int,
    bands: int,
    seed: int = 0,
    dtype: Any = "uint16",
    nodata: float | None = None,
    nodata_fraction: float = 0.0,
) -> np.ndarray:
    """(time, band, y, x): DN for integers, reflectance for floats; the nodata pixels are the same in all bands."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(500, 3000, (times, bands, 1, 1))
    values = np.clip(level + 400 * rng.standard_normal((times, bands, *shape)), 1, 12000)
    empty = rng.random((times, 1, *shape)) < nodata_fraction
    dtype = np.dtype(dtype)
    values = values.astype(dtype) if dtype.kind in "iu" else (values * 1e-4).astype(dtype)
    fill = np.nan if nodata is None and dtype.kind == "f" else (nodata or 0)
    return np.where(empty, np.asarray(fill, dtype), values)


def time_axis(times: int) -> np.ndarray:
    """One scene in five days."""
    start = np.datetime64("2024-06-03T10:50:31", "ns")
    return start + np.arange(times) * np.timedelta64(5, "D").astype("timedelta64[ns]")


def odc_dataset(
    *,
    shape: tuple[int, int] = (64, 96),
    times: int | None = 2,
    bands: Sequence[str] = BANDS,
    chunks: Chunks = None,
    seed: int = 0,
    dtype: Any = "uint16",
    nodata: float | None = 0,
    nodata_fraction: float = 0.0,
    resolution: float = 10.0,
    geographic: bool = False,
    y_ascending: bool = False,
) -> xr.Dataset:
    """As ``odc.stac.load`` gives it: a variable per band, (time, y, x), spatial_ref; latitude, longitude if geographic.

    `times` None is one scene without time; `chunks` is an integer for y and x, or a dict; None is numpy.
    """
    values = pixels(
        shape=shape,
        times=times or 1,
        bands=len(bands),
        seed=seed,
        dtype=dtype,
        nodata=nodata,
        nodata_fraction=nodata_fraction,
    )
    coords = grid_coords(shape, resolution=resolution, geographic=geographic)
    y, x = list(coords)[:2]
    attrs = {} if nodata is None else {"nodata": nodata}
    cube = xr.Dataset(
        {band: (("time", y, x), values[:, index], attrs) for index, band in enumerate(bands)},
        coords=coords | {"time": time_axis(times or 1)},
    )
    for variable in cube.data_vars.values():
        variable.encoding["grid_mapping"] = "spatial_ref"
    return _finish(cube, times=times, chunks=chunks, y=y, x=x, y_ascending=y_ascending)


def stackstac_array(
    *,
    shape: tuple[int, int] = (64, 96),
    times: int | None = 2,
    bands: Sequence[str] = ("B02", "B03", "B04", "B08"),
    common_names: Sequence[str] | None = ("blue", "green", "red", "nir"),
    chunks: Chunks = None,
    seed: int = 0,
    dtype: Any = "float64",
    nodata: float | None = None,
    nodata_fraction: float = 0.0,
    resolution: float = 10.0,
    y_ascending: bool = False,
    raster_bands: Sequence[dict[str, Any]] | None = None,
) -> xr.DataArray:
    """As ``stackstac.stack`` gives it: (time, band, y, x), NaN for nodata, band chunks of 1, top-left coordinates.

    No spatial_ref: the CRS stands in ``attrs["crs"]`` and in the coordinate ``epsg``.
    """
    values = pixels(
        shape=shape,
        times=times or 1,
        bands=len(bands),
        seed=seed,
        dtype=dtype,
        nodata=nodata,
        nodata_fraction=nodata_fraction,
    )
    axis = time_axis(times or 1)
    cube = xr.DataArray(
        values,
        dims=("time", "band", "y", "x"),
        coords={
            "time": axis,
            "id": ("time", [f"S2B_31UDQ_{index}_L2A" for index in range(len(axis))]),
            "band": list(bands),
            "y": 5_400_000.0 - resolution * np.arange(shape[0]),
            "x": 600_000.0 + resolution * np.arange(shape[1]),
            "platform": "sentinel-2b",
            "eo:cloud_cover": ("time", np.linspace(5.0, 80.0, len(axis))),
            "title": ("band", [f"Band {name}" for name in bands]),
            "epsg": 32631,
        },
        attrs={"crs": "epsg:32631", "resolution": resolution},
        name="stackstac-0123456789abcdef",
    )
    if common_names is not None:
        cube = cube.assign_coords(common_name=("band", list(common_names)))
    if raster_bands is not None:
        items = np.empty(len(raster_bands), object)
        items[:] = list(raster_bands)
        cube = cube.assign_coords({"raster:bands": ("band", items)})
    return _finish(cube, times=times, chunks=chunks, y="y", x="x", y_ascending=y_ascending, band_chunk=1)


def rioxarray_array(
    *,
    shape: tuple[int, int] = (64, 96),
    times: int | None = None,
    bands: Sequence[str] = ("B02", "B03", "B04", "B08"),
    chunks: Chunks = None,
    seed: int = 0,
    dtype: Any = "uint16",
    nodata: float | None = 0,
    nodata_fraction: float = 0.0,
    resolution: float = 10.0,
    y_ascending: bool = False,
    scale: float = 1.0,
    offset: float = 0.0,
) -> xr.DataArray:
    """As ``rioxarray.open_rasterio`` gives it: (band, y, x), integer bands, names in ``long_name``, scale 1 if unknown.

    With `times`, several files concatenated along time: (time, band, y, x).
    """
    values = pixels(
        shape=shape,
        times=times or 1,
        bands=len(bands),
        seed=seed,
        dtype=dtype,
        nodata=nodata,
        nodata_fraction=nodata_fraction,
    )
    attrs: dict[str, Any] = {
        "AREA_OR_POINT": "Area",
        "scale_factor": scale,
        "add_offset": offset,
        "long_name": tuple(bands) if len(bands) > 1 else bands[0],
    }
    if nodata is not None:
        attrs["_FillValue"] = np.dtype(dtype).type(nodata)
    coords = grid_coords(shape, resolution=resolution) | {
        "band": np.arange(1, len(bands) + 1),
        "time": time_axis(times or 1),
    }
    # rioxarray writes 0 where odc-geo writes the EPSG code.
    coords["spatial_ref"] = xr.DataArray(0, attrs=coords["spatial_ref"].attrs)
    cube = xr.DataArray(values, dims=("time", "band", "y", "x"), coords=coords, attrs=attrs)
    return _finish(cube, times=times, chunks=chunks, y="y", x="x", y_ascending=y_ascending)


def grid_coords(
    shape: tuple[int, int], *, resolution: float = 10.0, geographic: bool = False
) -> dict[str, xr.DataArray]:
    """Coordinates of odc-geo, pixel centres: y, x (UTM 31N) or latitude, longitude, and spatial_ref."""
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_coords

    if geographic:
        step = resolution / 111_320.0
        box = GeoBox(shape, Affine(step, 0.0, 3.0, 0.0, -step, 48.8), "EPSG:4326")
    else:
        box = GeoBox(shape, Affine(resolution, 0.0, 600_000.0, 0.0, -resolution, 5_400_000.0), "EPSG:32631")
    return {str(name): coord for name, coord in xr_coords(box).items()}


def _finish(
    cube: Any, *, times: int | None, chunks: Chunks, y: str, x: str, y_ascending: bool, band_chunk: int = -1
) -> Any:
    if times is None:
        cube = cube.isel(time=0, drop=True)
    if y_ascending:
        cube = cube.isel({y: slice(None, None, -1)})
    if chunks is None:
        return cube
    sizes = {y: chunks, x: chunks} if isinstance(chunks, int) else chunks
    sizes = ({} if times is None else {"time": 1}) | sizes
    if isinstance(cube, xr.DataArray):
        # DataArray.chunk would turn coordinates such as common_name into dask arrays, which loaders do not.
        return cube.copy(data=cube.variable.chunk({"band": band_chunk, **sizes}).data)
    return cube.chunk(sizes)
