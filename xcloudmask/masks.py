"""Masks at work: apply them to a cube, dilate them, change their style. All of it is lazy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xcloudmask._mask_checks import NOT_CLEAR, check_alignment, style_of
from xcloudmask._mask_maps import PROVENANCE, like, map_codes, processed, provenance_of
from xcloudmask._mask_radii import Metres, Pixels, growth_of
from xcloudmask.classes import CloudClass, OutputStyle, Style, get_style, mask_attrs, style_lookup
from xcloudmask.errors import ArgumentError, InputError, NotACubeError
from xcloudmask.grid import spatial_dims
from xcloudmask.morphology import dilate_codes, flag_codes

__all__ = ["NOT_CLEAR", "PROVENANCE", "apply", "dilate", "style_of", "to_style"]

Cube = TypeVar("Cube", xr.DataArray, xr.Dataset)


def apply(
    cube: Cube,
    mask: xr.DataArray,
    *,
    classes: Sequence[str] | str = NOT_CLEAR,
    dilate_px: Pixels | None = None,
    dilate_m: Metres | None = None,
    keep_nodata: bool = False,
) -> Cube:
    """Return the cube without its cloudy pixels.

    Removed pixels become NaN in floating point data and the declared nodata value in integer data. Integers without a
    declared nodata value are promoted to floating point, as ``xarray.where`` does. Pixels are matched by position:
    the mask must have the shape of the cube, and coordinates that agree to within a pixel.

    Parameters
    ----------
    cube
        (..., y, x) DataArray, or a Dataset of them; variables without both spatial dims are left alone.
    mask
        (time, y, x) or (y, x) uint8 mask of any output style.
    classes
        What to remove: class names such as ``"thick_cloud"``, or the mask's own flag meanings.
    dilate_px
        Remove pixels up to this far from a flagged one as well, for all classes or by class, such as
        ``{"thick_cloud": 5, "cloud_shadow": 3}``; classes that are not named do not grow.
    dilate_m
        The same in metres. Pixels that are not square, as in degrees, give an ellipse of pixels; degrees count at the
        centre latitude of the mask.
    keep_nodata
        True leaves pixels as they are where the mask has no data, unless a flagged pixel grows over them; False removes
        them too. Nodata itself never grows.

    Returns
    -------
    DataArray or Dataset
        Same type, dims, coordinates, chunks and attributes; lazy where the cube or the mask is.

    Raises
    ------
    NotACubeError
        `mask` is no mask, or `cube` has no spatial dims.
    InputError
        Mask and cube do not lie on the same grid or times, or the size of a pixel is not known in metres.
    ArgumentError
        A class is unknown, or the style of the mask cannot tell it from others; pixels and metres are both given.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xcloudmask.classes import get_style, mask_attrs
    >>> cube = xr.DataArray(np.array([[5, 6, 7]], np.uint16), dims=("y", "x"), attrs={"nodata": 0})
    >>> mask = xr.DataArray(np.array([[0, 1, 255]], np.uint8), dims=("y", "x"), attrs=mask_attrs(get_style("4-class")))
    >>> apply(cube, mask).values.tolist()
    [[5, 0, 0]]
    """
    growth = growth_of(mask, classes, px=dilate_px, m=dilate_m)
    if not isinstance(cube, xr.DataArray | xr.Dataset):
        raise NotACubeError(f"The cube is a {type(cube).__name__}. Expected an xarray DataArray or Dataset.")
    check_alignment(cube, mask)
    task = partial(flag_codes, grown=growth.discs, flag_nodata=not keep_nodata)
    flags = map_codes(mask, task, depth_px=growth.depth_px, dtype=bool, why="The dilation")
    if isinstance(cube, xr.DataArray):
        return _remove(cube, flags)
    image_vars = [name for name, var in cube.data_vars.items() if set(spatial_dims(mask)) <= set(var.dims)]
    # Variables carry no coordinates: assigning them aligns nothing and keeps the cube's own coordinate objects.
    return cube.assign({name: _remove(cube[name], flags).variable for name in image_vars})


def dilate(
    mask: xr.DataArray,
    *,
    px: Pixels | None = None,
    m: Metres | None = None,
    classes: Sequence[str] | str = NOT_CLEAR,
) -> xr.DataArray:
    """Let classes grow into the clear pixels around them.

    Parameters
    ----------
    mask
        (..., y, x) uint8 mask.
    px
        Radius of the disc in pixels, for all classes or by class.
    m
        The same in metres; type one of the two.
    classes
        The classes that grow. Where two meet, the one named first wins.

    Returns
    -------
    DataArray
        A mask of the same style; nodata and classes other than clear are unchanged. The attribute `processing` tells
        what was done.

    Raises
    ------
    NotACubeError
        `mask` is no mask.
    ArgumentError
        No radius, two, or a negative one; or a class is unknown, or clear.
    InputError
        The radius is in metres, and the size of a pixel is not known.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xcloudmask.classes import get_style, mask_attrs
    >>> mask = xr.DataArray(np.array([[0, 1, 0, 0]], np.uint8), dims=("y", "x"), attrs=mask_attrs(get_style("4-class")))
    >>> dilate(mask, px=1).values.tolist()
    [[1, 1, 1, 0]]
    """
    if px is None and m is None:
        raise ArgumentError("No radius is given. Type px=3, or m=30 for metres.")
    growth = growth_of(mask, classes, px=px, m=m, names=("px", "m"))
    if CloudClass.CLEAR in dict(growth.discs):
        raise ArgumentError(
            f"classes={classes!r}: clear cannot grow. To shrink the others, type: clean(mask, [('erosion', 1)])"
        )
    task = partial(dilate_codes, grown=growth.discs)
    codes = map_codes(mask, task, depth_px=growth.depth_px, dtype=np.uint8, why="The dilation")
    return like(mask, codes, processed(mask, f"dilated: {growth.text}") if growth.text else dict(mask.attrs))


def to_style(mask: xr.DataArray, style: OutputStyle) -> xr.DataArray:
    """Return a 4-class mask in another output style.

    Parameters
    ----------
    mask
        (..., y, x) uint8 4-class mask.
    style
        ``"4-class"``, ``"cloud-noncloud"`` or ``"valid-invalid"``.

    Returns
    -------
    DataArray
        (..., y, x) uint8, with the attributes of the new style, and those that say how the mask was made.

    Raises
    ------
    ArgumentError
        No such style.
    InputError
        The mask has fewer classes than the style asks for.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xcloudmask.classes import get_style, mask_attrs
    >>> mask = xr.DataArray(np.array([[0, 1, 3]], np.uint8), dims=("y", "x"), attrs=mask_attrs(get_style("4-class")))
    >>> to_style(mask, "valid-invalid").values.tolist()
    [[0, 1, 1]]
    """
    current, wanted = style_of(mask), get_style(style)
    if current.name == wanted.name:
        return mask
    if current.name != "4-class":
        raise InputError(
            f"A {current.name!r} mask cannot become {style!r}: it has lost the classes. Start from the 4-class mask."
        )
    recoded = map_codes(mask, partial(_look_up, style=wanted), depth_px=0, dtype=np.uint8)
    return like(mask, recoded, mask_attrs(wanted) | provenance_of(mask))


def _look_up(block: Any, *, style: Style) -> Any:
    return style_lookup(style)[block]


def _remove(array: xr.DataArray, flags: xr.Variable) -> xr.DataArray:
    """Replace the flagged pixels by nodata or NaN."""
    kept = ~flags
    if array.chunks is not None:
        # Otherwise dask would cut the cube along the borders of the mask's chunks too.
        sizes = dict(zip(array.dims, array.chunks, strict=True))
        kept = kept.chunk({dim: sizes[dim] for dim in flags.dims})
    variable = array.variable.astype(np.float32, keep_attrs=True) if array.dtype == bool else array.variable
    nodata = _declared_nodata(array)
    untyped: Any = variable
    masked: xr.Variable = untyped.where(kept) if nodata is None else untyped.where(kept, nodata)
    return like(array, masked.transpose(*array.dims), dict(array.attrs))


def _declared_nodata(array: xr.DataArray) -> Any:
    """Return the nodata value of an integer array in its own type, or None."""
    if array.dtype.kind not in "iu":
        return None
    info = np.iinfo(array.dtype)
    for key in ("nodata", "_FillValue", "missing_value"):
        value = array.attrs.get(key, array.encoding.get(key))
        if isinstance(value, int | float | np.number) and info.min <= value <= info.max and float(value).is_integer():
            return array.dtype.type(value)
    return None
