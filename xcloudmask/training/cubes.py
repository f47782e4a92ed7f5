"""Labelled cubes (Zarr, NetCDF, GeoTIFF) as patches: bands, scale and nodata are found as `xcloudmask.predict` does."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudmask.bands import BandSelection, select_bands
from xcloudmask.errors import ArgumentError, InputError
from xcloudmask.grid import resolution_m, spatial_dims, time_dim
from xcloudmask.io.read import open_cube
from xcloudmask.radiometry import known_scale, nodata_values
from xcloudmask.tiles import valid_pixels
from xcloudmask.training.data import BANDS, Patch
from xcloudmask.training.labels import ANY, CLEAR, allowed_from_labels
from xcloudmask.training.options import CubeOptions
from xcloudmask.training.score import coarser

__all__ = ["load_cube"]

FINEST_M = 10.0
"""Finer cubes are averaged to this or a little more, as the models of the package take them."""

_SLACK = 0.05
_STRETCHED_TO = 0.6
"""Where the brightest percent of values of an unknown scale is put: about the reflectance of a cloud."""

_Window = tuple[int, slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Source:
    """A cube and its labels, opened; no pixel is read yet."""

    options: CubeOptions
    selection: BandSelection
    labels: xr.DataArray | None
    """(time, y, x) or None where all is clear."""
    scale: tuple[tuple[float, ...], tuple[float, ...]] | None
    nodata: tuple[float | None, ...]
    pixel_m: float

    @property
    def present(self) -> list[xr.DataArray]:
        """Bands as (time, y, x)."""
        return [_with_time(array) for array in self.selection.arrays if array is not None]

    @property
    def factor(self) -> int:
        """Pixels that are averaged to one, along each axis."""
        return max(1, int(np.ceil(FINEST_M / self.pixel_m - _SLACK)))


def load_cube(options: CubeOptions) -> list[Patch]:
    """Cut windows with labels out of a cube.

    Parameters
    ----------
    options
        One table [[cubes]]. Paths are those of `xcloudmask.io.open_cube`.

    Returns
    -------
    list of Patch
        At most `options.windows`, of equal sides, spread over all dates and places; the same ones each time. Windows
        without a valid pixel that has a label are left out. Reflectance is kept in 1/10,000, from 0 to 6.5. Where the
        scale is unknown, values are stretched, and the network is not told their level. Cubes finer than 10 m are
        averaged by a whole factor, as `xcloudmask.predict` does.

    Raises
    ------
    ReadError
        A file cannot be read.
    BandNotFoundError
        Red, green or near infrared are not found; `bands` tells which they are.
    InputError
        Labels are missing, or do not lie on the grid of the cube; or the size of a pixel is unknown.

    Examples
    --------
    >>> load_cube(CubeOptions(path="scene.zarr", labels="labels", sensor="sentinel-2-l2a"))  # doctest: +SKIP
    """
    source = _open(options)
    found: list[tuple[str, npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.uint8]]] = []
    for window in _windows(source):
        if len(found) == options.windows:
            break
        labels = _read_labels(source, window)
        if labels is not None and (labels == ANY).all():
            continue
        image, valid = _read_image(source, window)
        allowed = np.where(valid, np.uint8(CLEAR) if labels is None else labels, ANY).astype(np.uint8)
        if (allowed != ANY).any():
            found.append((_window_name(source, window), image, valid, allowed))
    if not found:
        raise InputError(
            f"{options.path} has no valid pixel with a label. Expected codes 0 to 3 in {options.labels!r} where the "
            "bands have data."
        )
    gain, offset = (
        (1.0, 0.0) if source.scale is not None else _stretch([image[:, valid] for _, image, valid, _ in found])
    )
    return [
        _patch(source, name, image * np.float32(gain) + np.float32(offset), valid, allowed)
        for name, image, valid, allowed in found
    ]


def _patch(
    source: _Source,
    name: str,
    image: npt.NDArray[np.float32],
    valid: npt.NDArray[np.bool_],
    allowed: npt.NDArray[np.uint8],
) -> Patch:
    options = source.options
    stored = np.clip(np.round(np.where(valid, image, 0.0) * 10_000.0), 0, 65_535).astype(np.uint16)
    there = [array is not None for array in source.selection.arrays]
    full = np.zeros((len(BANDS), *valid.shape), np.uint16)
    full[there] = stored
    patch = Patch(
        name=name,
        source=_name(options),
        split="background" if options.kind == "clear" else "train",
        image=full,
        valid=valid,
        allowed=allowed,
        resolution_m=source.pixel_m,
        level_known=source.scale is not None,
        nir=there[BANDS.index("nir")],
        weight=options.weight,
    )
    return coarser(patch, resolution_m=source.pixel_m * source.factor)


def _open(options: CubeOptions) -> _Source:
    cube = open_cube(options.path)
    labels, cube = _open_labels(cube, options)
    bands = {role: None if name == "none" else name for role, name in options.bands.items()}
    sensor = options.sensor or None
    selection = select_bands(cube, roles=BANDS, optional=("nir",), bands=bands or None, sensor=sensor)
    template = next(array for array in selection.arrays if array is not None)
    if labels is not None:
        _check_grid(labels, _with_time(template), options)
    scale = known_scale(selection, sensor=sensor)
    if options.scale is not None:
        scale = (options.scale,) * len(BANDS), (options.offset,) * len(BANDS)
    pixel = (options.resolution_m,) * 2 if options.resolution_m else resolution_m(template) or resolution_m(cube)
    if pixel is None:
        raise InputError(f"The size of a pixel of {options.path} is unknown. Type resolution_m = 10 in its [[cubes]].")
    return _Source(
        options=options,
        selection=selection,
        labels=labels,
        scale=scale,
        nodata=tuple(
            value
            for value, array in zip(
                nodata_values(selection, nodata=options.nodata, sensor=sensor), selection.arrays, strict=True
            )
            if array is not None
        ),
        pixel_m=float(np.sqrt(pixel[0] * pixel[1])),
    )


def _open_labels(cube: xr.Dataset, options: CubeOptions) -> tuple[xr.DataArray | None, xr.Dataset]:
    """Return the labels as (time, y, x), and the cube without them."""
    if options.labels in cube.data_vars:
        return _with_time(cube[options.labels]), cube.drop_vars(options.labels)
    if not options.labels:
        if options.kind != "clear":
            found = ", ".join(map(str, cube.data_vars))
            raise ArgumentError(
                f"The [[cubes]] of {options.path} says no labels. Type labels = one of its variables ({found}), the "
                'path of a file, or kind = "clear" where no pixel has a cloud.'
            )
        return None, cube
    layers = open_cube(options.labels)
    if len(layers.data_vars) != 1:
        found = ", ".join(map(str, layers.data_vars))
        raise InputError(f"{options.labels} has the layers {found}. Expected a single one, with the codes of classes.")
    return _with_time(next(iter(layers.data_vars.values()))), cube


def _with_time(array: xr.DataArray) -> xr.DataArray:
    time, (y, x) = time_dim(array), spatial_dims(array)
    return array.expand_dims("time").transpose("time", y, x) if time is None else array.transpose(time, y, x)


def _check_grid(labels: xr.DataArray, band: xr.DataArray, options: CubeOptions) -> None:
    if labels.shape != band.shape:
        raise InputError(
            f"The labels of {options.path} have the shape {labels.shape} (time, y, x), its bands {band.shape}. "
            "Expected the same grid and dates: bring the labels to the grid of the cube, by the nearest pixel."
        )
    for dim in spatial_dims(band):
        if dim in labels.coords and dim in band.coords and not np.allclose(labels[dim], band[dim]):
            raise InputError(
                f"The labels of {options.path} lie elsewhere along {dim!r} than its bands. Expected the same "
                "coordinates: bring the labels to the grid of the cube, by the nearest pixel."
            )


def _windows(source: _Source) -> Iterator[_Window]:
    """All windows in an order that does not depend on anything but their number; those at the end reach back."""
    times, height, width = source.present[0].shape
    side = source.options.window_px * source.factor
    starts = [[*range(0, max(size - side, 0), side), max(size - side, 0)] for size in (height, width)]
    places = list(itertools.product(range(times), *starts))
    for index in np.random.default_rng(0).permutation(len(places)):
        time, y, x = places[index]
        yield time, slice(y, y + side), slice(x, x + side)


def _read_labels(source: _Source, window: _Window) -> npt.NDArray[np.uint8] | None:
    if source.labels is None:
        return None
    codes = np.asarray(source.labels.isel(_indexers(source.labels, window)).values)
    known = np.isin(codes, (0, 1, 2, 3))
    return allowed_from_labels(np.where(known, codes, 255).astype(np.uint8), kind=source.options.kind)


def _read_image(source: _Source, window: _Window) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return the bands that are there, as reflectance where the scale is known, and their validity."""
    planes = [np.asarray(band.isel(_indexers(band, window)).values) for band in source.present]
    stored = np.stack(planes)
    valid = valid_pixels(stored, source.nodata)
    values = np.where(np.isfinite(stored), stored, 0).astype(np.float32)
    if source.scale is not None:
        there = [array is not None for array in source.selection.arrays]
        scale, offset = (np.asarray(part, np.float32)[there][:, None, None] for part in source.scale)
        values = values * scale + offset
    return values, np.ones(values.shape[1:], bool) if valid is None else valid


def _indexers(array: xr.DataArray, window: _Window) -> dict[Any, Any]:
    return dict(zip(array.dims, window, strict=True))


def _stretch(pixels: list[npt.NDArray[np.float32]]) -> tuple[float, float]:
    """Gain and offset that bring valid pixels (band, n) of an unknown scale to about those of reflectance."""
    values = np.concatenate([part[:, ::16].ravel() for part in pixels])
    low, high = np.percentile(values, (0.1, 99.0))
    bottom = min(float(low), 0.0)
    gain = _STRETCHED_TO / max(float(high) - bottom, 1e-12)
    return gain, -bottom * gain


def _name(options: CubeOptions) -> str:
    return options.name or Path(options.path).stem


def _window_name(source: _Source, window: _Window) -> str:
    time, rows, columns = window
    return f"{_name(source.options)}_{time:04d}_{rows.start:06d}_{columns.start:06d}"
