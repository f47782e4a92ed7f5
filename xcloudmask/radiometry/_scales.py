"""Scale and offset of each band, the same for all time steps or not: value * scale + offset.

Only what is declared counts, never the values. What stands in ``attrs`` or in coordinates is still to be applied; what
stands in ``encoding`` was applied on reading (xarray and rioxarray move it there). First come, first served:

1. the argument of the caller;
2. coordinates ``<band>_scale_factor`` and ``<band>_add_offset`` along time, or ``scale_factor`` and ``add_offset``
   along time, the bands or both (NaN: unknown for that date), because reprocessed scenes differ from date to date;
3. ``scale_factor`` and ``add_offset`` of the attributes, then of the encoding;
4. next to integers, ``raster:bands`` of STAC items, then the sensor's table; for Level 1 of Landsat 8 and 9, whose
   scenes differ by the sun alone, with the coordinate ``sun_elevation``.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask._sensor import Band, Sensor
from xcloudmask.bands import BandSelection
from xcloudmask.grid import time_dim
from xcloudmask.options import Scale, scale_pairs
from xcloudmask.radiometry._bandscale import BandScale, along, constant, level1_scale
from xcloudmask.radiometry._nodata import APPLIED, number, table_band
from xcloudmask.sensors import get_sensor

__all__ = ["band_scales", "constant_scale", "declared_pair", "kelvin", "known_scale", "leads_to_quantity", "reflective"]

_DIMENSIONLESS = ("", "1", "none", "reflectance", "unitless", "dimensionless", "dn", "counts")

_Pair = tuple[float, float]


def band_scales(
    selection: BandSelection,
    *,
    sensor: str | Sensor | None = None,
    scale: Scale | None = None,
    thermal: bool = False,
) -> tuple[BandScale | None, ...]:
    """Return scale and offset of each band; None where unknown, 0 and 0 for bands given up.

    Parameters
    ----------
    selection
        The bands of a cube.
    sensor
        Name or `Sensor`, whose table is asked last. None: the sensor of the selection.
    scale
        What the caller says: reflectance per DN, a pair (scale, offset), or role -> one of these.
    thermal
        Also take scales that lead to kelvin, or to the radiance of a thermal band.

    Returns
    -------
    tuple of BandScale or None
    """
    table = selection.sensor if sensor is None else get_sensor(sensor)
    given = scale_pairs(scale, selection.roles)
    items = iter(_item_scales(selection))
    layers = iter(range(len(selection.roles)))
    found: list[BandScale | None] = []
    for index, (role, array) in enumerate(zip(selection.roles, selection.arrays, strict=True)):
        if array is None:
            found.append(constant((0.0, 0.0)))
            continue
        item, layer = next(items), next(layers)
        if role in given:
            found.append(constant(given[role]))
            continue
        if not (reflective(array.attrs) or (thermal and ("k1" in array.attrs or kelvin(array.attrs)))):
            found.append(None)
            continue
        known, declared = _coordinates(selection, index, layer)
        if not declared:
            position = selection.positions[index] if selection.positions else None
            band = table_band(table, role, selection.names[index])
            pair = _scale(array, position, item, band)
            known = level1_scale(array, band, thermal=thermal) if pair is None else constant(pair)
        found.append(known)
    return tuple(found)


def known_scale(
    selection: BandSelection, *, sensor: str | Sensor | None = None, scale: Scale | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return scale and offset of each band where they are known: reflectance = value * scale + offset.

    Known means declared: coordinates along time or the bands, ``scale_factor`` and ``add_offset`` in the attributes
    (still to be applied) or in the encoding (already applied), ``raster:bands`` of STAC items next to integers, or the
    sensor's table next to integers. A scale of 1 with an offset of 0 in the attributes declares nothing: rioxarray
    writes it for every file that has none.

    Parameters
    ----------
    selection
        The bands of a cube.
    sensor
        Name or `Sensor`.
    scale
        What the caller says, which goes before all that is declared.

    Returns
    -------
    tuple or None
        (scale per role, offset per role), 0 and 0 for bands given up; None where any band's scale is unknown or
        differs between time steps.

    Raises
    ------
    ArgumentError
        `sensor` is unknown, or `scale` makes no sense.

    Examples
    --------
    >>> from xcloudmask.bands import select_bands
    >>> cube = xr.Dataset({"red": (("y", "x"), np.ones((2, 2), "uint16"))})
    >>> selection = select_bands(cube, roles=("red",))
    >>> known_scale(selection) is None
    True
    >>> known_scale(selection, sensor="landsat-oli-c2-l2")
    ((2.75e-05,), (-0.2,))
    """
    return constant_scale(selection, band_scales(selection, sensor=sensor, scale=scale))


