"""A DeepLab without global layers: the same call as the U-Net, another kind of network, and a longer reach.

Dilated convolutions, the pyramid of rates and the light decoder: Chen et al. (2018), arXiv:1802.02611. Sub-pixel
output: Shi et al. (2016), arXiv:1609.05158. What is different from the paper:

- no image pooling: it would let every pixel see the whole tile, and no halo would be exact;
- stride 8 is reached by a space-to-depth stem instead of a classification backbone, and the dilation grows inside the
  residual blocks as well, so that a shadow can be told from the cloud that throws it some 200 px away;
- features come up by repeating or shuffling values, never by interpolation, whose result depends on what lies beside.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from xcloudmask.models._layers import LevelBias, Residual, conv_norm, level_biases, twice_as_fine

__all__ = ["CloudDeepLab"]


class CloudDeepLab(nn.Module):
    """Dilated residual blocks and a pyramid of rates at stride 8, with a decoder at strides 4 and 2.

    Parameters
    ----------
    bands
        Input channels.
    classes
        Output channels (logits).
    width
        Channels at stride 4; a quarter as many at stride 2, twice as many at stride 8.
    blocks
        Residual blocks at stride 8, of rates 1, 2, 4, ...: block i adds 16 * 2**i px to the receptive radius.
    rate
        Smallest rate of the pyramid, which has this one, twice and three times it; adds 24 * rate px to the radius.
    level
        1 if the network takes the level vector (1 + 2 * bands values), 0 if not.

    Notes
    -----
    With the default `blocks` and `rate` the receptive radius is 241 px.

    Examples
    --------
    >>> net = CloudDeepLab(width=16, blocks=1).eval()
    >>> net(torch.zeros(1, 3, 64, 64), torch.zeros(1, 7)).shape
    torch.Size([1, 4, 64, 64])
    """

    stride_px: ClassVar[int] = 8
    """Total stride."""

    def __init__(
        self, *, bands: int = 3, classes: int = 4, width: int = 64, blocks: int = 3, rate: int = 4, level: int = 1
    ) -> None:
        super().__init__()
        fine, middle, coarse = width // 4, width, 2 * width
        branch = 3 * width // 4
        self.to_half = nn.PixelUnshuffle(2)
        self.stem = conv_norm(4 * bands, fine)
        self.to_quarter = conv_norm(4 * fine, middle, kernel=1)
        self.detail = nn.Sequential(*(Residual(middle) for _ in range(2)))
        self.down8 = conv_norm(middle, coarse, kernel=2, stride=2)
        self.context = nn.Sequential(*(Residual(coarse, rate=2**i) for i in range(blocks)))
        self.pyramid = nn.ModuleList(
            [conv_norm(coarse, branch, kernel=1), *(conv_norm(coarse, branch, rate=i * rate) for i in (1, 2, 3))]
        )
        self.join = conv_norm(4 * branch, middle, kernel=1)
        self.decode4 = conv_norm(middle, middle)
        self.up2 = conv_norm(middle, 4 * fine, kernel=1)
        self.decode2 = conv_norm(fine, fine)
        self.head = nn.Conv2d(fine, 4 * classes, 3, padding=1)
        self.to_pixels = nn.PixelShuffle(2)
        self.level_mlp = LevelBias(1 + 2 * bands, fine=fine, coarse=coarse) if level else None

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """Return logits (n, classes, y, x) for z-scored bands (n, bands, y, x); y and x are multiples of 8."""
        fine_bias, coarse_bias = level_biases(self.level_mlp, x, level)
        half = F.relu_(self.stem(self.to_half(x)) + fine_bias)
        quarter = self.detail(F.relu_(self.to_quarter(self.to_half(half))))
        eighth = self.context(F.relu_(self.down8(quarter) + coarse_bias))
        seen = torch.cat([F.relu_(branch(eighth)) for branch in self.pyramid], dim=1)
        quarter = F.relu_(quarter + twice_as_fine(self.join(seen)))
        quarter = F.relu_(self.decode4(quarter))
        half = F.relu_(half + self.to_pixels(self.up2(quarter)))
        half = F.relu_(self.decode2(half))
        logits: Tensor = self.to_pixels(self.head(half))
        return logits
