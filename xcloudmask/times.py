"""Dates: keep those that are clear enough, and put them into periods."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudmask._mask_checks import codes_of
from xcloudmask.classes import CLASS_DIM, STYLES, Style
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError, NotACubeError
from xcloudmask.fractions import class_fractions
from xcloudmask.grid import time_dim

__all__ = ["Periods", "filter_times", "periods_of"]

Cube = TypeVar("Cube", xr.DataArray, xr.Dataset)

_CLOUDS = {
    "4-class": ("thick_cloud", "thin_cloud"),
    "cloud-noncloud": ("cloud",),
    "valid-invalid": ("invalid",),
}


def filter_times(
    cube: Cube,
    mask: xr.DataArray,
    *,
    max_cloud: float = 0.2,
    min_valid: float = 0.0,
    classes: Sequence[str] | str | None = None,
    geometry: Any = None,
    geometry_crs: Any = None,
) -> Cube:
    """Keep the dates with few clouds.

    Which dates stay must be known before the cube can be cut, so the shares must be in memory: nothing is computed
    here. For a lazy mask, compute them first, which reads what the mask was made from once:
    ``fractions = class_fractions(mask).compute()``, then ``filter_times(cube, fractions)``.

    Parameters
    ----------
    cube
        DataArray or Dataset with a time dimension: images, or a mask. It may be lazy.
    mask
        Shares as `class_fractions` gives them, computed, with no dims but time and cloud_class; or a mask in memory.
    max_cloud
        Largest share of cloud among the pixels that have data, 0 to 1.
    min_valid
        Smallest share of pixels with data, 0 to 1. Dates without any are dropped in any case.
    classes
        What counts as cloud. None: thick and thin cloud; all that is invalid where the style tells no more.
    geometry, geometry_crs
        Where to look, if a mask is given: see `class_fractions`.

    Returns
    -------
    DataArray or Dataset
        The cube at the dates that stay, in its order; lazy where the cube is.

    Raises
    ------
    NotACubeError
        `mask` is neither a mask nor shares.
    InputError
        The mask or the shares are lazy, or their dates are not those of the cube.
    ArgumentError, ArgumentTypeError
        A share is not between 0 and 1, or a class is unknown.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xcloudmask.classes import get_style, mask_attrs
    >>> codes = np.array([[[0, 1]], [[0, 0]]], np.uint8)
    >>> mask = xr.DataArray(codes, dims=("time", "y", "x"), attrs=mask_attrs(get_style("4-class")))
    >>> cube = xr.DataArray(codes + 5, dims=("time", "y", "x"))
    >>> filter_times(cube, class_fractions(mask)).values.tolist()
    [[[5, 5]]]
    """
    for name, share in (("max_cloud", max_cloud), ("min_valid", min_valid)):
        if isinstance(share, bool) or not isinstance(share, int | float | np.number):
            raise ArgumentTypeError(f"{name}={share!r} is a {type(share).__name__}. Expected a share such as 0.2.")
        if not 0 <= share <= 1:
            raise ArgumentError(f"{name}={share!r}: expected a share from 0 to 1 (20 % is 0.2).")
    if not isinstance(cube, xr.DataArray | xr.Dataset):
        raise NotACubeError(f"The cube is a {type(cube).__name__}. Expected an xarray DataArray or Dataset.")
    fractions = _fractions(mask, geometry, geometry_crs)
    dim = _time(cube, fractions)
    cloud = fractions.isel({CLASS_DIM: _codes(fractions, classes)}).sum(CLASS_DIM, skipna=False)
    # A date without data has NaN for its share, which is below nothing.
    keep = (cloud <= max_cloud) & (fractions.valid_fraction >= min_valid)
    return cube.isel({dim: np.flatnonzero(keep.values)})


def _fractions(mask: Any, geometry: Any, geometry_crs: Any) -> xr.DataArray:
    shares = isinstance(mask, xr.DataArray) and "valid_fraction" in mask.coords and CLASS_DIM in mask.dims
    if shares and geometry is not None:
        raise ArgumentError("geometry= belongs to a mask. Type: class_fractions(mask, geometry=geometry).compute()")
    lazy = isinstance(mask, xr.DataArray) and (
        mask.chunks is not None or (shares and mask.coords["valid_fraction"].chunks is not None)
    )
    if lazy:
        found = "The shares are" if shares else "The mask is"
        first = "fractions" if shares else "xcloudmask.class_fractions(mask)"
        raise InputError(
            f"{found} lazy: which dates stay cannot be known before that is computed, and it is not computed here. "
            f"Type: fractions = {first}.compute(); cube = xcloudmask.filter_times(cube, fractions)"
        )
    if isinstance(mask, xr.DataArray) and mask.name == "clear_fraction":
        raise NotACubeError(
            "The clear fraction does not tell clouds from shadows. Type: fractions = "
            "xcloudmask.class_fractions(mask).compute(); cube = xcloudmask.filter_times(cube, fractions)"
        )
    return mask if shares else class_fractions(mask, geometry=geometry, geometry_crs=geometry_crs)


def _time(cube: xr.DataArray | xr.Dataset, fractions: xr.DataArray) -> str:
    """Return the time dimension of both, once their dates are the same."""
    dim = time_dim(cube)
    if dim is None:
        raise InputError(f"The cube has no time dimension. Its dimensions: {', '.join(map(str, cube.sizes))}.")
    others = [name for name in fractions.dims if name not in (dim, CLASS_DIM)]
    if others or dim not in fractions.dims:
        raise InputError(
            f"The shares have the dims {', '.join(map(str, fractions.dims))}. Expected {dim} and {CLASS_DIM}: one "
            "number per date and class. Type: fractions = xcloudmask.class_fractions(mask).compute()"
        )
    same = cube.sizes[dim] == fractions.sizes[dim]
    if same and dim in cube.indexes and dim in fractions.indexes:
        same = cube.indexes[dim].equals(fractions.indexes[dim])
    if not same:
        raise InputError(
            f"The dates of the shares ({fractions.sizes[dim]}) are not those of the cube ({cube.sizes[dim]}). Select "
            "the same dates of both."
        )
    return dim


def _codes(fractions: xr.DataArray, classes: Sequence[str] | str | None) -> list[int]:
    names = tuple(str(name) for name in fractions[CLASS_DIM].values)
    style: Style | None = next((style for style in STYLES.values() if style.meanings == names), None)
    if style is None:
        raise InputError(
            f"The shares are of {', '.join(map(repr, names))}, which are the classes of no output style. Type: "
            "fractions = xcloudmask.class_fractions(mask).compute()"
        )
    return codes_of(style, _CLOUDS[style.name] if classes is None else classes)


@dataclass(frozen=True, slots=True)
class Periods:
    """Dates put into periods."""

    order: npt.NDArray[np.intp]
    """Positions of the dates, sorted by time."""
    sizes: tuple[int, ...]
    """How many of them each period has; periods follow each other, and some may have none."""
    starts: xr.Variable | None
    """What xarray calls each period; None for a single period of all dates."""


def periods_of(cube: xr.DataArray | xr.Dataset, dim: Hashable, freq: str | None) -> Periods:
    """Put the dates of a cube into periods, as `xarray.Dataset.resample` does.

    Parameters
    ----------
    cube
        With a time dimension.
    dim
        Its name.
    freq
        Such as ``"MS"``; None is one period.

    Returns
    -------
    Periods
        All periods from the first date to the last.

    Raises
    ------
    ArgumentError
        `freq` is no frequency.
    InputError
        The cube has no dates.

    Examples
    --------
    >>> times = np.array(["2024-01-05", "2024-03-01", "2024-01-01"], "M8[ns]")
    >>> periods_of(xr.DataArray(times, dims="time", coords={"time": times}), "time", "MS").sizes
    (2, 0, 1)
    """
    count = cube.sizes[dim]
    if count == 0:
        raise InputError("The cube has no dates: there is nothing to put together. Keep at least one.")
    index = cube.indexes.get(dim)
    if freq is None:
        order = np.arange(count) if index is None else np.argsort(index.to_numpy(), kind="stable")
        return Periods(order, (count,), None)
    if index is None or not hasattr(index, "year") or index.isna().any():
        raise InputError(f"freq={freq!r} needs a date for each entry of {dim!r}. Type: cube.assign_coords({dim}=dates)")
    order = np.argsort(index.to_numpy(), kind="stable")
    ones = xr.DataArray(np.ones(count), dims=(dim,), coords={dim: index[order]})
    try:
        counts = ones.resample({dim: freq}).sum()
    except (ValueError, TypeError, KeyError) as error:
        raise ArgumentError(
            f"freq={freq!r} is no frequency. Expected one that xarray knows, such as 'MS' (months), 'QS' "
            "(quarters), 'YS' (years) or '10D'."
        ) from error
    sizes = tuple(np.nan_to_num(counts.values).astype(int).tolist())
    return Periods(order, sizes, counts[dim].variable)
