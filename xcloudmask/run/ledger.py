"""What became of each task: small objects beside the masks, written once, after the data.

The name of a record says its task and its status, so listing names is enough to know what is still to do. `compact`
gathers records into segments; a task's records stay in the objects of its prefix, the first two digits of its key, so
all that is known of it is found with two listings. Whoever reads while another one compacts finds each record at
least once: records are listed before segments, and a segment is there before what it replaces goes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import get_args

from xcloudmask.errors import ArgumentError, ReadError
from xcloudmask.run._segments import Line, Segments, line_of, ordered, outranks, segment_name, write_lines
from xcloudmask.run.objects import Objects, get_many, open_objects
from xcloudmask.run.task import Job, Record, Status, is_final

__all__ = ["Compaction", "Ledger", "open_ledger"]

RECORDS = "ledger/records/"
RECORD_BYTES = 64_000
PARTIAL_S = 24 * 3600
"""Age at which files of killed writers are removed."""

_ATTEMPTS = 10_000
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{3,63}")
_STATUSES: tuple[Status, ...] = get_args(Status)
_FAILED: tuple[Status, ...] = ("failed",)
_FINAL: tuple[Status, ...] = ("ok", "nodata", "quarantined")
"""Those that end a task, the one that counts most first."""
_NAME = re.compile(
    rf"{RECORDS}([A-Za-z0-9_-]{{2}})/(\1[A-Za-z0-9_-]{{2,62}})\.({'|'.join(_STATUSES)})(-[0-9]{{1,5}})?\.json"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """What `Ledger.compact` did."""

    records: int
    """Objects that went into segments."""
    segments: int
    """Segments there are now."""
    damaged: tuple[str, ...]
    """Objects that are no records; they stay. `Ledger.forget` of their keys removes them."""


def open_ledger(
    store: Job | Objects | str | os.PathLike[str], *, storage_options: dict[str, object] | None = None
) -> Ledger:
    """Open the ledger of a campaign: nothing is read yet.

    Parameters
    ----------
    store
        The campaign's job, its folder or URL, or its objects.
    storage_options
        For fsspec, where it is a URL; a job brings its own.

    Returns
    -------
    Ledger

    Examples
    --------
    >>> from xcloudmask.run.task import Region
    >>> ledger = open_ledger("memory://campaigns/doc-ledger")
    >>> place = {"name": "a", "cell": "32TPS", "time": "2024-01-01", "region": Region(y=(0, 8), x=(0, 8)), "ids": ()}
    >>> ledger.put(Record(key="00ab", status="failed", reason="ReadError: 503", **place))
    True
    >>> ledger.get("00ab"), list(ledger.states())
    (None, [('00ab', 'failed')])
    >>> ledger.put(Record(key="00ab", status="ok", **place)), ledger.get("00ab").status, list(ledger.states())
    (True, 'ok', [('00ab', 'ok')])
    """
    if isinstance(store, Job):
        return Ledger(open_objects(store.store, store.storage_options))
    if isinstance(store, str | os.PathLike):
        return Ledger(open_objects(store, storage_options))
    return Ledger(store)


class Ledger:
    """The records of a campaign.

    Parameters
    ----------
    objects
        The campaign's store.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._segments = Segments(objects)

    @property
    def objects(self) -> Objects:
        """The campaign's store."""
        return self._objects

    def put(self, record: Record) -> bool:
        """Write a record, after the data that it is of.

        Parameters
        ----------
        record
            Of any status.

        Returns
        -------
        bool
            Whether it is new: a record with this status that is there already stays, but for failures, which are
            all kept.

        Raises
        ------
        WriteError
            The store refuses it.
        """
        data = record.to_json()
        if len(data) > RECORD_BYTES:
            raise ArgumentError(f"The record of {record.name} has {len(data)} bytes. Expected {RECORD_BYTES} at most.")
        if record.status == "failed":
            return self._put_failure(record, data)
        name = record_name(record.key, record.status)
        if self._objects.put(name, data, if_absent=True):
            return True
        if _readable(self._found(name), record.key):
            return False
        return self._objects.put(name, data)  # what was there is no record: a disk that lost its bytes

    def get(self, key: str) -> Record | None:
        """Return the final record of a task.

        Parameters
        ----------
        key
            Of the task.

        Returns
        -------
        Record or None
            None where there is none, or where its object is damaged: then the task runs again.
        """
        best = None
        for status in _FINAL:
            best = _readable(self._found(record_name(key, status)), key)
            if best is not None:
                break
        if best is not None and best.status == _FINAL[0]:
            return best  # nothing counts more
        line = self._segments.find(key)
        if line is None or not is_final(line.status) or (best and not outranks(line.status, best.status)):
            return best
        return _readable(line.data, key)

    def states(self) -> Iterator[tuple[str, Status]]:
        """Yield each task that has a record, with the status that counts, prefix by prefix."""
        for prefix in self.prefixes():
            best: dict[str, Status] = {}
            for key, status in self._seen(prefix):
                if key not in best or outranks(status, best[key]):
                    best[key] = status
            yield from sorted(best.items())

    def records(self, *, statuses: Collection[Status] | None = None, history: bool = False) -> Iterator[Record]:
        """Yield records, prefix by prefix.

        Parameters
        ----------
        statuses
            Only these; None for all.
        history
            With the failures of tasks that failed and were done later, and all failures of one task; otherwise the
            one record of each task that counts.

        Yields
        ------
        Record
        """
        for prefix in self.prefixes():
            lines = ordered(set(self._lines(prefix)))
            done: set[str] = set()
            for line in lines:
                record = None if line.key in done and not history else _readable(line.data, line.key)
                if record is None:
                    continue
                done.add(line.key)
                if statuses is None or record.status in statuses:
                    yield record

    def compact(self) -> Compaction:
        """Gather the records of finished tasks into segments, one for each prefix.

        Killed at any moment it leaves every record in one object at least, and a second run ends its work.

        Returns
        -------
        Compaction
        """
        parts = [self._compact_prefix(prefix) for prefix in self.prefixes()]
        self._objects.tidy(older_s=PARTIAL_S)
        return Compaction(
            records=sum(part.records for part in parts),
            segments=sum(part.segments for part in parts),
            damaged=tuple(name for part in parts for name in part.damaged),
        )

    def forget(self, keys: Iterable[str], *, statuses: Collection[Status] = _FAILED) -> int:
        """Delete records, so that their tasks run again, with a clean sheet.

        Parameters
        ----------
        keys
            Of the tasks.
        statuses
            Records with these: ``("failed",)`` for a retry, with ``"quarantined"`` to try bad scenes again, all four
            where the data turned out to be damaged.

        Returns
        -------
        int
            Tasks that had such a record.

        Notes
        -----
        Nobody else may compact meanwhile: hold the campaign's lease.
        """
        wanted: dict[str, set[str]] = {}
        for key in keys:
            wanted.setdefault(key[:2], set()).add(key)
        return sum(len(self._forget_prefix(prefix, found, set(statuses))) for prefix, found in sorted(wanted.items()))

    def prefixes(self) -> list[str]:
        """Return the prefixes under which something lies."""
        records = self._objects.folders(RECORDS)
        return sorted({*records, *self._segments.prefixes()})

    def record_names(self, prefix: str) -> list[str]:
        """Return the names of the record objects of a prefix."""
        return [name for name in self._objects.list(f"{RECORDS}{prefix}/") if parse_name(name) is not None]

    def segment_names(self, prefix: str) -> list[str]:
        """Return the names of the segments of a prefix."""
        return self._segments.names(prefix)

    def read_segment(self, name: str) -> list[Line] | None:
        """Return the lines of a segment; None where it is gone, because another one replaced it."""
        return self._segments.read(name)

    def _put_failure(self, record: Record, data: bytes) -> bool:
        for number in range(max(record.attempts, 1), _ATTEMPTS):
            name = record_name(record.key, record.status, number)
            if self._objects.put(name, data, if_absent=True):
                return True
            if self._found(name) == data:
                return False
        raise ArgumentError(f"{record.name} has failed {_ATTEMPTS} times. Type: xcloudmask run retry --failed")

    def _found(self, name: str) -> bytes | None:
        return self._objects.get(name, limit=RECORD_BYTES)

    def _seen(self, prefix: str) -> Iterator[tuple[str, Status]]:
        for name in self.record_names(prefix):
            parsed = parse_name(name)
            if parsed is not None:
                yield parsed
        for line in self._segments.lines(prefix):
            yield line.key, line.status

    def _lines(self, prefix: str) -> Iterator[Line]:
        names = self.record_names(prefix)
        for name, data in get_many(self._objects, names, limit=RECORD_BYTES):
            line = read_record(name, data)
            if line is not None:
                yield line
        yield from self._segments.lines(prefix)

    def _compact_prefix(self, prefix: str) -> Compaction:
        names = self.record_names(prefix)
        segments = self.segment_names(prefix)
        final = {parsed[0] for parsed in map(parse_name, names) if parsed and is_final(parsed[1])}
        old = set(self._segments.lines(prefix))
        final |= {line.key for line in old if is_final(line.status)}
        lines, moved, damaged = set(old), [], []
        ready = [name for name in names if (parse_name(name) or ("",))[0] in final]
        for name, data in get_many(self._objects, ready, limit=RECORD_BYTES):
            line = read_record(name, data)
            if line is not None:
                lines.add(line)
                moved.append(name)
            elif data is not None:
                damaged.append(name)
        if moved or len(segments) > 1:
            self._replace_segments(prefix, segments, lines)
            self._objects.delete(moved)
        return Compaction(records=len(moved), segments=len(self.segment_names(prefix)), damaged=tuple(damaged))

    def _forget_prefix(self, prefix: str, keys: set[str], statuses: set[str]) -> set[str]:
        names = {name: parse_name(name) for name in self.record_names(prefix)}
        gone = {
            name: parsed[0] for name, parsed in names.items() if parsed and parsed[0] in keys and parsed[1] in statuses
        }
        segments = self.segment_names(prefix)
        lines = set(self._segments.lines(prefix)) if segments else set()
        dropped = {line for line in lines if line.key in keys and line.status in statuses}
        # First the segments: a record that lies in both must not come back from there.
        if dropped:
            self._replace_segments(prefix, segments, lines - dropped)
        self._objects.delete(gone)
        return set(gone.values()) | {line.key for line in dropped}

    def _replace_segments(self, prefix: str, old: list[str], lines: set[Line]) -> None:
        new = None
        if lines:
            data = write_lines(lines)
            new = segment_name(prefix, data)
            self._objects.put(new, data, if_absent=True)
        self._objects.delete(name for name in old if name != new)


def record_name(key: str, status: Status, number: int = 0) -> str:
    """Return the name of a record: numbered where it is a failure."""
    if not _KEY.fullmatch(key):
        raise ArgumentError(f"{key[:100]!r} is no key of a task. Expected one from xcloudmask.run.task.task_key.")
    return f"{RECORDS}{key[:2]}/{key}.{status}{f'-{number}' if status == 'failed' else ''}.json"


def parse_name(name: str) -> tuple[str, Status] | None:
    """Return key and status that the name of a record says; None for other objects."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    status = _STATUSES[_STATUSES.index(match[3])]
    return match[2], status


def read_record(name: str, data: bytes | None) -> Line | None:
    """Return the record that an object is; None where it is none, or another one than its name says."""
    try:
        line = line_of(data or b"")
    except ValueError:
        return None
    return line if parse_name(name) == (line.key, line.status) else None


def _readable(data: bytes | None, key: str) -> Record | None:
    try:
        record = Record.from_json(data or b"")
    except (ReadError, RecursionError):  # brackets in brackets
        return None
    return record if record.key == key else None
