"""Masks against labels on xarray: `compare_masks`, other masks beside them: `compare_with`, and both from files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudmask._mask_checks import check_alignment
from xcloudmask.classes import CLASS_DIM, NODATA
from xcloudmask.errors import InputError, NotACubeError, ReadError
from xcloudmask.evaluate import (
    Bootstrap,
    Compared,
    Counted,
    Evaluation,
    Kind,
    Pairs,
    confusion,
    sets_from_labels,
    summarise,
)
from xcloudmask.grid import spatial_dims, time_dim
from xcloudmask.io.read import open_cube
from xcloudmask.io.zarr import open_mask

__all__ = ["compare_masks", "compare_with", "open_codes"]

Codes = npt.NDArray[np.integer]
OnImage = Callable[[Counted, npt.NDArray[np.uint8], npt.NDArray[np.uint8]], None]


def compare_masks(
    mask: xr.DataArray,
    labels: xr.DataArray,
    *,
    kind: Kind = "label4",
    how: Bootstrap | None = None,
    on_image: OnImage | None = None,
) -> Evaluation:
    """Measure a mask against labels on the same grid; each time step is one image.

    Computes: one time step at a time is held in memory.

    Parameters
    ----------
    mask
        (time, y, x) or (y, x): codes 0 clear, 1 thick cloud, 2 thin cloud, 3 shadow, 255 nodata, as `predict` gives
        them with ``output_style="4-class"``.
    labels
        Codes 0 to 3 on the grid and the times of the mask; anything else, and NaN, is unknown.
    kind
        What the labels mean; see `xcloudmask.evaluate.sets_from_labels`.
    how
        The bootstrap over time steps; None is 2000 draws and 95 %. A single time step has no interval.
    on_image
        Called after each time step with its counts, its codes and its sets of allowed classes.

    Returns
    -------
    Evaluation

    Raises
    ------
    NotACubeError
        There are no spatial dimensions, or the mask holds percentages.
    InputError
        Mask and labels do not lie on the same grid or times, or the mask holds other codes.
    ArgumentError
        The kind is unknown.

    Examples
    --------
    >>> mask = xr.DataArray(np.array([[0, 1, 3]], np.uint8), dims=("y", "x"))
    >>> compare_masks(mask, mask.copy(data=[[0, 2, 255]])).pooled.scores.agreement
    0.5
    """
    mask, labels = _checked(mask), _checked(labels)
    labels = _matched(labels, mask)
    check_alignment(labels, mask)
    time = time_dim(mask)
    counted = []
    for index in range(mask.sizes[time] if time is not None else 1):
        codes, truth = (_step(array, time, index) for array in (mask, labels))
        allowed = sets_from_labels(truth, kind=kind)
        image = Counted(name=_step_name(mask, time, index), source="all", confusion=confusion(codes, allowed))
        counted.append(image)
        if on_image is not None:
            on_image(image, codes.astype(np.uint8), allowed)
    return summarise(counted, how=how)


def compare_with(
    mask: xr.DataArray,
    labels: xr.DataArray,
    others: Mapping[str, xr.DataArray],
    *,
    kind: Kind = "label4",
    how: Bootstrap | None = None,
    on_image: OnImage | None = None,
) -> tuple[Evaluation, dict[str, Compared]]:
    """Measure a mask against labels, and beside it other masks on the pixels that both have.

    Computes: one time step of each is held in memory.

    Parameters
    ----------
    mask, labels, kind, how, on_image
        As in `compare_masks`.
    others
        4-class masks on the same grid by name, such as product masks made ours with `xcloudmask.from_codes`.

    Returns
    -------
    result
        What `compare_masks` returns.
    compared
        By name. Time steps in which a mask has no pixel are left out.

    Raises
    ------
    NotACubeError, InputError, ArgumentError
        As in `compare_masks`; also where an other mask lies on another grid, or has no pixel at all.

    Examples
    --------
    >>> mask = xr.DataArray(np.array([[0, 1, 3]], np.uint8), dims=("y", "x"))
    >>> scl = xr.DataArray(np.array([[4, 4, 3]], np.uint8), dims=("y", "x"))
    >>> _, compared = compare_with(mask, mask, {"scl": scl.cloudmask.from_codes("sentinel-2-scl")})
    >>> compared["scl"].theirs.pooled.scores.cloud_oa
    0.6666666666666666
    """
    mask = _checked(mask)
    time = time_dim(mask)
    fitted = {}
    for name, other in others.items():
        fitted[name] = _matched(_checked(other), mask)
        check_alignment(fitted[name], mask)
    pairs = {name: Pairs(name) for name in others}
    index = 0

    def collect(image: Counted, codes: npt.NDArray[np.uint8], allowed: npt.NDArray[np.uint8]) -> None:
        nonlocal index
        for name, other in fitted.items():
            pairs[name].add(codes, _step(other, time, index), allowed, name=image.name, source=image.source)
        index += 1
        if on_image is not None:
            on_image(image, codes, allowed)

    result = compare_masks(mask, labels, kind=kind, how=how, on_image=collect)
    return result, {name: one.compared(how) for name, one in pairs.items()}


def _checked(array: xr.DataArray) -> xr.DataArray:
    if not isinstance(array, xr.DataArray):
        raise NotACubeError(f"This is a {type(array).__name__}. Expected a DataArray of codes.")
    if CLASS_DIM in array.dims:
        raise NotACubeError(
            f"These are percentages (dimension {CLASS_DIM!r}), not codes. Type: predict(categorise=True)"
        )
    style = array.attrs.get("output_style", "4-class")
    if style != "4-class":
        raise InputError(f"This is a {style!r} mask. Expected the four classes. Type: predict(output_style='4-class')")
    time = time_dim(array)
    dims = [*([time] if time is not None else []), *spatial_dims(array)]
    others = [dim for dim in array.dims if dim not in dims]
    if others:
        raise NotACubeError(f"The codes have a dimension {others[0]!r}. Type: array.isel({others[0]}=0)")
    return array.transpose(*dims)


def _matched(labels: xr.DataArray, mask: xr.DataArray) -> xr.DataArray:
    """Give labels and mask the same dimensions where one of them has a single time step."""
    own, other = time_dim(labels), time_dim(mask)
    if own is not None and other is None:
        if labels.sizes[own] > 1:
            raise InputError(
                f"The labels have {labels.sizes[own]} time steps and the mask has no time. Type: labels.isel({own}=0)"
            )
        labels = labels.isel({own: 0}, drop=True)
    if own is None and other is not None and mask.sizes[other] == 1:
        labels = labels.expand_dims({other: mask[other].values} if other in mask.coords else other)
    y, x = spatial_dims(mask)
    return labels.rename({old: new for old, new in zip(spatial_dims(labels), (y, x), strict=True) if old != new})


def _step(array: xr.DataArray, time: str | None, index: int) -> Codes:
    codes = (array if time is None else array.isel({time: index})).to_numpy()
    # A fill value became NaN on reading.
    whole = np.where(np.isfinite(codes), codes, NODATA) if codes.dtype.kind == "f" else codes
    return whole.astype(np.int64)


def _step_name(mask: xr.DataArray, time: str | None, index: int) -> str:
    if time is None:
        return str(mask.name or "mask")
    if time in mask.coords and mask[time].dtype.kind == "M":
        return str(mask[time].values[index].astype("M8[m]")).replace("T", " ")
    return f"{time} {index}"


def open_codes(path: str) -> xr.DataArray:
    """Open a mask, or labels, lazily.

    Parameters
    ----------
    path
        A Zarr store, a GeoTIFF or other raster with one band, a folder of them with dates in their names, or a NetCDF
        file; what `xcloudmask.open_cube` reads, and masks of `to_zarr`.

    Returns
    -------
    DataArray
        (time, y, x) or (y, x).

    Raises
    ------
    ReadError
        The file cannot be read.
    InputError
        It holds several variables.

    Examples
    --------
    >>> open_codes("masks.zarr").dims  # doctest: +SKIP
    ('time', 'y', 'x')
    """
    if path.rstrip("/").endswith(".zarr"):
        try:
            return open_mask(path)
        except ReadError:
            pass  # labels of other makers
    cube = _open_cube(path)
    names = sorted((name for name, variable in cube.data_vars.items() if variable.ndim >= 2), key=str)
    if len(names) != 1:
        found = ", ".join(map(str, names)) or "none"
        raise InputError(f"{path} holds the variables {found}. Expected one, with the codes.")
    return cube[names[0]]


def _open_cube(path: str) -> xr.Dataset:
    try:
        return open_cube(path)
    except InputError:
        stem: Any = Path(path).stem
        # Files called mask, scl and the like are left out of cubes unless they are asked for by name.
        if not Path(path).is_file():
            raise
        return open_cube(path, bands=[stem])
