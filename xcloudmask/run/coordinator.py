"""Runs the tasks of a campaign on a cluster: some in flight, the rest still in the manifest."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, Protocol

from xcloudmask._version import __version__
from xcloudmask.errors import ArgumentError, ClusterError, XCloudMaskError
from xcloudmask.run.flight import Flight, cluster_errors, lost_scheduler
from xcloudmask.run.task import Job, Record, Task
from xcloudmask.run.wire import Outcome, Process, process_name
from xcloudmask.run.workers import scheduler_plugin, shorten_log, worker_plugin

__all__ = ["PROCESS", "RunResult", "Watcher", "prepare_cluster", "run_tasks"]

PROCESS = "xcloudmask.run.process:process_task"
"""What does a task, by default."""
IN_TRANSACTION = "xcloudmask.run.process:process_in_transaction"
"""What does a task of a transactional store: takes a token beside the task, and returns one beside the record."""

_TAKE_S = 0.5
_LOOK_S = 5.0
"""Between two looks at whether the cluster has workers."""
_MOST_FAILURES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run did; the ledger knows the rest."""

    counts: Mapping[str, int] = field(default_factory=dict)
    """Status -> tasks of this run."""
    seconds: float = 0.0
    """How long it took."""
    drained: bool = False
    """Whether it was told to stop before the end."""
    isolated: int = 0
    """Tasks that were run again in a process of their own, because a worker died."""
    failures: tuple[Record, ...] = ()
    """Records of failed and quarantined tasks; the first 100."""

    @property
    def done(self) -> int:
        """Tasks of which something became."""
        return sum(self.counts.values())

    @property
    def complete(self) -> bool:
        """Whether all tasks were run and none is without a mask."""
        return not self.drained and not {"failed", "quarantined"} & {name for name, n in self.counts.items() if n}

    def __repr__(self) -> str:
        """Return one line."""
        counts = ", ".join(f"{count:,} {name}" for name, count in sorted(self.counts.items())) or "nothing to do"
        return f"<RunResult {counts} in {self.seconds:.0f} s{', stopped' if self.drained else ''}>"


class Watcher(Protocol):
    """Looks on: a progress bar, metrics."""

    def record(self, record: Record) -> None:
        """A task has ended."""
        ...

    def tick(self, *, flying: int, isolated: int) -> None:
        """Time has passed; so many tasks are in flight, and so many had to be isolated until now."""
        ...


