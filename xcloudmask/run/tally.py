"""Counting records: how far a campaign is, what failed and why, what the masks show. One pass, bounded memory."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from xcloudmask._tables import html_table
from xcloudmask.run.task import Record, Status

__all__ = ["STATUSES", "CampaignStatus", "Tally", "reason_kind", "tally"]

STATUSES: tuple[Status, ...] = ("ok", "nodata", "failed", "quarantined")
_MOST_FAILURES = 500
"""Records of failures that are kept."""
_MOST_KINDS = 200
"""Kinds of reasons that are told apart."""
_KIND_LENGTH = 160
_OTHER = "other reasons"
_PLACE = re.compile(r"\S*[/\\]\S*")
_NUMBER = re.compile(r"(?<![\d.])(?![45]\d\d(?!\d))\d+|(?<=\.)\d+")
"""But for what may be the status of an HTTP answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a pass over records found."""

    counts: Mapping[str, int] = field(default_factory=dict)
    """Status -> records."""
    cells: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Cell -> status -> records."""
    pixels: Mapping[str, float] = field(default_factory=dict)
    """Class, ``"nodata"`` among them -> pixels of regions that are done."""
    reasons: Sequence[tuple[str, int]] = ()
    """Kinds of reasons of failures and how often, the most frequent first."""
    failures: Sequence[Record] = ()
    """Of failed and quarantined tasks; the first 500."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Stage -> seconds of workers, summed."""
    hours: Mapping[str, int] = field(default_factory=dict)
    """Hour in which tasks ended, ``"2024-06-01T10"`` -> tasks; of a long campaign days."""
    first: str = ""
    """When the first of them ended."""
    last: str = ""
    """When the last one did."""
    repeated: int = 0
    """Tasks that took more than one attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignStatus:
    """How far a campaign is. `str(status)` is a page of text."""

    store: str
    """Folder or URL of the campaign."""
    model: str
    """Name of the model."""
    tasks: int
    """In the manifest."""
    counts: Mapping[str, int]
    """Status -> tasks of the manifest."""
    cells: Mapping[str, tuple[int, int]]
    """Cell -> tasks, and those that are done."""
    reasons: Sequence[tuple[str, int]] = ()
    """Kinds of reasons of failures and how often."""
    warnings: Sequence[str] = ()
    """What the plan has to say about the masks."""
    holder: str = ""
    """Who coordinates the campaign now; empty where nobody does."""

    @property
    def finished(self) -> int:
        """Tasks that are not run again on their own: ok, nodata, quarantined."""
        return sum(self.counts.get(name, 0) for name in ("ok", "nodata", "quarantined"))

    @property
    def pending(self) -> int:
        """Tasks that `start` will run: those without a record, and those that failed."""
        return self.tasks - self.finished

    @property
    def complete(self) -> bool:
        """Whether every task has a mask, or is known to have no data."""
        return self.counts.get("ok", 0) + self.counts.get("nodata", 0) == self.tasks

    def rows(self) -> list[tuple[str, str]]:
        """Return the status as pairs of a label and a text."""
        share = self.finished / self.tasks if self.tasks else 1.0
        rows = [
            ("store", self.store),
            ("model", self.model),
            ("tasks", f"{self.tasks:,} in {len(self.cells):,} cell{'' if len(self.cells) == 1 else 's'}"),
            ("finished", f"{self.finished:,} ({share:.1%})"),
        ]
        rows += [(name, f"{self.counts.get(name, 0):,}") for name in STATUSES]
        rows.append(("pending", f"{self.pending:,}"))
        rows += [("reason", f"{count:,} x {text}") for text, count in self.reasons[:10]]
        rows += [("warning", text) for text in self.warnings]
        rows.append(("coordinator", self.holder or "none"))
        return rows

    def to_json(self) -> str:
        """Return the status as a JSON document."""
        more = {"finished": self.finished, "pending": self.pending, "complete": self.complete}
        return json.dumps(asdict(self) | more, indent=1)

    def __str__(self) -> str:
        """Return a page of text."""
        return "\n".join(f"{label:<12} {text}" for label, text in self.rows())

    def __repr__(self) -> str:
        """Return one line."""
        bad = self.counts.get("failed", 0) + self.counts.get("quarantined", 0)
        return f"<CampaignStatus {self.store}: {self.finished:,} of {self.tasks:,} tasks, {bad:,} without a mask>"

    def _repr_html_(self) -> str:
        return html_table(f"Campaign {self.store}", self.rows())


def tally(records: Iterable[Record]) -> Tally:
    """Count records.

    Parameters
    ----------
    records
        Of a ledger, one for each task.

    Returns
    -------
    Tally

    Examples
    --------
    >>> from xcloudmask.run.task import Region
    >>> region = Region(y=(0, 2), x=(0, 2))
    >>> one = Record(
    ...     key="k", status="ok", name="n", cell="a", time="2024-01-01", region=region, ids=("s",),
    ...     fractions={"clear": 0.75, "nodata": 0.25},
    ... )
    >>> tally([one]).pixels
    {'clear': 3.0, 'nodata': 1.0}
    """
    counter = _Counter()
    for record in records:
        counter.add(record)
    return counter.result()


def reason_kind(reason: str) -> str:
    """Return a reason without what differs from scene to scene: numbers and addresses.

    Examples
    --------
    >>> reason_kind("ReadError: /data/S2A_31.tif ends after 71,000 bytes")
    'ReadError: ... ends after #,# bytes'
    >>> reason_kind("HTTP 503 after 1.5 s, in 5030 ms")
    'HTTP 503 after #.# s, in # ms'
    """
    text = " ".join(_NUMBER.sub("#", _PLACE.sub("...", reason)).split())
    return text[:_KIND_LENGTH] or "no reason given"


class _Counter:
    """Sums over records."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._cells: dict[str, Counter[str]] = {}
        self._pixels: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        self._failures: list[Record] = []
        self._seconds: Counter[str] = Counter()
        self._hours: Counter[str] = Counter()
        self._first = self._last = ""
        self._repeated = 0

    def add(self, record: Record) -> None:
        self._counts[record.status] += 1
        self._cells.setdefault(record.cell, Counter())[record.status] += 1
        self._repeated += record.attempts > 1
        for stage, seconds in record.seconds.items():
            self._seconds[stage] += seconds  # type: ignore[assignment]  # a Counter of floats adds them as well
        if record.finished:
            self._hours[record.finished[:13]] += 1
            self._first = min(self._first or record.finished, record.finished)
            self._last = max(self._last, record.finished)
        if record.status in ("ok", "nodata"):
            self._add_pixels(record)
        else:
            self._add_failure(record)

    def _add_pixels(self, record: Record) -> None:
        height, width = record.region.shape
        shares = record.fractions or ({"nodata": 1.0} if record.status == "nodata" else {})
        for name, share in shares.items():
            self._pixels[name] += share * height * width  # type: ignore[assignment]

    def _add_failure(self, record: Record) -> None:
        kind = reason_kind(record.reason)
        self._kinds[kind if kind in self._kinds or len(self._kinds) < _MOST_KINDS else _OTHER] += 1
        if len(self._failures) < _MOST_FAILURES:
            self._failures.append(record)

    def result(self) -> Tally:
        return Tally(
            counts=dict(self._counts),
            cells={name: dict(counts) for name, counts in sorted(self._cells.items())},
            pixels=dict(self._pixels),
            reasons=tuple(sorted(self._kinds.items(), key=lambda pair: (-pair[1], pair[0]))),
            failures=tuple(sorted(self._failures, key=lambda record: (record.cell, record.time, record.region.y))),
            seconds=dict(self._seconds),
            hours=dict(sorted(_spans(self._hours).items())),
            first=self._first,
            last=self._last,
            repeated=self._repeated,
        )


def _spans(hours: Mapping[str, int]) -> Mapping[str, int]:
    """Return tasks per hour, or per day where there are many hours."""
    if len(hours) <= 240:
        return hours
    days: Counter[str] = Counter()
    for hour, count in hours.items():
        days[hour[:10]] += count
    return days
