"""A picture of the images that a mask agrees with least: image, labels, mask and errors side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudmask._files import partial_file
from xcloudmask._optional import require
from xcloudmask._pictures import add_legend, colour_codes, hex_to_rgb
from xcloudmask.classes import NODATA, NODATA_COLOUR, STYLES, CloudClass
from xcloudmask.errors import WriteError
from xcloudmask.evaluate import Counted, scores

__all__ = ["Case", "errors_of", "make_case", "save_worst", "worst"]

_SIDE_PX = 512
_PANEL_INCHES = 3.0
_WHITE, _GAMMA = 1.0, 1.8
"""One scale for all images, in reflectance: an overcast image is white, not stretched to whatever it has."""

_CLOUD = (1 << CloudClass.THICK_CLOUD) | (1 << CloudClass.THIN_CLOUD)
_ANY = (1 << len(CloudClass)) - 1
_SET_COLOURS = {
    _CLOUD: ("cloud", "#d3ecf7"),
    _ANY - _CLOUD: ("not cloud", "#5b7a55"),
    None: ("other sets", "#c2b280"),
}
"""Names and colours of sets of several classes; single classes have their own."""

_ERRORS = (
    ("not measured", NODATA_COLOUR),
    ("agrees", "#e6e6e6"),
    ("false cloud", "#e08214"),
    ("missed cloud", "#c51b3c"),
    ("other wrong class", "#6a51a3"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One image, thinned out for a picture."""

    title: str
    """Name, source and what is wrong."""
    key: str
    """One picture shows each image once."""
    agreement: float
    """Share of the measured pixels whose class the labels allow."""
    image: npt.NDArray[np.uint8] | None
    """(y, x, 3) colours, where there is an image."""
    allowed: npt.NDArray[np.uint8]
    """(y, x) sets of allowed classes."""
    mask: npt.NDArray[np.uint8]
    """(y, x) codes."""


