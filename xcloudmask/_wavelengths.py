"""Which wavelengths each band of a cube has: from tables, attributes, coordinates and names. Nothing is computed.

First come, first served:

1. the table of the sensor that the user or the cube names;
2. what the cube says: ``eo:bands`` and ``bands`` of STAC (https://github.com/stac-extensions/eo: micrometres), a
   coordinate along the bands (``wavelength``, ``center_wavelength``, or the CF standard name ``radiation_wavelength``)
   with its widths (``fwhm``), or attributes of these names;
3. names such as B04, where the sensors that have all these names agree;
4. common names (red, swir16): the ranges of `xcloudmask.sensors.common`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask._bandnames import bands_by_code
from xcloudmask._bandsource import CubeBands
from xcloudmask._sensor import Band, Sensor, fold_name
from xcloudmask._units import Centres, centres_nm
from xcloudmask.sensors.common import COMMON_NM

__all__ = ["Known", "Unknown", "find_wavelengths", "role_wavelength"]

_CENTRES = (
    *("wavelength_nm", "wavelength", "center_wavelength", "central_wavelength", "eo:center_wavelength"),
    *("wavelengths", "radiation_wavelength"),
)
_WIDTHS = ("fwhm_nm", "fwhm", "full_width_half_max", "eo:full_width_half_max", "bandwidth")
_STANDARD_NAME = "radiation_wavelength"
_STAC = ("eo:bands", "bands")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The wavelengths of a band."""

    wavelength_nm: tuple[float, float, float]
    """Shortest, central and longest."""
    how: str
    """How they were found, for people."""
    band: Band | None = None
    """The band in the table of the sensor that was named; others of it are copies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A band whose wavelengths nothing tells."""

    why: str
    """What was looked for, or what was wrong with it."""
    sensors: tuple[str, ...] = ()
    """Sensors that have a band of that name, and do not agree on what it is."""


def find_wavelengths(
    source: CubeBands, sensor: Sensor | None, *, declared: bool, alone: bool = True
) -> list[Known | Unknown]:
    """Find the wavelengths of all bands of a cube.

    Parameters
    ----------
    source
        The bands.
    sensor
        Whose bands they are, where somebody says so.
    declared
        Whether that is the cube, and not the user.
    alone
        Whether the sensor's table is all that counts where there is one: views and copies that it does not name are
        other looks at the same ground.

    Returns
    -------
    list
        One for each band.
    """
    named = {} if sensor is None else _by_table(source, sensor, declared=declared)
    if sensor is not None and alone:
        why = f"not a band of sensor {sensor.name!r}"
        return [named.get(position, Unknown(why=why)) for position in range(source.count)]
    told = _told(source)
    coded, disagree = bands_by_code(source.names) if sensor is None else ({}, ())
    found: list[Known | Unknown] = []
    for position in range(source.count):
        one = named.get(position) or told.get(position)
        if not isinstance(one, Known) and position in coded:
            band, how = coded[position]
            one = Known(wavelength_nm=band.wavelength_nm, how=how, band=band)
        if not isinstance(one, Known):
            one = _by_common_name(source, position) or one
        found.append(one or Unknown(why="no wavelength is known", sensors=disagree))
    return found


def role_wavelength(role: str, band: Known | Unknown, sensor: Sensor | None) -> Known | None:
    """Return the wavelengths of a band that the user says plays a role such as red; None where that is no such role.

    Parameters
    ----------
    role
        What the user calls it.
    band
        What is known of it otherwise: this stays where it fits the role.
    sensor
        Whose bands they are, where somebody says so.

    Returns
    -------
    Known or None
    """
    if isinstance(band, Known) and band.band is not None and role in band.band.roles:
        return band
    candidates = () if sensor is None else sensor.candidates(role)
    if candidates:
        return Known(wavelength_nm=candidates[0].wavelength_nm, how=f"argument: {role} of {candidates[0].name}")
    common = COMMON_NM.get(fold_name(role))
    if common is None:
        return None
    if isinstance(band, Known) and common[0] <= band.wavelength_nm[1] <= common[2]:
        return band
    return Known(wavelength_nm=common, how=f"argument: range of {role}")


# --- tables and names ---


def _by_table(source: CubeBands, sensor: Sensor, *, declared: bool) -> dict[int, Known]:
    label = f"attrs: sensor {sensor.name}" if declared else f"sensor {sensor.name}"
    found = {}
    for position in range(source.count):
        band = next(filter(None, (_in_table(sensor, text) for text in _texts(source, position))), None)
        if band is not None:
            found[position] = Known(wavelength_nm=band.wavelength_nm, how=f"{label}: {band.name}", band=band)
    return found


def _in_table(sensor: Sensor, text: str) -> Band | None:
    return sensor.find(text) or next(iter(sensor.candidates(fold_name(text))), None)


def _by_common_name(source: CubeBands, position: int) -> Known | None:
    name = next((fold_name(text) for text in _texts(source, position) if fold_name(text) in COMMON_NM), None)
    return None if name is None else Known(wavelength_nm=COMMON_NM[name], how=f"range of {name}")


