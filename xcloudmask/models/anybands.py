"""SEnSeI in front of a network: trained on bands of any kind, and turned into an ordinary network for given ones.

Both SEnSeI's map of the bands and the first convolution of the network behind it are linear, with nothing in between.
So for given bands the two are one convolution, and what runs is the network alone with as many input channels as there
are bands: SEnSeI then costs nothing per pixel. In training, each sample of a batch has a convolution of its own bands;
the map of 64 channels is never made. The level of the bands, where a network takes one, is mapped by the same matrix.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from xcloudmask.errors import ArgumentError
from xcloudmask.models.deeplabv3 import CloudDeepLabV3
from xcloudmask.models.mobileunet import MobileUNet
from xcloudmask.models.sensei import Sensei, Wavelengths, describe
from xcloudmask.models.unet import CloudUNet

__all__ = ["BODIES", "SIDE_VALUES", "SenseiNet"]

SIDE_VALUES = 7
"""What `SenseiNet` is told of each band: its descriptor (three values); 1, or 0 for a place that holds no band; 1, or 0
where the level is unknown; and log mean and log spread, as in `xcloudmask.normalize.level_vector`."""
_LEVEL = "level_mlp.0.weight"
_RIDGE = 1e-3

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
        Other arguments of the network behind it, such as its width, and whether it takes the level: unless told, not.

    Examples
    --------
    >>> bands = ((650.0, 665.0, 680.0), (543.0, 560.0, 578.0), (785.0, 842.0, 900.0))
    >>> net = SenseiNet("unet", width=8, blocks=1).eval().specialised(bands)
    >>> net(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 4, 64, 64])
    """

    def __init__(self, body: str, *, channels: int = 64, **config: int) -> None:
        super().__init__()
        config = {"level": 0, **config}
        self.sensei = Sensei(channels=channels)
        self.body = BODIES[body](bands=channels, **config)
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
            (n, bands, 7): see `SIDE_VALUES`.
        """
        matrix = self.sensei.matrix(side[..., :3], side[..., 3])
        self._first.matrix = matrix
        try:
            logits: Tensor = self.body(x, self._level(matrix, side[..., 4:]) if self._config["level"] else None)
        finally:
            self._first.matrix = None
        return logits

    @staticmethod
    def _level(matrix: Tensor, told: Tensor) -> Tensor:
        """The level of SEnSeI's channels (n, 1 + 2 * channels), of that of the bands (n, bands, 3)."""
        mapped = torch.einsum("ncb,nbk->nck", matrix, told[..., 1:])
        return torch.cat((told[..., 0].amax(dim=1, keepdim=True), mapped.flatten(1)), dim=1)

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
        matrix = self._matrix(wavelengths_nm)
        net = BODIES[self._kind](bands=len(wavelengths_nm), **self._config).to(self._first.weight.device)
        state = {**self.body.state_dict(), f"{self._first_name}.weight": self._first.folded(matrix).float()}
        if self._config["level"]:
            flag, mapped = state[_LEVEL].double().split((1, 2 * len(matrix)), dim=1)
            folded = torch.einsum("ock,cb->obk", mapped.unflatten(1, (len(matrix), 2)), matrix).flatten(1)
            state[_LEVEL] = torch.cat((flag, folded), dim=1).float()
        net.load_state_dict(state)
        return net.eval()

    @torch.no_grad()
    def adopt(self, net: nn.Module, wavelengths_nm: Sequence[Wavelengths]) -> None:
        """Take the weights of a network of certain bands, so that this one begins by doing the same for these bands.

        Parameters
        ----------
        net
            Of the same kind and size as the network behind SEnSeI.
        wavelengths_nm
            The bands of the network as one or more sensors have them. Its first layer is the same for all of them,
            as nearly as can be: ridge regression.

        Raises
        ------
        ArgumentError
            The network is of another size.
        """
        matrix = torch.cat([self._matrix(bands) for bands in wavelengths_nm], dim=1)
        gram = matrix @ matrix.T
        solve = torch.linalg.solve(gram + _RIDGE * gram.diagonal().mean() * torch.eye(len(gram)).to(gram), matrix).T
        state = {key: value.clone() for key, value in net.state_dict().items()}
        first, bands, times = f"{self._first_name}.weight", len(wavelengths_nm[0]), len(wavelengths_nm)
        pixels = state[first].double().unflatten(1, (bands, -1)).repeat(1, times, 1, 1, 1)
        state[first] = torch.einsum("obpyx,bc->ocpyx", pixels, solve).flatten(1, 2).float()
        if self._config["level"]:
            flag, own = state[_LEVEL].double().split((1, 2 * bands), dim=1)
            mapped = torch.einsum("obk,bc->ock", own.unflatten(1, (bands, 2)).repeat(1, times, 1), solve)
            state[_LEVEL] = torch.cat((flag, mapped.flatten(1)), dim=1).float()
        try:
            self.body.load_state_dict(state)
        except RuntimeError as error:
            raise ArgumentError(f"The network to begin with is of another kind or size: {error}") from error

    def _matrix(self, wavelengths_nm: Wavelengths) -> Tensor:
        """(channels, bands) of SEnSeI in float64: bands that are much alike differ in few digits."""
        descriptors = describe(wavelengths_nm).to(self._first.weight.device).double()
        return copy.deepcopy(self.sensei).double().matrix(descriptors)


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
