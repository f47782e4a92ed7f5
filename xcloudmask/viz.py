"""Look at masks: class colours and legend, image beside mask, one column per date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from dask import base as dask_base

from xcloudmask._files import partial_file
from xcloudmask._mask_checks import check_alignment, style_of
from xcloudmask._optional import require
from xcloudmask._pictures import add_legend, colour_codes, is_valid, stretch
from xcloudmask.bands import select_bands
from xcloudmask.classes import NODATA, NODATA_COLOUR, Style
from xcloudmask.errors import ArgumentError, ArgumentTypeError, BandNotFoundError, NotACubeError
from xcloudmask.grid import resolution_m, spatial_dims, time_dim
from xcloudmask.radiometry import nodata_values

__all__ = ["COLUMNS_MAX", "plot", "save_picture"]

COLUMNS_MAX = 6
"""Dates shown unless told otherwise."""

_COMPOSITES = (("red", "green", "blue"), ("nir", "red", "green"), ("red", "red", "red"))
"""What is shown as red, green and blue: the first one whose bands the cube has."""
_PANEL_INCHES = 4.0

Times = int | Sequence[int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One date, as colours."""

    panels: tuple[npt.NDArray[np.uint8], ...]
    """(y, x, 3) pictures: image, mask, reference; those that there are."""
    titles: tuple[str, ...]
    """A title for each panel."""


def plot(
    mask: xr.DataArray,
    *,
    rgb: xr.DataArray | xr.Dataset | None = None,
    reference: xr.DataArray | None = None,
    time: Times = None,
    axes: Any = None,
    max_px: int = 1000,
) -> Any:
    """Draw a mask in class colours, beside the image if there is one.

    Large masks are thinned out by a regular step before anything is computed.

    Parameters
    ----------
    mask
        (time, y, x) or (y, x) uint8 mask of any output style.
    rgb
        The cube, on the grid of the mask: red, green and blue where it has them, else nir, red and green, else red.
    reference
        Another mask on the same grid and in the same style, such as labels.
    time
        Positions along time; None shows the first six.
    axes
        Matplotlib axes to draw into: image, mask and reference of the first date, then of the next; None makes a
        figure.
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
        `rgb` is not on the grid of the mask.
    ArgumentError
        No such time, or too few axes.
    MissingPackageError
        matplotlib is not installed.

    Examples
    --------
    >>> mask = xr.DataArray(np.eye(4, dtype="u1"), dims=("y", "x"), attrs={"output_style": "4-class"})
    >>> plot(mask).shape
    (1, 1)
    """
    columns, style, aspect = _columns(mask, rgb=rgb, reference=reference, time=time, max_px=max_px)
    if axes is None:
        pyplot = require("matplotlib.pyplot", extra="viz")
        figure = pyplot.figure(layout="constrained")
        axes = _make_axes(figure, columns, aspect)
        _add_legend(figure, style)
    axes = np.atleast_1d(np.asarray(axes, object))
    _draw(axes, columns, aspect)
    return axes


