"""What is known of a band and of a sensor: the types of the tables in `xcloudmask.sensors`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["Band", "Quantity", "Sensor", "fold_name"]

Quantity = Literal["toa_reflectance", "surface_reflectance", "brightness_temperature", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One band of a sensor."""

    name: str
    """The provider's own name, such as ``"B04"``."""
    aliases: tuple[str, ...] = ()
    """Other spellings of it in catalogues, the likeliest first; where a cube has several, the first wins."""
    roles: tuple[str, ...]
    """What it is used as: its own role first (``"nir"``), then those it can stand in for."""
    wavelength_nm: tuple[float, float, float]
    """Shortest, central and longest wavelength."""
    resolution_m: float
    """Native pixel size."""
    scale: float | None = None
    """Reflectance (or kelvin) = DN * scale + offset; None where it cannot be known from the sensor alone."""
    offset: float | None = None
    """See `scale`. None on Sentinel-2, where it depends on the processing baseline of each item."""
    nodata: float | None = None
    """The DN that means "no data"."""
    quantity: Quantity = "unknown"
    """What the scaled values are."""

    @property
    def role(self) -> str:
        """Its own role."""
        return self.roles[0]

    @property
    def names(self) -> tuple[str, ...]:
        """Its name and all other spellings, the likeliest first."""
        return (self.name, *self.aliases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """One product of one sensor.

    Examples
    --------
    >>> from xcloudmask.sensors import get_sensor
    >>> [band.name for band in get_sensor("sentinel-2-l2a").candidates("nir")]
    ['B08', 'B8A']
    """

    name: str
    """The name users type in ``predict(sensor=...)``."""
    title: str
    """For people."""
    bands: tuple[Band, ...]
    """All bands, also those no model takes: their names tell sensors apart."""
    aliases: tuple[str, ...] = ()
    """Other names of the product, such as collection ids of catalogues."""
    platforms: tuple[str, ...] = ()
    """Values of the STAC properties ``platform`` and ``constellation``."""
    companions: tuple[str, ...] = ()
    """Layers that come with the bands in this product and no other, such as ``"SCL"``."""

    def candidates(self, role: str) -> tuple[Band, ...]:
        """Return the bands that can play a role, best first.

        Parameters
        ----------
        role
            Such as ``"red"``.

        Returns
        -------
        tuple of Band
            The bands with that role of their own, then those that stand in for it.

        Examples
        --------
        >>> from xcloudmask.sensors import get_sensor
        >>> get_sensor("landsat-oli-c2-l2").candidates("nir")[0].name
        'SR_B5'
        """
        own = tuple(band for band in self.bands if band.role == role)
        return own + tuple(band for band in self.bands if role in band.roles[1:])

    def find(self, name: str) -> Band | None:
        """Return the band with that name in any spelling, or None.

        Parameters
        ----------
        name
            A band name; case does not matter.

        Returns
        -------
        Band or None

        Examples
        --------
        >>> from xcloudmask.sensors import get_sensor
        >>> get_sensor("sentinel-2-l2a").find("b04_10m").role
        'red'
        """
        wanted = fold_name(name)
        return next((band for band in self.bands if wanted in map(fold_name, band.names)), None)


def fold_name(name: str) -> str:
    """Return a name as it is compared: case, spaces and hyphens do not matter.

    Parameters
    ----------
    name
        A band or sensor name.

    Returns
    -------
    str

    Examples
    --------
    >>> fold_name(" Near-Infrared ")
    'near_infrared'
    """
    return re.sub(r"[\s\-]+", "_", name.strip()).casefold()
