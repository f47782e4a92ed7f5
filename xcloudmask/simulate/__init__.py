"""Scenes with known truth: noise, and clouds with their shadows over a given clear image (numpy only)."""

from __future__ import annotations

from xcloudmask.simulate.clouds import CloudScene, Sun, add_clouds
from xcloudmask.simulate.layers import CLOUD_KINDS, CloudLayer, cloud_layer
from xcloudmask.simulate.noise import fractal_noise

__all__ = ["CLOUD_KINDS", "CloudLayer", "CloudScene", "Sun", "add_clouds", "cloud_layer", "fractal_noise"]
