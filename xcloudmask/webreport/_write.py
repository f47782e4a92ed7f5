"""`write_report`: a mask, or a store of masks, to one HTML page."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from os import PathLike, fspath
from pathlib import Path, PurePosixPath

import xarray as xr

from xcloudmask._files import partial_file
from xcloudmask._mask_checks import style_of
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError, NotACubeError
from xcloudmask.grid import resolution_m, spatial_dims, time_dim
from xcloudmask.io.stores import open_store
from xcloudmask.stac.hrefs import redact
from xcloudmask.webreport._count import Counted, count_dates, step_for
from xcloudmask.webreport._dates import in_order, names_of
from xcloudmask.webreport._facts import facts_of, skipped_items
from xcloudmask.webreport._images import open_source, read_images
from xcloudmask.webreport._page import Content, render
from xcloudmask.webreport._pictures import Look, chosen

__all__ = ["REPORT_SUFFIXES", "write_report"]

REPORT_SUFFIXES = (".html", ".htm")
_IN_MEMORY = "none: the masks were in memory"


def write_report(
    mask_or_store: xr.DataArray | str | PathLike[str],
    path: str | PathLike[str],
    *,
    image: xr.DataArray | xr.Dataset | None = None,
    title: str | None = None,
    clear_view: float = 0.8,
    max_pictures: int = 60,
    picture_px: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a page that shows a series of masks: figures, calendar, map, pictures, settings and what is missing.

    Parameters
    ----------
    mask_or_store
        (time, y, x) or (y, x) uint8 mask of any output style; or what `open_store` opens: a Zarr store, a COG, a folder
        of COGs.
    path
        The page, ``.html``. It appears when it is complete; one that exists is replaced.
    image
        The cube that was masked, or any on the same grid: it is shown beside the masks of the same times. Needs Pillow.
    title
        Of the page; None for one with the name of the store.
    clear_view
        Clear share of the pixels with data from which a date is a clear view, 0 to 1.
    max_pictures
        Dates with a picture, evenly chosen.
    picture_px
        Longest side of a picture; None: 256, more for one date or two. Smaller where the page would grow beyond some
        5 MB.
    on_progress
        Called with dates done and dates in all.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    NotACubeError
        It is no mask of classes.
    InputError
        The mask is empty, or `image` lies elsewhere or has none of its dates.
    BandNotFoundError
        `image` has no band to show.
    ReadError
        There is no such store, or none of its dates can be read.
    WriteError
        The page cannot be written.
    ArgumentError, ArgumentTypeError
        An argument has a wrong value or type.
    MissingPackageError
        `image` is given and Pillow is not installed.

    Warns
    -----
    UserWarning
        Some dates cannot be read.

    Notes
    -----
    The pixels are read once, some dates at a time; a cube may be larger than memory. A date that cannot be read is told
    as such on the page and counted nowhere: it is never no data. Everything from the store is escaped. The page loads
    and runs nothing.

    Examples
    --------
    >>> write_report("masks.zarr", "report.html")  # doctest: +SKIP
    PosixPath('report.html')
    """
    target = _checked(path, clear_view, max_pictures, picture_px)
    if isinstance(mask_or_store, xr.DataArray):
        mask, source = mask_or_store, _IN_MEMORY
    else:
        mask, source = open_store(mask_or_store), redact(fspath(mask_or_store))
    style = style_of(mask)
    ordered = _time_first(mask)
    names = in_order(names_of(ordered))
    shown = [names[index].position for index in chosen(len(names), max_pictures)]
    images = None if image is None else open_source(image, ordered, names)
    px = picture_px or _picture_px(len(names))
    total = len(names) + (0 if images is None else sum(position in images.positions for position in shown))
    progress = _Counter(total, on_progress)
    counted = count_dates(ordered, names, style, pictured=set(shown), picture_px=px, progress=progress.add)
    content = Content(
        title=title or _title(source),
        facts=facts_of(ordered, names, source=source),
        style=style,
        counted=counted,
        images=None if images is None else read_images(images, counted.pictures, px=px, progress=progress.add),
        pictured=shown,
        thinned=step_for(ordered.shape[1:], px),
        look=_look(ordered),
        skipped=skipped_items(mask, image),
        view=clear_view,
    )
    with partial_file(target) as partial:
        partial.write_text(render(content), encoding="utf-8")
    _warn_of_gaps(counted, target)
    return target


class _Counter:
    """Adds up what is done."""

    def __init__(self, total: int, report: Callable[[int, int], None] | None) -> None:
        self._done, self._total, self._report = 0, total, report

    def add(self, done: int) -> None:
        self._done += done
        if self._report is not None:
            self._report(self._done, self._total)


def _warn_of_gaps(counted: Counted, target: Path) -> None:
    failed = [date for date in counted.dates if date.error]
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(counted.dates)} dates cannot be read, the first of them {failed[0].name.label}: "
            f"{failed[0].error[:300]}. {target} lists them, and counts them nowhere.",
            stacklevel=3,
        )


def _checked(path: str | PathLike[str], clear_view: float, max_pictures: int, picture_px: int | None) -> Path:
    target = Path(path)
    if target.suffix.lower() not in REPORT_SUFFIXES:
        raise ArgumentError(f"{target} is no name of a page. Expected one that ends in .html, such as report.html.")
    if isinstance(clear_view, bool) or not isinstance(clear_view, int | float):
        raise ArgumentTypeError(f"clear_view={clear_view!r}: expected a share from 0 to 1, such as 0.8.")
    if not 0 <= clear_view <= 1:
        raise ArgumentError(f"clear_view={clear_view!r}: expected a share from 0 to 1, such as 0.8.")
    sizes = {"max_pictures": max_pictures, "picture_px": 1 if picture_px is None else picture_px}
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise ArgumentTypeError(f"{name}={value!r}: expected a whole number.")
        if value < 1:
            raise ArgumentError(f"{name}={value}: expected 1 or more.")
    return target


def _time_first(mask: xr.DataArray) -> xr.DataArray:
    y, x = spatial_dims(mask)
    dim = time_dim(mask)
    others = [str(name) for name in mask.dims if name not in (dim, y, x)]
    if others:
        raise NotACubeError(
            f"The mask has the dimension {others[0]!r} besides time, y and x. Type: .isel({others[0]}=0)"
        )
    if 0 in mask.shape:
        empty = next(str(name) for name, size in mask.sizes.items() if size == 0)
        raise InputError(f"The mask is empty: {empty!r} has no entries. Expected one date and one pixel or more.")
    return mask.expand_dims("time").transpose("time", y, x) if dim is None else mask.transpose(dim, y, x)


def _picture_px(dates: int) -> int:
    return 768 if dates == 1 else 512 if dates <= 4 else 256


def _title(source: str) -> str:
    name = PurePosixPath(source.rstrip("/")).name
    return "Cloud masks" if source == _IN_MEMORY else f"Cloud masks: {name}"


def _look(mask: xr.DataArray) -> Look:
    y, x = spatial_dims(mask)
    metres = resolution_m(mask)
    return Look(
        flip_y=_runs_up(mask, y) is True,
        flip_x=_runs_up(mask, x) is False,
        aspect=metres[0] / metres[1] if metres else 1.0,
    )


def _runs_up(mask: xr.DataArray, dim: str) -> bool | None:
    """Whether a coordinate grows; None where there is none to tell."""
    if dim not in mask.coords or mask.sizes[dim] < 2 or mask.coords[dim].dtype.kind not in "iuf":
        return None
    return float(mask.coords[dim][0]) < float(mask.coords[dim][-1])
