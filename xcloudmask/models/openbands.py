"""Bands that a model was not made for: what is known of one, and how an any-bands model is made ready for some.

An any-bands model is SEnSeI in front of a network. For given bands the two become one ordinary network of as many
bands, and everything after that knows nothing of SEnSeI: see `xcloudmask.models.anybands`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xcloudmask.errors import ArgumentError, ModelError
from xcloudmask.models.spec import WAVELENGTHS, ModelSpec

__all__ = ["FEWEST_BANDS", "LONGEST_NM", "OFFSET", "SHORTEST_NM", "THERMAL_K", "OpenBand", "with_bands"]

FEWEST_BANDS = 3
"""With fewer, there is too little to compare."""
OFFSET = 0.5
"""What is added to a value before it is fed: what is dark is not nothing. Pixels without data are fed as 0."""
THERMAL_K = 310.0
"""What brightness temperatures are divided by: the 95th percentile of those of simulated scenes, rounded to 5 K
(``python -m benchmarks.thermal``)."""

SHORTEST_NM = 300.0
"""Wavelengths are told by the logarithm of what they are above this."""
LONGEST_NM = 20_000.0
"""SEnSeI was pre-trained with bands up to 20 micrometres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBand:
    """One band of a cube, as an any-bands model is told of it.

    Examples
    --------
    >>> OpenBand(name="ST_B10", wavelength_nm=(10600.0, 10895.0, 11190.0)).thermal
    True
    """

    name: str
    """What it is called in plans and messages, and in ``scale=`` and ``nodata=``."""
    wavelength_nm: tuple[float, float, float]
    """Shortest, central and longest wavelength."""

    def __post_init__(self) -> None:
        """Refuse what is no band of light or heat."""
        shortest, centre, longest = self.wavelength_nm
        if not SHORTEST_NM < shortest <= centre <= longest <= LONGEST_NM:
            raise ArgumentError(
                f"Band {self.name!r} has the wavelengths {shortest:g}, {centre:g}, {longest:g} nm. Expected the "
                f"shortest, the central and the longest, in this order, above {SHORTEST_NM:g} and up to "
                f"{LONGEST_NM:g} nm."
            )

    @property
    def thermal(self) -> bool:
        """Whether it sees heat: its values are kelvin, those of the others reflectance."""
        from xcloudmask.simulate.spectra import is_thermal

        return is_thermal(self.wavelength_nm)


def with_bands(spec: ModelSpec, bands: Sequence[OpenBand]) -> ModelSpec:
    """Return an any-bands model for given bands: a model of these bands like any other.

    Parameters
    ----------
    spec
        A model with ``any_bands``.
    bands
        Three or more, in the order in which they will be fed. The order changes the result by rounding at most.

    Returns
    -------
    ModelSpec
        Same name, weights and sha256. A model with z-scores keeps them; another is fed ``(value - mean) / std``:
        reflectance + 0.5, and kelvin over the 95th percentile of brightness temperatures + 0.5.

    Raises
    ------
    ModelError
        The model takes certain bands only.
    ArgumentError
        Fewer than three bands, or two of one name.

    Notes
    -----
    The offset of 0.5 and the division of brightness temperatures are those of SEnSeI: Francis et al. (2022), IEEE
    Transactions on Geoscience and Remote Sensing 60.
    """
    if not spec.any_bands:
        raise ModelError(
            f"Model {spec.name!r} takes the bands {', '.join(spec.bands)} and no others. Type model='any-bands' for a "
            "model that takes any."
        )
    names = tuple(band.name for band in bands)
    if len(names) < FEWEST_BANDS or len(set(names)) < len(names):
        raise ArgumentError(
            f"Model {spec.name!r} takes {FEWEST_BANDS} or more bands, each once. Found {len(names)}: "
            f"{', '.join(map(repr, names)) or 'none'}."
        )
    wavelengths = tuple(tuple(map(float, band.wavelength_nm)) for band in bands)
    made = replace(spec, any_bands=False, bands=names, config=(*spec.config, (WAVELENGTHS, wavelengths)))
    if spec.normalization == "zscore":
        return made
    spread = tuple(THERMAL_K if band.thermal else 1.0 for band in bands)
    return replace(made, normalization="fixed", mean=tuple(-OFFSET * one for one in spread), std=spread)
