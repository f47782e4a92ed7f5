"""A simulated Sentinel-2 Level-2A time series as odc-stac would load it, with the true classes of every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudmask.classes import NODATA, STYLES, CloudClass, mask_attrs
from xcloudmask.errors import ArgumentError
from xcloudmask.sensors import get_sensor
from xcloudmask.simulate.clouds import CloudScene, Sun, add_clouds
from xcloudmask.simulate.landscape import BANDS, Landscape, draw_landscape, render
from xcloudmask.simulate.layers import CloudKind

__all__ = ["simulate_sentinel2", "simulate_truth"]

_SMALLEST_PX = 16
_CRS = "EPSG:32631"
_ORIGIN_M = (600_000.0, 5_400_000.0)
"""Upper left corner (x, y) in UTM zone 31 north: 48.7 degrees north."""
_FIRST_DATE = np.datetime64("2024-05-14T10:50:31", "ns")
_REVISIT_DAYS = 10

_WEATHER: tuple[tuple[CloudKind, ...], ...] = (("cumulus",), ("cirrus",), ("cumulus", "cirrus"))
"""Kinds of cloud of the first, second and third date, and so on."""
_OVERCAST = 0.85
"""Cover that only a deck has."""
_ATTEMPTS = 6
_TOLERANCE = 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """All that a scene depends on, besides its number."""

    size_px: int
    seed: int
    resolution_m: float
    cloud_cover: tuple[float, ...]
    nodata_wedge: bool

    def __post_init__(self) -> None:
        """Refuse what makes no scene."""
        if self.size_px < _SMALLEST_PX:
            raise ArgumentError(f"size_px={self.size_px} is too small. Expected at least {_SMALLEST_PX}.")
        if self.seed < 0:
            raise ArgumentError(f"seed={self.seed} is negative. Expected 0 or more.")
        if not self.resolution_m > 0:
            raise ArgumentError(f"resolution_m={self.resolution_m} must be positive.")
        if not self.cloud_cover or not all(0.0 <= cover <= 1.0 for cover in self.cloud_cover):
            raise ArgumentError(f"cloud_cover={self.cloud_cover}: expected fractions from 0 to 1.")


def simulate_sentinel2(
    *,
    size_px: int = 512,
    times: int = 3,
    seed: int = 0,
    chunks: int = 256,
    resolution_m: float = 10.0,
    cloud_cover: float | Sequence[float] = (0.35, 0.25, 0.55),
    nodata_wedge: bool = True,
) -> xr.Dataset:
    """Simulate a Sentinel-2 Level-2A time series with clouds and shadows.

    One landscape (fields that grow and ripen, woods, a river, lakes or the sea, villages) under different clouds on
    each date. Nothing is computed here: one dask task draws the landscape, one each scene. The same arguments give the
    same pixels.

    Parameters
    ----------
    size_px
        Rows and columns, at least 16.
    times
        Number of dates, ten days apart.
    seed
        Seed of all randomness.
    chunks
        Chunk size in y and x; one date per chunk.
    resolution_m
        Size of a pixel.
    cloud_cover
        Wanted fraction of clouds, thin ones included, for all dates or for each (repeated from the start where there
        are more dates). Met within about 0.1: the nearest of a few draws is taken.
    nodata_wedge
        Whether every second date lies on the edge of the swath, with nodata (0) in one corner.

    Returns
    -------
    xarray.Dataset
        blue, green, red, nir (time, y, x) uint16: reflectance * 10,000, nodata 0; `spatial_ref` in UTM.

    Raises
    ------
    ArgumentError
        A size, number or fraction is out of range.

    Notes
    -----
    Truth comes from `simulate_truth` with the same arguments; computed together, both draw each scene once.

    Examples
    --------
    >>> cube = simulate_sentinel2(size_px=64, times=2, chunks=32)
    >>> cube.red.dims, cube.red.dtype, cube.red.data.numblocks
    (('time', 'y', 'x'), dtype('uint16'), (2, 2, 2))
    """
    _check_counts(times=times, chunks=chunks)
    settings = _Settings(
        size_px=size_px,
        seed=seed,
        resolution_m=float(resolution_m),
        cloud_cover=_as_tuple(cloud_cover),
        nodata_wedge=nodata_wedge,
    )
    scenes = _scenes(settings, times)
    coords = _coords(settings, times)
    variables = {
        band: xr.Variable(("time", "y", "x"), _layer(scenes, index, chunks), {"units": "1", "nodata": 0})
        for index, band in enumerate(BANDS)
    }
    cube = xr.Dataset(variables, coords=coords)
    for band in BANDS:
        cube[band].encoding["grid_mapping"] = "spatial_ref"
    return cube


def simulate_truth(
    *,
    size_px: int = 512,
    times: int = 3,
    seed: int = 0,
    chunks: int = 256,
    resolution_m: float = 10.0,
    cloud_cover: float | Sequence[float] = (0.35, 0.25, 0.55),
    nodata_wedge: bool = True,
) -> xr.DataArray:
    """Return the true classes of `simulate_sentinel2` with the same arguments.

    Parameters
    ----------
    size_px, times, seed, chunks, resolution_m, cloud_cover, nodata_wedge
        As in `simulate_sentinel2`.

    Returns
    -------
    xarray.DataArray
        (time, y, x) uint8 in the codes of the 4-class mask, 255 nodata; lazy.

    Raises
    ------
    ArgumentError
        A size, number or fraction is out of range.

    Examples
    --------
    >>> simulate_truth(size_px=64, times=2, chunks=32).attrs["flag_meanings"]
    'clear thick_cloud thin_cloud cloud_shadow'
    """
    _check_counts(times=times, chunks=chunks)
    settings = _Settings(
        size_px=size_px,
        seed=seed,
        resolution_m=float(resolution_m),
        cloud_cover=_as_tuple(cloud_cover),
        nodata_wedge=nodata_wedge,
    )
    codes = _layer(_scenes(settings, times), len(BANDS), chunks).astype(np.uint8)
    truth = xr.DataArray(codes, dims=("time", "y", "x"), coords=_coords(settings, times), name="truth")
    truth.attrs = mask_attrs(STYLES["4-class"])
    truth.encoding["grid_mapping"] = "spatial_ref"
    return truth


def _check_counts(*, times: int, chunks: int) -> None:
    if times < 1 or chunks < 1:
        raise ArgumentError(f"times={times}, chunks={chunks}: expected at least 1 each.")


def _as_tuple(cloud_cover: float | Sequence[float]) -> tuple[float, ...]:
    covers = cloud_cover if isinstance(cloud_cover, Sequence) else (cloud_cover,)
    return tuple(float(cover) for cover in covers)


def _scenes(settings: _Settings, times: int) -> list[Any]:
    """One (band + truth, y, x) uint16 dask array per date. Pure tasks: equal settings share them."""
    import dask.array as da
    from dask.delayed import delayed

    land = delayed(_draw_land, pure=True)(settings)
    shape = (len(BANDS) + 1, settings.size_px, settings.size_px)
    tasks = [delayed(_draw_scene, pure=True)(land, settings, index) for index in range(times)]
    return [da.from_delayed(task, shape, np.uint16) for task in tasks]


def _layer(scenes: list[Any], index: int, chunks: int) -> Any:
    import dask.array as da

    return da.stack([scene[index] for scene in scenes]).rechunk((1, chunks, chunks))


def _coords(settings: _Settings, times: int) -> dict[str, Any]:
    # odc.geo.xr loads rasterio, so it is imported here.
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_coords

    step, (left, top) = settings.resolution_m, _ORIGIN_M
    box = GeoBox((settings.size_px, settings.size_px), Affine(step, 0.0, left, 0.0, -step, top), _CRS)
    days = np.arange(times) * np.timedelta64(_REVISIT_DAYS, "D").astype("timedelta64[ns]")
    return {str(name): coord for name, coord in xr_coords(box).items()} | {"time": _FIRST_DATE + days}


def _draw_land(settings: _Settings) -> Landscape:
    shape = (settings.size_px, settings.size_px)
    rng = np.random.default_rng([settings.seed, 0])
    return draw_landscape(shape, resolution_m=settings.resolution_m, rng=rng)


def _draw_scene(land: Landscape, settings: _Settings, index: int) -> npt.NDArray[np.uint16]:
    """(band + truth, y, x): the DN of each band, then the codes of the classes."""
    rng = np.random.default_rng([settings.seed, 1, index])
    date = _FIRST_DATE + np.timedelta64(index * _REVISIT_DAYS, "D")
    day = int((date - date.astype("datetime64[Y]")) / np.timedelta64(1, "D")) + 1
    sun = _sun(day)
    clear = render(land, day_of_year=day, sun_zenith_deg=sun.zenith_deg, sun_azimuth_deg=sun.azimuth_deg, rng=rng)
    image, truth = _cover(clear, settings, index, sun)
    scene = np.empty((len(BANDS) + 1, *truth.shape), np.uint16)
    scene[:-1] = np.clip(np.round(image * 10_000.0), 1, 20_000)
    scene[-1] = truth
    if settings.nodata_wedge and index % 2 == 1:
        wedge = _wedge(truth.shape[0], rng)
        scene[:-1, wedge] = 0
        scene[-1, wedge] = NODATA
    return scene


def _sun(day: int) -> Sun:
    """Zenith angle at 48.7 degrees north at Sentinel-2's overpass, about 10:50 UTC."""
    declination = 23.44 * np.sin(2 * np.pi * (day - 81) / 365.25)
    return Sun(zenith_deg=float(np.clip(48.7 - declination + 3.0, 15.0, 75.0)), azimuth_deg=155.0)


