"""SEnSeI in front of a network: trained on bands of any kind, and turned into an ordinary network for given ones.

Both SEnSeI's map of the bands and the first convolution of the network behind it are linear, with nothing in between.
So for given bands the two are one convolution, and what runs is the network alone with as many input channels as there
are bands: SEnSeI then costs nothing per pixel. In training, each sample of a batch has a convolution of its own bands;
the map of 64 channels is never made.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from xcloudmask.models.deeplabv3 import CloudDeepLabV3
from xcloudmask.models.mobileunet import MobileUNet
from xcloudmask.models.sensei import Sensei, Wavelengths, describe
from xcloudmask.models.unet import CloudUNet

__all__ = ["BODIES", "SIDE_VALUES", "SenseiNet"]

SIDE_VALUES = 4
"""What `SenseiNet` is told of each band: its descriptor, and 1, or 0 for a place that holds no band."""

_Body = type[CloudUNet] | type[CloudDeepLabV3] | type[MobileUNet]

BODIES: Mapping[str, _Body] = MappingProxyType(
    {"unet": CloudUNet, "deeplabv3plus": CloudDeepLabV3, "mobile-unet": MobileUNet}
)
"""Networks that may stand behind SEnSeI, by the end of the name of the architecture."""


class SenseiNet(nn.Module):
    """SEnSeI and a network behind it.

    Parameters
    ----------
    body
        Key of `BODIES`.
    channels
        Of SEnSeI's map.
    config
        Other arguments of the network behind it, such as its width.

    Examples
    --------
    >>> bands = ((650.0, 665.0, 680.0), (543.0, 560.0, 578.0), (785.0, 842.0, 900.0))
    >>> net = SenseiNet("unet", width=8, blocks=1).eval().specialised(bands)
    >>> net(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 4, 64, 64])
    """

    def __init__(self, body: str, *, channels: int = 64, **config: int) -> None:
        super().__init__()
        self.sensei = Sensei(channels=channels)
        self.body = BODIES[body](bands=channels, level=0, **config)
        self.stride_px = self.body.stride_px
        self._kind, self._config = body, config
        first = self.body.first_convolution()
        (self._first_name,) = (name for name, module in self.body.named_modules() if module is first)
        self.body.set_submodule(self._first_name, _OwnBands(first, channels=channels))

    @property
    def _first(self) -> _OwnBands:
        return cast("_OwnBands", self.body.get_submodule(self._first_name))

    def forward(self, x: Tensor, side: Tensor) -> Tensor:
        """Return logits (n, classes, y, x).

        Parameters
        ----------
        x
            (n, bands, y, x), as `xcloudmask.models.sensei.Sensei.forward` takes it.
        side
            (n, bands, 4): the descriptor of each band, and whether there is one.
        """
        descriptors, there = side[..., : SIDE_VALUES - 1], side[..., SIDE_VALUES - 1]
        self._first.matrix = self.sensei.matrix(descriptors, there)
        try:
            logits: Tensor = self.body(x)
        finally:
            self._first.matrix = None
        return logits

    @torch.no_grad()
    def specialised(self, wavelengths_nm: Wavelengths) -> nn.Module:
        """Return the network for given bands, without SEnSeI.

        Parameters
        ----------
        wavelengths_nm
            (shortest, central, longest) of each band, in the order in which they will be fed.

        Returns
        -------
        torch.nn.Module
            Maps (n, bands, y, x) to logits (n, classes, y, x). In eval mode, on the device of this one.

        Raises
        ------
        ArgumentError
            Fewer than three bands, or wavelengths that are none.
        """
        first = self._first
        descriptors = describe(wavelengths_nm).to(first.weight.device)
        # Bands that are much alike differ in few digits, so what SEnSeI says of them is worked out in full.
        matrix = copy.deepcopy(self.sensei).double().matrix(descriptors.double())
        net = BODIES[self._kind](bands=len(wavelengths_nm), level=0, **self._config).to(first.weight.device)
        folded = {f"{self._first_name}.weight": first.folded(matrix).float()}
        net.load_state_dict({**self.body.state_dict(), **folded})
        return net.eval()


class _OwnBands(nn.Conv2d):
    """The first convolution of the network, which takes bands in place of SEnSeI's channels.

    Parameters
    ----------
    like
        The convolution that takes the channels, or those of several pixels for each of them.
    channels
        Of SEnSeI.
    """

    def __init__(self, like: nn.Conv2d, *, channels: int) -> None:
        super().__init__(
            like.in_channels,
            like.out_channels,
            cast("tuple[int, int]", like.kernel_size),
            cast("tuple[int, int]", like.stride),
            cast("tuple[int, int]", like.padding),
            bias=False,
        )
        self.channels = channels
        self.matrix: Tensor | None = None
        """(n, channels, bands) of the batch that is on its way."""

    def folded(self, matrix: Tensor) -> Tensor:
        """Return the weights (..., out, bands and pixels, y, x) for matrices (..., channels, bands)."""
        weight = self.weight.to(matrix.dtype).reshape(self.out_channels, self.channels, -1, *self.kernel_size)
        return torch.einsum("ocpyx,...cb->...obpyx", weight, matrix).flatten(-4, -3)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, out, y, x) of (n, bands and pixels, y, x), each sample by its own bands."""
        if self.matrix is None:
            raise RuntimeError("The network behind SEnSeI was called without it.")
        weights = self.folded(self.matrix)
        # One by one: a convolution in groups takes twice as long on a processor.
        samples = (
            functional.conv2d(one[None], weight, None, self.stride, self.padding)
            for one, weight in zip(x, weights, strict=True)
        )
        return torch.cat(list(samples))
