"""From stored numbers (DN) to reflectance or kelvin, lazily."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from xcloudmask.radiometry._nodata import NODATA_ATTRS, declared_nodata

__all__ = ["reflectance"]

_STALE_ATTRS = (
    *NODATA_ATTRS,
    "scale_factor",
    "add_offset",
    "scales",
    "offsets",
    "raster:bands",
    "units",
    "valid_range",
)


def reflectance(array: xr.DataArray, *, scale: float, offset: float, nodata: float | None = None) -> xr.DataArray:
    """Return value * scale + offset in floats, lazily, with nodata as NaN.

    Parameters
    ----------
    array
        Any dims, any real dtype. It is cast before the arithmetic: uint16 900 - 1000 would be 65436.
    scale, offset
        As in `known_scale`.
    nodata
        The value that means "no data"; None for the one that the array declares.

    Returns
    -------
    xarray.DataArray
        Same dims and coordinates; float32 for integers of up to 16 bits and float32, else float64; reflectance (1 = all
        light is reflected). Attributes that described the DN are left out.

    Examples
    --------
    >>> dn = xr.DataArray(np.array([0, 900, 2000], "uint16"), dims="x", attrs={"nodata": 0})
    >>> reflectance(dn, scale=1e-4, offset=-0.1).values.round(2)
    array([  nan, -0.01,  0.1 ], dtype=float32)
    """
    empty = declared_nodata(array, None) if nodata is None else nodata
    dtype = np.result_type(array.dtype, np.float32)
    values: xr.DataArray = array.astype(dtype) * dtype.type(scale) + dtype.type(offset)
    if empty is not None and not math.isnan(empty):
        values = values.where(array != empty)
    values.attrs = {key: value for key, value in array.attrs.items() if key not in _STALE_ATTRS} | {"units": "1"}
    return values
