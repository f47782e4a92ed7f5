"""Which files a mask becomes, what stands in their headers, and which of them are there already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask.classes import OutputStyle, get_style
from xcloudmask.errors import ArgumentError, InputError, WriteError
from xcloudmask.io._cogfolder import SIDECAR, Folder
from xcloudmask.io._cogmeta import COMPARED, FileMeta, meta_of
from xcloudmask.io._cognames import SUFFIXES, file_names
from xcloudmask.io._cogremote import RemoteFolder
from xcloudmask.io._cogwrite import Target
from xcloudmask.io._raster import file_turns, is_url, name_of, open_quietly
from xcloudmask.io._targets import local_path
from xcloudmask.io.zarr import DEFAULT_NAME

__all__ = ["StyleChoice", "missing_files", "plan_files"]

StyleChoice = OutputStyle | Sequence[OutputStyle] | None
"""One output style, several, or that of the mask."""

_OTHER_FILES = (".png", ".jpg", ".jpeg", ".jp2", ".gif", ".nc", ".vrt", ".img", ".zarr", ".icechunk", ".json", ".html")
"""Ends of names by which something else is meant than a folder of GeoTIFFs."""

_AGREE = 1e-3
"""Share of a pixel up to which two grids are the same."""


def plan_files(
    mask: xr.DataArray,
    target: str | PathLike[str],
    style: StyleChoice,
    template: str | None,
    options: Mapping[str, Any],
    *,
    shares: bool,
) -> tuple[Target, dict[str, FileMeta]]:
    """Return where the files go, and their headers by name.

    Parameters
    ----------
    mask
        (time, band, y, x).
    target, style, template, options
        As given to `to_cog`.
    shares
        Whether the bands are percentages.

    Returns
    -------
    Folder or RemoteFolder
        The folder.
    dict
        Headers by name, relative to the folder.

    Raises
    ------
    ArgumentError
        A file was named for several dates, an unknown style or field, or one name for two files.
    InputError
        The mask has lost the classes that a style needs.
    """
    styles = _styles(mask, style, shares=shares)
    local = local_path(target)
    # A slash at the end makes a folder of "a.tif/": paths drop it.
    text = str(target) if local is None or not is_url(str(target)) else str(local)
    parent, name = _split(text)
    folder: Target = RemoteFolder(parent, options) if is_url(text) else Folder(Path(parent))
    if name is None:
        names = _names(mask, styles, template, shares=shares)
    elif template is not None:
        raise ArgumentError(f"{target} is one file, so name_template={template!r} is not used. Give a folder.")
    elif mask.shape[0] > 1 or len(styles) > 1:
        what = f"{mask.shape[0]} dates" if mask.shape[0] > 1 else f"{len(styles)} styles"
        raise ArgumentError(f"{target} is one file, and the mask has {what}. Give a folder, such as {Path(name).stem}/")
    else:
        names = dict.fromkeys([(0, styles[0])] * mask.shape[0], name)
    return folder, {name: meta_of(mask, date, one, shares=shares) for (date, one), name in names.items()}


def missing_files(
    folder: Target, metas: Mapping[str, FileMeta], *, overwrite: bool, resume: bool
) -> dict[str, FileMeta]:
    """Return the files that are to be written.

    Parameters
    ----------
    folder, metas
        As `plan_files` returns them.
    overwrite, resume
        As given to `to_cog`.

    Returns
    -------
    dict
        A part of `metas`.

    Raises
    ------
    WriteError
        A file exists, or one that is to be kept differs.
    """
    folder.check(list(metas))
    if overwrite:
        return dict(metas)
    there = folder.existing([*metas, *(name + SIDECAR for name in metas)])
    if not resume:
        for name in metas:
            if name in there:
                raise WriteError(
                    f"{folder.label(name)} exists. Type: overwrite=True to replace it, resume=True to write only what "
                    "is missing, or another name."
                )
        return dict(metas)
    # A run that was killed while it replaced a file may have left one without its sidecar.
    kept = {name for name, meta in metas.items() if name in there and (meta.bands or name + SIDECAR in there)}
    for name in there & set(metas):
        _check_kept(folder, name, metas[name])
    return {name: meta for name, meta in metas.items() if name not in kept}


def _names(
    mask: xr.DataArray, styles: list[OutputStyle], template: str | None, *, shares: bool
) -> dict[tuple[int, str], str]:
    # Percentages of a style are not its codes: a template gives them another name.
    shown = {f"{one}-percent" if shares else one: one for one in styles}
    names = file_names(mask, name=str(mask.name or DEFAULT_NAME), styles=list(shown), template=template)
    return {(date, shown[one]): name for (date, one), name in names.items()}


def _split(target: str) -> tuple[str, str | None]:
    """Return the folder, and the name of the file where one is meant."""
    name = name_of(target).name
    if not name.lower().endswith(SUFFIXES) or target.endswith("/"):
        if Path(name).suffix.lower() in _OTHER_FILES and not target.endswith("/") and not Path(target).is_dir():
            raise ArgumentError(
                f"{target} would be a folder of GeoTIFFs. Type {Path(name).stem}.tif for one file, or a slash at the "
                "end for a folder of that name."
            )
        return target, None
    return (target.rsplit("/", 1)[0], name) if is_url(target) else (str(Path(target).parent), name)


def _styles(mask: xr.DataArray, style: StyleChoice, *, shares: bool) -> list[OutputStyle]:
    own = get_style(str(mask.attrs.get("output_style", "4-class"))).name
    given = [own] if style is None else [style] if isinstance(style, str) else list(style)
    wanted = list(dict.fromkeys(get_style(one).name for one in given))
    if not wanted:
        raise ArgumentError("style=[] names no style. Expected one such as '4-class', or None for that of the mask.")
    other = next((one for one in wanted if one != own), None)
    if other is not None and shares:
        raise InputError(
            f"Percentages of {own!r} cannot become {other!r}. Type: predict(categorise=False, output_style={other!r})"
        )
    if other is not None and own != "4-class":
        raise InputError(
            f"A {own!r} mask cannot become {other!r}: it has lost the classes. Start from the 4-class mask."
        )
    return wanted


def _check_kept(folder: Target, name: str, meta: FileMeta) -> None:
    """Refuse to keep a file of another mask."""
    from rasterio.errors import RasterioError

    with folder.header(name) as path:
        try:
            with file_turns.shared(), open_quietly(str(path)) as file:
                differences = list(_differences(file, meta))
        except RasterioError as error:
            raise WriteError(
                f"{folder.label(name)} exists and is no GeoTIFF that can be read ({error}). Type: overwrite=True to "
                "replace it, or another name."
            ) from error
    for what, there, here in differences:
        raise WriteError(
            f"{folder.label(name)} was written from another mask: its {what} is {there!r}, and here it is {here!r}. "
            "Type: overwrite=True to replace it, or another name."
        )


def _differences(file: Any, meta: FileMeta) -> Iterator[tuple[str, Any, Any]]:
    bands = tuple(range(1, file.count + 1))
    if (len(bands), file.height, file.width) != meta.shape:
        yield "shape (bands, y, x)", (len(bands), file.height, file.width), meta.shape
    if meta.transform is not None:
        if not np.allclose(tuple(file.transform)[:6], meta.transform, rtol=0, atol=_AGREE * abs(meta.transform[0])):
            yield "transform", tuple(file.transform)[:6], meta.transform
        if not _same_crs(file.crs, meta.crs_wkt):
            yield "CRS", str(file.crs), meta.crs_wkt
    tags = file.tags()
    for key in COMPARED:
        if tags.get(key) != meta.tags.get(key):
            yield key, tags.get(key), meta.tags.get(key)


def _same_crs(there: Any, wkt: str | None) -> bool:
    from rasterio.crs import CRS

    if not there or wkt is None:
        return not there and wkt is None
    here = CRS.from_wkt(wkt)
    # GeoTIFF keeps the parameters of a CRS that has no code, and not its name.
    return bool(there == here or there.to_dict() == here.to_dict())
