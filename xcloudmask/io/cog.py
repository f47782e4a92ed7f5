"""Masks as cloud-optimised GeoTIFFs: a file per date and style, written block by block, complete or not there."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, get_args

import dask.array as da
import numpy as np
import xarray as xr

from xcloudmask.classes import CLASS_DIM
from xcloudmask.errors import ArgumentError, InputError, NotACubeError
from xcloudmask.grid import spatial_dims, time_dim
from xcloudmask.io._cogplan import StyleChoice, missing_files, plan_files
from xcloudmask.io._cogwrite import write_files
from xcloudmask.io._georef import affine_of, crs_of
from xcloudmask.io._raster import inspect, lazy_band
from xcloudmask.io._scenes import chunk_sizes
from xcloudmask.io.zarr import check_writable

__all__ = ["cog_paths", "open_cogs", "to_cog"]

OverviewResampling = Literal["nearest", "mode", "average"]


def to_cog(
    mask: xr.DataArray,
    target: str | PathLike[str],
    *,
    style: StyleChoice = None,
    name_template: str | None = None,
    overview_resampling: OverviewResampling | None = None,
    overwrite: bool = False,
    resume: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Write a mask to cloud-optimised GeoTIFFs, one per date and style.

    Nodata is 255. Tags hold the class names, the share of each class, the model and its settings. Codes have a colour
    table, and a sidecar (``.tif.aux.xml``) with the class names and a raster attribute table, as GDAL and QGIS read
    it. A file appears under its name when it is complete.

    Parameters
    ----------
    mask
        (time, y, x) or (y, x) uint8 mask; (time, cloud_class, y, x) uint8 percentages become a band per class.
    target
        A file (``.tif``) for one date and style, or a folder, which gets ``cloud_mask_20240801T112119.tif`` and so on.
        A path, or a URL that fsspec knows, such as ``"s3://bucket/masks/"``.
    style
        Output style, or several; None is that of the mask. A 4-class mask can be written in any; it is computed once.
    name_template
        Name of each file in the folder, such as ``"{time:%Y}/{item_id}_{style}.tif"``. Fields: ``name`` (of the mask),
        ``time``, ``style``, ``index`` (along time), and each coordinate that is a scalar or lies along time. None is
        ``"{name}_{time}.tif"``, or ``"{name}_{time}_{style}.tif"`` for several styles; equal names are numbered.
    overview_resampling
        ``"nearest"`` or ``"mode"``; for percentages also ``"average"``. None is ``"nearest"`` for codes, which keeps
        the share of each class, and ``"average"`` for percentages.
    overwrite
        Whether files that exist are replaced.
    resume
        Whether files that exist are kept, and only those that are missing are computed and written. Kept files must
        have the grid, model and settings of `mask`.
    storage_options
        For fsspec, where `target` is a URL.

    Returns
    -------
    list of pathlib.Path, or of str for a URL
        The files, in the order of time, then of styles.

    Raises
    ------
    NotACubeError
        `mask` is no mask, or one of float probabilities.
    ArgumentError
        A file was named for several dates, an unknown resampling or field, or one name for two files.
    InputError
        The mask has lost the classes that a style needs.
    WriteError
        A file exists, was kept from another mask, or cannot be written.

    Warns
    -----
    UserWarning
        The coordinates are not regular, so the file gets no georeference.

    Notes
    -----
    Some 128 MB of codes (``array.chunk-size`` of dask's configuration), and at least one chunk of rows, are computed at
    a time; several dates together where they are small. No chunk is computed twice. Rows run from north to south in the
    file, whatever they do in the mask.

    Files are made in a hidden folder beside their final place (for URLs: in a temporary folder). Leftovers of killed
    runs are removed by the next run into the same folder.

    Examples
    --------
    >>> to_cog(mask, "masks/", style=["4-class", "cloud-noncloud"])  # doctest: +SKIP
    [PosixPath('masks/cloud_mask_20240801T112119_4-class.tif'), ...]
    """
    shares = _check(mask)
    resampling = _resampling(overview_resampling, shares=shares)
    if overwrite and resume:
        raise ArgumentError("overwrite=True replaces what exists, resume=True keeps it. Give one of them.")
    ordered = _north_up(mask)
    folder, metas = plan_files(ordered, target, style, name_template, storage_options or {}, shares=shares)
    missing = missing_files(folder, metas, overwrite=overwrite, resume=resume)
    if missing:
        _warn_without_georeference(ordered)
        write_files(ordered, folder, missing, resampling)
    else:
        folder.tidy()
    return [folder.result(name) for name in metas]


