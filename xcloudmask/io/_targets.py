"""Where a store lies: a path, a URL, a Zarr store or an obstore store; and what it is called in messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from xcloudmask._optional import require
from xcloudmask.errors import ArgumentError, ArgumentTypeError, MissingPackageError, XCloudMaskError

__all__ = ["S3", "WHOLE", "Store", "label_of", "local_path", "open_files", "open_target", "patience", "reason"]

Store = Any
"""A path, an fsspec URL, a zarr Store object, or an obstore store."""

S3 = ("s3", "s3a")
WHOLE = (*S3, "gs", "gcs", "az", "abfs", "abfss", "oss", "memory")
"""Protocols of object stores: what is uploaded appears when it is complete. Elsewhere it is renamed."""

CONNECT_S, READ_S, ATTEMPTS = 5, 30, 2
"""For stores that are opened by URL: a host that is not there is given up within seconds."""

_URL = re.compile(r"\b([a-z][a-z0-9+.-]*)://[^\s'\"<>]+", re.IGNORECASE)


def local_path(store: Store) -> Path | None:
    """Return the local path that a store is, or None.

    Parameters
    ----------
    store
        As the user gave it.

    Returns
    -------
    pathlib.Path or None

    Examples
    --------
    >>> local_path("masks.zarr").name, local_path("file:///data/masks.zarr").name, local_path("s3://bucket/masks.zarr")
    ('masks.zarr', 'masks.zarr', None)
    """
    if not isinstance(store, str | PathLike):
        return None
    scheme, mark, _ = str(store).partition("://")
    if not mark:
        return Path(store)
    return Path(url2pathname(urlsplit(str(store)).path)) if scheme in ("file", "local") else None


def open_target(store: Store, *, read_only: bool, options: Mapping[str, Any] | None = None) -> Any:
    """Return the Zarr store object.

    Parameters
    ----------
    store
        As the user gave it.
    read_only
        Whether it is only read.
    options
        For fsspec, where it is a URL.

    Returns
    -------
    zarr.abc.store.Store

    Raises
    ------
    ArgumentTypeError
        It is no store.
    MissingPackageError
        The protocol of the URL needs a package.
    ArgumentError
        The protocol is unknown.
    """
    from zarr.abc.store import Store as ZarrStore
    from zarr.storage import LocalStore, ObjectStore

    if isinstance(store, ZarrStore):
        return store.with_read_only(read_only=True) if read_only and not store.read_only else store
    path = local_path(store)
    if path is not None:
        return LocalStore(path, read_only=read_only)
    if isinstance(store, str):
        return _from_url(store, options or {}, read_only=read_only)
    if type(store).__module__.partition(".")[0] == "obstore":
        return ObjectStore(store, read_only=read_only)
    raise ArgumentTypeError(
        f"store is a {type(store).__module__}.{type(store).__name__}. Expected a path, a URL, a zarr Store or an "
        "obstore store."
    )


def _from_url(url: str, options: Mapping[str, Any], *, read_only: bool) -> Any:
    from zarr.storage import FsspecStore

    protocol = url.partition("://")[0]
    try:
        return FsspecStore.from_url(url, storage_options=patience(url) | dict(options), read_only=read_only)
    except ImportError as error:
        raise MissingPackageError(f"{label_of(url)}: {error}") from error
    except ValueError as error:
        fsspec: Any = require("fsspec")
        if protocol.partition("::")[0] in fsspec.available_protocols():
            raise
        raise ArgumentError(
            f"{label_of(url)}: the protocol {protocol!r} is unknown. Expected one that fsspec knows, such as s3."
        ) from error


def open_files(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the file system behind a URL, and the path there.

    Parameters
    ----------
    url
        Such as ``"s3://bucket/masks"``.
    options
        For fsspec: credentials, endpoints.

    Returns
    -------
    fsspec.AbstractFileSystem, str

    Raises
    ------
    ArgumentError
        No such protocol.
    MissingPackageError
        The package for the protocol is not installed.
    """
    fsspec: Any = require("fsspec")
    try:
        files, root = fsspec.core.url_to_fs(url, **(patience(url) | dict(options)))
    except ImportError as error:
        raise MissingPackageError(f"{label_of(url)}: {error}") from error
    except ValueError as error:
        raise ArgumentError(
            f"{label_of(url)} cannot be opened: {error}. Expected a folder or a URL that fsspec knows, such as "
            "s3://bucket/masks."
        ) from error
    return files, str(root).rstrip("/")


def label_of(store: Store) -> str:
    """Return what a store is called in messages: without credentials.

    Parameters
    ----------
    store
        As the user gave it.

    Returns
    -------
    str

    Examples
    --------
    >>> label_of("s3://key:secret@bucket/masks.zarr?token=abc")
    's3://bucket/masks.zarr'
    """
    if isinstance(store, str | PathLike):
        return _without_secrets(str(store))
    root = getattr(store, "root", None)
    if isinstance(root, str | PathLike):
        return str(root)
    protocol = getattr(getattr(store, "fs", None), "protocol", None)
    if protocol and isinstance(getattr(store, "path", None), str):
        first = protocol if isinstance(protocol, str) else protocol[0]
        return _without_secrets(f"{first}://{store.path.lstrip('/')}")
    inner = getattr(store, "store", store)  # what a zarr ObjectStore holds
    config = getattr(inner, "config", None)
    bucket = config.get("bucket") if isinstance(config, dict) else None
    place = "/".join(str(part) for part in (bucket, getattr(inner, "prefix", None)) if part)
    return f"{type(inner).__name__}({place})"


def reason(error: BaseException) -> str:
    """Return what an error says: one line, without credentials.

    Parameters
    ----------
    error
        Of the system, or of a storage library.

    Returns
    -------
    str

    Examples
    --------
    >>> reason(OSError(28, "No space left on device")), reason(ValueError("no answer from https://me:pw@host/x?y=1"))
    ('No space left on device', 'no answer from https://host/x')
    """
    if isinstance(error, XCloudMaskError):
        return str(error)
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    lines = text.strip().splitlines() or [type(error).__name__]
    line = _URL.sub(lambda match: _without_secrets(match.group()), lines[0]).rstrip(".")
    return line if len(line) <= 300 else f"{line[:300]}..."


def _without_secrets(text: str) -> str:
    if "://" not in text:
        return text
    scheme, _, rest = text.partition("://")
    if "::" in scheme or "::" in rest:  # chained protocols of fsspec
        return "::".join(_without_secrets(part) for part in text.split("::"))
    place = urlsplit(f"x://{rest}")
    return f"{scheme}://{place.netloc.rpartition('@')[2]}{place.path}"


def patience(url: str) -> dict[str, Any]:
    """Return options of the protocol that keep a dead host from holding up the user."""
    if url.partition("://")[0] not in S3:
        return {}
    require("s3fs", extra="s3")
    retries = {"max_attempts": ATTEMPTS, "mode": "standard"}
    return {"config_kwargs": {"connect_timeout": CONNECT_S, "read_timeout": READ_S, "retries": retries}}