def _texts(source: CubeBands, position: int) -> list[str]:
    return [text for _, column in source.names.columns if (text := column[position])]


# --- what the cube says ---


def _told(source: CubeBands) -> dict[int, Known | Unknown]:
    """What attributes and coordinates say."""
    if source.array is None:
        found = {position: _of_attrs(variable.attrs) for position, variable in enumerate(source.variables)}
        return {position: one for position, one in found.items() if one is not None}
    told = _of_coordinate(source.array, str(source.band_dim)) or _of_lists(source.array.attrs, source.count)
    return told or _of_stac(source.array, str(source.band_dim))


def _of_attrs(attrs: Mapping[Any, Any]) -> Known | Unknown | None:
    """Attributes of a variable that is one band."""
    for key in _CENTRES:
        if key in attrs:
            return _one(centres_nm([attrs[key]], key=key, units=_units_of(attrs, key), widths=_width(attrs)), 0, key)
    for key in _STAC:
        if key in attrs:
            return _stac_band(attrs[key], key)
    return None


def _of_coordinate(array: xr.DataArray, dim: str) -> dict[int, Known | Unknown]:
    """A coordinate along the bands."""
    along = {
        str(name): coord
        for name, coord in array.coords.items()
        if coord.dims == (dim,) and coord.chunks is None and coord.dtype.kind in "iufO"
    }
    centres = [name for name in _CENTRES if name in along]
    centres += [name for name, coord in along.items() if coord.attrs.get("standard_name") == _STANDARD_NAME]
    for name in centres:
        coord = along[name]
        if not _numeric(coord.values):
            continue
        width = next((along[key] for key in _WIDTHS if key in along), None)
        found = centres_nm(
            coord.values.tolist(),
            key=name,
            units=coord.attrs.get("units"),
            widths=None if width is None else (width.name, width.values.tolist(), width.attrs.get("units")),
        )
        return _all(found, f"coordinate {name}")
    return {}


def _of_lists(attrs: Mapping[Any, Any], count: int) -> dict[int, Known | Unknown]:
    """Attributes that list a number for each band, as those of ENVI files."""
    for key in _CENTRES:
        values = attrs.get(key)
        if isinstance(values, list | tuple | np.ndarray) and len(values) == count > 1 and _numeric(values):
            widths = _width(attrs)
            widths = widths if widths is not None and len(widths[1]) == count else None
            return _all(centres_nm(list(values), key=key, units=_units_of(attrs, key), widths=widths), f"attrs: {key}")
    return {}


def _of_stac(array: xr.DataArray, dim: str) -> dict[int, Known | Unknown]:
    """Bands of STAC items, kept as objects along the bands."""
    for key in _STAC:
        coord = array.coords.get(key)
        if coord is not None and coord.dims == (dim,) and coord.chunks is None and coord.dtype.kind == "O":
            found = {position: _stac_band(value, key) for position, value in enumerate(coord.values)}
            return {position: one for position, one in found.items() if one is not None}
    return {}


def _stac_band(value: Any, key: str) -> Known | Unknown | None:
    """One band as STAC has it; files with several do not tell which is meant."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if not isinstance(value, Mapping):
        return None
    for prefix in ("", "eo:"):
        centre, width = value.get(f"{prefix}center_wavelength"), value.get(f"{prefix}full_width_half_max")
        if centre is not None:
            widths = None if width is None else ("full_width_half_max", [width], "um")
            return _one(centres_nm([centre], key="center_wavelength", units="um", widths=widths), 0, key)
    return None


def _units_of(attrs: Mapping[Any, Any], key: str) -> Any:
    names = (f"{key}_units", f"{key}_unit", "wavelength_units", "wavelength_unit")
    return next((attrs[name] for name in names if name in attrs), None)


def _width(attrs: Mapping[Any, Any]) -> tuple[str, Sequence[Any], Any] | None:
    key = next((key for key in _WIDTHS if key in attrs), None)
    if key is None:
        return None
    values = attrs[key]
    listed = values if isinstance(values, list | tuple | np.ndarray) else [values]
    return key, list(listed), _units_of(attrs, key)


def _numeric(values: Any) -> bool:
    """Whether a list holds numbers, some of which may be missing."""
    items = np.ravel(np.asarray(values, dtype=object)).tolist()
    numbers = [isinstance(item, Real) and not isinstance(item, bool) for item in items]
    return any(numbers) and all(item is None or number for item, number in zip(items, numbers, strict=True))


def _all(found: Centres, source: str) -> dict[int, Known | Unknown]:
    ones = {position: _one(found, position, source) for position in range(len(found.nm))}
    return {position: one for position, one in ones.items() if one is not None}


def _one(found: Centres, position: int, source: str) -> Known | Unknown | None:
    wavelength_nm = found.nm[position]
    if wavelength_nm is not None:
        return Known(wavelength_nm=wavelength_nm, how=f"{source}{found.note}")
    return Unknown(why=f"{source}: {found.wrong[position]}") if found.wrong[position] else None
