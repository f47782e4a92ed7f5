"""Raster files to one Dataset: which file is which band of which date, and which of them lie on one grid."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xcloudmask.errors import ArgumentError, ArgumentTypeError, BandNotFoundError, InputError
from xcloudmask.io._names import band_of, is_auxiliary
from xcloudmask.io._raster import RasterFile, lazy_band, name_of

__all__ = ["Chunks", "build_dataset", "chunk_sizes", "grid_coords"]

Chunks = int | tuple[int, int] | Mapping[str, int] | str
"""Chunk size for y and x, a pair, sizes by dimension, or ``"auto"``."""

AUTO_CHUNK_PX = 2048

Scene = dict[str, "Layer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One band of one file."""

    file: RasterFile
    """The file it is in."""
    index: int
    """Band number in the file, from 1."""
    name: str
    """Its name in the Dataset."""

    @property
    def declared(self) -> tuple[float | None, tuple[float, float]]:
        """Nodata, and (scale, offset)."""
        nodata = self.file.nodata[self.index - 1]
        # NaN is not equal to itself, and two files that both declare it agree.
        return (None if nodata is not None and np.isnan(nodata) else nodata, self.file.scales[self.index - 1])


def build_dataset(files: Sequence[RasterFile], *, chunks: Chunks, bands: Collection[str] | None) -> xr.Dataset:
    """Put the bands of raster files together, lazily.

    Parameters
    ----------
    files
        Headers of the files.
    chunks
        Chunk sizes.
    bands
        Names to keep; None keeps all that are images.

    Returns
    -------
    Dataset
        A variable per band, (y, x), or (time, y, x) where the files are of several dates.

    Raises
    ------
    InputError
        The files do not fit together.
    BandNotFoundError
        A band of `bands` is in no file.

    Examples
    --------
    >>> build_dataset([inspect("B04.tif")], chunks="auto", bands=None)  # doctest: +SKIP
    """
    layers = _chosen(_layers(files), bands)
    scenes = _scenes(layers)
    _check_grids(scenes)
    names = [name for name in next(iter(scenes.values())) if all(name in scene for scene in scenes.values())]
    if not names:
        raise InputError("The files are of several dates and have no band in common. Give the files of one sensor.")
    first = next(iter(scenes.values()))[names[0]].file
    sizes = chunk_sizes(first.shape, first.block, chunks)
    exclusive = any(layer.file.driver != "GTiff" for layer in layers)
    variables = {name: _variable([scene[name] for scene in scenes.values()], sizes, exclusive) for name in names}
    times = list(scenes)
    dataset = xr.Dataset(variables, coords=grid_coords(first, times))
    for variable in dataset.data_vars.values():
        variable.encoding["grid_mapping"] = "spatial_ref"
    platforms = {layer.file.platform for layer in layers}
    if len(platforms) == 1 and None not in platforms:
        dataset.attrs["platform"] = platforms.pop()
    return dataset


