"""What a mask says of itself: where it lies, how it was made, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask._version import __version__
from xcloudmask.grid import resolution_m
from xcloudmask.io._georef import affine_of, crs_of
from xcloudmask.io._identity import settings_of
from xcloudmask.webreport._dates import Name, day_text, days_between

__all__ = ["facts_of", "skipped_items"]

Rows = list[tuple[str, str]]

_ELSEWHERE = frozenset({"dtype", "output_style", "model", "model_sha256", "normalize"})
_PLATFORMS = 8
_SKIPPED = 200


def facts_of(mask: xr.DataArray, names: Sequence[Name], *, source: str) -> Rows:
    """Return labels and texts for the head of a report.

    Parameters
    ----------
    mask
        (time, y, x).
    names
        Its dates, as time goes.
    source
        Where it was read from.
    """
    settings = settings_of(mask)
    rows = [("Store", source), ("Grid", _grid(mask)), ("CRS", _crs(mask)), *_place(mask), ("Dates", _span(names))]
    platforms = list(dict.fromkeys(name.platform for name in names if name.platform))
    if platforms:
        more = f" and {len(platforms) - _PLATFORMS} more" if len(platforms) > _PLATFORMS else ""
        rows.append(("Platform", ", ".join(platforms[:_PLATFORMS]) + more))
    unknown = "the masks do not say"
    rows += [
        ("Output style", str(settings.get("output_style", unknown))),
        ("Model", str(settings.get("model", unknown))),
        ("Weights (sha256)", str(settings.get("model_sha256", unknown))),
        ("Normalisation", str(settings.get("normalize", unknown))),
    ]
    others = [f"{key} = {value}" for key, value in settings.items() if key not in _ELSEWHERE]
    rows.append(("Settings", ", ".join(others) or unknown))
    made = str(mask.attrs.get("xcloudmask_version", unknown))
    return [*rows, ("Masked with", f"xcloudmask {made}" if made != unknown else made), ("Reported with", _reporter())]


def skipped_items(*objects: xr.DataArray | xr.Dataset | None) -> list[str]:
    """Return what `xcloudmask.stac.load` left out, as its attribute says.

    Parameters
    ----------
    objects
        Masks and cubes.

    Examples
    --------
    >>> skipped_items(xr.DataArray(0, attrs={"skipped_items": ["S2A_1: no such file"]}), None)
    ['S2A_1: no such file']
    """
    found: list[str] = []
    for one in objects:
        value = None if one is None else one.attrs.get("skipped_items")
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list | tuple | np.ndarray):
            found += [str(text) for text in value]
    unique = list(dict.fromkeys(found))
    more = len(unique) - _SKIPPED
    return unique if more <= 0 else [*unique[:_SKIPPED], f"and {more} more"]


def _reporter() -> str:
    return f"xcloudmask {__version__}"


def _grid(mask: xr.DataArray) -> str:
    height, width = mask.shape[1:]
    metres = resolution_m(mask)
    if metres is None:
        return f"{width:,} x {height:,} pixels"
    y, x = metres
    size = f"{x:.4g} m" if abs(x - y) < 1e-6 * x else f"{x:.4g} x {y:.4g} m"
    return f"{width:,} x {height:,} pixels of {size} ({width * x / 1000:,.4g} x {height * y / 1000:,.4g} km)"


def _crs(mask: xr.DataArray) -> str:
    crs = crs_of(mask)
    if crs is None:
        return "none: the masks have no CRS"
    epsg = crs.to_epsg()
    name = str(crs.proj.name)
    if name in ("", "unknown", "unnamed"):  # what PROJ writes for a CRS that has parameters only
        projection = crs.proj.coordinate_operation
        name = f"without a name ({crs.proj.type_name if projection is None else projection.method_name})"
    return f"EPSG:{epsg}, {name}" if epsg else name


def _place(mask: xr.DataArray) -> Iterator[tuple[str, str]]:
    """Yield the bounds, in the units of the CRS and in degrees."""
    crs, affine = crs_of(mask), affine_of(mask)
    if affine is None:
        return
    a, _, left, _, e, top = affine
    height, width = mask.shape[1:]
    (west, east), (south, north) = sorted((left, left + a * width)), sorted((top, top + e * height))
    if crs is None or not crs.geographic:
        yield "Bounds", f"x {west:,.10g} to {east:,.10g}, y {south:,.10g} to {north:,.10g}"
    degrees = _degrees(crs, (west, south, east, north))
    if degrees is not None:
        west, south, east, north = degrees
        yield "Degrees", f"{_side(west, 'EW')} to {_side(east, 'EW')}, {_side(south, 'NS')} to {_side(north, 'NS')}"


def _degrees(crs: Any | None, bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float] | None:
    if crs is None:
        return None
    if crs.geographic:
        return bounds
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    try:
        # Points along the sides as well: straight lines are none in degrees.
        found = Transformer.from_crs(crs.proj, "EPSG:4326", always_xy=True).transform_bounds(*bounds)
    except ProjError:  # outside of what the projection can be turned back from
        return None
    return found if all(map(math.isfinite, found)) else None


def _side(degrees: float, letters: str) -> str:
    return f"{abs(degrees):.4f}° {letters[0] if degrees >= 0 else letters[1]}"


def _span(names: Sequence[Name]) -> str:
    count = f"{len(names):,} date{'s' if len(names) > 1 else ''}"
    first, last = names[0].stamp, names[-1].stamp
    if first is None or last is None or any(name.stamp is None for name in names):
        return f"{count}, without a time"
    if len(names) == 1:
        return f"{count}: {names[0].label} UTC"
    return f"{count}, {day_text(first)} to {day_text(last)} ({days_between(first, last):,} days)"
