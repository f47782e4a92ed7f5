"""Where an Icechunk repository lies, how it is opened or made, and its errors in our words."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcloudmask._optional import require
from xcloudmask.errors import ArgumentError, ArgumentTypeError, ReadError, WriteError, XCloudMaskError
from xcloudmask.io._staging import replace_folder, staged_folder

if TYPE_CHECKING:
    from icechunk import Repository, Storage

__all__ = ["Target", "alone", "find_target", "naming", "open_or_create", "open_repository"]

LONGEST_WAIT_S = 120.0
"""For another process to finish its commit, which takes it some milliseconds."""
_LOCAL = re.compile(r"ObjectStorage\(backend=LocalFileSystemObjectStoreBackend\(path=(.*)\)\)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A repository that may not exist yet."""

    label: str
    """How messages name it."""
    path: Path | None
    """Its folder, where it is on this machine."""
    storage: Storage | None
    """Where it lies; None for a local path."""
    repository: Repository | None
    """The repository, where the caller gave one."""


def find_target(repo: Any, storage_options: Mapping[str, Any] | None) -> Target:
    """Understand what the caller typed; nothing is opened."""
    icechunk = require("icechunk", extra="icechunk")
    if isinstance(repo, icechunk.Repository):
        # The storage does not tell its path otherwise, and commits to a folder need a lock.
        shown = repr(repo.storage)
        if "InMemory" in shown:
            raise ArgumentError(
                "The repository lies in memory, which dask tasks and other processes cannot share. Give a path: that "
                "of a temporary folder will do."
            )
        local = _LOCAL.fullmatch(shown)
        label = local[1] if local else shown.split(", config=")[0] + ")" * (", config=" in shown)
        return Target(label=label, path=Path(local[1]) if local else None, storage=None, repository=repo)
    if not isinstance(repo, str | PathLike):
        raise ArgumentTypeError(
            f"repo is a {type(repo).__name__}. Expected a path, a URL such as 's3://bucket/prefix', or an "
            "icechunk.Repository."
        )
    text = os.fspath(repo)
    if "://" in text and not text.startswith("file://"):
        return Target(label=text, path=None, storage=_remote(icechunk, text, storage_options), repository=None)
    if storage_options:
        raise ArgumentError(f"{text} is a path, and storage_options are for URLs. Leave them out.")
    return Target(
        label=text, path=Path(text.removeprefix("file://")).expanduser().absolute(), storage=None, repository=None
    )


def _remote(icechunk: Any, url: str, storage_options: Mapping[str, Any] | None) -> Any:
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.strip("/").partition("/")
    makers = {"s3": icechunk.s3_storage, "gs": icechunk.gcs_storage, "gcs": icechunk.gcs_storage}
    if scheme not in makers or not bucket:
        raise ArgumentError(
            f"{url} is not understood. Expected a path, 's3://bucket/prefix' or 'gs://bucket/prefix'. For other places "
            "give an icechunk.Repository."
        )
    try:
        return makers[scheme](bucket=bucket, prefix=prefix or None, **dict(storage_options or {}))
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"storage_options={sorted(storage_options or {})} are refused: {error}. Expected the keywords of "
            f"icechunk.{makers[scheme].__name__}, such as region= and endpoint_url=."
        ) from error


def open_repository(target: Target) -> Repository:
    """Open a repository that exists, or raise a ReadError."""
    if target.repository is not None:
        return target.repository
    icechunk = require("icechunk", extra="icechunk")
    if target.path is not None and not (target.path / "refs").is_dir():
        found = "is no Icechunk repository" if target.path.exists() else "does not exist"
        raise ReadError(f"{target.path} {found}. Expected a folder that to_icechunk wrote.")
    with naming(target, ReadError):
        repository: Repository = icechunk.Repository.open(target.storage or _local(target.path))
        return repository


def open_or_create(target: Target, *, create: bool) -> Repository:
    """Open a repository to write to; make one where there is nothing, if it may be made."""
    if target.repository is not None:
        return target.repository
    if not create:
        try:
            return open_repository(target)
        except ReadError as error:
            raise WriteError(
                f"{error} To make it, write a whole mask first: leave out region= and mode='r+'."
            ) from error
    with naming(target, WriteError):
        return _in_folder(target.path) if target.path is not None else _in_bucket(target)


