"""The networks that a card or a training may name: a fixed list, never an importable path from a file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import nn

from xcloudmask.errors import ModelError
from xcloudmask.models.deeplab import CloudDeepLab
from xcloudmask.models.unet import CloudUNet

__all__ = ["ARCHITECTURES", "build"]

ARCHITECTURES: Mapping[str, type[nn.Module]] = MappingProxyType({"unet": CloudUNet, "deeplab": CloudDeepLab})
"""Networks by the name of their architecture. All are called alike: bands (n, bands, y, x) and a level (n, 1 + 2 *
bands) or None in, logits (n, classes, y, x) out; `stride_px` of the class is the total stride."""


def build(architecture: str, config: Mapping[str, int]) -> nn.Module:
    """Build a network with fresh weights.

    Parameters
    ----------
    architecture
        A key of `ARCHITECTURES`.
    config
        Arguments of its class.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ModelError
        No architecture has that name, or it does not take these arguments.

    Examples
    --------
    >>> type(build("unet", {"width": 8, "blocks": 1})).__name__
    'CloudUNet'
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(map(repr, ARCHITECTURES))
        raise ModelError(f"No architecture is called {architecture!r}. Known: {known}.")
    try:
        return ARCHITECTURES[architecture](**config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"Architecture {architecture!r} cannot be built with {dict(config)}: {error}") from error
