"""Functions of codes mapped over a mask, whatever the order of its dims, and the dress of what comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt
import xarray as xr

from xcloudmask.errors import ArgumentError
from xcloudmask.graph import map_with_halo
from xcloudmask.grid import spatial_dims

__all__ = ["MAX_HALO_PX", "PROVENANCE", "like", "map_codes", "processed", "provenance_of"]

MAX_HALO_PX = 1024
"""The widest halo around a chunk: on chunks of 2048 px, four times the pixels of the chunk are held."""

PROVENANCE = ("model", "model_sha256", "xcloudmask_version", "normalize", "settings", "processing")
"""Attributes of a mask that say how it was made. What is done to a mask later is told in `processing`."""


def map_codes(
    mask: xr.DataArray,
    task: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
    *,
    depth_px: int | tuple[int, int],
    dtype: npt.DTypeLike,
    why: str = "This",
) -> xr.Variable:
    """Map a function of (..., y, x) blocks over a mask.

    Parameters
    ----------
    mask
        Numpy or dask.
    task
        Takes and returns a block of one shape; importable.
    depth_px
        How far a pixel of the result depends on others, or how far along y and x.
    dtype
        Type of the result.
    why
        What asks for the halo, for the message.

    Returns
    -------
    Variable
        The dims, and the chunks, of the mask.

    Raises
    ------
    ArgumentError
        Chunks would need too wide a halo.

    Examples
    --------
    >>> import numpy as np
    >>> mask = xr.DataArray(np.zeros((2, 2), np.uint8), dims=("x", "y"))
    >>> map_codes(mask, np.invert, depth_px=0, dtype=np.uint8).dims
    ('x', 'y')
    """
    y, x = spatial_dims(mask)
    ordered = mask.variable.transpose(..., y, x)
    if ordered.chunks is None:
        return xr.Variable(ordered.dims, task(ordered.values)).transpose(*mask.dims)
    depths = (depth_px, depth_px) if isinstance(depth_px, int) else depth_px
    cut = [depth for depth, sizes in zip(depths, ordered.chunks[-2:], strict=True) if len(sizes) > 1]
    if max(cut, default=0) > MAX_HALO_PX:
        raise ArgumentError(
            f"{why} needs a halo of {max(cut)} px around each chunk; the widest is {MAX_HALO_PX} px. Take less, or "
            f"make each image one chunk: mask.chunk({{{y!r}: -1, {x!r}: -1}})"
        )
    data = map_with_halo(ordered.data, task, depth_px=depths, dtype=dtype)
    return xr.Variable(ordered.dims, data).transpose(*mask.dims)


def like(template: xr.DataArray, variable: xr.Variable, attrs: dict[str, Any]) -> xr.DataArray:
    """Dress new data: the template's own coordinate objects, and of its encoding what ties it to its CRS.

    Parameters
    ----------
    template
        What the data were made from.
    variable
        The data.
    attrs
        The attributes.

    Returns
    -------
    DataArray

    Examples
    --------
    >>> like(xr.DataArray([1.0], dims="x", coords={"x": [5]}), xr.Variable("x", [2.0]), {}).x.item()
    5
    """
    result = xr.DataArray(xr.Variable(variable.dims, variable.data, attrs), coords=template.coords, name=template.name)
    result.encoding = {key: template.encoding[key] for key in ("grid_mapping",) if key in template.encoding}
    return result


def provenance_of(mask: xr.DataArray) -> dict[str, Any]:
    """Return the attributes that say how a mask was made.

    Parameters
    ----------
    mask
        Any mask.

    Returns
    -------
    dict

    Examples
    --------
    >>> provenance_of(xr.DataArray(0, attrs={"model": "default", "long_name": "cloud mask"}))
    {'model': 'default'}
    """
    return {key: mask.attrs[key] for key in PROVENANCE if key in mask.attrs}


def processed(mask: xr.DataArray, what: str) -> dict[str, Any]:
    """Return the attributes of a mask that something more was done to.

    Parameters
    ----------
    mask
        The mask before.
    what
        What was done, as a text; it comes last in `processing`.

    Returns
    -------
    dict

    Examples
    --------
    >>> processed(xr.DataArray(0, attrs={"processing": "dilated by 3 px"}), "opening 2 px")
    {'processing': 'dilated by 3 px; opening 2 px'}
    """
    before = mask.attrs.get("processing")
    return dict(mask.attrs) | {"processing": f"{before}; {what}" if before else what}
