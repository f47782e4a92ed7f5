"""Layers of cloud of all kinds: one table of what can be drawn (numpy only)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from xcloudmask.errors import ArgumentError
from xcloudmask.simulate import highclouds, lowclouds
from xcloudmask.simulate._layer import CanvasSize, CloudLayer

__all__ = ["CLOUD_KINDS", "CloudKind", "CloudLayer", "cloud_layer", "draw_layer"]

CloudKind = Literal["cumulus", "stratus", "cirrus", "haze", "contrail", "cumulonimbus"]
CLOUD_KINDS: tuple[CloudKind, ...] = get_args(CloudKind)


_MAKERS: dict[str, Callable[[CanvasSize, float, np.random.Generator], CloudLayer]] = {
    "cumulus": lowclouds.cumulus,
    "stratus": lowclouds.stratus,
    "haze": lowclouds.haze,
    "cirrus": highclouds.cirrus,
    "contrail": highclouds.contrail,
    "cumulonimbus": highclouds.cumulonimbus,
}


def cloud_layer(
    kind: CloudKind, shape: tuple[int, int], *, resolution_m: float, rng: np.random.Generator
) -> CloudLayer:
    """Draw one layer of clouds.

    Parameters
    ----------
    kind
        "cumulus" (fields of cells, few or many), "stratus" (decks, smooth, in cells or in ripples, more than half of
        which fill the image), "cirrus" (veils and streaks), "haze", "contrail" (lines) or "cumulonimbus" (a tower and
        its anvil).
    shape
        (y, x) in px.
    resolution_m
        Size of a pixel.
    rng
        Source of randomness.

    Returns
    -------
    CloudLayer

    Raises
    ------
    ArgumentError
        The kind is unknown.

    Notes
    -----
    Heights follow the low, middle and high clouds of the WMO's International Cloud Atlas. The makers in `lowclouds` and
    `highclouds` cite their sizes and thicknesses.

    Examples
    --------
    >>> layer = cloud_layer("cirrus", (64, 64), resolution_m=10.0, rng=np.random.default_rng(0))
    >>> layer.optical_thickness.shape, layer.ice
    ((64, 64), True)
    """
    return draw_layer(kind, lambda *_: shape, resolution_m=resolution_m, rng=rng)


def draw_layer(kind: CloudKind, size: CanvasSize, *, resolution_m: float, rng: np.random.Generator) -> CloudLayer:
    """Draw one layer of clouds on a canvas whose size follows from its height.

    Parameters
    ----------
    kind
        As in `cloud_layer`.
    size
        Gives (y, x) in px for the heights, in metres, of the base and the top.
    resolution_m
        Size of a pixel.
    rng
        Source of randomness.

    Returns
    -------
    CloudLayer

    Raises
    ------
    ArgumentError
        The kind is unknown.
    """
    if kind not in _MAKERS:
        raise ArgumentError(f"kind={kind!r} is no kind of cloud. Expected one of {', '.join(map(repr, CLOUD_KINDS))}.")
    return _MAKERS[kind](size, resolution_m, rng)
