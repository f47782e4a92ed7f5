"""SEnSeI in front of a network: trained on bands of any kind, and turned into an ordinary network for given ones.

Both SEnSeI's map of the bands and the first convolution of the network behind it are linear, with nothing in between.
So for given bands the two are one convolution, and what runs is the network alone with as many input channels as there
are bands: SEnSeI then costs nothing per pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from xcloudmask.models.sensei import Sensei, Wavelengths, describe
from xcloudmask.models.unet import CloudUNet

__all__ = ["BODIES", "SIDE_VALUES", "SenseiNet"]

SIDE_VALUES = 4
"""What `SenseiNet` is told of each band: its descriptor, and 1, or 0 for a place that holds no band."""

BODIES: Mapping[str, type[CloudUNet]] = MappingProxyType({"unet": CloudUNet})
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
        logits: Tensor = self.body(self.sensei(x, descriptors, there))
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
        convolution = self.body.first_convolution()
        descriptors = describe(wavelengths_nm).to(convolution.weight.device)
        # The descriptor network is told apart by its last bits, so what it says is worked out in full.
        matrix = self.sensei.double().matrix(descriptors.double())
        self.sensei.float()
        weight = convolution.weight.double().unflatten(1, (matrix.shape[0], -1))
        folded = torch.einsum("ocpyx,cb->obpyx", weight, matrix).flatten(1, 2)
        net = BODIES[self._kind](bands=len(wavelengths_nm), level=0, **self._config).to(convolution.weight.device)
        (name,) = (key for key, value in self.body.named_parameters() if value is convolution.weight)
        net.load_state_dict({**self.body.state_dict(), name: folded.float()})
        return net.eval()
