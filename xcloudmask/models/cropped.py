"""The forward pass of a tile whose rim is thrown away: each layer computes what the layers behind it still need.

The halo of a tile is as deep as the network sees. Only the first layer needs all of it, and the last one, at full
resolution, needs next to none. What is kept is what `net(tiles)` gives there: the same bits in bf16, and in float32 the
same up to the last ones.

Values that lie side by side are moved in pairs: two halves are one integer, and a pass over the pixels takes half the
time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from xcloudmask.models._layers import Residual, level_biases, twice_as_fine
from xcloudmask.models.unet import STRIDE_PX, CloudUNet
from xcloudmask.models.voting import VotingNet

__all__ = ["cropped_logits"]

Crop = tuple[slice, slice]


def cropped_logits(
    net: nn.Module, tiles: Tensor, level: Tensor | None, crop: Crop, *, dtype: torch.dtype | None = None
) -> Tensor:
    """Return ``net(tiles, level)[:, :, crop[0], crop[1]]``, computing little else where the network is known.

    Parameters
    ----------
    net
        Maps (n, bands, y, x) and a level (n, values) or None to logits (n, classes, y, x). In eval mode.
    tiles
        (n, bands, y, x).
    level
        (n, values), or None.
    crop
        Stretches of y and x to return.
    dtype
        What the network computes in, which the tiles are turned into; None where they are.

    Returns
    -------
    torch.Tensor
        (n, classes, y, x).

    Examples
    --------
    >>> from xcloudmask.models.loading import load_network
    >>> from xcloudmask.models.registry import get_spec
    >>> crop = (slice(72, 80), slice(72, 88))
    >>> with torch.inference_mode():
    ...     cropped_logits(load_network(get_spec("default")), torch.zeros(1, 3, 160, 160), None, crop).shape
    torch.Size([1, 4, 8, 16])
    """
    if isinstance(net, VotingNet):
        return net.poll(
            lambda member, known: cropped_logits(member, tiles, level if known else None, crop, dtype=dtype)
        )
    if isinstance(net, CloudUNet):
        return _unet(net, tiles, level, crop)
    logits: Tensor = net(tiles.to(dtype) if dtype else tiles, level)
    return logits[:, :, crop[0], crop[1]]


@dataclass(frozen=True, slots=True)
class _Area:
    """A rectangle of a tile, in cells of the network's total stride."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    def cut(self, features: Tensor, to: _Area, *, scale: int = 1) -> Tensor:
        """Cut features of this area, `scale` values a cell, to a smaller one."""
        rows, columns = (
            slice((inner[0] - outer[0]) * scale, (inner[1] - outer[0]) * scale)
            for outer, inner in ((self.rows, to.rows), (self.columns, to.columns))
        )
        return features[:, :, rows, columns]

    def wider(self, cells: int, whole: _Area) -> _Area:
        """Return the area with a margin, as far as the tile goes."""
        rows, columns = (
            (max(most[0], inner[0] - cells), min(most[1], inner[1] + cells))
            for inner, most in ((self.rows, whole.rows), (self.columns, whole.columns))
        )
        return _Area(rows, columns)


