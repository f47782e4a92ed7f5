"""From a mask to one commit: what it tells of itself, and what happens when others commit at the same time."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xcloudmask._optional import require
from xcloudmask._version import __version__
from xcloudmask.errors import WriteError
from xcloudmask.io._georef import crs_of
from xcloudmask.io._icechunk_repo import Target, alone, naming
from xcloudmask.io._icechunk_write import Job, held, part_of, write
from xcloudmask.io._identity import check_same, grid_of, settings_of

if TYPE_CHECKING:
    from icechunk import Repository, Session

__all__ = ["commit_mask", "default_message"]

TRIES = 10
"""Of writing again on top of what others have committed meanwhile."""
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A write that others were faster than: its pixels need not be computed again."""

    base: str
    """Snapshot it started from."""
    snapshot: str
    """Snapshot that holds it, on no branch."""


def commit_mask(repository: Repository, target: Target, job: Job, *, branch: str, message: str | None) -> str:
    """Write a mask in one commit, again where others commit at the same time, and return the snapshot."""
    kept: _Kept | None = None
    for turn in range(TRIES):
        with naming(target, WriteError):
            session = repository.writable_session(branch)
        if kept is not None:
            _refuse_lost(repository, job, kept, tip=session.snapshot_id)
        base = session.snapshot_id
        # A fork can be sent to the processes of a cluster; what they write comes back as forks.
        with naming(target, WriteError, pixels=True):
            fork, done = write(session.fork(), job if kept is None else _from_kept(repository, job, kept))
            session.merge(fork)
        if not session.has_uncommitted_changes:
            return base
        text, told = message or default_message(job.mask), _metadata(job, done)
        with naming(target, WriteError):
            if _committed(session, target, text, told):
                return session.snapshot_id
            kept = _Kept(base=base if kept is None else kept.base, snapshot=session.flush(text, told))
        time.sleep(secrets.SystemRandom().uniform(0, min(_LONGEST_PAUSE_S, 0.05 * 2**turn)))
    raise WriteError(
        f"{target.label}: others committed to branch {branch!r} {TRIES} times while this mask was written. It is kept "
        f"as snapshot {kept.snapshot if kept else ''}, on no branch. Write it again when fewer write at the same time."
    )


def default_message(mask: xr.DataArray) -> str:
    """Return a line with the model and the dates."""
    dates = [text[:10] for text in _times(mask)]
    count = f"{len(dates)} date{'s' * (len(dates) != 1)}" if dates else "no date"
    span = f", {min(dates)}" + (f" to {max(dates)}" if min(dates) != max(dates) else "") if dates else ""
    return f"{mask.attrs.get('model', 'mask')}: {count}{span}"


def _committed(session: Session, target: Target, message: str, told: dict[str, Any]) -> bool:
    """Commit, on top of what others committed elsewhere in the repository; False where they touched the same."""
    icechunk = require("icechunk", extra="icechunk")
    try:
        with alone(target):
            session.commit(message, told, rebase_with=icechunk.ConflictDetector(), rebase_tries=TRIES)
    except (icechunk.ConflictError, icechunk.RebaseFailedError):
        return False
    return True


def _from_kept(repository: Repository, job: Job, kept: _Kept) -> Job:
    """Return the same job, with the pixels read from the snapshot that was not committed."""
    stored = _at(repository, job, kept.snapshot)
    if stored is None:
        return job
    mine = part_of(stored, job)[0].transpose(*job.mask.dims)
    return replace(job, mask=job.mask.copy(data=mine.data))


def _refuse_lost(repository: Repository, job: Job, kept: _Kept, *, tip: str) -> None:
    """Refuse to write over pixels that others have changed since this write began, unless to the same values."""
    theirs, mine = _at(repository, job, tip), _at(repository, job, kept.snapshot)
    if theirs is None or mine is None:
        return
    before = _at(repository, job, kept.base)
    if job.append_dim is not None or job.region is not None:
        check_same(part_of(theirs, job)[0] if job.region is not None else theirs, job.mask, target=job.label)
    elif job.mode == "w-":
        return  # what is there now is refused by the write itself
    if _loses(job, before, theirs, mine):
        raise WriteError(
            f"{job.label}: while this mask was written, snapshot {tip} put other codes in the same place. Nothing was "
            f"committed; this mask is kept as snapshot {kept.snapshot}, on no branch. Compare them with "
            f"open_icechunk(..., snapshot={kept.snapshot!r}), or write the mask again to put it over theirs."
        )


def _loses(job: Job, before: xr.DataArray | None, theirs: xr.DataArray, mine: xr.DataArray) -> bool:
    """Whether pixels differ from those before the write and from those of this mask."""
    new, there = part_of(theirs, job)
    own = part_of(mine, job)[0]
    if job.append_dim is not None:
        own = own.isel({job.append_dim: np.flatnonzero(there)})
    if new.shape != own.shape or new.dims != own.dims:
        return before is None or before.shape != theirs.shape or bool(_differ(before, theirs).any())
    lost = _differ(new, own)
    if before is not None and before.dims == theirs.dims:
        old, was = part_of(before, job)
        if job.append_dim is None:
            lost = lost & _differ(new, old) if old.shape == new.shape else lost
        else:
            # Steps that were not there before count as changed.
            steps = np.flatnonzero(there)
            known = np.flatnonzero(was[steps])
            unknown = np.flatnonzero(~was[steps])
            dim = job.append_dim
            changed = lost.isel({dim: known}) & _differ(new.isel({dim: known}), old)
            return bool(changed.any()) or bool(lost.isel({dim: unknown}).any())
    return bool(lost.any())


def _differ(one: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    """Compare pixels by position, without aligning coordinates; NaN equals NaN."""
    a, b = one.variable, other.variable
    unequal = a != b
    if one.dtype.kind == "f":
        unequal = unequal & ~((a != a) & (b != b))  # noqa: PLR0124  # NaN, for numpy and dask
    return xr.DataArray(unequal)


def _at(repository: Repository, job: Job, snapshot: str) -> xr.DataArray | None:
    return held(repository.readonly_session(snapshot_id=snapshot).store, job.group, label=job.label)


def _metadata(job: Job, done: str) -> dict[str, Any]:
    """Return what the commit tells beside its message: plain JSON."""
    mask, grid, crs = job.mask, grid_of(job.mask), crs_of(job.mask)
    epsg = None if crs is None else crs.to_epsg()
    where: Mapping[str, Any] = {
        "crs": f"EPSG:{epsg}" if epsg else grid.crs,
        "transform": None if grid.transform is None else list(grid.transform),
        "shape": list(grid.shape),
    }
    model = {key: str(mask.attrs[key]) for key in ("model", "model_sha256") if key in mask.attrs}
    version = str(mask.attrs.get("xcloudmask_version", __version__))
    settings = {key: value for key, value in settings_of(mask).items() if key not in model}
    return model | {
        "xcloudmask_version": version,
        "write": done,
        "group": job.group,
        "settings": settings,
        "grid": where,
        "times": _times(mask),
    }


def _times(mask: xr.DataArray) -> list[str]:
    """Return the times of a mask in ISO 8601."""
    if "time" not in mask.coords:
        return []
    values = np.atleast_1d(mask.coords["time"].to_numpy())
    if values.dtype.kind == "M":
        return [str(text) for text in np.datetime_as_string(values, unit="s")]
    return [str(value) for value in values]
