"""Weights that are not in the package: fetched once from the Hugging Face hub, or placed by hand, and checked.

A spec names such a file by an address, ``hf://owner/repository@revision/path``, and by its sha256. The address says
where to fetch it; the sha256 says what it is. What lies in the models folder is used wherever it came from, if its
sha256 is right. Nothing is fetched when a spec or a graph is made, only when a network is loaded.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xcloudmask._optional import require
from xcloudmask.errors import ModelError, WeightsError
from xcloudmask.models._hubfile import FILE_BYTES_MAX, READ_BYTES, WholeFile, sha256_of, sweep

__all__ = [
    "FILE_BYTES_MAX",
    "HubAddress",
    "adopt",
    "fetch",
    "is_address",
    "local_path",
    "models_folder",
    "offline",
    "state",
]

SCHEME = "hf://"

LOCK_TIMEOUT_S = 900.0
"""Longest wait for another process that fetches the same file."""

_ADDRESS = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[\w.-]+)/(?P<path>[\w.+-]+(?:/[\w.+-]+)*)", re.ASCII
)

_YES = {"1", "on", "yes", "true"}  # as huggingface_hub reads HF_HUB_OFFLINE


@dataclass(frozen=True, slots=True, kw_only=True)
class HubAddress:
    """Where a file lies on the hub.

    Examples
    --------
    >>> HubAddress.parse("hf://owner/name@main/weights.safetensors").repo
    'owner/name'
    """

    repo: str
    """Owner and name of the repository."""
    revision: str
    """Commit, tag or branch; a commit never changes."""
    path: str
    """Path in the repository."""

    @classmethod
    def parse(cls, text: str) -> HubAddress:
        """Read an address.

        Parameters
        ----------
        text
            Such as ``"hf://owner/repository@revision/path"``.

        Returns
        -------
        HubAddress

        Raises
        ------
        ModelError
            The text is no such address.
        """
        found = _ADDRESS.fullmatch(text)
        if not found or any(part.startswith(".") for part in text.removeprefix(SCHEME).split("/")):
            raise ModelError(f"{text!r} is no address of a file. Expected hf://owner/repository@revision/path.")
        return cls(**found.groupdict())

    @property
    def name(self) -> str:
        """Name of the file, in the repository and in the models folder."""
        return self.path.rsplit("/", maxsplit=1)[-1]

    @property
    def page(self) -> str:
        """Where a browser finds the file."""
        return f"https://huggingface.co/{self.repo}/resolve/{self.revision}/{self.path}"


def is_address(weights: str) -> bool:
    """Whether the weights of a spec are named by an address on the hub.

    Parameters
    ----------
    weights
        Of a `xcloudmask.ModelSpec`.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_address("hf://owner/name@main/weights.safetensors"), is_address("default.safetensors")
    (True, False)
    """
    return weights.startswith(SCHEME)


def models_folder() -> Path:
    """Return the folder of fetched weights, which need not exist: `XCLOUDMASK_MODELS`, or among the user's caches.

    Returns
    -------
    pathlib.Path
        By default ``~/.cache/xcloudmask/models`` (under `XDG_CACHE_HOME` where that is set), on macOS
        ``~/Library/Caches/xcloudmask/models``, on Windows ``xcloudmask/models`` in ``%LOCALAPPDATA%``.

    Examples
    --------
    >>> isinstance(models_folder(), Path)
    True
    """
    if given := os.environ.get("XCLOUDMASK_MODELS"):
        return Path(given).expanduser().absolute()
    if sys.platform == "darwin":
        caches = Path("~/Library/Caches")
    elif sys.platform == "win32":
        caches = Path(os.environ.get("LOCALAPPDATA") or "~/AppData/Local")
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return caches.expanduser().absolute() / "xcloudmask" / "models"


def local_path(weights: str) -> Path:
    """Return where a file of the hub lies on this machine, or will lie.

    Parameters
    ----------
    weights
        An address.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ModelError
        The text is no address.

    Examples
    --------
    >>> local_path("hf://owner/name@main/weights.safetensors").name
    'weights.safetensors'
    """
    return models_folder() / HubAddress.parse(weights).name


def offline() -> bool:
    """Whether `XCLOUDMASK_OFFLINE` or `HF_HUB_OFFLINE` forbids to fetch.

    Returns
    -------
    bool

    Examples
    --------
    >>> isinstance(offline(), bool)
    True
    """
    return any(os.environ.get(name, "").lower() in _YES for name in ("XCLOUDMASK_OFFLINE", "HF_HUB_OFFLINE"))


def state(weights: str, *, sha256: str) -> Literal["here", "missing", "changed"]:
    """Say whether a file of the hub lies in the models folder, and is the right one. It is read whole.

    Parameters
    ----------
    weights
        An address.
    sha256
        Of the right file.

    Returns
    -------
    {"here", "missing", "changed"}

    Raises
    ------
    WeightsError
        The file cannot be read.
    """
    path = local_path(weights)
    if not path.is_file():
        return "missing"
    return "here" if sha256_of(path) == sha256 else "changed"


def fetch(weights: str, *, sha256: str, again: bool = False) -> Path:
    """Fetch a file from the hub, unless it is here.

    Parameters
    ----------
    weights
        An address.
    sha256
        Of the right file. What is fetched is refused if it has another; a file that is here already is not read.
    again
        Fetch it even if it is here.

    Returns
    -------
    pathlib.Path
        The file, in the models folder. It appears there when it is whole and checked; any number of processes may ask
        for it at once, and one of them fetches it.

    Raises
    ------
    MissingPackageError
        huggingface_hub is not installed.
    WeightsError
        The file is not here and must not be fetched (`offline`), the hub cannot be reached or does not have it, or
        what it sent is not what was expected. Nothing half-written stays behind.
    """
    address, path = HubAddress.parse(weights), local_path(weights)
    if path.is_file() and not again:
        return path
    if offline():
        raise WeightsError(
            f"{address.name} of {address.repo} is not in {path.parent}, and XCLOUDMASK_OFFLINE or HF_HUB_OFFLINE "
            f"forbids to fetch it. {_by_hand(address, path, sha256)}"
        )
    from xcloudmask.models._hubhttp import download

    require("huggingface_hub", extra="omnicloudmask")
    with _turn(path):
        if path.is_file() and not again:
            return path  # fetched by another process meanwhile
        try:
            with WholeFile(path, sha256=sha256) as file:
                download(address, file, sha256=sha256)
        except WeightsError as error:
            raise WeightsError(f"{error} {_by_hand(address, path, sha256)}") from error
    return path


def adopt(weights: str, *, sha256: str, folder: Path) -> Path:
    """Copy a file from a local folder instead of the hub.

    Parameters
    ----------
    weights
        An address.
    sha256
        Of the right file.
    folder
        Where a file of that name lies.

    Returns
    -------
    pathlib.Path
        The copy, in the models folder. It appears there when it is whole and checked.

    Raises
    ------
    WeightsError
        There is no such file, it is another one, or the models folder cannot be written.
    """
    path = local_path(weights)
    source = folder / path.name
    try:
        with source.open("rb") as found, WholeFile(path, sha256=sha256) as file:
            while piece := found.read(READ_BYTES):
                file.write(piece)
    except OSError as error:
        raise WeightsError(f"{source} cannot be read: {error}. Expected the file with sha256 {sha256}.") from error
    except WeightsError as error:
        raise WeightsError(f"{source} is not used: {error}") from error
    return path


def _by_hand(address: HubAddress, path: Path, sha256: str) -> str:
    return f"To place it by hand: fetch {address.page} elsewhere, and copy it to {path} (sha256 {sha256})."


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Let one process at a time fetch a file. Where a file system keeps no locks, several fetch it, and none harms."""
    filelock = require("filelock", extra="omnicloudmask")
    lock = path.with_name(f".{path.name}.lock")
    start = time.monotonic()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = filelock.FileLock(lock, timeout=LOCK_TIMEOUT_S).acquire()
    except filelock.Timeout as error:
        raise WeightsError(
            f"Another process has been fetching {path.name} for {time.monotonic() - start:.0f} s: it holds {lock}. End "
            "it, or wait."
        ) from error
    except OSError as error:
        raise WeightsError(
            f"The models folder {path.parent} cannot be written: {error}. Set XCLOUDMASK_MODELS to a folder that can, "
            f"or that has {path.name}."
        ) from error
    with held:
        sweep(path)
        yield
