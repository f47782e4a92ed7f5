"""Masks of a campaign in one Icechunk repository: a group per cell, a commit per window of tasks.

Workers write into forks of a session, which travel back with what they changed; the coordinator merges them and
commits. A worker or coordinator that is killed before the commit leaves nothing that is seen.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import dask.array as da
import xarray as xr

from xcloudmask._optional import require
from xcloudmask._version import __version__
from xcloudmask.errors import ArgumentError, ReadError, WriteError
from xcloudmask.io import _icechunk_repo as repos
from xcloudmask.io._append import coords_along, places_of_dates
from xcloudmask.io._icechunk_place import spans
from xcloudmask.io._icechunk_write import held
from xcloudmask.io._layout import laid_out
from xcloudmask.io._targets import local_path
from xcloudmask.io.icechunk import open_icechunk
from xcloudmask.run.stores._array import CellArray, check_kind, open_array, write_plan
from xcloudmask.run.stores._cells import address, cell_name, template
from xcloudmask.run.stores.base import BaseSink, Codes, Steps, checked_codes, digest_of, mask_attributes
from xcloudmask.run.task import Cell, Job, Record, Task

if TYPE_CHECKING:
    from icechunk import Repository, Session
    from icechunk.session import ForkSession

__all__ = ["BRANCH", "REPOSITORY", "IcechunkSink", "s3_keywords"]

REPOSITORY = "masks.icechunk"
"""Name of the repository in the store."""
BRANCH = "main"
_TRIES = 10


class IcechunkSink(BaseSink):
    """A group per cell in the repository ``masks.icechunk``.

    Parameters
    ----------
    job
        As given to `open_sink`.
    """

    transactional = True

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._target = repos.find_target(address(job, REPOSITORY), _options(job))
        self._repository: Repository | None = None
        self._session: Session | None = None
        self._opened: tuple[str, dict[str, CellArray]] = ("", {})
        self._lock = Lock()

    def prepare(self, cells: Iterable[tuple[Cell, Steps]], attrs: Mapping[str, Any] | None = None) -> None:
        """Make the groups of cells, or add times to them, in one commit.

        Parameters
        ----------
        cells
            Each with all its times; times that its group has already stay where they are.
        attrs
            Of the masks, beside those of `mask_attributes`.

        Raises
        ------
        WriteError
            A group holds masks of another grid, model or settings, or the repository cannot be written.
        ArgumentError
            The name of a cell cannot be one of a file, or a time is there twice.
        """
        wanted = mask_attributes(self.job) | dict(attrs or {})
        self._repository = repos.open_or_create(self._target, create=True)
        with repos.naming(self._target, WriteError):
            session = self._repository.writable_session(BRANCH)
            count = 0
            for cell, steps in cells:
                count += bool(len(steps) and self._reserve(session, cell_name(cell), template(cell, steps, wanted)))
            if session.has_uncommitted_changes:
                with repos.alone(self._target):
                    session.commit(f"Campaign: {count} cells prepared", self._told(wanted))

    def begin(self) -> ForkSession:
        """Return a fork of a new session, which any process can write to.

        Returns
        -------
        icechunk.session.ForkSession

        Raises
        ------
        WriteError
            The repository cannot be opened.
        """
        with repos.naming(self._target, WriteError):
            self._session = self._open(WriteError).writable_session(BRANCH)
            return self._session.fork()

    def write(self, task: Task, codes: Codes, token: Any = None) -> Any:
        """Write the codes of a task into a copy of a fork, or without one into a commit of their own.

        Parameters
        ----------
        task
            Whose region it is.
        codes
            (y, x) uint8.
        token
            From `begin`, or from another `write`. None: commit at once.

        Returns
        -------
        str, or (str, icechunk.session.ForkSession)
            The digest; with a token, the fork that has the change too.

        Raises
        ------
        WriteError
            The repository was not prepared for the task, or cannot be written.
        ArgumentError, InputError
            The region cuts chunks, or these are no codes of it.
        """
        codes = checked_codes(task, codes)
        if token is None:
            sink = IcechunkSink(self.job)
            _, changed = sink.write(task, codes, sink.begin())
            sink.commit([changed], [])
            return digest_of(codes)
        # Tasks that run side by side in one process are given the same object.
        fork = copy.copy(token)
        label, name = self._target.label, cell_name(task.cell)
        place = open_array(fork.store, label=f"{label}, group {name}", kind=WriteError, group=name)
        place.must_know(task.time, WriteError)
        place.write(task, codes)
        return digest_of(codes), fork

    def commit(self, tokens: Iterable[Any], records: Sequence[Record]) -> str:
        """Make what forks hold visible, in one step.

        Parameters
        ----------
        tokens
            What `write` returned, since the last `begin`.
        records
            Of the tasks; for the message of the commit.

        Returns
        -------
        str
            The snapshot that holds it; the newest one where nothing has changed.

        Raises
        ------
        WriteError
            There was no `begin`, or the repository cannot be written.
        """
        if self._session is None:
            raise WriteError("Nothing was begun. Expected begin() before write() and commit().")
        session, self._session = self._session, None
        icechunk = require("icechunk", extra="icechunk")
        with repos.naming(self._target, WriteError):
            for fork in {id(token): token for token in tokens if token is not None}.values():
                session.merge(fork)
            if not session.has_uncommitted_changes:
                return str(session.snapshot_id)
            # Another coordinator may have written the same tasks, and so the same codes.
            solver = icechunk.BasicConflictSolver(on_chunk_conflict=icechunk.VersionSelection.UseOurs)
            with repos.alone(self._target):
                return session.commit(
                    _message(records), self._told({}, records), rebase_with=solver, rebase_tries=_TRIES
                )

    def read(self, what: Task | Record) -> Codes:
        """Return the codes that the newest commit holds.

        Parameters
        ----------
        what
            A task, or its record.

        Returns
        -------
        numpy.ndarray
            (y, x) uint8; nodata where nothing was written.

        Raises
        ------
        ReadError
            There is no such repository, cell, time or region, or its bytes are damaged.
        """
        name = cell_name(what.cell)
        place = self._array(name)
        place.must_know(what.time, ReadError)
        return place.read(what)

    def masks(self, cell: Cell | str) -> xr.DataArray:
        """Open the mask of a cell as the newest commit has it, lazily, in the order of time.

        Parameters
        ----------
        cell
            The cell, or its name.

        Returns
        -------
        DataArray

        Raises
        ------
        ReadError
            There is no such repository or cell.
        """
        return open_icechunk(self._open(ReadError), group=cell_name(cell))

    def _open(self, kind: type[ReadError | WriteError]) -> Repository:
        with self._lock:
            if self._repository is None:
                try:
                    self._repository = repos.open_repository(self._target)
                except ReadError as error:
                    raise kind(f"{error} Start the campaign, which makes it.") from error
            return self._repository

    def _array(self, name: str) -> CellArray:
        """Return the mask of a cell at the newest commit."""
        repository = self._open(ReadError)
        with repos.naming(self._target, ReadError):
            tip = repository.lookup_branch(BRANCH)
            with self._lock:
                known, arrays = self._opened
                if known != tip:
                    arrays = {}
                    self._opened = tip, arrays
                found = arrays.get(name)
            if found is None:
                store = repository.readonly_session(snapshot_id=tip).store
                label = f"{self._target.label}, group {name}"
                found = arrays[name] = open_array(store, label=label, kind=ReadError, group=name)
            return found

    def _reserve(self, session: Session, name: str, mask: xr.DataArray) -> bool:
        """Make the group of a cell, or add times to it; return whether it had to be changed."""
        label = f"{self._target.label}, group {name}"
        plan = write_plan(self.job, mask)
        existing = held(session.store, name, label=self._target.label)
        if existing is not None:
            check_kind(existing, mask, plan, label=label)
            return _extend(session, name, existing, mask, label)
        dataset, encoding = laid_out(mask, str(mask.name), plan)
        dataset.to_zarr(
            session.store, group=name, mode="a", zarr_format=3, consolidated=False, encoding=encoding, compute=False
        )
        return True

    def _told(self, attrs: Mapping[str, Any], records: Sequence[Record] = ()) -> dict[str, Any]:
        """Return what a commit tells beside its message: plain JSON."""
        return {
            "model": str(attrs.get("model", self.job.model)),
            "model_sha256": str(attrs.get("model_sha256", self.job.model_sha256)),
            "xcloudmask_version": self.job.version or __version__,
            "write": "region" if records else "new",
            "settings": self.job.settings(),
            "times": sorted({record.time for record in records}),
        }


def s3_keywords(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords of `icechunk.s3_storage` for options of s3fs, so that one setting serves both.

    Parameters
    ----------
    options
        For fsspec.

    Returns
    -------
    dict
        What they do not name comes from the environment: ``AWS_ENDPOINT_URL``, ``AWS_REGION``.

    Raises
    ------
    ArgumentError
        An option that Icechunk has nothing for.

    Examples
    --------
    >>> s3_keywords({"endpoint_url": "http://127.0.0.1:9000", "client_kwargs": {"region_name": "eu-central-1"}})[
    ...     "region"
    ... ]
    'eu-central-1'
    """
    given = {**options, **options.get("client_kwargs", {})}
    names = {
        "endpoint_url": "endpoint_url",
        "region_name": "region",
        "key": "access_key_id",
        "secret": "secret_access_key",
        "token": "session_token",
        "anon": "anonymous",
        "requester_pays": "requester_pays",
    }
    unknown = sorted(set(given) - set(names) - {"client_kwargs", "config_kwargs"})
    if unknown:
        raise ArgumentError(
            f"storage_options: {unknown[0]!r} has no meaning for Icechunk. Expected some of "
            f"{', '.join(map(repr, names))}, as s3fs knows them."
        )
    found = {new: given[old] for old, new in names.items() if old in given}
    endpoint = found.get("endpoint_url") or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        found |= {"endpoint_url": endpoint, "allow_http": endpoint.startswith("http://"), "force_path_style": True}
        regions = (found.get("region"), os.environ.get("AWS_REGION"), os.environ.get("AWS_DEFAULT_REGION"))
        found["region"] = next(filter(None, regions), "us-east-1")
    return found


