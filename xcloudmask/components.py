"""Connected parts of a mask that are small: specks to remove and holes to fill, in numpy and scipy.

A block with a halo gives the same answer as the whole image. Let `n` be the smallest size that is kept, and look at a
pixel `p` in the block proper, with `n - 1` pixels of halo around the block. A path of `k` steps leads at most `k` rows
and `k` columns away, with 4 and with 8 neighbours.

- The part of `p` has fewer than `n` pixels. Then each of them is reached from `p` in at most `n - 2` steps, so the part
  lies within the halo, and is counted in full.
- It has `n` pixels or more. Of those, the ones that are reached from `p` in at most `n - 1` steps are `n` or more (each
  step outwards adds one at least, until the part is used up). They lie within the halo, and so do the paths that lead
  to them: what the block sees of the part has `n` pixels or more.

So the answer for `p` depends on the pixels up to `n - 1` away, and on no others. The same holds for what touches a
small part: it lies one pixel further than the part, which is `n - 1` at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from xcloudmask.classes import NODATA, CloudClass
from xcloudmask.morphology import BoolArray, CodeArray, Disc, dilate

__all__ = ["Connectivity", "fill_small_holes", "remove_small_parts"]

Connectivity = Literal[4, 8]

_NEIGHBOURS: dict[int, Disc] = {4: (1, 0), 8: (1, 1)}
_CLEAR = int(CloudClass.CLEAR)


def remove_small_parts(
    codes: CodeArray, *, classes: Sequence[int], smaller_than_px: int, connectivity: Connectivity
) -> CodeArray:
    """Remove the connected parts of some classes that have fewer pixels.

    The classes count as one: a part can hold pixels of each. What is removed becomes clear. A part that no clear pixel
    touches, as thin cloud within thick cloud, becomes what touches it: the lowest of the codes.

    Parameters
    ----------
    codes
        (..., y, x) uint8 mask.
    classes
        The codes of the classes.
    smaller_than_px
        Parts of so many pixels stay.
    connectivity
        4 joins pixels that share a side, 8 those that share a corner as well.

    Returns
    -------
    numpy.ndarray
        (..., y, x) uint8.

    Examples
    --------
    >>> codes = np.array([[1, 0, 2, 3, 0]], np.uint8)
    >>> remove_small_parts(codes, classes=[1, 2, 3], smaller_than_px=2, connectivity=8).tolist()
    [[0, 0, 2, 3, 0]]
    """

    def plane(image: CodeArray) -> CodeArray:
        flags = np.isin(image, list(classes))
        labels, small = _small_parts(flags, smaller_than_px, connectivity)
        if not small.any():
            return image
        there = np.flatnonzero(np.bincount(image.ravel())).tolist()
        others = [code for code in there if code != NODATA and code not in classes]
        become = _touching(image, labels, small.size, others, connectivity)
        return np.where(small[labels], become[labels], image)

    return _each_plane(plane, codes)


def fill_small_holes(
    codes: CodeArray, *, classes: Sequence[int], smaller_than_px: int, connectivity: Connectivity
) -> CodeArray:
    """Fill the holes in some classes that have fewer pixels.

    A hole is a connected part of the pixels that have data and are of none of the classes. Its clear pixels become the
    first of the classes that touches it; a hole that none touches stays.

    Parameters
    ----------
    codes
        (..., y, x) uint8 mask.
    classes
        The codes of the classes, the one that wins first.
    smaller_than_px
        Holes of so many pixels stay.
    connectivity
        4 or 8 neighbours that make one hole.

    Returns
    -------
    numpy.ndarray
        (..., y, x) uint8; only clear pixels differ from the input.

    Examples
    --------
    >>> codes = np.array([[3, 0, 1, 0, 0]], np.uint8)
    >>> fill_small_holes(codes, classes=[1, 2, 3], smaller_than_px=2, connectivity=4).tolist()
    [[3, 1, 1, 0, 0]]
    """

    def plane(image: CodeArray) -> CodeArray:
        outside = ~np.isin(image, [*classes, NODATA])
        labels, small = _small_parts(outside, smaller_than_px, connectivity)
        if not small.any():
            return image
        become = _touching(image, labels, small.size, classes, connectivity)
        return np.where(small[labels] & (image == _CLEAR), become[labels], image)

    return _each_plane(plane, codes)


def _small_parts(
    flags: BoolArray, smaller_than_px: int, connectivity: Connectivity
) -> tuple[npt.NDArray[np.int32], BoolArray]:
    """Number the connected parts of (y, x) flags, 0 for no flag, and say of each number whether its part is small."""
    from scipy import ndimage

    labels, parts = ndimage.label(flags, structure=ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2))
    sizes = np.bincount(labels.ravel(), minlength=parts + 1)
    small = sizes < smaller_than_px
    small[0] = False
    return labels, small


def _touching(
    image: CodeArray, labels: npt.NDArray[np.int32], parts: int, codes: Sequence[int], connectivity: Connectivity
) -> CodeArray:
    """The first of the codes that touches each part; clear where none does."""
    found = np.full(parts, _CLEAR, np.uint8)
    for code in reversed(codes):
        found[labels[dilate(image == code, _NEIGHBOURS[connectivity])]] = code
    return found


def _each_plane(function: Callable[[CodeArray], CodeArray], codes: CodeArray) -> CodeArray:
    """Parts never join across time: each image is labelled by itself, which also needs less memory."""
    result = np.empty_like(codes)
    for index in np.ndindex(codes.shape[:-2]):
        result[index] = function(codes[index])
    return result
