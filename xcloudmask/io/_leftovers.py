"""Folders in which writers work: locked while their process lives, so that what killed ones left can be removed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

__all__ = ["make_locked_folder", "missing", "remove_empty", "remove_leftovers"]

STALE_S = 86_400.0
"""Folders of other machines, whose locks may not be seen from here, are left alone for a day."""


def make_locked_folder(parent: Path, prefix: str) -> tuple[Path, int | None]:
    """Make a folder that others see to be in use: a lock goes with its process, whatever ends it.

    Parameters
    ----------
    parent
        Where.
    prefix
        Begin of its name; the machine and a random part follow.

    Returns
    -------
    pathlib.Path, int or None
        The folder, and a file descriptor that holds the lock until it is closed; None where there are no locks.

    Raises
    ------
    OSError
        Nothing can be written there.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{_host()}-", dir=parent))
        with suppress(BlockingIOError):
            handle = _lock(folder)
            if folder.exists():
                return folder, handle
            if handle is not None:
                os.close(handle)
        # Another writer took it for a leftover between these two steps: once more.


def remove_leftovers(parent: Path, prefix: str) -> None:
    """Remove the folders of `make_locked_folder` whose process is gone.

    Parameters
    ----------
    parent, prefix
        As there.
    """
    for folder in parent.iterdir():
        if not folder.name.startswith(prefix) or not folder.is_dir():
            continue
        own = folder.name.startswith(f"{prefix}{_host()}-")
        if not own and time.time() - _last_change(folder) < STALE_S:
            continue
        with suppress(BlockingIOError):
            handle = _lock(folder)
            if handle is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(handle)


def missing(folder: Path) -> list[Path]:
    """Folders that would have to be made for this one to be there, itself included, the deepest first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, the deepest first, up to one that holds something."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def _lock(folder: Path) -> int | None:
    """Lock a folder, or raise BlockingIOError where somebody has it; None where there are no locks."""
    try:
        import fcntl
    except ImportError:  # Windows: leftovers stay
        return None
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:
        os.close(handle)
        return None
    return handle


def _last_change(folder: Path) -> float:
    times = [0.0]
    with suppress(OSError):
        times += [path.stat().st_mtime for path in (folder, *folder.iterdir())]
    return max(times)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]+", "", platform.node())[:40] or "host"
