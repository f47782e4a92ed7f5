"""`animate`: a time series of masks as a GIF or as a page with a slider."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import xarray as xr

from xcloudmask._files import partial_file
from xcloudmask._optional import require
from xcloudmask._pictures import share_table
from xcloudmask.classes import NODATA_COLOUR
from xcloudmask.errors import ArgumentError, NotACubeError
from xcloudmask.grid import time_dim
from xcloudmask.viz._choice import Times
from xcloudmask.viz._encode import in_frame
from xcloudmask.viz._gif import write_gif
from xcloudmask.viz._panels import Facet, Layout, check_layout, facet_of, legend_of
from xcloudmask.viz._player import html_page
from xcloudmask.viz._series import Series, open_series

__all__ = ["Animation", "animate"]

PIXELS_MAX = 30_000_000
"""Pixels of all pictures together: a page of them has some 40 MB at the worst."""

_FPS_MAX = 50
_HTML = (".html", ".htm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Animation:
    """A page with a slider; Jupyter shows it."""

    html: str
    """The whole page."""
    dates: int
    """How many it shows."""
    height_px: int
    """Height that Jupyter gives it."""

    def __repr__(self) -> str:
        """Return one line."""
        return f"<Animation of {self.dates} dates, {len(self.html) / 1e6:.1f} MB>"

    def _repr_html_(self) -> str:
        return in_frame(self.html, height_px=self.height_px)


def animate(
    mask: xr.DataArray | xr.Dataset,
    path: str | PathLike[str] | None = None,
    *,
    rgb: xr.DataArray | xr.Dataset | None = None,
    time: Times = None,
    layout: Layout = "auto",
    opacity: float = 0.5,
    fps: float = 2.0,
    max_px: int = 800,
) -> Path | Animation:
    """Show a time series of masks one after the other, as a GIF or as a page with a slider.

    This computes every date that it shows, a few at a time: those that share a chunk along time.

    Parameters
    ----------
    mask
        (time, y, x) uint8 mask of any output style; or percent or probabilities, which get a panel for each class;
        or a cube of images alone.
    path
        ``"masks.gif"``, or ``"masks.html"`` for one page that needs no other file and no network. None returns an
        object that shows itself in Jupyter.
    rgb
        The cube, as in `plot`.
    time
        Positions along time; None shows every date.
    layout, opacity
        As in `plot`; ``"stacked"`` is no choice here.
    fps
        Dates in a second, at most 50.
    max_px
        Longest side of a panel, in pixels of the cube. Long series get smaller panels, so that all pictures together
        have 30 million pixels at most.

    Returns
    -------
    pathlib.Path or Animation
        The file, which appears when it is complete; or the object for Jupyter.

    Raises
    ------
    NotACubeError
        There is no time dimension.
    ArgumentError
        The suffix is neither of a GIF nor of a page, or another argument is not allowed.
    InputError
        `rgb` is not on the grid of the mask, or lacks one of its dates.
    WriteError
        The file cannot be written.
    MissingPackageError
        Pillow is not installed.

    Notes
    -----
    In a GIF the colours of the classes are exact, and those of the image are reduced to what the palette of 256 has
    left. A page has the classes as PNG and the images as JPEG.

    Examples
    --------
    >>> import numpy as np
    >>> mask = xr.DataArray(np.zeros((3, 4, 4), "u1"), dims=("time", "y", "x"), attrs={"output_style": "4-class"})
    >>> animate(mask)
    <Animation of 3 dates, 0.0 MB>
    """
    target = None if path is None else Path(path)
    series = _open(mask, target, rgb=rgb, time=time, layout=layout, opacity=opacity, fps=fps, max_px=max_px)
    require("PIL.Image", extra="viz")
    facets = _facets(series, layout, opacity)
    legend = legend_of(series, layout)
    if target is not None and target.suffix.lower() == ".gif":
        write_gif(facets, target, legend=legend + _ramp(series), aspect=series.aspect, fps=fps)
        return target
    whole = series.whole if series.classes else None
    page, dates = html_page(facets, legend=legend, whole=whole, aspect=series.aspect, fps=fps)
    if target is None:
        return Animation(html=page, dates=dates, height_px=_height_px(series, layout))
    with partial_file(target) as partial:
        partial.write_text(page, encoding="utf-8")
    return target


def _open(
    mask: xr.DataArray | xr.Dataset,
    target: Path | None,
    *,
    rgb: xr.DataArray | xr.Dataset | None,
    time: Times,
    layout: Layout,
    opacity: float,
    fps: float,
    max_px: int,
) -> Series:
    """Check all arguments before anything is computed."""
    if target is not None and target.suffix.lower() not in (".gif", *_HTML):
        raise ArgumentError(f"{target} ends in {target.suffix!r}. Expected '.gif' or '.html'.")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not (math.isfinite(fps) and 0 < fps <= _FPS_MAX):
        raise ArgumentError(f"fps={fps!r}: expected a number above 0, at most {_FPS_MAX}.")
    if layout == "stacked":
        raise ArgumentError("layout='stacked' is no layout of an animation. Type: layout='beside'")
    series = open_series(mask, rgb=rgb, time=time, max_px=max_px, pixels=PIXELS_MAX)
    if isinstance(mask, xr.DataArray | xr.Dataset) and time_dim(mask) is None:
        raise NotACubeError("There is one date and no time dimension, so nothing moves. Type: xcloudmask.plot(mask)")
    check_layout(layout, opacity, series)
    return series


def _facets(series: Series, layout: Layout, opacity: float) -> Iterator[Facet]:
    for frame in series.frames():
        yield facet_of(frame, series, layout=layout, opacity=opacity)


def _ramp(series: Series) -> list[tuple[str, str]]:
    """Return some colours of shares, for a legend."""
    if not series.classes:
        return []
    steps = [("#{:02x}{:02x}{:02x}".format(*share_table()[share * 255 // 4]), share / 4) for share in range(5)]
    return [(f"{share:.0%}", colour) for colour, share in steps] + [("nodata", NODATA_COLOUR)]


def _height_px(series: Series, layout: Layout) -> int:
    """Return the height of a page that is some 900 px wide."""
    across = 1 if layout in ("overlay", "contours") or not series.nodata or not series.masks else 2
    rows, columns = series.shape
    width = min(max(columns, 400), 900 // across)
    return min(round(width * rows * series.aspect / columns) + 130, 1000)
