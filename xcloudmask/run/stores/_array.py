"""The mask of a cell as a Zarr array, written in whole chunks or shards; for Zarr stores and for Icechunk."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask.errors import ArgumentError, ReadError, WriteError, XCloudMaskError
from xcloudmask.io._chunks import WritePlan, plan_write
from xcloudmask.io._identity import check_same
from xcloudmask.io._layout import TIME_ENCODING
from xcloudmask.io._stored import refuse_if_there
from xcloudmask.io._targets import reason
from xcloudmask.io.zarr import DEFAULT_NAME
from xcloudmask.run.stores._cells import FORK, stamp
from xcloudmask.run.stores.base import Codes
from xcloudmask.run.task import Job, Record, Region, Task

__all__ = ["CellArray", "check_kind", "naming", "open_array", "write_plan"]

Box = tuple[slice, slice, slice]
Chunk = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CellArray:
    """The mask of a cell, opened to read and write parts of it."""

    array: Any
    """`zarr.Array`, (time, y, x)."""
    rows: Mapping[np.datetime64, int]
    """Place of each time."""
    label: str
    """Name of the store, for messages."""

    @property
    def unit(self) -> tuple[int, int, int]:
        """Times, rows and columns of what is written whole: shards, or chunks."""
        sizes: tuple[int, int, int] = self.array.shards or self.array.chunks
        return sizes

    def knows(self, time: str) -> bool:
        """Whether there is such a time."""
        return stamp(time) in self.rows

    def must_know(self, time: str, kind: type[ReadError | WriteError]) -> None:
        """Raise where there is no such time."""
        if not self.knows(time):
            raise kind(
                f"{self.label} has no time {time}. Expected one that the campaign was prepared for: start it again."
            )

    def read(self, what: Task | Record) -> Codes:
        """Return the codes of a task or record, or raise a ReadError."""
        box = self._box(what.time, what.region)
        with naming(self.label, ReadError):
            codes: Codes = np.asarray(self.array[box])[0]
        if codes.shape != what.region.shape:
            raise ReadError(
                f"{self.label} has {self.array.shape[1:]} pixels (y, x), and no region {what.region}. Expected the "
                "store of this campaign."
            )
        return codes

    def write(self, task: Task, codes: Codes) -> list[Chunk]:
        """Write codes, and return the chunks or shards that were written; chunks that are all nodata go."""
        self._check(task)
        box = self._box(task.time, task.region)
        chunks = self._chunks(box)
        with naming(self.label, WriteError):
            try:
                self.array[box] = codes[None]
            except OSError:
                raise
            except Exception:
                if self.array.shards is None:
                    raise
                # Zarr reads shards that the border of the array cuts before it writes them: damaged ones have to go.
                self._delete(chunks)
                self.array[box] = codes[None]
        return chunks

    def _box(self, time: str, region: Region) -> Box:
        row = self.rows[stamp(time)]
        return slice(row, row + 1), slice(*region.y), slice(*region.x)

    def _chunks(self, box: Box) -> list[Chunk]:
        spans = (range(part.start // step, -(-part.stop // step)) for part, step in zip(box, self.unit, strict=True))
        return list(itertools.product(*spans))

    def _delete(self, chunks: list[Chunk]) -> None:
        from zarr.core.sync import sync

        for chunk in chunks:
            sync((self.array.store_path / self.array.metadata.encode_chunk_key(chunk)).delete())

    def _check(self, task: Task) -> None:
        """Refuse a region that cuts chunks, which two tasks would then write at the same time."""
        if tuple(self.array.shape[1:]) != tuple(task.cell.shape):
            raise WriteError(
                f"{self.label} has {self.array.shape[1:]} pixels (y, x), and the cell of {task.name} has "
                f"{task.cell.shape}. {FORK}"
            )
        spans = (task.region.y, task.region.x)
        for (start, stop), step, size in zip(spans, self.unit[1:], task.cell.shape, strict=True):
            if start % step or (stop % step and stop != size) or not 0 <= start < stop <= size:
                raise ArgumentError(
                    f"{task.name}: {start} to {stop} of {size} pixels cuts what is written whole, {step} pixels. "
                    "Expected regions of whole shards, or chunks."
                )


def open_array(store: Any, *, label: str, kind: type[ReadError | WriteError], group: str = "") -> CellArray:
    """Open the mask of a cell.

    Parameters
    ----------
    store
        Zarr store object.
    label
        Its name, for messages.
    kind
        Error where that cannot be done.
    group
        Path of the group in it.

    Returns
    -------
    CellArray

    Raises
    ------
    ReadError or WriteError
        There is none.
    """
    import zarr

    absent: Exception | None = None
    array: Any = None
    times: Any = None
    with naming(label, kind):
        try:
            opened = zarr.open_group(store, path=group, mode="r" if store.read_only else "r+", zarr_format=3)
            array, times = opened[DEFAULT_NAME], opened["time"]
        except (FileNotFoundError, KeyError) as error:
            absent = error
        if absent is not None:
            refuse_if_there(store, group, label=label, kind=kind)
            raise kind(
                f"{label} holds no masks of a campaign. Expected a store that was prepared for this cell: start the "
                "campaign again."
            ) from absent
        if times.attrs.get("units") != TIME_ENCODING["units"]:
            raise kind(f"{label}: its times are in {times.attrs.get('units')!r}. Expected {TIME_ENCODING['units']!r}.")
        stamps = np.asarray(times[:]).astype("M8[us]")
    return CellArray(array, {value: row for row, value in enumerate(stamps)}, label)


def write_plan(job: Job, mask: xr.DataArray) -> WritePlan:
    """Return how the mask of a cell is cut.

    Parameters
    ----------
    job
        Its chunks and shards.
    mask
        From `template`.

    Returns
    -------
    WritePlan
    """
    y, x = map(str, mask.dims[-2:])
    return plan_write(
        mask.sizes,
        spatial=(y, x),
        dask_chunks=mask.chunks,
        chunks={"time": 1, y: job.chunk_px, x: job.chunk_px},
        shards=None if job.shard_px is None else {"time": 1, y: job.shard_px, x: job.shard_px},
    )


def check_kind(existing: xr.DataArray, mask: xr.DataArray, plan: WritePlan, *, label: str) -> None:
    """Refuse to go on in a store of another grid, model, settings or cut.

    Parameters
    ----------
    existing
        What the store holds.
    mask, plan
        What it would hold if it were made now.
    label
        Its name, for messages.

    Raises
    ------
    WriteError
        They differ.
    """
    check_same(existing.isel(time=slice(0, 1)), mask.isel(time=slice(0, 1)), target=label, advice=FORK)
    for name, there, here in (
        ("chunks", existing.encoding.get("chunks"), plan.chunks),
        ("shards", existing.encoding.get("shards"), plan.shards),
    ):
        if there != here:
            raise WriteError(f"{label} holds a mask with {name} = {there}, and this campaign has {here}. {FORK}")


@contextmanager
def naming(label: str, kind: type[ReadError | WriteError]) -> Iterator[None]:
    """Turn the errors of disks, libraries and codecs into ours, with the name of the store.

    Parameters
    ----------
    label
        The name.
    kind
        Which of ours.

    Yields
    ------
    None

    Raises
    ------
    ReadError or WriteError
        With the number that the system gives an error (such as ENOSPC) where it is one of the system.
    """
    done = "read" if kind is ReadError else "written"
    try:
        yield
    except XCloudMaskError:
        raise
    except Exception as error:
        if type(error).__name__ == "IcechunkError":
            raise  # a tree of causes, which those who opened the repository put into words
        named = kind(f"{label} cannot be {done}: {reason(error)}.")
        if isinstance(error, OSError):
            named.errno = error.errno
        raise named from error
