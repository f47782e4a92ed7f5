"""How much of a mask is clear, cloud or shadow. All of it is lazy."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import xarray as xr

from xcloudmask._mask_checks import style_of
from xcloudmask.classes import NODATA, CloudClass
from xcloudmask.errors import ArgumentError
from xcloudmask.grid import spatial_dims

__all__ = ["clear_fraction"]


def clear_fraction(mask: xr.DataArray, *, dim: Hashable | Iterable[Hashable] | None = None) -> xr.DataArray:
    """Return the share of clear pixels among those that have data.

    Clear is code 0: clear land and water in a 4-class mask, all but cloud (so shadow too) in a "cloud-noncloud" mask.

    Parameters
    ----------
    mask
        (..., y, x) uint8 mask.
    dim
        The dims to count over; None is the two spatial dims.

    Returns
    -------
    DataArray
        float64 in 0..1 over the other dims; NaN where no pixel has data. Lazy where the mask is.

    Raises
    ------
    NotACubeError
        `mask` is no mask.
    ArgumentError
        The mask has no such dim.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xcloudmask.classes import get_style, mask_attrs
    >>> codes = np.array([[0, 0, 0, 1, 255]], np.uint8)
    >>> mask = xr.DataArray(codes, dims=("y", "x"), attrs=mask_attrs(get_style("4-class")))
    >>> float(clear_fraction(mask))
    0.75
    """
    style_of(mask)
    dims = _count_dims(mask, dim)
    valid = (mask != NODATA).sum(dims, keep_attrs=False)
    clear = (mask == int(CloudClass.CLEAR)).sum(dims, keep_attrs=False)
    fraction = clear / valid.where(valid > 0)
    return fraction.rename("clear_fraction").drop_attrs(deep=False).assign_attrs(long_name="clear fraction", units="1")


def _count_dims(mask: xr.DataArray, dim: Hashable | Iterable[Hashable] | None) -> list[Hashable]:
    if dim is None:
        return list(spatial_dims(mask))
    dims: list[Hashable] = [dim] if isinstance(dim, str) or not isinstance(dim, Iterable) else list(dim)
    unknown = [name for name in dims if name not in mask.dims]
    if unknown:
        raise ArgumentError(
            f"The mask has no dimension {unknown[0]!r}. Its dimensions: {', '.join(map(str, mask.dims))}."
        )
    return dims