def _options(job: Job) -> dict[str, Any] | None:
    if local_path(job.store) is not None:
        return None
    is_s3 = job.store.partition("://")[0] in ("s3", "s3a")
    return s3_keywords(job.storage_options) if is_s3 else dict(job.storage_options)


def _extend(session: Session, name: str, existing: xr.DataArray, mask: xr.DataArray, label: str) -> bool:
    """Add the times that a group lacks, without pixels, and correct the coordinates of those that it has."""
    places, _ = places_of_dates(existing, mask, "time")
    coords = coords_along(existing, mask, "time", label=label, compute=False).reset_coords()
    new = [row for row, place in enumerate(places) if place >= existing.sizes["time"]]
    old = [row for row, place in enumerate(places) if place < existing.sizes["time"]]
    if new:
        untyped: Any = da
        shape = (len(new), *mask.shape[1:])
        empty = xr.DataArray(untyped.zeros(shape, dtype=mask.dtype, chunks=-1), dims=mask.dims)
        # mode="a-": what has no such dimension stays as it is.
        coords.isel(time=new).assign({existing.name: empty}).to_zarr(
            session.store,
            group=name,
            mode="a-",
            append_dim="time",
            consolidated=False,
            safe_chunks=False,  # the pixels come later, and the coordinates are written here and now
            compute=False,
        )
    stored, given = existing.isel(time=[places[row] for row in old]), coords.isel(time=old)
    changed = [key for key in given.data_vars if not stored[key].variable.equals(given[key].variable)]
    for here, place in spans([places[row] for row in old]) if changed else []:
        given[changed].isel(time=here).drop_vars("time").to_zarr(
            session.store, group=name, mode="r+", region={"time": place}, consolidated=False, safe_chunks=False
        )
    return bool(new or changed)


def _message(records: Sequence[Record]) -> str:
    dates = sorted(record.time[:10] for record in records)
    if not dates:
        return "Campaign: masks"
    cells = len({record.cell for record in records})
    span = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    return f"Campaign: {len(records)} tasks in {cells} {'cell' if cells == 1 else 'cells'}, {span}"