def _in_folder(path: Path) -> Repository:
    icechunk = require("icechunk", extra="icechunk")
    if not (path / "refs").is_dir():
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise WriteError(f"{path} exists and is no Icechunk repository. Give another name.")
        # Made beside and renamed: one that is killed while it is made could neither be opened nor made again.
        with staged_folder(path) as staged:
            icechunk.Repository.create(_local(staged))
            try:
                replace_folder(staged, path, overwrite=False)
            except WriteError:
                if not (path / "refs").is_dir():
                    raise
                # Another process was faster: theirs is opened.
    repository: Repository = icechunk.Repository.open(_local(path))
    return repository


def _in_bucket(target: Target) -> Repository:
    icechunk = require("icechunk", extra="icechunk")
    repository: Repository
    if icechunk.Repository.exists(target.storage):
        repository = icechunk.Repository.open(target.storage)
        return repository
    try:
        repository = icechunk.Repository.create(target.storage)
    except icechunk.IcechunkError as error:
        if "clean prefix" not in str(error):
            raise
        if icechunk.Repository.exists(target.storage):  # another process was faster
            repository = icechunk.Repository.open(target.storage)
            return repository
        raise WriteError(
            f"{target.label} holds objects and no Icechunk repository: either something else lies there, or making one "
            "was cut short. Give another prefix, or remove these objects."
        ) from error
    return repository


def _local(path: Path | None) -> Storage:
    icechunk = require("icechunk", extra="icechunk")
    storage: Storage = icechunk.local_filesystem_storage(str(path))
    return storage


@contextmanager
def naming(target: Target, kind: type[ReadError | WriteError], *, pixels: bool = False) -> Iterator[None]:
    """Turn the errors of Icechunk and of the disk into one with the target's name.

    Where pixels are computed, errors of the disk pass as they are: they may be those of another file.
    """
    icechunk = require("icechunk", extra="icechunk")
    named = (icechunk.IcechunkError,) if pixels else (icechunk.IcechunkError, OSError)
    verb = "read" if kind is ReadError else "written"
    try:
        yield
    except XCloudMaskError:
        raise
    except named as error:
        raise kind(f"{target.label} cannot be {verb}: {_reason(error)}") from error
    except BaseException as error:
        # Where a folder cannot be made, Icechunk 1.1 panics; pyo3 gives that error no importable type.
        if type(error).__name__ != "PanicException":
            raise
        found = re.search(r'Other\("([^"]+)"\)', str(error))
        raise kind(f"{target.label} cannot be {verb}: {found[1] if found else error}.") from error


def _reason(error: Exception) -> str:
    """Return the root of a chain of causes, which Icechunk draws as a tree."""
    if isinstance(error, OSError):
        return f"{error.strerror or error}."
    text = str(error)
    cause = text.rpartition("-> ")[2] if "-> " in text else text.strip().removeprefix("x ")
    # Lines are wrapped, also at hyphens; the first that is empty ends the cause.
    lines = takewhile(bool, (line.strip(" |") for line in cause.splitlines()))
    return " ".join(lines).replace("- ", "-").rstrip(".") + "."


@contextmanager
def alone(target: Target) -> Iterator[None]:
    """Let one process at a time commit to a folder.

    Object stores compare and swap the tip of a branch. Icechunk's storage in folders does not, and says so: of two
    commits at a time one could get lost.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        fcntl = None  # type: ignore[assignment]
    if target.path is None or fcntl is None or not target.path.is_dir():
        yield
        return
    folder = os.open(target.path, os.O_RDONLY)
    try:
        until = time.monotonic() + LONGEST_WAIT_S
        while not _locked(fcntl, folder):
            if time.monotonic() > until:
                raise WriteError(f"{target.label} is locked by another process for {LONGEST_WAIT_S:.0f} s. Try later.")
            time.sleep(0.01)
        yield
    finally:
        os.close(folder)  # and the lock with it; where a process is killed the system does that


def _locked(fcntl: Any, folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