def run_tasks(
    tasks: Iterable[Task],
    client: Any,
    *,
    process: str | Process = PROCESS,
    in_transaction: str | Callable[..., Any] = IN_TRANSACTION,
    window: int = 1000,
    timeout_s: float | None = None,
    on_record: Callable[[Record], None] | None = None,
    watchers: Sequence[Watcher] = (),
    sink: Any = None,
    ledger: Any = None,
    stop: threading.Event | None = None,
    warm: bool | None = None,
    workers_timeout_s: float = 300.0,
) -> RunResult:
    """Run tasks on a Dask cluster until all have ended, or the run is told to stop.

    Parameters
    ----------
    tasks
        An iterator, read as places become free: at most `window` tasks are in memory.
    client
        ``distributed.Client`` of any cluster.
    process
        What does a task: ``"module:function"``, or a function that workers can import.
    in_transaction
        What does a task where `sink` is transactional: takes a task and a token, returns a record and a token.
    window
        Tasks in flight; of a transactional store also the tasks of a commit.
    timeout_s
        Seconds that a task may take. Its worker is ended then, and the task runs once more in a process of its own;
        None for no limit. Workers without a nanny are not ended.
    on_record
        Called for each task that has ended, in this thread.
    watchers
        Look on; `xcloudmask.run.progress.RunProgress` and `xcloudmask.run.metrics.Metrics` are some.
    sink
        The store, from `xcloudmask.run.stores.open_sink`; only needed where it is transactional.
    ledger
        From `xcloudmask.run.ledger.open_ledger`, for records that no worker could write; None to write none.
    stop
        Set it, and no more tasks are begun; `xcloudmask.run.drain.draining` does on a signal.
    warm
        Whether workers load the model of the first task before they get one; None does where `process` is the default.
    workers_timeout_s
        How long to wait for the first, or another, worker.

    Returns
    -------
    RunResult

    Raises
    ------
    FatalError
        A task found what would stop every other one as well. Those that had begun have ended.
    ClusterError
        The scheduler is gone, or there are no workers.
    ArgumentError
        An argument is not what it should be.

    Notes
    -----
    When a worker dies, the tasks that were on it run again in processes of their own: only the one that dies again is
    quarantined. Each task may run more than once; it writes the same bytes, and the ledger counts it once.
    """
    if not isinstance(window, int) or window < 1:
        raise ArgumentError(f"window={window!r}. Expected a positive integer: tasks in flight. Type window=1000.")
    if timeout_s is not None and not timeout_s > 0:
        raise ArgumentError(f"timeout_s={timeout_s!r}. Expected seconds above 0, or None for no limit.")
    name = process_name(process)
    waiting = iter(tasks)
    first = next(waiting, None)
    if first is None:
        return RunResult()
    prepare_cluster(client, job=first.job if warm or (warm is None and name == PROCESS) else None)
    transactional = bool(getattr(sink, "transactional", False))
    run = _Run(
        flight=Flight(
            client,
            process=name,
            timeout_s=timeout_s,
            in_transaction=process_name(in_transaction) if transactional else None,
        ),
        client=client,
        on_record=on_record,
        watchers=watchers,
        ledger=ledger,
        stop=stop or threading.Event(),
        workers_timeout_s=workers_timeout_s,
    )
    try:
        if transactional:
            run.in_windows(chain([first], waiting), window, sink)
        else:
            run.all(chain([first], waiting), window)
    finally:
        run.flight.cancel()
    return run.result()


def prepare_cluster(client: Any, *, job: Job | None = None) -> None:
    """Get a cluster ready for a campaign: how deaths count, the watchdog, and the model in each worker.

    Parameters
    ----------
    client
        ``distributed.Client``.
    job
        Whose model workers load; None for none.

    Raises
    ------
    WeightsError
        A worker has another model.
    ModelError
        A worker cannot load the model.
    ClusterError
        The scheduler is gone, or xcloudmask is missing on the cluster.
    """
    if client.status != "running":
        raise lost_scheduler(client)
    shorten_log(getattr(client, "scheduler_comm", None))
    model: dict[str, Any] = (
        {} if job is None else {"model": job.model, "sha256": job.model_sha256, "options": dict(job.options)}
    )
    plugin = worker_plugin(**model)
    try:
        with cluster_errors(client):
            client.register_plugin(scheduler_plugin())
            client.register_plugin(plugin)
    except ClusterError:
        raise
    except Exception as error:
        with suppress(Exception):
            # Else every worker that comes later, of anybody, would fail at it.
            client.unregister_worker_plugin(plugin.name)
        if isinstance(error, XCloudMaskError):
            raise
        raise ClusterError(
            f"The cluster cannot be made ready ({type(error).__name__}: {error}). Expected xcloudmask {__version__} "
            f"where the scheduler and the workers run. Type there: pip install 'xcloudmask[run]=={__version__}'"
        ) from error


