"""The value that means "no data", from what is declared and never from pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask._sensor import Band, Sensor
from xcloudmask.bands import BandSelection
from xcloudmask.errors import ArgumentError, ArgumentTypeError
from xcloudmask.sensors import get_sensor

__all__ = [
    "APPLIED",
    "NODATA_ATTRS",
    "Nodata",
    "declared_nodata",
    "given_nodata",
    "nodata_values",
    "number",
    "table_band",
]

Nodata = float | Mapping[str, float | None] | None
"""What ``nodata=`` takes: one number for all bands, role -> number, or None for what is declared."""

APPLIED = "quantity"
"""Key of the encoding that says what floats are; xarray drops it with the first calculation, and on writing."""

NODATA_ATTRS = ("nodata", "_FillValue", "missing_value", "fill_value", "nodatavals")

_STORED = ("nodata", "nodatavals")
"""Of these, the ones in the units of the file; ``_FillValue`` is NaN after reading, or was written for the floats."""


def nodata_values(
    selection: BandSelection, *, nodata: Nodata = None, sensor: str | Sensor | None = None
) -> tuple[float | None, ...]:
    """Return the value that means "no data" in each band, in the units of the data.

    The argument, else the attributes (``nodata``, ``_FillValue``, ``missing_value``), else the encoding, else the
    sensor's table. A fill value in the encoding of floats was turned into NaN on reading, so NaN is the answer. The
    attribute ``nodata`` of floats whose encoding has a scale is the stored number: it is scaled as they were.

    Parameters
    ----------
    selection
        The bands of a cube.
    nodata
        One number for all bands, or role -> number; NaN is allowed (NaN is nodata in any case).
    sensor
        Name or `Sensor`, whose table is asked last. None: the sensor of the selection.

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
    given = given_nodata(nodata, selection.roles)
    table = selection.sensor if sensor is None else get_sensor(sensor)
    return tuple(
        None
        if array is None
        else given[role]
        if role in given
        else declared_nodata(array, table_band(table, role, name))
        for role, name, array in zip(selection.roles, selection.names, selection.arrays, strict=True)
    )


def given_nodata(nodata: Nodata, roles: tuple[str, ...]) -> dict[str, float | None]:
    """Check ``nodata=``, and spread it over the bands that the caller spoke of."""
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


def declared_nodata(array: xr.DataArray, band: Band | None) -> float | None:
    """Nodata of one band: attributes, then encoding, then the sensor's table."""
    for key in NODATA_ATTRS:
        value = number(array.attrs.get(key))
        if value is not None:
            return _decoded(value, array) if key in _STORED else value
    for key in NODATA_ATTRS:
        value = number(array.encoding.get(key))
        if value is not None:
            return math.nan if array.dtype.kind == "f" else value
    if APPLIED in array.encoding:
        # The sensor's value is one of the DN, which these are no more.
        return math.nan
    return None if band is None or band.nodata is None else _decoded(band.nodata, array)


def _decoded(value: float, array: xr.DataArray) -> float:
    """A stored number as it reads where xarray applied scale and offset: it does not know these attributes."""
    if array.dtype.kind != "f":
        return value
    scale, offset = (number(array.encoding.get(key)) for key in ("scale_factor", "add_offset"))
    with np.errstate(over="ignore"):
        decoded = np.array(value, array.dtype)
        # The steps of xarray, in its type: the numbers must be equal to the last bit.
        decoded = decoded if scale is None else decoded * array.dtype.type(scale)
        decoded = decoded if offset is None else decoded + array.dtype.type(offset)
    return float(decoded)


def number(value: Any) -> float | None:
    """A number out of an attribute, which can be an array of one, equal numbers per band, or text."""
    values = np.ravel(value if value is not None else [])
    if values.size == 0 or values.dtype.kind in "OMmcb" or (values != values[0]).any():
        return None
    try:
        return float(values[0])
    except ValueError:
        return None


def table_band(sensor: Sensor | None, role: str, name: str | None) -> Band | None:
    """The sensor's band that was chosen: by its name in the cube, else by its role."""
    if sensor is None or name is None:
        return None
    return sensor.find(name) or next(iter(sensor.candidates(role)), None)
