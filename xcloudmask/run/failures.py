"""The records of some tasks, read without reading those of all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from xcloudmask.errors import ReadError
from xcloudmask.run.ledger import RECORD_BYTES, Ledger, parse_name
from xcloudmask.run.objects import get_many
from xcloudmask.run.tally import reason_kind
from xcloudmask.run.task import Record

__all__ = ["bad_records", "reasons_of"]


def bad_records(ledger: Ledger, keys: Sequence[str]) -> Iterator[Record]:
    """Yield the newest record of failure of each task.

    Parameters
    ----------
    ledger
        Of the campaign.
    keys
        Of tasks that failed or were given up, sorted.
    """
    for prefix, group in groupby(keys, key=lambda key: key[:2]):
        wanted = set(group)
        names = [name for name in ledger.record_names(prefix) if (parse_name(name) or ("", ""))[0] in wanted]
        found: dict[str, Record] = {}
        for _, data in get_many(ledger.objects, names, limit=RECORD_BYTES):
            _keep(found, data)
        if wanted - set(found):
            for segment in ledger.segment_names(prefix):
                for line in ledger.read_segment(segment) or ():
                    if line.key in wanted:
                        _keep(found, line.data)
        yield from (found[key] for key in sorted(found))


def reasons_of(records: Iterable[Record]) -> tuple[tuple[str, int], ...]:
    """Return kinds of reasons and how often, the most frequent first."""
    kinds = Counter(reason_kind(record.reason) for record in records)
    return tuple(sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0])))


def _keep(found: dict[str, Record], data: bytes | None) -> None:
    try:
        record = Record.from_json(data or b"")
    except ReadError:
        return
    if record.status not in ("failed", "quarantined"):
        return
    before = found.get(record.key)
    # What was given up counts before what failed.
    if before is None or (before.status, before.finished) < (record.status, record.finished):
        found[record.key] = record
