"""From stored numbers (DN) to reflectance: nodata, scale and offset, from what is declared and never from values.

The rule for scale and offset, for nodata too: what stands in ``attrs`` is still to be applied; what stands in
``encoding`` was applied on reading (xarray and rioxarray move it there).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask._sensor import Band, Sensor
from xcloudmask.bands import BandSelection
from xcloudmask.errors import ArgumentError, ArgumentTypeError
from xcloudmask.sensors import get_sensor

__all__ = ["Nodata", "known_scale", "nodata_values", "reflectance"]

Nodata = float | Mapping[str, float | None] | None
"""What ``nodata=`` takes: one number for all bands, role -> number, or None for what is declared."""

_NODATA_ATTRS = ("nodata", "_FillValue", "missing_value", "fill_value", "nodatavals")
_STALE_ATTRS = (
    *_NODATA_ATTRS,
    "scale_factor",
    "add_offset",
    "scales",
    "offsets",
    "raster:bands",
    "units",
    "valid_range",
)
_DIMENSIONLESS = ("", "1", "none", "reflectance", "unitless", "dimensionless", "dn", "counts")

_Scale = tuple[float, float]


def nodata_values(
    selection: BandSelection, *, nodata: Nodata = None, sensor: str | Sensor | None = None
) -> tuple[float | None, ...]:
    """Return the value that means "no data" in each band, in the units of the data.

    The argument, else the attributes (``nodata``, ``_FillValue``, ``missing_value``), else the encoding, else the
    sensor's table. A fill value in the encoding of floats was turned into NaN on reading, so NaN is the answer.

    Parameters
    ----------
    selection
        The bands of a cube.
    nodata
        One number for all bands, or role -> number; NaN is allowed (NaN is nodata in any case).
    sensor
        Name or `Sensor`, whose table is asked last.

    Returns
    -------
    tuple
        One float or None per role; None where nothing is declared, and for bands given up.

    Raises
    ------
    ArgumentTypeError
        `nodata` is no number, such as a string.
    ArgumentError
        `nodata` names a role that the model does not have, or `sensor` is unknown.

    Examples
    --------
    >>> from xcloudmask.bands import select_bands
    >>> cube = xr.Dataset({"red": (("y", "x"), np.ones((2, 2), "uint16"), {"nodata": 0})})
    >>> nodata_values(select_bands(cube, roles=("red",)))
    (0.0,)
    """
    given = _given_nodata(nodata, selection.roles)
    table = None if sensor is None else get_sensor(sensor)
    return tuple(
        None if array is None else given[role] if role in given else _declared_nodata(array, _band(table, role, name))
        for role, name, array in zip(selection.roles, selection.names, selection.arrays, strict=True)
    )


def known_scale(
    selection: BandSelection, *, sensor: str | Sensor | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return scale and offset of each band where they are known: reflectance = value * scale + offset.

    Known means declared: ``scale_factor`` and ``add_offset`` in the attributes (still to be applied) or in the encoding
    (already applied), ``raster:bands`` of STAC items next to integers, or the sensor's table next to integers. A scale
    of 1 with an offset of 0 in the attributes declares nothing: rioxarray writes it for every file that has none.

    Parameters
    ----------
    selection
        The bands of a cube.
    sensor
        Name or `Sensor`.

    Returns
    -------
    tuple or None
        (scale per role, offset per role), 0 and 0 for bands given up; None where any band's scale is unknown.

    Raises
    ------
    ArgumentError
        `sensor` is unknown.

    Examples
    --------
    >>> from xcloudmask.bands import select_bands
    >>> cube = xr.Dataset({"red": (("y", "x"), np.ones((2, 2), "uint16"))})
    >>> selection = select_bands(cube, roles=("red",))
    >>> known_scale(selection) is None
    True
    >>> known_scale(selection, sensor="landsat-oli-c2-l2")
    ((2.75e-05,), (-0.2,))
    """
    table = None if sensor is None else get_sensor(sensor)
    items = iter(_item_scales(selection))
    scales: list[float] = []
    offsets: list[float] = []
    for index, (role, array) in enumerate(zip(selection.roles, selection.arrays, strict=True)):
        known: _Scale | None = (0.0, 0.0)
        if array is not None:
            position = selection.positions[index] if selection.positions else None
            known = _scale(array, position, next(items), _band(table, role, selection.names[index]))
        if known is None:
            return None
        scales.append(known[0])
        offsets.append(known[1])
    return tuple(scales), tuple(offsets)


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
    empty = _declared_nodata(array, None) if nodata is None else nodata
    dtype = np.result_type(array.dtype, np.float32)
    values: xr.DataArray = array.astype(dtype) * dtype.type(scale) + dtype.type(offset)
    if empty is not None and not math.isnan(empty):
        values = values.where(array != empty)
    values.attrs = {key: value for key, value in array.attrs.items() if key not in _STALE_ATTRS} | {"units": "1"}
    return values


