"""Real clouds moved onto clear backgrounds, with shadows of their own shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xcloudmask.simulate.patterns import blur
from xcloudmask.simulate.shadows import shade_ground
from xcloudmask.training.data import WAVELENGTHS_NM
from xcloudmask.training.labels import ANY, CLEAR, NOT_CLOUD, SHADOW

__all__ = ["paste_clouds"]

_FloatImage = npt.NDArray[np.float32]
_Sets = npt.NDArray[np.uint8]

_SEEN = 0.012
"""A shadow that darkens by less cannot be seen."""


def paste_clouds(
    background: _FloatImage,
    donor: _FloatImage,
    allowed: _Sets,
    *,
    resolution_m: float,
    rng: np.random.Generator,
    wavelengths_nm: Sequence[float] = WAVELENGTHS_NM,
) -> tuple[_FloatImage, _Sets]:
    """Cut the labelled clouds out of one image and lay them, with their shadows, over a clear one.

    Parameters
    ----------
    background
        (band, y, x) reflectance without clouds.
    donor
        The same bands and shape, with clouds.
    allowed
        (y, x) sets of allowed classes of the donor, as in `xcloudmask.training.labels`.
    resolution_m
        Size of a pixel: how far shadows fall.
    rng
        Source of randomness.
    wavelengths_nm
        Centre of each band; red, green and near infrared unless told.

    Returns
    -------
    image, allowed
        The new image, and its sets: rims of clouds and of shadows are left open.

    Notes
    -----
    Cut and paste as augmentation: Ghiasi et al. (2021), arXiv:2012.07177. Shadows keep their diffuse light: Zhu and
    Woodcock (2012), Remote Sensing of Environment 118.

    Examples
    --------
    >>> from xcloudmask.training.labels import CLOUD
    >>> clear, white = np.full((3, 64, 64), 0.1, np.float32), np.full((3, 64, 64), 0.7, np.float32)
    >>> sets = np.full((64, 64), CLEAR, np.uint8)
    >>> sets[20:30, 20:30] = CLOUD
    >>> image, new = paste_clouds(clear, white, sets, resolution_m=10.0, rng=np.random.default_rng(0))
    >>> bool(image[0, 25, 25] > 0.4), int(new[25, 25]) == CLOUD
    (True, True)
    """
    cloud = (allowed & NOT_CLOUD) == 0
    # Rims of thin cloud lie outside of coarse labels: the cut is soft and a little wider than the label.
    opacity = np.clip(1.6 * _blur(cloud.astype(np.float32), 2), 0.0, 1.0)
    light = _sunlight(opacity, resolution_m=resolution_m, rng=rng)
    shaded = shade_ground(
        background, light, wavelengths_nm=np.array(wavelengths_nm, np.float32), diffuse=float(rng.uniform(0.15, 0.42))
    )
    seen = (background - shaded).max(axis=0) > _SEEN
    image = shaded * (1.0 - opacity) + donor * opacity
    sets = np.full(cloud.shape, CLEAR, np.uint8)
    sets[light < 0.9] = NOT_CLOUD
    sets[(light < 0.55) & seen] = SHADOW
    sets[opacity > 0.02] = ANY
    sets[cloud] = allowed[cloud]
    return np.asarray(image, np.float32), sets


def _sunlight(opacity: _FloatImage, *, resolution_m: float, rng: np.random.Generator) -> _FloatImage:
    """Share of the direct light on the ground: the clouds moved by height times the tangent of the sun's angle."""
    reach = min(np.exp(rng.uniform(np.log(300.0), np.log(6000.0))) / resolution_m, 0.7 * opacity.shape[0])
    angle = rng.uniform(0.0, 2.0 * np.pi)
    dy, dx = round(reach * np.sin(angle)), round(reach * np.cos(angle))
    moved = np.zeros_like(opacity)
    height, width = opacity.shape
    to = (slice(max(dy, 0), height + min(dy, 0)), slice(max(dx, 0), width + min(dx, 0)))
    of = (slice(max(-dy, 0), height + min(-dy, 0)), slice(max(-dx, 0), width + min(-dx, 0)))
    moved[to] = opacity[of]
    return np.asarray(1.0 - rng.uniform(0.6, 1.0) * _blur(moved, 1), np.float32)


def _blur(field: _FloatImage, times: int) -> _FloatImage:
    for _ in range(times):
        field = blur(field[None], share=0.25)[0]
    return field
