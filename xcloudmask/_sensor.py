"""What is known of a band and of a sensor: the types of the tables in `xcloudmask.sensors`, checked when made."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, get_args

from xcloudmask.errors import ArgumentError, ArgumentTypeError

__all__ = ["Band", "Constants", "Quantity", "Sensor", "fold_name"]

Quantity = Literal["toa_reflectance", "surface_reflectance", "toa_radiance", "brightness_temperature", "unknown"]

_ASCII_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:+-]{0,63}")
_NAME = re.compile(r"\S(.{0,62}\S)?")
_LONGEST_TEXT = 2000
_LONGEST_NM = 1e6
_LARGEST = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """What differs between the satellites that carry a sensor; None = as in the band."""

    platform: str
    """The satellite, as STAC spells it: ``"landsat-9"``."""
    k1: float | None = None
    """See `Band.k1`."""
    k2: float | None = None
    """See `Band.k2`."""
    esun: float | None = None
    """See `Band.esun`."""
    level1_gain: tuple[float, float] | None = None
    """See `Band.level1_gain`."""


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
    common_name: str | None = None
    """Common name of the STAC extension ``eo``; None where it has none for this band."""
    k1: float | None = None
    """First thermal constant, W m-2 sr-1 um-1: kelvin = k2 / log(k1 / radiance + 1)."""
    k2: float | None = None
    """Second thermal constant, kelvin."""
    esun: float | None = None
    """Mean irradiance of the sun above the atmosphere, W m-2 um-1."""
    level1_gain: tuple[float, float] | None = None
    """Level 1, where all scenes have the same (multiplier, addend): of the radiance in thermal bands, else of the
    reflectance times the sine of the sun's elevation."""
    by_platform: tuple[Constants, ...] = ()
    """Constants of each satellite, where they differ; `Sensor.for_platform` puts them in place."""
    source: str = ""
    """Where its figures are from, if not from where those of the whole sensor are."""

    def __post_init__(self) -> None:
        """Refuse what is no band; the message names the field."""
        where = f"band {self.name!r}"
        _check_names(where, "name", (self.name,))
        _check_names(where, "aliases", self.aliases)
        _check_names(where, "roles", self.roles, pattern=_ASCII_NAME)
        if not self.roles:
            raise ArgumentError(f"{where}: roles is empty. Expected its own role first, such as roles=('red',).")
        _check_wavelength(where, self.wavelength_nm)
        _check_number(where, "resolution_m", self.resolution_m, positive=True)
        for field in ("scale", "k1", "k2", "esun"):
            _check_optional(where, field, getattr(self, field), positive=True)
        for field in ("offset", "nodata"):
            _check_optional(where, field, getattr(self, field))
        _check_constants(where, self.level1_gain, self.by_platform)
        if self.quantity not in get_args(Quantity):
            raise ArgumentError(
                f"{where}: quantity={self.quantity!r}. Expected one of: {', '.join(get_args(Quantity))}."
            )
        if self.common_name is not None:
            _check_names(where, "common_name", (self.common_name,))
        _check_text(where, "source", self.source)

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
    source: str = ""
    """Where the figures are from."""

    def __post_init__(self) -> None:
        """Refuse what is no sensor; the message names the field."""
        where = f"sensor {self.name!r}"
        _check_names(where, "name", (self.name,), pattern=_ASCII_NAME)
        _check_text(where, "title", self.title)
        for field in ("aliases", "platforms", "companions"):
            _check_names(where, field, getattr(self, field))
        if not isinstance(self.bands, tuple) or not all(isinstance(band, Band) for band in self.bands):
            raise ArgumentTypeError(f"{where}: bands is {self.bands!r:.80}. Expected a tuple of Band.")
        if not 1 <= len(self.bands) <= 500:
            raise ArgumentError(f"{where}: bands has {len(self.bands)} entries. Expected 1 to 500.")
        _check_text(where, "source", self.source)
        owners: dict[str, str] = {}
        for band in self.bands:
            for name in {fold_name(name) for name in band.names}:
                if owners.setdefault(name, band.name) != band.name:
                    raise ArgumentError(
                        f"{where}: bands {owners[name]!r} and {band.name!r} are both called {name!r}. Expected each "
                        "name once among all names and aliases; case and hyphens do not matter."
                    )

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

    def for_platform(self, platform: str) -> Sensor:
        """Return the sensor with the constants of one satellite.

        Parameters
        ----------
        platform
            One of `platforms`; case, spaces, hyphens and underscores do not matter.

        Returns
        -------
        Sensor
            `platforms` holds that one only.

        Raises
        ------
        ArgumentError
            The sensor flies on no satellite of that name.

        Examples
        --------
        >>> from xcloudmask.sensors import get_sensor
        >>> sensor = get_sensor("landsat-oli-c2-l1")
        >>> sensor.find("B10").k1, sensor.for_platform("LANDSAT_9").find("B10").k1
        (774.8853, 799.0284)
        """
        found = next((known for known in self.platforms if fold_name(known) == fold_name(platform)), None)
        if found is None:
            raise ArgumentError(
                f"{self.title} has no platform {platform!r}. Expected one of: {', '.join(self.platforms) or 'none'}."
            )
        return replace(self, platforms=(found,), bands=tuple(_on(band, found) for band in self.bands))


