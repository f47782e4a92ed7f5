"""Tables of a configuration file against the dataclasses that they become: which keys there may and must be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from xcloudmask.errors import ArgumentError

__all__ = ["check_keys", "hints_of"]


def check_keys(found: Iterable[str], known: Iterable[str], *, place: str) -> None:
    """Refuse keys that are not known, with the nearest that is.

    Parameters
    ----------
    found
        Keys of a table.
    known
        Those that it may have.
    place
        File and table, for the message.

    Raises
    ------
    ArgumentError
        There is one.

    Examples
    --------
    >>> check_keys(["steps"], ["steps", "batch"], place="[fit]")
    """
    names = list(known)
    for key in found:
        if key not in names:
            close = difflib.get_close_matches(str(key), names, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ArgumentError(f"{place}: {key!r:.80} is unknown.{hint} Expected some of: {', '.join(names)}.")


def hints_of(kind: Any, table: Iterable[str], *, place: str) -> dict[str, Any]:
    """Return the annotations of a dataclass, where a table has the keys to make one.

    Parameters
    ----------
    kind
        The dataclass.
    table
        Keys.
    place
        File and table, for the message.

    Returns
    -------
    dict
        Field -> annotation.

    Raises
    ------
    ArgumentError
        A key is unknown, or one is missing.

    Examples
    --------
    >>> from xcloudmask.run.task import Cell
    >>> hints_of(Cell, ["name"], place="[cell]")
    Traceback (most recent call last):
    ...
    xcloudmask.errors.ArgumentError: [cell] lacks 'crs'. Type: crs = ...
    """
    known = fields(kind)
    check_keys(table, [one.name for one in known], place=place)
    given = set(table)
    for one in known:
        if one.default is MISSING and one.default_factory is MISSING and one.name not in given:
            raise ArgumentError(f"{place} lacks {one.name!r}. Type: {one.name} = ...")
    return get_type_hints(kind)
