"""Masks of a campaign in Zarr v3: a store per cell, with the whole time axis from the start.

The coordinator makes the stores; workers write whole chunks, or shards, of one time step each, so that no two tasks
touch one file. Chunks that are all nodata are not stored: what is done stands in the ledger, never in the store.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import Any

import xarray as xr

from xcloudmask.errors import ReadError, WriteError
from xcloudmask.io._append import reserve_dates
from xcloudmask.io._chunks import WritePlan
from xcloudmask.io._fsync import fsync
from xcloudmask.io._leftovers import remove_leftovers
from xcloudmask.io._overlay import HeldStore
from xcloudmask.io._partial import remove_partial
from xcloudmask.io._staging import locked_folder, replace_folder, staged_folder
from xcloudmask.io._stored import open_stored
from xcloudmask.io._targets import label_of, local_path, open_target
from xcloudmask.io.zarr import DEFAULT_NAME, open_mask, to_zarr
from xcloudmask.run.stores._array import CellArray, check_kind, naming, open_array, write_plan
from xcloudmask.run.stores._cells import MASKS, address, cell_name, template
from xcloudmask.run.stores.base import BaseSink, Codes, Steps, mask_attributes
from xcloudmask.run.task import Cell, Job, Record, Task

__all__ = ["ZarrSink"]

_THREADS = 8
_TRIES = 3
_KEPT = 64
"""Cells that are kept open; the tasks of one follow each other."""
_LONGEST_WAIT_S, _PAUSE_S = 60.0, 0.05


class ZarrSink(BaseSink):
    """A Zarr store per cell: ``masks/<cell>.zarr``.

    Parameters
    ----------
    job
        As given to `open_sink`.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._opened: dict[str, CellArray] = {}
        self._lock = Lock()

    def prepare(self, cells: Iterable[tuple[Cell, Steps]], attrs: Mapping[str, Any] | None = None) -> None:
        """Make the stores of cells, or add times to them.

        Parameters
        ----------
        cells
            Each with all its times; times that its store has already stay where they are.
        attrs
            Of the masks, beside those of `mask_attributes`.

        Raises
        ------
        WriteError
            A store holds masks of another grid, model or settings, or cannot be written.
        ArgumentError
            The name of a cell cannot be one of a file, or a time is there twice.
        """
        wanted = mask_attributes(self.job) | dict(attrs or {})
        with self._lock:
            self._opened.clear()
        folder = local_path(address(self.job, MASKS))
        if folder is not None:
            _tidy(folder)
        pending = filter(itemgetter(1), cells)
        # Object stores answer in their own time; on disks threads would not help.
        with ThreadPoolExecutor(_THREADS if folder is None else 1) as pool:
            while batch := list(islice(pending, 8 * _THREADS)):
                list(pool.map(lambda one: self._prepare(template(one[0], one[1], wanted), cell_name(one[0])), batch))

    def read(self, what: Task | Record) -> Codes:
        """Return the codes that the store holds.

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
            There is no such store, time or region, or its bytes are damaged.
        """
        return self._array(cell_name(what.cell), what.time, ReadError).read(what)

    def masks(self, cell: Cell | str) -> xr.DataArray:
        """Open the mask of a cell, lazily, in the order of time.

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
            There is no such store.
        """
        url = self._address(cell_name(cell))
        return open_mask(url if local_path(url) is not None else self._store(url, read_only=True))

    def _put(self, task: Task, codes: Codes) -> None:
        place = self._array(cell_name(task.cell), task.time, WriteError)
        for turn in range(_TRIES):
            try:
                chunks = place.write(task, codes)
                break
            except WriteError as error:
                # Another process at the same task may take our unfinished file for what a killed one left.
                if turn == _TRIES - 1 or not isinstance(error.__cause__, FileNotFoundError):
                    raise
        _settle(place, chunks)

    def _prepare(self, mask: xr.DataArray, name: str) -> None:
        url = self._address(name)
        plan, path = write_plan(self.job, mask), local_path(url)
        held = HeldStore(self._store(url), name=DEFAULT_NAME, label=label_of(url))
        if path is not None and not path.exists():
            with staged_folder(path) as staged, _unless_taken(path):
                _make(mask, str(staged), plan)
                replace_folder(staged, path, overwrite=False)
        with _turn(path, label=held.label):
            if held.load_root() is not None:
                existing = open_stored(held, label=held.label)
                check_kind(existing, mask, plan, label=held.label)
                reserve_dates(existing, mask, held, dim="time")
                return
            if path is not None:
                raise WriteError(f"{held.label} exists and is no Zarr store, so nothing is written. Move it away.")
            _make(mask, self._store(url), plan)

    def _address(self, name: str) -> str:
        return address(self.job, MASKS, f"{name}.zarr")

    def _store(self, url: str, *, read_only: bool = False) -> Any:
        return open_target(url, read_only=read_only, options=self.job.storage_options)

    def _array(self, name: str, time: str, kind: type[ReadError | WriteError]) -> CellArray:
        """Return the array of a cell, opened again where it does not know a time."""
        with self._lock:
            found = self._opened.get(name)
        if found is not None and found.knows(time):
            return found
        url = self._address(name)
        found = open_array(self._store(url), label=label_of(url), kind=kind)
        with self._lock:
            self._opened[name] = found
            if len(self._opened) > _KEPT:
                self._opened.pop(next(iter(self._opened)))
        found.must_know(time, kind)
        return found


def _settle(place: CellArray, chunks: list[tuple[int, ...]]) -> None:
    """Wait until the files of a local store are on the disk, and remove what killed writers left beside them."""
    from zarr.storage import LocalStore

    store = place.array.store
    if not isinstance(store, LocalStore):
        return
    held = HeldStore(store, name=DEFAULT_NAME, label=place.label)
    root = Path(store.root) / DEFAULT_NAME
    folders: set[Path] = set()
    with naming(place.label, WriteError):
        for chunk in chunks:
            remove_partial(held, tuple([part] for part in chunk))
            file = root / place.array.metadata.encode_chunk_key(chunk)
            folders |= {parent for parent in file.parents if parent.is_relative_to(root)}
            with suppress(FileNotFoundError):
                fsync(file)
        for folder in sorted(folders, reverse=True):
            with suppress(FileNotFoundError):
                fsync(folder)


def _tidy(folder: Path) -> None:
    """Remove what coordinators that were killed while they made a store left beside it."""
    mark = "-xcloudmask-"
    for name in {found.name.partition(mark)[0] for found in folder.glob(f".*{mark}*")}:
        remove_leftovers(folder, f"{name}{mark}")


def _turn(path: Path | None, *, label: str) -> ExitStack:
    """Lock a local store; another coordinator that prepares it is done in a moment."""
    until = time.monotonic() + _LONGEST_WAIT_S
    while True:
        with ExitStack() as stack:
            try:
                stack.enter_context(locked_folder(path, label=label))
            except WriteError as error:
                if not isinstance(error.__cause__, BlockingIOError) or time.monotonic() > until:
                    raise
            else:
                return stack.pop_all()
        time.sleep(_PAUSE_S)


def _make(mask: xr.DataArray, store: Any, plan: WritePlan) -> None:
    """Write metadata and coordinates of a new store, and no pixel: the root comes last."""
    to_zarr(mask, store, chunks=plan.chunks, shards=plan.shards, compute=False)


@contextmanager
def _unless_taken(path: Path) -> Iterator[None]:
    """Let another process that made the same store at the same time be the faster one."""
    try:
        yield
    except WriteError:
        if not path.exists():
            raise
