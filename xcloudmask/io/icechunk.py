"""Masks in Icechunk: every write is a commit that tells how the mask was made, and every commit can be reopened."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from zarr.storage import StorePath

from xcloudmask.errors import ArgumentError, ReadError
from xcloudmask.io._chunks import ChunkChoice
from xcloudmask.io._icechunk_commit import commit_mask
from xcloudmask.io._icechunk_place import Region, along
from xcloudmask.io._icechunk_repo import Target, find_target, naming, open_or_create, open_repository
from xcloudmask.io._icechunk_write import Job
from xcloudmask.io.zarr import _with_known_objects, check_writable, open_mask

if TYPE_CHECKING:
    from icechunk import Repository as _Repository

__all__ = ["Commit", "history", "open_icechunk", "to_icechunk"]

Repository = Any
"""A path, a URL, or an `icechunk.Repository`."""

When = str | dt.datetime | np.datetime64
"""A moment; UTC where it names no time zone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit of a repository."""

    snapshot: str
    """What `open_icechunk` opens."""
    time: dt.datetime
    """When it was written, in UTC."""
    message: str
    """First line and more."""
    model: str | None = None
    """Name of the model; None for commits of others."""
    model_sha256: str | None = None
    """Digest of its weights."""
    version: str | None = None
    """Version of xcloudmask that made the mask."""
    write: str | None = None
    """new, replaced, appended or region."""
    group: str | None = None
    """Group of the mask; empty for the root."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How the mask was made."""
    grid: Mapping[str, Any] = field(default_factory=dict)
    """crs, transform and shape."""
    times: tuple[str, ...] = ()
    """The dates that were written, ISO 8601."""

    def __str__(self) -> str:
        return f"{self.snapshot}  {self.time:%Y-%m-%d %H:%M:%S}  {self.message}"


