"""All sensors by name: those that come with the package, and those that users register."""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from xcloudmask._sensor import Sensor, fold_name
from xcloudmask.errors import ArgumentError, ArgumentTypeError
from xcloudmask.sensors.coarse import COARSE
from xcloudmask.sensors.fine import FINE
from xcloudmask.sensors.hls import HLS
from xcloudmask.sensors.landsat import LANDSAT
from xcloudmask.sensors.planetscope import PLANETSCOPE
from xcloudmask.sensors.sentinel2 import SENTINEL2
from xcloudmask.sensors.spec import load_sensor, sensor_from_dict

__all__ = ["BUILT_IN", "SENSORS", "get_sensor", "register_sensor"]

BUILT_IN: tuple[Sensor, ...] = (*SENTINEL2, *LANDSAT, *HLS, *PLANETSCOPE, *COARSE, *FINE)
"""The sensors that come with the package. Names such as B04 are read with these alone, so that what a cube without
``sensor=`` means does not depend on what else was registered."""

_registered: dict[str, Sensor] = {sensor.name: sensor for sensor in BUILT_IN}
_lock = threading.Lock()

SENSORS: Mapping[str, Sensor] = MappingProxyType(_registered)
"""All sensors by name, registered ones included."""


def get_sensor(name: str | Sensor) -> Sensor:
    """Return the sensor of that name.

    Parameters
    ----------
    name
        A key of `SENSORS` or another name of the product (case does not matter), or a `Sensor`, which is returned as
        it is.

    Returns
    -------
    Sensor

    Raises
    ------
    ArgumentError
        No such sensor.
    ArgumentTypeError
        Neither a name nor a `Sensor`.

    Examples
    --------
    >>> get_sensor("Sentinel-2 L2A").name
    'sentinel-2-l2a'
    """
    if isinstance(name, Sensor):
        return name
    if not isinstance(name, str):
        raise ArgumentTypeError(
            f"sensor={name!r} is a {type(name).__name__}. Expected a name such as 'sentinel-2-l2a'."
        )
    known = {text: sensor for sensor in _all() for text in _names(sensor)}
    sensor = known.get(fold_name(name))
    if sensor is not None:
        return sensor
    close = difflib.get_close_matches(fold_name(name), known, n=1, cutoff=0.6)
    hint = f" Did you mean sensor={known[close[0]].name!r}?" if close else ""
    raise ArgumentError(
        f"sensor={name!r} is unknown.{hint} Expected one of: {', '.join(SENSORS)}. One of your own: "
        "xcloudmask.register_sensor('mine.toml')."
    )


def register_sensor(sensor: Sensor | Mapping[str, Any] | str | os.PathLike[str], *, replace: bool = False) -> Sensor:
    """Add a sensor, to be named in ``sensor=`` from then on.

    It lives in this process. Plans and lazy masks carry what they need of it (bands, nodata, scale), not its name, so
    that they can be computed in processes that do not know it. A sensor that is used once need not be registered:
    ``predict(cube, sensor=Sensor(...))`` works too.

    Parameters
    ----------
    sensor
        A `Sensor`, a dictionary with its fields, or the path of a TOML file with the same fields.
    replace
        Whether a sensor of the same name may be replaced. The names of other sensors are refused in any case; the same
        sensor again is not.

    Returns
    -------
    Sensor
        As registered.

    Raises
    ------
    ArgumentError
        A field is missing, unknown or wrong (the message names it), or the name is taken.
    ArgumentTypeError
        A field has the wrong type, or the argument itself.
    ReadError
        The file cannot be read, or is larger than 64 KiB.

    Notes
    -----
    Registered sensors are only used when they are named, in ``sensor=`` or in ``attrs["sensor"]`` of a cube: names such
    as B04 mean what they mean in the sensors of the package.

    Examples
    --------
    >>> red = {"name": "R", "roles": ["red"], "wavelength_nm": [605, 650, 695], "resolution_m": 0.8}
    >>> register_sensor({"name": "doctest-sat", "title": "An example", "bands": [red]}, replace=True).find("R").role
    'red'
    >>> get_sensor("doctest-sat").title
    'An example'

    .. The example leaves nothing behind; a comment, since users have no use for it.

       >>> _ = _registered.pop("doctest-sat")
    """
    if isinstance(sensor, Sensor):
        made = sensor
    elif isinstance(sensor, Mapping):
        made = sensor_from_dict(sensor)
    elif isinstance(sensor, str | os.PathLike):
        made = load_sensor(sensor)
    else:
        raise ArgumentTypeError(
            f"sensor={sensor!r:.80} is a {type(sensor).__name__}. Expected a Sensor, a dictionary or the path of a "
            "TOML file."
        )
    with _lock:
        if _registered.get(made.name) == made:
            return _registered[made.name]
        _check_names(made, replace=replace)
        _registered[made.name] = made
    return made


def _check_names(made: Sensor, *, replace: bool) -> None:
    same = next((known for known in _all() if fold_name(known.name) == fold_name(made.name)), None)
    if same is not None and not (replace and same.name == made.name):
        fix = f"Type register_sensor(..., replace=True), or choose another name than {made.name!r}."
        raise ArgumentError(f"A sensor {same.name!r} is there already ({same.title}). {fix}")
    for known in _all():
        taken = _names(known) & _names(made) if known is not same else set()
        if taken:
            raise ArgumentError(
                f"sensor {made.name!r}: the names {', '.join(sorted(taken))} belong to {known.name!r} ({known.title}). "
                "Expected other names and aliases."
            )


def _names(sensor: Sensor) -> set[str]:
    return {fold_name(text) for text in (sensor.name, *sensor.aliases)}


def _all() -> tuple[Sensor, ...]:
    """A copy, since another thread may register one meanwhile."""
    return tuple(_registered.values())