class _Run:
    """One call of `run_tasks`."""

    def __init__(
        self,
        *,
        flight: Flight,
        client: Any,
        on_record: Callable[[Record], None] | None,
        watchers: Sequence[Watcher],
        ledger: Any,
        stop: threading.Event,
        workers_timeout_s: float,
    ) -> None:
        self.flight, self._client, self._ledger, self._stop = flight, client, ledger, stop
        self._on_record, self._watchers = on_record, watchers
        self._workers_timeout_s = workers_timeout_s
        self._counts: Counter[str] = Counter()
        self._failures: list[Record] = []
        self._started = self._looked = self._manned = time.monotonic()
        self._fatal = ""
        self._drained = self._withdrawn = False

    def all(self, waiting: Iterator[Task], window: int) -> None:
        """Keep the window full until nothing is left."""
        refill = max(1, window // 4)
        while True:
            room = 0 if self._stopping() else window - len(self.flight)
            if room >= refill:
                self.flight.send(islice(waiting, room))
            if not len(self.flight):
                break
            for _, outcome in self._take():
                self._finish(outcome)
        self._end(waiting)

    def in_windows(self, waiting: Iterator[Task], window: int, sink: Any) -> None:
        """Run a window, commit it, write its records; then the next."""
        while not self._stopping():
            tasks = list(islice(waiting, window))
            if not tasks:
                break
            self.flight.send(tasks, token=sink.begin())
            self._commit(sink, list(self._until_empty()))
            self.flight.release()
            for outcome in self._until_empty():
                self._finish(outcome)
        self._end(waiting)

    def result(self) -> RunResult:
        return RunResult(
            counts=dict(self._counts),
            seconds=time.monotonic() - self._started,
            drained=self._drained,
            isolated=self.flight.isolated,
            failures=tuple(self._failures),
        )

    def _until_empty(self) -> Iterator[Outcome]:
        while len(self.flight):
            self._stopping()
            for _, outcome in self._take():
                yield outcome

    def _take(self) -> list[tuple[Task, Outcome]]:
        taken = self.flight.take(_TAKE_S)
        if taken:
            self._manned = time.monotonic()
        else:
            self._look_for_workers()
        for watcher in self._watchers:
            watcher.tick(flying=len(self.flight), isolated=self.flight.isolated)
        self._fatal = self._fatal or next((outcome.fatal for _, outcome in taken if outcome.fatal), "")
        return taken

    def _stopping(self) -> bool:
        """Whether nothing new is to be begun; takes back what has not begun, once."""
        if not (self._fatal or self._stop.is_set()):
            return False
        if not self._withdrawn:
            self._withdrawn = True
            self._drained = True
            self.flight.withdraw()
        return True

    def _finish(self, outcome: Outcome) -> None:
        """Write the record where nobody has, and count it."""
        record = outcome.record
        if record is None:
            return
        if not outcome.written and self._ledger is not None:
            self._ledger.put(record)
        self._counts[record.status] += 1
        if record.status in ("failed", "quarantined") and len(self._failures) < _MOST_FAILURES:
            self._failures.append(record)
        if self._on_record is not None:
            self._on_record(record)
        for watcher in self._watchers:
            watcher.record(record)

    def _commit(self, sink: Any, outcomes: Sequence[Outcome]) -> None:
        """Commit what a window has written; only then its records may say so."""
        tokens = [outcome.token for outcome in outcomes if outcome.token is not None]
        records = [outcome.record for outcome in outcomes if outcome.record is not None]
        snapshot = sink.commit(tokens, records) if tokens else ""
        for outcome in outcomes:
            if outcome.record is not None:
                record = replace(outcome.record, snapshot=snapshot if outcome.token is not None else "")
                self._finish(replace(outcome, record=record))

    def _end(self, waiting: Iterator[Task]) -> None:
        if self._fatal:
            from xcloudmask.run.faults import FatalError

            raise FatalError(self._fatal)
        if self._drained:
            close = getattr(waiting, "close", None)
            if close is not None:
                close()

    def _look_for_workers(self) -> None:
        """Raise where there have been none for too long."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        try:
            manned = bool(self._client.nthreads())
        except OSError:
            self.flight.check()
            return
        if manned:
            self._manned = now
        elif now - self._manned > self._workers_timeout_s:
            raise ClusterError(
                f"The cluster has had no workers for {now - self._manned:.0f} s. What is done is in the ledger: start "
                "workers (for a cluster that scales, cluster.scale(n)), and type the same command again."
            )
