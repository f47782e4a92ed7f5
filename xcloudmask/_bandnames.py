"""Which band plays which role, from names alone: no arrays, no guessing.

The evidence for a role without ``sensor=``: the role's own name (``red``) in any list of names, and names such as
``B04``, which mean a band only once all of them fit sensors that agree. Evidence that disagrees is an error.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache

from xcloudmask._sensor import Band, Sensor, fold_name
from xcloudmask.errors import BandNotFoundError
from xcloudmask.sensors.common import COMMON_NM
from xcloudmask.sensors.registry import BUILT_IN, SENSORS

__all__ = ["BandNames", "Found", "bands_by_code", "describe", "find_by_name", "match_roles"]

_CODE = re.compile(
    r"(?:(?:sr|st|oli|tm|etm)_)?b\d{1,2}a?(?:_\d+m)?"
    r"|sur_refl_b\d{2}(?:_1)?"  # MODIS
    r"|s\d_(?:radiance|reflectance|bt)_[abci]n"  # SLSTR
)
"""Names that mean a band of some sensor, many of them different bands in different sensors."""

_STAND_INS = {"nir": ("nir08", "near_infrared")}
"""Common names that play a role where nothing has its own name: Landsat's only near infrared is called nir08."""

_RIVALS = {"green": ("green_i", "greeni", "green1", "green_1", "green05")}
"""Names that make a role ambiguous: PlanetScope's eight bands have two greens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandNames:
    """The names of the bands of a cube, in one or several lists of equal length."""

    columns: tuple[tuple[str, tuple[str | None, ...]], ...]
    """(kind of name, the name of each band or None); the first column is what users see."""
    platforms: frozenset[str] = frozenset()
    """STAC platforms and constellations that the cube declares, as `fold_name` spells them."""
    unread: tuple[str, ...] = ()
    """Coordinates that may hold names but are dask arrays, which are not computed."""

    def find(self, name: str, *, exact: bool = False) -> dict[int, str]:
        """Return position -> kind of name, for all bands of that name."""
        hits: dict[int, str] = {}
        for kind, column in self.columns:
            for position, text in enumerate(column):
                if text is not None and (text == name if exact else fold_name(text) == fold_name(name)):
                    hits.setdefault(position, kind)
        return hits

    def title(self, position: int) -> str:
        """Return the first name of a band, or its position where it has none."""
        return next((column[position] or "" for _, column in self.columns if column[position]), f"position {position}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A band of the cube that plays a role."""

    position: int
    """Position along the band dimension, or among the variables."""
    how: str
    """How it was found, for people."""


def describe(names: BandNames) -> str:
    """Return all bands with all their names, in one line.

    Parameters
    ----------
    names
        The names of a cube.

    Returns
    -------
    str

    Examples
    --------
    >>> describe(BandNames(columns=(("variable name", ("B04", "SCL")), ("long_name", ("red", None)))))
    "'B04' (long_name 'red'), 'SCL'"
    """
    count = len(names.columns[0][1]) if names.columns else 0
    texts = []
    for position in range(count):
        title = names.title(position)
        others = [
            f"{kind} {column[position]!r}" for kind, column in names.columns if column[position] not in (None, title)
        ]
        shown = title if title.startswith("position ") else repr(title)
        texts.append(f"{shown} ({', '.join(others)})" if others else shown)
    return ", ".join(texts) or "none"


