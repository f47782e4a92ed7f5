"""One raster file: what its header says, and its bands as dask arrays that name the file when they cannot be read."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import tokenize

from xcloudmask.errors import ReadError
from xcloudmask.io._names import acquisition_time, platform_of
from xcloudmask.io._turns import Turns

__all__ = ["RASTER_SUFFIXES", "RasterFile", "file_turns", "inspect", "is_url", "lazy_band", "name_of", "open_quietly"]

_DRIVERS = {
    ".tif": "GTiff",
    ".tiff": "GTiff",
    ".jp2": "JP2OpenJPEG",
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".img": "HFA",
}
"""One driver per suffix: formats that point to other files, such as VRT, are not opened."""

RASTER_SUFFIXES = tuple(_DRIVERS)
"""Suffixes of raster files, in lower case."""

# GDAL: reading JP2 while another thread closes a GeoTIFF can crash the process. So GeoTIFFs are read by several
# threads, and a file of another format by one while no other file is open here.
file_turns = Turns()
# The filters of `warnings` belong to the process: they are changed by one thread at a time.
_warning_filters = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterFile:
    """The header of a raster file."""

    path: str
    """Path or URL."""
    driver: str
    """GDAL's short name of the format."""
    shape: tuple[int, int]
    """Rows and columns."""
    block: tuple[int, int]
    """Rows and columns of a block of the first band."""
    dtypes: tuple[str, ...]
    """Type of each band."""
    descriptions: tuple[str | None, ...]
    """Description of each band, else its colour (red, green, blue)."""
    nodata: tuple[float | None, ...]
    """Declared nodata value of each band."""
    scales: tuple[tuple[float, float], ...]
    """Declared (scale, offset) of each band; (1, 0) where nothing is declared."""
    crs_wkt: str | None
    """The CRS, or None."""
    transform: tuple[float, float, float, float, float, float] | None
    """Affine transform, or None where the file has no georeference."""
    time: np.datetime64 | None
    """Acquisition, from the tags or the file name."""
    platform: str | None
    """STAC platform, from the file name."""
    version: tuple[int, int]
    """Modification time and size of a local file: they tell a changed file from the old one."""

    @property
    def grid(self) -> tuple[Any, ...]:
        """What files on one grid have in common."""
        return (self.shape, self.transform, self.crs_wkt)

    @property
    def pixel_area(self) -> float:
        """Area of a pixel in units of the CRS; without georeference a share of the image."""
        if self.transform is None:
            return 1.0 / (self.shape[0] * self.shape[1])
        a, b, _, d, e, _ = self.transform
        return abs(a * e - b * d)


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterBand:
    """One band that reads windows; it holds no open file, so that it travels to any process."""

    path: str
    """Path or URL."""
    driver: str
    """GDAL's short name of the format."""
    index: int
    """Band number, from 1."""
    shape: tuple[int, int]
    """Rows and columns."""
    dtype: np.dtype[Any]
    """Type of the pixels."""
    georeferenced: bool
    """Whether the file has a transform: GDAL warns where it has none."""
    exclusive: bool
    """Whether no other file may be open in this process at the same time."""

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    def __getitem__(self, window: tuple[slice, slice]) -> npt.NDArray[Any]:
        """Read a window."""
        rows, columns = (slice(*part.indices(size)) for part, size in zip(window, self.shape, strict=True))
        with (
            file_turns.alone() if self.exclusive else file_turns.shared(),
            _open(self.path, self.driver, quiet=not self.georeferenced) as source,
        ):
            pixels: npt.NDArray[Any] = source.read(
                self.index, window=((rows.start, rows.stop), (columns.start, columns.stop))
            )
        return pixels[:: rows.step, :: columns.step]


def is_url(path: str) -> bool:
    """Whether a path is a URL such as https://... or s3://...

    Parameters
    ----------
    path
        As typed.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_url("s3://bucket/B04.tif"), is_url("folder/B04.tif")
    (True, False)
    """
    return "://" in path


def name_of(path: str) -> PurePosixPath:
    """Return the path of a file or URL, without query, for its name and suffix.

    Parameters
    ----------
    path
        As typed.

    Returns
    -------
    pathlib.PurePosixPath

    Examples
    --------
    >>> name_of("https://host/folder/B04.tif?signature=x.y").name
    'B04.tif'
    """
    return PurePosixPath(urlsplit(path).path if is_url(path) else Path(path).as_posix())


