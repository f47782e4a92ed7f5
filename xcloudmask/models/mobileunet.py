"""A U-Net with a MobileNetV2 encoder, for bands as they are.

U-Net: Ronneberger, Fischer, Brox (2015), arXiv:1505.04597. Encoder: Sandler et al. (2018), arXiv:1801.04381. What is
different from the papers:

- the last stages stay at stride 16, where MobileNetV2 goes on to 32: the halo would be much deeper;
- features of the encoder are added to those of the decoder after a 1 x 1 convolution of each, which is what one on
  both side by side amounts to;
- the decoder ends at stride 2 with a sub-pixel output (Shi et al., 2016, arXiv:1609.05158): no convolution runs at full
  resolution;
- features come up by repeating values, never by interpolation, whose result depends on what lies beside.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from xcloudmask.models._layers import conv_norm, twice_as_fine
from xcloudmask.models.mobilenet import MobileEncoder, check_level, init_convolutions

__all__ = ["MobileUNet"]


class MobileUNet(nn.Module):
    """U-Net with strides 2, 4, 8 and 16.

    Parameters
    ----------
    bands
        Input channels.
    classes
        Output channels (logits).
    width
        Channels of the first convolution, and of the decoder at strides 2 and 4; twice as many at stride 8. 32 is a
        width multiplier of 1, 16 one of 0.5.
    stages
        Stages of MobileNetV2, 5 to 7. The last two add 64 px to the receptive radius.
    level
        0: the network takes no level vector.

    Notes
    -----
    With the default `stages` the receptive radius is 228 px.

    Examples
    --------
    >>> import torch
    >>> MobileUNet(bands=13, width=16).eval()(torch.zeros(1, 13, 64, 64)).shape
    torch.Size([1, 4, 64, 64])
    """

    stride_px: ClassVar[int] = 16
    """Total stride."""

    def __init__(self, *, bands: int = 3, classes: int = 4, width: int = 32, stages: int = 7, level: int = 0) -> None:
        super().__init__()
        check_level(level)
        self.encoder = MobileEncoder(bands=bands, width=width, stages=stages, deepest_px=self.stride_px, dilate=False)
        *sides, before = self.encoder.channels
        self.ups, self.sides, self.decode = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for side, after in zip(reversed(sides), (2 * width, width, width), strict=True):
            self.ups.append(conv_norm(before, after, kernel=1))
            self.sides.append(conv_norm(side, after, kernel=1))
            self.decode.append(conv_norm(after, after))
            before = after
        self.head = nn.Conv2d(before, 4 * classes, 3, padding=1)
        self.to_pixels = nn.PixelShuffle(2)
        for part in (self.ups, self.sides, self.decode):
            init_convolutions(part)

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """Return logits (n, classes, y, x) for bands (n, bands, y, x); y and x are multiples of 16. Reads no level."""
        del level
        *sides, seen = self.encoder(x)
        for features, up, side, decode in zip(reversed(sides), self.ups, self.sides, self.decode, strict=True):
            seen = F.relu_(decode(F.relu_(side(features) + twice_as_fine(up(seen)))))
        logits: Tensor = self.to_pixels(self.head(seen))
        return logits

    def first_convolution(self) -> nn.Conv2d:
        """Return the convolution that the bands come to, for a linear layer before it to be folded into."""
        return self.encoder.first_convolution()
