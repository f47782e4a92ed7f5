"""Scales that differ between time steps, as one table."""

from __future__ import annotations

from collections.abc import Sequence

import dask.array as da
import numpy as np
import numpy.typing as npt

from xcloudmask.bands import BandSelection
from xcloudmask.radiometry._bandscale import BandScale

__all__ = ["scale_rows"]


def scale_rows(
    selection: BandSelection, found: Sequence[BandScale | None], *, times: int
) -> npt.NDArray[np.float64] | da.Array | None:
    """Put the scales of all bands and time steps into one table.

    Parameters
    ----------
    selection
        The bands of a cube.
    found
        Their scales.
    times
        Number of time steps.

    Returns
    -------
    array or None
        (time, band * 2) all scales, then all offsets; NaN in time steps where the scale of any band is unknown; None
        where it is unknown in all of them. A dask array where coordinates of the cube are: nothing is computed, and the
        blocks find out which rows are known.
    """
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return None
    columns = [one.gain.data for one in known] + [one.offset.data for one in known]
    if any(one.lazy for one in known):
        lazy: da.Array = da.stack([da.broadcast_to(da.asarray(column), (times,)) for column in columns], axis=1)
        return lazy
    rows = np.stack([np.broadcast_to(column, (times,)) for column in columns], axis=1)
    present = [one for one, array in zip(known, selection.arrays, strict=True) if array is not None]
    valid = np.logical_and.reduce([np.broadcast_to(one.known.values, (times,)) for one in present])
    return np.where(valid[:, None], rows, np.nan) if valid.any() else None
