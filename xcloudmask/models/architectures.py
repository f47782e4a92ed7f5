"""The networks that a card or a training may name: a fixed list, never an importable path from a file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import nn

from xcloudmask.errors import ArgumentError, ModelError
from xcloudmask.models._layers import receptive_radius
from xcloudmask.models.anybands import BODIES, SenseiNet
from xcloudmask.models.deeplab import CloudDeepLab
from xcloudmask.models.deeplabv3 import CloudDeepLabV3
from xcloudmask.models.mobileunet import MobileUNet
from xcloudmask.models.omnicloudmask import ENCODERS, SmpUNet
from xcloudmask.models.unet import CloudUNet

__all__ = ["ANY_BANDS", "ARCHITECTURES", "build", "measure_geometry"]

ANY_BANDS = "sensei-"
"""Begins the name of an architecture that has SEnSeI in front: such as sensei-unet."""

_Kind = type[CloudUNet] | type[CloudDeepLab] | type[CloudDeepLabV3] | type[MobileUNet]

ARCHITECTURES: Mapping[str, _Kind] = MappingProxyType(
    {"unet": CloudUNet, "deeplab": CloudDeepLab, "deeplabv3plus": CloudDeepLabV3, "mobile-unet": MobileUNet}
)
"""Networks by the name of their architecture. All are called alike: bands (n, bands, y, x) and a level (n, 1 + 2 *
bands) or None in, logits (n, classes, y, x) out; `stride_px` of the class is the total stride, and `width`
the argument that scales the channels. Those that take no level have an argument `level` that can only be 0."""

_FIRST_REACH_PX = 128


def build(architecture: str, config: Mapping[str, int]) -> nn.Module:
    """Build a network with fresh weights.

    Parameters
    ----------
    architecture
        A key of `ARCHITECTURES`, or of `xcloudmask.models.omnicloudmask.ENCODERS`, or ``"sensei-"`` and a key of
        `xcloudmask.models.anybands.BODIES`.
    config
        Arguments of its class.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ModelError
        No architecture has that name, or it does not take these arguments.
    MissingPackageError
        The architecture is of a package that is not installed.

    Examples
    --------
    >>> type(build("unet", {"width": 8, "blocks": 1})).__name__
    'CloudUNet'
    """
    body = architecture.removeprefix(ANY_BANDS)
    behind = body != architecture and body in BODIES
    if not behind and architecture not in ARCHITECTURES and architecture not in ENCODERS:
        known = ", ".join(map(repr, (*ARCHITECTURES, *(ANY_BANDS + name for name in BODIES), *ENCODERS)))
        raise ModelError(f"No architecture is called {architecture!r}. Known: {known}.")
    try:
        if behind:
            return SenseiNet(body, **config)
        if architecture in ENCODERS:
            return SmpUNet(ENCODERS[architecture], **config)
        return ARCHITECTURES[architecture](**config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"Architecture {architecture!r} cannot be built with {dict(config)}: {error}") from error


def measure_geometry(architecture: str, config: Mapping[str, int]) -> tuple[int, int]:
    """Find the stride of a network, and measure how far an input pixel reaches.

    Parameters
    ----------
    architecture
        A key of `ARCHITECTURES`.
    config
        Arguments of its class.

    Returns
    -------
    tuple of int
        `stride_px` and `radius_px` of a `xcloudmask.models.spec.ModelSpec`.

    Raises
    ------
    ModelError
        As `build`.

    Notes
    -----
    SEnSeI sees single pixels: what counts is the network behind it. Measured on fresh weights, because trained ones can
    be zero where fresh ones are not, and on a network of few channels, because those do not change how far a pixel
    reaches.

    Examples
    --------
    >>> measure_geometry("unet", {"width": 32, "blocks": 1})
    (8, 39)
    """
    if architecture.startswith(ANY_BANDS):
        rest = {key: value for key, value in config.items() if key != "channels"}
        return measure_geometry(architecture.removeprefix(ANY_BANDS), {**rest, "level": 0})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build(architecture, {**config, "width": 16}).eval()
        stride_px = ARCHITECTURES[architecture].stride_px
        reach_px = _FIRST_REACH_PX
        while (radius_px := _radius(net, bands=config.get("bands", 3), stride_px=stride_px, reach_px=reach_px)) is None:
            reach_px *= 2
    return stride_px, radius_px


def _radius(net: nn.Module, *, bands: int, stride_px: int, reach_px: int) -> int | None:
    """The receptive radius, or None where it is not within reach."""
    try:
        return receptive_radius(net, bands=bands, stride_px=stride_px, reach_px=reach_px)
    except ArgumentError:
        return None
