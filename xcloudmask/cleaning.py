"""The steps that clean a mask, in numpy: opening, closing, erosion, dilation, small specks, small holes.

Every step takes some classes as one set of pixels, makes that set larger or smaller, and then says which codes the
pixels that came or went have. A pixel depends on others up to `Step.depth_px` away, so the depths of steps add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from xcloudmask.classes import NODATA, CloudClass
from xcloudmask.components import Connectivity, fill_small_holes, remove_small_parts
from xcloudmask.morphology import CodeArray, Disc, dilate, disc_px, erode, first_code_within

__all__ = ["FILTERS", "FilterName", "Step", "clean_codes"]

FilterName = Literal["opening", "closing", "dilation", "erosion"]
"""Filters with a disc, as users of odc-algo know them."""

FILTERS: tuple[FilterName, ...] = get_args(FilterName)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing done to a mask."""

    operation: Literal[FilterName, "specks", "holes"]
    """What is done."""
    codes: tuple[int, ...]
    """The codes that are one set; where several could fill a pixel, the first does."""
    size_px: int
    """Radius of the disc; for specks and holes the number of pixels of the smallest that stays."""
    connectivity: Connectivity = 8
    """Neighbours that make one speck or one hole."""

    @property
    def depth_px(self) -> int:
        """How far the pixels lie that one pixel of the result depends on."""
        if self.operation in ("specks", "holes"):
            return max(0, self.size_px - 1)  # proof: see components
        return 2 * self.size_px if self.operation in ("opening", "closing") else self.size_px

    def __str__(self) -> str:
        if self.operation in ("specks", "holes"):
            verb = "removed" if self.operation == "specks" else "filled"
            return f"{self.operation} below {self.size_px} px {verb} ({self.connectivity} neighbours)"
        return f"{self.operation} {self.size_px} px"


def clean_codes(codes: CodeArray, *, steps: Sequence[Step]) -> CodeArray:
    """Do some steps, one after the other.

    Parameters
    ----------
    codes
        (..., y, x) uint8 mask.
    steps
        What to do.

    Returns
    -------
    numpy.ndarray
        (..., y, x) uint8; nodata is where it was.

    Examples
    --------
    >>> codes = np.array([[1, 0, 0, 2, 2, 2, 0, 255]], np.uint8)
    >>> clean_codes(codes, steps=[Step(operation="dilation", codes=(1, 2), size_px=1)]).tolist()
    [[1, 1, 2, 2, 2, 2, 2, 255]]
    """
    for step in steps:
        codes = _do(codes, step)
    return codes


def _do(codes: CodeArray, step: Step) -> CodeArray:
    if step.operation == "specks":
        return remove_small_parts(
            codes, classes=step.codes, smaller_than_px=step.size_px, connectivity=step.connectivity
        )
    if step.operation == "holes":
        return fill_small_holes(codes, classes=step.codes, smaller_than_px=step.size_px, connectivity=step.connectivity)
    return _shrink(codes, step) if step.operation in ("opening", "erosion") else _grow(codes, step)


def _shrink(codes: CodeArray, step: Step) -> CodeArray:
    """Opening and erosion: what leaves the set becomes clear."""
    disc = _disc(codes, step)
    there = np.isin(codes, step.codes)
    kept = erode(there, disc, known=codes != NODATA)
    if step.operation == "opening":
        kept = dilate(kept, disc)
    return np.where(there & ~kept, np.uint8(CloudClass.CLEAR), codes)


def _grow(codes: CodeArray, step: Step) -> CodeArray:
    """Closing and dilation: clear pixels that join the set take the first of its classes within the disc."""
    disc = _disc(codes, step)
    fill = first_code_within(codes, [(code, disc) for code in step.codes])
    joined = codes == CloudClass.CLEAR
    if step.operation == "closing":
        joined &= erode(fill > 0, disc, known=codes != NODATA)
    return np.where(joined, fill, codes)


def _disc(codes: CodeArray, step: Step) -> Disc:
    """The disc of a step; one that is wider than the image would take memory for nothing."""
    return disc_px(min(step.size_px, sum(codes.shape[-2:])))
