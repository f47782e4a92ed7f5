"""A file that appears when it is whole and is the right one."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from xcloudmask.errors import WeightsError

__all__ = ["FILE_BYTES_MAX", "READ_BYTES", "WholeFile", "sha256_of", "sweep"]

FILE_BYTES_MAX = 512_000_000
"""A weights file larger than this is neither fetched nor read."""

READ_BYTES = 1 << 20

_FORGOTTEN_S = 86_400.0


class WholeFile:
    """A file that is written under another name, and takes its own when its sha256 is right.

    Parameters
    ----------
    path
        The file.
    sha256
        What it must have.
    """

    def __init__(self, path: Path, *, sha256: str) -> None:
        self._path, self._expected = path, sha256
        # A name of its own: on file systems without locks two processes may write at once.
        self._partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
        self._file: BinaryIO | None = None
        self.restart()

    def restart(self) -> None:
        """Forget what was written."""
        self.size, self._digest = 0, hashlib.sha256()
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()

    def write(self, piece: bytes) -> None:
        """Append bytes; refuse more than any weights file has."""
        self.size += len(piece)
        if self.size > FILE_BYTES_MAX:
            raise WeightsError(f"{self._path.name} is larger than {FILE_BYTES_MAX} bytes, the most that is fetched.")
        if self._file is not None:
            try:
                self._file.write(piece)
            except OSError as error:
                raise self._unwritable(error) from error
        self._digest.update(piece)

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._partial.open("xb")
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                with file:
                    if kind is None:
                        self._check()
                        file.flush()
                        os.fsync(file.fileno())
            if kind is None:
                self._partial.replace(self._path)
                _sync_folder(self._path.parent)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            with suppress(OSError):
                self._partial.unlink(missing_ok=True)

    def _check(self) -> None:
        found = self._digest.hexdigest()
        if found != self._expected:
            raise WeightsError(
                f"{self._path.name} came with sha256 {found} ({self.size} bytes), expected {self._expected}: it is not "
                "the file of the model's card, and is not kept."
            )

    def _unwritable(self, error: OSError) -> WeightsError:
        return WeightsError(
            f"{self._path} cannot be written: {error}. Set XCLOUDMASK_MODELS to a folder with room for it."
        )


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}.") from error


def sweep(path: Path) -> None:
    """Remove what processes that were killed left behind a day or more ago."""
    with suppress(OSError):
        for partial in path.parent.glob(f".{path.name}.*.partial"):
            if time.time() - partial.stat().st_mtime > _FORGOTTEN_S:
                partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a new name last through a power cut, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
