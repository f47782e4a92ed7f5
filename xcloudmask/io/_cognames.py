"""Names of GeoTIFFs from a template. Texts of coordinates come from catalogues: they cannot leave the folder."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask.errors import ArgumentError

__all__ = ["SUFFIXES", "check_names", "file_names"]

SUFFIXES = (".tif", ".tiff")
TIME_FORMAT = "%Y%m%dT%H%M%S"
_FIELD = re.compile(r"\{([^{}]*)\}")
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')
"""What separates folders somewhere, or is allowed in no file name on Windows."""
_LONGEST = 240
"""Bytes of a file name: 255 on most disks, less what the names of sidecars add."""


def file_names(
    mask: xr.DataArray, *, name: str, styles: Sequence[str], template: str | None
) -> dict[tuple[int, str], str]:
    """Return the name of the file of each date and style, relative to the folder.

    Parameters
    ----------
    mask
        (time, band, y, x).
    name
        What ``{name}`` stands for.
    styles
        What ``{style}`` stands for.
    template
        The template; None for the default one, where equal names are numbered.

    Returns
    -------
    dict
        By (date, style).

    Raises
    ------
    ArgumentError
        An unknown field, a name outside the folder, or one for several files.

    Examples
    --------
    >>> mask = xr.DataArray(np.zeros((2, 1, 1, 1)), dims=("time", "cloud_class", "y", "x"))
    >>> list(file_names(mask, name="clouds", styles=["4-class"], template=None).values())
    ['clouds_0.tif', 'clouds_1.tif']
    """
    keys = [(date, style) for date in range(mask.shape[0]) for style in styles]
    given = template if template is not None else _default(mask, several_styles=len(styles) > 1)
    names = {key: _render(given, _fields(mask, key[0]) | {"name": name, "style": key[1]}) for key in keys}
    if template is None:
        names = _numbered(names)
    check_names(names, given)
    return names


def check_names(names: Mapping[tuple[int, str], str], template: str) -> None:
    """Refuse names that lie outside the folder, are too long, or are given twice.

    Parameters
    ----------
    names
        By (date, style).
    template
        Where they come from, for the message.

    Raises
    ------
    ArgumentError
        There is such a name.

    Examples
    --------
    >>> check_names({(0, "4-class"): "2024/a.tif"}, "{time:%Y}/a.tif")
    """
    seen: dict[str, tuple[int, str]] = {}
    for key, name in names.items():
        parts = name.split("/")
        if any(not part or part.startswith(".") for part in parts):
            raise ArgumentError(
                f"name_template={template!r} gives the name {name!r}. Expected a name inside the target folder, "
                "without hidden or empty parts. Type: name_template='{name}_{time}_{style}.tif'"
            )
        if max(len(part.encode()) for part in parts) > _LONGEST:
            raise ArgumentError(f"name_template={template!r} gives a name of {len(name)} characters: {name[:80]!r}...")
        # Some disks do not tell "a" from "A", or one spelling of an accent from another.
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in seen:
            (first, style), (date, other) = seen[folded], key
            missing = "{style}" if first == date else "{index}, {item_id} or a finer {time:...}"
            raise ArgumentError(
                f"name_template={template!r} gives the name {name!r} to date {first} ({style}) and to date {date} "
                f"({other}). Add {missing} to it."
            )
        seen[folded] = key


def _default(mask: xr.DataArray, *, several_styles: bool) -> str:
    times = mask.coords.get(mask.dims[0])
    if times is not None and times.dtype.kind == "M":
        middle = "_{time}"
    else:
        count = mask.shape[0]
        middle = "" if count == 1 else f"_{{index:0{len(str(count - 1))}d}}"
    return "{name}" + middle + ("_{style}.tif" if several_styles else ".tif")


def _fields(mask: xr.DataArray, date: int) -> dict[str, Any]:
    """Return what a template may name: coordinates that are scalars or lie along time."""
    time = mask.dims[0]
    fields: dict[str, Any] = {}
    for key, coord in mask.coords.items():
        if coord.dims in ((), (time,)):
            fields[str(key)] = coord.values[date] if coord.dims else coord.values[()]
    if time in fields:
        fields["time"] = fields[str(time)]
    return fields | {"index": date}


def _render(template: str, fields: Mapping[str, Any]) -> str:
    # No str.format: it would follow attributes, and some coordinates have a colon in their names (eo:cloud_cover).
    rest = _FIELD.sub("", template)  # values may have braces
    if "{" in rest or "}" in rest:
        raise ArgumentError(f"name_template={template!r} has a brace without its partner.")
    name = _FIELD.sub(lambda found: _value(found[1], fields, template), template)
    return name if name.casefold().endswith(SUFFIXES) else f"{name}.tif"


def _value(content: str, fields: Mapping[str, Any], template: str) -> str:
    for field in sorted(fields, key=len, reverse=True):
        if content == field or content.startswith(f"{field}:"):
            return _text(fields[field], content[len(field) + 1 :], field, template)
    raise ArgumentError(
        f"name_template={template!r}: the field {content.split(':', maxsplit=1)[0]!r} is unknown here. "
        f"Expected one of {', '.join(sorted(fields))}."
    )


def _text(value: Any, spec: str, field: str, template: str) -> str:
    if isinstance(value, np.datetime64):
        if np.isnat(value):
            return "unknown"
        # Slashes of a format such as %Y/%m are the caller's own folders.
        return str(value.astype("M8[us]").item().strftime(spec or TIME_FORMAT))
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value != value:  # noqa: PLR0124  # NaN
        return "unknown"
    try:
        text = format(value, spec)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"name_template={template!r}: {spec!r} is no format for {field} = {value!r} ({error})."
        ) from error
    return _UNSAFE.sub("-", text).strip().lstrip(".") or "unknown"


def _numbered(names: dict[tuple[int, str], str]) -> dict[tuple[int, str], str]:
    """Add 1, 2, ... to names that are given more than once."""
    totals, seen = Counter(names.values()), Counter[str]()
    numbered: dict[tuple[int, str], str] = {}
    for key, name in names.items():
        seen[name] += 1
        stem = name.removesuffix(".tif")
        numbered[key] = f"{stem}_{seen[name]}.tif" if totals[name] > 1 else name
    return numbered
