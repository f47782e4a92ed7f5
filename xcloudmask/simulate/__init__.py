"""Scenes with known truth: surfaces, clouds and their shadows, sensors with faults, and whole simulated time series.

`cubes`, `over` and `scene` make lazy xarray cubes. They are imported on first use, so that the rest, which is numpy
only, stays free of dask and xarray.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from xcloudmask.simulate.clouds import CloudScene, Sun, View, add_clouds
from xcloudmask.simulate.instrument import Instrument, degrade
from xcloudmask.simulate.layers import CLOUD_KINDS, CloudLayer, cloud_layer
from xcloudmask.simulate.noise import fractal_noise
from xcloudmask.simulate.surface import BIOMES, Surface, draw_surface

if TYPE_CHECKING:
    from xcloudmask.simulate.cubes import simulate_scene, simulate_scene_truth
    from xcloudmask.simulate.over import clouds_over
    from xcloudmask.simulate.scene import simulate_sentinel2, simulate_truth

__all__ = [
    "BIOMES",
    "CLOUD_KINDS",
    "CloudLayer",
    "CloudScene",
    "Instrument",
    "Sun",
    "Surface",
    "View",
    "add_clouds",
    "cloud_layer",
    "clouds_over",
    "degrade",
    "draw_surface",
    "fractal_noise",
    "simulate_scene",
    "simulate_scene_truth",
    "simulate_sentinel2",
    "simulate_truth",
]

_LAZY = {
    "clouds_over": "over",
    "simulate_scene": "cubes",
    "simulate_scene_truth": "cubes",
    "simulate_sentinel2": "scene",
    "simulate_truth": "scene",
}


def __getattr__(name: str) -> Any:
    """Import the modules that know xarray when one of their functions is asked for."""
    if name in _LAZY:
        return getattr(importlib.import_module(f"xcloudmask.simulate.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
