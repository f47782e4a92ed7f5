"""`open_cube`: files on disk to a lazy cube that `predict` takes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import xarray as xr

from xcloudmask._optional import available, require
from xcloudmask.errors import ArgumentError, ArgumentTypeError, BandNotFoundError, NotACubeError, ReadError
from xcloudmask.grid import spatial_dims
from xcloudmask.io._raster import RASTER_SUFFIXES, inspect, is_url, name_of
from xcloudmask.io._scenes import Chunks, build_dataset, chunk_sizes
from xcloudmask.io.zarr import ZARR_FILES

__all__ = ["open_cube"]

PathLikes = str | PathLike[str] | Sequence[str | PathLike[str]]

_NETCDF_SUFFIXES = (".nc", ".nc4", ".netcdf", ".h5")


def open_cube(paths: PathLikes, *, chunks: Chunks = "auto", bands: Collection[str] | None = None) -> xr.Dataset:
    """Open images as a lazy cube, with a variable per band.

    Parameters
    ----------
    paths
        A GeoTIFF or other raster with one or several bands, several of them, a folder of them, a Zarr store or a
        NetCDF file; local paths or URLs. Bands are named after file names (``..._B04.tif``, ``..._SR_B4.TIF``) or the
        band descriptions in the file. Files of one grid and several dates become a time series.
    chunks
        Chunk size along y and x: ``"auto"`` (2048 for rasters and NetCDF, the stored chunks for Zarr), a number, a
        pair, or sizes by dimension.
    bands
        Names of bands to keep. None keeps all images: layers about them (scene classes, angles, quality) are left out.

    Returns
    -------
    Dataset
        (y, x) or (time, y, x) variables in the stored type (DN), with CRS and coordinates. Rasters without georeference
        have no coordinates.

    Raises
    ------
    ReadError
        A file is missing, damaged or of an unknown format; also later, when pixels are read. It names the file.
    InputError
        The files do not fit together.
    BandNotFoundError
        A name of `bands` is not there.

    Warns
    -----
    UserWarning
        Bands on another grid than the finest one are left out.

    Notes
    -----
    Each task opens and closes the file. Formats other than GeoTIFF are read one chunk at a time in each process:
    for JPEG 2000, use the process scheduler.

    Examples
    --------
    >>> open_cube("S2A_MSIL1C.SAFE", bands=["B03", "B04", "B08"])  # doctest: +SKIP
    """
    given = _as_list(paths)
    stores = [path for path in given if _is_zarr(path) or name_of(path).suffix.lower() in _NETCDF_SUFFIXES]
    if stores and len(given) > 1:
        raise ArgumentError(f"{stores[0]} is a whole cube. Expected it alone, not among {len(given)} inputs.")
    if stores:
        return _open_store(stores[0], chunks=chunks, bands=bands)
    files = [file for path in given for file in _expand(path)]
    return build_dataset([inspect(path) for path in files], chunks=chunks, bands=bands)


def _as_list(paths: PathLikes) -> list[str]:
    items: Iterable[Any] = [paths] if isinstance(paths, str | PathLike) else paths
    try:
        given = [fspath(path) for path in items]
    except TypeError as error:
        raise ArgumentTypeError(f"paths={paths!r} is no path. Expected a path, a URL, or a list of them.") from error
    if not given:
        raise ArgumentError("No input. Expected at least one path.")
    return given


def _is_zarr(path: str) -> bool:
    if is_url(path):
        return name_of(path).suffix.lower() == ".zarr"
    return any((Path(path) / name).exists() for name in ZARR_FILES)


def _expand(path: str) -> list[str]:
    """Return the raster files of a folder, or the file itself."""
    folder = Path(path)
    if is_url(path) or not folder.is_dir():
        return [path]
    # Sentinel-2 products keep their images some folders down, among previews and masks.
    found = folder.glob("GRANULE/*/IMG_DATA/**/*.jp2") if folder.suffix.upper() == ".SAFE" else folder.iterdir()
    files = sorted(str(file) for file in found if file.suffix.lower() in RASTER_SUFFIXES)
    if files:
        return files
    entries = sorted(entry.name for entry in folder.iterdir())
    shown = ", ".join(entries[:5]) + (", ..." if len(entries) > 5 else "") if entries else "nothing"
    raise ReadError(
        f"{path} holds no raster ({', '.join(RASTER_SUFFIXES)}). Found: {shown}. Type the path of one scene."
    )


def _open_store(path: str, *, chunks: Chunks, bands: Collection[str] | None) -> xr.Dataset:
    options: dict[str, Any] = {"decode_coords": "all"}
    if _is_zarr(path):
        options |= {"engine": "zarr", "consolidated": None if is_url(path) else (Path(path) / ".zmetadata").exists()}
    elif not available("netCDF4"):
        require("h5netcdf", extra="netcdf")
        require("h5py", extra="netcdf")
    if not is_url(path) and not Path(path).exists():
        raise ReadError(f"{path} does not exist.")
    peek = _open_dataset(path, chunks=None, **options)
    missing = [name for name in bands or () if name not in peek.data_vars]
    if missing:
        found = ", ".join(map(str, peek.data_vars)) or "none"
        raise BandNotFoundError(f"{path} has no variable {missing[0]!r}. Found: {found}.")
    # A task of its own for the store misleads dask's order where a mask is written: it loads whole bands first.
    options |= {"chunks": _store_chunks(peek, chunks, stored=_is_zarr(path)), "inline_array": True}
    try:
        cube = _open_dataset(path, **options)
    finally:
        peek.close()
    return cube if bands is None else cube[list(bands)]


def _open_dataset(path: str, **options: Any) -> xr.Dataset:
    try:
        return xr.open_dataset(path, **options)
    except (OSError, ValueError, KeyError) as error:
        raise ReadError(f"{path} cannot be read: {error}") from error


def _store_chunks(dataset: xr.Dataset, chunks: Chunks, *, stored: bool) -> dict[Any, Any]:
    """Return the chunks to open with: whole shards where the store has them."""
    try:
        y, x = spatial_dims(dataset)
    except NotACubeError:
        return {}
    if chunks != "auto" or not stored:
        sizes = chunk_sizes((dataset.sizes[y], dataset.sizes[x]), (1, 1), chunks)
        return (
            {"time": 1, y: sizes[0][0], x: sizes[1][0]} if "time" in dataset.sizes else {y: sizes[0][0], x: sizes[1][0]}
        )
    for variable in dataset.data_vars.values():
        shards = variable.encoding.get("shards")
        if shards and {y, x} <= set(variable.dims):
            return dict(zip(variable.dims, shards, strict=True))
    return {}
