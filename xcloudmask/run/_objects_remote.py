"""Objects behind an fsspec URL: S3 through s3fs, other object stores and file servers through theirs."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from xcloudmask.errors import ReadError, WriteError, XCloudMaskError
from xcloudmask.io._targets import S3, WHOLE, label_of, open_files, reason
from xcloudmask.run.objects import OBJECT_BYTES, PARTIAL, bounded, checked_name, split_prefix

__all__ = ["RemoteObjects"]

_BULK = 1000
"""Objects that S3 deletes with one request."""
_NO_CONDITIONS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class RemoteObjects:
    """Objects behind an fsspec URL.

    Parameters
    ----------
    url
        Such as ``"s3://bucket/campaign"``.
    options
        For fsspec: endpoints and the like.

    Raises
    ------
    ArgumentError
        No such protocol.
    MissingPackageError
        The package for the protocol is not installed.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._url = url.rstrip("/")
        self._protocol = url.partition("://")[0].rpartition("::")[2]
        self._fs, self._root = open_files(self._url, options)

    @property
    def label(self) -> str:
        """The URL without credentials."""
        return label_of(self._url)

    @property
    def folder(self) -> Path | None:
        """None: it is not local."""
        return None

    def put(self, name: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Upload."""
        path = self._path(name)
        with self._naming(WriteError, f"{self.label}/{name} cannot be written"):
            if self._protocol not in WHOLE:
                return self._put_renamed(path, data, if_absent=if_absent)
            if not if_absent:
                self._fs.pipe_file(path, data)
                return True
            return self._put_new(path, data)

    def get(self, name: str, *, limit: int = OBJECT_BYTES) -> bytes | None:
        """Download."""
        label = f"{self.label}/{name}"
        with self._naming(ReadError, f"{label} cannot be read"):
            try:
                data = self._fs.cat_file(self._path(name), start=0, end=limit + 1)
            except FileNotFoundError as error:
                if _no_bucket(error):
                    raise
                return None
            except OSError as error:
                if _code(error) not in ("InvalidRange", "416"):
                    raise
                data = b""  # nothing in it: no range of it can be asked for
            return bounded(bytes(data), limit=limit, label=label)

    def list(self, prefix: str = "") -> Iterator[str]:
        """Ask folder by folder."""
        folder, stem = split_prefix(prefix)
        for name, is_folder in self._entries(folder):
            if not name.startswith(stem):
                continue
            if is_folder:
                yield from self.list(f"{folder}{name}/")
            else:
                yield f"{folder}{name}"

    def folders(self, prefix: str) -> Sequence[str]:
        """Ask for one folder."""
        return [name for name, is_folder in self._entries(split_prefix(prefix)[0]) if is_folder]

    def delete(self, names: Iterable[str]) -> None:
        """Delete, a thousand at a time on S3."""
        pending = (self._path(name) for name in names)
        with self._naming(WriteError, f"Objects of {self.label} cannot be deleted"):
            while batch := list(islice(pending, _BULK)):
                if self._protocol in S3:
                    self._fs.rm(batch)
                    continue
                for path in batch:
                    with suppress(FileNotFoundError):
                        self._fs.rm_file(path)

    def check(self) -> None:
        """List the place."""
        self._entries("")

    def tidy(self, *, older_s: float) -> int:  # noqa: ARG002  # the same question as to `LocalObjects`
        """Nothing: uploads that were cut off leave nothing that is seen."""
        return 0

    def _put_new(self, path: str, data: bytes) -> bool:
        try:
            self._fs.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except (NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and not _without_conditions(error):
                return self._present_after(error, path)
            # A store that knows no conditions: two writers at the same instant may both win.
            if self._fs.exists(path):
                return False
            self._fs.pipe_file(path, data)
        return True

    def _present_after(self, error: OSError, path: str) -> bool:
        """Tell "there is one already" from other refusals, where the library does not."""
        if _code(error) in ("PreconditionFailed", "412", "ConditionalRequestConflict", "409"):
            self._fs.invalidate_cache()
            if self._fs.exists(path):
                return False
        raise error

    def _put_renamed(self, path: str, data: bytes, *, if_absent: bool) -> bool:
        if if_absent and self._fs.exists(path):
            return False
        partial = f"{self._root}/{PARTIAL}/{secrets.token_hex(8)}"
        self._fs.makedirs(partial.rpartition("/")[0], exist_ok=True)
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            self._fs.pipe_file(partial, data)
            self._fs.mv(partial, path)
        finally:
            with suppress(Exception):  # what went wrong before is the error to see
                self._fs.rm_file(partial)
        return True

    def _path(self, name: str) -> str:
        return f"{self._root}/{checked_name(name)}"

    def _entries(self, folder: str) -> Sequence[tuple[str, bool]]:
        path = f"{self._root}/{folder}".rstrip("/")
        with self._naming(ReadError, f"{self.label}/{folder} cannot be listed"):
            self._fs.invalidate_cache(path)
            try:
                found = self._fs.ls(path, detail=True)
            except FileNotFoundError as error:
                if _no_bucket(error):
                    raise
                return []
        named = ((str(entry["name"]).rstrip("/").rpartition("/")[2], entry["type"] == "directory") for entry in found)
        return sorted(entry for entry in named if not entry[0].startswith("."))

    @contextmanager
    def _naming(self, kind: type[XCloudMaskError], what: str) -> Iterator[None]:
        """Turn what a library raises (its own errors too) into ours, with the place and what to do."""
        try:
            yield
        except XCloudMaskError:
            raise
        except Exception as error:
            raise kind(f"{what}: {reason(error)}.{self._advice(error)}") from error

    def _advice(self, error: Exception) -> str:
        name = type(error).__name__
        if _no_bucket(error):
            return " There is no such bucket: correct the address, or make the bucket."
        if isinstance(error, PermissionError) or "Credential" in name:
            keys = " Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, here and on every worker."
            return (keys if self._protocol in S3 else "") + " The account must be allowed to list, read, write, delete."
        if "Connect" in name or "Timeout" in name:
            return " The host does not answer: check the address and AWS_ENDPOINT_URL." if self._protocol in S3 else ""
        return ""


def _code(error: BaseException) -> str:
    """Return the code of S3 behind an error of s3fs."""
    response = getattr(error.__cause__ or error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _no_bucket(error: BaseException) -> bool:
    return _code(error) == "NoSuchBucket"


def _without_conditions(error: OSError) -> bool:
    return error.errno in _NO_CONDITIONS or _code(error) == "NotImplemented"
