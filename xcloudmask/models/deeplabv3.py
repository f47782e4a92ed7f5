"""DeepLabv3+ with a MobileNetV2 encoder at output stride 8, for bands as they are.

Chen, Zhu, Papandreou, Schroff, Adam (2018), Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation, arXiv:1802.02611. What is different from the paper:

- no image pooling in the pyramid: it would let every pixel see the whole tile, and no halo would be exact;
- smaller rates, and by default the first five stages of the encoder: every pixel of the receptive radius is halo;
- features come up by repeating or shuffling values, never by interpolation, whose result depends on what lies beside.
  Sub-pixel output: Shi et al. (2016), arXiv:1609.05158.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from xcloudmask.models._layers import conv_norm, twice_as_fine
from xcloudmask.models.mobilenet import MobileEncoder, SeparableConv, check_level, init_convolutions

__all__ = ["CloudDeepLabV3"]


class CloudDeepLabV3(nn.Module):
    """MobileNetV2, a pyramid of rates at stride 8, and a decoder with the features of stride 4.

    Parameters
    ----------
    bands
        Input channels.
    classes
        Output channels (logits).
    width
        Channels of the first convolution; 32 is a width multiplier of 1, 16 one of 0.5. The pyramid has four times as
        many, the decoder twice as many.
    stages
        Stages of MobileNetV2, 4 to 7. The last two add 112 px to the receptive radius.
    rate
        Smallest rate of the pyramid, which has this one, twice and three times it; adds 24 * rate px to the radius.
    level
        0: the network takes no level vector.

    Notes
    -----
    With the default `stages` and `rate` the receptive radius is 248 px.

    Examples
    --------
    >>> CloudDeepLabV3(bands=12, width=16).eval()(torch.zeros(1, 12, 64, 64)).shape
    torch.Size([1, 4, 64, 64])
    """

    stride_px: ClassVar[int] = 8
    """Total stride."""

    def __init__(
        self, *, bands: int = 3, classes: int = 4, width: int = 32, stages: int = 5, rate: int = 4, level: int = 0
    ) -> None:
        super().__init__()
        check_level(level)
        branch, middle = 4 * width, 2 * width
        self.encoder = MobileEncoder(bands=bands, width=width, stages=stages, deepest_px=self.stride_px)
        _, fine, coarse = self.encoder.channels
        self.pointwise = conv_norm(coarse, branch, kernel=1)
        self.pyramid = nn.ModuleList(SeparableConv(coarse, branch, rate=times * rate) for times in (1, 2, 3))
        self.join = conv_norm(4 * branch, middle, kernel=1)
        self.detail = conv_norm(fine, width, kernel=1)
        self.decode = nn.Sequential(SeparableConv(middle + width, middle), SeparableConv(middle, middle))
        self.head = nn.Conv2d(middle, 16 * classes, 3, padding=1)
        self.to_pixels = nn.PixelShuffle(4)
        for part in (self.pointwise, self.pyramid, self.join, self.detail, self.decode):
            init_convolutions(part)

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """Return logits (n, classes, y, x) for bands (n, bands, y, x); y and x are multiples of 8. Reads no level."""
        del level
        _, quarter, eighth = self.encoder(x)
        seen = [F.relu_(self.pointwise(eighth)), *(branch(eighth) for branch in self.pyramid)]
        joined = twice_as_fine(F.relu_(self.join(torch.cat(seen, dim=1))))
        decoded = self.decode(torch.cat([joined, F.relu_(self.detail(quarter))], dim=1))
        logits: Tensor = self.to_pixels(self.head(decoded))
        return logits

    def first_convolution(self) -> nn.Conv2d:
        """Return the convolution that the bands come to, for a linear layer before it to be folded into."""
        return self.encoder.first_convolution()
