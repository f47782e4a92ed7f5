"""What a report knows of each date: its time, its names, and how many pixels each class has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xcloudmask.grid import time_dim

__all__ = ["Date", "Name", "day_text", "days_between", "in_order", "names_of"]

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_COVERED = 0.5
"""A date with less than this share of the pixels of the fullest date shows but a part of the area."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A date, before any pixel is read."""

    position: int
    """Along time, in the store."""
    label: str
    """For people."""
    stamp: np.datetime64 | None
    """To the second; None where time holds no dates."""
    item: str
    """Id of the item that it came from, or nothing."""
    platform: str
    """Satellite, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Date:
    """A date, counted."""

    name: Name
    """Which one."""
    counts: tuple[int, ...]
    """Pixels of each code of the style."""
    nodata: int
    """Pixels without data."""
    unknown: int
    """Pixels with a code that the style does not have."""
    error: str = ""
    """Why it could not be read; then all counts are 0."""

    @property
    def total(self) -> int:
        """All pixels."""
        return self.valid + self.nodata + self.unknown

    @property
    def valid(self) -> int:
        """Pixels of a class."""
        return sum(self.counts)

    @property
    def clear(self) -> float | None:
        """Clear share of the pixels with data; None without any."""
        return self.share(0)

    def share(self, code: int) -> float | None:
        """Share of a code among the pixels with data; None without any."""
        return self.counts[code] / self.valid if self.valid else None

    def is_view(self, *, at_least: float, fullest: int) -> bool:
        """Whether enough is clear, and at least half as much covered as on the fullest date."""
        return self.clear is not None and self.clear >= at_least and not self.is_partial(fullest)

    def is_partial(self, fullest: int) -> bool:
        """Whether less than half as many pixels have data as on the fullest date."""
        return self.valid < _COVERED * fullest


def names_of(mask: xr.DataArray) -> list[Name]:
    """Return the dates of a mask, in the order of the store.

    Parameters
    ----------
    mask
        With or without a time dimension.
    """
    dim = time_dim(mask)
    count = 1 if dim is None else mask.sizes[dim]
    stamps = _stamps(mask, dim, count)
    labels = [
        stamp_text(stamp) if stamp is not None else _plain_label(mask, dim, index) for index, stamp in enumerate(stamps)
    ]
    items, platforms = _texts(mask, "item_id", dim, count), _texts(mask, "platform", dim, count)
    return [
        Name(position=index, label=labels[index], stamp=stamps[index], item=items[index], platform=platforms[index])
        for index in range(count)
    ]


def in_order(names: Sequence[Name]) -> list[Name]:
    """Return dates as time goes; in the order of the store where not all have a time."""
    if any(name.stamp is None for name in names):
        return list(names)
    return sorted(names, key=lambda name: (name.stamp, name.position))


def stamp_text(stamp: np.datetime64) -> str:
    """Return a time for people.

    Examples
    --------
    >>> stamp_text(np.datetime64("2024-05-14T10:50:31"))
    '14 May 2024 10:50'
    """
    return f"{day_text(stamp)} {str(stamp.astype('M8[m]'))[-5:]}"


def day_text(stamp: np.datetime64) -> str:
    """Return a day for people.

    Examples
    --------
    >>> day_text(np.datetime64("2024-05-04T10:50:31"))
    '4 May 2024'
    """
    year, month, day = str(stamp.astype("M8[D]")).rsplit("-", 2)
    return f"{int(day)} {MONTHS[int(month) - 1]} {year}"


def days_between(first: np.datetime64, last: np.datetime64) -> int:
    """Return whole days from one day to another.

    Examples
    --------
    >>> days_between(np.datetime64("2024-05-04T23:00"), np.datetime64("2024-05-06T01:00"))
    2
    """
    return int((last.astype("M8[D]") - first.astype("M8[D]")).astype(int))


def _stamps(mask: xr.DataArray, dim: str | None, count: int) -> list[np.datetime64 | None]:
    coord = mask.coords.get(dim if dim is not None and dim in mask.coords else "time")
    if coord is None or coord.dtype.kind != "M" or coord.size != count:
        return [None] * count
    stamps = coord.values.astype("M8[s]").reshape(-1)
    return [None if np.isnat(stamp) else stamp for stamp in stamps]


def _plain_label(mask: xr.DataArray, dim: str | None, index: int) -> str:
    if dim is not None and dim in mask.coords:
        return str(mask.coords[dim].values[index])
    return "undated" if dim is None or mask.sizes[dim] == 1 else f"date {index}"


def _texts(mask: xr.DataArray, name: str, dim: str | None, count: int) -> list[str]:
    coord = mask.coords.get(name)
    if coord is None or coord.dims not in ((), (dim,)):
        return [""] * count
    values = [str(value) for value in np.atleast_1d(coord.values)]
    return values if len(values) == count else values * count