def save_picture(
    mask: xr.DataArray,
    path: str | PathLike[str],
    *,
    rgb: xr.DataArray | xr.Dataset | None = None,
    reference: xr.DataArray | None = None,
    time: Times = None,
    max_px: int = 1000,
) -> Path:
    """Write the picture that `plot` draws to a PNG (or whatever the suffix says).

    Parameters
    ----------
    mask, rgb, reference, time, max_px
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
    figure = require("matplotlib.figure", extra="viz").Figure(layout="constrained")
    columns, style, aspect = _columns(mask, rgb=rgb, reference=reference, time=time, max_px=max_px)
    _draw(_make_axes(figure, columns, aspect), columns, aspect)
    _add_legend(figure, style)
    with partial_file(target) as partial:
        figure.savefig(partial, dpi=150)
    return target


def _columns(
    mask: xr.DataArray,
    *,
    rgb: xr.DataArray | xr.Dataset | None,
    reference: xr.DataArray | None,
    time: Times,
    max_px: int,
) -> tuple[list[Column], Style, float]:
    """Thin out, compute once, and turn into colours."""
    style = style_of(mask)
    if isinstance(max_px, bool) or not isinstance(max_px, int) or max_px < 1:
        raise ArgumentError(f"max_px={max_px!r}: expected a whole number of 1 or more pixels.")
    masks = [mask] if reference is None else [mask, _checked_reference(reference, mask)]
    bands = _bands(rgb, mask) if rgb is not None else []
    y, x = spatial_dims(mask)
    step = -(-max(mask.sizes[y], mask.sizes[x]) // max_px)
    thinned = [
        _thin(array, step, upside_down=_upside_down(mask, y)) for array in (*masks, *(band for band, _ in bands))
    ]
    frames = [[_at(array, position) for array in thinned] for position in _positions(mask, time)]
    untyped: Any = dask_base
    computed = untyped.compute(*[[array.variable for array in frame] for frame in frames])
    nodata = [value for _, value in bands]
    columns = []
    for frame, variables in zip(frames, computed, strict=True):
        arrays = [variable.values for variable in variables]
        columns.append(_column(_title(frame[0]), arrays[: len(masks)], arrays[len(masks) :], nodata, style))
    resolution = resolution_m(mask)
    return columns, style, resolution[0] / resolution[1] if resolution else 1.0


def _checked_reference(reference: xr.DataArray, mask: xr.DataArray) -> xr.DataArray:
    if style_of(reference).name != style_of(mask).name:
        raise ArgumentError(
            f"reference= is a {style_of(reference).name!r} mask, the mask a {style_of(mask).name!r} one. "
            f"Type: reference=xcloudmask.to_style(reference, {style_of(mask).name!r})"
        )
    _check_same_grid(reference, mask)
    return reference


def _at(array: xr.DataArray, position: int | None) -> xr.DataArray:
    dim = time_dim(array)
    return array if dim is None or position is None else array.isel({dim: position})


def _positions(mask: xr.DataArray, time: Times) -> list[int | None]:
    dim = time_dim(mask)
    if dim is None:
        return [None]
    count = mask.sizes[dim]
    if time is None:
        return list(range(min(count, COLUMNS_MAX)))
    positions = [time] if isinstance(time, int) else list(time)
    for position in positions:
        if isinstance(position, bool) or not isinstance(position, int | np.integer):
            raise ArgumentTypeError(f"time={time!r}: expected positions along {dim!r}, such as 0 or [0, 3].")
        if not -count <= position < count:
            raise ArgumentError(f"time={position}: the mask has {count} dates, 0 to {count - 1}.")
    return [int(position) for position in positions]


def _bands(rgb: xr.DataArray | xr.Dataset, mask: xr.DataArray) -> list[tuple[xr.DataArray, float | None]]:
    """Return the three bands to show, each with its nodata value."""
    for roles in _COMPOSITES:
        unique = tuple(dict.fromkeys(roles))
        try:
            selection = select_bands(rgb, roles=unique)
        except BandNotFoundError:
            continue
        found = dict(zip(unique, zip(selection.arrays, nodata_values(selection), strict=True), strict=True))
        bands = [(array, nodata) for array, nodata in (found[role] for role in roles) if array is not None]
        for array, _ in bands:
            _check_same_grid(array, mask)
        return bands
    raise BandNotFoundError(
        "The image has no band that can be shown. Expected red, green and blue, or nir, red and green, or red. "
        "Type: rgb=cube.rename({'<name in the cube>': 'red', ...})"
    )


def _check_same_grid(band: xr.DataArray, mask: xr.DataArray) -> None:
    if band.ndim != mask.ndim:
        raise NotACubeError(
            f"The image has the dimensions {', '.join(map(str, band.dims))}, "
            f"the mask {', '.join(map(str, mask.dims))}. Select the same time steps of both."
        )
    check_alignment(band, mask)


def _thin(array: xr.DataArray, step: int, *, upside_down: bool) -> xr.DataArray:
    y, x = spatial_dims(array)
    thinned = array.transpose(..., y, x).isel({y: slice(None, None, step), x: slice(None, None, step)})
    return thinned.isel({y: slice(None, None, -1)}) if upside_down else thinned


def _upside_down(mask: xr.DataArray, y: str) -> bool:
    """Whether the first row is the southernmost one."""
    return y in mask.coords and mask.sizes[y] > 1 and float(mask.coords[y][0]) < float(mask.coords[y][-1])


def _title(mask: xr.DataArray) -> str:
    time = mask.coords.get("time")
    if time is None or time.ndim or time.dtype.kind != "M":
        return ""
    return str(time.values.astype("M8[m]")).replace("T", " ")


def _column(
    title: str,
    masks: list[npt.NDArray[np.uint8]],
    bands: list[npt.NDArray[Any]],
    nodata: list[float | None],
    style: Style,
) -> Column:
    panels = [colour_codes(codes, style) for codes in masks]
    titles = [_share_text(codes, style) for codes in masks]
    if len(masks) > 1:
        titles[1] = f"reference: {titles[1]}"
    if bands:
        seen = np.logical_and.reduce([is_valid(band, value) for band, value in zip(bands, nodata, strict=True)])
        panels.insert(0, stretch(bands, seen))
        titles.insert(0, title)
    else:
        titles[0] = f"{title}\n{titles[0]}".strip()
    return Column(panels=tuple(panels), titles=tuple(titles))


def _share_text(codes: npt.NDArray[np.uint8], style: Style) -> str:
    valid = codes != NODATA
    if not valid.any():
        return "no data"
    return f"{np.mean(codes[valid] == 0):.0%} {style.meanings[0].replace('_', ' ')}"


def _make_axes(figure: Any, columns: list[Column], aspect: float) -> Any:
    """Image beside mask for one date; for several, a column each with the image above the mask."""
    panels = len(columns[0].panels)
    rows, count = (1, panels) if len(columns) == 1 else (panels, len(columns))
    height, width = columns[0].panels[0].shape[:2]
    tall = min(max(height * aspect / width, 0.4), 2.5)
    figure.set_size_inches(count * _PANEL_INCHES, rows * _PANEL_INCHES * tall + 1.0)
    axes = figure.subplots(rows, count, squeeze=False)
    return axes if len(columns) == 1 else axes.T


def _draw(axes: Any, columns: list[Column], aspect: float) -> None:
    pictures = [pair for column in columns for pair in zip(column.titles, column.panels, strict=True)]
    if axes.size < len(pictures):
        raise ArgumentError(f"axes= has {axes.size} axes, and there are {len(pictures)} panels to draw.")
    for panel, (title, picture) in zip(axes.flat, pictures, strict=False):
        panel.imshow(picture, aspect=aspect, interpolation="nearest")
        panel.set_title(title, fontsize=9)
        panel.set_xticks([])
        panel.set_yticks([])


def _add_legend(figure: Any, style: Style) -> None:
    entries = [*zip(style.meanings, style.colours, strict=True), ("nodata", NODATA_COLOUR)]
    add_legend(figure, entries, columns=len(entries), fontsize=8)
