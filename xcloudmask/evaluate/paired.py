"""Two masks of the same images against the same labels, on the pixels that both have: product masks beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudmask.classes import NODATA
from xcloudmask.errors import InputError
from xcloudmask.evaluate.bootstrap import Bootstrap
from xcloudmask.evaluate.counts import confusion
from xcloudmask.evaluate.difference import Difference, difference
from xcloudmask.evaluate.summary import Counted, Evaluation, summarise
from xcloudmask.evaluate.tables import difference_table, source_table

__all__ = ["Compared", "Pairs", "compared_tables"]

Codes = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Our mask and another one, measured on the same pixels."""

    ours: Evaluation
    """Our mask, where both say something."""
    theirs: Evaluation
    """The other one, there."""
    difference: Difference
    """Ours less theirs; the same images are drawn for both."""
    left_out: int = 0
    """Images without the other mask."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON; what cannot be measured is None.

        Returns
        -------
        dict
        """
        return {
            "patches_left_out": self.left_out,
            "ours": self.ours.to_dict(),
            "theirs": self.theirs.to_dict(),
            "difference": self.difference.to_dict(),
        }


class Pairs:
    """Collects images with two masks.

    Parameters
    ----------
    name
        What the other mask is called.

    Examples
    --------
    >>> pairs = Pairs("scl")
    >>> pairs.add(np.array([0, 1, 1]), np.array([0, 0, 255]), np.array([1, 2, 1]), name="a", source="here")
    >>> pairs.add(np.array([0, 1, 1]), None, np.array([1, 2, 1]), name="b", source="here")
    >>> result = pairs.compared()
    >>> result.ours.pooled.scores.agreement, result.theirs.pooled.scores.agreement, result.left_out
    (1.0, 0.5, 1)
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._ours: list[Counted] = []
        self._theirs: list[Counted] = []
        self._left_out = 0

    def __len__(self) -> int:
        """Return the number of images that have both masks."""
        return len(self._ours)

    def add(self, ours: Codes, theirs: Codes | None, allowed: Codes, *, name: str, source: str) -> None:
        """Count an image, or leave it out where no pixel has both masks.

        Parameters
        ----------
        ours, theirs
            Codes of the four classes, 255 nodata; None where there is no other mask.
        allowed
            Sets of allowed classes; see `sets_from_labels`.
        name, source
            Of the image.

        Raises
        ------
        InputError
            Shapes differ, or a mask holds other codes.
        """
        if theirs is not None and theirs.shape != ours.shape:
            raise InputError(
                f"{self.name} of {name} has the shape {theirs.shape}. Expected that of the mask: {ours.shape}."
            )
        if theirs is None or not ((ours != NODATA) & (theirs != NODATA)).any():
            self._left_out += 1
            return
        both = (ours != NODATA) & (theirs != NODATA)
        for counted, codes in ((self._ours, ours), (self._theirs, theirs)):
            shared = confusion(np.where(both, codes, NODATA), allowed)
            counted.append(Counted(name=name, source=source, confusion=shared))

    def compared(self, how: Bootstrap | None = None) -> Compared:
        """Measure what was collected.

        Parameters
        ----------
        how
            The bootstrap; None is 2000 draws and 95 %.

        Returns
        -------
        Compared

        Raises
        ------
        InputError
            No image has the other mask.
        """
        if not self._ours:
            raise InputError(
                f"None of {self._left_out} images has {self.name!r} with a pixel that our mask has, too. Leave it out "
                "of what is compared."
            )
        ours, theirs = summarise(self._ours, how=how), summarise(self._theirs, how=how)
        return Compared(ours=ours, theirs=theirs, difference=difference(ours, theirs), left_out=self._left_out)


def compared_tables(results: Mapping[str, Compared], *, ours: str, theirs: str) -> str:
    """Write down how two masks compare.

    Parameters
    ----------
    results
        By what was done, such as "known" and "unknown" level.
    ours, theirs
        What the two are called.

    Returns
    -------
    str
        Markdown: a row for each source and mask, then the differences in percentage points.

    Examples
    --------
    >>> pairs = Pairs("scl")
    >>> pairs.add(np.array([0, 1]), np.array([0, 0]), np.array([1, 2]), name="a", source="here")
    >>> print(compared_tables({"known": pairs.compared()}, ours="default", theirs="scl").splitlines()[5])
    | here | known: scl | 1 | 50.0 | 50.0 | 50.0 | 0.0 | - | - | - | 33.3 | 25.0 |
    """
    rows = {}
    for level, result in results.items():
        rows[f"{level}: {ours}"] = result.ours
        rows[f"{level}: {theirs}"] = result.theirs
    left_out = max(result.left_out for result in results.values())
    pixels = "Pixels that both have."
    if left_out:
        pixels += f" {left_out} patches are left out: they have no {theirs}."
    changes = difference_table({level: result.difference for level, result in results.items()})
    return "\n\n".join([pixels, source_table(rows), f"{ours} less {theirs}, in percentage points:", changes])
