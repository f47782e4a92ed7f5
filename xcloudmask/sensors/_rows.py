"""Wavelengths of the tables, from the two forms in which publications give them."""

from __future__ import annotations

__all__ = ["between", "centred"]


def centred(centre: float, width: float) -> tuple[float, float, float]:
    """Return shortest, central and longest wavelength of a band of that width."""
    return round(centre - width / 2, 1), centre, round(centre + width / 2, 1)


def between(shortest: float, longest: float) -> tuple[float, float, float]:
    """Return shortest, central and longest wavelength; the middle stands for the centre."""
    return shortest, (shortest + longest) / 2, longest
