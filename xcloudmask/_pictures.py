"""Codes and bands to colours, in plain numpy, and their legend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudmask._optional import require
from xcloudmask.classes import NODATA_COLOUR, Style

__all__ = ["PICTURE_SUFFIXES", "add_legend", "colour_codes", "hex_to_rgb", "is_valid", "stretch"]

PICTURE_SUFFIXES = (".png", ".jpg", ".pdf", ".svg")
"""What the command line writes pictures as."""

_STRETCH_PERCENT = (1.0, 98.0)
_GAMMA = 1.8
"""Clouds are ten times as bright as land: without it land would be black beside them."""


def colour_codes(codes: npt.NDArray[np.uint8], style: Style) -> npt.NDArray[np.uint8]:
    """Turn codes into colours.

    Parameters
    ----------
    codes
        (y, x) uint8.
    style
        The output style.

    Returns
    -------
    numpy.ndarray
        (y, x, 3) uint8; codes that are no class look like nodata.

    Examples
    --------
    >>> from xcloudmask.classes import get_style
    >>> colour_codes(np.array([[1, 255]], np.uint8), get_style("4-class")).tolist()
    [[[255, 255, 255], [158, 158, 158]]]
    """
    table = np.empty((256, 3), np.uint8)
    table[:] = hex_to_rgb(NODATA_COLOUR)
    for code, colour in enumerate(style.colours):
        table[code] = hex_to_rgb(colour)
    return table[codes]


def stretch(bands: Sequence[npt.NDArray[Any]], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Turn three bands into an image, stretched between percentiles 1 and 98 of each, with dark tones lifted.

    Parameters
    ----------
    bands
        Three (y, x) arrays.
    valid
        (y, x) bool; other pixels become grey, and do not count.

    Returns
    -------
    numpy.ndarray
        (y, x, 3) uint8.

    Examples
    --------
    >>> ramp = np.linspace(0.0, 1.0, 101).reshape(1, -1)
    >>> stretch([ramp] * 3, np.ones_like(ramp, bool))[0, [0, 1, 98], 0].tolist()
    [0, 0, 255]
    """
    image = np.empty((*valid.shape, 3), np.uint8)
    for channel, band in enumerate(bands):
        values = band.astype(np.float32)
        low, high = np.percentile(values[valid], _STRETCH_PERCENT) if valid.any() else (0.0, 1.0)
        scaled = np.clip(np.nan_to_num((values - low) / max(float(high - low), 1e-12)), 0.0, 1.0)
        image[..., channel] = scaled ** (1.0 / _GAMMA) * 255
    image[~valid] = hex_to_rgb(NODATA_COLOUR)
    return image


def is_valid(band: npt.NDArray[Any], nodata: float | None) -> npt.NDArray[np.bool_]:
    """Tell the pixels that hold data.

    Parameters
    ----------
    band
        (y, x).
    nodata
        The declared nodata value; NaN and infinity are never data.

    Returns
    -------
    numpy.ndarray
        (y, x) bool.

    Examples
    --------
    >>> is_valid(np.array([[0.0, np.nan, 5.0]]), 0.0).tolist()
    [[False, False, True]]
    """
    valid: npt.NDArray[np.bool_] = np.isfinite(band)
    return valid if nodata is None or np.isnan(nodata) else valid & (band != nodata)


def hex_to_rgb(colour: str) -> tuple[int, int, int]:
    """Turn a colour such as ``"#3b7d4f"`` into numbers.

    Parameters
    ----------
    colour
        Hexadecimal, with six digits.

    Returns
    -------
    tuple of int
        Red, green and blue, 0 to 255.

    Examples
    --------
    >>> hex_to_rgb("#ff0010")
    (255, 0, 16)
    """
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def add_legend(figure: Any, entries: Iterable[tuple[str, str]], *, columns: int, fontsize: int) -> None:
    """Put a legend of colours below a figure.

    Parameters
    ----------
    figure
        Of matplotlib, with constrained layout.
    entries
        Names and colours; underscores become spaces.
    columns
        Entries in a row.
    fontsize
        In points.
    """
    patch = require("matplotlib.patches", extra="viz").Patch
    handles = [patch(facecolor=colour, edgecolor="#555555", label=name.replace("_", " ")) for name, colour in entries]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=fontsize, frameon=False)
