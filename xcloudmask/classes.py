"""The four classes, nodata, output styles, CF flags and colours: the only place that knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from xcloudmask.errors import ArgumentError

__all__ = [
    "CLASS_DIM",
    "NODATA",
    "STYLES",
    "CloudClass",
    "OutputStyle",
    "Style",
    "get_style",
    "mask_attrs",
    "merge_probabilities",
    "style_lookup",
]

OutputStyle = Literal["4-class", "cloud-noncloud", "valid-invalid"]

NODATA = 255
"""The code of a pixel without data, in every style; never 0."""

CLASS_DIM = "cloud_class"
"""The dimension of percent and probability cubes."""


class CloudClass(IntEnum):
    """Codes of the 4-class mask."""

    CLEAR = 0
    THICK_CLOUD = 1
    THIN_CLOUD = 2
    CLOUD_SHADOW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """One way to write the four classes down."""

    name: OutputStyle
    """The name users type."""
    meanings: tuple[str, ...]
    """CF flag meanings; the position is the code."""
    colours: tuple[str, ...]
    """Hex colours, one per code."""
    code_of_class: tuple[int, int, int, int]
    """The code of each of the four classes."""


NODATA_COLOUR = "#9e9e9e"

STYLES: Mapping[OutputStyle, Style] = MappingProxyType(
    {
        "4-class": Style(
            name="4-class",
            meanings=("clear", "thick_cloud", "thin_cloud", "cloud_shadow"),
            colours=("#3b7d4f", "#ffffff", "#9fd3ee", "#3d2b56"),
            code_of_class=(0, 1, 2, 3),
        ),
        "cloud-noncloud": Style(
            name="cloud-noncloud",
            meanings=("not_cloud", "cloud"),
            colours=("#3b7d4f", "#ffffff"),
            code_of_class=(0, 1, 1, 0),
        ),
        "valid-invalid": Style(
            name="valid-invalid",
            meanings=("valid", "invalid"),
            colours=("#3b7d4f", "#c9504c"),
            code_of_class=(0, 1, 1, 1),
        ),
    }
)


def get_style(name: str) -> Style:
    """Return the output style of that name.

    Parameters
    ----------
    name
        One of ``"4-class"``, ``"cloud-noncloud"``, ``"valid-invalid"``.

    Returns
    -------
    Style

    Raises
    ------
    ArgumentError
        No such style.

    Examples
    --------
    >>> get_style("valid-invalid").meanings
    ('valid', 'invalid')
    """
    for style in STYLES.values():
        if style.name == name:
            return style
    raise ArgumentError(
        f"output_style={name!r} is unknown. Expected one of {', '.join(map(repr, get_args(OutputStyle)))}."
    )


def mask_attrs(style: Style) -> dict[str, Any]:
    """Build the CF attributes of a mask from scratch.

    Attributes of the image are never inherited: a `scale_factor` that stays on a mask turns its codes into floats
    when the file is opened again.

    Parameters
    ----------
    style
        The output style of the mask.

    Returns
    -------
    dict

    Notes
    -----
    CF conventions 1.11, section 3.5 (flags).

    Examples
    --------
    >>> mask_attrs(STYLES["4-class"])["flag_meanings"]
    'clear thick_cloud thin_cloud cloud_shadow'
    """
    return {
        "long_name": "cloud mask",
        "standard_name": "status_flag",
        "flag_values": np.arange(len(style.meanings), dtype=np.uint8),
        "flag_meanings": " ".join(style.meanings),
        "nodata": NODATA,
        "output_style": style.name,
    }


def style_lookup(style: Style) -> npt.NDArray[np.uint8]:
    """Return a table of 256 entries that turns 4-class codes into the codes of a style.

    Parameters
    ----------
    style
        The wanted style.

    Returns
    -------
    numpy.ndarray
        (256,) uint8; codes that are no class become nodata.

    Examples
    --------
    >>> style_lookup(STYLES["cloud-noncloud"])[[0, 1, 2, 3, 255]].tolist()
    [0, 1, 1, 0, 255]
    """
    table = np.full(256, NODATA, np.uint8)
    table[: len(style.code_of_class)] = style.code_of_class
    return table


def merge_probabilities(probabilities: npt.NDArray[np.float32], style: Style) -> npt.NDArray[np.float32]:
    """Add up the probabilities of the classes that share a code.

    Parameters
    ----------
    probabilities
        (4, ...) probabilities of the four classes.
    style
        The wanted style.

    Returns
    -------
    numpy.ndarray
        (codes, ...), same dtype.

    Examples
    --------
    >>> p = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    >>> merge_probabilities(p, STYLES["cloud-noncloud"]).round(1).tolist()
    [0.5, 0.5]
    """
    if style.name == "4-class":
        return probabilities
    merged = np.zeros((len(style.meanings), *probabilities.shape[1:]), probabilities.dtype)
    for class_index, code in enumerate(style.code_of_class):
        merged[code] += probabilities[class_index]
    return merged
