"""Find the bands that a model wants in a cube, in the shape that any loader gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xcloudmask._bandnames import Found, describe, find_by_name, match_roles
from xcloudmask._bandsource import CubeBands, check_dtype, is_mask, left_over_error, mask_error, open_cube_bands
from xcloudmask._sensor import Sensor
from xcloudmask.errors import ArgumentError, ArgumentTypeError, BandNotFoundError, InputError
from xcloudmask.grid import spatial_dims, time_dim
from xcloudmask.sensors import SENSORS, get_sensor

__all__ = ["BandChoice", "BandSelection", "build_selection", "by_position", "declared_sensor", "select_bands"]

BandChoice = Mapping[str, str | int | None] | Sequence[str | int | None]
"""What ``bands=`` takes: role -> name, position or None; or names in the order of the roles."""

_GIVEN_UP = "given up: zeros"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BandSelection:
    """The bands of a cube that play the roles of a model."""

    roles: tuple[str, ...]
    """The model's bands, in order."""
    names: tuple[str | None, ...]
    """What was chosen in the cube; None = given up, fed as zeros."""
    arrays: tuple[xr.DataArray | None, ...]
    """One per role, without band dimension, dimensions in the order of the cube; None = given up."""
    stack: xr.DataArray | None
    """Where the cube is one array: its chosen bands in the order of the roles (those given up left out), with the band
    dimension kept, so that the graph stacks nothing. None for a Dataset of variables."""
    band_dim: str | None
    """The band dimension of `stack`."""
    how: tuple[str, ...]
    """Per role, how it was found."""
    positions: tuple[int | None, ...] = ()
    """Per role, its position along the band dimension of the cube (or among its variables); None = given up."""
    sensor: Sensor | None = None
    """Whose bands they are: as the user said, else as the cube declares; None where neither does."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Bands that a model of any bands is not fed, and why."""

    def __repr__(self) -> str:
        """Return one line."""
        pairs = (f"{role}={name or 'zeros'}" for role, name in zip(self.roles, self.names, strict=True))
        return f"<BandSelection {', '.join(pairs)}>"


def select_bands(
    cube: xr.DataArray | xr.Dataset,
    *,
    roles: Sequence[str],
    optional: Sequence[str] = (),
    bands: BandChoice | None = None,
    sensor: str | Sensor | None = None,
) -> BandSelection:
    """Find the bands that play the roles of a model; nothing is computed and nothing is guessed.

    In this order: ``bands=``; the table of ``sensor=``, or of the sensor that ``attrs["sensor"]`` names; the role's own
    name (red, nir, and nir08 where there is no nir) among variable names, band coordinate, ``common_name`` and
    ``long_name``; names such as B04, where the sensors that have all these names agree on what they mean.

    Parameters
    ----------
    cube
        A Dataset with a variable per band (odc-stac), a DataArray with a band dimension (stackstac, rioxarray), or a
        Dataset with one such DataArray. Besides bands it has y, x and at most time; any real dtype.
    roles
        The model's bands, in order, such as ``("red", "green", "nir")``.
    optional
        Roles that may be given up, and are where the sensor is known and has no such band.
    bands
        Role -> name in the cube, or role -> position along the band dimension (counted from 0), or role -> None,
        which gives an optional role up. Or a list of these in the order of the roles.
    sensor
        A name of `xcloudmask.sensors.SENSORS`, or a `Sensor`. None: see `declared_sensor`.

    Returns
    -------
    BandSelection

    Raises
    ------
    BandNotFoundError
        A band is missing, or several could play a role.
    NotACubeError
        A mask, no image, or dimensions other than time, band, y and x.
    InputError
        The chosen bands are on different grids.
    ArgumentError, ArgumentTypeError
        `bands` or `sensor` cannot be understood.

    Examples
    --------
    >>> cube = xr.Dataset({name: (("y", "x"), np.ones((2, 2), "uint16")) for name in ("B03", "B04", "B08")})
    >>> select_bands(cube, roles=("red", "nir"))
    <BandSelection red=B04, nir=B08>
    """
    roles = tuple(roles)
    source = open_cube_bands(cube)
    table = declared_sensor(cube) if sensor is None else get_sensor(sensor)
    chosen = _explicit(source, roles, tuple(optional), bands)
    left = tuple(role for role in roles if role not in chosen)
    chosen |= match_roles(source.names, left, table, declared=sensor is None)
    if table is not None:
        # What the sensor does not have cannot be found: Level-2A of Sentinel-2 is without a cirrus band.
        chosen |= {role: None for role in optional if role not in chosen and not table.candidates(role)}
    missing = [role for role in roles if role not in chosen]
    if missing:
        raise _missing(
            source, roles, missing, tuple(optional), unknown=_unknown_sensor(cube) if table is None else None
        )
    return build_selection(source, roles, chosen, table)


