"""Files of a catalogue: read whole, written beside and renamed."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from xcloudmask.errors import WriteError
from xcloudmask.stac._json import read_json
from xcloudmask.stac.hrefs import HrefPolicy

__all__ = ["make_folder", "read_document", "write_bytes", "write_document"]


def make_folder(path: Path) -> None:
    """Create a folder and those above it.

    Raises
    ------
    WriteError
        It cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"The folder {path} cannot be made: {error.strerror or error}.") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step: who reads meanwhile finds the old one or the new one, whole.

    The name of the partial file is always the same, so that a second run clears up after one that was killed.

    Raises
    ------
    WriteError
        The file cannot be written; what was there stays.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Write JSON: the same bytes for the same document.

    Raises
    ------
    WriteError
        The file cannot be written.
    """
    write_bytes(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())


def read_document(path: Path) -> dict[str, Any] | None:
    """Return a JSON object, or None where there is no such file.

    Raises
    ------
    CatalogueError
        It cannot be read, or is no JSON object.
    """
    return read_json(str(path), policy=HrefPolicy(allow_files=True)) if path.exists() else None
