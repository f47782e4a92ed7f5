"""The `.cloudmask` accessor of DataArrays and Datasets: every method is one call of a free function.

xarray builds accessors anew at each access, so they keep no state. Signatures and docstrings are those of the
functions, with the object in the place of the first argument.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import xarray as xr

from xcloudmask import fractions, masks, viz
from xcloudmask.clean import clean
from xcloudmask.compare import compare_masks
from xcloudmask.composite import composite
from xcloudmask.distance import cloud_distance
from xcloudmask.io import to_cog, to_icechunk, to_zarr
from xcloudmask.plan import plan
from xcloudmask.predict import predict, predict_proba
from xcloudmask.radiometry import to_reflectance
from xcloudmask.recode import from_codes, to_codes
from xcloudmask.stac.out import to_stac
from xcloudmask.times import filter_times
from xcloudmask.webreport import write_report

__all__ = ["CloudMaskAccessor"]

P = ParamSpec("P")
R = TypeVar("R")


def _method(function: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Turn a function of a cube or a mask into a method of its accessor."""

    @functools.wraps(function)
    def method(self: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        return function(self._obj, *args, **kwargs)

    signature = inspect.signature(function)
    first, *others = signature.parameters.values()
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[first.replace(name="self", annotation=inspect.Parameter.empty), *others]
    )
    return cast("Callable[Concatenate[Any, P], R]", method)


@xr.register_dataset_accessor("cloudmask")
@xr.register_dataarray_accessor("cloudmask")
class CloudMaskAccessor:
    """Cloud masks of a cube, and what can be done with a mask.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xcloudmask
    >>> cube = xr.Dataset({b: (("y", "x"), np.ones((64, 64), "uint16")) for b in ("red", "green", "nir")})
    >>> cube.cloudmask.predict().shape
    (64, 64)
    """

    def __init__(self, obj: xr.DataArray | xr.Dataset) -> None:
        self._obj = obj

    # on a cube
    predict = _method(predict)
    predict_proba = _method(predict_proba)
    plan = _method(plan)
    apply = _method(masks.apply)
    to_reflectance = _method(to_reflectance)
    filter_times = _method(filter_times)
    composite = _method(composite)

    # on a mask
    class_fractions = _method(fractions.class_fractions)
    clear_fraction = _method(fractions.clear_fraction)
    dilate = _method(masks.dilate)
    clean = _method(clean)
    cloud_distance = _method(cloud_distance)
    to_style = _method(masks.to_style)
    from_codes = _method(from_codes)
    to_codes = _method(to_codes)
    compare = _method(compare_masks)
    to_zarr = _method(to_zarr)
    to_icechunk = _method(to_icechunk)
    to_cog = _method(to_cog)
    to_stac = _method(to_stac)
    plot = _method(viz.plot)
    animate = _method(viz.animate)
    explore = _method(viz.explore)
    report = _method(write_report)
