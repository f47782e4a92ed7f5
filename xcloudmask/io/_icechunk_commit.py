"""From a mask to one commit: what it tells of itself, and its way onto the branch when others commit too."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xcloudmask._optional import require
from xcloudmask._version import __version__
from xcloudmask.errors import WriteError
from xcloudmask.grid import time_dim
from xcloudmask.io._georef import crs_of
from xcloudmask.io._icechunk_conflicts import Kept, from_kept, refuse_lost
from xcloudmask.io._icechunk_repo import Target, alone, naming
from xcloudmask.io._icechunk_write import Job, write
from xcloudmask.io._identity import grid_of, settings_of

if TYPE_CHECKING:
    from icechunk import Repository, Session

__all__ = ["commit_mask", "default_message"]

TRIES = 10
"""Of writing again on top of what others have committed meanwhile."""
_LONGEST_PAUSE_S = 2.0


def commit_mask(repository: Repository, target: Target, job: Job, *, branch: str, message: str | None) -> str:
    """Write a mask in one commit, again where others touched the same arrays meanwhile, and return the snapshot."""
    kept: Kept | None = None
    base = ""
    for turn in range(TRIES):
        with naming(target, WriteError):
            session = repository.writable_session(branch)
        with naming(target, WriteError, pixels=True):
            if kept is not None:
                refuse_lost(repository, job, kept, tip=session.snapshot_id)
            base = base or session.snapshot_id
            # A fork can be sent to the processes of a cluster; what they write comes back as forks.
            fork, done = write(session.fork(), job if kept is None else from_kept(repository, job, kept))
            session.merge(fork)
        if not session.has_uncommitted_changes:
            return session.snapshot_id
        with naming(target, WriteError):
            told = (message or default_message(job.mask), _metadata(job, done))
            if _committed(session, target, *told):
                return session.snapshot_id
            kept = Kept(base=base, snapshot=session.flush(*told))
        time.sleep(secrets.SystemRandom().uniform(0, min(_LONGEST_PAUSE_S, 0.05 * 2**turn)))
    raise WriteError(
        f"{target.label}: others committed to branch {branch!r} {TRIES} times while this mask was written. It is kept "
        f"as snapshot {kept.snapshot if kept else ''}, on no branch. Write it again when fewer write at the same time."
    )


def default_message(mask: xr.DataArray) -> str:
    """Return a line with the model and the dates.

    Parameters
    ----------
    mask
        What is written.

    Returns
    -------
    str

    Examples
    --------
    >>> times = np.array(["2024-05-14", "2024-05-24"], "M8[ns]")
    >>> default_message(xr.DataArray([0, 0], coords={"time": times}, attrs={"model": "default"}))
    'default: 2 dates, 2024-05-14 to 2024-05-24'
    """
    dates = sorted(text[:10] for text in _times(mask))
    model = str(mask.attrs.get("model", "mask"))
    if not dates:
        return f"{model}: no date"
    if len(dates) == 1:
        return f"{model}: 1 date, {dates[0]}"
    return f"{model}: {len(dates)} dates, {dates[0]} to {dates[-1]}"


def _committed(session: Session, target: Target, message: str, told: dict[str, Any]) -> bool:
    """Commit, on top of what others committed to other arrays or chunks; False where they touched the same."""
    icechunk = require("icechunk", extra="icechunk")
    try:
        with alone(target):
            session.commit(message, told, rebase_with=icechunk.ConflictDetector(), rebase_tries=TRIES)
    except (icechunk.ConflictError, icechunk.RebaseFailedError):
        return False
    return True


def _metadata(job: Job, done: str) -> dict[str, Any]:
    """Return what the commit tells beside its message: plain JSON."""
    mask, grid, crs = job.mask, grid_of(job.mask), crs_of(job.mask)
    epsg = None if crs is None else crs.to_epsg()
    model = {key: str(mask.attrs[key]) for key in ("model", "model_sha256") if key in mask.attrs}
    return model | {
        "xcloudmask_version": str(mask.attrs.get("xcloudmask_version", __version__)),
        "write": done,
        "group": job.group,
        "settings": {key: value for key, value in settings_of(mask).items() if key not in model},
        "grid": {
            "crs": f"EPSG:{epsg}" if epsg else grid.crs,
            "transform": None if grid.transform is None else list(grid.transform),
            "shape": list(grid.shape),
        },
        "times": _times(mask),
    }


def _times(mask: xr.DataArray) -> list[str]:
    """Return the times of a mask in ISO 8601."""
    name = time_dim(mask) or "time"
    if name not in mask.coords:
        return []
    values = np.atleast_1d(mask.coords[name].to_numpy())
    return [str(text) for text in (np.datetime_as_string(values, unit="s") if values.dtype.kind == "M" else values)]