def constant_scale(
    selection: BandSelection, found: Sequence[BandScale | None]
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return (scale per role, offset per role); None where one is unknown or differs between time steps.

    Parameters
    ----------
    selection
        The bands of a cube.
    found
        Their scales, as `band_scales` returns them.

    Returns
    -------
    tuple or None
        0 and 0 for bands given up.
    """
    pairs = []
    for array, one in zip(selection.arrays, found, strict=True):
        pair = (0.0, 0.0) if array is None else None if one is None else one.constant
        if pair is None:
            return None
        pairs.append(pair)
    scales, offsets = zip(*pairs, strict=True)
    return scales, offsets


def reflective(attrs: Mapping[Hashable, Any]) -> bool:
    """False for radiance, percent or kelvin: the declared scale does not lead to reflectance."""
    return str(attrs.get("units", "")).casefold() in _DIMENSIONLESS and "k1" not in attrs


def kelvin(attrs: Mapping[Hashable, Any]) -> bool:
    """Whether the declared scale leads to kelvin."""
    return str(attrs.get("units", "")).casefold() in ("k", "kelvin")


def leads_to_quantity(unit: Any) -> bool:
    """Whether the unit that an item gives its scaled values is that of reflectance or kelvin, and not of radiance."""
    attrs: dict[Hashable, Any] = {"units": "" if unit is None else unit}
    return reflective(attrs) or kelvin(attrs)


# --- coordinates ---


def _coordinates(selection: BandSelection, index: int, layer: int) -> tuple[BandScale | None, bool]:
    """What coordinates say of one band, and whether they say anything; `layer` counts along the stack."""
    array = selection.arrays[index] if selection.stack is None else selection.stack
    if array is None:
        return None, False
    names = dict.fromkeys(name for name in (array.name, selection.names[index]) if name is not None)
    for prefix in (*(f"{name}_" for name in names), ""):
        given = [array.coords.get(prefix + key) for key in ("scale_factor", "add_offset")]
        if any(coord is not None for coord in given):
            dims = {time_dim(array), selection.band_dim} - {None}
            gain, offset = (
                along(coord, dims, selection.band_dim, layer, default=default)
                for coord, default in zip(given, (1.0, 0.0), strict=True)
            )
            return (None if gain is None or offset is None else BandScale(gain, offset)), True
    return None, False


# --- attributes, encoding, items, tables ---


def _scale(array: xr.DataArray, position: int | None, item: _Pair | None, band: Band | None) -> _Pair | None:
    declared = _declared_scale(array.attrs, position)
    if declared is not None:
        return declared
    if str(array.encoding.get(APPLIED, "")).endswith("reflectance") and array.dtype.kind == "f":
        return 1.0, 0.0
    if declared_pair(*(array.encoding.get(key) for key in ("scale_factor", "add_offset"))) is not None:
        return (1.0, 0.0) if array.dtype.kind == "f" else None
    # Floats next to a STAC item or a sensor's name: scaled (stackstac's default) or not, nothing tells.
    return None if array.dtype.kind == "f" else item or _table_scale(band)


def _table_scale(band: Band | None) -> _Pair | None:
    if band is None or band.scale is None or band.offset is None or band.quantity == "toa_radiance":
        return None
    return band.scale, band.offset


def _declared_scale(attrs: Mapping[Hashable, Any], position: int | None) -> _Pair | None:
    """scale_factor and add_offset; rioxarray writes tuples called scales and offsets where bands differ."""
    scale = _at(attrs["scales"], position) if "scales" in attrs else attrs.get("scale_factor")
    offset = _at(attrs["offsets"], position) if "offsets" in attrs else attrs.get("add_offset")
    return declared_pair(scale, offset)


def _at(values: Any, position: int | None) -> Any:
    values = np.ravel(values)
    return values[position] if position is not None and position < values.size else math.nan


def declared_pair(scale: Any, offset: Any) -> _Pair | None:
    """Declared scale and offset; one without the other stands for itself, and 1 with 0 declares nothing."""
    if scale is None and offset is None:
        return None
    gain, shift = number(1.0 if scale is None else scale), number(0.0 if offset is None else offset)
    if gain is None or shift is None or (gain, shift) == (1.0, 0.0):
        return None
    return (gain, shift) if gain > 0 and math.isfinite(gain + shift) else None


def _item_scales(selection: BandSelection) -> Iterator[_Pair | None]:
    """raster:bands of STAC items: a coordinate along the bands (stackstac), or an attribute of each variable."""
    if selection.stack is None:
        yield from (_raster_bands(a.attrs.get("raster:bands"), a) for a in selection.arrays if a is not None)
        return
    coord = selection.stack.coords.get("raster:bands")
    count = selection.stack.sizes[selection.band_dim]
    values: list[Any] = [None] * count
    if coord is not None and coord.chunks is None and coord.dtype.kind == "O":
        values = list(coord.values) if coord.ndim else [coord.item()] * count
    yield from (_raster_bands(value, selection.stack) for value in values)


def _raster_bands(value: Any, array: xr.DataArray) -> _Pair | None:
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if not isinstance(value, Mapping) or not leads_to_quantity(value.get("unit")):
        return None
    known = declared_pair(value.get("scale"), value.get("offset"))
    if known is not None and known[1] != 0 and "earthsearch:boa_offset_applied" in array.coords:
        # Earth Search declares offset -0.1 also where it has been subtracted, and the flag is wrong in part of the
        # catalogue: https://github.com/Element84/earth-search/issues/71
        return None
    return known
