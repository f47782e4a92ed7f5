"""Whether the masks are still those that the ledger tells of: each region read again, its digest compared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from typing import TYPE_CHECKING, Any

from xcloudmask._tables import html_table
from xcloudmask.classes import NODATA
from xcloudmask.errors import XCloudMaskError
from xcloudmask.run.lease import hold_lease
from xcloudmask.run.place import chosen_cells, current_records, open_campaign
from xcloudmask.run.stores.base import Codes, Sink, digest_of, open_sink
from xcloudmask.run.tally import STATUSES
from xcloudmask.run.task import Record
from xcloudmask.stac.hrefs import redact

if TYPE_CHECKING:
    from xcloudmask.run.config import CampaignConfig

__all__ = ["Damage", "Verification", "check_records", "verify"]

_MOST_SHOWN = 20
_QUEUE = 4
"""Regions under way for each thread."""
_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A region that is not what its record says."""

    key: str
    """Of the task."""
    name: str
    """Of the task, for people."""
    problem: str
    """What is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `verify` found. `str(verification)` is a page of text."""

    store: str
    """Folder or URL of the campaign."""
    checked: int
    """Regions that were read."""
    damaged: tuple[Damage, ...]
    """Those that differ."""
    forgotten: int = 0
    """Records that were removed, so that `start` writes their regions again."""

    @property
    def good(self) -> bool:
        """Whether every region is what its record says."""
        return not self.damaged

    def rows(self) -> list[tuple[str, str]]:
        """Return the result as pairs of a label and a text."""
        rows = [("store", self.store), ("checked", f"{self.checked:,} regions"), ("damaged", f"{len(self.damaged):,}")]
        rows += [("region", f"{one.name}: {one.problem}") for one in self.damaged[:_MOST_SHOWN]]
        if len(self.damaged) > _MOST_SHOWN:
            rows.append(("", f"and {len(self.damaged) - _MOST_SHOWN:,} more"))
        if self.forgotten:
            rows.append(("to redo", f"{self.forgotten:,}: the next start writes them again"))
        return rows

    def __str__(self) -> str:
        """Return a page of text."""
        return "\n".join(f"{label:<12} {text}" for label, text in self.rows())

    def __repr__(self) -> str:
        """Return one line."""
        return f"<Verification {self.store}: {self.checked:,} regions checked, {len(self.damaged):,} damaged>"

    def _repr_html_(self) -> str:
        return html_table(f"Verification of {self.store}", self.rows())


def verify(
    campaign: str | PathLike[str] | CampaignConfig,
    *,
    redo: bool = False,
    cells: Collection[str] | None = None,
    threads: int = 4,
    progress: Callable[[int], None] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Verification:
    """Read the masks of a campaign again and compare them with the digests in its ledger.

    Parameters
    ----------
    campaign
        Configuration, or store.
    redo
        Whether the records of damaged regions are removed, so that the next `start` writes them again.
    cells
        Only these cells; None for all.
    threads
        Regions that are read at once.
    progress
        Called with the number of regions that were read so far.
    storage_options
        For fsspec, where `campaign` is a URL.

    Returns
    -------
    Verification

    Raises
    ------
    ArgumentError
        A cell is unknown.
    ReadError
        There is no campaign, or its store does not answer.
    WriteError
        It is running, and `redo` needs to be alone.

    Examples
    --------
    >>> verify("campaign").good  # doctest: +SKIP
    True
    """
    found = open_campaign(campaign, storage_options)
    alone = hold_lease(found.place.objects) if redo else nullcontext()
    with alone, found.manifest() as manifest, found.index(contents=True) as index:
        records = current_records(manifest, index, cells=chosen_cells(manifest, cells))
        results = check_records(records, open_sink(found.job), threads=threads, progress=progress)
        checked, damaged = 0, []
        for record, problem in results:
            checked += 1
            if problem:
                damaged.append(Damage(key=record.key, name=record.name, problem=problem))
        forgotten = 0
        if redo and damaged:
            forgotten = found.ledger.forget([one.key for one in damaged], statuses=STATUSES)
            index.refresh(found.ledger)
    return Verification(store=found.label, checked=checked, damaged=tuple(damaged), forgotten=forgotten)


def check_records(
    records: Iterable[Record],
    sink: Sink,
    *,
    threads: int = 4,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[Record, str]]:
    """Read the regions of records and compare them, several at a time.

    Parameters
    ----------
    records
        Of a ledger; those without a mask are passed over.
    sink
        Where the masks are.
    threads
        Regions that are read at once.
    progress
        Called with the number of regions so far.

    Yields
    ------
    tuple of Record and str
        Each record that was checked, and what is wrong; empty where nothing is.
    """
    wanted = (record for record in records if _has_mask(record))
    with ThreadPoolExecutor(threads, thread_name_prefix="xcloudmask-verify") as pool:

        def begin(some: int) -> list[tuple[Record, Future[str]]]:
            return [(record, pool.submit(_problem, record, sink)) for record in islice(wanted, some)]

        queue, done = begin(threads * _QUEUE), 0
        try:
            while queue:
                record, future = queue.pop(0)
                yield record, future.result()
                queue += begin(1)
                done += 1
                if progress is not None:
                    progress(done)
        finally:
            for _, future in queue:
                future.cancel()


def _has_mask(record: Record) -> bool:
    return record.status == "nodata" or (record.status == "ok" and bool(record.digest))


def _problem(record: Record, sink: Sink) -> str:
    """Return what is wrong with a region; empty where nothing is."""
    if record.status == "nodata" and not record.digest and sink.job.kind == "cog":
        return ""  # nothing need be there
    codes = _read(record, sink)
    if isinstance(codes, str):
        return codes
    if codes.shape != record.region.shape:
        return f"it has {codes.shape} pixels in place of {record.region.shape}"
    if record.digest:
        return "" if digest_of(codes) == record.digest else "its codes are not those that were written"
    return "" if bool((codes == NODATA).all()) else "it has codes, and was recorded as nodata"


def _read(record: Record, sink: Sink, tries: int = _TRIES) -> Codes | str:
    """Return the codes, or why they cannot be read; what passes, such as a host that does not answer, stops all."""
    from xcloudmask.run.faults import classify

    try:
        return sink.read(record)
    except (XCloudMaskError, OSError, ValueError, KeyError, RuntimeError) as error:
        if classify(error) != "transient":
            return f"it cannot be read: {redact(f'{type(error).__name__}: {error}')}"
        if tries == 1:
            raise
    return _read(record, sink, tries - 1)
