"""Which bands of STAC items a model of any bands is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xcloudmask._sensor import Band, Sensor
from xcloudmask.errors import BandNotFoundError
from xcloudmask.models.spec import ModelSpec
from xcloudmask.sensors import get_sensor
from xcloudmask.stac.assets import find_source
from xcloudmask.stac.items import sensor_of

if TYPE_CHECKING:
    import pystac

__all__ = ["all_roles", "wanted_names"]


def wanted_names(spec: ModelSpec, items: Sequence[pystac.Item], *, sensor: str | Sensor | None = None) -> list[str]:
    """Return the names of the bands to load for a model, where the caller names none.

    Parameters
    ----------
    spec
        The model.
    items
        What will be loaded together.
    sensor
        The sensor of all items; None to tell it from each.

    Returns
    -------
    list of str
        The bands of the model; of a model of any bands, `all_roles`.

    Raises
    ------
    BandNotFoundError
        The model takes any bands, and the sensor of an item is not known.
    """
    return all_roles(items, sensor=sensor) if spec.any_bands else list(spec.bands)


def all_roles(items: Sequence[pystac.Item], *, sensor: str | Sensor | None = None) -> list[str]:
    """Return the roles of all bands that all items have, and whose values are reflectance or kelvin.

    Parameters
    ----------
    items
        One or more.
    sensor
        As in `wanted_names`.

    Returns
    -------
    list of str
        In the order of the sensor's table. The panchromatic band is left out: its finer grid would be that of all the
        others. So are thermal bands of Level 1, which are radiance.

    Raises
    ------
    BandNotFoundError
        The sensor of an item is not known.
    """
    found = [_roles(item, get_sensor(sensor) if sensor is not None else sensor_of(item)) for item in items]
    return [role for role in found[0] if all(role in others for others in found)] if found else []


def _roles(item: pystac.Item, sensor: Sensor | None) -> list[str]:
    if sensor is None:
        raise BandNotFoundError(
            f"The sensor of item {item.id!r} is not known, and so no wavelength of its bands. Found the assets: "
            f"{', '.join(list(item.assets)[:20])}. Type sensor= with one of xcloudmask.SENSORS, or bands=[...] with "
            "common names such as 'red'."
        )
    return [band.role for band in sensor.bands if _is_quantity(band) and _has(item, band, sensor)]


def _is_quantity(band: Band) -> bool:
    return band.role != "pan" and band.k1 is None


def _has(item: pystac.Item, band: Band, sensor: Sensor) -> bool:
    """Whether an item has a band itself, and not only one that stands in for it."""
    try:
        return find_source(item, band.role, sensor).band == band
    except BandNotFoundError:
        return False
