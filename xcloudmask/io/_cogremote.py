"""A remote folder that gets GeoTIFFs, through fsspec: files are made locally, and uploaded when they are complete."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from xcloudmask.errors import WriteError
from xcloudmask.io._cogfolder import SIDECAR
from xcloudmask.io._targets import WHOLE, label_of, open_files, reason

__all__ = ["RemoteFolder"]

_HEAD_BYTES = 2**21
"""Where the header of a COG lies, with the directories of all its tiles up to some 100,000."""


class RemoteFolder:
    """A folder behind an fsspec URL as a target.

    Parameters
    ----------
    url
        Such as ``"s3://bucket/masks"``.
    options
        For fsspec: credentials, endpoints.

    Raises
    ------
    ArgumentError
        No such protocol.
    MissingPackageError
        The package for the protocol is not installed.

    Examples
    --------
    >>> RemoteFolder("memory://masks", {}).label("a.tif")
    'memory://masks/a.tif'
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._url = url.rstrip("/")
        self._protocol = url.partition("://")[0].rpartition("::")[2]
        self._fs, self._root = open_files(self._url, options)

    def label(self, name: str) -> str:
        """Return what a file is called in messages: its URL without credentials."""
        return f"{label_of(self._url)}/{name}"

    def result(self, name: str) -> str:
        """Return what the caller gets for a file."""
        return f"{self._url}/{name}"

    def check(self, names: Iterable[str]) -> None:  # noqa: ARG002  # the same question as to a `Folder`
        """Refuse a bucket that is not there, before anything is computed."""
        bucket = self._root.strip("/").split("/")[0]
        if self._protocol not in WHOLE or self._protocol == "memory":
            return
        # One may be allowed to write, and not to list.
        with self._naming(label_of(self._url)), suppress(PermissionError):
            if not self._fs.exists(bucket):
                raise WriteError(f"{label_of(self._url)} cannot be written: there is no such bucket.")

    def existing(self, names: Iterable[str]) -> set[str]:
        """Return those that are there, asking once per folder."""
        wanted = list(names)
        found: set[str] = set()
        for parent in {str(PurePosixPath(name).parent) for name in wanted}:
            found |= self._listed(parent)
        return {name for name in wanted if PurePosixPath(name).as_posix() in found}

    @contextmanager
    def header(self, name: str) -> Iterator[Path]:
        """Yield a local file with the first bytes of a file."""
        with tempfile.TemporaryDirectory() as folder:
            head = Path(folder) / "head.tif"
            with self._naming(self.label(name)):
                head.write_bytes(self._fs.cat_file(self._path(name), start=0, end=_HEAD_BYTES))
            yield head

    def tidy(self) -> None:
        """Nothing: what killed runs leave lies among the temporary files of their machine."""

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield a temporary folder of this machine."""
        folder = Path(tempfile.mkdtemp(prefix="xcloudmask-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, name: str, file: Path, sidecar: Path | None) -> None:
        """Upload a complete file: after its sidecar where it is new, before it where it replaces another one."""
        with self._naming(self.label(name)):
            parent = str(PurePosixPath(self._path(name)).parent)
            if self._protocol not in WHOLE:
                self._fs.makedirs(parent, exist_ok=True)
            replaced = self._fs.exists(self._path(name))
            if replaced and self._fs.exists(self._path(name + SIDECAR)):
                self._fs.rm_file(self._path(name + SIDECAR))
            if sidecar is not None and not replaced:
                self._upload(sidecar, name + SIDECAR)
            self._upload(file, name)
            if sidecar is not None and replaced:
                self._upload(sidecar, name + SIDECAR)

    def _upload(self, file: Path, name: str) -> None:
        path = self._path(name)
        if self._protocol in WHOLE:
            self._fs.put_file(str(file), path)
            return
        partial = f"{path}.{secrets.token_hex(4)}.part"
        try:
            self._fs.put_file(str(file), partial)
            self._fs.mv(partial, path)
        except BaseException:
            with suppress(Exception):  # what went wrong before is the error to see
                self._fs.rm_file(partial)
            raise

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _listed(self, parent: str) -> set[str]:
        folder = self._root if parent == "." else self._path(parent)
        with self._naming(label_of(self._url)):
            self._fs.invalidate_cache()
            try:
                entries = self._fs.ls(folder, detail=False)
            except FileNotFoundError:
                return set()
        return {(PurePosixPath(parent) / PurePosixPath(entry).name).as_posix() for entry in entries}

    @contextmanager
    def _naming(self, label: str) -> Iterator[None]:
        """Turn what a remote store raises (its library's own errors too) into a WriteError with the name."""
        try:
            yield
        except WriteError:
            raise
        except Exception as error:
            raise WriteError(f"{label} cannot be written: {reason(error)}.") from error
