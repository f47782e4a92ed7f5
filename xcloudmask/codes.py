"""Codes of other masks, and how they become the four classes and are made of them: the only place that knows them.

Codes that carry no cloud (snow, water, vegetation) are clear. Where several codes of a scheme mean one of our classes,
`CodeScheme.code_of_class` says which one is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudmask.classes import NODATA, CloudClass
from xcloudmask.errors import ArgumentError

__all__ = ["SCHEMES", "CodeScheme", "decode_table", "encode_table", "get_scheme"]

_CLEAR, _THICK, _THIN, _SHADOW = (int(code) for code in CloudClass)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeScheme:
    """How somebody else writes clouds down."""

    name: str
    """What users type."""
    title: str
    """Whose it is, for people."""
    source: str
    """Where the codes are defined."""
    dtype: str
    """Type of the codes: uint8 or uint16."""
    classes: Mapping[int, int] = field(default_factory=dict)
    """Code -> one of our codes, 255 for none; codes that are not there are nodata. Empty where `flags` decide."""
    flags: tuple[tuple[int, int], ...] = ()
    """Bit -> one of our codes, in the order in which they decide; a pixel without any of them is clear."""
    code_of_class: tuple[int, int, int, int]
    """What is written for clear, thick cloud, thin cloud and shadow."""
    code_of_nodata: int
    """What is written for nodata."""


_CLOUDSEN12 = CodeScheme(
    name="cloudsen12",
    title="CloudSEN12",
    source="Aybar et al. 2022, CloudSEN12, Scientific Data 9",
    dtype="uint8",
    classes={0: _CLEAR, 1: _THICK, 2: _THIN, 3: _SHADOW},
    code_of_class=(0, 1, 2, 3),
    code_of_nodata=255,
)
_SCL = CodeScheme(
    name="sentinel-2-scl",
    title="Scene classification layer of Sentinel-2 L2A",
    source="ESA, Sentinel-2 products specification document, scene classification",
    dtype="uint8",
    classes={
        **dict.fromkeys((0, 1), NODATA),  # no data; saturated or defective
        **dict.fromkeys(
            (2, 4, 5, 6, 7, 11), _CLEAR
        ),  # dark or topographic shadow, plants, bare, water, unclassified, snow
        3: _SHADOW,
        **dict.fromkeys((8, 9), _THICK),  # medium and high probability
        10: _THIN,  # cirrus
    },
    code_of_class=(7, 9, 10, 3),
    code_of_nodata=0,
)
_QA_PIXEL = CodeScheme(
    name="landsat-qa-pixel",
    title="QA_PIXEL of Landsat Collection 2",
    source="USGS LSDS-1619, Landsat 8-9 Collection 2 Level 2 science product guide, quality assessment bands",
    dtype="uint16",
    # Fill, cloud, shadow, cirrus. Bit 1 (dilated cloud) is a safety margin around clouds, not cloud.
    flags=((0, NODATA), (3, _THICK), (4, _SHADOW), (2, _THIN)),
    code_of_class=(21824, 22280, 54596, 23888),
    code_of_nodata=1,
)
_FMASK = CodeScheme(
    name="fmask",
    title="Fmask 3 and 4",
    source="Zhu and Woodcock 2012, Remote Sensing of Environment 118; Qiu et al. 2019, same journal 231",
    dtype="uint8",
    classes={**dict.fromkeys((0, 1, 3), _CLEAR), 2: _SHADOW, 4: _THICK},  # land, water, snow
    code_of_class=(0, 4, 4, 2),
    code_of_nodata=255,
)
_HLS = CodeScheme(
    name="hls-fmask",
    title="Fmask layer of HLS 2.0",
    source="Harmonized Landsat Sentinel-2 product user guide 2.0, Fmask layer",
    dtype="uint8",
    # Cloud, shadow, cirrus; 255 is fill. Bit 2 (adjacent to cloud or shadow) is a safety margin.
    flags=((1, _THICK), (3, _SHADOW), (0, _THIN)),
    code_of_class=(0, 2, 1, 8),
    code_of_nodata=255,
)
_KAPPAMASK = CodeScheme(
    name="kappamask",
    title="KappaMask",
    source="KappaZeta, km_predict, README: classes of the GeoTIFF",
    dtype="uint8",
    classes={0: NODATA, 1: _CLEAR, 2: _SHADOW, 3: _THIN, 4: _THICK, 5: NODATA},  # 0 undefined, 5 missing
    code_of_class=(1, 4, 3, 2),
    code_of_nodata=5,
)
_CMIX = CodeScheme(
    name="cmix",
    title="Categories of CMIX as KappaZeta's labels number them",
    source="Skakun et al. 2022, CMIX, Remote Sensing of Environment 274; numbers of KappaSet (Zenodo 7100327)",
    dtype="uint8",
    classes={0: NODATA, 1: _CLEAR, 2: _SHADOW, 3: _THIN, 4: _THICK},  # 0 undefined
    code_of_class=(1, 4, 3, 2),
    code_of_nodata=0,
)

SCHEMES: Mapping[str, CodeScheme] = MappingProxyType(
    {one.name: one for one in (_CLOUDSEN12, _CMIX, _FMASK, _HLS, _KAPPAMASK, _QA_PIXEL, _SCL)}
)
"""All that are known, by name."""


def get_scheme(name: str) -> CodeScheme:
    """Return the scheme of that name.

    Parameters
    ----------
    name
        One of `SCHEMES`.

    Returns
    -------
    CodeScheme

    Raises
    ------
    ArgumentError
        No such scheme.

    Examples
    --------
    >>> get_scheme("sentinel-2-scl").code_of_nodata
    0
    """
    if name not in SCHEMES:
        raise ArgumentError(f"There are no codes called {name!r}. Expected one of {', '.join(map(repr, SCHEMES))}.")
    return SCHEMES[name]


@cache
def decode_table(name: str) -> npt.NDArray[np.uint8]:
    """Return a table from all values of a scheme to our codes.

    Parameters
    ----------
    name
        The scheme.

    Returns
    -------
    numpy.ndarray
        (256,) or (65536,) uint8, read-only; 255 for values that are no code.

    Examples
    --------
    >>> decode_table("sentinel-2-scl")[[4, 9, 10, 3, 0]].tolist()
    [0, 1, 2, 3, 255]
    >>> decode_table("landsat-qa-pixel")[[21824, 22280, 54596, 23888, 1]].tolist()
    [0, 1, 2, 3, 255]
    """
    scheme = get_scheme(name)
    values = np.arange(np.iinfo(scheme.dtype).max + 1)
    if scheme.flags:
        table = np.select(
            [values >> bit & 1 == 1 for bit, _ in scheme.flags], [code for _, code in scheme.flags], _CLEAR
        )
        table[scheme.code_of_nodata] = NODATA
    else:
        table = np.full(values.size, NODATA)
        table[list(scheme.classes)] = list(scheme.classes.values())
    return _fixed(table.astype(np.uint8))


@cache
def encode_table(name: str) -> npt.NDArray[np.generic]:
    """Return a table from our codes to those of a scheme.

    Parameters
    ----------
    name
        The scheme.

    Returns
    -------
    numpy.ndarray
        (256,) in the type of the scheme, read-only.

    Examples
    --------
    >>> encode_table("kappamask")[[0, 1, 2, 3, 255]].tolist()
    [1, 4, 3, 2, 5]
    """
    scheme = get_scheme(name)
    table = np.full(256, scheme.code_of_nodata, scheme.dtype)
    table[: len(scheme.code_of_class)] = scheme.code_of_class
    return _fixed(table)


def _fixed(table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    table.flags.writeable = False
    return table
