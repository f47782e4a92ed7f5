"""What is known of one mask before its pixels are read: from an array and its coordinates, or from a COG's tags."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask.classes import CLASS_DIM, Style, get_style
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError, ReadError
from xcloudmask.grid import spatial_dims
from xcloudmask.io._georef import affine_of, crs_of
from xcloudmask.stac.read import parse_range

__all__ = ["Facts", "When", "facts_of_array", "facts_of_tags", "parse_when"]

Affine6 = tuple[float, float, float, float, float, float]

PROVENANCE = ("model", "model_sha256", "normalize", "settings", "processing", "xcloudmask_version")
"""Attributes and tags that say how a mask was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """An instant, or a span of time."""

    first: str
    """RFC 3339, in UTC."""
    last: str
    """The same as `first` for an instant."""

    @property
    def fields(self) -> dict[str, Any]:
        """Properties of an item."""
        if self.first == self.last:
            return {"datetime": self.first}
        return {"datetime": None, "start_datetime": self.first, "end_datetime": self.last}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One mask."""

    style: Style
    """Its output style."""
    classes: tuple[str, ...] = ()
    """Class of each band of percentages; empty for codes."""
    when: When | None
    """Acquisition; None where it is not known."""
    source: str = ""
    """Id of the item that it was made from; several, with spaces between, where items of a day were put together."""
    platforms: tuple[str, ...] = ()
    """STAC platforms."""
    sun_elevation: float | None = None
    """Degrees."""
    sun_azimuth: float | None = None
    """Degrees."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """How it was made."""
    crs_wkt: str | None
    """The CRS, or None."""
    transform: Affine6 | None
    """From pixel corners to coordinates, or None."""
    shape: tuple[int, int]
    """Rows and columns."""


def facts_of_array(mask: xr.DataArray, *, when: When | None = None) -> Facts:
    """Return what an array of one date tells.

    Parameters
    ----------
    mask
        (y, x) codes or (cloud_class, y, x) percentages, with its time as a scalar coordinate.
    when
        The time where the mask has none.

    Returns
    -------
    Facts

    Raises
    ------
    InputError
        The time is no date.
    """
    y, x = spatial_dims(mask)
    crs = crs_of(mask)
    style = get_style(str(mask.attrs.get("output_style", "4-class")))
    names = mask.coords[CLASS_DIM].values.tolist() if CLASS_DIM in mask.coords else style.meanings
    return Facts(
        style=style,
        classes=tuple(map(str, names)) if CLASS_DIM in mask.dims else (),
        when=_time_of(mask) or when,
        source=_text(mask, "item_id"),
        platforms=tuple(_text(mask, "platform").split()),
        sun_elevation=_number(mask, "sun_elevation", 90.0),
        sun_azimuth=_number(mask, "sun_azimuth", 360.0),
        provenance={key: str(mask.attrs[key]) for key in PROVENANCE if key in mask.attrs},
        crs_wkt=None if crs is None else crs.to_wkt(),
        transform=affine_of(mask),
        shape=(mask.sizes[y], mask.sizes[x]),
    )


def facts_of_tags(source: Any, path: Any) -> Facts:
    """Return what the header of a COG tells that `to_cog` wrote.

    Parameters
    ----------
    source
        Dataset of rasterio.
    path
        Its name, for errors.

    Returns
    -------
    Facts

    Raises
    ------
    ReadError
        It is no mask.
    """
    tags = source.tags()
    if "output_style" not in tags or set(source.dtypes) != {"uint8"}:
        raise ReadError(
            f"{path} is no mask of xcloudmask: it has no tag 'output_style', or is not uint8. Expected a file that "
            "to_cog wrote."
        )
    try:
        style = get_style(tags["output_style"])
    except ArgumentError as error:
        raise ReadError(f"{path}: {error}") from error
    names = tuple(tags.get("flag_meanings", "").split())
    shares = "flag_values" not in tags
    if shares and len(names) != source.count:
        raise ReadError(f"{path} has {source.count} bands and its tags name {len(names)} classes. Write it again.")
    return Facts(
        style=style,
        classes=names if shares else (),
        when=parse_when(tags["datetime"]) if tags.get("datetime") else None,
        source=tags.get("item_id", ""),
        platforms=tuple(tags.get("platform", "").split()),
        sun_elevation=_angle(tags.get("sun_elevation"), 90.0),
        sun_azimuth=_angle(tags.get("sun_azimuth"), 360.0),
        provenance={key: tags[key] for key in PROVENANCE if key in tags},
        crs_wkt=source.crs.to_wkt() if source.crs else None,
        transform=None if source.transform.is_identity else tuple(source.transform)[:6],
        shape=source.shape,
    )


def parse_when(value: object) -> When:
    """Turn what the user typed into an instant or a span.

    Parameters
    ----------
    value
        ``"2024-06-01T10:50:31Z"``, a datetime, or a span: ``"2024-06"``, ``"2024-06-01/2024-08-31"``, two datetimes.

    Returns
    -------
    When

    Raises
    ------
    ArgumentError, ArgumentTypeError
        It is none of these.

    Examples
    --------
    >>> parse_when("2024-06").fields["end_datetime"]
    '2024-06-30T23:59:59.999999Z'
    """
    if isinstance(value, str):
        first, last = parse_range(value)
        if first.year == 1 or last.year == 9999:
            raise ArgumentError(f"datetime={value!r:.80} has an open end. Expected both ends.")
        return When(first=_stamp(first), last=_stamp(last))
    ends = [value, value] if isinstance(value, dt.datetime) else value
    if not isinstance(ends, tuple | list) or len(ends) != 2 or not all(isinstance(end, dt.datetime) for end in ends):
        raise ArgumentTypeError(
            f"datetime={value!r:.80}. Expected a text such as '2024-06-01T10:50:31Z' or '2024-06-01/2024-06-30', a "
            "datetime, or two of them."
        )
    stamps = [_stamp(end) for end in ends]
    if stamps[1] < stamps[0]:
        raise ArgumentError(f"datetime={value!r:.120} ends before it begins. Expected the earlier date first.")
    return When(first=stamps[0], last=stamps[1])


def _stamp(instant: dt.datetime) -> str:
    utc = instant.replace(tzinfo=dt.UTC) if instant.tzinfo is None else instant.astimezone(dt.UTC)
    return utc.isoformat().replace("+00:00", "Z")


def _time_of(mask: xr.DataArray) -> When | None:
    name = next((name for name in ("time", "t", "date", "datetime") if name in mask.coords), None)
    coord = mask.coords[name] if name is not None else None
    if coord is None or coord.ndim:
        return None
    if coord.dtype.kind != "M":
        raise InputError(
            f"The coordinate {name!r} of the mask is {coord.dtype}. Expected dates (datetime64). Type: "
            f"mask.assign_coords({name}=[...]), or give datetime= to a mask without time."
        )
    value = coord.values[()]
    if np.isnat(value):
        raise InputError(f"The mask has NaT for its {name!r}. Expected a date. Type: mask.assign_coords({name}=[...])")
    instant = value.astype("M8[us]").item()
    stamp = _stamp(instant)
    return When(first=stamp, last=stamp)


def _text(mask: xr.DataArray, name: str) -> str:
    coord = mask.coords.get(name)
    value = "" if coord is None or coord.ndim else coord.values[()]
    return value if isinstance(value, str) else ""


def _number(mask: xr.DataArray, name: str, most: float) -> float | None:
    coord = mask.coords.get(name)
    return None if coord is None or coord.ndim else _angle(coord.values[()], most)


def _angle(value: Any, most: float) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    least = -90.0 if most == 90.0 else 0.0
    return number if math.isfinite(number) and least <= number <= most else None
