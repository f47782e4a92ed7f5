"""What a landscape is drawn on: materials laid over each other in shares of a pixel (numpy only)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from xcloudmask.simulate.noise import fractal_noise
from xcloudmask.simulate.patterns import Field, soft
from xcloudmask.simulate.spectra import SPECTRA, THERMAL_NM, Group, sample

__all__ = ["Canvas", "Colour"]

Colour = npt.NDArray[np.float32]
"""(channel,): per band reflectance or emissivity; then warming in K, grain, and 1 for dry or 0 for water."""

_SPREAD: dict[Group, float] = {
    "vegetation": 0.2,
    "soil": 0.25,
    "mineral": 0.15,
    "water": 0.3,
    "snow": 0.0,
    "urban": 0.25,
    "burnt": 0.3,
}
"""Standard deviation of the logarithm of a material's level from place to place."""
_TILT = 0.1
"""Standard deviation of the exponent by which a material is redder or bluer than its spectrum."""


class Canvas:
    """Channels of a landscape under construction.

    Parameters
    ----------
    shape
        (y, x) in px.
    bands
        (min, centre, max) in nm of each band.
    resolution_m
        Size of a pixel.
    rng
        Source of randomness.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        *,
        bands: Sequence[tuple[float, float, float]],
        resolution_m: float,
        rng: np.random.Generator,
    ) -> None:
        self.shape = shape
        self.rng = rng
        self.resolution_m = resolution_m
        self.scale = float(np.exp(rng.normal(0.0, 0.35)))
        """Everything is larger by this factor."""
        self.height_m: Field | None = None
        """Terrain; None is flat."""
        self.texture: Field | None = None
        """Relative brightness, around 1, on top of the grain of the materials."""
        self._library = _library(tuple(bands))
        self._waves = np.array([centre for _, centre, _ in bands], np.float32)
        self.channels = np.zeros((len(bands) + 3, *shape), np.float32)
        """(channel, y, x), as in a colour."""
        self._spare = np.empty_like(self.channels)

    def px(self, length_m: float) -> float:
        """Return a length in px, in the scale of this landscape; at least 1.5."""
        return max(1.5, length_m * self.scale / self.resolution_m)

    def chance(self, probability: float) -> bool:
        """Return True with that probability."""
        return bool(self.rng.random() < probability)

    def noise(self, outer_m: float, *, slope: float = 8 / 3, stretch: float = 1.0, angle: float | None = None) -> Field:
        """Draw fractal noise with mean 0 and standard deviation 1."""
        turned = float(self.rng.uniform(0.0, np.pi)) if angle is None else angle
        outer_px = max(4.0, self.px(outer_m))
        return fractal_noise(self.shape, rng=self.rng, slope=slope, outer_px=outer_px, stretch=stretch, angle=turned)

    def again(self, field: Field) -> Field:
        """Return a periodic field moved and mirrored: as good as another one, for nothing."""
        moved = np.roll(field, tuple(int(self.rng.integers(size)) for size in self.shape), (0, 1))
        return np.asarray(moved[:: self.rng.choice((-1, 1)), :: self.rng.choice((-1, 1))], np.float32)

    def colour(self, name: str, *, gain: float = 1.0) -> Colour:
        """Return one material as it looks here: brighter or darker, redder or bluer than its spectrum."""
        colour = self._library[name].copy()
        group = SPECTRA[name].group
        if group == "snow":
            # Dirt takes light off, most of it in the blue.
            level, tilt = self.rng.uniform(0.7, 1.0), self.rng.uniform(0.0, 0.08)
        else:
            level, tilt = np.exp(self.rng.normal(0.0, _SPREAD[group])), self.rng.normal(0.0, _TILT)
        factor = gain * level * (self._waves / 800.0) ** tilt
        count = len(self._waves)
        colour[:count] *= np.where(self._waves > THERMAL_NM, 1.0, factor)
        np.clip(colour[:count], 0.0, 0.98, out=colour[:count])
        return colour

    def pick(self, *names: str) -> Colour:
        """Return one of some materials."""
        return self.colour(names[int(self.rng.integers(len(names)))])

    def colours(self, names: Sequence[str], count: int, *, evenness: float = 0.7) -> npt.NDArray[np.float32]:
        """Return (channel, count) mixtures of two of some materials, with shares that differ from place to place."""
        pool = np.stack([self.colour(name) for name in names], axis=1)
        weights = self.rng.dirichlet(np.full(len(names), evenness))
        first, second = self.rng.choice(len(names), (2, count), p=weights)
        share = self.rng.beta(0.6, 0.6, count).astype(np.float32)
        mixed = pool[:, first] * share + pool[:, second] * (1 - share)
        bands = self._waves < THERMAL_NM
        mixed[: len(bands)][bands] *= np.exp(self.rng.normal(0.0, 0.1, count)).astype(np.float32)
        return np.asarray(mixed, np.float32)

    def fill(self, colour: Colour) -> None:
        """Cover everything."""
        self.channels[:] = colour[:, None, None]

    def paint(
        self, number: npt.NDArray[np.intp], colours: npt.NDArray[np.float32], *, cover: Field | None = None
    ) -> None:
        """Give each pixel the colour of its number, wholly or by a share."""
        if cover is None:
            np.take(colours, number, axis=1, out=self.channels, mode="clip")
            return
        np.take(colours, number, axis=1, out=self._spare, mode="clip")
        self._spare -= self.channels
        self._spare *= cover
        self.channels += self._spare

    def lay(self, cover: Field, colour: Colour) -> None:
        """Lay a material over what is there, by its share (0 to 1) of each pixel."""
        np.subtract(colour[:, None, None], self.channels, out=self._spare)
        self._spare *= cover
        self.channels += self._spare

    def share(self, field: Field, share: float, *, width: float = 0.12) -> Field:
        """Return the cover of the highest part of a field, with that share of the pixels."""
        level = float(np.quantile(field[::3, ::3], 1.0 - min(max(share, 0.0), 1.0)))
        return soft(field - np.float32(level), width)

    def roughen(self, field: Field, strength: float) -> None:
        """Let a field vary the brightness of everything."""
        rough = np.maximum(1.0 + np.float32(strength) * field, 0.2).astype(np.float32)
        self.texture = rough if self.texture is None else self.texture * rough

    def terrain(self, field: Field, *, slope: float) -> None:
        """Let a field be the terrain, with that root mean square of its slopes."""
        part = field[: self.shape[0] // 2 + 2, : self.shape[1] // 2 + 2]
        steep = float(np.sqrt(np.mean(np.diff(part, axis=0) ** 2) + np.mean(np.diff(part, axis=1) ** 2))) + 1e-6
        self.height_m = np.asarray(field * np.float32(slope * self.resolution_m / steep), np.float32)


@lru_cache(maxsize=64)
def _library(bands: tuple[tuple[float, float, float], ...]) -> dict[str, Colour]:
    """Every material as these bands see it."""
    library = {}
    for name, spectrum in SPECTRA.items():
        seen = [sample(spectrum, wavelength_nm=band) for band in bands]
        dry = 0.0 if spectrum.group == "water" else 1.0
        library[name] = np.array([*seen, spectrum.warming_k, spectrum.grain, dry], np.float32)
    return library
