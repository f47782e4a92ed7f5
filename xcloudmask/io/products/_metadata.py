"""Metadata files of products, read as what strangers wrote: bounded, without DTDs, and errors that name the file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder  # builds the tree; nothing is parsed with it
from xml.parsers import expat

import numpy as np

from xcloudmask.errors import ReadError

__all__ = ["first_text", "instant", "read_json", "read_text", "read_xml", "to_number"]

MAX_BYTES = 16 * 2**20
"""The largest real one, MTD_TL.xml of Sentinel-2, has some 600 kB."""
MAX_ELEMENTS = 500_000
MAX_DEPTH = 64

# numpy alone would also take "today", and years that nanoseconds cannot hold.
_INSTANT = re.compile(
    r"(?P<stamp>(?:19[7-9]\d|2[01]\d\d)-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?)(?:Z|\+00:00)?"
)


def read_text(path: Path) -> str:
    """Return the text of a small file.

    Parameters
    ----------
    path
        Where it is.

    Returns
    -------
    str

    Raises
    ------
    ReadError
        Missing, too large, or no text.
    """
    try:
        return _read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReadError(f"{path} cannot be read: it is no UTF-8 text ({error.reason}).") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Parameters
    ----------
    path
        Where it is.

    Returns
    -------
    dict

    Raises
    ------
    ReadError
        Missing, too large, no JSON, or no object.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ReadError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ReadError(f"{path} holds a JSON {type(content).__name__}. Expected an object.")
    return content


def read_xml(path: Path, *, roots: Collection[str]) -> Element:
    """Return the root of an XML file, with names of elements without their prefixes.

    Parameters
    ----------
    path
        Where it is.
    roots
        Names that the root may have.

    Returns
    -------
    xml.etree.ElementTree.Element

    Raises
    ------
    ReadError
        Missing, too large or deep, no well-formed XML, with a document type declaration, or with another root.

    Notes
    -----
    Entities, internal ones that expand to gigabytes as well as external ones that read files, can only be declared in
    a document type declaration (W3C, Extensible Markup Language 1.0, section 4.2). None of these products has one, so
    that the first sign of one ends the reading.
    """
    content = _read(path)
    handlers = _Handlers(path)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = handlers.refuse
    parser.EntityDeclHandler = handlers.refuse
    parser.StartElementHandler = handlers.start
    parser.EndElementHandler = handlers.end
    parser.CharacterDataHandler = handlers.builder.data
    try:
        parser.Parse(content, True)  # noqa: FBT003
        root = handlers.builder.close()
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise ReadError(f"{path} cannot be read as XML: {error}") from error
    if root.tag not in roots:
        raise ReadError(f"{path} has the root <{root.tag[:80]}>. Expected <{'> or <'.join(roots)}>.")
    return root


class _Handlers:
    """What expat calls."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.builder = TreeBuilder()
        self.depth = 0
        self.elements = 0

    def refuse(self, *_: Any) -> None:
        raise ReadError(f"{self.path} declares a document type, which no product does. It is not read.")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        self.elements += 1
        if self.depth > MAX_DEPTH or self.elements > MAX_ELEMENTS:
            raise ReadError(
                f"{self.path} has elements nested deeper than {MAX_DEPTH}, or more than {MAX_ELEMENTS} of them, "
                "which no product has. It is not read."
            )
        self.builder.start(_local(name), attributes)

    def end(self, name: str) -> None:
        self.depth -= 1
        self.builder.end(_local(name))


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise ReadError(
            f"{path} is larger than {MAX_BYTES // 2**20} MB. No metadata file of a product is; it is not read."
        )
    return content


def first_text(root: Element, *names: str) -> str | None:
    """Return the text of the first element of one of these names, anywhere below.

    Parameters
    ----------
    root
        Where to look.
    names
        Names of elements; those first in the list come first.

    Returns
    -------
    str or None
        Without spaces around it; None where there is none, or no text in it.
    """
    for name in names:
        for element in root.iter(name):
            text = (element.text or "").strip()
            if text:
                return text
    return None


def to_number(text: Any, what: str, path: Path) -> float:
    """Return a finite number.

    Parameters
    ----------
    text
        What the file holds: text, a number, or None where it is missing.
    what
        Its name in the file.
    path
        The file.

    Returns
    -------
    float

    Raises
    ------
    ReadError
        Missing, no number, or not finite.
    """
    if text is None:
        raise ReadError(f"{path} has no {what}. Is the file complete?")
    try:
        number = float(text)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ReadError(f"{path}: {what} is {str(text)[:80]!r}. Expected a number.")
    return number


def instant(text: Any, what: str, path: Path) -> np.datetime64:
    """Return a time in UTC.

    Parameters
    ----------
    text
        ISO 8601, such as ``"2023-08-23T10:05:35.271949Z"``, in UTC.
    what
        Its name in the file.
    path
        The file.

    Returns
    -------
    numpy.datetime64
        In nanoseconds.

    Raises
    ------
    ReadError
        Missing, or no time.
    """
    match = _INSTANT.fullmatch(str(text).strip())
    try:
        if match is not None:
            return np.datetime64(match["stamp"], "ns")
    except ValueError:  # the 31st of June
        pass
    raise ReadError(f"{path}: {what} is {str(text)[:80]!r}. Expected a time such as 2023-08-23T10:05:35Z.")
