"""Where the patches of OmniCloudMask lie: integers, and rows or columns that have data.

Behaviour of omnicloudmask 1.8.1 (MIT), `predict_from_array`: Wright et al. (2025), doi:10.1016/j.rse.2025.114694.
Patches step through the scene by their side less their overlap, and the last one of a row ends where the scene does.
A patch whose first line has no data moves on until it has; else one whose last line has none moves back: rows first,
then columns. A patch that holds data never leaves it behind, so it moves by less than its side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xcloudmask.errors import ArgumentError, InputError

__all__ = [
    "LEAST_PX",
    "OVERLAP_PX",
    "PATCH_PX",
    "PatchSize",
    "asked_size",
    "fitted_size",
    "patch_starts",
    "ramp",
    "reach",
    "shrunk_size",
    "slide",
]

PATCH_PX, OVERLAP_PX = 1000, 300
"""What omnicloudmask does where nothing is asked for."""

LEAST_PX = 32
"""Smallest patch that omnicloudmask takes."""

MISSING_MOST = 0.3
"""Share of values without data above which patches are made smaller."""


@dataclass(frozen=True, slots=True)
class PatchSize:
    """Side of the patches, and how much neighbours share."""

    side: int
    """Pixels of a patch along either axis."""
    overlap: int
    """Pixels that two neighbours share."""

    @property
    def step(self) -> int:
        """Pixels from one patch to the next."""
        return self.side - self.overlap

    def within(self, side: int) -> PatchSize:
        """Return patches of another side, which share no more than half of it."""
        return PatchSize(side, min(self.overlap, side // 2))


def asked_size(*, step_px: int | None, overlap_px: int | None) -> PatchSize:
    """Turn ``stride=`` and ``halo_px=`` into a size.

    Parameters
    ----------
    step_px, overlap_px
        One of them: a patch has 1000 pixels. Both: their sum. None: a step of 700 and an overlap of 300.

    Returns
    -------
    PatchSize

    Raises
    ------
    ArgumentError
        There are no such patches.

    Examples
    --------
    >>> asked_size(step_px=None, overlap_px=50)
    PatchSize(side=1000, overlap=50)
    """
    if step_px is not None and overlap_px is not None:
        size = PatchSize(step_px + overlap_px, overlap_px)
    elif step_px is not None:
        size = PatchSize(PATCH_PX, PATCH_PX - step_px)
    else:
        size = PatchSize(PATCH_PX, OVERLAP_PX if overlap_px is None else overlap_px)
    if not 0 <= size.overlap < size.side or size.side < LEAST_PX:
        raise ArgumentError(
            f"stride={step_px} and halo_px={overlap_px} make patches of {size.side} px that share {size.overlap}. With "
            f"normalize='ocm' a patch has stride + halo_px pixels ({PATCH_PX} where one of them is left out), at least "
            f"{LEAST_PX}, and shares halo_px of them. Type stride=700, halo_px=300, or leave both out."
        )
    return size


def fitted_size(size: PatchSize, shape: tuple[int, int]) -> PatchSize:
    """Make patches no larger than the scene.

    Parameters
    ----------
    size
        What was asked for.
    shape
        The scene along y and x.

    Returns
    -------
    PatchSize

    Raises
    ------
    InputError
        The scene is smaller than the smallest patch.

    Examples
    --------
    >>> fitted_size(PatchSize(1000, 300), (400, 800))
    PatchSize(side=400, overlap=200)
    """
    shorter = min(shape)
    if shorter < LEAST_PX:
        raise InputError(
            f"The cube has {shape[0]} x {shape[1]} pixels. With normalize='ocm' it needs {LEAST_PX} along both axes, "
            "as with OmniCloudMask. Pad it with nodata, or leave normalize out."
        )
    return size if size.side <= shorter else size.within(shorter)


def shrunk_size(size: PatchSize, shape: tuple[int, int]) -> PatchSize:
    """Return the size of the patches where more than 30 % of the values have no data.

    Parameters
    ----------
    size
        Fitted to the scene.
    shape
        The scene along y and x.

    Returns
    -------
    PatchSize
        The same where patches are no longer than half the shorter side of the scene.

    Examples
    --------
    >>> shrunk_size(PatchSize(1000, 300), (1500, 4000)), shrunk_size(PatchSize(1000, 300), (2000, 4000))
    (PatchSize(side=750, overlap=300), PatchSize(side=1000, overlap=300))
    """
    shorter = min(shape)
    return size.within(max(shorter // 2, LEAST_PX)) if 2 * size.side > shorter else size


def patch_starts(length: int, size: PatchSize) -> list[int]:
    """First pixels of the patches along an axis, before any of them moves.

    Parameters
    ----------
    length
        Pixels of the scene, no fewer than the side of a patch.
    size
        The patches.

    Returns
    -------
    list of int
        Growing, each once.

    Examples
    --------
    >>> patch_starts(2000, PatchSize(1000, 300))
    [0, 700, 1000]
    """
    last = length - size.side
    return list(dict.fromkeys(min(start, last) for start in range(0, length, size.step)))


def reach(start: int, side: int, length: int) -> slice:
    """All pixels that a patch may cover along an axis, wherever it moves.

    Parameters
    ----------
    start, side
        The patch before it moves.
    length
        Pixels of the scene.

    Returns
    -------
    slice

    Examples
    --------
    >>> reach(700, 1000, 10980)
    slice(0, 2699, None)
    """
    return slice(max(0, start - side + 1), min(length, start + 2 * side - 1))


def slide(has_data: npt.NDArray[np.bool_], start: int, side: int, *, first: int, length: int) -> int:
    """Move a patch off lines without data, along one axis.

    Parameters
    ----------
    has_data
        Which lines have data where the patch lies on the other axis: those of its reach. At least one of its own has.
    start, side
        The patch before it moves.
    first
        First pixel of the reach.
    length
        Pixels of the scene.

    Returns
    -------
    int
        Its new start.

    Examples
    --------
    >>> lines = np.array([False, False, True, True, True, True])
    >>> slide(lines, 0, 3, first=0, length=6), slide(lines, 0, 5, first=0, length=6)
    (2, 1)
    >>> slide(~lines, 3, 3, first=0, length=6), slide(~lines, 1, 4, first=0, length=6)
    (0, 0)
    """
    stop = start + side
    if stop < length and not has_data[start - first]:
        ahead = int(has_data[start - first :].argmax())
        return min(start + ahead, length - side)
    if start > 0 and not has_data[stop - 1 - first]:
        behind = int(has_data[: stop - first][::-1].argmax())
        return max(start - behind, 0)
    return start


def ramp(size: PatchSize) -> npt.NDArray[np.float32]:
    """Weights of a patch along one axis; the weight of a pixel is the product of both.

    Parameters
    ----------
    size
        The patches.

    Returns
    -------
    numpy.ndarray
        (side,) float32: rising over the overlap, 1 in the middle, falling over the overlap.

    Examples
    --------
    >>> ramp(PatchSize(6, 2)).tolist()
    [0.5, 1.0, 1.0, 1.0, 1.0, 0.5]
    """
    overlap = max(min(size.overlap, size.side // 2), 1)
    rising = np.minimum(np.arange(1, size.side + 1), overlap)
    weights: npt.NDArray[np.float32] = np.minimum(rising, rising[::-1]).astype(np.float32) / np.float32(overlap)
    return weights
