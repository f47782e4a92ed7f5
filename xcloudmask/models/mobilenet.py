"""The encoder of MobileNetV2: inverted residuals, whose 3 x 3 convolutions see one channel each and are cheap.

Sandler, Howard, Zhu, Zhmoginov, Chen (2018), MobileNetV2: Inverted Residuals and Linear Bottlenecks, arXiv:1801.04381.
What is different from the paper:

- no last 1 x 1 layer of 1280 channels and no average pooling: those are for a class per image, and pooling lets every
  pixel see the whole tile, so that no halo would be exact;
- beyond a stride that the caller chooses, strides are left out, or become rates of dilation as in DeepLab (Chen et
  al., 2017, arXiv:1706.05587);
- ReLU instead of ReLU6, whose bound is for numbers of 8 bits, and which takes one more pass.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from xcloudmask.models._layers import conv_norm

__all__ = ["STAGES", "MobileEncoder", "SeparableConv", "check_level", "init_convolutions", "scaled"]

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Table 2 of the paper: expansion, channels, blocks, and stride of the first of these blocks."""

_FULL_WIDTH = 32
"""Channels of the first convolution where the multiplier of the paper is 1."""


def scaled(channels: int, width: int) -> int:
    """Return a number of channels of the paper for another width: a multiple of 8, and not less than 9 tenths of it.

    Parameters
    ----------
    channels
        Where the multiplier is 1.
    width
        Channels of the first convolution, 32 for a multiplier of 1.

    Returns
    -------
    int

    Examples
    --------
    >>> scaled(96, 32), scaled(96, 16), scaled(24, 16)
    (96, 48, 16)
    """
    wanted = channels * width / _FULL_WIDTH
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


class InvertedResidual(nn.Module):
    """Expand, convolve each channel by itself, and project without a ReLU, around a short cut where shapes allow it."""

    def __init__(self, channels_in: int, channels_out: int, *, expand: int, stride: int, rate: int) -> None:
        super().__init__()
        wide = expand * channels_in
        self.expand = conv_norm(channels_in, wide, kernel=1) if expand > 1 else None
        self.spatial = conv_norm(wide, wide, stride=stride, rate=rate, groups=wide)
        self.project = conv_norm(wide, channels_out, kernel=1)
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """Return features (n, channels_out, y / stride, x / stride)."""
        wide = x if self.expand is None else F.relu_(self.expand(x))
        narrow: Tensor = self.project(F.relu_(self.spatial(wide)))
        return x + narrow if self.adds else narrow


class SeparableConv(nn.Module):
    """A 3 x 3 convolution of each channel by itself, then one that mixes them; each with its norm and a ReLU."""

    def __init__(self, channels_in: int, channels_out: int, *, rate: int = 1) -> None:
        super().__init__()
        self.spatial = conv_norm(channels_in, channels_in, rate=rate, groups=channels_in)
        self.mix = conv_norm(channels_in, channels_out, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (n, channels_out, y, x)."""
        return F.relu_(self.mix(F.relu_(self.spatial(x))))


class MobileEncoder(nn.Module):
    """The layers of MobileNetV2 that have a place in the picture.

    Parameters
    ----------
    bands
        Input channels.
    width
        Channels of the first convolution; 32 is a width multiplier of 1, 16 one of 0.5.
    stages
        Rows of the table of the paper that are kept, 2 to 7.
    deepest_px
        Largest stride.
    dilate
        Whether a stride beyond that doubles the rate of dilation instead; False leaves it out.

    Examples
    --------
    >>> import torch
    >>> features = MobileEncoder(width=16, deepest_px=8).eval()(torch.zeros(1, 3, 64, 64))
    >>> [tuple(one.shape[1:]) for one in features]
    [(8, 32, 32), (16, 16, 16), (160, 8, 8)]
    """

    def __init__(
        self, *, bands: int = 3, width: int = 32, stages: int = 7, deepest_px: int = 16, dilate: bool = True
    ) -> None:
        super().__init__()
        if not 2 <= stages <= len(STAGES) or deepest_px not in {4, 8, 16, 32}:
            raise ValueError(f"stages is 2 to {len(STAGES)}, the largest stride 4, 8, 16 or 32")
        before, stride_px, rate = scaled(_FULL_WIDTH, width), 2, 1
        self.stem = conv_norm(bands, before, stride=2)
        self.stages = nn.ModuleList()
        self.strides_px: list[int] = []
        """Stride of each stage."""
        for expand, channels, blocks, stride in STAGES[:stages]:
            after, step, first_rate = scaled(channels, width), stride, rate
            if stride_px * stride > deepest_px:
                step, rate = 1, rate * stride if dilate else rate
            stride_px *= step
            rows = [InvertedResidual(before, after, expand=expand, stride=step, rate=first_rate)]
            rows += [InvertedResidual(after, after, expand=expand, stride=1, rate=rate) for _ in range(blocks - 1)]
            self.stages.append(nn.Sequential(*rows))
            self.strides_px.append(stride_px)
            before = after
        self.channels: list[int] = [scaled(STAGES[index][1], width) for index in self._kept]
        """Of each of the features that are returned."""
        init_convolutions(self)

    @property
    def _kept(self) -> list[int]:
        """Numbers of the last stage of each stride."""
        return [number for number, one in enumerate(self.strides_px) if one not in self.strides_px[number + 1 :]]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the last features (n, channels, y, x) of each stride from 2 on, the finest first."""
        x = F.relu_(self.stem(x))
        kept, features = self._kept, []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in kept:
                features.append(x)
        return features

    def first_convolution(self) -> nn.Conv2d:
        """Return the convolution that the bands come to, for a linear layer before it to be folded into."""
        first = self.stem[0] if isinstance(self.stem, nn.Sequential) else self.stem
        if not isinstance(first, nn.Conv2d):
            raise TypeError(f"the first layer is a {type(first).__name__}")
        return first


def init_convolutions(net: nn.Module) -> None:
    """Draw the weights of all convolutions anew, so that the spread of features stays what it is from layer to layer.

    He et al. (2015), arXiv:1502.01852. What torch draws by itself fades out in a network as deep as this one.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


def check_level(level: int) -> None:
    """Refuse a network that is asked to take the level vector, and does not."""
    if level:
        raise ValueError(f"level = {level}: this network takes reflectance itself, not its level. Type level = 0")
