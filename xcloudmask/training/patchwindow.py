"""Square windows cut out of patches, at a random scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xcloudmask.training import augment
from xcloudmask.training.data import Patch

__all__ = ["cut_window"]


def cut_window(
    patch: Patch, siblings: Sequence[Patch], *, size_px: int, mixed: bool, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.uint8], float]:
    """Cut a window; where the patch is too small, join patches of the same source.

    Parameters
    ----------
    patch
        Where the window comes from.
    siblings
        Patches to fill up with, of the same bands; the patch may be one of them.
    size_px
        Side of the window.
    mixed
        Whether to bring it to another pixel size.
    rng
        Source of randomness.

    Returns
    -------
    image, valid, allowed, resolution_m
        (band, y, x) float32 reflectance, (y, x) bool, (y, x) uint8 sets, and the size of a pixel.
    """
    scale = _draw_scale(patch.resolution_m, rng) if mixed else 1.0
    image, valid, allowed = _mosaic(patch, siblings, round(size_px * scale), rng)
    pixels, codes = augment.resize(
        image.astype(np.float32) * np.float32(1e-4), [valid.view(np.uint8), allowed], size_px
    )
    return pixels, codes[0].astype(bool), codes[1], patch.resolution_m * scale


def _draw_scale(resolution_m: float, rng: np.random.Generator) -> float:
    steps = (0.55, 0.75, 1.0, 1.5, 2.0, 3.0) if resolution_m < 25 else (0.4, 0.6, 1.0, 1.0, 1.0, 1.5)
    return steps[rng.choice(6, p=(0.06, 0.1, 0.42, 0.14, 0.2, 0.08))]


def _mosaic(
    patch: Patch, siblings: Sequence[Patch], size: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
    tile = min(size, *patch.valid.shape, *(min(other.valid.shape) for other in siblings))
    count = -(-size // tile) if tile < size and min(patch.valid.shape) < size else 1
    side = size if count == 1 else tile
    image = np.empty((len(patch.image), count * side, count * side), np.uint16)
    valid = np.empty(image.shape[1:], bool)
    allowed = np.empty(image.shape[1:], np.uint8)
    for row in range(count):
        for column in range(count):
            chosen = patch if row == column == 0 else siblings[int(rng.integers(len(siblings)))]
            y, x = (int(rng.integers(extent - side + 1)) for extent in chosen.valid.shape)
            cut = (slice(y, y + side), slice(x, x + side))
            place = (slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side))
            parts = augment.dihedral([chosen.image[:, *cut], chosen.valid[cut], chosen.allowed[cut]], rng)
            image[:, *place], valid[place], allowed[place] = parts
    y, x = rng.integers(count * side - size + 1, size=2)
    cut = (slice(y, y + size), slice(x, x + size))
    return image[:, *cut], valid[cut], allowed[cut]