def inspect(path: str) -> RasterFile:
    """Read the header of a raster file.

    Parameters
    ----------
    path
        GeoTIFF or another raster of `RASTER_SUFFIXES`; local or a URL.

    Returns
    -------
    RasterFile

    Raises
    ------
    ReadError
        Missing, of an unknown format, or damaged; the message names the file.

    Examples
    --------
    >>> inspect("B04.tif").shape  # doctest: +SKIP
    (10980, 10980)
    """
    driver = _DRIVERS.get(name_of(path).suffix.lower())
    if driver is None:
        raise ReadError(f"{path} is no raster that is read here. Expected one of: {', '.join(RASTER_SUFFIXES)}.")
    if not is_url(path) and not Path(path).exists():
        raise ReadError(f"{path} does not exist.")
    with file_turns.shared() if driver == "GTiff" else file_turns.alone(), _open(path, driver, quiet=True) as source:
        return _header(path, driver, source)


def _header(path: str, driver: str, source: Any) -> RasterFile:
    transform = None if source.transform.is_identity else tuple(source.transform)[:6]
    name = name_of(path)
    stat = None if is_url(path) else Path(path).stat()
    return RasterFile(
        path=path,
        driver=driver,
        shape=source.shape,
        block=source.block_shapes[0],
        dtypes=source.dtypes,
        descriptions=_descriptions(source),
        nodata=source.nodatavals,
        scales=tuple(zip(source.scales, source.offsets, strict=True)),
        crs_wkt=source.crs.to_wkt() if source.crs else None,
        transform=transform,
        time=_tagged_time(source.tags()) or acquisition_time(name.stem),
        platform=platform_of(name.name) or platform_of(name.parent.name),
        version=(0, 0) if stat is None else (stat.st_mtime_ns, stat.st_size),
    )


def _descriptions(source: Any) -> tuple[str | None, ...]:
    colours = [colour.name if colour.name in ("red", "green", "blue") else None for colour in source.colorinterp]
    return tuple(text or colour for text, colour in zip(source.descriptions, colours, strict=True))


def _tagged_time(tags: dict[str, str]) -> np.datetime64 | None:
    for key, value in tags.items():
        if key.casefold() in ("datetime", "acquisition_datetime", "acquisitiondatetime", "sensing_time"):
            return acquisition_time(value)
    return None


def open_quietly(path: str, mode: str = "r", **options: Any) -> Any:
    """Open a raster without GDAL's warning that it has no georeference.

    Parameters
    ----------
    path
        Path or URL.
    mode, options
        As for `rasterio.open`.

    Returns
    -------
    rasterio dataset

    Examples
    --------
    >>> open_quietly("B04.tif").count  # doctest: +SKIP
    1
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with _warning_filters, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, mode, **options)


def lazy_band(
    file: RasterFile, index: int, chunks: tuple[tuple[int, ...], tuple[int, ...]], *, exclusive: bool = False
) -> da.Array:
    """Return one band as a dask array.

    Parameters
    ----------
    file
        The header.
    index
        Band number, from 1.
    chunks
        Chunk sizes along y and x.
    exclusive
        Whether the file is read while no other one is open: for cubes that have files other than GeoTIFF.

    Returns
    -------
    dask.array.Array
        (y, x), with the same keys in every process.

    Examples
    --------
    >>> lazy_band(inspect("B04.tif"), 1, ((512,), (512,)))  # doctest: +SKIP
    """
    dtype = np.dtype(file.dtypes[index - 1])
    band = RasterBand(
        path=file.path,
        driver=file.driver,
        index=index,
        shape=file.shape,
        dtype=dtype,
        georeferenced=file.transform is not None,
        exclusive=exclusive or file.driver != "GTiff",
    )
    untyped: Any = da
    array: da.Array = untyped.from_array(
        band,
        chunks=chunks,
        name="raster-" + tokenize(file.path, file.version, index, chunks),
        asarray=True,
        fancy=False,
        meta=np.empty((0, 0), dtype),
    )
    return array


@contextmanager
def _open(path: str, driver: str, *, quiet: bool) -> Iterator[Any]:
    """Open a raster; what goes wrong becomes a ReadError that names the file."""
    import rasterio
    from rasterio.errors import RasterioError

    # Remote files: GDAL would otherwise ask the server for neighbours of the file.
    options = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"} if is_url(path) else {}
    try:
        with rasterio.Env(**options), (open_quietly if quiet else rasterio.open)(path, driver=driver) as source:
            yield source
    except (RasterioError, OSError) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{path} cannot be read: {error.__cause__ or error}") from error
