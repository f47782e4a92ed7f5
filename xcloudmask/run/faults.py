"""What goes wrong in a task, and what follows: try again, give the scene up, or stop the run.

Errors of files come as text, since those of GDAL travel as text between processes; errors of object stores and of the
network as types of several packages, told apart by name so that none of them is imported here.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import Literal

from xcloudmask.errors import InputError, MissingPackageError, ModelError, ReadError, XCloudMaskError
from xcloudmask.run.task import Status
from xcloudmask.stac.hrefs import redact

__all__ = ["RETRIED", "FatalError", "Fault", "Stage", "classify", "reason_of", "status_of"]

Fault = Literal["transient", "broken_off", "denied", "scene", "failed", "fatal"]
"""``"transient"``: a server or a network that may be well again. ``"broken_off"``: a remote file that ended too early,
which may be the network or the file. ``"denied"``: a server wants other credentials for this file; tokens are renewed.
``"scene"``: this scene and no other. ``"failed"``: anything else in this task. ``"fatal"``: no task can be done."""

Stage = Literal["read", "write"]
"""Where it went wrong: at the source, or at the store of the campaign."""

RETRIED: frozenset[Fault] = frozenset({"transient", "broken_off", "denied"})
"""What is tried again."""

_REASON_CHARS = 1000
_URL = re.compile(r"\b(?:https?|s3|gs|az|abfs)://[^\s'\"<>,;)\]]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

_STATUS = re.compile(r"HTTP (?:response|error) code ?: ?(\d{3})", re.IGNORECASE)
_NETWORK = re.compile(
    r"does not answer|cannot be found \(|CURL error|timed? ?out|connection (?:was )?(?:reset|refused|closed|aborted)"
    r"|could ?n.t (?:connect|resolve)|could not resolve|temporary failure in name resolution|slow ?down"
    r"|service unavailable|internal ?error|operation too slow|empty reply|broken pipe|throttl",
    re.IGNORECASE,
)
_NO_CREDENTIALS = re.compile(r"AWS_SECRET_ACCESS_KEY|InvalidCredentials|unable to locate credentials", re.IGNORECASE)
_REMOTE = re.compile(r"(?:https?|s3|gs|az)://|/vsi(?:curl|s3|gs|az)/")
_BROKEN_OFF = re.compile(
    r"TIFFReadDirectory|TIFFFillTile|TIFFFillStrip|TIFFFetch|IReadBlock|read failed|warp failed|read error"
    r"|not recognized as being in a supported|short read|premature|truncated",
    re.IGNORECASE,
)

_ENDING = re.compile(r"after (interpreter )?shutdown|event loop is closed|can.t start new thread", re.IGNORECASE)
"""Of a process that ends while its task still runs, which is the worker's fault: it is gone before the next try."""

_PASSING = {
    *(errno.EBUSY, errno.ETIMEDOUT, errno.EIO, errno.EAGAIN, errno.EINTR, errno.ECONNRESET, errno.ECONNREFUSED),
    *(errno.ECONNABORTED, errno.EPIPE, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EMFILE),
    *(errno.ENFILE, errno.ESTALE),
}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_DENIED = {errno.EACCES, errno.EPERM}

_PASSING_TYPES = re.compile(
    r"\w*(Timeout|TimeoutError|ConnectionError|ConnectorError|ConnectionClosedError|Disconnected(Error)?|PayloadError"
    r"|IncompleteRead(Error)?|StreamingError|HTTPClientError|ClientOSError|ProtocolError|ChunkedEncodingError"
    r"|MaxRetryError|SSLError|BadStatusLine|gaierror)"
)
"""Of http.client, socket, botocore, aiohttp, urllib3, requests and fsspec."""
_NO_CREDENTIALS_NAMES = frozenset({"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"})


class FatalError(XCloudMaskError):
    """No task of the campaign can be done here: the run has to stop. What was being done is done again later."""


