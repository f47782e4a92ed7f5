"""Writes that others were faster than: what is kept of them, and whether they would undo what others did."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import xarray as xr

from xcloudmask.errors import WriteError
from xcloudmask.io._append import places_of_dates
from xcloudmask.io._icechunk_write import Job, held
from xcloudmask.io._regions import box_of

if TYPE_CHECKING:
    from icechunk import Repository

__all__ = ["Kept", "from_kept", "refuse_lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A write that could not be committed: its pixels need not be computed again."""

    base: str
    """Snapshot that it started from."""
    snapshot: str
    """Snapshot that holds it, on no branch."""


def from_kept(repository: Repository, job: Job, kept: Kept) -> Job:
    """Return the same job, with the pixels read from the snapshot that was not committed."""
    stored = _at(repository, job, kept.snapshot)
    if stored is None:
        return job
    if job.append_dim is not None:
        stored = stored.isel({job.append_dim: places_of_dates(stored, job.mask, job.append_dim)[0]})
    elif job.region is not None:
        stored = stored.isel(box_of(stored, job.mask, job.region, label=job.label))
    return replace(job, mask=job.mask.copy(data=stored.transpose(*job.mask.dims).data))


def refuse_lost(repository: Repository, job: Job, kept: Kept, *, tip: str) -> None:
    """Refuse to write over pixels that others have changed since this write began, unless to the same codes."""
    if job.mode == "w-":
        return  # what is there by now is refused by the write itself
    before, theirs, mine = (_pieces(_at(repository, job, at), job) for at in (kept.base, tip, kept.snapshot))
    if any(_loses(*piece) for piece in zip(before, theirs, mine, strict=True)):
        raise WriteError(
            f"{job.label}: while this mask was written, snapshot {tip} put other codes in the same place. Nothing was "
            f"committed; this mask is kept as snapshot {kept.snapshot}, on no branch. Compare the two with "
            f"open_icechunk(repo, snapshot={kept.snapshot!r}), or write the mask again to put it over theirs."
        )


def _at(repository: Repository, job: Job, snapshot: str) -> xr.DataArray | None:
    store = repository.readonly_session(snapshot_id=snapshot).store
    return held(store, job.group, label=job.label, kind=WriteError)


def _pieces(stored: xr.DataArray | None, job: Job) -> list[xr.DataArray | None]:
    """Return what a snapshot holds at the place of the mask: date by date where it is appended, else all at once."""
    dim = job.append_dim
    if stored is None:
        return [None] * (1 if dim is None else job.mask.sizes[dim])
    if job.region is not None:
        return [stored.isel(box_of(stored, job.mask, job.region, label=job.label))]
    if dim is None:
        return [stored]
    places, _ = places_of_dates(stored, job.mask, dim)
    return [stored.isel({dim: place}) if place < stored.sizes[dim] else None for place in places]


def _loses(before: xr.DataArray | None, theirs: xr.DataArray | None, mine: xr.DataArray | None) -> bool:
    """Whether pixels of others differ both from those that were there before and from those of this mask."""
    if theirs is None:
        return False
    if mine is None or mine.shape != theirs.shape:
        return before is None or before.shape != theirs.shape or bool(_differ(before, theirs).any())
    lost = _differ(theirs, mine)
    if before is not None and before.shape == theirs.shape:
        lost = lost & _differ(theirs, before)
    return bool(lost.any())


def _differ(one: xr.DataArray, other: xr.DataArray) -> xr.Variable:
    """Compare pixels by position; NaN equals NaN."""
    a, b = one.variable, other.variable
    unequal = a != b
    if one.dtype.kind == "f":
        unequal = unequal & ~(a.isnull() & b.isnull())
    return unequal
