"""Simulated time series of any sensor as odc-stac would load them, with the truth of every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from xcloudmask._sensor import Band, Sensor
from xcloudmask.errors import ArgumentError, BandNotFoundError
from xcloudmask.sensors import get_sensor
from xcloudmask.simulate.biomes import Biome
from xcloudmask.simulate.clouds import View
from xcloudmask.simulate.dates import SceneSettings, draw_date, draw_ground
from xcloudmask.simulate.layers import CloudKind
from xcloudmask.simulate.products import Coding
from xcloudmask.simulate.series import Layer, Series, as_covers, lazy_series, truth_layer

__all__ = ["simulate_scene", "simulate_scene_truth"]

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
    view: View | Sequence[View] | None = None,
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
    view
        Where the satellite stands, on all dates or on each (repeated from the start): clouds are seen away from it, by
        their height. None is overhead.
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
    series, codings = _series(
        sensor,
        bands,
        times=times,
        chunks=chunks,
        size_px=size_px,
        seed=seed,
        resolution_m=resolution_m,
        biome=biome,
        clouds=clouds,
        cloud_cover=cloud_cover,
        view=view,
        nodata=nodata,
        striping=striping,
        quantisation=quantisation,
    )
    layers = {
        name: Layer(index=i, dtype=coding.dtype, attrs=coding.attrs) for i, (name, coding) in enumerate(codings.items())
    }
    return series.dataset(layers)


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
    view: View | Sequence[View] | None = None,
    nodata: bool = True,
    striping: float = 0.0,
    quantisation: Literal[8] | None = None,
) -> xr.Dataset:
    """Return the truth of `simulate_scene` with the same arguments.

    Parameters
    ----------
    sensor, size_px, times, bands, seed, chunks, resolution_m, biome
        As in `simulate_scene`.
    clouds, cloud_cover, view, nodata, striping, quantisation
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
    series, codings = _series(
        sensor,
        bands,
        times=times,
        chunks=chunks,
        size_px=size_px,
        seed=seed,
        resolution_m=resolution_m,
        biome=biome,
        clouds=clouds,
        cloud_cover=cloud_cover,
        view=view,
        nodata=nodata,
        striping=striping,
        quantisation=quantisation,
    )
    attrs = {"units": "1", "long_name": "cloud optical thickness at 550 nm"}
    thickness = Layer(index=len(codings) + 1, dtype="float32", attrs=attrs)
    return series.dataset({"truth": truth_layer(len(codings)), "optical_thickness": thickness})


def _series(
    sensor: str | Sensor,
    bands: Sequence[str] | None,
    *,
    times: int,
    chunks: int,
    resolution_m: float | None,
    clouds: Sequence[CloudKind] | None,
    cloud_cover: float | Sequence[float],
    view: View | Sequence[View] | None,
    **others: Any,
) -> tuple[Series, dict[str, Coding]]:
    """Scenes of (band + truth + thickness, y, x) float32, and how the variable of each name is stored."""
    _check_lists(bands=bands, clouds=clouds)
    known = get_sensor(sensor)
    chosen = known.bands if bands is None else tuple(_find(known, name) for name in bands)
    names = [band.name for band in chosen] if bands is None else list(bands)
    if not names or len(set(names)) < len(names):
        raise ArgumentError(f"bands={names}: expected one name or more, each once, or None for all bands.")
    finest = min(band.resolution_m for band in chosen)
    settings = SceneSettings(
        sensor=known,
        bands=chosen,
        resolution_m=float(finest if resolution_m is None else resolution_m),
        clouds=None if clouds is None else tuple(clouds),
        cloud_cover=as_covers(cloud_cover),
        views=None if view is None else tuple(view) if isinstance(view, Sequence) else (view,),
        **others,
    )
    series = lazy_series(
        settings,
        ground=draw_ground,
        date=draw_date,
        layers=len(chosen) + 2,
        dtype=np.float32,
        times=times,
        chunks=chunks,
    )
    return series, dict(zip(names, settings.codings, strict=True))


def _check_lists(**given: Sequence[str] | None) -> None:
    for name, values in given.items():
        if isinstance(values, str):
            raise ArgumentError(f"{name}={values!r} is one string. Type {name}=[{values!r}].")


def _find(sensor: Sensor, name: str) -> Band:
    band = sensor.find(name)
    if band is None:
        known = ", ".join(band.name for band in sensor.bands)
        raise BandNotFoundError(f"{sensor.title} has no band {name!r}. Expected some of: {known}.")
    return band
