"""Scales that differ between time steps: as loaders write them into cubes, and as one table for the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from xcloudmask.bands import BandSelection
from xcloudmask.radiometry._bandscale import BandScale

__all__ = ["declare_scales", "scale_rows"]


def declare_scales(name: str, scales: Sequence[tuple[float, float] | None]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write down the scales of a variable, as `band_scales` reads them.

    Parameters
    ----------
    name
        The variable.
    scales
        (scale, offset) of each time step; None where unknown.

    Returns
    -------
    dict
        Attributes of the variable, where all time steps have the same; empty where it is unknown in all of them.
    dict
        Coordinates along time of the Dataset where they differ; NaN where unknown.

    Examples
    --------
    >>> declare_scales("red", [(1e-4, 0.0), (1e-4, 0.0)])
    ({'scale_factor': 0.0001, 'add_offset': 0.0}, {})
    >>> attrs, coords = declare_scales("red", [(1e-4, -0.1), None])
    >>> attrs, coords["red_add_offset"]
    ({}, ('time', array([-0.1,  nan])))
    """
    keys = ("scale_factor", "add_offset")
    if len(set(scales)) == 1:
        return ({} if scales[0] is None else dict(zip(keys, scales[0], strict=True))), {}
    pairs = np.array([(np.nan, np.nan) if scale is None else scale for scale in scales], np.float64)
    return {}, {f"{name}_{key}": ("time", pairs[:, column]) for column, key in enumerate(keys)}


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