def _unet(net: CloudUNet, tiles: Tensor, level: Tensor | None, crop: Crop) -> Tensor:
    """`CloudUNet.forward`. In cells of stride 8, encoder and decoder see 1 cell around, and each block 2."""
    whole = _Area((0, tiles.shape[2] // STRIDE_PX), (0, tiles.shape[3] // STRIDE_PX))
    stretches = [range(*stretch.indices(side)) for stretch, side in zip(crop, tiles.shape[2:], strict=True)]
    rows, columns = ((stretch.start // STRIDE_PX, -(-stretch.stop // STRIDE_PX)) for stretch in stretches)
    kept = _Area(rows, columns)
    decoded, area = kept.wider(1, whole), kept.wider(2 * len(net.context) + 2, whole)
    half, quarter, eighth = _encoded(net, whole.cut(tiles, area, scale=STRIDE_PX), level)
    half, quarter = area.cut(half, decoded, scale=4), area.cut(quarter, decoded, scale=2)
    for number, layer in enumerate(net.context, start=1):
        block = cast("Residual", layer)
        needed = kept.wider(2 * (len(net.context) - number) + 1, whole)
        change = block.second(_conv_relu(block.first, eighth))
        eighth = F.relu_(area.cut(eighth, needed) + area.cut(change, needed))
        del change
        area = needed
    # Nothing that was read for the last time is held: at full resolution that is what a worker's memory is.
    eighth = net.up4(eighth)
    quarter = twice_as_fine(eighth).add_(quarter)
    del eighth
    quarter = net.up2(_conv_relu(net.decode4, F.relu_(quarter)))
    half = twice_as_fine(quarter).add_(half)
    del quarter
    half = _conv_relu(net.decode2, F.relu_(half))
    logits = _shuffled(net.head(half))
    top, left = (start * STRIDE_PX for start, _ in (decoded.rows, decoded.columns))
    y, x = stretches
    return logits[:, :, y.start - top : y.stop - top, x.start - left : x.stop - left]


def _encoded(net: CloudUNet, tiles: Tensor, level: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Features at strides 2, 4 and 8."""
    like = tiles.new_zeros((len(tiles), 1), dtype=net.head.weight.dtype)
    fine_bias, coarse_bias = level_biases(net.level_mlp, like, level)
    half = F.relu_(net.stem[1](_unshuffled(tiles.to(like.dtype))).add_(fine_bias))
    half = _conv_relu(net.encode2, half)
    quarter = _conv_relu(net.encode4, _conv_relu(net.down4, half))
    return half, quarter, F.relu_(net.down8(quarter).add_(coarse_bias))


def _conv_relu(layer: nn.Module, features: Tensor) -> Tensor:
    """A convolution and what of it is above 0: one pass on processors, where `torch.compile` fuses them alike."""
    if features.device.type != "cpu" or type(layer) is not nn.Conv2d or not _fuses():
        return F.relu_(layer(features))
    how = layer.padding, layer.stride, layer.dilation, layer.groups
    result: Tensor = torch.ops.mkldnn._convolution_pointwise(features, layer.weight, layer.bias, *how, "relu", [], "")
    return result


@cache
def _fuses() -> bool:
    """Whether this torch has the operator that its compiler uses, and takes what it is given here: it is no promise."""
    weight = torch.zeros(1, 1, 1, 1)
    try:
        torch.ops.mkldnn._convolution_pointwise(weight, weight, None, (0, 0), (1, 1), (1, 1), 1, "relu", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return True


def _in_pairs(features: Tensor) -> bool:
    return features.device.type == "cpu" and features.element_size() == 2


def _unshuffled(tiles: Tensor) -> Tensor:
    """`pixel_unshuffle` by 2, straight into channels_last."""
    if not _in_pairs(tiles) or tiles.stride(3) != 1:
        return F.pixel_unshuffle(tiles, 2)
    n, bands, height, width = tiles.shape
    source = tiles.view(torch.int32).view(n, bands, height // 2, 2, width // 2).numpy()
    result = torch.empty((n, height // 2, width // 2, bands, 2), dtype=torch.int32)
    # numpy copies planes in a third of the time that torch takes for the same permutation.
    target = result.numpy()
    for band in range(bands):
        for row in range(2):
            target[..., band, row] = source[:, band, :, row]
    channels = result.view(tiles.dtype).view(n, height // 2, width // 2, 4 * bands)
    return channels.permute(0, 3, 1, 2)


def _shuffled(features: Tensor) -> Tensor:
    """`pixel_shuffle` by 2, with the pixels of a class side by side: what compares the classes takes half the time."""
    if not (_in_pairs(features) and features.is_contiguous(memory_format=torch.channels_last)):
        return F.pixel_shuffle(features, 2)
    n, channels, height, width = features.shape
    pairs = features.permute(0, 2, 3, 1).view(torch.int32).view(n, height, width, channels // 4, 2)
    planes = pairs.permute(0, 3, 1, 4, 2).contiguous()
    return planes.view(features.dtype).view(n, channels // 4, 2 * height, 2 * width)
