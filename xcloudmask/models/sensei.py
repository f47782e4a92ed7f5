"""SEnSeI: any set of three or more bands becomes a map of 64 channels that one network can take.

Francis, Mrziglod, Sidiropoulos, Muller (2022), SEnSeI: A deep learning module for creating sensor independent cloud
masks, IEEE TGRS 60, arXiv:2111.08349. Written from the paper's description: each band is told by its shortest,
central and longest wavelength; dense layers turn that, and how it compares with each other band, into a vector; the
vector times the reflectance (plus 0.5, so that dark is not nothing) is averaged over the bands.

The vectors depend on the bands, not on the pixels. So for a given set of bands all of SEnSeI is one matrix, which
`Sensei.matrix` returns: the first convolution of the network behind it takes it up (`xcloudmask.models.anybands`),
memory does not grow by 64 times the bands, and nothing of it runs per chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from xcloudmask.errors import ArgumentError
from xcloudmask.models.openbands import FEWEST_BANDS, OFFSET, THERMAL_K

__all__ = ["FEWEST_BANDS", "OFFSET", "THERMAL_K", "Sensei", "SenseiDecoder", "describe"]

_VALUES = 3
_GROUPS = 8

Wavelengths = Sequence[tuple[float, float, float]]
"""(shortest, central, longest) of each band, in nm."""


def describe(wavelengths_nm: Wavelengths) -> Tensor:
    """Return the descriptors of bands: log10(nm - 300) - 2, about 0 to 0.4 in the visible and 2 in the thermal.

    Parameters
    ----------
    wavelengths_nm
        (shortest, central, longest) of each band.

    Returns
    -------
    torch.Tensor
        (bands, 3) float32.

    Raises
    ------
    ArgumentError
        Fewer than three bands, or wavelengths that are none.

    Examples
    --------
    >>> describe([(400.0, 400.0, 400.0), (500, 560, 620), (1000, 1300, 1300)])[0].tolist()
    [0.0, 0.0, 0.0]
    """
    if len(wavelengths_nm) < FEWEST_BANDS:
        raise ArgumentError(f"SEnSeI takes {FEWEST_BANDS} bands or more, found {len(wavelengths_nm)}.")
    for low, centre, high in wavelengths_nm:
        if not 300.0 < low <= centre <= high:
            raise ArgumentError(
                f"A band of {low} to {high} nm around {centre} nm. Expected shortest <= central <= longest, in nm, all "
                "above 300."
            )
    return torch.log10(torch.tensor(wavelengths_nm, dtype=torch.float64) - 300.0).sub(2.0).float()


class Sensei(nn.Module):
    """The module that comes before the first layer of a network.

    Parameters
    ----------
    channels
        Of the map that it makes.
    pair_width
        Of the layers that compare two bands.

    Examples
    --------
    >>> bands = describe([(650, 665, 680), (543, 560, 578), (785, 842, 900)])
    >>> Sensei().eval()(torch.zeros(1, 3, 8, 8), bands).shape
    torch.Size([1, 64, 8, 8])
    """

    def __init__(self, *, channels: int = 64, pair_width: int = 128) -> None:
        super().__init__()
        both = channels + pair_width
        self.channels = channels
        self.descriptor = _dense([_VALUES, *[channels] * 9])
        self.permutation = _dense([2 * channels, *[pair_width] * 5])
        self.combined = nn.Sequential(_dense([both, both, both]), nn.Linear(both, channels))

    def vectors(self, descriptors: Tensor, there: Tensor | None = None) -> Tensor:
        """Return a vector per band, (..., bands, channels), of descriptors (..., bands, 3).

        Each band is compared with every one, itself included, and the mean over these pairs joins its own vector; so
        the order of the bands changes nothing but the order of the vectors. `there` (..., bands) is 0 where a place is
        filled up and holds no band.
        """
        own = self.descriptor(descriptors)
        bands = own.shape[-2]
        first = own.unsqueeze(-2).expand(*own.shape[:-1], bands, own.shape[-1])
        second = own.unsqueeze(-3).expand_as(first)
        pairs = self.permutation(torch.cat((first, second), dim=-1))
        weights = own.new_ones(own.shape[:-1]) if there is None else there.to(own.dtype)
        shares = weights / weights.sum(dim=-1, keepdim=True)
        compared = torch.einsum("...ijc,...j->...ic", pairs, shares)
        vectors: Tensor = self.combined(torch.cat((own, compared), dim=-1))
        return vectors * weights.unsqueeze(-1)

    def matrix(self, descriptors: Tensor, there: Tensor | None = None) -> Tensor:
        """Return (..., channels, bands): what a map is of the values of the bands."""
        vectors = self.vectors(descriptors, there)
        count = float(vectors.shape[-2]) if there is None else there.sum(dim=-1)[..., None, None].to(vectors.dtype)
        return vectors.transpose(-1, -2) / count

    def forward(self, x: Tensor, descriptors: Tensor, there: Tensor | None = None) -> Tensor:
        """Return a map (n, channels, y, x) of bands (n, bands, y, x).

        Parameters
        ----------
        x
            Reflectance, or brightness temperature over `THERMAL_K`, plus `OFFSET`; 0 where there is no data.
        descriptors
            (bands, 3) for all images, or (n, bands, 3).
        there
            (bands,) or (n, bands): 0 for places without a band; None where all hold one.
        """
        matrix = self.matrix(descriptors, there)
        if matrix.ndim == 2:
            matrix = matrix.expand(x.shape[0], *matrix.shape)
        mixed = torch.bmm(matrix.to(x.dtype), x.flatten(2))
        return mixed.reshape(x.shape[0], self.channels, *x.shape[2:])


class SenseiDecoder(nn.Module):
    """For the pre-training alone: tells which bands are in a vector of SEnSeI, and what they showed.

    The paper's layers get the vector and the descriptor side by side. Here the descriptor is also turned into a vector
    that multiplies the first one, as a key does in attention: dense layers take very long to find a product.

    Parameters
    ----------
    channels
        Of SEnSeI.
    width
        Of the layers.

    Examples
    --------
    >>> asked = describe([(650, 665, 680), (543, 560, 578), (785, 842, 900)]).expand(5, -1, -1)
    >>> there, value = SenseiDecoder().eval()(torch.zeros(5, 64), asked)
    >>> there.shape, value.shape
    (torch.Size([5, 3]), torch.Size([5, 3]))
    """

    def __init__(self, *, channels: int = 64, width: int = 128) -> None:
        super().__init__()
        self.query = nn.Sequential(_dense([_VALUES, channels, channels, channels]), nn.Linear(channels, 2 * channels))
        self.discriminator, self.estimator = (_head(3 * channels + _VALUES, width) for _ in range(2))

    def forward(self, mixed: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """Return, for each band that is asked about, how surely it was there (0 to 1), and its value.

        Parameters
        ----------
        mixed
            (n, channels) vectors of SEnSeI, one per spectrum.
        asked
            (n, bands, 3) descriptors.
        """
        key, own = self.query(asked).chunk(2, dim=-1)
        vector = mixed.unsqueeze(1)
        both = torch.cat((vector.expand_as(key), vector * key, own, asked), dim=-1)
        there: Tensor = self.discriminator(both).squeeze(-1).sigmoid()
        value: Tensor = self.estimator(both).squeeze(-1)
        return there, value


class _Dense(nn.Module):
    """A dense layer, group norm and ReLU on the last axis."""

    def __init__(self, values_in: int, values_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(values_in, values_out)
        self.norm = nn.GroupNorm(_GROUPS, values_out)

    def forward(self, x: Tensor) -> Tensor:
        flat = self.linear(x).flatten(end_dim=-2)
        return torch.relu(self.norm(flat)).reshape(*x.shape[:-1], -1)


def _head(values_in: int, width: int) -> nn.Sequential:
    """Without norms, which would hide how large a value is."""
    hidden = nn.Linear(width, width)
    return nn.Sequential(nn.Linear(values_in, width), nn.ReLU(), hidden, nn.ReLU(), nn.Linear(width, 1))


def _dense(widths: Sequence[int]) -> nn.Sequential:
    return nn.Sequential(*(_Dense(before, after) for before, after in pairwise(widths)))
