"""Measure a model on simulated scenes of every sensor, whose truth is known in full: `evaluate_simulated`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from dask import base as dask_base

from xcloudmask._sensor import Sensor
from xcloudmask.errors import ArgumentError
from xcloudmask.evaluate import Bootstrap, Counted, Evaluation, confusion, pool, sets_from_labels, summarise
from xcloudmask.models.openbands import FEWEST_BANDS
from xcloudmask.models.registry import get_spec
from xcloudmask.models.spec import ModelSpec
from xcloudmask.predict import predict
from xcloudmask.sensors import SENSORS, get_sensor
from xcloudmask.simulate import simulate_scene, simulate_scene_truth

__all__ = [
    "COARSE_SIZE_PX",
    "SEEDS",
    "SIZE_PX",
    "TIMES",
    "evaluate_simulated",
    "scene_name",
    "simulated_scene",
    "usable_sensors",
]

SEEDS = tuple(range(8))
"""Seeds of the scenes that a model is measured on. Training draws scenes with seeds of its own."""
TIMES = 2
"""Dates of a scene; the second lies on the edge of the swath."""
SIZE_PX = 320
"""Side of a scene."""
COARSE_SIZE_PX = 160
"""Side where pixels are interpolated up."""
_COARSE_M = 60.0
"""Larger pixels are interpolated up."""

OnScene = Callable[[str, Counted], None]


def evaluate_simulated(
    model: str | ModelSpec = "default",
    *,
    sensors: Sequence[str] | None = None,
    seeds: Sequence[int] = SEEDS,
    levels: Sequence[str] = ("known", "unknown"),
    device: str = "auto",
    precision: str = "auto",
    how: Bootstrap | None = None,
    on_scene: OnScene | None = None,
) -> dict[str, Evaluation]:
    """Measure a model on simulated scenes, per sensor and pooled, with intervals over scenes.

    Parameters
    ----------
    model
        Name or spec.
    sensors
        Names in `xcloudmask.SENSORS`; None is all that have the bands of the model.
    seeds
        One scene of two dates for each.
    levels
        "known" leaves the scale of the values on the cube, "unknown" takes it away. Models that take reflectance are
        measured with it alone.
    device, precision
        As in `xcloudmask.predict`.
    how
        The bootstrap; None is 2000 draws and 95 %.
    on_scene
        Called after each scene with the level and its counts.

    Returns
    -------
    dict
        By level.

    Raises
    ------
    ArgumentError
        There is no seed, or a level is unknown.
    XCloudMaskError
        A sensor is unknown, or the model cannot be used.

    Notes
    -----
    The scenes come from the simulator that also made a part of the training, so they tell how a model does on sensors
    and pixel sizes, not how it does on real imagery.

    Examples
    --------
    >>> results = evaluate_simulated(sensors=["sentinel-2-l2a"], seeds=[0], levels=["known"])
    >>> list(results["known"].sources)
    ['sentinel-2-l2a']
    """
    unknown = sorted(set(levels) - {"known", "unknown"})
    if unknown or not seeds:
        raise ArgumentError(f"levels={list(levels)}, seeds={list(seeds)}: expected 'known', 'unknown', and a seed.")
    spec = get_spec(model)
    levels = [level for level in levels if level == "known" or not spec.takes_reflectance]
    if not levels:
        raise ArgumentError(f"Model {spec.name!r} takes reflectance, and levels=['unknown'] hides it. Type 'known'.")
    chosen = [get_sensor(name) for name in (usable_sensors(spec) if sensors is None else sensors)]
    counted: dict[str, list[Counted]] = {level: [] for level in levels}
    for sensor in chosen:
        for seed in seeds:
            cube, truth = simulated_scene(sensor, bands=None if spec.any_bands else spec.bands, seed=seed)
            for level in levels:
                mask = _mask(cube, sensor, spec, level=level, device=device, precision=precision)
                counted[level].append(_count(mask, truth, sensor=sensor.name, seed=seed))
                if on_scene is not None:
                    on_scene(level, counted[level][-1])
    return {level: summarise(scenes, how=how) for level, scenes in counted.items()}


def simulated_scene(
    sensor: Sensor, *, bands: Sequence[str] | None, seed: int, size_px: int | None = None
) -> tuple[xr.Dataset, npt.NDArray[np.uint8]]:
    """Draw the scene of a seed.

    Parameters
    ----------
    sensor
        Its sensor.
    bands
        Bands in any spelling of the sensor's table; None for all.
    seed
        Of the scene.
    size_px
        Side; None for what `evaluate_simulated` takes.

    Returns
    -------
    tuple
        The cube in memory, and its truth (time, y, x), 255 nodata.
    """
    side = size_px or (COARSE_SIZE_PX if _is_coarse(sensor) else SIZE_PX)
    cube = simulate_scene(sensor, size_px=side, times=TIMES, bands=bands, seed=seed)
    truth = simulate_scene_truth(sensor, size_px=side, times=TIMES, bands=bands, seed=seed)["truth"]
    untyped: Any = dask_base
    pixels, codes = untyped.compute(cube, truth)
    return pixels, codes.values


def usable_sensors(spec: ModelSpec) -> list[str]:
    """Name the sensors that have the bands of a model.

    Parameters
    ----------
    spec
        The model.

    Returns
    -------
    list of str

    Examples
    --------
    >>> "modis-09" in usable_sensors(get_spec("default"))
    True
    """
    if spec.any_bands:
        return [name for name, sensor in SENSORS.items() if len(sensor.bands) >= FEWEST_BANDS]
    needed = set(spec.bands) - set(spec.optional_bands)
    return [name for name, sensor in SENSORS.items() if needed <= {band.role for band in sensor.bands}]


def scene_name(sensor: str, seed: int) -> str:
    """Name a scene.

    Parameters
    ----------
    sensor, seed
        Of the scene.

    Returns
    -------
    str

    Examples
    --------
    >>> scene_name("hls-l30", 3)
    'hls-l30 seed 3'
    """
    return f"{sensor} seed {seed}"


def _is_coarse(sensor: Sensor) -> bool:
    return min(band.resolution_m for band in sensor.bands) > _COARSE_M


def _mask(
    cube: xr.Dataset, sensor: Sensor, spec: ModelSpec, *, level: str, device: str, precision: str
) -> npt.NDArray[np.uint8]:
    fed = cube.copy()
    fed.attrs = {}
    if level == "unknown":
        for variable in fed.data_vars.values():
            variable.attrs = {"nodata": variable.attrs["nodata"]}
    if spec.any_bands:
        # Not by sensor=, whose table may tell the scale as well.
        for variable in fed.data_vars.values():
            band = sensor.find(str(variable.name))
            variable.attrs = variable.attrs | ({} if band is None else {"wavelength_nm": band.wavelength_nm})
    options = {"device": device, "precision": precision}
    return predict(fed, model=spec, upsample=_is_coarse(sensor), **options).values  # type: ignore[arg-type]


def _count(mask: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8], *, sensor: str, seed: int) -> Counted:
    dates = [confusion(codes, sets_from_labels(labels)) for codes, labels in zip(mask, truth, strict=True)]
    return Counted(name=scene_name(sensor, seed), source=sensor, confusion=pool(dates))
