"""Codes and bands to colours, in plain numpy, and their legend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudmask._optional import require
from xcloudmask.classes import NODATA_COLOUR, Style

__all__ = [
    "PICTURE_SUFFIXES",
    "add_legend",
    "colour_codes",
    "colour_shares",
    "hex_to_rgb",
    "is_valid",
    "lay_over",
    "outline",
    "over_colours",
    "share_table",
    "stretch",
]

PICTURE_SUFFIXES = (".png", ".jpg", ".pdf", ".svg")
"""What the command line writes pictures as."""

_STRETCH_PERCENT = (1.0, 98.0)
_GAMMA = 1.8
"""Clouds are ten times as bright as land: without it land would be black beside them."""
_SHARE_RAMP = ("#17132f", "#2c4f8f", "#4fa3b8", "#c9e27d", "#fffbe6")
"""From no share to the whole, darkest to brightest: it can be read in grey as well."""
_OVER_COLOURS = {
    "thick_cloud": "#e6194b",
    "cloud": "#e6194b",
    "invalid": "#e6194b",
    "thin_cloud": "#ffb000",
    "cloud_shadow": "#2a7fff",
}
"""What flags a class over an image, where a white cloud on a white cloud could not be seen."""


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
        low, high = _limits(values[valid]) if valid.any() else (0.0, 1.0)
        scaled = np.clip(np.nan_to_num((values - low) / max(high - low, 1e-12)), 0.0, 1.0)
        image[..., channel] = scaled ** (1.0 / _GAMMA) * 255
    image[~valid] = hex_to_rgb(NODATA_COLOUR)
    return image


def _limits(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Return what becomes black and white.

    Where an atmospheric correction failed, some percent of a band may be far too dark (blue of Landsat Level 2 beside
    clouds). They would lift all other pixels of that band, so black lies no farther below percentile 5 than that lies
    below the median.
    """
    low, dark, middle, high = np.percentile(values, (_STRETCH_PERCENT[0], 5.0, 50.0, _STRETCH_PERCENT[1]))
    return max(float(low), float(2.0 * dark - middle)), float(high)


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


def share_table() -> npt.NDArray[np.uint8]:
    """Return the colours of shares, from 0 to 1.

    Returns
    -------
    numpy.ndarray
        (256, 3) uint8.

    Examples
    --------
    >>> share_table()[[0, 255]].tolist()
    [[23, 19, 47], [255, 251, 230]]
    """
    anchors = np.array([hex_to_rgb(colour) for colour in _SHARE_RAMP], float)
    at = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(at, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    table: npt.NDArray[np.uint8] = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    return table


def colour_shares(
    shares: npt.NDArray[Any], *, whole: float, valid: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.uint8]:
    """Turn percent or probabilities into colours.

    Parameters
    ----------
    shares
        (y, x), 0 to `whole`.
    whole
        What stands for all of it: 100 or 1.
    valid
        (y, x) bool; None: what is neither NaN nor more than the whole. Other pixels become grey.

    Returns
    -------
    numpy.ndarray
        (y, x, 3) uint8.

    Examples
    --------
    >>> colour_shares(np.array([[0.0, 1.0, np.nan]]), whole=1.0).tolist()
    [[[23, 19, 47], [255, 251, 230], [158, 158, 158]]]
    """
    values = shares.astype(np.float32) / whole
    if valid is None:
        valid = np.isfinite(values) & (values <= 1.0 + 1e-3)
    index = np.rint(np.clip(np.where(valid, values, 0.0), 0.0, 1.0) * 255).astype(np.uint8)
    image: npt.NDArray[np.uint8] = share_table()[index]
    image[~valid] = hex_to_rgb(NODATA_COLOUR)
    return image


def over_colours(style: Style) -> dict[int, str]:
    """Return the colours of the classes that are shown over an image.

    Parameters
    ----------
    style
        The output style.

    Returns
    -------
    dict
        Code -> hexadecimal colour, without the code of clear land: that is where the image is seen.

    Examples
    --------
    >>> from xcloudmask.classes import get_style
    >>> over_colours(get_style("cloud-noncloud"))
    {1: '#e6194b'}
    """
    return {code: _OVER_COLOURS[name] for code, name in enumerate(style.meanings) if name in _OVER_COLOURS}


def lay_over(
    image: npt.NDArray[np.uint8], codes: npt.NDArray[np.uint8], style: Style, *, opacity: float
) -> npt.NDArray[np.uint8]:
    """Tint the flagged pixels of an image.

    Parameters
    ----------
    image
        (y, x, 3) uint8.
    codes
        (y, x) uint8; clear and nodata leave the image as it is.
    style
        The output style of the codes.
    opacity
        0 leaves the image as it is, 1 hides it.

    Returns
    -------
    numpy.ndarray
        (y, x, 3) uint8.

    Examples
    --------
    >>> from xcloudmask.classes import get_style
    >>> land = np.full((1, 2, 3), 100, np.uint8)
    >>> lay_over(land, np.array([[0, 1]], np.uint8), get_style("4-class"), opacity=1.0).tolist()
    [[[100, 100, 100], [230, 25, 75]]]
    """
    tinted = image.copy()
    for code, colour in over_colours(style).items():
        flagged = codes == code
        mixed = (1.0 - opacity) * image[flagged] + opacity * np.array(hex_to_rgb(colour))
        tinted[flagged] = np.rint(mixed).astype(np.uint8)
    return tinted


def outline(
    image: npt.NDArray[np.uint8], codes: npt.NDArray[np.uint8], style: Style, *, width_px: int
) -> npt.NDArray[np.uint8]:
    """Draw the borders of the flagged classes on an image, inside the flagged pixels.

    Parameters
    ----------
    image
        (y, x, 3) uint8.
    codes
        (y, x) uint8.
    style
        The output style of the codes.
    width_px
        Width of the lines.

    Returns
    -------
    numpy.ndarray
        (y, x, 3) uint8.

    Examples
    --------
    >>> from xcloudmask.classes import get_style
    >>> codes = np.zeros((5, 5), np.uint8)
    >>> codes[1:4, 1:4] = 1
    >>> drawn = outline(np.zeros((5, 5, 3), np.uint8), codes, get_style("4-class"), width_px=1)
    >>> (drawn[..., 0] > 0).astype(int)[2].tolist()
    [0, 1, 0, 1, 0]
    """
    drawn = image.copy()
    for code, colour in over_colours(style).items():
        flagged = codes == code
        inner = flagged
        for _ in range(width_px):
            # The edge of the picture is no border of a cloud.
            padded = np.pad(inner, 1, mode="edge")
            inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        drawn[flagged & ~inner] = hex_to_rgb(colour)
    return drawn


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