def find_by_name(names: BandNames, role: str, name: str) -> Found:
    """Find the band that the user named for a role.

    Parameters
    ----------
    names
        The names of a cube.
    role
        The role it is for.
    name
        The name typed: as written if possible, else regardless of case.

    Returns
    -------
    Found

    Raises
    ------
    BandNotFoundError
        No such band, or several.

    Examples
    --------
    >>> find_by_name(BandNames(columns=(("variable name", ("B04", "SCL")),)), "red", "b04").position
    0
    """
    hits = names.find(name, exact=True) or names.find(name)
    if len(hits) == 1:
        return Found(position=next(iter(hits)), how="argument")
    if hits:
        raise _ambiguous(names, role, hits)
    texts = [text for _, column in names.columns for text in column if text]
    close = difflib.get_close_matches(name, texts, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise BandNotFoundError(f"bands={{{role!r}: {name!r}}}: no band has that name.{hint} Found: {describe(names)}.")


def match_roles(
    names: BandNames, roles: tuple[str, ...], sensor: Sensor | None, *, declared: bool = False
) -> dict[str, Found]:
    """Find the bands of all roles that the names give away.

    Parameters
    ----------
    names
        The names of a cube.
    roles
        Roles to find.
    sensor
        Whose names they are; None where nobody said.
    declared
        Whether the cube said so, and not the user.

    Returns
    -------
    dict
        Role -> band; roles that are not found are left out.

    Raises
    ------
    BandNotFoundError
        Several bands could play a role, and no rule tells which.

    Examples
    --------
    >>> found = match_roles(BandNames(columns=(("variable name", ("B04", "B8A")),)), ("red", "nir"), None)
    >>> found["nir"].how
    'variable name, Sentinel-2 naming: B8A stands in for nir'
    """
    if sensor is not None:
        label = f"attrs: sensor {sensor.name}" if declared else f"sensor {sensor.name}"
        found = {role: _by_sensor(names, role, sensor, label) or _by_role(names, role) for role in roles}
        return {role: band for role, band in found.items() if band is not None}
    by_name = {role: _by_role(names, role) for role in roles}
    by_code = _by_code(names, roles, open_roles=tuple(role for role in roles if by_name[role] is None))
    matched: dict[str, Found] = {}
    for role in roles:
        named, coded = by_name[role], by_code.get(role)
        if named is not None and coded is not None and named.position != coded.position:
            raise _ambiguous(names, role, {named.position: named.how, coded.position: coded.how})
        if named is not None or coded is not None:
            matched[role] = named or coded  # type: ignore[assignment]
    return matched


def _by_sensor(names: BandNames, role: str, sensor: Sensor, label: str = "") -> Found | None:
    """The sensor's bands for a role in their order, and their spellings in theirs: the table is the rule."""
    for band in sensor.candidates(role):
        for name in band.names:
            hits = names.find(name)
            if len(hits) > 1:
                raise _ambiguous(names, role, hits)
            if hits:
                what = band.name if band.role == role else f"{band.name} stands in for {role}"
                return Found(position=next(iter(hits)), how=f"{label}: {what}")
    return None


def _by_role(names: BandNames, role: str) -> Found | None:
    for name in (role, *_STAND_INS.get(role, ())):
        hits = names.find(name)
        rivals = {position: kind for rival in _RIVALS.get(role, ()) for position, kind in names.find(rival).items()}
        if len(hits) > 1 or (hits and rivals):
            raise _ambiguous(names, role, hits | rivals)
        if hits:
            position, kind = next(iter(hits.items()))
            return Found(position=position, how=kind if name == role else f"{kind}: {name} stands in for {role}")
    return None


def _by_code(names: BandNames, roles: tuple[str, ...], *, open_roles: tuple[str, ...]) -> dict[str, Found]:
    """Read names such as B04, where all sensors that have all these names agree on what they mean."""
    for kind, column in names.columns:
        codes = {fold_name(text) for text in column if text and _CODE.fullmatch(fold_name(text))}
        if not codes:
            continue
        fitting = _fitting(codes, names)
        answers = {sensor.name: _read_codes(kind, column, roles, sensor) for sensor in fitting}
        if not answers:
            continue
        # Agreement is asked for the open roles; those found by their own name only have to be confirmed.
        if len({tuple(answer.get(role, -1) for role in open_roles) for answer in answers.values()}) > 1:
            raise _ask_for_sensor(names, open_roles, answers)
        agreed = {
            role: position
            for role, position in next(iter(answers.values())).items()
            if all(answer.get(role) == position for answer in answers.values())
        }
        return {role: Found(position=at, how=_how(kind, column, role, at, fitting[0])) for role, at in agreed.items()}
    return {}


def bands_by_code(names: BandNames) -> tuple[dict[int, tuple[Band, str]], tuple[str, ...]]:
    """Find what names such as B04 mean, without anybody saying which sensor they are from.

    Parameters
    ----------
    names
        The names of a cube.

    Returns
    -------
    dict
        Position -> the band in the table of a sensor, and how it was found; empty where the sensors that have all these
        names do not agree.
    tuple of str
        The sensors that do not agree.

    Examples
    --------
    >>> found, _ = bands_by_code(BandNames(columns=(("variable name", ("B04", "B8A", "SCL")),)))
    >>> {position: band.role for position, (band, _) in found.items()}
    {0: 'red', 1: 'nir08'}
    >>> bands_by_code(BandNames(columns=(("variable name", ("B4", "B5")),)))[1][-1]
    'hls-s30'
    """
    for kind, column in names.columns:
        coded = {at: text for at, text in enumerate(column) if text and _CODE.fullmatch(fold_name(text))}
        fitting = _fitting({fold_name(text) for text in coded.values()}, names) if coded else []
        suiting: list[tuple[Sensor, list[Band]]] = []
        for sensor in fitting:
            bands = [band for band in map(sensor.find, coded.values()) if band is not None]
            if all(_suits(names, at, band) for at, band in zip(coded, bands, strict=True)):
                suiting.append((sensor, bands))
        if len({tuple(band.role for band in bands) for _, bands in suiting}) > 1:
            return {}, tuple(sensor.name for sensor, _ in suiting)
        if suiting:
            sensor, bands = suiting[0]
            how = f"{kind}, {_family(sensor)} naming"
            return {at: (band, f"{how}: {band.name}") for at, band in zip(coded, bands, strict=True)}, ()
    return {}, ()


def _suits(names: BandNames, position: int, band: Band) -> bool:
    """Whether no common name of a band speaks against what its code would mean."""
    others = {fold_name(column[position] or "") for _, column in names.columns} & COMMON_NM.keys()
    known = set(map(fold_name, (*band.names, *band.roles)))
    ranges = [COMMON_NM[name] for name in others - known]
    return all(low <= band.wavelength_nm[1] <= high for low, _, high in ranges)


def _family(sensor: Sensor) -> str:
    return sensor.title.split(" MSI")[0].split(",")[0]


def _fitting(codes: set[str], names: BandNames) -> list[Sensor]:
    """Sensors that have all these names, narrowed down by the platform and the layers that came with the bands."""
    fitting = [sensor for sensor in BUILT_IN if codes <= _folded_names(sensor)]
    of_platform = [
        sensor for sensor in fitting if names.platforms and names.platforms <= set(map(fold_name, sensor.platforms))
    ]
    fitting = of_platform or fitting
    with_layers = [sensor for sensor in fitting if any(names.find(layer) for layer in sensor.companions)]
    return with_layers or fitting


@cache
def _folded_names(sensor: Sensor) -> frozenset[str]:
    return frozenset(fold_name(name) for band in sensor.bands for name in band.names)


def _read_codes(kind: str, column: tuple[str | None, ...], roles: tuple[str, ...], sensor: Sensor) -> dict[str, int]:
    coded = tuple(text if text and _CODE.fullmatch(fold_name(text)) else None for text in column)
    names = BandNames(columns=((kind, coded),))
    found = {role: _by_sensor(names, role, sensor) for role in roles}
    return {role: band.position for role, band in found.items() if band is not None}


def _how(kind: str, column: tuple[str | None, ...], role: str, position: int, sensor: Sensor) -> str:
    band = sensor.find(column[position] or "")
    stands_in = f": {band.name} stands in for {role}" if band is not None and band.role != role else ""
    return f"{kind}, {_family(sensor)} naming{stands_in}"


def _ambiguous(names: BandNames, role: str, hits: dict[int, str]) -> BandNotFoundError:
    candidates = ", ".join(f"{names.title(position)!r} ({how})" for position, how in hits.items())
    titles = [names.title(position) for position in hits]
    # Equal names can only be told apart by position.
    choice = repr(titles[0]) if len(set(titles)) == len(titles) else str(next(iter(hits)))
    fitting = [name for name, sensor in SENSORS.items() if all(sensor.find(title) for title in titles)]
    return BandNotFoundError(
        f"Several bands could be {role!r}: {candidates}. Type bands={{{role!r}: {choice}}} to choose one, or sensor= "
        f"with one of: {', '.join(fitting or SENSORS)}."
    )


def _ask_for_sensor(names: BandNames, roles: tuple[str, ...], answers: dict[str, dict[str, int]]) -> BandNotFoundError:
    meanings: dict[str, list[str]] = {}
    for sensor, answer in answers.items():
        text = ", ".join(f"{role} = {names.title(answer[role]) if role in answer else 'missing'}" for role in roles)
        meanings.setdefault(text, []).append(sensor)
    lines = "\n".join(f"  {text} ({' or '.join(sensors)})" for text, sensors in meanings.items())
    return BandNotFoundError(
        f"The band names do not tell which sensor they are from. Found: {describe(names)}. They could mean:\n{lines}\n"
        f"Type sensor= with one of these, or bands={{{roles[0]!r}: '<name in the cube>', ...}}."
    )