def classify(error: BaseException, *, stage: Stage = "read") -> Fault:
    """Tell what an error means for the task and for the run.

    Parameters
    ----------
    error
        Anything that was raised.
    stage
        Where.

    Returns
    -------
    str
        See `Fault`.

    Examples
    --------
    >>> classify(ReadError("'https://example.org/a.tif' cannot be read (HTTP response code: 503)"))
    'transient'
    >>> classify(ReadError("a.tif does not exist.")), classify(OSError(errno.ENOSPC, "No space left"), stage="write")
    ('scene', 'fatal')
    """
    chain = list(_chain(error))
    if any(isinstance(link, FatalError | MissingPackageError | ModelError) for link in chain):
        return "fatal"
    if any(getattr(link, "errno", None) in _FULL for link in chain if isinstance(link, OSError)):
        return "fatal"
    if any(type(link).__name__ in _NO_CREDENTIALS_NAMES for link in chain):
        return "fatal"
    for link in chain:
        found = _of_status(_status_code(link)) or _of_type(link)
        if found is not None:
            return _at(stage, found)
    return _at(stage, _of_text(error))


def status_of(fault: Fault) -> Status | None:
    """Return what a task is when an error does not go away; None where the run has to stop.

    Examples
    --------
    >>> status_of("scene"), status_of("transient"), status_of("fatal")
    ('quarantined', 'failed', None)
    """
    if fault == "fatal":
        return None
    # A file that ends too early in every attempt is short, wherever it lies.
    return "quarantined" if fault in {"scene", "broken_off"} else "failed"


def reason_of(error: BaseException) -> str:
    """Return class and text of an error in one line, without what is secret in addresses.

    Examples
    --------
    >>> reason_of(ReadError("https://example.org/a.tif?sig=secret cannot be read"))
    'ReadError: https://example.org/a.tif?... cannot be read'
    """
    text = _URL.sub(lambda found: redact(found.group()), str(error))
    text = " ".join(_CONTROL.sub(" ", text).split())
    short = text if len(text) <= _REASON_CHARS else text[:_REASON_CHARS] + "..."
    return f"{type(error).__name__}: {short}" if short else type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised for."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _at(stage: Stage, found: Fault) -> Fault:
    """What an error means where it happened: a store that refuses one write refuses all."""
    if stage == "write":
        return "fatal" if found in {"denied", "scene"} else found
    return found


def _status_code(error: BaseException) -> int | None:
    """HTTP status in errors of botocore, aiohttp, requests and urllib, and in the text of GDAL's."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        code = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        code = getattr(response, "status_code", None) or getattr(error, "status", None) or getattr(error, "code", None)
    if isinstance(code, int) and 400 <= code < 600:
        return code
    found = _STATUS.search(str(error)) if isinstance(error, ReadError) else None
    return int(found[1]) if found else None


def _of_status(code: int | None) -> Fault | None:
    if code is None:
        return None
    if code in (401, 403, 407):
        return "denied"
    return "transient" if code in (408, 425, 429) or code >= 500 else "scene"


def _of_type(error: BaseException) -> Fault | None:
    if isinstance(error, XCloudMaskError):
        return None
    ending = isinstance(error, RuntimeError) and _ENDING.search(str(error))
    network = isinstance(error, ConnectionError | TimeoutError) or _PASSING_TYPES.fullmatch(type(error).__name__)
    if ending or network:
        return "transient"
    return _of_errno(error) if isinstance(error, OSError) else None


def _of_errno(error: OSError) -> Fault | None:
    if error.errno in _DENIED:
        return "denied"
    if error.errno in _PASSING:
        return "transient"
    return "scene" if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError) else None


def _of_text(error: BaseException) -> Fault:
    text = str(error)
    if not isinstance(error, XCloudMaskError):
        return "failed"
    if not isinstance(error, OSError):
        return "scene" if isinstance(error, InputError) else "failed"
    if _NO_CREDENTIALS.search(text):
        return "fatal"
    if _NETWORK.search(text):
        return "transient"
    if _BROKEN_OFF.search(text) and _REMOTE.search(text):
        return "broken_off"
    return "scene" if isinstance(error, ReadError) else "failed"
