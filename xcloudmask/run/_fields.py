"""Tables of a TOML file to frozen dataclasses: unknown keys and wrong types are errors that say what to type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

from xcloudmask._config_fields import hints_of
from xcloudmask.errors import ArgumentError

__all__ = ["build"]

_T = TypeVar("_T")
_NAMES: dict[Any, str] = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "a table",
}  # fmt: skip


def build(kind: type[_T], table: Any, *, place: str) -> _T:
    """Make a dataclass of a table.

    Parameters
    ----------
    kind
        The dataclass.
    table
        As `tomllib` reads it.
    place
        File and table, for errors.

    Returns
    -------
    object

    Raises
    ------
    ArgumentError
        A key is unknown or missing, or a value has the wrong type.
    """
    if not isinstance(table, Mapping):
        raise ArgumentError(f"{place} is {_told(table)}. Expected a table.")
    hints = hints_of(kind, table, place=place)
    return kind(**{key: _convert(value, hints[key], place=f"{place} {key}") for key, value in table.items()})


def _convert(value: Any, hint: Any, *, place: str) -> Any:
    """Check a value against the annotation of its field; the first kind of a union that fits is taken."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        if not isinstance(value, str) or value not in arguments:
            raise ArgumentError(f"{place} = {_told(value)}. Expected one of {', '.join(map(repr, arguments))}.")
        return value
    kinds = arguments if origin is not None and origin not in (tuple, Mapping) else (hint,)
    for kind in kinds:
        fitting, found = _fits(value, kind, place)
        if fitting:
            return found
    names = " or ".join(name for name in map(_named, kinds) if name)
    raise ArgumentError(f"{place} = {_told(value)}. Expected {names}.")


def _fits(value: Any, kind: Any, place: str) -> tuple[bool, Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False, None
        return True, tuple(_convert(item, arguments[0], place=place) for item in value)
    if origin is Mapping:
        return isinstance(value, Mapping), dict(value) if isinstance(value, Mapping) else None
    if origin is Literal:
        return isinstance(value, str) and value in arguments, value
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number, float(value) if number else None
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool)), value


def _named(kind: Any) -> str:
    origin = get_origin(kind)
    if origin is tuple:
        return f"a list of {_NAMES.get(get_args(kind)[0], 'values').removeprefix('a ')}s"
    if origin is Literal:
        return " or ".join(map(repr, get_args(kind)))
    return "" if kind is type(None) else _NAMES[dict if origin is Mapping else kind]


def _told(value: Any) -> str:
    return f"{value!r:.80} ({_NAMES.get(type(value), type(value).__name__)})"
