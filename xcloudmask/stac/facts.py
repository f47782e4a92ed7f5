"""What is known of each time step, as coordinates and attributes of the cube."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask.radiometry import declare_scales
from xcloudmask.stac.items import platform_of, processing_baseline
from xcloudmask.stac.scenes import Scene

__all__ = ["add_facts"]

_Steps = Sequence[Sequence[Scene]]


def add_facts(cube: xr.Dataset, steps: _Steps) -> xr.Dataset:
    """Return the cube with the facts of its items; attributes are built from scratch.

    Parameters
    ----------
    cube
        As odc-stac loads it.
    steps
        Scenes of each time step.

    Returns
    -------
    Dataset
    """
    coords = _texts("item_id", steps, lambda scene: scene.item.id)
    coords |= _texts("platform", steps, lambda scene: platform_of(scene.item) or "")
    coords |= _texts("processing_baseline", steps, _baseline)
    for name in ("sun_elevation", "sun_azimuth"):
        coords |= _numbers(name, steps)
    attrs = {key: _attrs(key, variable, steps) for key, variable in cube.data_vars.items()}
    for key in attrs:
        coords |= declare_scales(str(key), _scales(str(key), steps))[1]
    result = cube.assign_coords(coords)
    for key, found in attrs.items():
        result[key].attrs = found
    sensors = {None if scene.sensor is None else scene.sensor.name for step in steps for scene in step}
    known = sensors.pop() if len(sensors) == 1 else None
    result.attrs = {} if known is None else {"sensor": known}
    return result


def _baseline(scene: Scene) -> str:
    found = processing_baseline(scene.item)
    return (
        ""
        if found is None or scene.sensor is None or "sentinel-2" not in scene.sensor.name
        else "{:02d}.{:02d}".format(*found)
    )


def _texts(name: str, steps: _Steps, text_of: Callable[[Scene], str]) -> dict[str, Any]:
    values = [" ".join(dict.fromkeys(text for text in map(text_of, step) if text)) for step in steps]
    # Objects: texts of one fixed length have no specification in Zarr v3, and xarray would warn of them.
    return {name: ("time", np.array(values, dtype=object))} if any(values) else {}


def _numbers(name: str, steps: _Steps) -> dict[str, Any]:
    """Angles; the mean where several items make a time step."""
    values = np.array([np.mean([_angle(scene, name) for scene in step]) for step in steps])
    return {} if np.isnan(values).all() else {name: ("time", values, {"units": "degrees"})}


def _angle(scene: Scene, name: str) -> float:
    properties = scene.item.properties
    value = properties.get(f"view:{name}", properties.get(f"eo:{name}"))
    if value is None and name == "sun_elevation" and isinstance(properties.get("s2:mean_solar_zenith"), int | float):
        value = 90.0 - properties["s2:mean_solar_zenith"]
    if value is None and name == "sun_azimuth":
        value = properties.get("s2:mean_solar_azimuth")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _scales(name: str, steps: _Steps) -> list[tuple[float, float] | None]:
    """Of each time step; scenes that make one step agree on it."""
    return [step[0].sources[name].scale for step in steps]


def _attrs(name: Any, variable: xr.DataArray, steps: _Steps) -> dict[str, Any]:
    sources = [scene.sources[str(name)] for step in steps for scene in step]
    attrs: dict[str, Any] = {}
    nodata = variable.attrs.get("nodata")
    if nodata is not None:
        attrs["nodata"] = nodata
    attrs |= declare_scales(str(name), _scales(str(name), steps))[0]
    quantities = {source.band.quantity for source in sources if source.band is not None}
    if quantities:
        attrs["units"] = "K" if quantities == {"brightness_temperature"} else "1"
    names = list(dict.fromkeys(source.band.name for source in sources if source.band is not None))
    if names:
        attrs["band"] = " ".join(names)
    return attrs
