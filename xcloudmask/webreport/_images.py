"""The image beside the mask: found by date, thinned while it is read, and stretched alike on all dates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from dask import base as dask_base

from xcloudmask._mask_checks import check_alignment
from xcloudmask._optional import require
from xcloudmask._pictures import is_valid, stretch
from xcloudmask.errors import InputError
from xcloudmask.grid import spatial_dims, time_dim
from xcloudmask.viz._choice import choose_bands
from xcloudmask.webreport._count import READ_ERRORS, Progress, step_for
from xcloudmask.webreport._dates import Name, names_of

__all__ = ["Source", "open_source", "read_images"]

_ALL_PIXELS = 4
"""Up to this many pixels along a side are averaged to one; of more, two along each side are taken."""
_GLARE = 2.0
_ENOUGH_CLEAR = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """Three bands on the grid of a mask."""

    bands: tuple[xr.DataArray, ...]
    """Each (time, y, x)."""
    nodata: tuple[float | None, ...]
    """Declared value of each."""
    positions: dict[int, int]
    """Date of the mask -> date of the image."""
    one_scale: bool
    """Whether the numbers mean the same on all dates."""


def open_source(image: xr.Dataset | xr.DataArray, mask: xr.DataArray, names: Sequence[Name]) -> Source:
    """Find the bands to show, and the date of the image for each date of the mask.

    Parameters
    ----------
    image
        A cube on the grid of the mask.
    mask
        (time, y, x).
    names
        Its dates.

    Raises
    ------
    BandNotFoundError
        No band can be shown.
    InputError
        It lies elsewhere, or has none of the dates.
    MissingPackageError
        Pillow is not installed.
    """
    require("PIL.Image", extra="viz")
    found = choose_bands(image)
    y, x = spatial_dims(mask)
    lying = mask.isel({str(mask.dims[0]): 0}, drop=True)
    ordered = []
    for band, _ in found:
        dim = time_dim(band)
        check_alignment(band if dim is None else band.isel({dim: 0}, drop=True), lying)
        ordered.append((band.expand_dims("time") if dim is None else band).transpose(..., y, x))
    scales = [name for name, coord in image.coords.items() if str(name).endswith("_add_offset") and coord.ndim]
    return Source(
        bands=tuple(ordered),
        nodata=tuple(nodata for _, nodata in found),
        positions=_positions(names_of(found[0][0]), names),
        one_scale=not scales,
    )


def read_images(
    source: Source, codes: Mapping[int, npt.NDArray[np.uint8]], *, px: int, progress: Progress
) -> dict[int, npt.NDArray[np.uint8]]:
    """Return pictures by date of the mask; a date whose image cannot be read has none.

    Parameters
    ----------
    source
        The bands.
    codes
        Pictures of the mask, by date.
    px
        Longest side of the pictures.
    progress
        Told what is done.
    """
    found: dict[int, tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]] = {}
    for position in codes:
        if position in source.positions:
            try:
                found[position] = _read(source, source.positions[position], px)
            except READ_ERRORS:
                continue
            finally:
                progress(1)
    if not found:
        return {}
    if not source.one_scale:
        return {position: stretch(list(bands), valid) for position, (bands, valid) in found.items()}
    # One stretch for all: what is brighter on one date looks brighter.
    bands = np.concatenate([bands for bands, _ in found.values()], axis=1)
    valid = np.concatenate([valid for _, valid in found.values()])
    clear = np.concatenate([_resized(codes[position], known.shape) == 0 for position, (_, known) in found.items()])
    pictures = stretch(_without_glare(bands, valid & clear), valid)
    return dict(zip(found, np.split(pictures, len(found)), strict=True))


def _resized(codes: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Take the nearest pixels: image and mask may be thinned to sizes that differ by a pixel or two."""
    rows, columns = (np.arange(size) * have // size for size, have in zip(shape, codes.shape, strict=True))
    resized: npt.NDArray[np.uint8] = codes[rows[:, None], columns[None, :]]
    return resized


def _without_glare(bands: npt.NDArray[np.float32], clear: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.float32]]:
    """Cut off what is far brighter than clear ground: where most is cloud, the ground would be black beside it."""
    if clear.mean() < _ENOUGH_CLEAR:
        return list(bands)
    return [np.minimum(band, _GLARE * np.percentile(band[clear], 98)) for band in bands]


def _positions(there: Sequence[Name], names: Sequence[Name]) -> dict[int, int]:
    stamps = [name.stamp for name in there]
    if None in stamps or any(name.stamp is None for name in names):
        if len(there) != len(names):
            raise InputError(
                f"The image has {len(there)} dates and the mask {len(names)}, and not all have a time to find each "
                "other by. Select the same dates of both."
            )
        return {name.position: position for position, name in enumerate(sorted(names, key=lambda one: one.position))}
    by_item = {(name.stamp, name.item): name.position for name in reversed(there)}
    by_stamp = {name.stamp: name.position for name in reversed(there)}
    found = {name.position: by_item.get((name.stamp, name.item), by_stamp.get(name.stamp)) for name in names}
    positions = {position: date for position, date in found.items() if date is not None}
    if not positions:
        raise InputError(
            f"The image has none of the dates of the mask: its first is {there[0].label}, that of the mask "
            f"{names[0].label}. Give the cube that was masked."
        )
    return positions


def _read(source: Source, date: int, px: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return (3, y, x) values and (y, x) whether they are all there."""
    shape = source.bands[0].shape[1:]
    step = step_for(shape, px)
    averaged = step if step <= _ALL_PIXELS else 2
    every = -(-step // averaged)
    lazy = [band.variable[date, ::every, ::every] for band in source.bands]
    untyped: Any = dask_base
    planes = [variable.values for variable in untyped.compute(*lazy)]
    known = [is_valid(plane, value) for plane, value in zip(planes, source.nodata, strict=True)]
    valid = np.logical_and.reduce(known)
    values = [_average(np.where(valid, plane, 0).astype(np.float32), averaged) for plane in planes]
    weight = _average(valid.astype(np.float32), averaged)
    there = weight > 0
    means = np.stack(values) / np.where(there, weight, 1)
    return means.astype(np.float32), there


def _average(plane: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    """Average squares; the last ones are filled up with zeros, which weigh nothing."""
    if factor == 1:
        return plane
    pad = [(0, -size % factor) for size in plane.shape]
    padded = np.pad(plane, pad)
    rows, columns = (size // factor for size in padded.shape)
    means: npt.NDArray[np.float32] = padded.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
    return means
