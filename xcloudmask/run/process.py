"""`process_task`: one region of one time step, from its source to the store and the ledger.

It needs the task alone, and may be called by any engine, in any process, as often as one likes: the same task writes
the same bytes, and one that is done is not done again.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from xcloudmask.blocks import predict_block
from xcloudmask.classes import NODATA
from xcloudmask.models.spec import ModelSpec
from xcloudmask.predict import predict
from xcloudmask.run.blocks import Reading, plan_reads
from xcloudmask.run.faults import FatalError, Fault, Stage, classify, reason_of, status_of
from xcloudmask.run.ledger import Ledger, open_ledger
from xcloudmask.run.read import OpenStep, check_model, open_step
from xcloudmask.run.stores.base import Sink, class_shares, open_sink
from xcloudmask.run.task import WHOLE_STEP, Job, Record, Status, Task
from xcloudmask.run.turns import Patience, Tries, patiently, predicting

__all__ = ["READ_BYTES", "process_in_transaction", "process_task"]

Codes = npt.NDArray[np.uint8]
Result = TypeVar("Result")

READ_BYTES = 256 * 2**20
"""Pixels that are read at once: a region that takes less is read whole, so that its blocks share their halo."""

_DENIED_MOST = 10
"""Tasks in a row that a process may be refused credentials for, before it says that no task can be done."""


def process_task(
    task: Task,
    *,
    sink: Sink | None = None,
    ledger: Ledger | None = None,
    patience: Patience | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Record:
    """Mask a region: read, predict, write, record.

    Parameters
    ----------
    task
        The task; all that is needed is in it.
    sink, ledger
        Where masks and records go. None: those of the task's store.
    patience
        How errors that may pass are tried again. None: as often as the job says.
    sleep
        Waits between tries, for tests.

    Returns
    -------
    Record
        Also in the ledger. ``"ok"`` or ``"nodata"``; ``"quarantined"`` where the scene cannot be read or masked;
        ``"failed"`` where something else went wrong, which may go away.

    Raises
    ------
    FatalError
        No task of the campaign can be done here: another model than planned, a store that cannot be written, no
        credentials. There is no record, and the task is done again later.

    Notes
    -----
    The data is written before the record. A task with a final record is not done again.

    Examples
    --------
    >>> records = client.map(process_task, tasks)  # doctest: +SKIP
    """
    with _stops_run(task):
        ledger = ledger if ledger is not None else _opened(_ledgers, task.job, open_ledger)
        sink = sink if sink is not None else _opened(_sinks, task.job, open_sink)
    work = _Work(task, patience or Patience(attempts=task.job.attempts), sleep)
    done = work.store(lambda: ledger.get(task.key))
    if done is not None:
        return done
    record = work.run(lambda codes: sink.write(task, codes))
    work.store(lambda: ledger.put(record))
    return record


def process_in_transaction(
    task: Task,
    token: Any,
    *,
    sink: Sink | None = None,
    patience: Patience | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Record, Any]:
    """Mask a region for a store that commits many tasks at once: read, predict, write to a fork of the store.

    Parameters
    ----------
    task
        The task. Whether it is done already is for the caller to know.
    token
        From `Sink.begin`.
    sink, patience, sleep
        As in `process_task`.

    Returns
    -------
    record : Record
        Not in the ledger: that is for whoever commits, afterwards.
    token
        With the change, for `Sink.commit`.

    Raises
    ------
    FatalError
        As `process_task`.

    Examples
    --------
    >>> record, token = process_in_transaction(task, sink.begin())  # doctest: +SKIP
    """
    with _stops_run(task):
        sink = sink if sink is not None else _opened(_sinks, task.job, open_sink)
    written = [token]

    def write(codes: Codes) -> str:
        digest, written[0] = sink.write(task, codes, token)
        return str(digest)

    record = _Work(task, patience or Patience(attempts=task.job.attempts), sleep).run(write)
    return record, written[0]


@dataclass(slots=True, eq=False)
class _Work:
    """One go at a task."""

    task: Task
    patience: Patience
    sleep: Callable[[float], None]
    tries: Tries = field(default_factory=Tries)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("read", "predict", "write", "wait"), 0.0))
    begun: float = field(default_factory=time.perf_counter)

    def run(self, write: Callable[[Codes], str]) -> Record:
        """Read, predict and write; what goes wrong with the scene becomes a record."""
        try:
            codes = self.codes()
        except FatalError:
            raise
        except Exception as error:
            fault = classify(error, stage="read")
            _denials.count(fault, error)
            status = status_of(fault)
            if status is None:
                raise _fatal(self.task, error) from error
            return self.record(status, reason=reason_of(error))
        _denials.count("scene", None)
        try:
            with self.timed("write"):
                digest = self.patiently(lambda: write(codes), "write")
        except FatalError:
            raise
        except Exception as error:
            if status_of(classify(error, stage="write")) is None:
                raise _fatal(self.task, error) from error
            return self.record("failed", reason=reason_of(error))
        shares = class_shares(codes, style=self.task.job.options.get("output_style", "4-class"))
        return self.record("nodata" if (codes == NODATA).all() else "ok", digest=digest, fractions=shares)

    def codes(self) -> Codes:
        """Return the mask of the region."""
        spec = check_model(self.task.job)
        with self.timed("read"):
            step = self.patiently(lambda: open_step(self.task, spec), "read")
        settings = step.prepared.settings
        if settings.normalize in WHOLE_STEP:
            return self.whole(step, spec)
        region = self.task.region
        codes = np.full(region.shape, NODATA, np.uint8)
        reads = plan_reads(
            step.prepared.geometry,
            region,
            normalize=settings.normalize,
            block_px=self.task.job.block_px,
            pixel_bytes=step.prepared.stack.shape[1] * step.prepared.stack.dtype.itemsize,
            most_bytes=READ_BYTES,
        )
        for reading in reads:
            self.fill(codes, reading, step)
        return codes

    def fill(self, codes: Codes, reading: Reading, step: OpenStep) -> None:
        """Read pixels, and write the codes of the blocks in them."""
        with self.timed("read"):
            pixels = self.patiently(lambda: step.read((reading.y, reading.x)), "read")
        (top, left), region = (reading.y[0], reading.x[0]), self.task.region
        for y, x in reading.blocks:
            part = pixels[:, :, y.origin - top : y.end - top, x.origin - left : x.end - left]
            with self.turn(step.prepared.settings.device):
                mask = predict_block(part, places=(y, x), settings=step.prepared.settings, scales=step.scales)[0]
            rows, columns = (
                slice(max(place.start, span[0]), min(place.stop, span[1]))
                for place, span in ((y, region.y), (x, region.x))
            )
            codes[
                rows.start - region.y[0] : rows.stop - region.y[0],
                columns.start - region.x[0] : columns.stop - region.x[0],
            ] = mask[rows.start - y.start : rows.stop - y.start, columns.start - x.start : columns.stop - x.start]

    def whole(self, step: OpenStep, spec: ModelSpec) -> Codes:
        """Return the mask of a whole step, as `predict` makes it."""
        task = self.task
        if task.region.shape != task.cell.shape:
            raise FatalError(
                f"normalize={task.job.options.get('normalize')!r} looks at a whole time step, and {task.name} is a "
                f"part of it. Expected regions of {task.cell.shape[0]} x {task.cell.shape[1]} pixels: plan again "
                "without region_px, or with normalize='lattice'."
            )
        mask = predict(step.whole(), **{**task.job.options, "model": spec})

        def compute() -> Codes:
            with self.turn(step.prepared.settings.device):
                found: Codes = mask.data.compute(scheduler="synchronous")
            return found.reshape(task.cell.shape)

        return self.patiently(compute, "read")

    def store(self, work: Callable[[], Result]) -> Result:
        """Do something with the ledger; what fails there stops the run."""
        with _stops_run(self.task):
            return self.patiently(work, "write")

    def patiently(self, work: Callable[[], Result], stage: Stage) -> Result:
        return patiently(work, patience=self.patience, stage=stage, tries=self.tries, sleep=self.sleep)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    @contextmanager
    def turn(self, device: str) -> Iterator[None]:
        """Wait for the turn to predict, then count the time as spent on that."""
        start = time.perf_counter()
        with predicting(device):
            self.seconds["wait"] += time.perf_counter() - start
            with self.timed("predict"):
                yield

    def record(
        self, status: Status, *, reason: str = "", digest: str = "", fractions: Mapping[str, float] | None = None
    ) -> Record:
        task = self.task
        total = time.perf_counter() - self.begun
        return Record(
            key=task.key,
            status=status,
            name=task.name,
            cell=task.cell.name,
            time=task.time,
            region=task.region,
            ids=task.ids,
            reason=reason,
            attempts=self.tries.most,
            digest=digest,
            fractions=dict(fractions or {}),
            seconds={name: round(value, 3) for name, value in (self.seconds | {"total": total}).items()},
            finished=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            worker=_worker(),
            settings=task.job.settings(),
        )


class _Denials:
    """Tasks in a row whose source wanted other credentials."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._row = 0

    def count(self, fault: Fault, error: BaseException | None) -> None:
        """Count a task; where nothing but refusals comes, the credentials are missing, not the scenes."""
        with self._lock:
            self._row = self._row + 1 if fault == "denied" else 0
            row = self._row
        if error is not None and row >= _DENIED_MOST:
            raise FatalError(
                f"{row} tasks in a row were refused by their source; the last one: {reason_of(error)} Check the "
                "credentials in the environment of the workers (AWS_ACCESS_KEY_ID, ...), and sign= of the source."
            ) from error


_denials = _Denials()
_ledgers: dict[str, Any] = {}
_sinks: dict[str, Any] = {}
_opening = threading.Lock()
_OPEN_MOST = 16


def _opened(kept: dict[str, Any], job: Job, make: Callable[[Job], Any]) -> Any:
    """A ledger or a sink, once in each process."""
    key = repr(job)
    with _opening:
        if key not in kept:
            while len(kept) >= _OPEN_MOST:
                kept.pop(next(iter(kept)))
            kept[key] = make(job)
        return kept[key]


@contextmanager
def _stops_run(task: Task) -> Iterator[None]:
    """What fails outside of the scene would fail for each."""
    try:
        yield
    except FatalError:
        raise
    except Exception as error:
        raise _fatal(task, error) from error


def _fatal(task: Task, error: Exception) -> FatalError:
    return FatalError(f"{task.name}: {reason_of(error)}")


def _worker() -> str:
    """Name of this worker, or of this process."""
    distributed: Any = sys.modules.get("distributed")
    if distributed is not None:
        try:
            return str(distributed.get_worker().name)
        except (ValueError, AttributeError):
            pass  # not in a task of a worker
    return f"{socket.gethostname()}-{os.getpid()}"
