"""What a file name tells: which band, which day, which satellite. Nothing is opened."""

from __future__ import annotations

import re
from functools import cache

import numpy as np

from xcloudmask._sensor import Sensor, fold_name
from xcloudmask.sensors import SENSORS

__all__ = ["acquisition_time", "band_of", "is_auxiliary", "platform_of"]

_SEPARATORS = re.compile(r"[_\-.\s]+")
_RESOLUTION = re.compile(r"_\d+m$", re.IGNORECASE)
_AUXILIARY = re.compile(
    r"""(?ix) (?:^|[_\-.]) (?:
        scl | clp | clm | cld | snw | aot | wvp | tci | pvi | msk\w* | qa | qa_?\d+ | qa_(?:pixel|radsat|aerosol)
        | pixel_qa | \w*_qa | bqa | fmask | udm2? | (?:data_?|valid_?|cloud_?)?mask | dem | angles? | ang
        | vaa | vza | saa | sza | (?:sun|view|solar|sensor)_?(?:azimuth|zenith)\w*
        | atran | emis | emsd | trad | drad | urad | cdist
    ) (?:_\d+m)? $"""
)
_MOST_PARTS = 4
"""Parts of the longest band name: sur_refl_b01_1."""
_DATE = re.compile(
    r"(?<!\d)(?P<year>19[7-9]\d|20\d\d)[-_.]?(?P<month>0[1-9]|1[0-2])[-_.]?(?P<day>0[1-9]|[12]\d|3[01])"
    r"(?:[T_\s-]?(?P<hour>[01]\d|2[0-3])[-_:.]?(?P<minute>[0-5]\d)[-_:.]?(?P<second>[0-5]\d)(?!\d))?"
    r"(?!\d)"
)
_PLATFORMS = (
    (re.compile(r"(?:^|_)S2([A-D])_"), "sentinel-2{}"),
    (re.compile(r"(?:^|_)L[COTE]0([4-9])_"), "landsat-{}"),
)


def _known_names() -> frozenset[str]:
    # Not cached as a whole: users register sensors at any time.
    return frozenset[str]().union(*map(_names_of, tuple(SENSORS.values())))


@cache
def _names_of(sensor: Sensor) -> frozenset[str]:
    names = (fold_name(name) for band in sensor.bands for name in band.names)
    # S2 in the name of a file is Sentinel-2, not the second band of SLSTR.
    return frozenset(name for name in names if re.fullmatch(r"s\d", name) is None)


def band_of(stem: str) -> str | None:
    """Return the band name in a file name without its suffix.

    Parameters
    ----------
    stem
        Such as ``"T31UFU_20190411T105621_B04_10m"``.

    Returns
    -------
    str or None
        The last part that is a band name of any sensor, as it is written, without a resolution.

    Examples
    --------
    >>> band_of("T31UFU_20190411T105621_B04_10m"), band_of("LC08_L2SP_017051_20151205_20200908_02_T1_SR_B4")
    ('B04', 'SR_B4')
    >>> band_of("thesis") is None
    True
    """
    known = _known_names()
    parts = _SEPARATORS.split(_RESOLUTION.sub("", stem))
    for end in range(len(parts), 0, -1):
        for start in range(max(end - _MOST_PARTS, 0), end):
            name = "_".join(parts[start:end])
            if name and fold_name(name) in known:
                return name
    return None


def is_auxiliary(name: str) -> bool:
    """Whether a raster or band is a layer about the image (classes, angles, quality) and not an image.

    Parameters
    ----------
    name
        A file name without its suffix, or a band description.

    Returns
    -------
    bool

    Examples
    --------
    >>> [is_auxiliary(name) for name in ("SCL", "sunZenithAngles", "LC08_T1_QA_PIXEL", "B04", "ref_input_S2_B8A")]
    [True, True, True, False, False]
    """
    return _AUXILIARY.search(name) is not None


def acquisition_time(text: str) -> np.datetime64 | None:
    """Return the first date in a text.

    Parameters
    ----------
    text
        A file name, or a tag such as ``"2024-08-01T11:21:19.024000Z"``. Product names put the day of acquisition first.

    Returns
    -------
    numpy.datetime64 or None
        In nanoseconds, UTC.

    Examples
    --------
    >>> acquisition_time("exe_2024-08-01_12-21-19"), acquisition_time("LC08_L1TP_017051_20151205_20200908_02_T1")
    (np.datetime64('2024-08-01T12:21:19.000000000'), np.datetime64('2015-12-05T00:00:00.000000000'))
    """
    found = _DATE.search(text)
    if found is None:
        return None
    part = found.groupdict(default="00")
    stamp = "{year}-{month}-{day}T{hour}:{minute}:{second}".format(**part)
    try:
        return np.datetime64(stamp, "ns")
    except ValueError:  # the 31st of June
        return None


def platform_of(name: str) -> str | None:
    """Return the STAC platform that a product name begins with.

    Parameters
    ----------
    name
        A file or folder name.

    Returns
    -------
    str or None

    Examples
    --------
    >>> platform_of("LC09_L2SP_231062_20230723_20230802_02_T1_SR_B4"), platform_of("S2A_MSIL1C_20190411T105621")
    ('landsat-9', 'sentinel-2a')
    """
    for pattern, platform in _PLATFORMS:
        found = pattern.search(name)
        if found is not None:
            return platform.format(found[1].lower())
    return None
