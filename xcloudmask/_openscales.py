"""What the values of a band are: reflectance, kelvin, or nothing that a model of any bands can be fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from xcloudmask._sensor import Band, Sensor
from xcloudmask.bands import BandSelection
from xcloudmask.models.openbands import OpenBand
from xcloudmask.options import Scale, scale_pairs
from xcloudmask.radiometry import BandScale, band_scales, leads_to_quantity

__all__ = ["open_scales"]

_CONVERT = "type cube = cube.cloudmask.to_reflectance()"


def open_scales(
    selection: BandSelection,
    bands: Sequence[OpenBand],
    tables: Sequence[Band | None],
    *,
    sensor: str | Sensor | None,
    scale: Scale | None,
) -> list[BandScale | str]:
    """Return what makes reflectance, or kelvin, of the values of each band.

    Parameters
    ----------
    selection
        The bands of a cube; their names are the roles.
    bands
        What is known of them.
    tables
        Their rows in the tables of sensors, where known.
    sensor
        As in `xcloudmask.radiometry.band_scales`.
    scale
        What the caller says. One number or pair is for reflectance, and leaves thermal bands to what they declare; 1 is
        for all: the values are quantities already.

    Returns
    -------
    list
        Of each band its scale, or why there is none.
    """
    given = _given(scale, bands)
    declared = band_scales(selection, sensor=sensor, thermal=True)
    found: list[BandScale | str] = []
    for band, table, array, one in zip(bands, tables, selection.arrays, declared, strict=True):
        if band.name in given:
            found.append(_constant(given[band.name]))
        elif array is None:
            found.append("given up")
        else:
            found.append((_thermal if band.thermal else _reflective)(array, table, one))
    return found


def _given(scale: Scale | None, bands: Sequence[OpenBand]) -> dict[str, tuple[float, float]]:
    if isinstance(scale, Mapping):
        return scale_pairs(scale, tuple(scale))
    pairs = scale_pairs(scale, tuple(band.name for band in bands))
    return {band.name: pairs[band.name] for band in bands if band.name in pairs and _suits(pairs[band.name], band)}


def _suits(pair: tuple[float, float], band: OpenBand) -> bool:
    return pair == (1.0, 0.0) or not band.thermal


def _constant(pair: tuple[float, float]) -> BandScale:
    return BandScale(xr.Variable((), np.float64(pair[0])), xr.Variable((), np.float64(pair[1])))


def _reflective(array: xr.DataArray, table: Band | None, found: BandScale | None) -> BandScale | str:
    units = str(array.attrs.get("units", ""))
    if _is_kelvin(units):
        return f"units {units!r}, at a wavelength of reflected light"
    if not leads_to_quantity(units):
        return f"units {units!r}, and reflectance is wanted"
    if found is not None:
        return _known(found)
    if array.dtype.kind == "f":
        return "floats without scale_factor, which may be reflectance or not"
    if table is not None and table.quantity == "toa_radiance":
        return "radiance, by the table of the sensor, and reflectance is wanted"
    return "no scale_factor and add_offset in its attributes or along time"


def _thermal(array: xr.DataArray, table: Band | None, found: BandScale | None) -> BandScale | str:
    units = str(array.attrs.get("units", ""))
    if _is_kelvin(units):
        if found is None and array.dtype.kind == "f":
            return _constant((1.0, 0.0))
        return _known(found) if found is not None else "integers without scale_factor"
    if "k1" in array.attrs or (table is not None and table.k1 is not None and leads_to_quantity(units)):
        return f"radiance, and kelvin is wanted: {_CONVERT}"
    if not leads_to_quantity(units):
        return f"units {units!r}, and kelvin ('K') is wanted"
    return _known(found) if table is not None and found is not None else "no units, and kelvin ('K') is wanted"


def _is_kelvin(units: str) -> bool:
    return units.casefold() in ("k", "kelvin")


def _known(found: BandScale) -> BandScale | str:
    """Scales that are known for no date at all are none; those of dask arrays are looked at in the blocks."""
    return found if found.lazy or found.known.values.any() else "scale_factor and add_offset are missing on all dates"
