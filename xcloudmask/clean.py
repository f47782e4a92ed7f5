"""Clean a mask: opening, closing, small specks, small holes. It is lazy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask._mask_checks import NOT_CLEAR, check_px, codes_of, style_of
from xcloudmask._mask_maps import like, map_codes, processed
from xcloudmask._mask_radii import Pixels, check_metres, codes_by_class, pixel_m
from xcloudmask.classes import CloudClass
from xcloudmask.cleaning import FILTERS, Step, clean_codes
from xcloudmask.components import Connectivity
from xcloudmask.errors import ArgumentError

__all__ = ["Filters", "clean"]

Filters = Sequence[tuple[str, int]]
"""Pairs of a name and a radius in pixels, such as ``[("opening", 2), ("dilation", 5)]``."""

_HINT = "Type filters=[('opening', 2), ('dilation', 5)]"


def clean(
    mask: xr.DataArray,
    filters: Filters | Mapping[str, Filters] = (),
    *,
    classes: Sequence[str] | str = NOT_CLEAR,
    min_size_px: Pixels | None = None,
    min_size_m2: float | None = None,
    min_hole_px: Pixels | None = None,
    min_hole_m2: float | None = None,
    connectivity: Connectivity = 8,
) -> xr.DataArray:
    """Remove specks from a mask, fill its holes, and smooth its edges.

    The classes count as one set of pixels, unless numbers or filters are given by class: then each class is a set of
    its own, one after the other. First small specks go, then small holes are filled, then the filters run in their
    order. Pixels that leave the set become clear. Only clear pixels join it.

    Parameters
    ----------
    mask
        (..., y, x) uint8 mask.
    filters
        Pairs of a name and a radius in pixels, as `mask_cleanup` of odc-algo takes them in ``mask_filters``:
        ``"opening"`` (removes what the disc does not fit into), ``"closing"`` (fills gaps that the disc does not fit
        into), ``"erosion"``, ``"dilation"``. Or a dictionary of such lists by class.
    classes
        What is cleaned. Where several could fill a pixel, the one named first does: thick cloud before thin cloud
        before shadow, unless told otherwise.
    min_size_px, min_size_m2
        Connected parts of the set with fewer pixels, or less area, are removed. Pixels can be given by class.
    min_hole_px, min_hole_m2
        Connected parts of what has data and is not in the set are filled, if they have fewer pixels or less area.
    connectivity
        8 joins specks across corners, and separates holes there; 4 does the contrary.

    Returns
    -------
    DataArray
        A mask of the same style and chunks; nodata is where it was. The attribute `processing` tells what was done.

    Raises
    ------
    NotACubeError
        `mask` is no mask.
    ArgumentError
        Nothing is asked for, a class or filter is unknown, a number is out of range, or chunks would need a halo of
        more than 1024 px.
    ArgumentTypeError
        A number is none.
    InputError
        An area is given in square metres, and the pixel size is unknown.

    Notes
    -----
    The structuring element is the disc of all pixels whose centres lie within the radius (Euclidean), which is `disk`
    of scikit-image. Nodata and what lies beyond the edge of the image take no part: they neither grow nor gnaw, and a
    gap between them and a cloud is closed like any other.

    A pixel that joins by dilation or closing gets the first class within the radius, one of a hole the first class
    that touches the hole. A speck of one class that no clear pixel touches becomes the class around it.

    Sizes are exact for every layout of chunks: the halo is one pixel less than the smallest size that is kept, so each
    chunk sees enough of a part to tell whether it is smaller. Wide halos cost time and memory.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xcloudmask.classes import get_style, mask_attrs
    >>> codes = np.array([[1, 0, 0, 0, 1, 0, 2, 3]], np.uint8)
    >>> mask = xr.DataArray(codes, dims=("y", "x"), attrs=mask_attrs(get_style("4-class")))
    >>> clean(mask, [("dilation", 1)], min_size_px=2, min_hole_px=2).values.tolist()
    [[0, 0, 0, 0, 0, 2, 2, 3]]
    """
    steps = list(
        _steps(
            mask,
            filters,
            classes,
            sizes=(
                _as_px(mask, min_size_px, min_size_m2, "min_size"),
                _as_px(mask, min_hole_px, min_hole_m2, "min_hole"),
            ),
            connectivity=connectivity,
        )
    )
    text = f"cleaned: {', '.join(_told(mask, steps))}"
    depth_px = sum(step.depth_px for step in steps)
    codes = map_codes(mask, partial(clean_codes, steps=tuple(steps)), depth_px=depth_px, dtype=np.uint8, why="clean()")
    return like(mask, codes, processed(mask, text) if steps else dict(mask.attrs))


def _steps(
    mask: xr.DataArray,
    filters: Filters | Mapping[str, Filters],
    classes: Sequence[str] | str,
    *,
    sizes: tuple[Pixels | None, Pixels | None],
    connectivity: Connectivity,
) -> Iterator[Step]:
    """What to do, in order; what changes nothing is left out."""
    if connectivity not in (4, 8):
        raise ArgumentError(f"connectivity={connectivity!r}. Expected 4 or 8.")
    if not filters and sizes == (None, None):
        raise ArgumentError(f"There is nothing to do. {_HINT}, min_size_px=20 or min_hole_px=20.")
    specks, holes = sizes
    # Two clouds that are joined across a corner part the clear pixels on both sides: one of the two holds, not both.
    other: Connectivity = 4 if connectivity == 8 else 8
    for codes, size in _sets(mask, specks, classes, "min_size_px"):
        check_px(size, "min_size_px")
        if size > 1:
            yield Step(operation="specks", codes=codes, size_px=int(size), connectivity=connectivity)
    for codes, size in _sets(mask, holes, classes, "min_hole_px"):
        check_px(size, "min_hole_px")
        if size > 1:
            yield Step(operation="holes", codes=codes, size_px=int(size), connectivity=other)
    for codes, pairs in _sets(mask, filters, classes, "filters"):
        for name, radius in _pairs(pairs):
            if radius:
                yield Step(operation=name, codes=codes, size_px=int(radius))


def _sets(
    mask: xr.DataArray, value: Any, classes: Sequence[str] | str, name: str
) -> Iterator[tuple[tuple[int, ...], Any]]:
    """The sets of codes that a value is for: all classes as one, or each that is named."""
    together = tuple(codes_of(style_of(mask), classes))
    if not together or CloudClass.CLEAR in together:
        raise ArgumentError(
            f"classes={classes!r} cannot be cleaned. Expected classes other than clear, such as {NOT_CLEAR!r}."
        )
    if isinstance(value, Mapping):
        for code, own in codes_by_class(mask, value, classes=classes, name=name).items():
            yield (code,), own
    elif value is not None:
        yield together, value


def _pairs(pairs: Any) -> Iterator[tuple[Any, int]]:
    if isinstance(pairs, str) or not isinstance(pairs, Sequence):
        raise ArgumentError(f"filters={pairs!r} is no list of pairs. {_HINT}")
    for pair in pairs:
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise ArgumentError(f"filters={pairs!r}: {pair!r} is no pair of a name and a radius. {_HINT}")
        if pair[0] not in FILTERS:
            raise ArgumentError(f"The filter {pair[0]!r} is unknown. Expected some of {', '.join(map(repr, FILTERS))}.")
        check_px(pair[1], f"the radius of {pair[0]}")
        yield pair[0], pair[1]


def _as_px(mask: xr.DataArray, px: Pixels | None, area_m2: float | None, name: str) -> Pixels | None:
    """The smallest number of pixels that stays."""
    if area_m2 is None:
        return px
    if px is not None:
        raise ArgumentError(f"{name}_px={px!r} and {name}_m2={area_m2!r} are both given. Type one of them.")
    check_metres(area_m2, f"{name}_m2")
    style_of(mask)
    pixel_y, pixel_x = pixel_m(mask, f"{name}_m2")
    # The least n with n * pixel >= area; pixel sizes carry rounding errors.
    return math.ceil(area_m2 / (pixel_y * pixel_x) * (1.0 - 1e-6))


def _told(mask: xr.DataArray, steps: Sequence[Step]) -> Iterator[str]:
    """The steps in words; those of one set of classes together."""
    meanings = style_of(mask).meanings
    for codes, together in groupby(steps, key=lambda step: step.codes):
        yield f"{', '.join(map(str, together))} of {' '.join(meanings[code] for code in codes)}"
