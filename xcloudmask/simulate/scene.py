"""A simulated Sentinel-2 Level-2A time series as odc-stac would load it, with the true classes of every pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudmask.classes import NODATA
from xcloudmask.sensors import get_sensor
from xcloudmask.simulate.clouds import Sun
from xcloudmask.simulate.landscape import BANDS, Landscape, draw_landscape, render
from xcloudmask.simulate.series import Layer, Series, as_covers, day_of_year, lazy_series, truth_layer
from xcloudmask.simulate.weather import SeriesSettings, cloudy

__all__ = ["simulate_sentinel2", "simulate_truth"]


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
    series = _series(
        size_px=size_px,
        times=times,
        seed=seed,
        chunks=chunks,
        resolution_m=resolution_m,
        cloud_cover=cloud_cover,
        nodata_wedge=nodata_wedge,
    )
    attrs = {"units": "1", "nodata": 0}
    return series.dataset({band: Layer(index=i, dtype="uint16", attrs=attrs) for i, band in enumerate(BANDS)})


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
    series = _series(
        size_px=size_px,
        times=times,
        seed=seed,
        chunks=chunks,
        resolution_m=resolution_m,
        cloud_cover=cloud_cover,
        nodata_wedge=nodata_wedge,
    )
    return series.dataset({"truth": truth_layer(len(BANDS))})["truth"]


def _series(
    *,
    size_px: int,
    times: int,
    seed: int,
    chunks: int,
    resolution_m: float,
    cloud_cover: float | Sequence[float],
    nodata_wedge: bool,
) -> Series:
    """Scenes of (band + truth, y, x) uint16."""
    settings = SeriesSettings(
        size_px=size_px,
        seed=seed,
        resolution_m=float(resolution_m),
        cloud_cover=as_covers(cloud_cover),
        nodata=nodata_wedge,
    )
    return lazy_series(
        settings,
        ground=_draw_land,
        date=_draw_scene,
        layers=len(BANDS) + 1,
        dtype=np.uint16,
        times=times,
        chunks=chunks,
    )


def _draw_land(settings: SeriesSettings) -> Landscape:
    rng = np.random.default_rng([settings.seed, 0])
    return draw_landscape(settings.shape, resolution_m=settings.resolution_m, rng=rng)


def _draw_scene(land: Landscape, settings: SeriesSettings, index: int) -> npt.NDArray[np.uint16]:
    """(band + truth, y, x): the DN of each band, then the codes of the classes."""
    rng = np.random.default_rng([settings.seed, 1, index])
    day = day_of_year(index)
    sun = _sun(day)
    clear = render(land, day_of_year=day, sun_zenith_deg=sun.zenith_deg, sun_azimuth_deg=sun.azimuth_deg, rng=rng)
    image, truth, _ = cloudy(clear, settings, index, wavelengths_nm=_wavelengths_nm(), sun=sun)
    scene = np.empty((len(BANDS) + 1, *truth.shape), np.uint16)
    scene[:-1] = np.clip(np.round(image * 10_000.0), 1, 20_000)
    scene[-1] = truth
    if settings.misses_data(index):
        wedge = _wedge(truth.shape[0], rng)
        scene[:-1, wedge] = 0
        scene[-1, wedge] = NODATA
    return scene


def _sun(day: int) -> Sun:
    """Zenith angle at 48.7 degrees north at Sentinel-2's overpass, about 10:50 UTC."""
    declination = 23.44 * np.sin(2 * np.pi * (day - 81) / 365.25)
    return Sun(zenith_deg=float(np.clip(48.7 - declination + 3.0, 15.0, 75.0)), azimuth_deg=155.0)


def _wavelengths_nm() -> list[float]:
    sensor = get_sensor("sentinel-2-l2a")
    return [sensor.candidates(band)[0].wavelength_nm[1] for band in BANDS]


def _wedge(size_px: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Corner beyond the edge of the swath, which runs about 12 degrees off north."""
    y, x = np.meshgrid(np.arange(size_px), np.arange(size_px), indexing="ij")
    edge = rng.uniform(0.78, 0.9) * size_px
    return np.asarray(x - np.tan(np.radians(12.0)) * y > edge - 0.1 * size_px)
