"""How far each class of a mask grows: from pixels or metres, for all classes or for each, to discs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import xarray as xr

from xcloudmask._mask_checks import check_px, codes_of, style_of
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError
from xcloudmask.grid import resolution_m, spatial_dims
from xcloudmask.morphology import Disc, disc_m, disc_px, reach_px

__all__ = ["Growth", "Metres", "Pixels", "check_metres", "codes_by_class", "growth_of", "pixel_m"]

T = TypeVar("T")

Pixels = int | Mapping[str, int]
"""One number for all classes, or a number by class name."""

Metres = float | Mapping[str, float]
"""One distance for all classes, or a distance by class name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How far classes grow."""

    discs: tuple[tuple[int, Disc], ...]
    """Each code with its disc, in the order of the classes."""
    text: str
    """The same in words; empty where nothing grows."""

    @property
    def depth_px(self) -> tuple[int, int]:
        """The longest reach along y and x."""
        reaches = [reach_px(disc) for _, disc in self.discs] or [(0, 0)]
        return max(y for y, _ in reaches), max(x for _, x in reaches)


def growth_of(
    mask: xr.DataArray,
    classes: Sequence[str] | str,
    *,
    px: Pixels | None,
    m: Metres | None,
    names: tuple[str, str] = ("dilate_px", "dilate_m"),
) -> Growth:
    """Return how far each class grows.

    Parameters
    ----------
    mask
        The mask; its style and its pixel size are read.
    classes
        The classes that are meant.
    px, m
        One of them, or neither: a number for all classes, or numbers by class.
    names
        What the caller calls the two, for messages.

    Returns
    -------
    Growth

    Raises
    ------
    ArgumentError
        Both are given, one is negative, or a class is unknown or not meant.
    ArgumentTypeError
        No number.
    InputError
        Metres are given, and the pixel size is unknown.

    Examples
    --------
    >>> mask = xr.DataArray(np.zeros((2, 2), np.uint8), dims=("y", "x"), attrs={"output_style": "4-class"})
    >>> growth_of(mask, ("thick_cloud", "thin_cloud"), px={"thick_cloud": 1}, m=None).discs
    ((1, (1, 0)), (2, (0,)))
    """
    style = style_of(mask)
    codes = codes_of(style, classes)
    if px is not None and m is not None:
        raise ArgumentError(f"{names[0]}={px!r} and {names[1]}={m!r} are both given. Type one of them.")
    given: Pixels | Metres = m if m is not None else px if px is not None else 0
    name, unit, check = (names[0], "px", check_px) if m is None else (names[1], "m", check_metres)
    radii: dict[int, float] = dict.fromkeys(codes, 0)
    if isinstance(given, Mapping):
        radii |= codes_by_class(mask, given, classes=classes, name=name)
    else:
        radii = dict.fromkeys(codes, given)
    for radius in radii.values():
        check(radius, name)
    # A disc that is wider than the image would take memory for nothing.
    height, width = (mask.sizes[dim] for dim in spatial_dims(mask))
    if unit == "px":
        discs = {code: disc_px(min(int(radius), height + width)) for code, radius in radii.items()}
    else:
        pixel = pixel_m(mask, name) if any(radii.values()) else (1.0, 1.0)
        widest = height * pixel[0] + width * pixel[1]
        discs = {code: disc_m(min(float(radius), widest), pixel) for code, radius in radii.items()}
    text = ", ".join(f"{style.meanings[code]} {radius:g} {unit}" for code, radius in radii.items() if radius)
    return Growth(discs=tuple(discs.items()), text=text)


def codes_by_class(
    mask: xr.DataArray, values: Mapping[str, T], *, classes: Sequence[str] | str, name: str
) -> dict[int, T]:
    """Turn values by class name into values by code.

    Parameters
    ----------
    mask
        The mask.
    values
        By class name.
    classes
        The classes that may be named.
    name
        The argument, for the message.

    Returns
    -------
    dict

    Raises
    ------
    ArgumentError
        A class is unknown, or not among those.

    Examples
    --------
    >>> mask = xr.DataArray(np.zeros((2, 2), np.uint8), dims=("y", "x"), attrs={"output_style": "4-class"})
    >>> codes_by_class(mask, {"cloud_shadow": "a"}, classes="cloud_shadow", name="filters")
    {3: 'a'}
    """
    style, meant = style_of(mask), codes_of(style_of(mask), classes)
    found: dict[int, T] = {}
    for key, value in values.items():
        for code in codes_of(style, key):
            if code not in meant:
                raise ArgumentError(
                    f"{name} names {key!r}, which is not among classes={classes!r}. Add it there, or leave it out."
                )
            found[code] = value
    return found


def check_metres(value: object, name: str) -> None:
    """Refuse what is no distance.

    Parameters
    ----------
    value
        The argument as given.
    name
        Its name, for the message.

    Raises
    ------
    ArgumentTypeError
        No number.
    ArgumentError
        Negative, infinite or NaN.

    Examples
    --------
    >>> check_metres(30.0, "dilate_m")
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ArgumentTypeError(f"{name}={value!r} is a {type(value).__name__}. Expected a number of metres.")
    if not (math.isfinite(value) and value >= 0):
        raise ArgumentError(f"{name}={value} is no distance. Expected 0 or more metres.")


def pixel_m(mask: xr.DataArray, name: str) -> tuple[float, float]:
    """Return the size of a pixel in metres, or say how to tell it.

    Parameters
    ----------
    mask
        The mask.
    name
        The argument that needs it, for the message.

    Returns
    -------
    tuple of float
        (y, x); degrees count at the centre latitude.

    Raises
    ------
    InputError
        It is unknown.

    Examples
    --------
    >>> grid = {"y": [20, 0], "x": [0, 10]}
    >>> pixel_m(xr.DataArray([[0, 0], [0, 0]], dims=("y", "x"), coords=grid, attrs={"crs": "EPSG:32631"}), "dilate_m")
    (20.0, 10.0)
    """
    found = resolution_m(mask)
    if found is None:
        pixels = "px" if name == "m" else f"{name.rsplit('_', 1)[0]}_px"
        raise InputError(
            f"{name} is in metres, and the mask does not tell the size of its pixels (no CRS, or no coordinates along "
            f"y and x). Type: mask.rio.write_crs('EPSG:<code>'), or give pixels: {pixels}=3"
        )
    return found
