"""From stored numbers (DN) to reflectance or kelvin, lazily."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xcloudmask._sensor import Band, Sensor, fold_name
from xcloudmask.bands import BandSelection, declared_sensor, select_bands
from xcloudmask.errors import InputError, NotACubeError
from xcloudmask.grid import spatial_dims, time_dim
from xcloudmask.options import Scale, scale_pairs
from xcloudmask.radiometry._bandscale import BandScale, constant
from xcloudmask.radiometry._nodata import (
    APPLIED,
    NODATA_ATTRS,
    Nodata,
    declared_nodata,
    given_nodata,
    nodata_values,
    table_band,
)
from xcloudmask.radiometry._scales import band_scales, kelvin, reflective
from xcloudmask.radiometry.level1 import brightness_temperature
from xcloudmask.sensors import SENSORS, get_sensor

__all__ = ["is_layer", "reflectance", "to_reflectance", "without_scales"]

_STALE_ATTRS = (
    *NODATA_ATTRS,
    "scale_factor",
    "add_offset",
    "scales",
    "offsets",
    "raster:bands",
    "units",
    "valid_range",
    "k1",
    "k2",
)
_COORDS = ("scale_factor", "add_offset")

_Cube = TypeVar("_Cube", xr.Dataset, xr.DataArray)


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

    See Also
    --------
    to_reflectance : Whole cubes, with the scale that they declare.

    Examples
    --------
    >>> dn = xr.DataArray(np.array([0, 900, 2000], "uint16"), dims="x", attrs={"nodata": 0})
    >>> reflectance(dn, scale=1e-4, offset=-0.1).values.round(2)
    array([  nan, -0.01,  0.1 ], dtype=float32)
    """
    empty = declared_nodata(array, None) if nodata is None else nodata
    return _dressed(_scaled(array, constant((scale, offset)), empty), array, quantity="reflectance")


def to_reflectance(
    cube: xr.Dataset | xr.DataArray,
    *,
    sensor: str | Sensor | None = None,
    scale: Scale | None = None,
    nodata: Nodata = None,
) -> xr.Dataset | xr.DataArray:
    """Turn the stored numbers of a cube into reflectance, and those of thermal bands into kelvin.

    Parameters
    ----------
    cube
        A Dataset with a variable per band, or a DataArray with or without a band dimension; any real dtype; lazy or
        not.
    sensor
        A sensor of `xcloudmask.sensors`, whose table is asked last for scale, nodata and thermal constants. None: the
        one that ``attrs["sensor"]`` names, if any.
    scale
        Reflectance per DN, a pair (scale, offset), or band of the cube -> one of these. It goes before all that the
        cube declares. None: as declared, by coordinates along time, attributes, encoding, STAC items or the sensor.
    nodata
        Value of pixels without data, for all bands or per band of the cube. None: as declared.

    Returns
    -------
    same as `cube`
        Same dims, chunks and grid; floats (float32 where 16 bits or fewer came in), NaN for nodata; reflectance (1 =
        all light is reflected) or kelvin. Attributes and coordinates that described the DN are left out. Masks and
        layers such as SCL or QA_PIXEL stay as they are.

    Raises
    ------
    InputError
        The scale of a band is not known, for any date.
    NotACubeError
        The object has no image.
    ArgumentError, ArgumentTypeError
        `sensor`, `scale` or `nodata` has a wrong value or type.

    Notes
    -----
    Values are cast before the arithmetic, which is value * scale + offset. Thermal bands with ``k1`` and ``k2`` in
    their attributes (or in the sensor's table) are scaled to radiance first, then to brightness temperature. Level 1 of
    Landsat 8 and 9 has one scale for all scenes but for the sun: it is known where the cube has the coordinate
    ``sun_elevation``, in degrees.

    The result remembers what it is until it is calculated with or written to a file: `predict` knows its scale. Read
    back from a file it is floats of unknown scale, and ``scale=1`` says what they are.

    Examples
    --------
    >>> attrs = {"scale_factor": 1e-4, "add_offset": -0.1, "nodata": 0}
    >>> cube = xr.Dataset({"red": (("y", "x"), np.array([[0, 2000]], "uint16"), attrs)})
    >>> to_reflectance(cube).red.values.round(2)
    array([[nan, 0.1]], dtype=float32)
    """
    if not isinstance(cube, xr.Dataset | xr.DataArray):
        raise NotACubeError(f"The cube is a {type(cube).__name__}. Expected an xarray.Dataset or xarray.DataArray.")
    table = _on_platform(declared_sensor(cube) if sensor is None else get_sensor(sensor), cube)
    if isinstance(cube, xr.Dataset):
        return _dataset(cube, table, scale, nodata)
    return _array(cube, table, scale, nodata)


