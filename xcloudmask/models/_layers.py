"""Parts that the networks share, and what is asked of every network: folding its norms, measuring its reach."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from xcloudmask.errors import ArgumentError

__all__ = [
    "LevelBias",
    "Residual",
    "conv_norm",
    "fold_batch_norms",
    "level_biases",
    "receptive_radius",
    "twice_as_fine",
]


def conv_norm(
    channels_in: int, channels_out: int, *, kernel: int = 3, stride: int = 1, rate: int = 1, groups: int = 1
) -> nn.Sequential:
    """Return a convolution without bias and its batch norm, in the shape that `fold_batch_norms` looks for."""
    padding = 0 if kernel == stride else rate * (kernel // 2)
    convolution = nn.Conv2d(
        channels_in, channels_out, kernel, stride, padding, dilation=rate, groups=groups, bias=False
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out))


class Residual(nn.Module):
    """Two 3 x 3 convolutions of a rate of dilation around a short cut."""

    def __init__(self, channels: int, *, rate: int = 1) -> None:
        super().__init__()
        self.first = conv_norm(channels, channels, rate=rate)
        self.second = conv_norm(channels, channels, rate=rate)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return F.relu_(x + self.second(F.relu_(self.first(x))))


class LevelBias(nn.Sequential):
    """From the level vector (n, values) to one bias per channel at two depths of a network."""

    def __init__(self, values: int, *, fine: int, coarse: int) -> None:
        last = nn.Linear(64, fine + coarse)
        # Starts as no bias at all: the network first learns without the level.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(nn.Linear(values, 64), nn.ReLU(), last)
        self.values, self.splits = values, (fine, coarse)


def level_biases(net: LevelBias | None, x: Tensor, level: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the biases (n, channels, 1, 1) of a fine and a coarse depth; an unknown level is a vector of zeros."""
    if net is None:
        zero = x.new_zeros(1)
        return zero, zero
    if level is None:
        level = x.new_zeros(x.shape[0], net.values)
    fine, coarse = net(level.to(x.dtype))[:, :, None, None].split(net.splits, dim=1)
    return fine, coarse


def twice_as_fine(x: Tensor) -> Tensor:
    """Repeat every value in 2 x 2 cells: unlike interpolation, the same whatever lies beside it."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def fold_batch_norms(net: nn.Module) -> nn.Module:
    """Fold each BatchNorm into the convolution before it, in place; the module must be in eval mode.

    Parameters
    ----------
    net
        A module whose conv + norm pairs are two-element `nn.Sequential`.

    Returns
    -------
    torch.nn.Module
        The same module.

    Examples
    --------
    >>> list(fold_batch_norms(nn.Sequential(conv_norm(3, 8)).eval()).state_dict())
    ['0.weight', '0.bias']
    """
    for name, child in net.named_children():
        if isinstance(child, nn.Sequential) and len(child) == 2 and isinstance(child[1], nn.BatchNorm2d):
            setattr(net, name, nn.utils.fuse_conv_bn_eval(cast("nn.Conv2d", child[0]), child[1]))
        else:
            fold_batch_norms(child)
    return net


def receptive_radius(net: nn.Module, *, bands: int, stride_px: int, reach_px: int) -> int:
    """Measure how far an input pixel reaches, by the gradient of the outputs with respect to the inputs.

    Parameters
    ----------
    net
        A module that maps (1, bands, y, x) to (1, classes, y, x). It is measured as it is.
    bands
        Input channels.
    stride_px
        Total stride; every phase of the output is tried.
    reach_px
        A distance known to be larger than the radius.

    Returns
    -------
    int
        Largest distance, in px along y or x, between an output and an input that it depends on.

    Raises
    ------
    ArgumentError
        The network reaches as far as `reach_px`, so what was measured may be too little.

    Examples
    --------
    >>> receptive_radius(nn.Conv2d(1, 1, 5, padding=2), bands=1, stride_px=1, reach_px=8)
    2
    """
    side = -(-(2 * reach_px + 2 * stride_px) // stride_px) * stride_px
    start = side // 2 // stride_px * stride_px
    radius = 0
    for phase in range(stride_px):
        centre = start + phase
        image = torch.randn(1, bands, side, side, requires_grad=True)
        net(image)[0, :, centre, centre].sum().backward()
        seen = torch.nonzero(image.grad[0].abs().sum(0))  # type: ignore[index]
        radius = max(radius, int((seen - centre).abs().max()))
        if radius >= reach_px:
            raise ArgumentError(
                f"The network reaches {reach_px} px or more. Type a larger reach_px, such as {2 * reach_px}."
            )
    return radius
