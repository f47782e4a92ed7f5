"""Facets on a figure of matplotlib: how many go in a row, how large they are, titles, legend, colour bar."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xcloudmask._optional import require
from xcloudmask._pictures import add_legend, share_table
from xcloudmask.errors import ArgumentError
from xcloudmask.viz._panels import Facet, Layout, legend_of
from xcloudmask.viz._series import Series

__all__ = ["draw", "finish", "make_axes", "resolve_layout"]

_PANEL_INCHES = (2.2, 4.0)
"""Smallest and largest width of a panel."""
_WIDTH_INCHES = 11.0
"""Width of a figure, where its panels are not as small as they may be."""
_LEGEND_INCHES = 1.15
"""Width of an entry of the legend."""


def resolve_layout(layout: Layout, *, dates: int, panels: int) -> Layout:
    """Choose where the user does not: side by side for one date or many panels, else image above mask.

    Parameters
    ----------
    layout
        As given by the user.
    dates, panels
        How many there are.

    Returns
    -------
    Layout
    """
    if layout != "auto":
        return layout
    return "beside" if dates == 1 or panels > 3 else "stacked"


def make_axes(figure: Any, facets: list[Facet], aspect: float, *, layout: Layout, col_wrap: int | None) -> Any:
    """Lay panels out on a figure.

    Parameters
    ----------
    figure
        Of matplotlib.
    facets
        What will be drawn.
    aspect
        Height of a pixel over its width.
    layout
        ``"beside"`` puts the panels of a date in a row, anything else in a column.
    col_wrap
        Dates in a row; None chooses.

    Returns
    -------
    numpy.ndarray
        Axes, (date, panel).
    """
    dates, panels = len(facets), len(facets[0].panels)
    beside = layout == "beside"
    wrap = min(dates, _wrap(dates, panels, beside=beside) if col_wrap is None else col_wrap)
    across, down = (panels, 1) if beside else (1, panels)
    rows, columns = math.ceil(dates / wrap) * down, wrap * across
    height, width = facets[0].panels[0].picture.shape[:2]
    tall = min(max(height * aspect / width, 0.3), 3.0)
    inches = min(max(_WIDTH_INCHES / columns, _PANEL_INCHES[0]), _PANEL_INCHES[1])
    figure.set_size_inches(max(columns * inches, 3.6), rows * (inches * tall + 0.35) + 0.8)
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = np.empty((dates, panels), object)
    for date, panel in np.ndindex(axes.shape):
        row, column = divmod(date, wrap)
        axes[date, panel] = grid[row * down + panel * (down > 1), column * across + panel * (across > 1)]
    for unused in set(grid.flat) - set(axes.flat):
        unused.remove()
    return axes


def _wrap(dates: int, panels: int, *, beside: bool) -> int:
    if beside:
        return max(1, 6 // panels)
    if dates <= 4:
        return dates
    return 3 if dates in (5, 6, 9) else 4 if dates <= 12 else 6


def draw(axes: Any, facets: list[Facet], aspect: float) -> None:
    """Draw facets into axes.

    Parameters
    ----------
    axes
        At least as many as there are panels.
    facets
        One for each date.
    aspect
        Height of a pixel over its width.
    """
    pictures = [(place, facet, panel) for facet in facets for place, panel in enumerate(facet.panels)]
    if axes.size < len(pictures):
        raise ArgumentError(f"axes= has {axes.size} axes, and there are {len(pictures)} panels to draw.")
    for target, (place, facet, panel) in zip(axes.flat, pictures, strict=False):
        target.imshow(panel.picture, aspect=aspect, interpolation="nearest")
        lines = [facet.title if place == 0 else "", panel.title]
        # A dollar sign would be the start of a formula.
        target.set_title("\n".join(filter(None, lines)), fontsize=9, parse_math=False)
        target.set_xticks([])
        target.set_yticks([])


def finish(figure: Any, axes: Any, series: Series, *, layout: Layout, dates: int) -> None:
    """Add the legend or the colour bar, and say which part of the series is shown.

    Parameters
    ----------
    figure, axes
        As drawn.
    series
        What is shown.
    layout
        How.
    dates
        How many of its dates are shown.
    """
    entries = legend_of(series, layout)
    if entries:
        columns = max(2, min(len(entries), int(figure.get_size_inches()[0] / _LEGEND_INCHES)))
        add_legend(figure, entries, columns=columns, fontsize=8)
    if series.classes:
        _add_colour_bar(figure, axes, series)
    if dates < series.count and dates > 1:
        figure.suptitle(f"{dates} of {series.count} dates", fontsize=9, x=0.99, ha="right")


def _add_colour_bar(figure: Any, axes: Any, series: Series) -> None:
    colors, cm = require("matplotlib.colors", extra="viz"), require("matplotlib.cm", extra="viz")
    scale = cm.ScalarMappable(
        norm=colors.Normalize(0.0, series.whole), cmap=colors.ListedColormap(share_table() / 255.0)
    )
    label = "percent" if series.whole > 1 else "probability"
    figure.colorbar(scale, ax=list(axes.flat), label=label, shrink=0.8, aspect=30, pad=0.01)
