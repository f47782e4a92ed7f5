"""Masks as cloud-optimised GeoTIFFs: one file per date, written block by block, complete or not there at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask import base as dask_base

from xcloudmask.classes import CLASS_DIM, get_style
from xcloudmask.errors import ArgumentError, NotACubeError, WriteError
from xcloudmask.grid import spatial_dims, time_dim
from xcloudmask.io._cogfile import CogFile, CogMeta
from xcloudmask.io._georef import affine_of, crs_of
from xcloudmask.io._raster import inspect, is_url, lazy_band
from xcloudmask.io._scenes import chunk_sizes
from xcloudmask.io.zarr import DEFAULT_NAME, check_writable

__all__ = ["cog_paths", "open_cogs", "to_cog"]

OverviewResampling = Literal["nearest", "mode"]

BATCH_BYTES = 128 * 2**20
"""Codes held at once. A date of a Sentinel-2 tile has 120 MB."""
BATCH_FILES = 16
"""Files written at once."""
_ROWS_MULTIPLE = 512
_PROVENANCE = ("model", "model_sha256", "normalize", "xcloudmask_version")

Piece = tuple[int, int, int]
"""(date, first row, last row + 1)."""


def to_cog(
    mask: xr.DataArray,
    target: str | PathLike[str],
    *,
    overview_resampling: OverviewResampling = "nearest",
    overwrite: bool = False,
) -> list[Path]:
    """Write a mask to cloud-optimised GeoTIFFs, one per date.

    Nodata is 255; classes have a colour table; tags hold the class names, the share of each class and the model. Each
    file appears under its name when it is complete.

    Parameters
    ----------
    mask
        (time, y, x) or (y, x) uint8 mask; (time, cloud_class, y, x) uint8 percentages become a band per class.
    target
        A file (``.tif``) for one date, or a folder, which gets ``cloud_mask_20240801T112119.tif`` and so on.
    overview_resampling
        ``"nearest"`` or ``"mode"``; anything smoother would invent classes.
    overwrite
        Whether files that exist are replaced.

    Returns
    -------
    list of pathlib.Path
        The files, in the order of time.

    Raises
    ------
    NotACubeError
        `mask` is no mask, or one of float probabilities.
    ArgumentError
        A file was named for several dates, or an unknown resampling.
    WriteError
        A file exists, or cannot be written.

    Notes
    -----
    Some 128 MB of codes are computed at a time, and several dates together where they are small. Rows run from north to
    south in the file, whatever they do in the mask.

    Examples
    --------
    >>> to_cog(mask, "masks/")  # doctest: +SKIP
    [PosixPath('masks/cloud_mask_20240801T112119.tif')]
    """
    if overview_resampling not in ("nearest", "mode"):
        raise ArgumentError(f"overview_resampling={overview_resampling!r} is unknown. Expected 'nearest' or 'mode'.")
    check_writable(mask)
    if mask.dtype != np.uint8:
        raise NotACubeError(
            f"A COG holds codes or percentages (uint8), not {mask.dtype}. Type: predict(categorise=False)"
        )
    ordered = _north_up(mask)
    paths = _paths(ordered, target)
    for path in paths:
        if path.exists() and not overwrite:
            raise WriteError(f"{path} exists. Type: overwrite=True to replace it, or another name.")
    metas = [_meta(ordered, date, shares=CLASS_DIM in mask.dims) for date in range(len(paths))]
    _write(ordered, paths, metas, overview_resampling)
    return paths


def cog_paths(mask: xr.DataArray, target: str | PathLike[str]) -> list[Path]:
    """Return the files that `to_cog` would write.

    Parameters
    ----------
    mask, target
        As for `to_cog`.

    Returns
    -------
    list of pathlib.Path

    Raises
    ------
    ArgumentError
        A file was named for several dates.

    Examples
    --------
    >>> mask = xr.DataArray(np.zeros((2, 1, 1), np.uint8), dims=("time", "y", "x"), attrs={"output_style": "4-class"})
    >>> [path.name for path in cog_paths(mask, "masks")]
    ['cloud_mask_0.tif', 'cloud_mask_1.tif']
    """
    check_writable(mask)
    return _paths(_north_up(mask), target)


def open_cogs(paths: Sequence[Path], *, like: xr.DataArray) -> xr.DataArray:
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
    extra = {dim: 0 for dim in written.dims if dim not in like.dims}
    return written.isel(extra).transpose(*like.dims)


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


def _paths(mask: xr.DataArray, target: str | PathLike[str]) -> list[Path]:
    if is_url(str(target)):
        raise ArgumentError(f"{target} is a URL. Expected a local path; copy the files afterwards.")
    path = Path(target)
    count = mask.shape[0]
    if path.suffix.lower() in (".tif", ".tiff"):
        if count > 1:
            raise ArgumentError(
                f"{path} is one file, and the mask has {count} dates. Give a folder, such as {path.stem}/"
            )
        return [path]
    name = str(mask.name or DEFAULT_NAME)
    return [path / f"{stem}.tif" for stem in _stems(name, mask)]


def _stems(name: str, mask: xr.DataArray) -> list[str]:
    """Name each date; equal dates are numbered."""
    times = mask.coords.get(mask.dims[0])
    if times is None or times.dtype.kind != "M":
        count = mask.shape[0]
        stems = [name] if count == 1 else [f"{name}_{index:0{len(str(count - 1))}d}" for index in range(count)]
    else:
        stamps = times.values.astype("M8[s]").reshape(-1)
        stems = [f"{name}_{str(stamp).replace('-', '').replace(':', '')}" for stamp in stamps]
    totals, seen = Counter(stems), Counter[str]()
    for index, stem in enumerate(stems):
        seen[stem] += 1
        stems[index] = f"{stem}_{seen[stem]}" if totals[stem] > 1 else stem
    return stems


def _write(mask: xr.DataArray, paths: list[Path], metas: list[CogMeta], resampling: str) -> None:
    height = mask.shape[2]
    files: dict[int, CogFile] = {}
    with ExitStack() as stack:
        for batch in _batches(mask):
            for (date, first, last), block in zip(batch, _compute(mask, batch), strict=True):
                if date not in files:
                    files[date] = stack.enter_context(CogFile(paths[date], metas[date], resampling=resampling))
                files[date].write(first, block)
                if last == height:
                    files.pop(date).finish()


def _meta(mask: xr.DataArray, date: int, *, shares: bool) -> CogMeta:
    crs = crs_of(mask)
    style = str(mask.attrs.get("output_style", "4-class"))
    names = mask.coords[CLASS_DIM].values.tolist() if CLASS_DIM in mask.coords else get_style(style).meanings
    return CogMeta(
        shape=(mask.shape[1], mask.shape[2], mask.shape[3]),
        crs_wkt=None if crs is None else crs.to_wkt(),
        transform=affine_of(mask),
        style=style,
        bands=tuple(map(str, names)) if shares else (),
        datetime=_datetime(mask, date),
        provenance={key: str(mask.attrs[key]) for key in _PROVENANCE if key in mask.attrs},
    )


def _datetime(mask: xr.DataArray, date: int) -> str:
    times = mask.coords.get(mask.dims[0])
    if times is None or times.dtype.kind != "M" or np.isnat(times.values[date]):
        return ""
    return f"{times.values[date].astype('M8[s]')}Z"


def _batches(mask: xr.DataArray) -> Iterator[list[Piece]]:
    """Group pieces, each of whole dask chunks, until they fill the memory that is allowed."""
    row_bytes = mask.shape[1] * mask.shape[3]
    batch: list[Piece] = []
    room = BATCH_BYTES
    for date in range(mask.shape[0]):
        for first, last in _row_groups(mask, row_bytes):
            needed = (last - first) * row_bytes
            if batch and (needed > room or len(batch) >= BATCH_FILES):
                yield batch
                batch, room = [], BATCH_BYTES
            batch.append((date, first, last))
            room -= needed
    if batch:
        yield batch


def _row_groups(mask: xr.DataArray, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows that fit, ending on the borders of dask chunks."""
    height = mask.shape[2]
    sizes = mask.chunks[2] if mask.chunks is not None else (_ROWS_MULTIPLE,) * -(-height // _ROWS_MULTIPLE)
    first = last = 0
    for size in sizes:
        end = min(last + size, height)
        if last > first and (end - first) * row_bytes > BATCH_BYTES:
            yield first, last
            first = last
        last = end
    yield first, last


def _compute(mask: xr.DataArray, batch: list[Piece]) -> list[npt.NDArray[np.uint8]]:
    pieces = [mask.variable[date, :, first:last, :] for date, first, last in batch]
    untyped: Any = dask_base
    return [np.asarray(piece.values) for piece in untyped.compute(*pieces)]
