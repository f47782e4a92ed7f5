"""Augmentation of one window: geometry, surface, radiometry, missing data, and the network's own normalisation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from xcloudmask.normalize import LEVEL_UNIT, BandStatistics, level_vector
from xcloudmask.simulate.noise import fractal_noise

__all__ = [
    "dihedral",
    "frame",
    "jitter_level",
    "mix_statistics",
    "normalize_window",
    "radiometry",
    "relief",
    "resize",
    "snow",
    "water",
]

_FloatImage = npt.NDArray[np.float32]


def dihedral(arrays: list[npt.NDArray[np.generic]], rng: np.random.Generator) -> list[npt.NDArray[np.generic]]:
    """Flip and turn square arrays (..., y, x), all in the same way."""
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    turned = [np.rot90(array, turns, axes=(-2, -1)) for array in arrays]
    return [array[..., ::-1] if flip else array for array in turned]


def resize(
    image: _FloatImage, codes: list[npt.NDArray[np.uint8]], size: int
) -> tuple[_FloatImage, list[npt.NDArray[np.uint8]]]:
    """Bring a square window to `size` px: area average down, bilinear up; codes by the nearest pixel."""
    if image.shape[-1] == size:
        return image, codes
    source = torch.from_numpy(np.ascontiguousarray(image))[None]
    mode = {"mode": "area"} if image.shape[-1] > size else {"mode": "bilinear", "align_corners": False}
    scaled = F.interpolate(source, size=(size, size), **mode)[0].numpy()
    index = ((np.arange(size) + 0.5) * image.shape[-1] / size).astype(np.intp)
    return scaled, [code[np.ix_(index, index)] for code in codes]


def relief(image: _FloatImage, rng: np.random.Generator) -> _FloatImage:
    """Shade a surface as slopes do: dark, but no shadow of a cloud."""
    height = fractal_noise(
        (image.shape[1], image.shape[2]), rng=rng, slope=rng.uniform(3.0, 4.2), outer_px=rng.uniform(30, 200)
    )
    angle = rng.uniform(0.0, 2.0 * np.pi)
    slope = np.cos(angle) * np.gradient(height, axis=0) + np.sin(angle) * np.gradient(height, axis=1)
    shade = np.clip(1.0 + rng.uniform(0.08, 0.3) * slope / max(float(slope.std()), 1e-6), 0.25, 1.5)
    return np.asarray(image * shade, np.float32)


def snow(image: _FloatImage, rng: np.random.Generator) -> _FloatImage:
    """Cover a surface (red, green, near infrared) with snow that keeps its texture; grains darken the near infrared.

    Wiscombe and Warren (1980), J. Atmos. Sci. 37; Dozier (1989), Remote Sensing of Environment 28.
    """
    grey = image[:2].mean(axis=0)
    texture = (grey - grey.mean()) / max(float(grey.std()), 1e-4)
    bright = rng.uniform(0.35, 0.95) + rng.uniform(0.01, 0.12) * np.clip(texture, -4, 3)
    patchy = rng.random() < 0.4
    cover = np.ones_like(grey)
    if patchy:
        field = fractal_noise(grey.shape, rng=rng, slope=3.0, outer_px=rng.uniform(20, 200)) + 0.5 * texture
        cover = np.clip(2.0 * (field + rng.uniform(-0.5, 1.0)), 0.0, 1.0).astype(np.float32)
    spectrum = np.array([1.0, rng.uniform(0.97, 1.04), rng.uniform(0.7, 0.97)], np.float32)[:, None, None]
    return np.asarray(image * (1.0 - cover) + np.maximum(bright, 0.02) * spectrum * cover, np.float32)


def water(image: _FloatImage, rng: np.random.Generator) -> _FloatImage:
    """Put lakes or a sea on a surface (red, green, near infrared): dark, smooth, and no shadow of a cloud.

    Reflectances of clear to turbid water: Pope and Fry (1997), Applied Optics 36, for its absorption; Doxaran et al.
    (2002), Remote Sensing of Environment 81, for turbid estuaries.
    """
    shape = (image.shape[1], image.shape[2])
    field = fractal_noise(shape, rng=rng, slope=rng.uniform(3.0, 4.5), outer_px=rng.uniform(20, 400))
    cover = np.clip(8.0 * (field - rng.uniform(-1.5, 1.5)), 0.0, 1.0).astype(np.float32)
    red = rng.uniform(0.005, 0.09)
    spectrum = np.array([red, red * rng.uniform(1.0, 1.8) + 0.01, red * rng.uniform(0.15, 0.6)], np.float32)[
        :, None, None
    ]
    turbidity = fractal_noise(shape, rng=rng, slope=3.5, outer_px=200.0)
    ripples = rng.uniform(0.0, 0.004) * rng.standard_normal(image.shape, np.float32)
    sea = (
        spectrum * np.exp(rng.uniform(0.0, 0.4) * turbidity)
        + ripples.astype(np.float32)
        + np.float32(rng.uniform(0, 0.03))
    )
    return np.asarray(image * (1.0 - cover) + np.maximum(sea, 0.0) * cover, np.float32)


def radiometry(image: _FloatImage, rng: np.random.Generator) -> _FloatImage:
    """Change gains, offsets and gamma: what calibration and processing do."""
    gains = np.exp(rng.normal(0.0, 0.12) + rng.normal(0.0, 0.06, len(image))).astype(np.float32)[:, None, None]
    image = image * gains + rng.normal(0.0, 0.008, len(image)).astype(np.float32)[:, None, None]
    if rng.random() < 0.3:
        image = np.maximum(image, 0.0) ** np.float32(np.exp(rng.normal(0.0, 0.18)))
    return np.asarray(image, np.float32)


def frame(shape: tuple[int, int], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Validity of a window at the border or the corner of a cube, beyond which the engine pads."""
    valid = np.ones(shape, bool)
    sides = rng.random(4) < 0.5
    cut = rng.integers(8, max(9, shape[0] // 3), size=4) * sides
    valid[: cut[0]] = False
    valid[shape[0] - cut[1] :] = False
    valid[:, : cut[2]] = False
    valid[:, shape[1] - cut[3] :] = False
    return valid


def mix_statistics(own: BandStatistics, other: BandStatistics, *, share: float) -> BandStatistics:
    """Statistics of a larger window, of which `share` looks like `other`."""
    mean = (1.0 - share) * own.mean + share * other.mean
    variance = (1.0 - share) * (own.std**2 + (own.mean - mean) ** 2) + share * (other.std**2 + (other.mean - mean) ** 2)
    return BandStatistics(count=own.count, mean=mean, std=np.sqrt(variance))


def normalize_window(
    image: _FloatImage,
    valid: npt.NDArray[np.bool_] | None,
    *,
    other: tuple[BandStatistics, float] | None = None,
    level_known: bool,
    nir: bool,
) -> tuple[_FloatImage, npt.NDArray[np.float32]]:
    """Z-score a window and build its level vector, as the engine does.

    Parameters
    ----------
    image
        (band, y, x) reflectance; near infrared is last.
    valid
        (y, x) bool, None where all pixels are valid.
    other
        Statistics, and the share that they have in the window's own.
    level_known
        Whether the scale of the values is known.
    nir
        False gives the last band up.

    Returns
    -------
    image, level
        (band, y, x) and (1 + 2 * bands,) float32.

    Examples
    --------
    >>> x, level = normalize_window(np.zeros((3, 8, 8), np.float32), None, level_known=False, nir=True)
    >>> level.tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    stats = window_statistics(image, valid)
    if other is not None:
        stats = mix_statistics(stats, other[0], share=other[1])
    scored = score_window(image, valid, stats)
    scale = (1.0,) * (len(image) - 1) + (1.0 if nir else 0.0,)
    if not nir:
        scored[-1] = 0.0
    level = level_vector(stats, scale=scale if level_known else None, offset=(0.0,) * len(image))
    return scored, level


def jitter_level(level: npt.NDArray[np.float32], *, spread: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Change a level vector as an unknown gain of all bands, smaller ones of each, and another contrast would.

    Parameters
    ----------
    level
        Of `normalize_window`; bands that were given up stay at 0.
    spread
        Standard deviation of the log of the common gain; a third of it is that of each band, half of it that of the
        contrast.
    rng
        Source of randomness.

    Returns
    -------
    numpy.ndarray
        Same shape; the flag is as it was.

    Notes
    -----
    Seven numbers name a training patch. A network that is shown them exactly learns the answer of that patch by heart.

    Examples
    --------
    >>> jitter_level(np.array([1, -0.2, -1.0, 0, 0], np.float32), spread=0.0, rng=np.random.default_rng(0)).tolist()[0]
    1.0
    """
    bands = (len(level) - 1) // 2
    gain = rng.normal(0.0, spread) + rng.normal(0.0, spread / 3, (bands, 1))
    contrast = rng.normal(0.0, spread / 2)
    change = np.concatenate([gain, gain + contrast], axis=1).ravel() / LEVEL_UNIT
    changed = level.copy()
    changed[1:] += np.where(level[1:] == 0, 0.0, change).astype(np.float32)
    return changed


def score_window(image: _FloatImage, valid: npt.NDArray[np.bool_] | None, stats: BandStatistics) -> _FloatImage:
    """Z-score by given statistics; the fast relative of `xcloudmask.normalize.zscore`."""
    spread = np.where(stats.std > 0, stats.std, 1.0)
    scored = (image - stats.mean.astype(np.float32)[:, None, None]) / spread.astype(np.float32)[:, None, None]
    if valid is not None:
        scored[:, ~valid] = 0.0
    return np.asarray(scored, np.float32)


def window_statistics(image: _FloatImage, valid: npt.NDArray[np.bool_] | None) -> BandStatistics:
    """Mean and population standard deviation by band; the fast relative of `xcloudmask.normalize.statistics`."""
    values = image.reshape(len(image), -1) if valid is None else image[:, valid]
    if values.shape[1] == 0:
        return BandStatistics(count=0, mean=np.zeros(len(image)), std=np.zeros(len(image)))
    mean = values.mean(axis=1, dtype=np.float64)
    std = (values - mean.astype(np.float32)[:, None]).std(axis=1, dtype=np.float64)
    return BandStatistics(count=values.shape[1], mean=mean, std=np.where(std < 1e-7, 0.0, std))
