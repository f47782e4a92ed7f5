"""`open_store`: masks on disk or at a URL, told by what they are."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

import xarray as xr

from xcloudmask.errors import ArgumentTypeError, ReadError
from xcloudmask.io._cogread import open_mask_files
from xcloudmask.io._raster import is_url, name_of
from xcloudmask.io.zarr import ZARR_FILES, open_mask

__all__ = ["open_store"]

_GEOTIFF = (".tif", ".tiff")
_CATALOGUE = "catalog.json"


def open_store(store: str | PathLike[str]) -> xr.DataArray:
    """Open masks that this package wrote, whatever they were written to.

    Parameters
    ----------
    store
        A Zarr store, an Icechunk repository, a COG, a folder of COGs, or the folder of a STAC catalogue with COGs in
        it. A folder is told by its content, a URL by its name: ``.zarr``, ``.icechunk``, ``.tif``.

    Returns
    -------
    DataArray
        Lazy, (time, y, x) or (y, x) for what was written without time. COGs of several output styles: the 4-class ones.

    Raises
    ------
    ReadError
        There is nothing, or it holds no mask.
    InputError
        The COGs of a folder do not belong together.
    MissingPackageError
        Icechunk is not installed.
    ArgumentTypeError
        `store` is no path.

    Examples
    --------
    >>> open_store("masks.zarr").dtype  # doctest: +SKIP
    dtype('uint8')
    """
    if not isinstance(store, str | PathLike):
        raise ArgumentTypeError(f"store is a {type(store).__name__}. Expected a path or a URL, such as 'masks.zarr'.")
    text = fspath(store)
    if is_url(text):
        return _open_url(text)
    path = Path(text)
    if not path.exists():
        raise ReadError(
            f"{path} does not exist. Expected a Zarr store, an Icechunk repository, a COG, a folder of COGs, or the "
            "folder of a STAC catalogue."
        )
    if path.is_file():
        if path.name == _CATALOGUE:
            return _open_folder(path.parent)
        if path.suffix.lower() not in _GEOTIFF:
            raise ReadError(f"{path} is no mask. Expected a Zarr store, a GeoTIFF (.tif) or a folder of them.")
        return open_mask_files([text])
    return _open_folder(path)


def _open_url(url: str) -> xr.DataArray:
    suffix = name_of(url.rstrip("/")).suffix.lower()
    if suffix in _GEOTIFF:
        return open_mask_files([url])
    return _open_icechunk(url) if suffix == ".icechunk" else open_mask(url)


def _open_folder(path: Path) -> xr.DataArray:
    if any((path / name).exists() for name in ZARR_FILES):
        return open_mask(fspath(path))
    if (path / "snapshots").is_dir() and any((path / name).exists() for name in ("refs", "repo")):
        return _open_icechunk(fspath(path))
    # Hrefs of a catalogue may lead anywhere: the files below it are those that were written with it.
    found = path.rglob("*") if (path / _CATALOGUE).is_file() else path.iterdir()
    files = sorted(fspath(file) for file in found if file.suffix.lower() in _GEOTIFF and not file.name.startswith("."))
    if files:
        return open_mask_files(files)
    entries = sorted(entry.name for entry in path.iterdir())
    shown = ", ".join(entries[:5]) + (", ..." if len(entries) > 5 else "") if entries else "nothing"
    raise ReadError(f"{path} holds no masks. Found: {shown}. Expected a Zarr store, or a folder of GeoTIFFs (.tif).")


def _open_icechunk(text: str) -> xr.DataArray:
    from xcloudmask.io.icechunk import open_icechunk

    return open_icechunk(text)