def _given_nodata(nodata: Nodata, roles: tuple[str, ...]) -> dict[str, float | None]:
    if nodata is None:
        return {}
    if not isinstance(nodata, Mapping):
        return dict.fromkeys(roles, _checked(nodata, f"nodata={nodata!r}"))
    unknown = [role for role in nodata if role not in roles]
    if unknown:
        raise ArgumentError(
            f"nodata= has the role {unknown[0]!r}. Expected the model's bands: {', '.join(map(repr, roles))}."
        )
    return {
        role: None if value is None else _checked(value, f"nodata={{{role!r}: {value!r}}}")
        for role, value in nodata.items()
    }


def _checked(value: object, shown: str) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise ArgumentTypeError(
            f"{shown} is a {type(value).__name__}. Expected a number such as 0, -9999 or float('nan')."
        )
    return float(value)


def _declared_nodata(array: xr.DataArray, band: Band | None) -> float | None:
    for key in _NODATA_ATTRS:
        value = _number(array.attrs.get(key))
        if value is not None:
            return value
    for key in _NODATA_ATTRS:
        value = _number(array.encoding.get(key))
        if value is not None:
            return math.nan if array.dtype.kind == "f" else value
    return None if band is None else band.nodata


def _number(value: Any) -> float | None:
    """A number out of an attribute, which can be an array of one, equal numbers per band, or text."""
    values = np.ravel(value if value is not None else [])
    if values.size == 0 or values.dtype.kind in "OMmcb" or (values != values[0]).any():
        return None
    try:
        return float(values[0])
    except ValueError:
        return None


def _band(sensor: Sensor | None, role: str, name: str | None) -> Band | None:
    """The sensor's band that was chosen: by its name in the cube, else by its role."""
    if sensor is None or name is None:
        return None
    return sensor.find(name) or next(iter(sensor.candidates(role)), None)


def _scale(array: xr.DataArray, position: int | None, item: _Scale | None, band: Band | None) -> _Scale | None:
    if str(array.attrs.get("units", "")).casefold() not in _DIMENSIONLESS:
        # Radiance, percent or kelvin: the declared scale does not lead to reflectance.
        return None
    declared = _declared_scale(array, position)
    if declared is not None:
        return declared
    if _pair(*(array.encoding.get(key) for key in ("scale_factor", "add_offset"))) is not None:
        return (1.0, 0.0) if array.dtype.kind == "f" else None
    # Floats next to a STAC item or a sensor's name: scaled (stackstac's default) or not, nothing tells.
    return None if array.dtype.kind == "f" else item or _table_scale(band)


def _table_scale(band: Band | None) -> _Scale | None:
    if band is None or band.scale is None or band.offset is None:
        return None
    return band.scale, band.offset


def _declared_scale(array: xr.DataArray, position: int | None) -> _Scale | None:
    """scale_factor and add_offset; rioxarray writes tuples called scales and offsets where bands differ."""
    attrs = array.attrs
    scale = _at(attrs["scales"], position) if "scales" in attrs else attrs.get("scale_factor")
    offset = _at(attrs["offsets"], position) if "offsets" in attrs else attrs.get("add_offset")
    return _pair(scale, offset)


def _at(values: Any, position: int | None) -> Any:
    values = np.ravel(values)
    return values[position] if position is not None and position < values.size else math.nan


def _pair(scale: Any, offset: Any) -> _Scale | None:
    """Declared scale and offset; one without the other stands for itself, and 1 with 0 declares nothing."""
    if scale is None and offset is None:
        return None
    gain, shift = _number(1.0 if scale is None else scale), _number(0.0 if offset is None else offset)
    if gain is None or shift is None or (gain, shift) == (1.0, 0.0):
        return None
    return (gain, shift) if gain > 0 and math.isfinite(gain + shift) else None


def _item_scales(selection: BandSelection) -> Iterator[_Scale | None]:
    """raster:bands of STAC items: a coordinate along the bands (stackstac), or an attribute of each variable."""
    if selection.stack is None:
        yield from (_raster_bands(a.attrs.get("raster:bands"), a) for a in selection.arrays if a is not None)
        return
    coord = selection.stack.coords.get("raster:bands")
    count = selection.stack.sizes[selection.band_dim]
    values: list[Any] = [None] * count
    if coord is not None and coord.chunks is None and coord.dtype.kind == "O":
        values = list(coord.values) if coord.ndim else [coord.item()] * count
    yield from (_raster_bands(value, selection.stack) for value in values)


def _raster_bands(value: Any, array: xr.DataArray) -> _Scale | None:
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if not isinstance(value, Mapping):
        return None
    known = _pair(value.get("scale"), value.get("offset"))
    if known is not None and known[1] != 0 and "earthsearch:boa_offset_applied" in array.coords:
        # Earth Search declares offset -0.1 also where it has been subtracted, and the flag is wrong in part of the
        # catalogue: https://github.com/Element84/earth-search/issues/71
        return None
    return known
