"""Folders that appear when they are complete: written beside the target on the same disk, then renamed."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xcloudmask.errors import WriteError
from xcloudmask.io._fsync import fsync
from xcloudmask.io._leftovers import make_locked_folder, missing, remove_empty, remove_leftovers

try:
    import fcntl
except ImportError:  # Windows: nothing tells there whether the writer of a folder is still alive
    fcntl = None  # type: ignore[assignment]

__all__ = ["locked_folder", "replace_folder", "staged_folder"]

_SYNC_THREADS = 4
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yield a path beside the target, on the same disk; what is left there in the end is removed.

    What killed writers of the same target left behind is removed too: each writer holds a lock as long as it lives.

    Parameters
    ----------
    target
        What the folder is to become; see `replace_folder`.

    Yields
    ------
    pathlib.Path
        Does not exist yet.

    Raises
    ------
    WriteError
        Nothing can be written beside the target.
    """
    created = missing(target.parent)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent, _prefix(target))
        folder, lock = make_locked_folder(target.parent, _prefix(target))
    except OSError as error:
        remove_empty(created)
        raise WriteError(f"{target} cannot be written: {error.strerror or error}.") from error
    try:
        yield folder / target.name
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        remove_empty(created)
        # Threads at work when another one failed may still write; they are done when this runs.
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked_folder(folder: Path | None, *, label: str) -> Iterator[None]:
    """Keep others of this package from adding dates to a store at the same time; only local folders can be locked.

    Parameters
    ----------
    folder
        The store; None where it is not local.
    label
        Its name, for messages.

    Yields
    ------
    None

    Raises
    ------
    WriteError
        Somebody else is at it.
    """
    if folder is None or fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WriteError(
                f"{label}: another process is adding dates. Only one at a time may: type the same again when it is "
                "done."
            ) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)


def replace_folder(staged: Path, target: Path, *, overwrite: bool = True) -> None:
    """Rename a finished folder to its target, after all its bytes are on the disk.

    On Linux the target that it replaces is exchanged in one step, so there is always a whole one.

    Parameters
    ----------
    staged
        From `staged_folder`.
    target
        Its final name.
    overwrite
        Whether a target that exists by now is replaced.

    Raises
    ------
    WriteError
        The target exists, or cannot be replaced.
    """
    try:
        _sync_tree(staged)
        # A folder that is not empty cannot be renamed over.
        if not overwrite or not target.exists():
            staged.replace(target)
        elif not _exchange(staged, target):
            target.replace(staged.with_name("replaced"))
            staged.replace(target)
        fsync(target.parent)
    except OSError as error:
        raise WriteError(f"{target} cannot be replaced: {error.strerror or error}.") from error


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system cannot."""
    rename: Any = None
    with contextlib.suppress(OSError):
        rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    return bool(rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)


def _sync_tree(folder: Path) -> None:
    """Sync a folder and all in it; many at a time, which the journal of the disk writes together."""
    paths = (Path(root, name) for root, _, files in os.walk(folder) for name in (".", *files))
    with ThreadPoolExecutor(_SYNC_THREADS) as pool:
        for _ in pool.map(fsync, paths):
            pass


def _prefix(target: Path) -> str:
    return f".{target.name}-xcloudmask-"