def to_icechunk(
    mask: xr.DataArray,
    repo: Repository,
    *,
    branch: str = "main",
    group: str | None = None,
    mode: Literal["w-", "w"] = "w-",
    append_dim: str | None = None,
    region: Region | None = None,
    message: str | None = None,
    chunks: ChunkChoice = None,
    shards: ChunkChoice = None,
    times_per_commit: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> str:
    """Write a mask to an Icechunk repository, in one commit.

    Readers see all of a commit or nothing. What was committed before can still be opened. The codes stay uint8, as
    with `to_zarr`.

    Parameters
    ----------
    mask
        (time, y, x) or (y, x) uint8 mask; (time, cloud_class, y, x) uint8 percentages or float32 probabilities.
    repo
        A path, a URL (``"s3://bucket/prefix"``, ``"gs://bucket/prefix"``), or an `icechunk.Repository`. It is made
        where there is none.
    branch
        Branch that the commit goes to; it must exist.
    group
        Group that holds the mask; None is the root. A repository may hold many.
    mode
        ``"w-"`` refuses a group that holds a mask, ``"w"`` replaces it.
    append_dim
        ``"time"`` adds dates at the end. Dates that are there already are overwritten, so that the same write can be
        repeated. Where there is no mask yet, one is made.
    region
        Overwrites a part: slices by dimension (pixels, as for `isel`), or ``"auto"`` to find it by the coordinates.
    message
        Message of the commit; None names the model and the dates.
    chunks
        Size of the Zarr chunks of a new mask: by dimension, or one number for y and x. None takes the dask chunks.
    shards
        Size of the shards of a new mask, a multiple of `chunks`; None writes no shards.
    times_per_commit
        Commit after so many dates, for series that take hours to compute. None is one commit for all.
    storage_options
        For URLs: keywords of `icechunk.s3_storage` or `icechunk.gcs_storage`. Credentials come from the environment
        where none are given.

    Returns
    -------
    str
        The snapshot: ``open_icechunk(repo, snapshot=...)``.

    Raises
    ------
    MissingPackageError
        Icechunk is not installed.
    NotACubeError
        `mask` is no mask.
    ArgumentError, ArgumentTypeError
        Wrong arguments.
    WriteError
        The group holds a mask already, or one with another grid, model or settings; others committed other codes in
        the same place at the same time; or the repository cannot be written.

    Notes
    -----
    Pixels are computed with the dask scheduler that is set: threads, processes or a cluster, whose workers must reach
    the repository. Where others commit to the branch at the same time, the commit is put on top of theirs; if that
    needs another write, pixels are copied and not computed again. Two that write other codes in the same place are
    told apart: the slower one is refused. Icechunk's storage in a folder does not protect against commits at the same
    time, so they take turns with a lock; on network file systems that do not know locks, use an object store.

    Examples
    --------
    >>> to_icechunk(mask, "masks.icechunk", append_dim="time")  # doctest: +SKIP
    'WSWE4JKH8GXZ75V3BPY0'
    """
    check_writable(mask)
    _check_arguments(mask, mode=mode, append_dim=append_dim, region=region, times_per_commit=times_per_commit)
    if append_dim is not None:
        mask = along(mask, append_dim)
    target = find_target(repo, storage_options)
    repository = open_or_create(target)
    if branch not in _names(repository, target)[0]:
        raise ArgumentError(_unknown("branch", branch, _names(repository, target)[0], target))
    job = Job(
        mask=_with_known_objects(mask, compute=True),
        group=(group or "").strip("/"),
        mode=mode,
        append_dim=append_dim,
        region=region,
        chunks=chunks,
        shards=shards,
        label=target.label,
    )
    snapshot = ""
    for part in _windows(job, times_per_commit):
        snapshot = commit_mask(repository, target, part, branch=branch, message=message)
    return snapshot


def open_icechunk(
    repo: Repository,
    *,
    branch: str | None = None,
    tag: str | None = None,
    snapshot: str | None = None,
    as_of: When | None = None,
    group: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Open a mask that `to_icechunk` wrote, with its CRS, as it is now or was at some time.

    Parameters
    ----------
    repo
        A path, a URL, or an `icechunk.Repository`.
    branch
        The newest commit of a branch; ``"main"`` where nothing else is given.
    tag
        The commit with that tag.
    snapshot
        A commit by its id, as `to_icechunk` returns and `history` lists it.
    as_of
        The newest commit of the branch at that moment. Times without a zone are UTC.
    group
        Group that holds the mask; None is the root.
    storage_options
        For URLs, as for `to_icechunk`.

    Returns
    -------
    DataArray
        Lazy; dask chunks are whole shards, or whole chunks where there are none. It shows its commit for ever: open it
        again to see later ones.

    Raises
    ------
    MissingPackageError
        Icechunk is not installed.
    ArgumentError
        More than one of `branch`, `tag` and `snapshot`, or one that does not exist.
    ReadError
        There is no such repository, or no mask in it.

    Examples
    --------
    >>> open_icechunk("masks.icechunk", as_of="2024-06-01").sizes["time"]  # doctest: +SKIP
    12
    """
    given = {"branch": branch, "tag": tag, "snapshot": snapshot}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1 or (as_of is not None and (tag or snapshot)):
        raise ArgumentError(
            f"{' and '.join(named + ['as_of'] * (as_of is not None))} are given. Expected one of branch, tag and "
            "snapshot; as_of goes with a branch."
        )
    target = find_target(repo, storage_options)
    repository = open_repository(target)
    store = _session(repository, target, branch=branch, tag=tag, snapshot=snapshot, as_of=as_of).store
    path = (group or "").strip("/")
    try:
        with naming(target, ReadError, pixels=True):
            return open_mask(StorePath(store, path))
    except ReadError as error:
        raise ReadError(
            f"{target.label} holds no mask in group {path or '/'} at that commit. Groups and arrays found: "
            f"{_listed(store) or 'none'}."
        ) from error


def history(
    repo: Repository, *, branch: str = "main", storage_options: Mapping[str, Any] | None = None
) -> list[Commit]:
    """List the commits of a branch, the newest first.

    Parameters
    ----------
    repo
        A path, a URL, or an `icechunk.Repository`.
    branch
        The branch.
    storage_options
        For URLs, as for `to_icechunk`.

    Returns
    -------
    list of Commit
        The last one is Icechunk's own, of the empty repository.

    Raises
    ------
    MissingPackageError
        Icechunk is not installed.
    ArgumentError
        There is no such branch.
    ReadError
        There is no such repository.

    Examples
    --------
    >>> [commit.message for commit in history("masks.icechunk")]  # doctest: +SKIP
    ['default: 1 date, 2024-05-14', 'Repository initialized']
    """
    target = find_target(repo, storage_options)
    repository = open_repository(target)
    branches, _ = _names(repository, target)
    if branch not in branches:
        raise ArgumentError(_unknown("branch", branch, branches, target))
    with naming(target, ReadError):
        return [_commit(info) for info in repository.ancestry(branch=branch)]


def _commit(info: Any) -> Commit:
    told = dict(info.metadata)

    def text(key: str) -> str | None:
        value = told.get(key)
        return None if value is None else str(value)

    return Commit(
        snapshot=info.id,
        time=info.written_at,
        message=info.message,
        model=text("model"),
        model_sha256=text("model_sha256"),
        version=text("xcloudmask_version"),
        write=text("write"),
        group=text("group"),
        settings=told.get("settings") or {},
        grid=told.get("grid") or {},
        times=tuple(told.get("times") or ()),
    )


def _check_arguments(
    mask: xr.DataArray, *, mode: str, append_dim: str | None, region: Any, times_per_commit: int | None
) -> None:
    if mode not in ("w-", "w"):
        raise ArgumentError(f"mode={mode!r} is unknown. Expected 'w-' (refuse what exists) or 'w' (replace it).")
    if append_dim is not None and region is not None:
        raise ArgumentError("append_dim and region are both given. Expected one of them.")
    if mode == "w" and (append_dim is not None or region is not None):
        raise ArgumentError("mode='w' replaces the whole mask. Leave it out to append, or to write a region.")
    if times_per_commit is None:
        return
    if times_per_commit < 1:
        raise ArgumentError(f"times_per_commit={times_per_commit} is too small. Expected 1 or more.")
    if region is not None or "time" not in mask.dims:
        raise ArgumentError("times_per_commit is for masks along time that are not a region. Leave it out.")


def _windows(job: Job, times_per_commit: int | None) -> list[Job]:
    """Cut a job into one per commit: the first as it is asked for, the others appended."""
    from dataclasses import replace

    if times_per_commit is None or job.mask.sizes["time"] <= times_per_commit:
        return [job]
    whole = along(job.mask, "time")
    starts = range(0, whole.sizes["time"], times_per_commit)
    parts = [whole.isel(time=slice(start, start + times_per_commit)) for start in starts]
    first = replace(job, mask=parts[0])
    return [first, *(replace(job, mask=part, mode="w-", append_dim="time") for part in parts[1:])]


def _session(
    repository: _Repository, target: Target, *, branch: str | None, tag: str | None, snapshot: str | None, as_of: Any
) -> Any:
    """Return a session to read from; what does not exist is an error that lists what does."""
    branches, tags = _names(repository, target)
    if tag is not None:
        if tag not in tags:
            raise ArgumentError(_unknown("tag", tag, tags, target))
        return repository.readonly_session(tag=tag)
    if snapshot is not None:
        try:
            return repository.readonly_session(snapshot_id=snapshot)
        except Exception as error:
            if "snapshot" not in str(error):
                raise
            known = [commit.snapshot for name in branches for commit in _newest(repository, name)]
            raise ArgumentError(_unknown("snapshot", snapshot, known, target)) from error
    name = branch or "main"
    if name not in branches:
        raise ArgumentError(_unknown("branch", name, branches, target))
    if as_of is None:
        return repository.readonly_session(name)
    moment = pd.Timestamp(as_of)
    moment = moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
    commits = _newest(repository, name, limit=None)
    if moment < commits[-1].time:
        raise ArgumentError(f"{target.label} had no commit at {moment}. The first is of {commits[-1].time}.")
    return repository.readonly_session(name, as_of=moment.to_pydatetime(warn=False))


def _newest(repository: _Repository, branch: str, *, limit: int | None = 5) -> list[Commit]:
    found = (_commit(info) for info in repository.ancestry(branch=branch))
    return [commit for _, commit in zip(range(limit), found, strict=False)] if limit else list(found)


def _names(repository: _Repository, target: Target) -> tuple[list[str], list[str]]:
    with naming(target, ReadError):
        return sorted(repository.list_branches()), sorted(repository.list_tags())


def _unknown(kind: str, name: str, known: list[str], target: Target) -> str:
    shown = ", ".join(known) or "none"
    return f"{target.label} has no {kind} {name!r}. There is: {shown}. See history(repo)."


def _listed(store: Any) -> str:
    import zarr

    try:
        members = zarr.open_group(store, mode="r").members(max_depth=3)
    except FileNotFoundError:
        return ""
    return ", ".join(sorted(name for name, _ in members)[:20])
