"""Central wavelengths and widths of bands, in the units that files and catalogues use, as ranges in nanometres.

A number without a unit is read where it can only be one: no image is taken below 0.3 or above 20 micrometres, so that
0.665 is micrometres and 665 is nanometres. What the unit makes impossible is refused: some items of catalogues hold
nanometres where STAC has micrometres (https://github.com/stac-extensions/eo/issues/10).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xcloudmask.models.openbands import LONGEST_NM, SHORTEST_NM

__all__ = ["Centres", "Widths", "centres_nm"]

Widths = tuple[str, Sequence[Any], Any]
"""Name, value of each band, unit or None."""

_NM_PER_UNIT = {
    1.0: ("nm", "nanometer", "nanometers", "nanometre", "nanometres"),
    # Both letters look alike: the micro sign and the Greek mu.
    1e3: (
        *("um", "\u00b5m", "\u03bcm", "micron", "microns"),
        *("micrometer", "micrometers", "micrometre", "micrometres"),
    ),
    1e9: ("m", "meter", "meters", "metre", "metres"),
}
_FACTORS = {unit: factor for factor, units in _NM_PER_UNIT.items() for unit in units}
_STAC = ("center_wavelength", "eo:center_wavelength", "full_width_half_max", "eo:full_width_half_max")
"""Micrometres, says STAC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Centres:
    """Wavelengths of bands."""

    nm: list[tuple[float, float, float] | None]
    """Shortest, central and longest of each; None where there is none, or it is wrong."""
    wrong: list[str]
    """What is wrong with each; empty where nothing is."""
    note: str = ""
    """What people should know of all of them."""


def centres_nm(values: Sequence[Any], *, key: str, units: Any, widths: Widths | None = None) -> Centres:
    """Read central wavelengths, with or without widths.

    Parameters
    ----------
    values
        One for each band: a number; a range (shortest, longest) or (shortest, central, longest), with or without a unit
        at the end, as satpy has it; None or NaN where it is not known.
    key
        What they are called: a name that ends in ``_nm``, and those of STAC, tell the unit.
    units
        As declared; None where nothing is.
    widths
        Full widths at half maximum, in the same unit if they declare none. Without them, a band is taken as a line.

    Returns
    -------
    Centres

    Examples
    --------
    >>> centres_nm([0.665], key="center_wavelength", units=None, widths=("fwhm", [0.03], None)).nm
    [(650.0, 665.0, 680.0)]
    >>> centres_nm([665.0], key="center_wavelength", units=None).wrong[0]
    'center_wavelength is 665 um. Expected more than 0.3 and up to 20 um: declare units (nm or um)'
    """
    ranges, own = _ranges(values)
    declared = units if units is not None else own
    factor = _factor(declared, key, [centre for _, centre, _ in filter(None, ranges)])
    if factor is None:
        what = f"units {declared!r:.40}" if declared is not None else "no units"
        wrong = f"{key} has {what}. Expected nm or um"
        return Centres(nm=[None] * len(values), wrong=[wrong if one else "" for one in ranges])
    halves, note = [0.0] * len(values), ""
    if all(one is None or one[0] == one[2] for one in ranges):
        halves, note = _halves(widths, len(values), factor)
    found: list[tuple[float, float, float] | None] = []
    wrong_ones: list[str] = []
    for one, half in zip(ranges, halves, strict=True):
        made = None if one is None else _widened(one, half, factor)
        fits = made is not None and SHORTEST_NM < made[0] <= made[1] <= made[2] <= LONGEST_NM
        found.append(made if fits else None)
        wrong_ones.append("" if one is None or fits else _impossible(key, one, factor))
    return Centres(nm=found, wrong=wrong_ones, note=note)


def _ranges(values: Sequence[Any]) -> tuple[list[tuple[float, float, float] | None], Any]:
    """Each as (shortest, central, longest), and the unit that stands among them."""
    unit = None
    ranges: list[tuple[float, float, float] | None] = []
    for value in values:
        parts = list(value) if isinstance(value, list | tuple | np.ndarray) else [value]
        if len(parts) > 1 and isinstance(parts[-1], str):
            unit = parts.pop()
        numbers = [_number(part) for part in parts]
        known = [number for number in numbers if number is not None]
        if len(known) < len(numbers) or len(known) not in (1, 2, 3):
            ranges.append(None)
        else:
            ranges.append((known[0], known[1] if len(known) == 3 else (known[0] + known[-1]) / 2, known[-1]))
    return ranges, unit


def _widened(one: tuple[float, float, float], half: float, factor: float) -> tuple[float, float, float]:
    shortest, centre, longest = (round(end * factor, 4) for end in one)
    return round(shortest - half, 4), centre, round(longest + half, 4)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _factor(units: Any, key: str, centres: list[float]) -> float | None:
    """Nanometres per unit; None where the unit is none of length, or nothing tells it."""
    if units is not None:
        text = str(units).strip()
        return _FACTORS.get(text) or _FACTORS.get(text.casefold())
    if key.endswith("_nm"):
        return 1.0
    if key in _STAC:
        return 1e3
    for factor in (1.0, 1e3):
        if centres and all(SHORTEST_NM < centre * factor <= LONGEST_NM for centre in centres):
            return factor
    return None


def _halves(widths: Widths | None, count: int, factor: float) -> tuple[list[float], str]:
    if widths is None or len(widths[1]) != count:
        return [0.0] * count, ", width not told"
    key, values, units = widths
    own = factor if units is None and not key.endswith("_nm") else _factor(units, key, [])
    if own is None:
        return [0.0] * count, f", width in units {units!r:.40}, taken as none"
    return [(_number(value) or 0.0) * own / 2 for value in values], ""


def _impossible(key: str, found: tuple[float, float, float], factor: float) -> str:
    unit = {1.0: "nm", 1e3: "um", 1e9: "m"}[factor]
    return (
        f"{key} is {found[1]:g} {unit}. Expected more than {SHORTEST_NM / factor:g} and up to {LONGEST_NM / factor:g} "
        f"{unit}: declare units (nm or um)"
    )