def declared_sensor(cube: xr.DataArray | xr.Dataset) -> Sensor | None:
    """Return the sensor that a cube names in ``attrs["sensor"]``, or None.

    Only a name that is a key of `xcloudmask.sensors.SENSORS`, letter by letter, counts. Other programs write other
    things under that attribute ("msi", "MODIS", a set of names), which do not tell what table to use: they are ignored.

    Parameters
    ----------
    cube
        A Dataset or DataArray; of a Dataset around one array, the array is asked too.

    Returns
    -------
    Sensor or None

    Examples
    --------
    >>> declared_sensor(xr.Dataset(attrs={"sensor": "hls-l30"})).title
    'Harmonized Landsat Sentinel-2 2.0, L30 (OLI)'
    >>> declared_sensor(xr.Dataset(attrs={"sensor": "MSI"})) is None
    True
    """
    return next((SENSORS[name] for name in _sensor_attrs(cube) if name in SENSORS), None)


def _sensor_attrs(cube: xr.DataArray | xr.Dataset) -> list[str]:
    values = [cube.attrs.get("sensor")]
    if isinstance(cube, xr.Dataset) and len(cube.data_vars) == 1:
        values.append(next(iter(cube.data_vars.values())).attrs.get("sensor"))
    return [value for value in values if isinstance(value, str)]


def _unknown_sensor(cube: xr.DataArray | xr.Dataset) -> str | None:
    return next((name for name in _sensor_attrs(cube) if name not in SENSORS), None)


def build_selection(
    source: CubeBands, roles: tuple[str, ...], chosen: Mapping[str, Found | None], sensor: Sensor | None
) -> BandSelection:
    """Put the bands that were found together, and refuse those that do not go together."""
    found = [chosen[role] for role in roles]
    arrays = tuple(None if band is None else source.band(band.position) for band in found)
    names = tuple(None if band is None else source.names.title(band.position) for band in found)
    _check_bands({str(name): array for name, array in zip(names, arrays, strict=True) if array is not None})
    return BandSelection(
        roles=roles,
        names=names,
        arrays=arrays,
        stack=source.stacked([band.position for band in found if band is not None]),
        band_dim=source.band_dim,
        how=tuple(_GIVEN_UP if band is None else band.how for band in found),
        positions=tuple(None if band is None else band.position for band in found),
        sensor=sensor,
    )


def _explicit(
    source: CubeBands, roles: tuple[str, ...], optional: tuple[str, ...], bands: BandChoice | None
) -> dict[str, Found | None]:
    chosen: dict[str, Found | None] = {}
    for role, value in _as_mapping(bands, roles).items():
        if role not in roles:
            raise ArgumentError(
                f"bands= has the role {role!r}. Expected the model's bands: {', '.join(map(repr, roles))}."
            )
        if value is None:
            _check_optional(role, optional)
            chosen[role] = None
        elif isinstance(value, str):
            chosen[role] = find_by_name(source.names, role, value)
        else:
            chosen[role] = by_position(source, role, value)
    return chosen


