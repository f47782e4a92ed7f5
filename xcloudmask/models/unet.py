"""A compact U-Net without global layers, so that a halo of its receptive radius is exact.

U-Net: Ronneberger, Fischer, Brox (2015), arXiv:1505.04597. Residual blocks: He et al. (2016), arXiv:1512.03385.
Sub-pixel output: Shi et al. (2016), arXiv:1609.05158. Three choices keep it small and fast:

- a space-to-depth stem and a sub-pixel head: no convolution runs at full resolution;
- most layers sit at stride 8, where context is cheap and a pixel is one of 64;
- the level of reflectance enters as a bias per channel, which is what constant input planes would amount to.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

__all__ = ["STRIDE_PX", "CloudUNet", "fold_batch_norms", "receptive_radius"]

STRIDE_PX = 8


def _conv(channels_in: int, channels_out: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    padding = 0 if kernel == stride else kernel // 2
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out))


class _Residual(nn.Module):
    """Two 3 x 3 convolutions around a short cut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(x + self.second(F.relu_(self.first(x))))


class CloudUNet(nn.Module):
    """U-Net with strides 2, 4 and 8.

    Parameters
    ----------
    bands
        Input channels.
    classes
        Output channels (logits).
    width
        Channels at stride 2; twice as many at stride 4, four times as many at stride 8.
    blocks
        Residual blocks at stride 8; each adds 16 px to the receptive radius.
    level
        1 if the network takes the level vector (1 + 2 * bands values), 0 if not.

    Examples
    --------
    >>> net = CloudUNet(width=8, blocks=1).eval()
    >>> net(torch.zeros(1, 3, 64, 64), torch.zeros(1, 7)).shape
    torch.Size([1, 4, 64, 64])
    """

    def __init__(self, *, bands: int = 3, classes: int = 4, width: int = 32, blocks: int = 3, level: int = 1) -> None:
        super().__init__()
        fine, middle, coarse = width, 2 * width, 4 * width
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), _conv(4 * bands, fine))
        self.encode2 = _conv(fine, fine)
        self.down4 = _conv(fine, middle, kernel=2, stride=2)
        self.encode4 = _conv(middle, middle)
        self.down8 = _conv(middle, coarse, kernel=2, stride=2)
        self.context = nn.Sequential(*(_Residual(coarse) for _ in range(blocks)))
        self.up4 = _conv(coarse, middle, kernel=1)
        self.decode4 = _conv(middle, middle)
        self.up2 = _conv(middle, fine, kernel=1)
        self.decode2 = _conv(fine, fine)
        self.head = nn.Conv2d(fine, 4 * classes, 3, padding=1)
        self.to_pixels = nn.PixelShuffle(2)
        self.level_mlp = _level_mlp(1 + 2 * bands, fine, coarse) if level else None
        self._splits = (fine, coarse)
        self._level_values = 1 + 2 * bands

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """Return logits (n, classes, y, x) for z-scored bands (n, bands, y, x); y and x are multiples of 8."""
        fine_bias, coarse_bias = self._level_biases(x, level)
        half = F.relu_(self.encode2(F.relu_(self.stem(x) + fine_bias)))
        quarter = F.relu_(self.encode4(F.relu_(self.down4(half))))
        eighth = self.context(F.relu_(self.down8(quarter) + coarse_bias))
        quarter = F.relu_(quarter + F.interpolate(self.up4(eighth), scale_factor=2.0, mode="nearest"))
        quarter = F.relu_(self.decode4(quarter))
        half = F.relu_(half + F.interpolate(self.up2(quarter), scale_factor=2.0, mode="nearest"))
        half = F.relu_(self.decode2(half))
        logits: Tensor = self.to_pixels(self.head(half))
        return logits

    def _level_biases(self, x: Tensor, level: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.level_mlp is None:
            zero = x.new_zeros(1)
            return zero, zero
        if level is None:
            level = x.new_zeros(x.shape[0], self._level_values)
        fine, coarse = self.level_mlp(level.to(x.dtype))[:, :, None, None].split(self._splits, dim=1)
        return fine, coarse


def _level_mlp(values: int, fine: int, coarse: int) -> nn.Sequential:
    last = nn.Linear(64, fine + coarse)
    # Starts as no bias at all: the network first learns without the level.
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(values, 64), nn.ReLU(), last)


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
    >>> _ = fold_batch_norms(CloudUNet(width=8, blocks=1).eval())
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
    return radius