def make_case(
    counted: Counted,
    *,
    mask: npt.NDArray[np.uint8],
    allowed: npt.NDArray[np.uint8],
    reflectance: Sequence[npt.NDArray[np.floating]] | None = None,
    note: str = "",
) -> Case:
    """Thin an image out, and say what is wrong with it.

    Parameters
    ----------
    counted
        Name, source and counts.
    mask, allowed
        (y, x) codes and sets.
    reflectance
        Three (y, x) bands to show as red, green and blue.
    note
        Goes into the title.

    Returns
    -------
    Case
    """
    step = -(-max(mask.shape) // _SIDE_PX)
    thin = (slice(None, None, step), slice(None, None, step))
    measured = scores(counted.confusion)
    kinds = errors_of(mask, allowed)
    known = max(int((kinds > 0).sum()), 1)
    parts = [f"{np.sum(kinds == code) / known:.0%} {_ERRORS[code][0]}" for code in (2, 3, 4) if (kinds == code).any()]
    where = ", ".join(part for part in (counted.source, note) if part)
    return Case(
        title=f"{counted.name} ({where})\n{measured.agreement:.1%} agree; {', '.join(parts) or 'no error'}",
        key=f"{counted.source}/{counted.name}",
        agreement=measured.agreement,
        image=None if reflectance is None else _colours([band[thin] for band in reflectance], mask[thin] != NODATA),
        allowed=allowed[thin],
        mask=mask[thin],
    )


def _colours(bands: Sequence[npt.NDArray[np.floating]], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    scaled = np.clip(np.stack(bands, axis=-1) / _WHITE, 0.0, 1.0) ** (1.0 / _GAMMA)
    return np.where(valid[..., None], scaled * 255, hex_to_rgb(NODATA_COLOUR)).astype(np.uint8)


def errors_of(mask: npt.NDArray[np.uint8], allowed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Sort pixels by what is wrong.

    Parameters
    ----------
    mask, allowed
        (y, x) codes and sets.

    Returns
    -------
    numpy.ndarray
        uint8: 0 not measured, 1 the class is allowed, 2 cloud where none can be, 3 no cloud where one must be, 4
        another wrong class.

    Examples
    --------
    >>> errors_of(np.array([1, 1, 0, 3, 255], np.uint8), np.array([15, 9, 6, 1, 1], np.uint8)).tolist()
    [0, 2, 3, 4, 0]
    """
    chosen = np.where(mask == NODATA, 0, 1 << np.minimum(mask, 7)).astype(np.uint8)
    measured = (chosen > 0) & (allowed > 0) & (allowed < _ANY)
    cloud = (chosen & _CLOUD) > 0
    wrong = (chosen & allowed) == 0
    kinds = np.where(wrong, 4, 1)
    kinds[wrong & cloud & ((allowed & _CLOUD) == 0)] = 2
    kinds[wrong & ~cloud & ((allowed & ~np.uint8(_CLOUD)) == 0)] = 3
    return np.where(measured, kinds, 0).astype(np.uint8)


def worst(cases: Iterable[Case], count: int) -> list[Case]:
    """Return the cases of least agreement, each image once, the worst first.

    Parameters
    ----------
    cases
        Any; those without a measured pixel are left out.
    count
        How many.

    Returns
    -------
    list of Case
    """
    lowest: dict[str, Case] = {}
    for case in cases:
        other = lowest.get(case.key)
        if not np.isnan(case.agreement) and (other is None or case.agreement < other.agreement):
            lowest[case.key] = case
    return sorted(lowest.values(), key=lambda case: (case.agreement, case.key))[:count]


def save_worst(cases: Sequence[Case], path: Path) -> Path:
    """Write the picture: a row for each case.

    Parameters
    ----------
    cases
        What `worst` returns; at least one.
    path
        File to write; it appears when it is complete.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    WriteError
        The file cannot be written, or there is no case.
    MissingPackageError
        matplotlib is not installed.
    """
    if not cases:
        raise WriteError(f"{path} is not written: no image has a pixel that could be measured.")
    figure = require("matplotlib.figure", extra="viz").Figure(layout="constrained")
    columns = max(len(_panels(case)) for case in cases)
    # The legend needs its own height, whatever the number of rows.
    figure.set_size_inches(columns * _PANEL_INCHES, len(cases) * (_PANEL_INCHES + 0.35) + 0.9)
    rows = figure.subfigures(len(cases), 1, squeeze=False)[:, 0]
    for row, case in zip(rows, cases, strict=True):
        _draw_row(row, case)
    _add_legend(figure)
    with partial_file(path) as partial:
        figure.savefig(partial, dpi=110)
    return path


def _draw_row(row: Any, case: Case) -> None:
    row.suptitle(case.title, fontsize=8)
    panels = _panels(case)
    for axes, (name, picture) in zip(row.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(name, fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])


def _panels(case: Case) -> list[tuple[str, npt.NDArray[np.uint8]]]:
    image = [] if case.image is None else [("image", case.image)]
    errors = np.array([hex_to_rgb(colour) for _, colour in _ERRORS], np.uint8)
    return [
        *image,
        ("labels", _set_colours()[case.allowed]),
        ("mask", colour_codes(case.mask, STYLES["4-class"])),
        ("errors", errors[errors_of(case.mask, case.allowed)]),
    ]


def _set_colours() -> npt.NDArray[np.uint8]:
    """(16, 3): a colour for each set."""
    table = np.empty((_ANY + 1, 3), np.uint8)
    table[:] = hex_to_rgb(_SET_COLOURS[None][1])
    table[[0, _ANY]] = hex_to_rgb(NODATA_COLOUR)
    for member, colour in zip(CloudClass, STYLES["4-class"].colours, strict=True):
        table[1 << member] = hex_to_rgb(colour)
    for code, (_, colour) in _SET_COLOURS.items():
        if code is not None:
            table[code] = hex_to_rgb(colour)
    return table


def _add_legend(figure: Any) -> None:
    style = STYLES["4-class"]
    entries = [*zip(style.meanings, style.colours, strict=True), *_SET_COLOURS.values(), *_ERRORS]
    add_legend(figure, entries, columns=6, fontsize=7)
