"""The stream of the pre-training of SEnSeI: sets of bands, and what they show of simulated ground, clouds and air.

A sample is one set of 3 to 14 bands between 400 nm and 20 um, as in the paper (Francis et al., 2022, arXiv:2111.08349),
with many spectra: SEnSeI looks at the bands alone, so a second spectrum in the same bands costs next to nothing. Sample
`i` depends on the seed and on `i` alone, so a resumed run sees the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xcloudmask.models.sensei import FEWEST_BANDS, OFFSET, THERMAL_K, describe
from xcloudmask.sensors.registry import BUILT_IN
from xcloudmask.simulate._layer import CloudLayer
from xcloudmask.simulate.atmosphere import draw_air, see_through_air
from xcloudmask.simulate.optics import cover
from xcloudmask.simulate.spectra import KNOTS_NM, SPECTRA, is_thermal
from xcloudmask.simulate.surface import brightness_temperature

__all__ = ["ASKED", "MOST_BANDS", "SPECTRA_A_SET", "SpectraStream", "draw_bands", "draw_spectra"]

MOST_BANDS = 14
"""Of a set; smaller ones are filled up with places that hold no band."""
ASKED = 16
"""Bands that the decoder is asked about: half of them are in the set."""
SPECTRA_A_SET = 8
"""Spectra of a sample."""

_NM = (400.0, 20_000.0)
"""Centres of random bands."""
_SUNLIT_NM = 2500.0
_SUNLIT = 0.75
"""Share of random bands up to 2500 nm, where the spectra have their features."""
_WIDTHS = (0.003, 0.2)
"""Of random bands, as shares of their centre: from hyperspectral to panchromatic."""
_ONE_SENSOR = 0.5
"""Share of sets that are bands of one sensor, as users have them."""
_OF_A_SENSOR = 0.3
"""Share of the bands of other sets that are those of some sensor."""
_TOP_OF_ATMOSPHERE = 0.6
_CLEAR = 0.4
_SHADED = 0.15

_Band = tuple[float, float, float]
_Values = npt.NDArray[np.float32]

_SETS: tuple[tuple[_Band, ...], ...] = tuple(tuple(band.wavelength_nm for band in sensor.bands) for sensor in BUILT_IN)
_KNOWN: tuple[_Band, ...] = tuple(dict.fromkeys(band for bands in _SETS for band in bands))
_GRID_NM = np.arange(350.0, 3001.0)


class SpectraStream(torch.utils.data.Dataset[tuple[Tensor, ...]]):
    """Map from a sample's number to (values, side, asked, present, truth).

    Parameters
    ----------
    seed
        Seed of all samples.
    length
        Number of samples.
    held_out
        Whether these are the samples to measure with: no fit sees them.

    Examples
    --------
    >>> [tuple(part.shape) for part in SpectraStream(seed=0, length=1)[0]]
    [(14, 8), (14, 4), (16, 3), (16,), (16, 8)]
    """

    def __init__(self, *, seed: int, length: int, held_out: bool = False) -> None:
        self.seed, self.length, self.held_out = seed, length, held_out

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        """Return sample `index`.

        Values are (bands, spectra), as SEnSeI is fed; `side` (bands, 4) is the descriptor of each band and whether
        there is one, as `xcloudmask.models.anybands.SenseiNet` is told; `asked` holds the descriptors of the bands to
        ask about, `present` 1 where they are in the set, and `truth` (asked, spectra) what they then show.
        """
        # An integer more makes other numbers. It is no 0: numpy takes trailing zeros for nothing.
        rng = np.random.default_rng((self.seed, index, 1) if self.held_out else (self.seed, index))
        bands = draw_bands(rng)
        shown = draw_spectra(bands, count=SPECTRA_A_SET, rng=rng)
        values = np.zeros((MOST_BANDS, SPECTRA_A_SET), np.float32)
        values[: len(bands)] = shown + np.float32(OFFSET)
        side = torch.zeros(MOST_BANDS, 4)
        side[: len(bands), :3] = describe(bands)
        side[: len(bands), 3] = 1.0
        inside = np.resize(rng.permutation(len(bands)), ASKED // 2)
        asked = describe([*(bands[one] for one in inside), *_draw_others(bands, rng)])
        present = (torch.arange(ASKED) < len(inside)).float()
        truth = np.zeros((ASKED, SPECTRA_A_SET), np.float32)
        truth[: len(inside)] = shown[inside]
        return torch.from_numpy(values), side, asked, present, torch.from_numpy(truth)


def draw_bands(rng: np.random.Generator) -> tuple[_Band, ...]:
    """Draw a set of bands.

    Parameters
    ----------
    rng
        Source of randomness.

    Returns
    -------
    tuple
        (shortest, centre, longest) in nm of 3 to 14 bands, no two of them the same.

    Examples
    --------
    >>> 3 <= len(draw_bands(np.random.default_rng(0))) <= 14
    True
    """
    count = int(rng.integers(FEWEST_BANDS, MOST_BANDS + 1))
    if rng.random() < _ONE_SENSOR:
        sensor = _SETS[rng.integers(len(_SETS))]
        return tuple(sensor[place] for place in rng.permutation(len(sensor))[:count])
    found: dict[_Band, None] = {}
    while len(found) < count:
        found[_draw_band(rng)] = None
    return tuple(found)


def _draw_band(rng: np.random.Generator) -> _Band:
    if rng.random() < _OF_A_SENSOR:
        return _KNOWN[rng.integers(len(_KNOWN))]
    if rng.random() < _SUNLIT:
        centre = float(rng.uniform(_NM[0], _SUNLIT_NM))
    else:
        centre = float(np.exp(rng.uniform(np.log(_SUNLIT_NM), np.log(_NM[1]))))
    half = 0.5 * centre * float(np.exp(rng.uniform(*np.log(_WIDTHS))))
    return (centre - half, centre, centre + half)


def _draw_others(bands: Sequence[_Band], rng: np.random.Generator) -> list[_Band]:
    """Bands that are not in the set, of sensors as often as those that are."""
    others: list[_Band] = []
    while len(others) < ASKED - ASKED // 2:
        others += [band for band in draw_bands(rng) if band not in bands]
    return others[: ASKED - ASKED // 2]


def draw_spectra(bands: Sequence[_Band], *, count: int, rng: np.random.Generator) -> _Values:
    """Draw what bands show of single pixels: mixed ground, clear or under one kind of cloud, with or without air.

    Parameters
    ----------
    bands
        (shortest, centre, longest) of each, in nm.
    count
        Number of spectra.
    rng
        Source of randomness.

    Returns
    -------
    numpy.ndarray
        (band, spectrum) float32 reflectance; beyond 3000 nm brightness temperature over
        `xcloudmask.models.sensei.THERMAL_K`.

    Notes
    -----
    Materials, air and cloud are those of `xcloudmask.simulate`, pixel by pixel and without texture. Heat comes through
    clear air unchanged, which is true in the windows that sensors use (3.7, 8.5 to 12.5 um) and too warm elsewhere.

    Examples
    --------
    >>> bands = [(640.0, 655.0, 670.0), (10600.0, 10900.0, 11190.0)]
    >>> shown = draw_spectra(bands, count=5, rng=np.random.default_rng(0))
    >>> shown.shape, bool((shown[1] > 0.5).all())
    ((2, 5), True)
    """
    zenith_deg = float(rng.uniform(15.0, 70.0))
    air_k = np.float32(rng.uniform(250.0, 308.0))
    ground = _draw_ground(bands, count, air_k, rng)
    if rng.random() < _TOP_OF_ATMOSPHERE:
        ground = see_through_air(ground, bands=bands, air=draw_air(rng, sun_zenith_deg=zenith_deg))
    layer = _draw_layer(count, rng)
    shading = np.float32(rng.uniform(0.7, 1.2))
    airmass = 1.0 + 1.0 / float(np.cos(np.radians(zenith_deg)))
    seen = np.empty_like(ground)
    for index, band in enumerate(bands):
        seen[index] = cover(
            ground[index], layer, wave_nm=band[1], shading=shading, airmass=airmass, surface_k=float(air_k)
        )
        if is_thermal(band):
            seen[index] /= np.float32(THERMAL_K)
    return seen[:, 0]


def _draw_ground(bands: Sequence[_Band], count: int, air_k: np.float32, rng: np.random.Generator) -> _Values:
    """One to three materials a pixel, in the sun or in the shade: (band, 1, spectrum), heat in kelvin."""
    kinds = rng.integers(len(SPECTRA), size=(count, 3))
    shares = rng.dirichlet((0.5, 0.5, 0.5), size=count)
    light = rng.uniform(0.5, 1.3, size=count)
    light = np.where(rng.random(count) < _SHADED, light * rng.uniform(0.1, 0.6, size=count), light)
    materials = list(SPECTRA.values())
    emissivity = _mixed(np.array([one.emissivity for one in materials]), kinds, shares)
    warming = _mixed(np.array([one.warming_k for one in materials]), kinds, shares)
    temperature = air_k + warming * (0.3 + 0.7 * light)
    image = np.empty((len(bands), 1, count), np.float32)
    for index, band in enumerate(bands):
        if is_thermal(band):
            image[index, 0] = brightness_temperature(
                temperature.astype(np.float32), emissivity.astype(np.float32), wavelength_nm=band[1]
            )
        else:
            image[index, 0] = np.clip(_mixed(_band_means(band), kinds, shares) * light, 0.0, 1.6)
    return image


def _mixed(
    of_materials: npt.NDArray[np.float64], kinds: npt.NDArray[np.int64], shares: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    return np.asarray((of_materials[kinds] * shares).sum(axis=1))


def _band_means(band: _Band) -> npt.NDArray[np.float64]:
    """Mean reflectance of each material over a band, as `xcloudmask.simulate.spectra.sample` has it for one.

    Beyond the last knot the spectra stay at its value; 2600 to 3000 nm is dark with water vapour anyway.
    """
    shortest, _, longest = np.clip(band, _GRID_NM[0], _GRID_NM[-1])
    ends = np.array([np.interp((shortest, longest), _GRID_NM, sums) for sums in _running_sums()])
    return np.asarray((ends[:, 1] - ends[:, 0]) / (longest - shortest))


@cache
def _running_sums() -> npt.NDArray[np.float64]:
    """Integral of each spectrum from the first wavelength of the grid: (material, wavelength)."""
    spectra = np.array([np.interp(_GRID_NM, KNOTS_NM, one.reflectance) for one in SPECTRA.values()])
    steps = 0.5 * (spectra[:, 1:] + spectra[:, :-1])
    return np.concatenate((np.zeros((len(spectra), 1)), np.cumsum(steps, axis=1)), axis=1)


def _draw_layer(count: int, rng: np.random.Generator) -> CloudLayer:
    """Draw droplets, crystals or haze, thin to thick, over a part of the pixels."""
    kind = rng.integers(5)
    median, height_m = {0: (0.5, (0.0, 1500.0)), 1: (1.5, (5000.0, 12_000.0)), 2: (8.0, (4000.0, 11_000.0))}.get(
        int(kind), (8.0, (300.0, 4000.0))
    )
    tau = np.exp(rng.normal(np.log(median), 1.0, size=(1, count)))
    tau = np.where(rng.random((1, count)) < _CLEAR, 0.0, np.minimum(tau, 100.0)).astype(np.float32)
    ice = kind in (1, 2)
    return CloudLayer(
        optical_thickness=tau,
        height_m=float(rng.uniform(*height_m)),
        depth_m=float(rng.uniform(0.0, 1500.0)),
        asymmetry=0.65 if kind == 0 else 0.78 if ice else 0.85,
        angstrom=1.2 if kind == 0 else 0.0,
        ice=ice,
    )