def _dataset(cube: xr.Dataset, table: Sensor | None, scale: Scale | None, nodata: Nodata) -> xr.Dataset:
    y, x = spatial_dims(cube)
    bands = [name for name, var in cube.data_vars.items() if {y, x} <= set(var.dims) and not is_layer(name, var)]
    if not bands:
        shown = ", ".join(map(repr, cube.data_vars)) or "none"
        raise NotACubeError(f"No variable of the Dataset is a band of an image. Found: {shown}.")
    if len(bands) == 1 and len(cube[bands[0]].dims) > 2 + (time_dim(cube) is not None):
        return without_scales(cube.assign({bands[0]: _array(cube[bands[0]], table, scale, nodata)}))
    names = tuple(map(str, bands))
    pairs, empty = scale_pairs(scale, names), given_nodata(nodata, names)
    converted = {}
    # One by one: bands need not have the same dimensions.
    for name in names:
        selection = select_bands(cube[[name]], roles=(name,), bands={name: name})
        (found,) = _known(selection, table, {name: pairs[name]} if name in pairs else None)
        (value,) = nodata_values(selection, nodata={name: empty[name]} if name in empty else None, sensor=table)
        converted[name] = _band(cube[name], found, value, table_band(table, name, name))
    return without_scales(cube.assign(converted))


def _array(cube: xr.DataArray, table: Sensor | None, scale: Scale | None, nodata: Nodata) -> xr.DataArray:
    """A DataArray, with or without a band dimension."""
    known = {*spatial_dims(cube), time_dim(cube)}
    dims = [dim for dim in cube.dims if dim not in known]
    if len(dims) != 1:
        name = str(cube.name or "band")
        alone = cube.to_dataset(name=name)
        result: xr.DataArray = _dataset(alone, table, scale, nodata)[name].rename(cube.name)
        return result
    (dim,) = dims
    positions = {f"band {index}": index for index in range(cube.sizes[dim])}
    selection = select_bands(cube, roles=tuple(positions), bands=positions)
    names = tuple(str(name) for name in selection.names)
    selection = BandSelection(
        roles=names,
        names=names,
        arrays=selection.arrays,
        stack=selection.stack,
        band_dim=selection.band_dim,
        how=selection.how,
        positions=selection.positions,
    )
    found = _known(selection, table, scale)
    empty = nodata_values(selection, nodata=nodata, sensor=table)
    bands = [table_band(table, name, name) for name in names]
    thermal = [_thermal(cube, band) for band in bands]
    values = _scaled(cube, _joined(found, dim), xr.Variable((dim,), [math.nan if v is None else v for v in empty]))
    if any(thermal):
        k1, k2 = (xr.DataArray([math.nan if k is None else k[i] for k in thermal], dims=(dim,)) for i in range(2))
        values = brightness_temperature(values, k1=k1, k2=k2).where(np.isfinite(k1), values).transpose(*cube.dims)
    kinds = {_quantity(cube, band) for band in bands}
    # Bands of several kinds in one array have no common unit.
    kind = kinds.pop() if len(kinds) == 1 else "" if "brightness_temperature" in kinds else "reflectance"
    return without_scales(_dressed(values, cube, quantity=kind))


def _known(selection: BandSelection, table: Sensor | None, scale: Scale | None) -> list[BandScale]:
    """The scale of every band, or the reason why there is none."""
    known = []
    for name, array, found in zip(
        selection.roles,
        selection.arrays,
        band_scales(selection, sensor=table, scale=scale, thermal=True),
        strict=True,
    ):
        if found is None or array is None:
            raise _unknown(name, array, table)
        if found.lazy:
            raise InputError(
                f"The scale of {name!r} stands in coordinates that are dask arrays, which are not computed. Expected "
                "numbers in memory. Type cube = cube.assign_coords({name: coord.compute() for name, coord in "
                "cube.coords.items()})."
            )
        dates = np.flatnonzero(~np.atleast_1d(found.known.values))
        if dates.size:
            time = time_dim(array)
            times = array[time].values if time in array.coords else np.arange(found.known.size)
            shown = ", ".join(str(one)[:10] for one in np.atleast_1d(times)[dates[:3]])
            raise InputError(
                f"The scale of {name!r} is not known for {dates.size} of {found.known.size} dates ({shown}"
                f"{', ...' if dates.size > 3 else ''}). Expected finite scale_factor and add_offset for each. Leave "
                "those dates out, or type scale= for all."
            )
        known.append(found)
    return known


def _unknown(name: str, array: xr.DataArray | None, table: Sensor | None) -> InputError:
    attrs: Mapping[Hashable, Any] = {} if array is None else array.attrs
    found = "no scale_factor in its attributes" if reflective(attrs) else f"units {attrs['units']!r}"
    if table is not None:
        found += f", and sensor {table.name!r} does not fix it (it differs from item to item)"
    return InputError(
        f"The scale of {name!r} is not known: {found}. Expected scale_factor and add_offset in the attributes or along "
        f"time, or sensor= where the sensor fixes them. Type to_reflectance(cube, scale={{{name!r}: (1e-4, 0.0)}}) for "
        f"reflectance = DN * 0.0001; leave out what is no band: cube.drop_vars({name!r})."
    )


