"""Masks in Icechunk: every write is a commit that tells how the mask was made, and every commit can be reopened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import xarray as xr

from xcloudmask.errors import ArgumentError, ReadError
from xcloudmask.grid import spatial_dims, time_dim
from xcloudmask.io._append import check_dates
from xcloudmask.io._chunks import ChunkChoice, plan_write
from xcloudmask.io._icechunk_commit import commit_mask
from xcloudmask.io._icechunk_read import Commit, When, check_branch, commits_of, contents, session_at
from xcloudmask.io._icechunk_repo import find_target, naming, open_or_create, open_repository
from xcloudmask.io._icechunk_write import Job, held
from xcloudmask.io._layout import storable
from xcloudmask.io.zarr import Mode, Region, check_writable, checked_mode

__all__ = ["Commit", "history", "open_icechunk", "to_icechunk"]

Repository = Any
"""A path, a URL, or an `icechunk.Repository`."""


def to_icechunk(
    mask: xr.DataArray,
    repo: Repository,
    *,
    branch: str = "main",
    group: str | None = None,
    mode: Mode | None = None,
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
        As for `to_zarr`, of the group: ``"w-"`` refuses one that holds a mask, ``"w"`` replaces it. ``"a"`` (with
        `append_dim`) makes the mask if there is none, ``"r+"`` (with `append_dim` or `region`) needs one. None: ``"a"``
        with `append_dim`, ``"r+"`` with `region`, else ``"w-"``.
    append_dim
        The time dimension: dates that the group has are overwritten, others are appended at its end. The same call
        twice shows the same as once.
    region
        Write the pixels of this part and nothing else: ``"auto"`` finds it by coordinates; or slices by dimension,
        such as ``{"y": slice(0, 2048)}``. It may cut chunks.
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
    mode = checked_mode(mode, append_dim, region)
    check_writable(mask)
    plan_write(mask.sizes, spatial=spatial_dims(mask), dask_chunks=mask.chunks, chunks=chunks, shards=shards)
    if append_dim is not None:
        check_dates(mask, append_dim)
    target = find_target(repo, storage_options)
    job = Job(
        mask=storable(mask, compute=True),
        group=(group or "").strip("/"),
        mode=mode,
        append_dim=append_dim,
        region=region,
        chunks=chunks,
        shards=shards,
        label=target.label,
    )
    parts = _parts(job, times_per_commit)
    repository = open_or_create(target, create=mode != "r+")
    check_branch(repository, target, branch)
    for part in parts:
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
    if len(named) > 1 or (as_of is not None and named not in ([], ["branch"])):
        raise ArgumentError(
            f"{' and '.join(named + ['as_of'] * (as_of is not None))} are given. Expected one of branch, tag and "
            "snapshot; as_of goes with a branch."
        )
    target = find_target(repo, storage_options)
    repository = open_repository(target)
    session = session_at(repository, target, branch=branch, tag=tag, snapshot=snapshot, as_of=as_of)
    path = (group or "").strip("/")
    with naming(target, ReadError):
        mask = held(session.store, path, label=target.label, kind=ReadError)
        if mask is None:
            raise ReadError(
                f"{target.label} holds no mask in group {path or '/'} at that commit. Found: {contents(session.store)}."
                " Type group= with the name of another, or see history(repo)."
            )
    time = time_dim(mask)
    if time is None or time not in mask.indexes or mask.indexes[time].is_monotonic_increasing:
        return mask
    return mask.sortby(time)


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
    return commits_of(open_repository(target), target, branch)


def _parts(job: Job, times_per_commit: int | None) -> list[Job]:
    """Cut a job into one for each commit: the first as it is asked for, the others appended."""
    if times_per_commit is None:
        return [job]
    dim = time_dim(job.mask)
    if dim is None or job.region is not None:
        raise ArgumentError("times_per_commit is for masks along time, without region=. Leave it out.")
    if times_per_commit < 1:
        raise ArgumentError(f"times_per_commit={times_per_commit} is too small. Expected 1 or more.")
    check_dates(job.mask, dim)
    starts = range(0, max(1, job.mask.sizes[dim]), times_per_commit)
    first, *others = (job.mask.isel({dim: slice(start, start + times_per_commit)}) for start in starts)
    later = [replace(job, mask=part, mode="a", append_dim=dim) for part in others]
    return [replace(job, mask=first), *later]
