"""A compact U-Net without global layers, so that a halo of its receptive radius is exact.

U-Net: Ronneberger, Fischer, Brox (2015), arXiv:1505.04597. Residual blocks: He et al. (2016), arXiv:1512.03385.
Sub-pixel output: Shi et al. (2016), arXiv:1609.05158. Three choices keep it small and fast:

- a space-to-depth stem and a sub-pixel head: no convolution runs at full resolution;
- most layers sit at stride 8, where context is cheap and a pixel is one of 64;
- the level of reflectance enters as a bias per channel, which is what constant input planes would amount to.
"""

from __future__ import annotations

from typing import ClassVar, cast

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from xcloudmask.models._layers import (
    LevelBias,
    Residual,
    conv_norm,
    fold_batch_norms,
    level_biases,
    receptive_radius,
    twice_as_fine,
)

__all__ = ["STRIDE_PX", "CloudUNet", "fold_batch_norms", "receptive_radius"]

STRIDE_PX = 8


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
    >>> import torch
    >>> net = CloudUNet(width=8, blocks=1).eval()
    >>> net(torch.zeros(1, 3, 64, 64), torch.zeros(1, 7)).shape
    torch.Size([1, 4, 64, 64])
    """

    stride_px: ClassVar[int] = STRIDE_PX
    """Total stride."""

    def __init__(self, *, bands: int = 3, classes: int = 4, width: int = 32, blocks: int = 3, level: int = 1) -> None:
        super().__init__()
        fine, middle, coarse = width, 2 * width, 4 * width
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), conv_norm(4 * bands, fine))
        self.encode2 = conv_norm(fine, fine)
        self.down4 = conv_norm(fine, middle, kernel=2, stride=2)
        self.encode4 = conv_norm(middle, middle)
        self.down8 = conv_norm(middle, coarse, kernel=2, stride=2)
        self.context = nn.Sequential(*(Residual(coarse) for _ in range(blocks)))
        self.up4 = conv_norm(coarse, middle, kernel=1)
        self.decode4 = conv_norm(middle, middle)
        self.up2 = conv_norm(middle, fine, kernel=1)
        self.decode2 = conv_norm(fine, fine)
        self.head = nn.Conv2d(fine, 4 * classes, 3, padding=1)
        self.to_pixels = nn.PixelShuffle(2)
        self.level_mlp = LevelBias(1 + 2 * bands, fine=fine, coarse=coarse) if level else None

    def first_convolution(self) -> nn.Conv2d:
        """Return the layer that sees the bands, each of them as the four pixels of a cell."""
        return cast("nn.Conv2d", self.stem.get_submodule("1.0"))

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """Return logits (n, classes, y, x) for z-scored bands (n, bands, y, x); y and x are multiples of 8."""
        fine_bias, coarse_bias = level_biases(self.level_mlp, x, level)
        half = F.relu_(self.encode2(F.relu_(self.stem(x) + fine_bias)))
        quarter = F.relu_(self.encode4(F.relu_(self.down4(half))))
        eighth = self.context(F.relu_(self.down8(quarter) + coarse_bias))
        quarter = F.relu_(quarter + twice_as_fine(self.up4(eighth)))
        quarter = F.relu_(self.decode4(quarter))
        half = F.relu_(half + twice_as_fine(self.up2(quarter)))
        half = F.relu_(self.decode2(half))
        logits: Tensor = self.to_pixels(self.head(half))
        return logits
