"""Scenes with known truth: noise, clouds and shadows over a clear image, and whole simulated time series.

`noise`, `layers`, `clouds` and `landscape` are numpy only; `scene` makes lazy xarray cubes of them, and is imported on
first use, so that the numpy layer stays free of dask and xarray.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from xcloudmask.simulate.clouds import CloudScene, Sun, add_clouds
from xcloudmask.simulate.layers import CLOUD_KINDS, CloudLayer, cloud_layer
from xcloudmask.simulate.noise import fractal_noise

if TYPE_CHECKING:
    from xcloudmask.simulate.scene import simulate_sentinel2, simulate_truth

__all__ = [
    "CLOUD_KINDS",
    "CloudLayer",
    "CloudScene",
    "Sun",
    "add_clouds",
    "cloud_layer",
    "fractal_noise",
    "simulate_sentinel2",
    "simulate_truth",
]


def __getattr__(name: str) -> Any:
    """Import `scene` when one of its functions is asked for."""
    if name in {"simulate_sentinel2", "simulate_truth"}:
        return getattr(importlib.import_module("xcloudmask.simulate.scene"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
