"""Named bytes below a folder or a URL: written whole or not at all, listed lazily. The ledger stands on these.

A reader finds all of an object or nothing of it, and `put(if_absent=True)` has one winner among many writers. That is
all that a campaign asks of its store, so a folder, S3 and other object stores serve alike.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from xcloudmask.errors import ArgumentError, ReadError, WriteError
from xcloudmask.io._targets import label_of, local_path, reason

__all__ = ["LocalObjects", "Objects", "get_many", "open_objects"]

OBJECT_BYTES = 2**28
"""More than any object has that this package writes: what is larger is not read."""
PARTIAL = ".partial"
"""Folder of files that are not complete yet; those of killed writers stay until `tidy`."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")
_THREADS = 16
_BATCH = 512
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_ADVICE = {
    errno.ENOSPC: " Free some space there and type the same command again: it continues.",
    errno.EDQUOT: " Free some of your quota there and type the same command again: it continues.",
    errno.EACCES: " Expected a folder that you may read and write.",
    errno.EROFS: " Expected a folder that can be written to.",
}


class Objects(Protocol):
    """Named bytes below one place. Names are relative, with ``/`` between folders."""

    @property
    def label(self) -> str:
        """What the place is called in messages: without credentials."""

    @property
    def folder(self) -> Path | None:
        """The place as a local folder; None for a URL."""

    def put(self, name: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write an object, whole; False where there is one already and `if_absent`."""

    def get(self, name: str, *, limit: int = OBJECT_BYTES) -> bytes | None:
        """Read an object; None where there is none."""

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the names that start with `prefix`, one folder at a time."""

    def folders(self, prefix: str) -> Sequence[str]:
        """Return the names of the folders right below the folder `prefix`, sorted."""

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; those that are not there are none."""

    def check(self) -> None:
        """Raise where the place cannot be listed: no bucket, no access, no answer."""

    def tidy(self, *, older_s: float) -> int:
        """Remove what killed writers left that long ago; return how much."""


def open_objects(url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> Objects:
    """Open a place for objects: nothing is asked of it yet.

    Parameters
    ----------
    url
        A folder, which need not exist, or a URL that fsspec knows, such as ``"s3://bucket/campaign"``.
    storage_options
        For fsspec, where it is a URL.

    Returns
    -------
    Objects

    Raises
    ------
    ArgumentError
        The protocol is unknown, or options come with a local folder.
    MissingPackageError
        The protocol needs a package.

    Examples
    --------
    >>> objects = open_objects("memory://campaigns/one")
    >>> objects.put("ledger/a.json", b"1", if_absent=True), objects.put("ledger/a.json", b"2", if_absent=True)
    (True, False)
    >>> objects.get("ledger/a.json"), list(objects.list("ledger/"))
    (b'1', ['ledger/a.json'])
    """
    path = local_path(url)
    if path is not None:
        return LocalObjects(path)
    from xcloudmask.run._objects_remote import RemoteObjects

    return RemoteObjects(str(url), storage_options or {})


def get_many(
    objects: Objects, names: Iterable[str], *, limit: int = OBJECT_BYTES
) -> Iterator[tuple[str, bytes | None]]:
    """Read many objects, several at a time where they are remote, in the order of their names as given.

    Parameters
    ----------
    objects
        Where.
    names
        Which; taken in batches.
    limit
        Bytes of the largest.

    Yields
    ------
    tuple of str and bytes or None
        As `Objects.get`.
    """
    if objects.folder is not None:
        for name in names:
            yield name, objects.get(name, limit=limit)
        return
    pending = iter(names)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="xcloudmask-objects") as pool:
        while batch := list(islice(pending, _BATCH)):
            yield from zip(batch, pool.map(lambda name: objects.get(name, limit=limit), batch), strict=True)


def checked_name(name: str) -> str:
    """Refuse names that could lead out of the place."""
    if not _NAME.fullmatch(name) or len(name) > 900:
        raise ArgumentError(f"{name[:200]!r} is no name of an object. Expected letters, digits and ._+- between /.")
    return name


def split_prefix(prefix: str) -> tuple[str, str]:
    """Return the folder of a prefix, with a slash unless it is the root, and the start of a name in it."""
    folder, slash, stem = prefix.rpartition("/")
    if folder:
        checked_name(folder)
    return f"{folder}{slash}", stem


class LocalObjects:
    """Objects as files of a folder.

    Parameters
    ----------
    folder
        Need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    @property
    def label(self) -> str:
        """The folder."""
        return label_of(self._folder)

    @property
    def folder(self) -> Path:
        """The folder."""
        return self._folder

    def put(self, name: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write beside, then link or rename."""
        target = self._folder / checked_name(name)
        try:
            if if_absent and target.exists():
                return False
            partial = self._partial(data)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                return _publish(partial, target, if_absent=if_absent)
            finally:
                with suppress(FileNotFoundError):
                    partial.unlink()
        except OSError as error:
            raise WriteError(f"{target} cannot be written: {reason(error)}.{_advice(error)}") from error

    def get(self, name: str, *, limit: int = OBJECT_BYTES) -> bytes | None:
        """Read a file."""
        path = self._folder / checked_name(name)
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ReadError(f"{path} cannot be read: {reason(error)}.{_advice(error)}") from error
        return bounded(data, limit=limit, label=str(path))

    def list(self, prefix: str = "") -> Iterator[str]:
        """Walk."""
        folder, stem = split_prefix(prefix)
        for entry in self._entries(folder):
            if not entry.name.startswith(stem):
                continue
            if entry.is_dir():
                yield from self.list(f"{folder}{entry.name}/")
            else:
                yield f"{folder}{entry.name}"

    def folders(self, prefix: str) -> Sequence[str]:
        """Look into one folder."""
        return [entry.name for entry in self._entries(split_prefix(prefix)[0]) if entry.is_dir()]

    def delete(self, names: Iterable[str]) -> None:
        """Unlink."""
        for name in names:
            path = self._folder / checked_name(name)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise WriteError(f"{path} cannot be deleted: {reason(error)}.{_advice(error)}") from error

    def check(self) -> None:
        """Nothing may be there yet, but no file."""
        if self._folder.exists() and not self._folder.is_dir():
            raise ArgumentError(f"{self._folder} is a file. Expected a folder, or a name that is free.")
        self._entries("")

    def tidy(self, *, older_s: float) -> int:
        """Remove files that were not completed."""
        import time

        removed = 0
        for entry in self._entries(f"{PARTIAL}/"):
            with suppress(OSError):
                if time.time() - entry.stat().st_mtime >= older_s:
                    Path(entry.path).unlink()
                    removed += 1
        return removed

    def _entries(self, folder: str) -> Sequence[os.DirEntry[str]]:
        path = self._folder / folder
        try:
            with os.scandir(path) as entries:
                found = [entry for entry in entries if folder == f"{PARTIAL}/" or not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise ReadError(f"{path} cannot be listed: {reason(error)}.{_advice(error)}") from error
        return sorted(found, key=lambda entry: entry.name)

    def _partial(self, data: bytes) -> Path:
        """Write a file that is on the disk before it gets its name: after a power cut a name has its bytes."""
        partial = self._folder / PARTIAL / f"{os.getpid()}-{secrets.token_hex(8)}"
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
        return partial


def bounded(data: bytes, *, limit: int, label: str) -> bytes:
    """Refuse what is larger than the limit."""
    if len(data) > limit:
        raise ReadError(f"{label} has more than {limit} bytes. Expected a file that xcloudmask wrote.")
    return data


def _publish(partial: Path, target: Path, *, if_absent: bool) -> bool:
    if not if_absent:
        partial.replace(target)
        return True
    try:
        os.link(partial, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links, such as exFAT: two writers at the same instant may both win.
        if target.exists():
            return False
        partial.replace(target)
    return True


def _advice(error: OSError) -> str:
    return _ADVICE.get(error.errno or 0, "")
