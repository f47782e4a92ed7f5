"""From the hub to a file, over HTTP: few retries, short waits, resumed where it broke off, and nothing taken on trust.

`huggingface_hub` knows the addresses, the tokens, the mirrors (HF_ENDPOINT) and what the hub's headers mean. The bytes
are read here, because its own download keeps no bound on what is sent and may try for minutes.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from xcloudmask._optional import require
from xcloudmask.errors import WeightsError
from xcloudmask.models._hubfile import FILE_BYTES_MAX, WholeFile

if TYPE_CHECKING:
    from xcloudmask.models.hub import HubAddress

__all__ = ["download"]

_WAITS_S = (0.5, 1.5)
"""Waits before a request is tried again; any byte that arrives starts the count anew."""
_TOTAL_S = 1800.0
_REDIRECTS_MAX = 5
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_MOVED = {301, 302, 303, 307, 308}
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class _TryAgainError(Exception):
    """A request failed in a way that may pass."""


def download(address: HubAddress, file: WholeFile, *, sha256: str) -> None:
    """Write a file of the hub.

    Parameters
    ----------
    address
        Where it lies.
    file
        Where it goes, which checks what it is given.
    sha256
        Of the right file: where the hub states another, nothing is fetched.

    Raises
    ------
    WeightsError
        The hub cannot be reached, or does not have the file or not this one.
    """
    url, size = _find(address, sha256)
    deadline, failures, seen = time.monotonic() + _TOTAL_S, 0, 0
    while True:
        try:
            _receive(url, file, deadline=deadline)
            if size is None or file.size >= size:
                return
            raise _TryAgainError(f"{file.size} of {size} bytes came")  # noqa: TRY301
        except _TryAgainError as error:
            failures = 0 if file.size > seen else failures
            seen = max(seen, file.size)
            if failures == len(_WAITS_S) or time.monotonic() > deadline:
                raise WeightsError(
                    f"{address.name} cannot be fetched from {address.repo}: {error}, {file.size} bytes in all."
                ) from error
            time.sleep(_WAITS_S[failures])
            failures += 1


def _find(address: HubAddress, sha256: str) -> tuple[str, int | None]:
    """Ask the hub for the URL and the size of a file."""
    errors = require("huggingface_hub.errors", extra="omnicloudmask")
    # The sha256 decides what the file is, so a commit that the hub no longer knows is no reason to stop.
    revisions = (address.revision, "main") if _COMMIT.fullmatch(address.revision) else (address.revision,)
    for revision in revisions:
        try:
            found = _head(address, revision)
        except errors.RevisionNotFoundError:
            continue
        _check_promise(address, found, sha256)
        return found.location, found.size
    raise WeightsError(f"{address.repo} has no revision {' and no '.join(revisions)}.")


def _head(address: HubAddress, revision: str) -> Any:
    """Ask for the headers of a file."""
    hub = require("huggingface_hub", extra="omnicloudmask")
    errors = require("huggingface_hub.errors", extra="omnicloudmask")
    url = hub.hf_hub_url(address.repo, address.path, revision=revision, endpoint=_endpoint())

    def ask() -> Any:
        with _failures():
            return hub.get_hf_file_metadata(url, timeout=hub.constants.HF_HUB_ETAG_TIMEOUT)

    try:
        return _patiently(ask)
    except errors.RevisionNotFoundError:
        raise
    except (_TryAgainError, OSError, ValueError) as error:
        raise WeightsError(f"{address.name} cannot be fetched from {address.repo}: {_line(error)}.") from error


def _patiently(ask: Callable[[], Any]) -> Any:
    for wait in _WAITS_S:
        try:
            return ask()
        except _TryAgainError:
            time.sleep(wait)
    return ask()


def _check_promise(address: HubAddress, found: Any, sha256: str) -> None:
    """Refuse by the headers what would be refused by its bytes: for large files the ETag is the sha256."""
    if found.size is not None and found.size > FILE_BYTES_MAX:
        raise WeightsError(f"{address.name} has {found.size} bytes; no more than {FILE_BYTES_MAX} are fetched.")
    if _SHA256.fullmatch(found.etag or "") and found.etag != sha256:
        raise WeightsError(
            f"{address.repo} has a file {address.name} with sha256 {found.etag}, expected {sha256}: it is not the file "
            "of the model's card, and is not fetched."
        )


def _receive(url: str, file: WholeFile, *, deadline: float) -> None:
    """Append what is missing of a file."""
    with _failures():
        for _ in range(_REDIRECTS_MAX + 1):
            with _request(url, start=file.size) as response:
                if response.status_code in _MOVED:
                    url = _next_url(url, response.headers.get("location"))
                    continue
                _check_answer(response, file)
                for piece in response.iter_raw():
                    file.write(piece)
                    if time.monotonic() > deadline:
                        raise _TryAgainError(f"it took longer than {_TOTAL_S:.0f} s")
                return
    raise WeightsError(f"The hub redirects more than {_REDIRECTS_MAX} times, at last to {_bare(url)}.")


@contextmanager
def _request(url: str, *, start: int) -> Iterator[Any]:
    hub = require("huggingface_hub", extra="omnicloudmask")
    if urlsplit(url).scheme not in {"https", urlsplit(_endpoint()).scheme}:
        raise WeightsError(f"The hub redirects to {_bare(url)}: expected https. It is not followed.")
    headers = {"Accept-Encoding": "identity"}
    if _origin(url) == _origin(_endpoint()):  # a token is for the hub alone
        headers |= hub.utils.build_hf_headers()
    if start:
        headers["Range"] = f"bytes={start}-"
    timeout = hub.constants.HF_HUB_DOWNLOAD_TIMEOUT
    with hub.get_session().stream("GET", url, headers=headers, timeout=timeout, follow_redirects=False) as response:
        yield response


def _check_answer(response: Any, file: WholeFile) -> None:
    """Refuse an answer that is not the rest of the file; start again where it is the whole of it."""
    status = response.status_code
    if status in _AGAIN:
        raise _TryAgainError(f"the server answers {status}")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise WeightsError("The server sends the file compressed, though asked not to.")
    if status == 206 and response.headers.get("content-range", "").startswith(f"bytes {file.size}-"):
        return
    if status != 200:
        raise WeightsError(f"The server answers {status} to a request for the file from byte {file.size} on.")
    file.restart()


def _next_url(url: str, location: str | None) -> str:
    if not location:
        raise WeightsError(f"{_bare(url)} redirects, and does not say where.")
    return urljoin(url, location)


@contextmanager
def _failures() -> Iterator[None]:
    """Turn what may pass into `_TryAgainError`; what will not stays as it is."""
    errors = require("huggingface_hub.errors", extra="omnicloudmask")
    try:
        yield
    except errors.HfHubHTTPError as error:
        if getattr(error.response, "status_code", 0) in _AGAIN:
            raise _TryAgainError(f"the server answers {error.response.status_code}") from error
        raise
    except _http_errors() as error:
        raise _TryAgainError(_line(error)) from error


def _http_errors() -> tuple[type[Exception], ...]:
    """The errors of the HTTP library under huggingface_hub, whose name is not the same in all versions."""
    errors = require("huggingface_hub.errors", extra="omnicloudmask")
    failed: type[Exception] = next(base for base in errors.HfHubHTTPError.__bases__ if base is not OSError)
    library = require(failed.__module__.partition(".")[0], extra="omnicloudmask")
    return failed, library.InvalidURL


def _endpoint() -> str:
    hub = require("huggingface_hub", extra="omnicloudmask")
    return (os.environ.get("HF_ENDPOINT") or str(hub.constants.ENDPOINT)).rstrip("/")


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _bare(url: str) -> str:
    """A URL without its query, which may be a signature."""
    return urlsplit(url)._replace(query="", fragment="").geturl()


def _line(error: BaseException) -> str:
    """The first line of an error, or its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
