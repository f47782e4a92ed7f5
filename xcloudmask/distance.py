"""How far each pixel lies from the next cloud. It is lazy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
import xarray as xr

from xcloudmask._distances import cap_distances
from xcloudmask._mask_checks import NOT_CLEAR, check_px, codes_of, style_of
from xcloudmask._mask_maps import like, map_codes, provenance_of
from xcloudmask._mask_radii import check_metres, pixel_m
from xcloudmask.errors import ArgumentError

__all__ = ["DEFAULT_MAX_M", "DEFAULT_MAX_PX", "cloud_distance"]

DEFAULT_MAX_PX = 200
"""Distances beyond this are not told apart, unless asked for; 2 km on pixels of 10 m."""

DEFAULT_MAX_M = 2000.0
"""The same in metres."""


def cloud_distance(
    mask: xr.DataArray,
    *,
    classes: Sequence[str] | str = NOT_CLEAR,
    max_px: int | None = None,
    max_m: float | None = None,
    unit: Literal["px", "m"] | None = None,
) -> xr.DataArray:
    """Return the distance of each pixel from the nearest pixel of some classes.

    Distances are Euclidean, between the centres of pixels, and 0 on the classes themselves. They end at a cap: what
    lies further away has the cap for its distance. So a chunk needs a halo as wide as the cap, and the result is the
    same for every layout of chunks.

    Parameters
    ----------
    mask
        (..., y, x) uint8 mask.
    classes
        The classes to measure to.
    max_px
        The cap in pixels; 200 unless given.
    max_m
        The cap in metres; 2000 unless given.
    unit
        ``"px"`` or ``"m"``; None is that of the cap, and ``"px"`` where none is given. Metres are taken from the
        coordinates, for each axis by itself; degrees count at the centre latitude.

    Returns
    -------
    DataArray
        (..., y, x) float32; NaN where the mask has no data. Nodata hides clouds: beside it, the distance to the next
        cloud that was seen is told.

    Raises
    ------
    NotACubeError
        `mask` is no mask.
    ArgumentError
        A class is unknown, the cap is no distance, or it is in another unit; or chunks would need too wide a halo.
    InputError
        Metres are asked for, and the pixel size is unknown.

    Notes
    -----
    The nearest pixel is found by `scipy.ndimage.distance_transform_edt`.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xcloudmask.classes import get_style, mask_attrs
    >>> codes = np.array([[1, 0, 0, 0, 0, 255]], np.uint8)
    >>> mask = xr.DataArray(codes, dims=("y", "x"), attrs=mask_attrs(get_style("4-class")))
    >>> cloud_distance(mask, max_px=3).values.tolist()
    [[0.0, 1.0, 2.0, 3.0, 3.0, nan]]
    """
    style = style_of(mask)
    codes = codes_of(style, classes)
    cap, unit = _cap(max_px, max_m, unit)
    pixel = pixel_m(mask, "max_m") if unit == "m" else (1.0, 1.0)
    if abs(pixel[0] - pixel[1]) < 1e-6 * pixel[0]:
        pixel = pixel[0], pixel[0]
    # A pixel within the cap lies at most so many rows and columns away; one more for the rounding of metres.
    depth_px = (int(cap / pixel[0]) + 1, int(cap / pixel[1]) + 1)
    task = partial(cap_distances, to=tuple(codes), cap=cap, pixel=pixel)
    distances = map_codes(mask, task, depth_px=depth_px, dtype=np.float32, why=f"max_{unit}={cap:g}")
    names = ", ".join(style.meanings[code] for code in codes)
    attrs = {"long_name": f"distance to the nearest of {names}", "units": unit, f"max_{unit}": cap}
    return like(mask, distances, attrs | provenance_of(mask)).rename("cloud_distance")


def _cap(max_px: int | None, max_m: float | None, unit: str | None) -> tuple[float, Literal["px", "m"]]:
    if unit not in (None, "px", "m"):
        raise ArgumentError(f"unit={unit!r} is unknown. Expected 'px' or 'm'.")
    if max_px is not None and max_m is not None:
        raise ArgumentError(f"max_px={max_px!r} and max_m={max_m!r} are both given. Type one of them.")
    if (max_m is not None and unit == "px") or (max_px is not None and unit == "m"):
        raise ArgumentError(
            f"unit={unit!r}, and the cap is in {'m' if unit == 'px' else 'px'}. Type max_{unit}= for the cap."
        )
    if max_m is not None or unit == "m":
        cap = DEFAULT_MAX_M if max_m is None else max_m
        check_metres(cap, "max_m")
        return float(cap), "m"
    cap = DEFAULT_MAX_PX if max_px is None else max_px
    check_px(cap, "max_px")
    return float(cap), "px"
