"""What a date looks like: its panels, their titles, and the legend that goes with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from xcloudmask._pictures import colour_codes, colour_shares, lay_over, outline, over_colours
from xcloudmask.classes import NODATA, NODATA_COLOUR, Style
from xcloudmask.errors import ArgumentError
from xcloudmask.viz._series import Frame, Series

__all__ = ["Facet", "Layout", "Panel", "check_layout", "facet_of", "legend_of"]

Layout = Literal["auto", "beside", "stacked", "overlay", "contours"]
"""Image left of the mask, above it, under it as a tint, or under the borders of the classes."""

_OVER = ("overlay", "contours")
_LINE_SHARE = 1 / 500
"""Width of a border, over the longest side of the picture."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """One picture."""

    title: str
    """What it shows; may be empty."""
    picture: npt.NDArray[np.uint8]
    """(y, x, 3)."""
    photo: bool
    """Whether it has the many colours of an image; False for the few of classes and shares."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facet:
    """One date."""

    title: str
    """The date; empty where there is none."""
    panels: tuple[Panel, ...]
    """Image, mask, reference; or image and a panel for each class."""


def check_layout(layout: str, opacity: float, series: Series) -> None:
    """Refuse a layout that cannot be drawn.

    Parameters
    ----------
    layout, opacity
        As given by the user.
    series
        What is to be shown.
    """
    if layout not in get_args(Layout):
        raise ArgumentError(f"layout={layout!r} is unknown. Expected one of {', '.join(map(repr, get_args(Layout)))}.")
    if isinstance(opacity, bool) or not isinstance(opacity, int | float) or not 0 <= opacity <= 1:
        raise ArgumentError(f"opacity={opacity!r}: expected a number from 0 (the image alone) to 1 (the mask alone).")
    if layout in _OVER and series.style is None:
        raise ArgumentError(f"layout={layout!r} goes with a mask of classes. Type: layout='beside'")
    if layout in _OVER and not series.nodata:
        raise ArgumentError(f"layout={layout!r} needs an image to lie on. Type: rgb=cube")


def facet_of(frame: Frame, series: Series, *, layout: Layout, opacity: float) -> Facet:
    """Turn a date into pictures.

    Parameters
    ----------
    frame
        The date.
    series
        What it is a part of.
    layout, opacity
        How the mask goes with the image.

    Returns
    -------
    Facet
    """
    style = series.style
    if layout in _OVER and style is not None and frame.image is not None and frame.codes is not None:
        return Facet(title=frame.title, panels=tuple(_over(frame, frame.image, style, layout, opacity)))
    panels = [] if frame.image is None else [Panel(title="", picture=frame.image, photo=True)]
    if style is not None:
        panels += [
            Panel(title=_named(share_text(codes, style), position), picture=colour_codes(codes, style), photo=False)
            for position, codes in _masks(frame)
        ]
    if frame.shares is not None:
        panels += [
            Panel(
                title=_mean_text(name, share, series.whole),
                picture=colour_shares(share, whole=series.whole),
                photo=False,
            )
            for name, share in zip(series.classes, frame.shares, strict=True)
        ]
    return Facet(title=frame.title, panels=tuple(panels))


def legend_of(series: Series, layout: Layout) -> list[tuple[str, str]]:
    """Return the names and colours of the classes, as they are shown.

    Parameters
    ----------
    series
        What is shown.
    layout
        How.

    Returns
    -------
    list of (str, str)
        Empty where there are no classes.
    """
    if series.style is None:
        return []
    names = series.style.meanings
    if layout in _OVER:
        return [(names[code].replace("_", " "), colour) for code, colour in over_colours(series.style).items()]
    entries = [*zip(names, series.style.colours, strict=True), ("nodata", NODATA_COLOUR)]
    return [(name.replace("_", " "), colour) for name, colour in entries]


def share_text(codes: npt.NDArray[np.uint8], style: Style) -> str:
    """Say how much of a mask is clear.

    Parameters
    ----------
    codes
        (y, x).
    style
        Their output style.

    Returns
    -------
    str

    Examples
    --------
    >>> from xcloudmask.classes import get_style
    >>> share_text(np.array([[0, 1, 255]], np.uint8), get_style("4-class"))
    '50% clear'
    """
    valid = codes != NODATA
    if not valid.any():
        return "no data"
    return f"{np.mean(codes[valid] == 0):.0%} {style.meanings[0].replace('_', ' ')}"


def _over(frame: Frame, image: npt.NDArray[np.uint8], style: Style, layout: Layout, opacity: float) -> list[Panel]:
    width = max(1, round(max(image.shape) * _LINE_SHARE))
    panels = []
    for position, codes in _masks(frame):
        if layout == "overlay":
            picture = lay_over(image, codes, style, opacity=opacity)
        else:
            picture = outline(image, codes, style, width_px=width)
        panels.append(Panel(title=_named(share_text(codes, style), position), picture=picture, photo=True))
    return panels


def _masks(frame: Frame) -> list[tuple[int, npt.NDArray[np.uint8]]]:
    return [(place, codes) for place, codes in enumerate((frame.codes, frame.reference)) if codes is not None]


def _named(text: str, position: int) -> str:
    return f"reference: {text}" if position else text


def _mean_text(name: str, share: npt.NDArray[np.floating], whole: float) -> str:
    known = share[np.isfinite(share) & (share <= whole)]
    label = name.replace("_", " ")
    return f"{label}: {known.mean() / whole:.0%}" if known.size else f"{label}: no data"
