"""Waiting for the disk."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["fsync"]


def fsync(path: Path) -> None:
    """Wait until a file or folder is on the disk, where it may be opened; Windows cannot sync folders.

    Parameters
    ----------
    path
        It must exist.

    Raises
    ------
    OSError
        It does not exist, or the disk does not take it.
    """
    if os.name == "nt" and path.is_dir():
        return
    try:
        handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    except PermissionError:
        return  # such as a folder that one may write to and not list
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