def _cover(
    clear: npt.NDArray[np.float32], settings: _Settings, index: int, sun: Sun
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Clouds of about the wanted cover: the nearest of a few draws."""
    wanted = settings.cloud_cover[index % len(settings.cloud_cover)]
    if wanted == 0.0:
        return clear, np.zeros(clear.shape[1:], np.uint8)
    drawn: list[CloudScene] = []
    for attempt in range(_ATTEMPTS):
        scene = add_clouds(
            clear,
            wavelengths_nm=_wavelengths_nm(),
            resolution_m=settings.resolution_m,
            rng=np.random.default_rng([settings.seed, 2, index, attempt]),
            kinds=("stratus",) if wanted > _OVERCAST else _WEATHER[index % len(_WEATHER)],
            sun=sun,
        )
        drawn = sorted([scene, *drawn[:1]], key=lambda one: _miss(one, wanted))
        if _miss(drawn[0], wanted) < _TOLERANCE:
            break
    return drawn[0].image, drawn[0].truth


def _miss(scene: CloudScene, wanted: float) -> float:
    return abs(float(np.isin(scene.truth, (CloudClass.THICK_CLOUD, CloudClass.THIN_CLOUD)).mean()) - wanted)


def _wavelengths_nm() -> list[float]:
    sensor = get_sensor("sentinel-2-l2a")
    return [sensor.candidates(band)[0].wavelength_nm[1] for band in BANDS]


def _wedge(size_px: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Corner beyond the edge of the swath, which runs about 12 degrees off north."""
    y, x = np.meshgrid(np.arange(size_px), np.arange(size_px), indexing="ij")
    edge = rng.uniform(0.78, 0.9) * size_px
    return np.asarray(x - np.tan(np.radians(12.0)) * y > edge - 0.1 * size_px)
