"""Masks of a campaign in one Icechunk repository: a group per cell, a commit per window of tasks.

Workers write into forks of a session, which travel back with what they changed; the coordinator merges them and
commits. A worker or coordinator that is killed before the commit leaves nothing that is seen.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import xarray as xr

from xcloudmask._optional import require
from xcloudmask._version import __version__
from xcloudmask.errors import ReadError, WriteError
from xcloudmask.io import _icechunk_repo as repos
from xcloudmask.io.icechunk import open_icechunk
from xcloudmask.run.stores._array import CellArray, open_array
from xcloudmask.run.stores._cells import address, cell_name, template
from xcloudmask.run.stores._icechunk_cells import reserve
from xcloudmask.run.stores._icechunk_options import icechunk_options
from xcloudmask.run.stores.base import BaseSink, Codes, Steps, checked_codes, digest_of, mask_attributes
from xcloudmask.run.task import Cell, Job, Record, Task

if TYPE_CHECKING:
    from icechunk import Repository, Session
    from icechunk.session import ForkSession

__all__ = ["BRANCH", "REPOSITORY", "IcechunkSink"]

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
        self._target = repos.find_target(address(job, REPOSITORY), icechunk_options(job))
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
                count += bool(len(steps) and self._reserve(session, cell, template(cell, steps, wanted)))
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
        with repos.naming(self._target, WriteError):
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
        with repos.naming(self._target, ReadError):
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

    def _reserve(self, session: Session, cell: Cell, mask: xr.DataArray) -> bool:
        return reserve(session, cell_name(cell), mask, job=self.job, label=self._target.label)

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


def _message(records: Sequence[Record]) -> str:
    dates = sorted(record.time[:10] for record in records)
    if not dates:
        return "Campaign: masks"
    cells = len({record.cell for record in records})
    span = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    return f"Campaign: {len(records)} tasks in {cells} {'cell' if cells == 1 else 'cells'}, {span}"
