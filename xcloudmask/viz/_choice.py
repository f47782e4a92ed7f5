"""What of a cube is shown: which dates, which bands, and which image belongs to which mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudmask._mask_checks import check_alignment
from xcloudmask.bands import select_bands
from xcloudmask.classes import CLASS_DIM
from xcloudmask.errors import ArgumentError, ArgumentTypeError, BandNotFoundError, InputError, NotACubeError
from xcloudmask.grid import time_dim
from xcloudmask.radiometry import nodata_values

__all__ = ["Times", "check_max_px", "choose_bands", "date_text", "match_times", "positions_of"]

Times = int | Sequence[int] | Literal["all"] | None
"""Positions along time; None leaves the choice to the function."""

Band = tuple[xr.DataArray, float | None]
"""A band and its declared nodata value."""

_COMPOSITES = (("red", "green", "blue"), ("nir", "red", "green"), ("red", "red", "red"))
"""What is shown as red, green and blue: the first one whose bands the cube has."""
_SAME_TIME = np.timedelta64(1, "s")
"""Times that were written to a file and read again may be rounded."""


def check_max_px(max_px: object) -> int:
    """Return the longest side of a picture, or refuse what is no number of pixels.

    Parameters
    ----------
    max_px
        As given by the user.

    Returns
    -------
    int
    """
    if isinstance(max_px, bool) or not isinstance(max_px, int | np.integer) or max_px < 1:
        raise ArgumentError(f"max_px={max_px!r}: expected a whole number of 1 or more pixels.")
    return int(max_px)


def positions_of(array: xr.DataArray, time: Times, *, most: int | None) -> list[int | None]:
    """Return the positions along time that are shown; one None where there is no time.

    Parameters
    ----------
    array
        What is shown.
    time
        As given by the user.
    most
        Where the user leaves the choice: this many dates, evenly spread over the series; None for all.

    Returns
    -------
    list of int or None
    """
    dim = time_dim(array)
    if dim is None:
        return [None]
    count = array.sizes[dim]
    if count == 0:
        raise InputError(f"There is no date to show: {dim!r} has no entries.")
    if time is None or (isinstance(time, str) and time == "all"):
        shown = count if most is None or time is not None else min(most, count)
        return [int(position) for position in np.linspace(0, count - 1, shown).round()]
    positions = [time] if isinstance(time, int) else list(time)
    for position in positions:
        if isinstance(position, bool) or not isinstance(position, int | np.integer):
            raise ArgumentTypeError(f"time={time!r}: expected positions along {dim!r}, such as 0 or [0, 3], or 'all'.")
        if not -count <= position < count:
            raise ArgumentError(f"time={position}: there are {count} dates, 0 to {count - 1}.")
    if not positions:
        raise ArgumentError(f"time={time!r} shows nothing. Expected one position or more along {dim!r}.")
    return [int(position) % count for position in positions]


def choose_bands(rgb: xr.DataArray | xr.Dataset) -> list[Band]:
    """Return the three bands to show, each with its nodata value.

    Parameters
    ----------
    rgb
        A cube.

    Returns
    -------
    list of (DataArray, float or None)
    """
    for roles in _COMPOSITES:
        unique = tuple(dict.fromkeys(roles))
        try:
            selection = select_bands(rgb, roles=unique)
        except BandNotFoundError:
            continue
        found = dict(zip(unique, zip(selection.arrays, nodata_values(selection), strict=True), strict=True))
        return [(array, nodata) for array, nodata in (found[role] for role in roles) if array is not None]
    raise BandNotFoundError(
        "The image has no band that can be shown. Expected red, green and blue, or nir, red and green, or red. "
        "Type: rgb=cube.rename({'<name in the cube>': 'red', ...})"
    )


def match_times(shown: xr.DataArray, other: xr.DataArray, positions: list[int | None]) -> list[int | None]:
    """Return the position in another array of each date that is shown, and check that both have the same pixels.

    An array without time goes with every date (a composite does), unless it says that it is of another one.

    Parameters
    ----------
    shown
        The mask.
    other
        A band of the image, or the reference.
    positions
        Of the dates in `shown`; None where it has no time.

    Returns
    -------
    list of int or None
    """
    check_alignment(_one_layer(other), _one_layer(shown))
    dim, other_dim = time_dim(shown), time_dim(other)
    wanted = [_label(shown, dim, position) for position in positions]
    if other_dim is None:
        _check_one_date(other, wanted)
        return [None] * len(positions)
    labels = other.indexes[other_dim].to_numpy() if other_dim in other.indexes else None
    if dim is not None and other.sizes[other_dim] == shown.sizes[dim]:
        mine = shown.indexes[dim].to_numpy() if dim in shown.indexes else None
        if labels is None or mine is None or np.array_equal(labels, mine):
            return positions
    if labels is None or any(label is None for label in wanted):
        return _match_without_labels(shown, other, dim, other_dim)
    return [_find(label, labels) for label in wanted]


def date_text(array: xr.DataArray) -> str:
    """Return the date of a layer, such as ``"2024-06-03 10:50"``; empty where it has none.

    Parameters
    ----------
    array
        Without time dimension.

    Returns
    -------
    str
    """
    label = _label(array, None, None)
    if label is None:
        return ""
    return _text(label)


def _text(label: Any) -> str:
    return str(label.astype("M8[m]") if isinstance(label, np.datetime64) else label)[:16].replace("T", " ")


def _one_layer(array: xr.DataArray) -> xr.DataArray:
    """Return one layer, for its pixels; nothing is computed."""
    dims = [dim for dim in (time_dim(array), CLASS_DIM) if dim is not None and dim in array.dims]
    return array.isel(dict.fromkeys(dims, 0), drop=True)


def _label(array: xr.DataArray, dim: str | None, position: int | None) -> Any | None:
    """Return the date of one position, or of an array without time; None where nothing tells."""
    if dim is not None:
        return array.indexes[dim].to_numpy()[position] if dim in array.indexes else None
    names = ["time", *array.coords]
    for name in names:
        coord = array.coords.get(name)
        if coord is not None and coord.ndim == 0 and coord.dtype.kind == "M" and coord.chunks is None:
            return coord.values[()]
    return None


def _check_one_date(other: xr.DataArray, wanted: list[Any | None]) -> None:
    date = _label(other, None, None)
    if date is None:
        return
    for label in wanted:
        if label is not None and not _same(np.asarray([label]), date)[0]:
            raise InputError(
                f"The image is of {_text(date)}, and the mask of {_text(label)}. Give images of the same dates, or "
                "type rgb=image.drop_vars('time') to show this one with every date."
            )


def _match_without_labels(
    shown: xr.DataArray, other: xr.DataArray, dim: str | None, other_dim: str
) -> list[int | None]:
    if dim is None and other.sizes[other_dim] == 1:
        return [0]
    if dim is None:
        raise NotACubeError(
            f"The image has {other.sizes[other_dim]} entries along {other_dim!r}, and the mask has no date that says "
            "which of them is its own. Select the same time steps of both."
        )
    raise InputError(
        f"{dim!r} has {shown.sizes[dim]} entries in the mask and {other.sizes[other_dim]} in the image, and no dates "
        "that tell which belong together. Select the same time steps of both."
    )


def _same(labels: npt.NDArray[Any], label: Any) -> npt.NDArray[np.bool_]:
    equal: npt.NDArray[np.bool_] = np.asarray(labels == label, bool)
    if equal.any() or labels.dtype.kind != "M" or not isinstance(label, np.datetime64):
        return equal
    close: npt.NDArray[np.bool_] = np.abs(labels - label) < _SAME_TIME
    return close


def _find(label: Any, labels: npt.NDArray[Any]) -> int:
    found = np.flatnonzero(_same(labels, label))
    if found.size == 1:
        return int(found[0])
    what = "no image" if found.size == 0 else f"{found.size} images"
    raise InputError(
        f"There is {what} of {_text(label)}, a date of the mask; the images are of {_text(labels[0])} to "
        f"{_text(labels[-1])}. Give the cube that the mask was made of, or select the same time steps of both."
    )
