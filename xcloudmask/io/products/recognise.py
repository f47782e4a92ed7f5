"""`open`: whatever the user has, a product, files, or STAC items, as a lazy cube that `predict` takes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import xarray as xr

from xcloudmask._optional import require
from xcloudmask.errors import ArgumentError, ArgumentTypeError, ReadError
from xcloudmask.io._raster import RASTER_SUFFIXES, is_url
from xcloudmask.io._scenes import Chunks
from xcloudmask.io.products._build import build_products
from xcloudmask.io.products._product import Product
from xcloudmask.io.products.landsat import find_mtl, read_landsat
from xcloudmask.io.products.planetscope import find_planetscope, read_planetscope
from xcloudmask.io.products.safe import METADATA_FILES, is_safe, read_safe
from xcloudmask.io.read import open_cube

__all__ = ["open_any"]

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".7z")


def open_any(
    path_or_items: Any,
    *,
    bands: Collection[str] | None = None,
    resolution_m: float | None = None,
    chunks: Chunks = "auto",
) -> xr.Dataset:
    """Open products, files or STAC items as a lazy cube, with what their metadata say of scale and time.

    Parameters
    ----------
    path_or_items
        A Sentinel-2 ``.SAFE`` folder, a folder with Landsat Collection 2 bands and their ``MTL`` file, a folder of
        PlanetScope scenes, or the main file of one of these; several of them, or a folder that holds several. Anything
        else that `xcloudmask.io.open_cube` takes: rasters, folders of them, Zarr, NetCDF. Or STAC items, which go to
        `xcloudmask.stac.load`.
    bands
        Roles (``"nir"``), or names of bands in any spelling of the sensor; the variables are named so. None: all images
        of a product that have one pixel size, which are B02, B03, B04 and B08 of Sentinel-2, and all of Landsat but the
        panchromatic one; of STAC items what the default model needs.
    resolution_m
        Which pixel size to take of a product that has several: 10, 20 or 60 for Sentinel-2, 15 or 30 for Landsat.
        None: the finest at which all `bands` are there.
    chunks
        Chunk size along y and x: ``"auto"``, a number, a pair, or sizes by dimension.

    Returns
    -------
    Dataset
        A variable per band in the stored type (DN): (y, x) for one product, (time, y, x) for several dates. Products
        have ``attrs["sensor"]``, and for each variable ``band`` (the provider's name), ``nodata``, ``scale_factor`` and
        ``add_offset``, still to be applied: reflectance (kelvin for surface temperature) = DN * scale_factor +
        add_offset. Where these differ between dates they are coordinates along time instead,
        ``<band>_scale_factor`` and ``<band>_add_offset``. Thermal bands of Landsat Level 1 lead to radiance, and have
        ``k1`` and ``k2``. Coordinates: ``item_id``, ``platform``, ``processing_baseline``, ``sun_elevation``,
        ``sun_azimuth``, as far as they are known.

    Raises
    ------
    ReadError
        A file is missing, damaged, or not what its name says; also later, when pixels are read. It names the file.
    InputError
        Products that do not fit together: other sensors, other grids, or the same date twice.
    BandNotFoundError
        A name of `bands` is not there.
    ArgumentError, ArgumentTypeError
        An argument has a wrong value or type.

    Warns
    -----
    UserWarning
        Bands are left out because their files are missing.

    Notes
    -----
    JPEG 2000 is decoded by one thread at a time in each process: for whole Sentinel-2 products use the process
    scheduler or a Dask cluster. Metadata are read with bounds, and XML with a document type declaration is refused.

    Examples
    --------
    >>> open_any("S2A_MSIL1C_20190411T105621_N0207_R094_T31UFU_20190411T130806.SAFE")  # doctest: +SKIP
    """
    _check_arguments(bands, resolution_m)
    items = _as_items(path_or_items)
    if items is not None:
        if resolution_m is not None:
            raise ArgumentError(
                f"resolution_m={resolution_m:g} is for files. Type xcloudmask.stac.load(items, resolution=...)."
            )
        return _load_items(items, bands=bands, chunks=chunks)
    paths = _as_paths(path_or_items)
    products = {path: _recognise(path) for path in paths}
    unknown = [path for path, found in products.items() if not found]
    if not unknown:
        found = [product for several in products.values() for product in several]
        return build_products(found, bands=bands, resolution_m=resolution_m, chunks=chunks)
    if len(unknown) < len(paths):
        known = next(path for path in paths if path not in unknown)
        raise ArgumentError(f"{known} is a product with metadata, and {unknown[0]} is none. Open them one by one.")
    if resolution_m is not None:
        raise ArgumentError(
            f"resolution_m={resolution_m:g}: {unknown[0]} is no product that has several pixel sizes. Leave it out."
        )
    return open_cube(paths, chunks=chunks, bands=bands)


def _check_arguments(bands: Any, resolution_m: Any) -> None:
    if bands is not None and (isinstance(bands, str) or not isinstance(bands, Collection)):
        raise ArgumentTypeError(f"bands={bands!r} is a {type(bands).__name__}. Expected a list such as ['B04', 'B08'].")
    if bands is not None and (not bands or len(set(bands)) < len(bands)):
        raise ArgumentError(f"bands={list(bands)!r}: expected one name or more, each once, or None.")
    if resolution_m is not None and (isinstance(resolution_m, bool) or not isinstance(resolution_m, int | float)):
        raise ArgumentTypeError(
            f"resolution_m={resolution_m!r} is a {type(resolution_m).__name__}. Expected metres, such as 20."
        )


def _is_item(value: Any) -> bool:
    """A pystac item, or an item or item collection as a dictionary."""
    return hasattr(value, "assets") or (isinstance(value, Mapping) and bool({"assets", "features"} & set(value)))


def _as_items(given: Any) -> list[Any] | None:
    """STAC items as a list, or None where paths are given."""
    if isinstance(given, str | PathLike):
        return None
    if isinstance(given, Mapping) and "features" in given:
        return list(given["features"])
    if _is_item(given):
        return [given]
    if not isinstance(given, Iterable):
        raise ArgumentTypeError(
            f"{given!r} is a {type(given).__name__}. Expected a path, STAC items, or a list of them."
        )
    several = list(given)
    kinds = {_is_item(value) for value in several}
    if len(kinds) > 1:
        raise ArgumentTypeError("The list holds STAC items and other things. Expected items, or paths.")
    return several if kinds == {True} else None


def _as_paths(given: Any) -> list[str]:
    values = [given] if isinstance(given, str | PathLike) else list(given)
    try:
        paths = [fspath(value) for value in values]
    except TypeError as error:
        raise ArgumentTypeError(f"{values!r} holds no paths. Expected paths, or STAC items.") from error
    if not paths:
        raise ArgumentError("No input. Expected at least one path or STAC item.")
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise ArgumentError(f"{twice} is given twice.")
    return paths


def _load_items(items: list[Any], *, bands: Collection[str] | None, chunks: Chunks) -> xr.Dataset:
    # pystac comes with the extra: those who open files do without.
    from xcloudmask.stac import load

    if any(isinstance(item, Mapping) for item in items):
        pystac = require("pystac", extra="stac")
        items = [pystac.Item.from_dict(dict(item)) if isinstance(item, Mapping) else item for item in items]
    sizes: Any = dict(zip("yx", chunks, strict=True)) if isinstance(chunks, tuple) and len(chunks) == 2 else chunks
    return load(items, bands=None if bands is None else list(bands), chunks=None if sizes == "auto" else sizes)


def _recognise(path: str) -> list[Product]:
    """The products at a path; none where it is something else, which `open_cube` may know."""
    if is_url(path):
        return []
    place = Path(path)
    if not place.exists():
        raise ReadError(f"{path} does not exist.")
    if place.suffix.lower() in _ARCHIVES:
        raise ReadError(f"{path} is an archive. Unpack it, and give the folder.")
    if place.is_file():
        return [read_safe(place.parent)] if place.name in METADATA_FILES else _scenes_at(place)
    products = _products_of(place)
    if products or any(entry.suffix.lower() in RASTER_SUFFIXES for entry in place.iterdir()):
        return products
    return [product for entry in sorted(place.iterdir()) if entry.is_dir() for product in _products_of(entry)]


def _products_of(folder: Path) -> list[Product]:
    return [read_safe(folder)] if is_safe(folder) else _scenes_at(folder)


def _scenes_at(path: Path) -> list[Product]:
    landsat = [read_landsat(metadata) for metadata in find_mtl(path)]
    return landsat + [read_planetscope(image) for image in find_planetscope(path)]