def _as_mapping(bands: BandChoice | None, roles: tuple[str, ...]) -> Mapping[str, str | int | None]:
    if bands is None:
        return {}
    if isinstance(bands, Mapping):
        return bands
    if isinstance(bands, str) or not isinstance(bands, Sequence):
        raise ArgumentTypeError(
            f"bands={bands!r} is a {type(bands).__name__}. Expected a dictionary such as "
            f"bands={{{roles[0]!r}: '<name in the cube>'}}, or a list of {len(roles)} names."
        )
    if len(bands) != len(roles):
        raise ArgumentError(
            f"bands= has {len(bands)} entries. Expected {len(roles)}, in this order: {', '.join(map(repr, roles))}."
        )
    return dict(zip(roles, bands, strict=True))


def _check_optional(role: str, optional: tuple[str, ...]) -> None:
    if role not in optional:
        allowed = ", ".join(map(repr, optional)) or "none"
        raise ArgumentError(
            f"bands={{{role!r}: None}}: the model cannot do without {role!r}. May be given up: {allowed}."
        )


def by_position(source: CubeBands, role: str, value: object) -> Found:
    """Find the band that the user counted for a role."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise ArgumentTypeError(
            f"bands={{{role!r}: {value!r}}} is a {type(value).__name__}. Expected a name, a position along the band "
            "dimension (counted from 0) or None."
        )
    if source.array is None:
        raise ArgumentError(
            f"bands={{{role!r}: {value}}}: the bands are separate variables, which have no position. Expected one of "
            f"the names {describe(source.names)}."
        )
    if not 0 <= value < source.count:
        raise ArgumentError(
            f"bands={{{role!r}: {value}}}: the cube has {source.count} bands. Positions count from 0 "
            f"to {source.count - 1}."
        )
    return Found(position=int(value), how="argument")


def _missing(
    source: CubeBands, roles: tuple[str, ...], missing: list[str], optional: tuple[str, ...], *, unknown: str | None
) -> BandNotFoundError:
    named = any(text for _, column in source.names.columns for text in column)
    what = "'<name in the cube>'" if named or source.array is None else "<position, counted from 0>"
    typed = ", ".join(f"{role!r}: {what}" for role in missing)
    message = (
        f"The model needs the bands {', '.join(roles)}; not found: {', '.join(missing)}. "
        f"Found: {describe(source.names)}. Type bands={{{typed}}}, or sensor= if the names are those of a sensor."
    )
    for name in source.names.unread:
        message += f" The coordinate {name!r} is a dask array, which is not computed: type cube[{name!r}].load() first."
    if unknown is not None:
        message += (
            f" attrs['sensor'] is {unknown!r:.80}, which is no known sensor: if it is your own, register it first with "
            "xcloudmask.register_sensor(...)."
        )
    given_up = ", ".join(f"{role!r}: None" for role in missing if role in optional)
    if given_up:
        message += f" bands={{{given_up}}} does without and feeds zeros."
    return BandNotFoundError(message)


def _check_bands(arrays: dict[str, xr.DataArray]) -> None:
    for name, array in arrays.items():
        if is_mask(array):
            raise mask_error(name, array)
        check_dtype(name, array)
        left_over = [str(dim) for dim in array.dims if str(dim) not in (*spatial_dims(array), time_dim(array))]
        if left_over:
            raise left_over_error(array, left_over)
    grids = {name: tuple(array.sizes.items()) for name, array in arrays.items()}
    if len(set(grids.values())) > 1:
        found = "; ".join(f"{name!r} {dict(sizes)}" for name, sizes in grids.items())
        raise InputError(
            f"The chosen bands are on different grids: {found}. Expected equal dimensions. Load them on one grid "
            "(odc.stac.load(resolution=...)), or type band.rio.reproject_match(other)."
        )
