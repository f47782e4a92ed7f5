"""What is a mask, which of its codes are meant, and does it lie on the cube: checked before anything is built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask.classes import CLASS_DIM, CloudClass, Style, get_style
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError, NotACubeError
from xcloudmask.grid import spatial_dims

__all__ = ["NOT_CLEAR", "check_alignment", "check_px", "codes_of", "own_codes_hint", "style_of"]

NOT_CLEAR = ("thick_cloud", "thin_cloud", "cloud_shadow")
"""The classes that are removed unless told otherwise."""


def style_of(mask: xr.DataArray) -> Style:
    """Return the output style of a mask, or refuse what is no mask.

    Parameters
    ----------
    mask
        (..., y, x) uint8, as `predict` gives it or `open_mask` reads it.

    Returns
    -------
    Style

    Raises
    ------
    NotACubeError
        The object is no mask of classes.

    Examples
    --------
    >>> style_of(xr.DataArray(np.zeros((2, 2), np.uint8), dims=("y", "x"), attrs={"output_style": "4-class"})).name
    '4-class'
    """
    hint = "Expected the DataArray that xcloudmask.predict() or open_mask() returns."
    if not isinstance(mask, xr.DataArray):
        raise NotACubeError(f"This is a {type(mask).__name__}, not a mask. {hint}")
    if CLASS_DIM in mask.dims:
        raise NotACubeError(
            f"This is a cube of percentages (dimension {CLASS_DIM!r}), not of classes. Type: predict(categorise=True)"
        )
    if "output_style" not in mask.attrs or mask.dtype != np.uint8:
        lack = "" if "output_style" in mask.attrs else " has no attribute 'output_style', so it"
        raise NotACubeError(f"This {mask.dtype} array{lack} is no mask of xcloudmask. {hint} {own_codes_hint(mask)}")
    return get_style(mask.attrs["output_style"])


def own_codes_hint(array: xr.DataArray) -> str:
    """Return what to type to make a mask of codes that came from elsewhere.

    Parameters
    ----------
    array
        What was given for a mask.

    Returns
    -------
    str

    Examples
    --------
    >>> own_codes_hint(xr.DataArray([0, 1]))
    "For codes of your own type: codes.astype('uint8').assign_attrs(output_style='4-class')"
    """
    # NaN would be cast to 0, which is clear.
    filled = ".fillna(255)" if array.dtype.kind == "f" else ""
    return f"For codes of your own type: codes{filled}.astype('uint8').assign_attrs(output_style='4-class')"


def check_px(value: object, name: str) -> None:
    """Refuse what is no count of pixels.

    Parameters
    ----------
    value
        The argument as given.
    name
        Its name, for the message.

    Raises
    ------
    ArgumentTypeError
        No whole number.
    ArgumentError
        Negative.

    Examples
    --------
    >>> check_px(3, "dilate_px")
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ArgumentTypeError(f"{name}={value!r} is a {type(value).__name__}. Expected a whole number of pixels.")
    if value < 0:
        raise ArgumentError(f"{name}={value} is negative. Expected 0 or more pixels.")


def codes_of(style: Style, classes: Sequence[str] | str) -> list[int]:
    """Turn class names into the codes of a style, and refuse what the style cannot tell apart.

    Parameters
    ----------
    style
        The output style of the mask.
    classes
        Names of the four classes, or flag meanings of the style.

    Returns
    -------
    list of int

    Raises
    ------
    ArgumentError
        A name is unknown, or shares its code with a class that was not named.

    Examples
    --------
    >>> codes_of(get_style("cloud-noncloud"), NOT_CLEAR)
    [1]
    """
    names = [classes] if isinstance(classes, str) else list(classes)
    of_class = {member.name.lower(): code for member, code in zip(CloudClass, style.code_of_class, strict=True)}
    for name in names:
        if name not in of_class and name not in style.meanings:
            known = ", ".join(map(repr, dict.fromkeys((*style.meanings, *of_class))))
            raise ArgumentError(f"classes={names!r}: {name!r} is unknown. Expected some of {known}.")
    codes = dict.fromkeys(style.meanings.index(name) if name in style.meanings else of_class[name] for name in names)
    # In "cloud-noncloud" the code of a shadow is that of clear land: it is not there to be removed.
    clear = of_class["clear"]
    found = [code for code in codes if code != clear or style.meanings[clear] in names]
    if names and not found:
        raise ArgumentError(
            f"A {style.name!r} mask has no class {' or '.join(map(repr, names))}. "
            f"It has {', '.join(map(repr, style.meanings))}."
        )
    _check_whole(style, found, names, of_class)
    return found


def _check_whole(style: Style, codes: Sequence[int], names: Sequence[str], of_class: dict[str, int]) -> None:
    for code in codes:
        together = [name for name, other in of_class.items() if other == code]
        if style.meanings[code] not in names and not set(together) <= set(names):
            raise ArgumentError(
                f"A {style.name!r} mask does not tell {' from '.join(together)}. "
                f"Type: classes=({style.meanings[code]!r},)"
            )


def check_alignment(cube: xr.DataArray | xr.Dataset, mask: xr.DataArray) -> None:
    """Refuse a mask of other pixels or other times.

    Positions count, not the equality of floats: loaders name the centre or the corner of a pixel, and up to one pixel
    apart is the same pixel by another name.

    Parameters
    ----------
    cube, mask
        Their coordinates are compared; no pixel is read.

    Raises
    ------
    InputError
        Another shape, other times, or coordinates that are a pixel or more apart.

    Examples
    --------
    >>> grid = xr.DataArray(np.zeros((2, 2)), dims=("y", "x"), coords={"x": [0.0, 10.0]})
    >>> check_alignment(grid, grid.assign_coords(x=[5.0, 15.0]))
    """
    for dim in mask.dims:
        if dim not in cube.sizes:
            found = ", ".join(map(str, cube.sizes))
            raise InputError(
                f"The mask has a dimension {dim!r} and the cube has not (it has {found}). Type: mask.isel({dim}=0)"
            )
        if mask.sizes[dim] != cube.sizes[dim]:
            raise InputError(
                f"{dim!r} has {mask.sizes[dim]} entries in the mask and {cube.sizes[dim]} in the cube. "
                "Select the same part of both."
            )
    for dim, cube_labels, mask_labels in _labels(cube, mask):
        if not _same_labels(cube_labels, mask_labels, spatial=dim in spatial_dims(mask)):
            raise InputError(
                f"The mask and the cube have different coordinates along {dim!r}: the mask starts at "
                f"{mask_labels[0]}, the cube at {cube_labels[0]}. Select the same part of both."
            )


def _labels(cube: xr.DataArray | xr.Dataset, mask: xr.DataArray) -> Iterator[tuple[str, Any, Any]]:
    for dim in mask.dims:
        if dim in cube.indexes and dim in mask.indexes and mask.sizes[dim]:
            yield str(dim), cube.indexes[dim].to_numpy(), mask.indexes[dim].to_numpy()


def _same_labels(cube_labels: Any, mask_labels: Any, *, spatial: bool) -> bool:
    numbers = cube_labels.dtype.kind in "iuf" and mask_labels.dtype.kind in "iuf"
    if not spatial or not numbers:
        return bool(np.array_equal(cube_labels, mask_labels))
    if cube_labels.size == 1:
        return True
    pixel = abs(float(cube_labels[1]) - float(cube_labels[0]))
    return bool(np.all(np.abs(cube_labels.astype(float) - mask_labels.astype(float)) < pixel))
