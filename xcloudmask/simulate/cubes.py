"""Simulated time series of any sensor as odc-stac would load them, with the truth of every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from xcloudmask._sensor import Band, Sensor
from xcloudmask.classes import STYLES, mask_attrs
from xcloudmask.errors import ArgumentError, BandNotFoundError
from xcloudmask.sensors import get_sensor
from xcloudmask.simulate.biomes import Biome
from xcloudmask.simulate.dates import SceneSettings, draw_date, draw_ground
from xcloudmask.simulate.layers import CloudKind

__all__ = ["cube_coords", "simulate_scene", "simulate_scene_truth", "stack_layers"]

_CRS = "EPSG:32631"
_ORIGIN_M = (600_000.0, 5_400_000.0)
"""Upper left corner (x, y) in UTM zone 31 north: 48.7 degrees north."""
_FIRST_DATE = np.datetime64("2024-05-14T10:50:31", "ns")
_REVISIT_DAYS = 10
_COVERS = (0.35, 0.25, 0.55)


def simulate_scene(
    sensor: str | Sensor = "sentinel-2-l2a",
    *,
    size_px: int = 512,
    times: int = 3,
    bands: Sequence[str] | None = None,
    seed: int = 0,
    chunks: int = 256,
    resolution_m: float | None = None,
    biome: Biome | None = None,
    clouds: Sequence[CloudKind] | None = None,
    cloud_cover: float | Sequence[float] = _COVERS,
    nodata: bool = True,
    striping: float = 0.0,
    quantisation: Literal[8] | None = None,
) -> xr.Dataset:
    """Simulate a time series of a sensor with clouds and shadows, as odc-stac would load it.

    One landscape under different clouds on each date. Nothing is computed here: one dask task draws the landscape, one
    each scene. The same arguments give the same pixels.

    Parameters
    ----------
    sensor
        A name in `xcloudmask.sensors.SENSORS`, or a `Sensor`.
    size_px
        Rows and columns, at least 16.
    times
        Number of dates, ten days apart.
    bands
        Names of bands in any spelling of the sensor's table; the variables are named so. None for all bands, in the
        provider's names.
    seed
        Seed of all randomness.
    chunks
        Chunk size in y and x; one date per chunk.
    resolution_m
        Size of a pixel; None for the finest of the bands. Coarser bands are averaged over their own pixels.
    biome
        Kind of landscape; None draws one.
    clouds
        Layers of cloud on every date; None changes them from date to date.
    cloud_cover
        Wanted fraction of clouds, thin ones included, for all dates or for each (repeated from the start where there
        are more dates). Met roughly: the nearest of a few draws is taken.
    nodata
        Whether every second date lies on the edge of the swath and has lost a block, so that there is nodata.
    striping
        Relative spread of the gains of the detectors, one per column.
    quantisation
        8 stores all bands in 8 bits; None as the product does.

    Returns
    -------
    xarray.Dataset
        One variable per band, (time, y, x), in the product's type, with `nodata`, `units`, `scale_factor` and
        `add_offset` (still to be applied) in its attributes; `spatial_ref` in UTM. How each product is stored, and what
        was chosen where the table of sensors gives no scale: `xcloudmask.simulate.products.band_coding`.

    Raises
    ------
    ArgumentError
        A size, number or fraction is out of range, or the sensor, biome or a kind of cloud is unknown.
    BandNotFoundError
        The sensor has no such band.

    Notes
    -----
    Truth comes from `simulate_scene_truth` with the same arguments; computed together, both draw each scene once.

    Examples
    --------
    >>> cube = simulate_scene("landsat-oli-c2-l2", size_px=64, times=2, bands=["red", "nir08"], chunks=32)
    >>> cube["nir08"].dims, cube["nir08"].dtype, cube["nir08"].attrs["scale_factor"]
    (('time', 'y', 'x'), dtype('uint16'), 2.75e-05)
    """
    settings, names = _settings(
        sensor,
        size_px=size_px,
        bands=bands,
        seed=seed,
        resolution_m=resolution_m,
        biome=biome,
        clouds=clouds,
        cloud_cover=cloud_cover,
        nodata=nodata,
        striping=striping,
        quantisation=quantisation,
    )
    _check_counts(times=times, chunks=chunks)
    scenes = _scenes(settings, times)
    coords = cube_coords(size_px=size_px, resolution_m=settings.resolution_m, times=times)
    variables = {
        name: xr.Variable(("time", "y", "x"), stack_layers(scenes, index, chunks).astype(coding.dtype), coding.attrs)
        for index, (name, coding) in enumerate(zip(names, settings.codings, strict=True))
    }
    cube = xr.Dataset(variables, coords=coords)
    for name in names:
        cube[name].encoding["grid_mapping"] = "spatial_ref"
    return cube


def simulate_scene_truth(
    sensor: str | Sensor = "sentinel-2-l2a",
    *,
    size_px: int = 512,
    times: int = 3,
    bands: Sequence[str] | None = None,
    seed: int = 0,
    chunks: int = 256,
    resolution_m: float | None = None,
    biome: Biome | None = None,
    clouds: Sequence[CloudKind] | None = None,
    cloud_cover: float | Sequence[float] = _COVERS,
    nodata: bool = True,
    striping: float = 0.0,
    quantisation: Literal[8] | None = None,
) -> xr.Dataset:
    """Return the truth of `simulate_scene` with the same arguments.

    Parameters
    ----------
    sensor, size_px, times, bands, seed, chunks, resolution_m, biome
        As in `simulate_scene`.
    clouds, cloud_cover, nodata, striping, quantisation
        As in `simulate_scene`.

    Returns
    -------
    xarray.Dataset
        `truth` (time, y, x) uint8 in the codes of the 4-class mask, 255 nodata; `optical_thickness` (time, y, x)
        float32 of all clouds at 550 nm, NaN where there is no data. Lazy.

    Raises
    ------
    ArgumentError, BandNotFoundError
        As `simulate_scene`.

    Examples
    --------
    >>> truth = simulate_scene_truth("planetscope-4b", size_px=64, times=1)
    >>> truth["truth"].dtype, truth["optical_thickness"].dtype
    (dtype('uint8'), dtype('float32'))
    """
    settings, _ = _settings(
        sensor,
        size_px=size_px,
        bands=bands,
        seed=seed,
        resolution_m=resolution_m,
        biome=biome,
        clouds=clouds,
        cloud_cover=cloud_cover,
        nodata=nodata,
        striping=striping,
        quantisation=quantisation,
    )
    _check_counts(times=times, chunks=chunks)
    scenes = _scenes(settings, times)
    coords = cube_coords(size_px=size_px, resolution_m=settings.resolution_m, times=times)
    count, dims = len(settings.bands), ("time", "y", "x")
    codes = stack_layers(scenes, count, chunks).astype(np.uint8)
    thickness = stack_layers(scenes, count + 1, chunks)
    attrs = {"units": "1", "long_name": "cloud optical thickness at 550 nm"}
    truth = xr.Dataset(
        {"truth": (dims, codes, mask_attrs(STYLES["4-class"])), "optical_thickness": (dims, thickness, attrs)},
        coords=coords,
    )
    for name in ("truth", "optical_thickness"):
        truth[name].encoding["grid_mapping"] = "spatial_ref"
    return truth


def _settings(
    sensor: str | Sensor,
    *,
    size_px: int,
    bands: Sequence[str] | None,
    seed: int,
    resolution_m: float | None,
    biome: Biome | None,
    clouds: Sequence[CloudKind] | None,
    cloud_cover: float | Sequence[float],
    nodata: bool,
    striping: float,
    quantisation: Literal[8] | None,
) -> tuple[SceneSettings, tuple[str, ...]]:
    """The settings, and the names of the variables."""
    known = get_sensor(sensor)
    chosen = known.bands if bands is None else tuple(_find(known, name) for name in bands)
    if not chosen:
        raise ArgumentError("bands is empty. Expected names of bands, or None for all.")
    names = tuple(band.name for band in chosen) if bands is None else tuple(bands)
    finest = min(band.resolution_m for band in chosen)
    settings = SceneSettings(
        sensor=known,
        bands=chosen,
        size_px=size_px,
        seed=seed,
        resolution_m=float(finest if resolution_m is None else resolution_m),
        biome=biome,
        clouds=None if clouds is None else tuple(clouds),
        cloud_cover=_as_tuple(cloud_cover),
        nodata=nodata,
        striping=striping,
        quantisation=quantisation,
    )
    return settings, names


def _find(sensor: Sensor, name: str) -> Band:
    band = sensor.find(name)
    if band is None:
        known = ", ".join(band.name for band in sensor.bands)
        raise BandNotFoundError(f"{sensor.title} has no band {name!r}. Expected some of: {known}.")
    return band


def _check_counts(*, times: int, chunks: int) -> None:
    if times < 1 or chunks < 1:
        raise ArgumentError(f"times={times}, chunks={chunks}: expected at least 1 each.")


def _as_tuple(cloud_cover: float | Sequence[float]) -> tuple[float, ...]:
    covers = cloud_cover if isinstance(cloud_cover, Sequence) else (cloud_cover,)
    return tuple(float(cover) for cover in covers)


def _scenes(settings: SceneSettings, times: int) -> list[Any]:
    """One (band + truth + thickness, y, x) float32 dask array per date. Pure tasks: equal settings share them."""
    import dask.array as da
    from dask.delayed import delayed

    land = delayed(draw_ground, pure=True)(settings)
    shape = (len(settings.bands) + 2, settings.size_px, settings.size_px)
    tasks = [delayed(draw_date, pure=True)(land, settings, index) for index in range(times)]
    return [da.from_delayed(task, shape, np.float32) for task in tasks]


def stack_layers(scenes: Sequence[Any], index: int, chunks: int) -> Any:
    """Return one layer of each scene as a dask array.

    Parameters
    ----------
    scenes
        (layer, y, x) dask arrays.
    index
        The layer.
    chunks
        Chunk size in y and x.

    Returns
    -------
    dask.array.Array
        (time, y, x).
    """
    import dask.array as da

    return da.stack([scene[index] for scene in scenes]).rechunk((1, chunks, chunks))


def cube_coords(*, size_px: int, resolution_m: float, times: int) -> dict[str, Any]:
    """Return the coordinates of a simulated cube: x, y and `spatial_ref` in UTM, time.

    Parameters
    ----------
    size_px
        Rows and columns.
    resolution_m
        Size of a pixel.
    times
        Number of dates.

    Returns
    -------
    dict
        Name -> coordinate.
    """
    # odc.geo.xr loads rasterio, so it is imported here.
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_coords

    left, top = _ORIGIN_M
    box = GeoBox((size_px, size_px), Affine(resolution_m, 0.0, left, 0.0, -resolution_m, top), _CRS)
    days = np.arange(times) * np.timedelta64(_REVISIT_DAYS, "D").astype("timedelta64[ns]")
    return {str(name): coord for name, coord in xr_coords(box).items()} | {"time": _FIRST_DATE + days}
