"""`explore`: masks on a web map, with a slider for the dates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudmask._optional import require
from xcloudmask._pictures import hex_to_rgb, over_colours
from xcloudmask.classes import CLASS_DIM, Style
from xcloudmask.errors import ArgumentError, NotACubeError
from xcloudmask.viz._choice import Times
from xcloudmask.viz._encode import data_url, encode_classes, encode_photo_with_holes
from xcloudmask.viz._leaflet import build_map
from xcloudmask.viz._mercator import WebGrid, web_grid
from xcloudmask.viz._series import Frame, Series, open_series

__all__ = ["explore"]

PIXELS_MAX = 20_000_000
"""Pixels of all layers together: a page of them has some 30 MB at the worst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """How codes are shown on the map."""

    of_code: dict[int, str]
    """Hexadecimal colours; other codes are transparent."""
    legend: list[tuple[str, str]]
    """Names and colours."""


def explore(
    mask: xr.DataArray,
    *,
    rgb: xr.DataArray | xr.Dataset | None = None,
    time: Times = None,
    show_clear: bool = False,
    opacity: float = 0.7,
    tiles: str | None = "OpenStreetMap",
    max_px: int = 1000,
) -> Any:
    """Show masks on a web map, to pan, zoom, and move through time with a slider. This computes what it shows.

    The map itself needs the network when it is looked at: folium takes the code of the map from public servers, and
    the base map comes from a tile server. The masks and images stand in the page, and are sent nowhere.

    Parameters
    ----------
    mask
        (time, y, x) or (y, x) uint8 mask of any output style, in a projected or geographic CRS.
    rgb
        The cube, as in `plot`: an image of each date under the mask.
    time
        Positions along time; None shows every date.
    show_clear
        Whether clear land is shown in its colour; False leaves it transparent, as nodata is.
    opacity
        Of the mask, 0 to 1, until it is changed on the map.
    tiles
        The base map, as folium names it, or an address with ``{z}/{x}/{y}``, whose terms of use are yours to keep;
        None shows the masks on grey. OpenStreetMap refuses pages that do not say where they come from, such as saved
        files (https://github.com/python-visualization/folium/issues/2215): for those choose another.
    max_px
        Longest side of a picture. Long series get smaller ones, so that all layers together have 20 million pixels
        at most.

    Returns
    -------
    folium.Map
        Jupyter shows it; ``.save("map.html")`` writes it; layers of one's own can be added.

    Raises
    ------
    NotACubeError
        `mask` is no mask.
    InputError
        The mask has no CRS or no coordinates, or `rgb` is not on its grid or lacks one of its dates.
    ArgumentError
        An argument is not allowed.
    MissingPackageError
        folium or Pillow is not installed.

    Notes
    -----
    Pixels are brought to Web Mercator (EPSG:3857) by taking the nearest one: no class is made up. Over an
    image or a base map, classes have the colours of ``plot(layout="overlay")``: white on white could not be seen.

    Examples
    --------
    >>> xcloudmask.explore(mask, rgb=cube)  # doctest: +SKIP
    """
    if isinstance(opacity, bool) or not isinstance(opacity, int | float) or not 0 <= opacity <= 1:
        raise ArgumentError(f"opacity={opacity!r}: expected a number from 0 to 1.")
    if isinstance(mask, xr.DataArray) and CLASS_DIM in mask.dims:
        raise NotACubeError("A map shows classes, and this is a cube of shares. Type: predict(categorise=True)")
    series = open_series(mask, rgb=rgb, time=time, max_px=max_px, pixels=PIXELS_MAX)
    if series.style is None:
        raise NotACubeError("A map shows masks, and this is a cube of images. Type: explore(mask, rgb=cube)")
    grid = web_grid(series.layers[0], max_px=_bounded(series, max_px))
    require("folium", extra="viz")
    require("PIL.Image", extra="viz")
    colours = _colours(series.style, over=rgb is not None or tiles is not None, show_clear=show_clear)
    dates = [_date(frame, grid, colours) for frame in series.frames()]
    return build_map(dates, bounds=grid.bounds, legend=colours.legend, opacity=float(opacity), tiles=tiles)


def _bounded(series: Series, max_px: int) -> int:
    """Return the longest side that keeps all layers together below the limit."""
    pictures = len(series.positions) * (2 if series.nodata else 1)
    return max(1, min(max_px, int((PIXELS_MAX / pictures) ** 0.5)))


def _colours(style: Style, *, over: bool, show_clear: bool) -> Colours:
    of_code = over_colours(style) if over else dict(enumerate(style.colours))
    if show_clear:
        of_code[0] = style.colours[0]
    else:
        of_code.pop(0, None)
    legend = [(style.meanings[code].replace("_", " "), colour) for code, colour in sorted(of_code.items())]
    return Colours(of_code=of_code, legend=legend)


def _date(frame: Frame, grid: WebGrid, colours: Colours) -> dict[str, str]:
    """Return one date as the page holds it."""
    date = {"title": frame.title}
    if frame.codes is not None:
        table = _table(colours.of_code)
        date["mask"] = data_url(encode_classes(table[grid.show(frame.codes, outside=255)]), "png")
    if frame.image is not None and frame.seen is not None:
        image, seen = grid.show(frame.image, outside=0), grid.show(frame.seen, outside=False)
        date["image"] = data_url(encode_photo_with_holes(image, seen), "png")
    return date


def _table(of_code: dict[int, str]) -> npt.NDArray[np.uint8]:
    """Return the (256, 4) colours of codes; those that are not named are transparent."""
    table = np.zeros((256, 4), np.uint8)
    for code, colour in of_code.items():
        table[code] = (*hex_to_rgb(colour), 255)
    return table
