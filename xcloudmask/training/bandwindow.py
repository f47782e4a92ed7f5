"""A window with any bands, and what is done to it: which bands are kept, snow, water, gains, faults of the sensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from xcloudmask.simulate.instrument import degrade, draw_instrument
from xcloudmask.simulate.noise import fractal_noise
from xcloudmask.simulate.shadows import Sun
from xcloudmask.simulate.spectra import SPECTRA, is_thermal, sample
from xcloudmask.training import augment
from xcloudmask.training.labels import ANY

__all__ = ["BandWindow", "choose_bands", "photographed", "relief", "snow", "water"]

_FEWEST = 3
_USUAL = 0.25
"""Share that keep red, green and blue, or these and near infrared, where they have them."""
_RGB, _RGBN = frozenset({"red", "green", "blue"}), frozenset({"red", "green", "blue", "nir"})
_VISIBLE_NM = 720.0
_FRAMED = 0.15
"""Share of windows at the border of a cube."""
_BLANK = 2e-3
"""A window that varies by less in all bands says nothing where it is saturated."""
_KELVIN = 2.0
"""Spread of the error of a temperature, in kelvin: calibration, air, emissivity."""
_WATERS = tuple(name for name, one in SPECTRA.items() if one.group == "water" and name != "foam")

_Image = npt.NDArray[np.float32]
Wavelength = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class BandWindow:
    """A window of an image, real or simulated."""

    image: _Image
    """(band, y, x) reflectance; kelvin in thermal bands."""
    wavelengths_nm: tuple[Wavelength, ...]
    """Shortest, central and longest of each band."""
    roles: tuple[str, ...]
    """Of the bands; empty text for those that have none."""
    valid: npt.NDArray[np.bool_]
    """(y, x)."""
    allowed: npt.NDArray[np.uint8]
    """(y, x) sets of `xcloudmask.training.labels`."""
    resolution_m: float
    """Size of a pixel."""
    sun: Sun | None = None
    """Where the light comes from, where that is known."""
    level_known: bool = True
    """False where the values are no reflectance."""
    weight: float = 1.0
    """Of the sample."""

    @property
    def thermal(self) -> npt.NDArray[np.bool_]:
        """Which bands hold kelvin."""
        return np.array([is_thermal(band) for band in self.wavelengths_nm])

    def picked(self, chosen: Sequence[int]) -> BandWindow:
        """Return the window with some of its bands, in that order."""
        return replace(
            self,
            image=self.image[list(chosen)],
            wavelengths_nm=tuple(self.wavelengths_nm[index] for index in chosen),
            roles=tuple(self.roles[index] for index in chosen),
        )


def choose_bands(roles: Sequence[str], rng: np.random.Generator, *, most: int, whole: float) -> list[int]:
    """Choose which bands a network is shown: all, the usual ones, or any three or more of them.

    Parameters
    ----------
    roles
        Of the bands that there are.
    rng
        Source of randomness.
    most
        No more than so many are chosen.
    whole
        Share of windows that keep all their bands.

    Returns
    -------
    list of int
        Positions in random order, since the order must not matter.

    Notes
    -----
    Random sets of three or more bands: Francis et al. (2022), IEEE TGRS 60.

    Examples
    --------
    >>> len(choose_bands(["red", "green", "blue"], np.random.default_rng(0), most=13, whole=0.3))
    3
    """
    count = len(roles)
    kind = rng.random()
    usual = _RGB if rng.random() < 0.5 else _RGBN
    if kind >= whole and kind < whole + _USUAL and usual <= set(roles):
        chosen = [roles.index(role) for role in sorted(usual)]
    elif kind < whole:
        chosen = list(range(count))
    else:
        size = int(rng.integers(min(_FEWEST, count), count + 1))
        chosen = rng.permutation(count)[:size].tolist()
    return [int(index) for index in rng.permutation(chosen)[:most]]


def snow(window: BandWindow, rng: np.random.Generator) -> BandWindow:
    """Cover the ground with snow that keeps its texture; coarse grains darken the infrared.

    Wiscombe and Warren (1980), J. Atmos. Sci. 37; Dozier (1989), Remote Sensing of Environment 28.
    """
    grey = _grey(window)
    texture = (grey - grey.mean()) / max(float(grey.std()), 1e-4)
    bright = rng.uniform(0.4, 1.0) + rng.uniform(0.01, 0.12) * np.clip(texture, -4, 3)
    cover = np.ones_like(grey)
    if rng.random() < 0.4:
        field = fractal_noise(grey.shape, rng=rng, slope=3.0, outer_px=rng.uniform(20, 200)) + 0.5 * texture
        cover = np.clip(2.0 * (field + rng.uniform(-0.5, 1.0)), 0.0, 1.0)
    grain = rng.random()
    spectrum = (1.0 - grain) * _spectrum(window, "fine snow") + grain * _spectrum(window, "coarse snow")
    cold = np.minimum(window.image, np.float32(rng.uniform(245.0, 273.0)))
    return _covered(window, cover, np.maximum(bright, 0.02)[None] * spectrum[:, None, None], cold)


def water(window: BandWindow, rng: np.random.Generator) -> BandWindow:
    """Put lakes or a sea on the ground: dark, smooth, and no shadow of a cloud."""
    shape = window.valid.shape
    field = fractal_noise(shape, rng=rng, slope=rng.uniform(3.0, 4.5), outer_px=rng.uniform(20, 400))
    cover = np.clip(8.0 * (field - rng.uniform(-1.5, 1.5)), 0.0, 1.0)
    kind = _WATERS[int(rng.integers(len(_WATERS)))]
    spectrum = _spectrum(window, kind) * rng.uniform(0.5, 1.6)
    turbidity = fractal_noise(shape, rng=rng, slope=3.5, outer_px=200.0)
    ripples = rng.uniform(0.0, 0.004) * rng.standard_normal(window.image.shape, np.float32)
    sea = spectrum[:, None, None] * np.exp(rng.uniform(0.0, 0.4) * turbidity) + ripples
    sea += np.float32(rng.uniform(0.0, 0.03))
    cool = 0.2 * window.image + np.float32(0.8 * rng.uniform(273.0, 303.0))
    return _covered(window, cover, np.maximum(sea, 0.0), cool)


def relief(window: BandWindow, rng: np.random.Generator) -> BandWindow:
    """Shade the ground as slopes do."""
    shaded = augment.relief(window.image, rng)
    return replace(window, image=np.where(window.thermal[:, None, None], window.image, shaded))


def photographed(window: BandWindow, rng: np.random.Generator) -> BandWindow:
    """Change gains and offsets, send the window through a sensor with faults, and cut it where a cube ends."""
    thermal = window.thermal
    image = window.image.copy()
    image[~thermal] = augment.radiometry(image[~thermal], rng)
    image[thermal] += rng.normal(0.0, _KELVIN, (int(thermal.sum()), 1, 1)).astype(np.float32)
    seen, valid = degrade(image[~thermal], window.valid, instrument=draw_instrument(rng), rng=rng)
    blank = len(seen) > 0 and float(seen.std(axis=(1, 2)).max()) < _BLANK
    image[~thermal] = seen
    if rng.random() < _FRAMED:
        valid = valid & augment.frame((valid.shape[0], valid.shape[1]), rng)
    allowed = np.where(valid & (not (blank and not thermal.any())), window.allowed, ANY).astype(np.uint8)
    return replace(window, image=image, valid=valid, allowed=allowed)


def _grey(window: BandWindow) -> _Image:
    centres = np.array([band[1] for band in window.wavelengths_nm])
    visible = centres < max(_VISIBLE_NM, float(centres.min()) + 1.0)
    return np.asarray(window.image[visible].mean(axis=0), np.float32)


def _spectrum(window: BandWindow, material: str) -> _Image:
    """Reflectance of a material in each band; 0 in thermal ones."""
    values = [0.0 if is_thermal(band) else sample(material, wavelength_nm=band) for band in window.wavelengths_nm]
    return np.array(values, np.float32)


def _covered(window: BandWindow, cover: _Image, reflectance: _Image, kelvin: _Image) -> BandWindow:
    new = np.where(window.thermal[:, None, None], kelvin, reflectance)
    return replace(window, image=np.asarray(window.image * (1.0 - cover) + new * cover, np.float32))
