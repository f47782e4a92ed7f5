"""Partial labels: each pixel carries the set of classes it may have, as bits of a uint8."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from xcloudmask.classes import CloudClass
from xcloudmask.evaluate import Kind, sets_from_labels
from xcloudmask.simulate.clouds import SHADOW_TRANSMISSION, THICK_ALBEDO, THIN_ALBEDO, CloudScene

__all__ = [
    "ANY",
    "CLEAR",
    "CLOUD",
    "NOT_CLOUD",
    "SHADOW",
    "THICK",
    "THIN",
    "allowed_from_labels",
    "allowed_from_scene",
    "guess_one",
]

CLEAR = 1 << CloudClass.CLEAR
THICK = 1 << CloudClass.THICK_CLOUD
THIN = 1 << CloudClass.THIN_CLOUD
SHADOW = 1 << CloudClass.CLOUD_SHADOW
CLOUD = THICK | THIN
NOT_CLOUD = CLEAR | SHADOW
ANY = CLOUD | NOT_CLOUD
"""Nothing is known: no loss, no score."""

_SEEN = 0.012
"""A shadow that darkens by less cannot be seen."""
_LIT = 0.8
_LEAST_LIT = 0.02
"""Share of the surroundings that must be sunlit ground for a shadow to show."""
_AROUND = 8
"""Half the side of these surroundings, in cells of `_CELL_PX`: about the context of a fast network."""
_CELL_PX = 8


def allowed_from_labels(label: npt.NDArray[np.uint8], *, kind: str) -> npt.NDArray[np.uint8]:
    """Turn labels of one kind into sets of allowed classes.

    Parameters
    ----------
    label
        (y, x) codes 0 to 3; anything else is unknown.
    kind
        What the codes mean, as in the column `kind` of the patches' table.

    Returns
    -------
    numpy.ndarray
        (y, x) uint8 sets.

    Raises
    ------
    ArgumentError
        The kind is unknown.

    Notes
    -----
    Learning from sets of candidate labels: Cour, Sapp, Taskar (2011), JMLR 12.

    Examples
    --------
    >>> allowed_from_labels(np.array([[0, 1, 255]], np.uint8), kind="label_cloud_only").tolist()
    [[9, 6, 15]]
    """
    return sets_from_labels(label, kind=cast("Kind", kind))  # which checks the kind


def guess_one(allowed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Put one class in place of each partial label, as one does who has no loss for sets: clear, else thick cloud.

    Parameters
    ----------
    allowed
        Sets.

    Returns
    -------
    numpy.ndarray
        Sets of one class; what was unknown stays unknown.

    Examples
    --------
    >>> guess_one(np.array([NOT_CLOUD, CLOUD, SHADOW, ANY], np.uint8)).tolist()
    [1, 2, 8, 15]
    """
    lowest = allowed & (~allowed + np.uint8(1))
    return np.where(allowed == ANY, ANY, lowest).astype(np.uint8)


def allowed_from_scene(scene: CloudScene) -> npt.NDArray[np.uint8]:
    """Sets of allowed classes of a simulated scene: exact, but wide near the thresholds, where an eye would not decide.

    Parameters
    ----------
    scene
        What `xcloudmask.simulate.add_clouds` returns.

    Returns
    -------
    numpy.ndarray
        (y, x) uint8 sets.

    Examples
    --------
    >>> from xcloudmask.simulate import add_clouds
    >>> rng = np.random.default_rng(0)
    >>> scene = add_clouds(np.full((1, 32, 32), 0.1, np.float32), wavelengths_nm=(665,), resolution_m=10.0, rng=rng)
    >>> bool((allowed_from_scene(scene) & (1 << scene.truth)).all())
    True
    """
    allowed = (1 << scene.truth).astype(np.uint8)
    ground = scene.albedo < THIN_ALBEDO
    half_shade = (scene.sun_transmission > SHADOW_TRANSMISSION - 0.05) & (scene.sun_transmission < 0.86)
    # A shadow that changes nothing (deep water in the near infrared) cannot be seen, nor one without lit ground to
    # compare it with.
    lit = ground & (scene.sun_transmission > _LIT)
    alone = _share_around(lit) < _LEAST_LIT
    unseen = (scene.sun_transmission < SHADOW_TRANSMISSION) & ((scene.darkening < _SEEN) | alone)
    allowed[ground & (half_shade | unseen)] |= NOT_CLOUD
    edge = (scene.albedo > 0.5 * THIN_ALBEDO) & (scene.albedo < 1.5 * THIN_ALBEDO)
    beneath = np.where(scene.sun_transmission < SHADOW_TRANSMISSION, SHADOW, CLEAR).astype(np.uint8)
    allowed[edge] |= THIN | beneath[edge]
    allowed[(scene.albedo > 0.8 * THICK_ALBEDO) & (scene.albedo < 1.25 * THICK_ALBEDO)] |= CLOUD
    return allowed


def _share_around(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Share of a square around each pixel in which a mask is true, on cells of some pixels."""
    height, width = mask.shape
    rows, columns = -(-height // _CELL_PX), -(-width // _CELL_PX)
    fill = ((0, rows * _CELL_PX - height), (0, columns * _CELL_PX - width))
    cells = np.pad(mask, fill, mode="edge").reshape(rows, _CELL_PX, columns, _CELL_PX).mean(axis=(1, 3))
    sums = np.pad(cells, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    top, bottom = (np.clip(np.arange(rows) + step, 0, rows) for step in (-_AROUND, _AROUND + 1))
    left, right = (np.clip(np.arange(columns) + step, 0, columns) for step in (-_AROUND, _AROUND + 1))
    inside = (
        sums[np.ix_(bottom, right)] - sums[np.ix_(top, right)] - sums[np.ix_(bottom, left)] + sums[np.ix_(top, left)]
    )
    share = inside / np.outer(bottom - top, right - left)
    wide = share.repeat(_CELL_PX, axis=0).repeat(_CELL_PX, axis=1)
    return np.asarray(wide[:height, :width], np.float32)
