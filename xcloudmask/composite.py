"""Composites: one image of a time series, or one per period, from clear pixels. All of it is lazy."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal, TypeVar, get_args

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.base import tokenize

from xcloudmask._composite_blocks import Band
from xcloudmask._composite_graph import Composite, Job, composite_graph
from xcloudmask._mask_checks import NOT_CLEAR, check_alignment, check_px, codes_of, style_of
from xcloudmask._optional import require
from xcloudmask._sensor import Sensor
from xcloudmask.bands import declared_sensor
from xcloudmask.classes import NODATA
from xcloudmask.distance import cloud_distance
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError, NotACubeError
from xcloudmask.grid import spatial_dims, time_dim
from xcloudmask.radiometry import declared_nodata, is_layer
from xcloudmask.radiometry._nodata import APPLIED, table_band
from xcloudmask.times import Periods, periods_of

__all__ = ["CompositeMethod", "composite"]

CompositeMethod = Literal["median", "geomedian", "best-pixel", "first-clear", "last-clear"]

COUNT, CHOSEN = "clear_count", "chosen_time"

Cube = TypeVar("Cube", xr.DataArray, xr.Dataset)

_KEPT_ENCODING = ("grid_mapping", APPLIED)
_SCALES = ("scale_factor", "add_offset")


def composite(
    cube: Cube,
    mask: xr.DataArray,
    *,
    method: CompositeMethod = "median",
    freq: str | None = None,
    classes: Sequence[str] | str = NOT_CLEAR,
    min_clear: int = 1,
    max_distance_px: int = 200,
    as_float: bool = False,
) -> Cube:
    """Make one image out of the clear pixels of a time series, or one per period.

    Parameters
    ----------
    cube
        Dataset with a variable per band, or a DataArray, with time, y and x in any order; any real dtype.
    mask
        (time, y, x) uint8 mask of any output style, at the times and on the grid of the cube.
    method
        ``"median"``: of each band by itself. ``"geomedian"``: the geometric median of all bands together, which keeps
        their relations; it needs ``pip install 'xcloudmask[composite]'``. The others take all bands from one date:
        ``"best-pixel"`` from that which is farthest from a cloud (of equals the earliest), ``"first-clear"`` and
        ``"last-clear"`` from the first and the last one that is clear and has data in all bands.
    freq
        Length of a period, as `xarray.Dataset.resample` takes it: ``"MS"`` for months, ``"QS"``, ``"YS"``, ``"10D"``.
        None puts all dates into one image.
    classes
        What is not clear: class names such as ``"thick_cloud"``, or the mask's own flag meanings.
    min_clear
        Clear dates that a pixel needs; with fewer it becomes nodata.
    max_distance_px
        ``"best-pixel"`` does not tell distances beyond this apart. It is the halo that the mask needs.
    as_float
        True returns medians of integers as floats, with NaN for nodata. False rounds them to the dtype of the cube.

    Returns
    -------
    DataArray or Dataset
        As the cube, with a date per period, or without time. dtype and nodata value stay; integers that declare no
        nodata value become floats with NaN. Lazy where the cube or the mask is. ``clear_count`` counts the dates that
        the mask calls clear (uint16), ``chosen_time`` says which one was taken (NaT for none): variables of a Dataset,
        coordinates of a DataArray. Variables without time stay; those with time and no pixels are left out, and so are
        coordinates along time.

    Raises
    ------
    NotACubeError
        `mask` is no mask, or `cube` no image or one without time.
    InputError
        Mask and cube do not lie on the same grid and times; a scale or offset differs from date to date; or a variable
        is no image, and has no median.
    ArgumentError, ArgumentTypeError
        An argument has a wrong value or type.
    MissingPackageError
        ``"geomedian"`` needs geomad.

    Notes
    -----
    The result is the same to the last bit for every layout of chunks, and each pixel is read once. Medians need all
    dates of a period in one chunk. They are rechunked so that a block holds at most 256 MiB, but before that each chunk
    of the cube is held for all dates of the period: dates x rows x columns of a chunk x bytes of a pixel. Smaller
    chunks need less. The other methods hold a few dates at a time, whatever their number.

    The geometric median of Roberts, Mueller and McIntyre (2017), "High-dimensional pixel composites from Earth
    observation time series", doi 10.1109/TGRS.2017.2723896, is that of their package geomad. Distances to clouds as
    scores: Griffiths et al. (2013), "A pixel-based Landsat compositing algorithm for large area land cover mapping",
    doi 10.1109/JSTARS.2012.2228167.

    Examples
    --------
    >>> from xcloudmask.classes import get_style, mask_attrs
    >>> codes = np.array([0, 0, 1], np.uint8).reshape(3, 1, 1)
    >>> mask = xr.DataArray(codes, dims=("time", "y", "x"), attrs=mask_attrs(get_style("4-class")))
    >>> red = xr.DataArray(np.array([300, 320, 4000], np.uint16).reshape(3, 1, 1), dims=mask.dims, attrs={"nodata": 0})
    >>> found = composite(red.to_dataset(name="red"), mask)
    >>> found.red.item(), found.red.dtype, found.clear_count.item()
    (310, dtype('uint16'), 2)
    """
    clear = _clear_codes(mask, classes)
    _check_arguments(method, min_clear=min_clear, max_distance_px=max_distance_px)
    if not isinstance(cube, xr.DataArray | xr.Dataset):
        raise NotACubeError(f"The cube is a {type(cube).__name__}. Expected an xarray DataArray or Dataset.")
    dim = _time(cube, mask)
    arrays = _images(cube, dim, method)
    table = declared_sensor(cube)
    for name, array in arrays.items():
        _check_scales(name, array, dim, table)
    bands = {name: _band(name, array, table, method, as_float=as_float) for name, array in arrays.items()}
    periods = periods_of(cube, dim, freq)
    lazy = mask.chunks is not None or any(array.chunks is not None for array in arrays.values())
    distances = None
    if method == "best-pixel":
        distances = cloud_distance(mask, classes=classes, max_px=max_distance_px)
    job = _job(arrays, mask, distances, dim, clear=clear, bands=bands, periods=periods, min_clear=min_clear)
    found = composite_graph(job, method)
    result = _dressed(cube, found, dim, arrays=arrays, bands=bands, periods=periods)
    if not lazy:
        result = result.compute(scheduler="synchronous")
    return result


def _clear_codes(mask: xr.DataArray, classes: Sequence[str] | str) -> npt.NDArray[np.bool_]:
    style = style_of(mask)
    clear = np.zeros(256, bool)
    clear[: len(style.meanings)] = True
    clear[codes_of(style, classes)] = False
    clear[NODATA] = False
    return clear


def _check_arguments(method: str, *, min_clear: int, max_distance_px: int) -> None:
    methods = get_args(CompositeMethod)
    if method not in methods:
        raise ArgumentError(f"method={method!r} is unknown. Expected one of {', '.join(map(repr, methods))}.")
    for name, value in (("min_clear", min_clear), ("max_distance_px", max_distance_px)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ArgumentTypeError(f"{name}={value!r} is a {type(value).__name__}. Expected a whole number.")
        if value < 1:
            raise ArgumentError(f"{name}={value}: expected 1 or more.")
    check_px(max_distance_px, "max_distance_px")
    if method == "geomedian":
        require("geomad", extra="composite")


def _time(cube: xr.DataArray | xr.Dataset, mask: xr.DataArray) -> str:
    dim = time_dim(cube)
    if dim is None:
        raise NotACubeError(
            f"The cube has no time dimension, so there is nothing to put together. Its dimensions: "
            f"{', '.join(map(str, cube.sizes))}."
        )
    if dim not in mask.dims:
        raise InputError(
            f"The mask has no dimension {dim!r}: it has {', '.join(map(str, mask.dims))}. Expected one per date."
        )
    check_alignment(cube, mask)
    return dim


def _images(cube: xr.DataArray | xr.Dataset, dim: str, method: str) -> dict[Hashable, xr.DataArray]:
    """Return the variables that are put together, all with time, y and x."""
    wanted = {dim, *spatial_dims(cube)}
    if isinstance(cube, xr.DataArray):
        found: dict[Hashable, xr.DataArray] = {cube.name: cube}
    else:
        found = {name: array for name, array in cube.data_vars.items() if wanted <= set(array.dims)}
    if not found:
        raise NotACubeError(f"No variable of the cube has the dims {', '.join(map(repr, sorted(wanted)))}.")
    taken = [name for name in (COUNT, CHOSEN) if name in cube.coords or name in found]
    if taken:
        raise InputError(f"The cube has {taken[0]!r} already: it is a composite. Type: cube.drop_vars({taken!r})")
    odd = [name for name, array in found.items() if array.dtype.kind not in "iufb"]
    if odd:
        raise InputError(f"{odd[0]!r} is {found[odd[0]].dtype}. Expected real numbers. Type: cube.drop_vars({odd!r})")
    layers = [name for name, array in found.items() if is_layer(name, array)]
    if layers and method in ("median", "geomedian"):
        raise InputError(
            f"{layers[0]!r} holds classes or flags, which have no median. Type: cube.drop_vars({layers!r}), or "
            "method='best-pixel'"
        )
    return found


def _check_scales(name: Hashable, array: xr.DataArray, dim: str, table: Sensor | None) -> None:
    """Refuse numbers that mean something else on another date."""
    names = [f"{name}_{key}" for key in _SCALES] + list(_SCALES)
    band = table_band(table, str(name), str(name))
    if band is not None and band.level1_gain is not None and array.dtype.kind in "iu":
        names.append("sun_elevation")
    for coord in (array.coords[key] for key in names if key in array.coords and dim in array.coords[key].dims):
        if coord.chunks is not None:
            raise InputError(
                f"The coordinate {coord.name!r} is a dask array, which is not computed: the scale of {name!r} may "
                "differ from date to date. Type: "
                f"cube = cube.assign_coords({coord.name}=cube[{coord.name!r}].compute())"
            )
        values = np.moveaxis(coord.values, coord.get_axis_num(dim), 0)
        if not np.array_equal(values, np.broadcast_to(values[:1], values.shape), equal_nan=True):
            shown = ", ".join(map(str, np.unique(values)[:3]))
            raise InputError(
                f"The numbers of {name!r} mean something else on other dates: the coordinate {coord.name!r} has the "
                f"values {shown}. They cannot go into one composite. Type: cube = cube.cloudmask.to_reflectance()"
            )


def _band(name: Hashable, array: xr.DataArray, table: Sensor | None, method: str, *, as_float: bool) -> Band:
    """What is no data in a variable, and what comes out."""
    nodata = declared_nodata(array, table_band(table, str(name), str(name)))
    if nodata is not None and np.isnan(nodata):
        nodata = None
    if array.dtype.kind == "f":
        return Band(nodata=nodata, dtype=array.dtype.name, fill=np.nan)
    if array.dtype.kind in "iu":
        info = np.iinfo(array.dtype)
        nodata = nodata if nodata is not None and info.min <= nodata <= info.max and nodata.is_integer() else None
        if nodata is not None and not (as_float and method in ("median", "geomedian")):
            return Band(nodata=nodata, dtype=array.dtype.name, fill=nodata)
    return Band(nodata=nodata, dtype=np.result_type(array.dtype, np.float32).name, fill=np.nan)


def _job(
    arrays: dict[Hashable, xr.DataArray],
    mask: xr.DataArray,
    distances: xr.DataArray | None,
    dim: str,
    *,
    clear: npt.NDArray[np.bool_],
    bands: dict[Hashable, Band],
    periods: Periods,
    min_clear: int,
) -> Job:
    """Put everything into (time, ..., y, x) dask arrays in order of time."""
    y, x = spatial_dims(mask)
    layers = [*arrays.values(), mask, *([] if distances is None else [distances])]
    chunked = next((layer for layer in layers if layer.chunks is not None), None)
    sizes = {} if chunked is None else dict(zip(chunked.dims, chunked.chunks or (), strict=True))

    def lazy(layer: xr.DataArray) -> da.Array:
        variable = layer.variable.transpose(dim, ..., y, x)
        if variable.chunks is None:
            chunks = tuple(sizes.get(name, -1) if name in (dim, y, x) else -1 for name in variable.dims)
            name = None if chunked is None else "cloudmask-given-" + tokenize(variable.values, chunks)
            data: da.Array = da.from_array(variable.values, chunks=chunks, name=False if name is None else name)
        else:
            data = variable.data
        order = periods.order
        return data if (np.diff(order) > 0).all() else data[order]

    return Job(
        arrays=tuple(lazy(array) for array in arrays.values()),
        codes=lazy(mask),
        distances=None if distances is None else lazy(distances),
        clear=clear,
        bands=tuple(bands.values()),
        sizes=tuple(size for size in periods.sizes if size),
        min_clear=int(min_clear),
    )


def _dressed(
    cube: Cube,
    found: Composite,
    dim: str,
    *,
    arrays: dict[Hashable, xr.DataArray],
    bands: dict[Hashable, Band],
    periods: Periods,
) -> Cube:
    """Give the images their names, attributes and coordinates."""
    y, x = spatial_dims(cube)
    coords: dict[Hashable, Any] = {name: coord for name, coord in cube.coords.items() if dim not in coord.dims}
    for name, coord in cube.coords.items():
        if dim in coord.dims and str(name).endswith(_SCALES):
            coords[name] = coord.isel({dim: 0}, drop=True).variable
    if periods.starts is not None:
        coords[dim] = periods.starts
    images: dict[Hashable, xr.Variable] = {}
    for (name, array), data in zip(arrays.items(), found.arrays, strict=True):
        order = tuple(array.sizes)
        dims: list[Hashable] = [one for one in order if one not in (dim, y, x)]
        image = _spread(xr.Variable((dim, *dims, y, x), data, array.attrs), dim, periods, bands[name].fill)
        images[name] = image.transpose(*(one for one in order if one in image.sizes))
        images[name].encoding = {key: array.encoding[key] for key in _KEPT_ENCODING if key in array.encoding}
    extra = {COUNT: _counts(found, dim, (y, x), periods)}
    if found.index is not None:
        extra[CHOSEN] = _chosen(cube, found.index, dim, (y, x), periods)
    if isinstance(cube, xr.DataArray):
        (alone,) = images.values()
        result = xr.DataArray(
            xr.Variable(alone.dims, alone.data, alone.attrs), coords={**coords, **extra}, name=cube.name
        )
        result.encoding = alone.encoding
        return result
    still = {name: array.variable for name, array in cube.data_vars.items() if dim not in array.dims}
    kept = {name: images.get(name, still.get(name)) for name in cube.data_vars if name in images or name in still}
    return xr.Dataset({**kept, **extra}, coords=coords, attrs=cube.attrs)


def _spread(variable: xr.Variable, dim: str, periods: Periods, fill: Any) -> xr.Variable:
    """Drop time where there is one period; else put in the periods without a date."""
    if periods.starts is None:
        return variable.isel({dim: 0})
    if all(periods.sizes):
        return variable
    data = variable.data
    empty = da.full((1, *data.shape[1:]), fill, dtype=data.dtype, chunks=((1,), *data.chunks[1:]))
    place, take = 0, []
    for size in periods.sizes:
        take.append(place if size else data.shape[0])
        place += size > 0
    return xr.Variable(variable.dims, da.concatenate([data, empty], axis=0)[take], variable.attrs)


def _counts(found: Composite, dim: str, spatial: tuple[str, str], periods: Periods) -> xr.Variable:
    attrs = {"long_name": "clear observations", "units": "1"}
    return _spread(xr.Variable((dim, *spatial), found.count, attrs), dim, periods, 0)


def _chosen(cube: Any, index: da.Array, dim: str, spatial: tuple[str, str], periods: Periods) -> xr.Variable:
    """Return the times of the dates that were picked; their positions where the cube has no times."""
    times = cube.indexes[dim].to_numpy() if dim in cube.indexes else np.empty(0)
    table: npt.NDArray[Any]
    fill: Any
    if times.dtype.kind == "M":
        table, fill = np.append(times[periods.order], np.datetime64("NaT")), np.datetime64("NaT")
        attrs = {"long_name": "time of the chosen observation"}
    else:
        table, fill = np.append(periods.order, -1).astype(np.int32), np.int32(-1)
        attrs = {"long_name": "position of the chosen observation along time"}
    # -1, for none, is the last entry.
    data = da.map_blocks(
        _look_up,
        index,
        table=table,
        dtype=table.dtype,
        meta=np.empty((0, 0, 0), table.dtype),
        name="cloudmask-chosen-" + tokenize(index.name, table),
    )
    return _spread(xr.Variable((dim, *spatial), data, attrs), dim, periods, fill)


def _look_up(block: npt.NDArray[np.int32], *, table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return table[block]
