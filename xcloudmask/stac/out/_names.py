"""Names of items and files: ids come from catalogues and attributes, and are untrusted."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from xcloudmask.errors import ArgumentError, ArgumentTypeError

__all__ = ["check_name", "safe_name", "shown_text"]

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_LONGEST = 120
"""Leaves room for suffixes and hidden partial files below the 255 bytes of most file systems."""
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
"""Names that Windows keeps for devices."""


def safe_name(text: str) -> str:
    """Return a name for a file, a folder and an item: plain ASCII, no separator, no leading dot.

    Parameters
    ----------
    text
        Any text. One that is safe stays as it is; of others two that differ stay different.

    Returns
    -------
    str

    Examples
    --------
    >>> safe_name("S2A_MSIL2A_20240514T105031")
    'S2A_MSIL2A_20240514T105031'
    >>> safe_name("../../etc/passwd")
    'etc_passwd-3754d6cb'
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    plain = _UNSAFE.sub("_", plain).strip("._-+")[:_LONGEST].rstrip("._-+")
    if plain == text and not _RESERVED.fullmatch(plain):
        return text
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain or 'item'}-{mark}"


def check_name(value: object, name: str) -> str:
    """Return a name that the user typed, or refuse it: what the user names is not renamed.

    Parameters
    ----------
    value
        As given.
    name
        Of the argument.

    Returns
    -------
    str

    Raises
    ------
    ArgumentError, ArgumentTypeError
        No text, or none that is safe in a file name.

    Examples
    --------
    >>> check_name("cloud-masks", "collection_id")
    'cloud-masks'
    """
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{name}={value!r:.80} is a {type(value).__name__}. Expected a text.")
    if not value or safe_name(value) != value:
        hint = f" Type {name}={safe_name(value)!r}." if value else ""
        raise ArgumentError(
            f"{name}={value!r:.80} cannot be the name of a folder. Expected letters, digits, '.', '_', '+' and '-', at "
            f"most {_LONGEST} of them.{hint}"
        )
    return value


def shown_text(text: object, longest: int = 1000) -> str:
    """Return a text for a title or a description, without control characters.

    Parameters
    ----------
    text
        Untrusted.
    longest
        Most characters.

    Returns
    -------
    str

    Examples
    --------
    >>> shown_text("a" + chr(27) + "[31mb" + chr(10) + "c")
    'a [31mb c'
    """
    kept = "".join(" " if unicodedata.category(char).startswith(("C", "Z")) else char for char in str(text))
    return kept.strip()[:longest]
