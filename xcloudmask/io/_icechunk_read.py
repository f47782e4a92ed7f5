"""The commits of an Icechunk repository: told in records, found by branch, tag, snapshot or time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from xcloudmask.errors import ArgumentError, ReadError
from xcloudmask.io._icechunk_repo import Target, naming

if TYPE_CHECKING:
    from icechunk import Repository, Session

__all__ = ["Commit", "When", "check_branch", "commits_of", "contents", "session_at"]

When = str | dt.datetime | np.datetime64
"""A moment; UTC where it names no time zone."""
_SHOWN = 5


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


def commits_of(repository: Repository, target: Target, branch: str) -> list[Commit]:
    """Return the commits of a branch, the newest first."""
    check_branch(repository, target, branch)
    with naming(target, ReadError):
        return [_commit(info) for info in repository.ancestry(branch=branch)]


def check_branch(repository: Repository, target: Target, branch: str) -> None:
    """Refuse a branch that does not exist."""
    known = _names(target, repository.list_branches)
    if branch not in known:
        raise ArgumentError(_unknown("branch", branch, known, target))


def session_at(
    repository: Repository,
    target: Target,
    *,
    branch: str | None,
    tag: str | None,
    snapshot: str | None,
    as_of: When | None,
) -> Session:
    """Return a session to read from; for what does not exist, an error that lists what does."""
    if tag is not None:
        known = _names(target, repository.list_tags)
        if tag not in known:
            raise ArgumentError(_unknown("tag", tag, known, target))
        with naming(target, ReadError):
            return repository.readonly_session(tag=tag)
    if snapshot is not None:
        return _at_snapshot(repository, target, snapshot)
    name = branch or "main"
    check_branch(repository, target, name)
    if as_of is not None:
        return _at_time(repository, target, name, as_of)
    with naming(target, ReadError):
        return repository.readonly_session(name)


def contents(store: Any) -> str:
    """Return the names of groups and arrays, for a message."""
    import zarr

    try:
        members = zarr.open_group(store, mode="r").members(max_depth=2)
    except FileNotFoundError:
        return "none"
    return ", ".join(sorted(name for name, _ in members)[:20]) or "none"


def _at_snapshot(repository: Repository, target: Target, snapshot: str) -> Session:
    try:
        with naming(target, ReadError):
            return repository.readonly_session(snapshot_id=snapshot)
    except ReadError as error:
        if "snapshot" not in str(error):
            raise
        known = [
            f"{info.id} ({info.message.splitlines()[0] if info.message else ''})"
            for branch in _names(target, repository.list_branches)
            for info in islice(repository.ancestry(branch=branch), _SHOWN)
        ]
        raise ArgumentError(_unknown("snapshot", snapshot, known, target)) from error


def _at_time(repository: Repository, target: Target, branch: str, as_of: When) -> Session:
    moment = _utc(as_of)
    try:
        with naming(target, ReadError):
            return repository.readonly_session(branch, as_of=moment)
    except ReadError as error:
        if "before or at" not in str(error):
            raise
        first = list(repository.ancestry(branch=branch))[-1].written_at
        raise ArgumentError(
            f"{target.label} has nothing as old as {moment:%Y-%m-%d %H:%M:%S} UTC on branch {branch!r}. Its first "
            f"commit is of {first:%Y-%m-%d %H:%M:%S} UTC."
        ) from error


def _utc(when: When) -> dt.datetime:
    value: Any = when
    if isinstance(when, str):
        with suppress(ValueError):
            value = dt.datetime.fromisoformat(when)
    if isinstance(value, np.datetime64):
        value = value.astype("M8[us]").item()
    if not isinstance(value, dt.datetime):
        raise ArgumentError(f"as_of={when!r} is no time. Type: as_of='2024-06-01' or '2024-06-01T12:00'")
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


def _names(target: Target, listing: Callable[[], set[str]]) -> list[str]:
    with naming(target, ReadError):
        return sorted(listing())


def _unknown(kind: str, name: str, known: list[str], target: Target) -> str:
    return f"{target.label} has no {kind} {name!r}. Found: {', '.join(known) or 'none'}."


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
