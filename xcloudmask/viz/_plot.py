"""`plot` and `save_picture`: masks in class colours, with their images."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask._files import partial_file
from xcloudmask._optional import require
from xcloudmask.errors import ArgumentError
from xcloudmask.viz import _figure
from xcloudmask.viz._choice import Times
from xcloudmask.viz._panels import Facet, Layout, check_layout, facet_of
from xcloudmask.viz._series import Series, open_series

__all__ = ["COLUMNS_MAX", "plot", "save_picture"]

COLUMNS_MAX = 6
"""Dates shown unless told otherwise."""


def plot(
    mask: xr.DataArray | xr.Dataset,
    *,
    rgb: xr.DataArray | xr.Dataset | None = None,
    reference: xr.DataArray | None = None,
    time: Times = None,
    layout: Layout = "auto",
    col_wrap: int | None = None,
    opacity: float = 0.5,
    axes: Any = None,
    max_px: int = 1000,
) -> Any:
    """Draw a mask in class colours, with the image if there is one. This computes what it shows.

    Large masks are thinned out by a regular step before anything is computed.

    Parameters
    ----------
    mask
        (time, y, x) or (y, x) uint8 mask of any output style; or percent or probabilities, which get a panel for each
        class; or a cube of images alone, such as a composite.
    rgb
        The cube, on the grid of the mask: red, green and blue where it has them, else nir, red and green, else red.
        Its dates are found by time, so it may have more of them than the mask. A cube without time, such as a
        composite, goes with every date.
    reference
        Another mask on the same grid and in the same style, such as labels.
    time
        Positions along time; ``"all"`` shows every date. None shows six, evenly spread.
    layout
        ``"beside"``: the image left of the mask, a row for each date. ``"stacked"``: the image above the mask, a
        column for each date. ``"overlay"``: the mask tints the image. ``"contours"``: the borders of the classes on
        the image. ``"auto"``: beside for one date, stacked for more.
    col_wrap
        Dates in a row; None chooses.
    opacity
        Of the tint of ``layout="overlay"``, 0 to 1.
    axes
        Matplotlib axes to draw into: the panels of the first date, then of the next; None makes a figure.
    max_px
        Longest side of a panel, in pixels of the cube.

    Returns
    -------
    numpy.ndarray
        The matplotlib axes, (date, panel); their figure is ``axes.flat[0].figure``.

    Raises
    ------
    NotACubeError
        `mask` is no mask.
    BandNotFoundError
        `rgb` has no band to show.
    InputError
        `rgb` is not on the grid of the mask, or lacks one of its dates.
    ArgumentError
        No such time or layout, or too few axes.
    MissingPackageError
        matplotlib is not installed.

    Notes
    -----
    Each image is stretched by itself, between percentiles 1 and 98 of each band: tones of two dates do not compare.
    Over an image, classes have other colours than beside it: a white cloud on a white cloud could not be seen.

    Examples
    --------
    >>> mask = xr.DataArray(np.eye(4, dtype="u1"), dims=("y", "x"), attrs={"output_style": "4-class"})
    >>> plot(mask).shape
    (1, 1)
    """
    series = open_series(mask, rgb=rgb, reference=reference, time=time, max_px=max_px, most=COLUMNS_MAX)
    _check(series, layout, opacity, col_wrap)
    if axes is not None:
        drawn = np.atleast_1d(np.asarray(axes, object))
        _figure.draw(drawn, _facets(series, layout, opacity), series.aspect)
        return drawn
    pyplot = require("matplotlib.pyplot", extra="viz")
    facets = _facets(series, layout, opacity)
    return _draw_figure(pyplot.figure(layout="compressed"), series, facets, layout, col_wrap)


def save_picture(
    mask: xr.DataArray | xr.Dataset,
    path: str | PathLike[str],
    *,
    rgb: xr.DataArray | xr.Dataset | None = None,
    reference: xr.DataArray | None = None,
    time: Times = None,
    layout: Layout = "auto",
    col_wrap: int | None = None,
    opacity: float = 0.5,
    max_px: int = 1000,
) -> Path:
    """Write the picture that `plot` draws to a PNG (or whatever the suffix says).

    Parameters
    ----------
    mask, rgb, reference, time, layout, col_wrap, opacity, max_px
        See `plot`.
    path
        File to write; it appears when it is complete.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    WriteError
        The file cannot be written.
    XCloudMaskError
        As `plot`.

    Examples
    --------
    >>> save_picture(mask, "mask.png", rgb=cube)  # doctest: +SKIP
    PosixPath('mask.png')
    """
    target = Path(path)
    # A figure without pyplot leaves nothing behind, and needs no display.
    figure = require("matplotlib.figure", extra="viz").Figure(layout="compressed")
    series = open_series(mask, rgb=rgb, reference=reference, time=time, max_px=max_px, most=COLUMNS_MAX)
    _check(series, layout, opacity, col_wrap)
    _draw_figure(figure, series, _facets(series, layout, opacity), layout, col_wrap)
    with partial_file(target) as partial:
        figure.savefig(partial, dpi=150, bbox_inches="tight", pad_inches=0.1)
    return target


def _check(series: Series, layout: Layout, opacity: float, col_wrap: int | None) -> None:
    check_layout(layout, opacity, series)
    if col_wrap is not None and (isinstance(col_wrap, bool) or not isinstance(col_wrap, int) or col_wrap < 1):
        raise ArgumentError(f"col_wrap={col_wrap!r}: expected a whole number of 1 or more dates in a row.")


def _facets(series: Series, layout: Layout, opacity: float) -> list[Facet]:
    frames = series.compute(0, len(series.positions))
    return [facet_of(frame, series, layout=layout, opacity=opacity) for frame in frames]


def _draw_figure(figure: Any, series: Series, facets: list[Facet], layout: Layout, col_wrap: int | None) -> Any:
    chosen = _figure.resolve_layout(layout, dates=len(facets), panels=len(facets[0].panels))
    axes = _figure.make_axes(figure, facets, series.aspect, layout=chosen, col_wrap=col_wrap)
    _figure.draw(axes, facets, series.aspect)
    _figure.finish(figure, axes, series, layout=chosen, dates=len(facets))
    return axes