def _band(array: xr.DataArray, found: BandScale, empty: float | None, band: Band | None) -> xr.DataArray:
    values = _scaled(array, found, empty)
    thermal = _thermal(array, band)
    if thermal is not None:
        values = brightness_temperature(values, k1=thermal[0], k2=thermal[1])
    return _dressed(values, array, quantity=_quantity(array, band))


def _scaled(array: xr.DataArray, found: BandScale, empty: float | xr.Variable | None) -> xr.DataArray:
    """Cast, then calculate; nodata, a number or one per band, becomes NaN."""
    dtype = np.result_type(array.dtype, np.float32)
    values: xr.DataArray = array.astype(dtype) * found.gain.astype(dtype) + found.offset.astype(dtype)
    if isinstance(empty, xr.Variable) or (empty is not None and not math.isnan(empty)):
        values = values.where(array != empty)
    return values.transpose(*array.dims)


def _joined(found: list[BandScale], dim: Hashable) -> BandScale:
    """Scales of all bands, along the band dimension."""
    gain, offset = (
        xr.concat(list(xr.broadcast(*(xr.DataArray(getattr(one, part)) for one in found))), dim).variable
        for part in ("gain", "offset")
    )
    return BandScale(gain, offset)


def _thermal(array: xr.DataArray, band: Band | None) -> tuple[float, float] | None:
    """Thermal constants k1 and k2: of the scene, else of the sensor; None where the values are no radiance."""
    k1, k2 = array.attrs.get("k1"), array.attrs.get("k2")
    if k1 is None and band is not None and not kelvin(array.attrs):
        k1, k2 = band.k1, band.k2
        _check_platforms(array, band)
    return None if k1 is None or k2 is None else (float(k1), float(k2))


def _on_platform(table: Sensor | None, cube: xr.Dataset | xr.DataArray) -> Sensor | None:
    """The table of the one satellite that the cube names; constants can differ between those of a sensor."""
    if table is None:
        return None
    known = {fold_name(name): name for name in table.platforms}
    found = {known[name] for name in _platforms(cube) if name in known}
    return table.for_platform(found.pop()) if len(found) == 1 else table


def _platforms(cube: xr.Dataset | xr.DataArray) -> set[str]:
    coord = cube.coords.get("platform")
    values = [cube.attrs.get("platform")]
    if coord is not None and coord.chunks is None:
        values += np.ravel(coord.values).tolist()
    return {fold_name(value) for value in values if isinstance(value, str)}


def _check_platforms(array: xr.DataArray, band: Band) -> None:
    differ = {fold_name(one.platform) for one in band.by_platform if one.k1 is not None}
    found = sorted(_platforms(array) & differ)
    if len(found) > 1:
        raise InputError(
            f"Thermal constants of {band.name!r} differ between {' and '.join(found)}, which are in one cube. Expected "
            f"one satellite. Type to_reflectance(cube.isel(time=cube.platform == {found[0]!r})), and the others alike."
        )


def _quantity(array: xr.DataArray, band: Band | None) -> str:
    if (
        kelvin(array.attrs)
        or _thermal(array, band) is not None
        or (band is not None and band.quantity == "brightness_temperature")
    ):
        return "brightness_temperature"
    return band.quantity if band is not None and band.quantity.endswith("reflectance") else "reflectance"


def is_layer(name: Hashable, array: xr.DataArray) -> bool:
    """Masks, and the layers that come with the bands of a product."""
    known = {layer.casefold() for sensor in SENSORS.values() for layer in sensor.companions}
    flags = any(str(key).startswith("flag_") for key in array.attrs)
    return flags or array.dtype.kind not in "iuf" or str(name).casefold() in known


def _dressed(values: xr.DataArray, source: xr.DataArray, *, quantity: str) -> xr.DataArray:
    values.attrs = {key: value for key, value in source.attrs.items() if key not in _STALE_ATTRS}
    values.encoding = {key: value for key, value in source.encoding.items() if key == "grid_mapping"}
    if quantity:
        values.attrs["units"] = "K" if quantity == "brightness_temperature" else "1"
        values.encoding[APPLIED] = quantity
    return values.rename(source.name)


def without_scales(cube: _Cube) -> _Cube:
    """Drop the coordinates with scales: left on other values, they would say that they are still to be applied."""
    ends = tuple(f"_{name}" for name in _COORDS)
    stale = [name for name in cube.coords if name in (*_COORDS, "raster:bands") or str(name).endswith(ends)]
    return cube.drop_vars(stale)
