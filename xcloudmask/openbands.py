"""The bands of a cube for a model that takes any: every one of known wavelength whose values can be understood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import xarray as xr

from xcloudmask._bandnames import Found, find_by_name
from xcloudmask._bandsource import CubeBands, is_mask, open_cube_bands
from xcloudmask._openerrors import no_values, no_wavelength, too_few, why_unknown
from xcloudmask._openscales import open_scales
from xcloudmask._sensor import fold_name
from xcloudmask._wavelengths import Known, Unknown, find_wavelengths, role_wavelength
from xcloudmask.bands import BandChoice, BandSelection, build_selection, by_position, declared_sensor
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError
from xcloudmask.grid import spatial_dims, time_dim
from xcloudmask.models.openbands import FEWEST_BANDS, OpenBand
from xcloudmask.options import Scale, scale_pairs
from xcloudmask.radiometry import BandScale, is_layer
from xcloudmask.sensors import Sensor, get_sensor

__all__ = ["OpenSelection", "select_open_bands"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenSelection:
    """The bands of a cube that an any-bands model is fed."""

    selection: BandSelection
    """Their pixels; the names of the bands are their roles."""
    bands: tuple[OpenBand, ...]
    """What the model is told of them."""
    scales: tuple[BandScale, ...]
    """What turns their values into reflectance or kelvin; none where that is not known, and need not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A band on its way into the selection."""

    position: int
    band: OpenBand
    known: Known

    @property
    def name(self) -> str:
        """What the band is called."""
        return self.band.name


def select_open_bands(
    cube: xr.DataArray | xr.Dataset,
    *,
    bands: BandChoice | None = None,
    sensor: str | Sensor | None = None,
    scale: Scale | None = None,
    reflectance: bool = True,
) -> OpenSelection:
    """Find all bands of a cube that a model of any bands can be fed; nothing is computed and nothing is guessed.

    Wavelengths come, in this order, from the table of ``sensor=`` or of the sensor that ``attrs["sensor"]`` names,
    which is then the only source; from attributes and coordinates (``eo:bands``, ``bands``, ``wavelength``,
    ``center_wavelength``, ``radiation_wavelength``, with ``fwhm`` and units); from names such as B04, where the sensors
    that have all these names agree; from common names such as swir16. Layers without wavelength (masks, angles) are
    left out, and so are bands whose values cannot be turned into reflectance or kelvin.

    Parameters
    ----------
    cube
        As `xcloudmask.bands.select_bands` takes it.
    bands
        None for all. A list of names or positions restricts them. A dictionary role -> name or position also says what
        a band is: ``{"red": "b1"}`` gives it the wavelengths of red. What is asked for is never left out: it is an
        error where it cannot be used.
    sensor
        A name of `xcloudmask.sensors.SENSORS`, or a `Sensor`.
    scale
        Reflectance per DN, or (scale, offset), for all bands of reflected light; 1 says that all values are reflectance
        or kelvin already. Or band -> one of these, for thermal bands too: kelvin = DN * scale + offset.
    reflectance
        Whether the model must have reflectance and kelvin. One with z-scores can do without: where the values of too
        few bands can be understood, it is fed them all as they are, and knows no level.

    Returns
    -------
    OpenSelection
        In the order of the cube, or in that of `bands`.

    Raises
    ------
    BandNotFoundError
        Fewer than three bands have a known wavelength, or one that was asked for has none.
    NotACubeError
        A mask, no image, or dimensions other than time, band, y and x.
    InputError
        The values of a band that was asked for, or of too many, cannot be understood; or the bands are on different
        grids.
    ArgumentError, ArgumentTypeError
        An argument cannot be understood.

    Examples
    --------
    >>> import numpy as np
    >>> pixels = (("y", "x"), np.full((2, 2), 0.3, "float32"))
    >>> cube = xr.Dataset({name: pixels for name in ("B02", "B03", "B04", "SCL")})
    >>> [(band.name, band.wavelength_nm[1]) for band in select_open_bands(cube, sensor="s2-l2a", scale=1).bands]
    [('B02', 492.4), ('B03', 559.8), ('B04', 664.6)]
    """
    source = open_cube_bands(cube)
    table = declared_sensor(cube) if sensor is None else get_sensor(sensor)
    known = find_wavelengths(source, table, declared=sensor is None, alone=bands is None)
    names = _names(source, known)
    if bands is None:
        wanted, left_out = _all_bands(source, known, names)
    else:
        wanted, left_out = _asked(source, known, names, bands, table), {}
    if len(wanted) < FEWEST_BANDS:
        raise too_few([one.band for one in wanted], left_out, known)
    scales = _scales(source, wanted, table, sensor=sensor, scale=scale)
    refused = {one.name: found for one, found in scales.items() if isinstance(found, str)}
    if not reflectance and refused and (bands is not None or len(wanted) - len(refused) < FEWEST_BANDS):
        scales, refused = {}, {}
    kept = [one for one in wanted if one.name not in refused]
    if bands is None:
        kept = _one_look_each(kept, source)
        left_out |= _copies(wanted, kept)
    if len(kept) < FEWEST_BANDS or (bands is not None and refused):
        raise no_values([one.name for one in kept], refused)
    left_out |= refused
    scale_pairs(scale, tuple(one.name for one in kept))
    return OpenSelection(
        selection=_selection(source, kept, table, left_out),
        bands=tuple(one.band for one in kept),
        scales=tuple(found for one in kept if isinstance(found := scales.get(one), BandScale)),
    )


def _names(source: CubeBands, known: Sequence[Known | Unknown]) -> list[str]:
    """A name for each band: its own, else its wavelength; with its position where several have the same."""
    names = []
    for position, one in enumerate(known):
        named = any(column[position] for _, column in source.names.columns)
        centre = f"{one.wavelength_nm[1]:g} nm" if isinstance(one, Known) else ""
        names.append(source.names.title(position) if named or not centre else centre)
    return [f"{name} [{position}]" if names.count(name) > 1 else name for position, name in enumerate(names)]


# --- which bands ---


def _all_bands(
    source: CubeBands, known: Sequence[Known | Unknown], names: Sequence[str]
) -> tuple[list[_Wanted], dict[str, str]]:
    wanted: list[_Wanted] = []
    left_out: dict[str, str] = {}
    for position, (one, name) in enumerate(zip(known, names, strict=True)):
        wrong = _no_band(source, position)
        if isinstance(one, Known) and not wrong:
            wanted.append(_Wanted(position=position, band=_open_band(name, one), known=one))
        else:
            left_out[name] = wrong or why_unknown(one)
    return wanted, left_out


def _no_band(source: CubeBands, position: int) -> str:
    """Why a variable is no band, whatever it is called; empty for bands."""
    if source.array is not None:
        return ""
    array = source.variables[position]
    if is_layer(source.names.title(position), array) or is_mask(array):
        return "a mask, or another layer of the product"
    extra = [str(dim) for dim in array.dims if str(dim) not in (*spatial_dims(array), time_dim(array))]
    return f"it has the dimension {extra[0]!r} besides time, y and x" if extra else ""


def _open_band(name: str, known: Known) -> OpenBand:
    return OpenBand(name=name, wavelength_nm=known.wavelength_nm)


def _asked(
    source: CubeBands,
    known: Sequence[Known | Unknown],
    names: Sequence[str],
    bands: BandChoice,
    table: Sensor | None,
) -> list[_Wanted]:
    """The bands that the user asked for."""
    if isinstance(bands, str) or not isinstance(bands, Mapping | Sequence):
        raise ArgumentTypeError(
            f"bands={bands!r} is a {type(bands).__name__}. Expected a list of names or positions such as "
            "bands=['red', 'green', 'nir'], or a dictionary such as {'red': 'b1'}."
        )
    pairs = list(bands.items()) if isinstance(bands, Mapping) else [(None, value) for value in bands]
    wanted: list[_Wanted] = []
    for role, value in pairs:
        position = _position(source, names, role, value)
        one = known[position]
        if role is not None:
            one = role_wavelength(role, one, table) or one
        name = names[position] if role is None else role
        if isinstance(one, Unknown):
            raise no_wavelength(name, one)
        wanted.append(_Wanted(position=position, band=_open_band(name, one), known=one))
    twice = [one.name for one in wanted if sum(one.position == other.position for other in wanted) > 1]
    if twice:
        raise ArgumentError(f"bands= has a band of the cube twice: {', '.join(map(repr, twice))}. Expected each once.")
    return wanted


def _position(source: CubeBands, names: Sequence[str], role: str | None, value: str | int | None) -> int:
    """Where a band lies that the user names or counts."""
    if value is None:
        raise ArgumentError(
            f"bands={{{role!r}: None}}: no band need be given up, since the model takes any. Expected a name or a "
            "position. Leave it out of bands=."
        )
    label = str(value) if role is None else role
    if isinstance(value, str):
        columns = (*source.names.columns, ("name", tuple(names)))
        return find_by_name(replace(source.names, columns=columns), label, value).position
    return by_position(source, label, value).position


# --- their values ---


def _scales(
    source: CubeBands,
    wanted: Sequence[_Wanted],
    table: Sensor | None,
    *,
    sensor: str | Sensor | None,
    scale: Scale | None,
) -> dict[_Wanted, BandScale | str]:
    positions = [one.position for one in wanted]
    selection = BandSelection(
        roles=tuple(one.name for one in wanted),
        names=tuple(source.names.title(position) for position in positions),
        arrays=tuple(source.band(position) for position in positions),
        stack=source.stacked(positions),
        band_dim=source.band_dim,
        how=("",) * len(wanted),
        positions=tuple(positions),
        sensor=table,
    )
    tables = [one.known.band for one in wanted]
    found = open_scales(selection, [one.band for one in wanted], tables, sensor=sensor, scale=scale)
    return dict(zip(wanted, found, strict=True))


def _one_look_each(wanted: Sequence[_Wanted], source: CubeBands) -> list[_Wanted]:
    """Leave out copies of a band of the sensor: the likeliest spelling stays, as in `select_bands`."""
    best: dict[tuple[str, int], _Wanted] = {}
    for one in wanted:
        row = one.known.band
        key = ("", one.position) if row is None else (row.name, 0)
        if key not in best or _spelling(one, source) < _spelling(best[key], source):
            best[key] = one
    return [one for one in wanted if one in best.values()]


def _spelling(one: _Wanted, source: CubeBands) -> int:
    """How far down the list of its spellings a band stands."""
    spellings = [] if one.known.band is None else [fold_name(name) for name in one.known.band.names]
    texts = [fold_name(text) for _, column in source.names.columns if (text := column[one.position])]
    return min((spellings.index(text) for text in texts if text in spellings), default=len(spellings))


def _copies(wanted: Sequence[_Wanted], kept: Sequence[_Wanted]) -> dict[str, str]:
    rows = {one.known.band.name: one.name for one in kept if one.known.band is not None}
    return {
        one.name: f"another copy of {rows[one.known.band.name]}"
        for one in wanted
        if one not in kept and one.known.band is not None and one.known.band.name in rows
    }


# --- the result ---


def _selection(
    source: CubeBands, kept: Sequence[_Wanted], table: Sensor | None, left_out: Mapping[str, str]
) -> BandSelection:
    chosen = {one.name: Found(position=one.position, how=_how(one, kept)) for one in kept}
    _check_grids({one.name: source.band(one.position) for one in kept})
    selection = build_selection(source, tuple(chosen), dict(chosen), table)
    return replace(selection, left_out=tuple(left_out.items()))


def _how(one: _Wanted, kept: Sequence[_Wanted]) -> str:
    shortest, centre, longest = one.band.wavelength_nm
    text = f"{centre:g} nm, {shortest:g} to {longest:g}; {one.known.how}"
    same = [other.name for other in kept if other.band.wavelength_nm == one.band.wavelength_nm and other is not one]
    return f"{text}; the same wavelengths as {', '.join(same)}" if same else text


def _check_grids(arrays: Mapping[str, xr.DataArray]) -> None:
    grids: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for name, array in arrays.items():
        grids.setdefault(tuple((str(dim), size) for dim, size in sorted(array.sizes.items(), key=str)), []).append(name)
    if len(grids) > 1:
        found = "; ".join(f"{', '.join(names)} {dict(sizes)}" for sizes, names in grids.items())
        some = max(grids.values(), key=len)
        raise InputError(
            f"The bands are on different grids: {found}. Expected equal dimensions. Type bands={some!r} for those of "
            "one grid, or load all on one (odc.stac.load(resolution=...), band.rio.reproject_match(other))."
        )