def cog_paths(
    mask: xr.DataArray, target: str | PathLike[str], *, style: StyleChoice = None, name_template: str | None = None
) -> list[Any]:
    """Return the files that `to_cog` would write.

    Parameters
    ----------
    mask, target, style, name_template
        As for `to_cog`.

    Returns
    -------
    list of pathlib.Path, or of str for a URL

    Raises
    ------
    ArgumentError
        A file was named for several dates, an unknown field, or one name for two files.

    Examples
    --------
    >>> mask = xr.DataArray(np.zeros((2, 1, 1), np.uint8), dims=("time", "y", "x"), attrs={"output_style": "4-class"})
    >>> [path.name for path in cog_paths(mask, "masks")]
    ['cloud_mask_0.tif', 'cloud_mask_1.tif']
    """
    check_writable(mask)
    shares = CLASS_DIM in mask.dims
    folder, metas = plan_files(_north_up(mask), target, style, name_template, {}, shares=shares)
    return [folder.result(name) for name in metas]


def open_cogs(paths: Sequence[str | PathLike[str]], *, like: xr.DataArray) -> xr.DataArray:
    """Open what `to_cog` wrote, in the shape of the mask it was given.

    Parameters
    ----------
    paths
        The files, in the order of time.
    like
        The mask that was written; its pixels are not used.

    Returns
    -------
    DataArray
        Lazy, with the dims, coordinates and attributes of `like`.

    Raises
    ------
    ReadError
        A file cannot be read.

    Examples
    --------
    >>> open_cogs(to_cog(mask, "masks/"), like=mask)  # doctest: +SKIP
    """
    ordered = _north_up(like)
    untyped: Any = da
    files = [inspect(str(path)) for path in paths]
    sizes = chunk_sizes(files[0].shape, files[0].block, "auto")
    data = untyped.stack(
        [untyped.stack([lazy_band(file, band, sizes) for band in range(1, ordered.shape[1] + 1)]) for file in files]
    )
    written = ordered.copy(data=data)
    y, _ = spatial_dims(like)
    if y in like.coords and not written.indexes[y].equals(like.indexes[y]):
        written = written.isel({y: slice(None, None, -1)})
    extra: dict[Hashable, int] = {dim: 0 for dim in written.dims if dim not in like.dims}
    return written.isel(extra).transpose(*like.dims)


def _check(mask: xr.DataArray) -> bool:
    """Refuse what cannot be written; return whether it is percentages."""
    check_writable(mask)
    if mask.dtype != np.uint8:
        raise NotACubeError(
            f"A COG holds codes or percentages (uint8), not {mask.dtype}. Type: predict(categorise=False)"
        )
    empty = next((dim for dim in spatial_dims(mask) if not mask.sizes[dim]), None)
    if empty is not None:
        raise InputError(f"The mask has no pixels: {empty!r} has no entries. Expected one pixel or more.")
    known = {*spatial_dims(mask), time_dim(mask), CLASS_DIM}
    others = [str(dim) for dim in mask.dims if dim not in known]
    if others:
        raise NotACubeError(
            f"The mask has a dimension {others[0]!r} beside time, y and x. Type: mask.isel({others[0]}=0)"
        )
    return CLASS_DIM in mask.dims


def _resampling(wanted: str | None, *, shares: bool) -> str:
    if wanted is None:
        return "average" if shares else "nearest"
    allowed = get_args(OverviewResampling) if shares else ("nearest", "mode")
    if wanted not in allowed:
        hint = " An average of codes would be another class." if wanted == "average" else ""
        raise ArgumentError(
            f"overview_resampling={wanted!r} is unknown here. Expected {' or '.join(map(repr, allowed))}.{hint}"
        )
    return wanted


def _north_up(mask: xr.DataArray) -> xr.DataArray:
    """Return (time, band, y, x), with the northernmost row first."""
    y, x = spatial_dims(mask)
    time = time_dim(mask)
    if time is None:
        mask, time = mask.expand_dims("time"), "time"
    if CLASS_DIM not in mask.dims:
        mask = mask.expand_dims(CLASS_DIM)
    ordered = mask.transpose(time, CLASS_DIM, y, x)
    rows = ordered.coords.get(y)
    ascending = rows is not None and rows.size > 1 and float(rows[0]) < float(rows[-1])
    # Without CRS ascending rows are the usual count of rows from the top.
    return ordered.isel({y: slice(None, None, -1)}) if ascending and crs_of(mask) is not None else ordered


def _warn_without_georeference(mask: xr.DataArray) -> None:
    if crs_of(mask) is not None and affine_of(mask) is None:
        warnings.warn(
            "The coordinates are not regular, so the GeoTIFF gets no georeference. Reproject the mask first, for "
            "instance with mask.odc.reproject(...).",
            stacklevel=3,
        )
