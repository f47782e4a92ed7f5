"""Which pixels of a chunk have data, in few bytes: what patches move by, and what becomes nodata.

OmniCloudMask asks band by band. A pixel has data for it where any band has; the mask of this package is 255 where any
band has none. Both are kept, one bit each, and nothing where all pixels of a chunk are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Bits", "Validity", "chunk_validity", "has_value"]

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Bits:
    """A boolean plane, packed."""

    shape: tuple[int, int]
    """Pixels along y and x."""
    packed: npt.NDArray[np.uint8] | None
    """Eight pixels of a row in a byte; None where all are alike."""
    alike: bool = True
    """What all pixels are, where nothing is packed."""

    @classmethod
    def of(cls, plane: npt.NDArray[np.bool_]) -> Bits:
        """Pack a plane (y, x)."""
        shape = (plane.shape[0], plane.shape[1])
        if plane.all():
            return cls(shape, None, alike=True)
        return cls(shape, np.packbits(plane, axis=1) if plane.any() else None, alike=False)

    def plane(self) -> npt.NDArray[np.bool_]:
        """Unpack to (y, x) bool."""
        if self.packed is None:
            return np.full(self.shape, self.alike)
        return np.unpackbits(self.packed, axis=1, count=self.shape[1]).view(np.bool_)

    @property
    def full(self) -> bool:
        """Whether all pixels are true."""
        return self.packed is None and self.alike


@dataclass(frozen=True, slots=True)
class Validity:
    """What a chunk has data for."""

    some: Bits
    """Pixels that any band has data for."""
    whole: Bits
    """Pixels that every band has data for."""
    missing: int
    """Values without data, over all bands."""


def has_value(band: npt.NDArray[np.generic], nodata: float | None) -> npt.NDArray[np.bool_]:
    """Find the pixels of a band that have data.

    Parameters
    ----------
    band
        (y, x), any real dtype.
    nodata
        Declared value, or None.

    Returns
    -------
    numpy.ndarray
        (y, x) bool: False for NaN, infinity, what float32 cannot hold, and nodata.

    Examples
    --------
    >>> has_value(np.array([[0.0, np.nan, 7.0]]), 0).tolist()
    [[False, False, True]]
    """
    if band.dtype.kind == "f":
        with np.errstate(over="ignore"):
            good: npt.NDArray[np.bool_] = np.abs(band) <= _FLOAT32_MAX
    else:
        good = np.ones(band.shape, bool)
    if nodata is not None and not np.isnan(nodata):
        good &= band != nodata
    return good


def chunk_validity(bands: npt.NDArray[np.generic], nodata: Sequence[float | None], *, absent: int) -> Validity:
    """Find what a chunk has data for.

    Parameters
    ----------
    bands
        (band, y, x) of the bands that are present.
    nodata
        Declared value per band, or None.
    absent
        Number of bands that were given up: all of their values are missing.

    Returns
    -------
    Validity

    Examples
    --------
    >>> chunk_validity(np.array([[[0, 1]], [[5, 5]]]), (0, 0), absent=0).missing
    1
    """
    some, whole = np.zeros(bands.shape[1:], bool), np.ones(bands.shape[1:], bool)
    missing = absent * some.size
    for band, value in zip(bands, nodata, strict=True):
        good = has_value(band, value)
        some |= good
        whole &= good
        missing += good.size - int(np.count_nonzero(good))
    return Validity(Bits.of(some), Bits.of(whole), missing)