def chunk_sizes(
    shape: tuple[int, int], block: tuple[int, int], chunks: Chunks
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return chunk sizes along y and x.

    Parameters
    ----------
    shape
        Rows and columns.
    block
        Rows and columns of a block of the file: ``"auto"`` ends chunks on the borders of blocks where it can.
    chunks
        What the user asked for.

    Returns
    -------
    tuple of tuple of int

    Raises
    ------
    ArgumentError
        A size below 1, or an unknown dimension.
    ArgumentTypeError
        No whole numbers.

    Examples
    --------
    >>> chunk_sizes((5000, 3000), (512, 512), "auto")
    ((2048, 2048, 904), (2048, 952))
    """
    if chunks == "auto":
        wanted = [AUTO_CHUNK_PX // edge * edge if edge <= AUTO_CHUNK_PX else AUTO_CHUNK_PX for edge in block]
    elif isinstance(chunks, Mapping):
        if set(chunks) - {"y", "x", "time"}:
            raise ArgumentError(f"chunks={dict(chunks)!r}: expected sizes for 'y' and 'x'.")
        wanted = [chunks.get(dim, size) for dim, size in zip("yx", shape, strict=True)]
    elif isinstance(chunks, tuple) and len(chunks) == len(shape):
        wanted = list(chunks)
    else:
        wanted = [chunks, chunks]  # type: ignore[list-item]
    if any(isinstance(size, bool) or not isinstance(size, int) for size in wanted):
        raise ArgumentTypeError(
            f"chunks={chunks!r} is not understood. Type: chunks=2048, or chunks={{'y': ..., 'x': ...}}"
        )
    if any(size < 1 for size in wanted):
        raise ArgumentError(f"chunks={chunks!r}: expected sizes of 1 or more pixels.")
    y, x = (_split(length, size) for length, size in zip(shape, wanted, strict=True))
    return y, x


def _split(length: int, size: int) -> tuple[int, ...]:
    whole, rest = divmod(length, size)
    return (size,) * whole + ((rest,) if rest else ())


def _layers(files: Iterable[RasterFile]) -> list[Layer]:
    return [
        Layer(file=file, index=index, name=_layer_name(file, index))
        for file in files
        for index in range(1, len(file.dtypes) + 1)
    ]


def _layer_name(file: RasterFile, index: int) -> str:
    stem = name_of(file.path).stem
    description = file.descriptions[index - 1]
    if len(file.dtypes) > 1:
        return description or f"band_{index}"
    return band_of(stem) or (stem if is_auxiliary(stem) else description) or stem


def _chosen(layers: list[Layer], bands: Collection[str] | None) -> list[Layer]:
    found = ", ".join(dict.fromkeys(layer.name for layer in layers))
    if bands is not None:
        missing = [name for name in bands if name not in {layer.name for layer in layers}]
        if missing:
            raise BandNotFoundError(f"No file has a band {missing[0]!r}. Found: {found}.")
        return [layer for layer in layers if layer.name in bands]
    images = [layer for layer in layers if not is_auxiliary(layer.name)]
    if not images:
        raise InputError(f"The files hold no image: {found}. Expected bands such as B04.tif, or a multi-band GeoTIFF.")
    return images


def _scenes(layers: list[Layer]) -> dict[np.datetime64 | None, Scene]:
    """Sort layers by date, and keep of each date what lies on its finest grid."""
    by_time: dict[np.datetime64 | None, list[Layer]] = {}
    for layer in layers:
        by_time.setdefault(layer.file.time, []).append(layer)
    if None in by_time and len(by_time) > 1:
        raise InputError(
            f"Some files have a date in their name or tags and others have none: {by_time[None][0].file.path}. "
            "Give files of one kind."
        )
    return {time: _scene(by_time[time]) for time in sorted(by_time, key=str)}


def _scene(layers: list[Layer]) -> Scene:
    by_grid: dict[Any, list[Layer]] = {}
    for layer in layers:
        by_grid.setdefault(layer.file.grid, []).append(layer)
    finest = min(by_grid.values(), key=lambda group: (group[0].file.pixel_area, -len(group)))
    scene: Scene = {}
    for layer in finest:
        if layer.name in scene:
            raise InputError(
                f"{scene[layer.name].file.path} and {layer.file.path} both hold a band {layer.name!r} of one date. "
                "Give one of them, or files with dates in their names."
            )
        scene[layer.name] = layer
    _warn_of_dropped([layer for layer in layers if layer.name not in scene], finest[0])
    return scene


def _warn_of_dropped(dropped: list[Layer], kept: Layer) -> None:
    if dropped:
        names = ", ".join(dict.fromkeys(layer.name for layer in dropped))
        height, width = kept.file.shape
        warnings.warn(
            f"Left out, because they are not on the grid of {kept.name} ({height} x {width} px): {names}", stacklevel=2
        )


def _check_grids(scenes: dict[np.datetime64 | None, Scene]) -> None:
    by_grid: dict[Any, list[RasterFile]] = {}
    for scene in scenes.values():
        layer = next(iter(scene.values()))
        by_grid.setdefault(layer.file.grid, []).append(layer.file)
    if len(by_grid) > 1:
        lines = "\n".join(
            f"  {files[0].shape[0]} x {files[0].shape[1]} px: {', '.join(name_of(file.path).name for file in files)}"
            for files in by_grid.values()
        )
        raise InputError(
            f"The dates are on {len(by_grid)} grids:\n{lines}\n"
            "Give the files of one grid at a time, or reproject them first."
        )


def _variable(
    layers: list[Layer],
    sizes: tuple[tuple[int, ...], tuple[int, ...]],
    exclusive: bool,  # noqa: FBT001
) -> xr.Variable:
    """Return one band, stacked along time where there are several dates."""
    for layer in layers[1:]:
        if layer.declared != layers[0].declared:
            raise InputError(
                f"{layers[0].file.path} and {layer.file.path} declare different nodata or scale for {layer.name!r}: "
                f"{layers[0].declared} and {layer.declared}. Mask them one by one."
            )
    untyped: Any = da
    planes = [lazy_band(layer.file, layer.index, sizes, exclusive=exclusive) for layer in layers]
    if len(planes) == 1:
        return xr.Variable(("y", "x"), planes[0], _attrs(layers[0]))
    return xr.Variable(("time", "y", "x"), untyped.stack(planes), _attrs(layers[0]))


def _attrs(layer: Layer) -> dict[str, Any]:
    """Return what the file declares; the pixels are still DN."""
    nodata = layer.file.nodata[layer.index - 1]
    scale, offset = layer.file.scales[layer.index - 1]
    attrs: dict[str, Any] = {} if nodata is None else {"nodata": nodata}
    if (scale, offset) != (1.0, 0.0):  # which is what GDAL says where nothing is declared
        attrs |= {"scale_factor": scale, "add_offset": offset}
    description = layer.file.descriptions[layer.index - 1]
    return attrs | ({"long_name": description} if description else {})


def grid_coords(file: RasterFile, times: Sequence[np.datetime64 | None]) -> dict[str, Any]:
    """Return pixel centres, CRS and dates; what the file does not know is left out.

    Parameters
    ----------
    file
        Header of a file on the grid.
    times
        Dates; one of them becomes a scalar, or nothing where it is None.

    Returns
    -------
    dict
        Coordinates of a Dataset.

    Examples
    --------
    >>> grid_coords(inspect("B04.tif"), [None])  # doctest: +SKIP
    """
    coords: dict[str, Any] = {}
    if len(times) > 1:
        coords["time"] = np.array(times, "M8[ns]")
    elif times[0] is not None:
        coords["time"] = times[0]
    if file.transform is not None:
        a, b, c, d, e, f = file.transform
        if b == 0 and d == 0:
            coords["y"] = ("y", f + e * (np.arange(file.shape[0]) + 0.5))
            coords["x"] = ("x", c + a * (np.arange(file.shape[1]) + 0.5))
        coords["spatial_ref"] = xr.Variable((), 0, {"GeoTransform": f"{c} {a} {b} {f} {d} {e}"})
    if file.crs_wkt is not None and file.transform is not None:
        from odc.geo import CRS

        crs = CRS(file.crs_wkt)
        coords["spatial_ref"].attrs |= {**crs.proj.to_cf(), "spatial_ref": file.crs_wkt}
    return coords
