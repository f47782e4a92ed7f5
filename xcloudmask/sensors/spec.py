"""A sensor from a dictionary or a TOML file, checked: every error names the field."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from xcloudmask._sensor import Band, Sensor
from xcloudmask.errors import ArgumentError, ArgumentTypeError, ReadError

__all__ = ["LARGEST_BYTES", "load_sensor", "sensor_from_dict"]

LARGEST_BYTES = 64 * 1024
"""A table of fifty bands with all their names has some 20 KiB."""

_SENSOR_FIELDS = tuple(field.name for field in fields(Sensor))
_BAND_FIELDS = tuple(field.name for field in fields(Band) if field.name != "by_platform")
_REQUIRED = {"sensor": ("name", "title", "bands"), "band": ("name", "roles", "wavelength_nm", "resolution_m")}


def load_sensor(path: str | os.PathLike[str]) -> Sensor:
    """Read a sensor from a TOML file, without registering it.

    Parameters
    ----------
    path
        The file: ``name``, ``title`` and a table ``[[bands]]`` for each band.

    Returns
    -------
    Sensor

    Raises
    ------
    ReadError
        The file cannot be read, or is larger than 64 KiB.
    ArgumentError, ArgumentTypeError
        It is no TOML, or a field is missing, unknown or wrong; the message names it.

    Examples
    --------
    >>> load_sensor("mine.toml")  # doctest: +SKIP
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise ReadError(f"The sensor file {file} cannot be read: {error}") from error
    if len(content) > LARGEST_BYTES:
        raise ReadError(f"The sensor file {file} is larger than {LARGEST_BYTES // 1024} KiB. Expected one sensor.")
    try:
        table = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"The sensor file {file} is no valid TOML: {error}") from error
    try:
        return sensor_from_dict(table)
    except (ArgumentError, ArgumentTypeError) as error:
        raise type(error)(f"{file}: {error}") from error


def sensor_from_dict(spec: Mapping[str, Any]) -> Sensor:
    """Make a sensor of a dictionary.

    Parameters
    ----------
    spec
        The fields of `Sensor`; ``bands`` is a list of dictionaries with those of `Band`. Lists stand for tuples.

    Returns
    -------
    Sensor

    Raises
    ------
    ArgumentError, ArgumentTypeError
        A field is missing, unknown or wrong; the message names it.

    Examples
    --------
    >>> red = {"name": "R", "roles": ["red"], "wavelength_nm": [605, 650, 695], "resolution_m": 0.8}
    >>> sensor_from_dict({"name": "mine", "title": "Mine", "bands": [red]}).bands[0].wavelength_nm
    (605, 650, 695)
    """
    _check_fields("sensor", spec, _REQUIRED["sensor"], _SENSOR_FIELDS)
    bands = spec["bands"]
    if not isinstance(bands, list | tuple):
        raise ArgumentTypeError(f"bands={bands!r:.80} is a {type(bands).__name__}. Expected a list of bands.")
    values = {key: _frozen(value) for key, value in spec.items() if key != "bands"}
    return Sensor(**values, bands=tuple(_band(f"bands[{index}]", band) for index, band in enumerate(bands)))


def _band(where: str, spec: Any) -> Band:
    if isinstance(spec, Band):
        return spec
    if not isinstance(spec, Mapping):
        raise ArgumentTypeError(f"{where}={spec!r:.80} is a {type(spec).__name__}. Expected a dictionary.")
    _check_fields(where, spec, _REQUIRED["band"], _BAND_FIELDS)
    try:
        return Band(**{key: _frozen(value) for key, value in spec.items()})
    except (ArgumentError, ArgumentTypeError) as error:
        raise type(error)(f"{where}: {error}") from error


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_fields(where: str, spec: Mapping[str, Any], required: tuple[str, ...], known: tuple[str, ...]) -> None:
    for key in spec:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ArgumentError(f"{where}: the field {key!r:.80} is unknown.{hint} Expected: {', '.join(known)}.")
    missing = [key for key in required if key not in spec]
    if missing:
        raise ArgumentError(f"{where}: {', '.join(missing)} missing. Expected at least: {', '.join(required)}.")