def _on(band: Band, platform: str) -> Band:
    own = next((constants for constants in band.by_platform if constants.platform == platform), None)
    if own is None:
        return band
    return replace(
        band,
        k1=own.k1 or band.k1,
        k2=own.k2 or band.k2,
        esun=own.esun or band.esun,
        level1_gain=own.level1_gain or band.level1_gain,
        by_platform=(own,),
    )


def fold_name(name: str) -> str:
    """Return a name as it is compared: case does not matter, and hyphens and spaces are underscores.

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
    return _folded(name)


@lru_cache(maxsize=4096)
def _folded(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip()).casefold()


def _check_names(where: str, field: str, names: object, *, pattern: re.Pattern[str] = _NAME) -> None:
    if not isinstance(names, tuple):
        raise ArgumentTypeError(
            f"{where}: {field}={names!r:.80} is a {type(names).__name__}. Expected a tuple of names."
        )
    for name in names:
        if not isinstance(name, str):
            raise ArgumentTypeError(f"{where}: {field} has {name!r:.80}, a {type(name).__name__}. Expected text.")
        if pattern.fullmatch(name) is None or not name.isprintable():
            what = "letters, digits and ' ._:+-'" if pattern is _ASCII_NAME else "characters, no space at the ends"
            raise ArgumentError(f"{where}: {field} has {name!r:.80}. Expected 1 to 64 {what}.")


def _check_text(where: str, field: str, text: object) -> None:
    if not isinstance(text, str):
        raise ArgumentTypeError(f"{where}: {field}={text!r:.80} is a {type(text).__name__}. Expected text.")
    if len(text) > _LONGEST_TEXT or not text.isprintable():
        raise ArgumentError(f"{where}: {field}={text!r:.80}. Expected one line of at most {_LONGEST_TEXT} characters.")


def _check_wavelength(where: str, wavelength_nm: object) -> None:
    values = wavelength_nm if isinstance(wavelength_nm, tuple) else ()
    ascending = len(values) == 3 and all(map(_is_number, values)) and 0 < values[0] < values[1] < values[2]
    if not ascending or values[2] > _LONGEST_NM:
        raise ArgumentError(
            f"{where}: wavelength_nm={wavelength_nm!r:.80}. Expected three numbers in nm, ascending: the shortest, the "
            "central and the longest, such as (650.0, 665.0, 680.0)."
        )


def _check_optional(where: str, field: str, value: object, *, positive: bool = False) -> None:
    if value is not None:
        _check_number(where, field, value, positive=positive)


def _check_number(where: str, field: str, value: object, *, positive: bool = False) -> None:
    if not _is_number(value):
        raise ArgumentTypeError(f"{where}: {field}={value!r:.80} is a {type(value).__name__}. Expected a number.")
    # Comparisons, since they also hold for nan and for integers too large for a float.
    if not (-_LARGEST <= value <= _LARGEST and (value > 0 or not positive)):  # type: ignore[operator]
        what = "a positive number" if positive else "a finite number"
        raise ArgumentError(f"{where}: {field}={value!r:.80}. Expected {what}.")


def _check_constants(where: str, level1_gain: object, by_platform: object) -> None:
    pair = level1_gain if isinstance(level1_gain, tuple) else ()
    if level1_gain is not None and not (len(pair) == 2 and all(map(_is_number, pair)) and pair[0] > 0):
        raise ArgumentError(f"{where}: level1_gain={level1_gain!r:.80}. Expected (multiplier, addend) or None.")
    if not isinstance(by_platform, tuple) or not all(isinstance(entry, Constants) for entry in by_platform):
        raise ArgumentTypeError(f"{where}: by_platform={by_platform!r:.80}. Expected a tuple of Constants.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
