"""Segments: many records in one object, a line each. Named after what is in them, so never changed."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from xcloudmask.errors import ReadError
from xcloudmask.run.objects import Objects
from xcloudmask.run.task import Status

__all__ = ["RANK", "Line", "Segments", "line_of", "ordered", "segment_name", "write_lines"]

FOLDER = "ledger/segments/"
LINE_BYTES = 64_000

_SEGMENT_BYTES = 2**28
_PLAIN_BYTES = 2**31
"""More than any segment has, unpacked."""
_NAME = re.compile(rf"{FOLDER}([A-Za-z0-9_-]{{2}})-[0-9a-f]{{16}}\.jsonl\.gz")
_LEVEL = 6
_TRIES = 20
_STATUS: dict[str, Status] = {name: name for name in get_args(Status)}
RANK: dict[Status, int] = {"ok": 0, "nodata": 1, "quarantined": 2, "failed": 3}
"""Which of several records of a task counts: two coordinators may have come to different ends."""


@dataclass(frozen=True, slots=True)
class Line:
    """A record as it lies in the ledger."""

    key: str
    status: Status
    finished: str
    data: bytes
    """JSON, without a line break."""


def line_of(data: bytes) -> Line:
    """Read what a ledger needs to know of a record; ValueError where it is none.

    The rest is kept as it is: a newer version may have written fields that this one does not know.
    """
    try:
        fields = json.loads(data)
        key, finished = fields["key"], fields.get("finished", "")
        status = _STATUS[fields["status"]]
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"no record: {error}") from error
    if not isinstance(key, str) or not isinstance(finished, str) or b"\n" in data or len(data) > LINE_BYTES:
        raise ValueError("no record")
    return Line(key, status, finished, data)


def outranks(one: Status, other: Status) -> bool:
    """Whether a status counts rather than another one of the same task."""
    return RANK[one] < RANK[other]


def ordered(lines: Iterable[Line]) -> list[Line]:
    """Sort by task; in a task the one that counts comes first, and of several failures the last."""
    latest = sorted(lines, key=lambda line: (line.finished, line.data), reverse=True)
    return sorted(latest, key=lambda line: (line.key, RANK[line.status]))


def write_lines(lines: Iterable[Line]) -> bytes:
    """Return a segment: the same lines make the same bytes."""
    return gzip.compress(b"".join(line.data + b"\n" for line in ordered(lines)), _LEVEL, mtime=0)


def segment_name(prefix: str, data: bytes) -> str:
    """Return the name of a segment."""
    return f"{FOLDER}{prefix}-{hashlib.sha256(data).hexdigest()[:16]}.jsonl.gz"


class Segments:
    """The segments of a ledger. Which tasks a segment has is remembered, eight bytes for each.

    Parameters
    ----------
    objects
        The campaign's store.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._keys: dict[str, array[int]] = {}

    def prefixes(self) -> set[str]:
        """Return the prefixes that have a segment."""
        return {match[1] for match in map(_NAME.fullmatch, self._objects.list(FOLDER)) if match}

    def names(self, prefix: str) -> list[str]:
        """Return the segments of a prefix."""
        return [name for name in self._objects.list(f"{FOLDER}{prefix}-") if _NAME.fullmatch(name)]

    def lines(self, prefix: str) -> set[Line]:
        """Return all lines of a prefix, from segments that were there together."""
        for _ in range(_TRIES):
            parts = [self.read(name) for name in self.names(prefix)]
            if all(part is not None for part in parts):
                return {line for part in parts if part is not None for line in part}
        raise ReadError(
            f"{self._objects.label}/{FOLDER} changes all the time. Is `xcloudmask run compact` running more than once?"
        )

    def find(self, key: str) -> Line | None:
        """Return the line of a task that counts."""
        prefix, mark = key[:2], _mark(key)
        for name in self.names(prefix):
            keys = self._keys.get(name)
            if keys is None or _has(keys, mark):
                break
        else:
            return None
        lines = [line for line in self.lines(prefix) if line.key == key]
        return ordered(lines)[0] if lines else None

    def read(self, name: str) -> list[Line] | None:
        """Return the lines of a segment; None where it is gone, because another one replaced it."""
        data = self._objects.get(name, limit=_SEGMENT_BYTES)
        if data is None:
            self._keys.pop(name, None)
            return None
        try:
            lines = _unpacked(data, prefix=name.removeprefix(FOLDER)[:2])
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise ReadError(
                f"{self._objects.label}/{name} is damaged ({error}). Delete it: its tasks then run again, and write "
                "the same masks."
            ) from error
        self._keys[name] = array("Q", sorted({_mark(line.key) for line in lines}))
        return lines


def _unpacked(data: bytes, *, prefix: str) -> list[Line]:
    lines, total = [], 0
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        while text := file.readline(LINE_BYTES + 2):
            total += len(text)
            if not text.endswith(b"\n") or total > _PLAIN_BYTES:
                raise ValueError("a line without end" if total <= _PLAIN_BYTES else "too large")
            line = line_of(text[:-1])
            if line.key[:2] != prefix:
                raise ValueError(f"a record of {line.key[:40]!r}")
            lines.append(line)
    return lines


def _mark(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


def _has(marks: array[int], mark: int) -> bool:
    place = bisect_left(marks, mark)
    return place < len(marks) and marks[place] == mark
