"""How far a campaign is, from the names of its records and the few that tell why tasks failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from xcloudmask.run._settle import cut_text
from xcloudmask.run.failures import bad_records, reasons_of
from xcloudmask.run.index import LedgerIndex
from xcloudmask.run.lease import holder_of
from xcloudmask.run.manifest import Manifest
from xcloudmask.run.place import Campaign, Place, bad_keys, progress_of
from xcloudmask.run.tally import CampaignStatus

__all__ = ["status_of"]

_MOST_REASONS = 500
"""Failures whose records are read."""


def status_of(found: Campaign, manifest: Manifest, index: LedgerIndex, *, reasons: bool = True) -> CampaignStatus:
    """Return the status of a campaign that is open, from names of records and some of them."""
    cells = progress_of(manifest, index)
    counts: Counter[str] = Counter()
    for numbers in cells.values():
        counts.update(numbers)
    counts.pop("", None)
    bad = bad_keys(manifest, index, ("failed", "quarantined"))[:_MOST_REASONS] if reasons else []
    return CampaignStatus(
        store=found.label,
        model=found.job.model,
        tasks=sum(sum(numbers.values()) for numbers in cells.values()),
        counts=dict(counts),
        cells={name: (sum(numbers.values()), _finished(numbers)) for name, numbers in sorted(cells.items())},
        reasons=reasons_of(bad_records(found.ledger, bad)),
        warnings=tuple(filter(None, [cut_text(manifest)])),
        holder=_holder(found.place),
    )


def _finished(numbers: Mapping[str, int]) -> int:
    return sum(count for name, count in numbers.items() if name not in ("", "failed"))


def _holder(place: Place) -> str:
    found = holder_of(place.objects)
    return "" if found is None else f"{found.who}, since {found.since} UTC"
