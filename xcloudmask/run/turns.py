"""Who may do what when in a worker: a few tasks predict, the others read and write meanwhile; and patience with errors.

With more threads than predictions at once, a processor or a GPU never waits for a file.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import dask.config
from dask.system import CPU_COUNT

from xcloudmask.errors import ArgumentError
from xcloudmask.run.faults import RETRIED, Stage, classify

__all__ = ["Patience", "Seats", "patiently", "predicting", "predictions_at_once", "seats_of"]

Result = TypeVar("Result")


class Seats:
    """A number of places, each taken by one thread at a time; the number may change while threads wait.

    Examples
    --------
    >>> seats = Seats()
    >>> with seats.taken(lambda: 1):
    ...     seats.in_use
    1
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._used = 0

    @property
    def in_use(self) -> int:
        """Places that are taken now."""
        return self._used

    @contextmanager
    def taken(self, places: Callable[[], int]) -> Iterator[None]:
        """Wait for a place among as many as there are when asked."""
        with self._changed:
            self._changed.wait_for(lambda: self._used < places())
            self._used += 1
        try:
            yield
        finally:
            with self._changed:
                self._used -= 1
                self._changed.notify()


_seats = Seats()


@contextmanager
def predicting(device: str = "auto") -> Iterator[None]:
    """Wait for the turn to predict in this process.

    Parameters
    ----------
    device
        Where the model runs, as the options have it.

    Examples
    --------
    >>> with predicting("cpu"):
    ...     pass
    """
    places = predictions_at_once(device)
    with _seats.taken(lambda: places):
        yield


def predictions_at_once(device: str = "auto") -> int:
    """Return how many tasks of this process may predict at the same time.

    Parameters
    ----------
    device
        Where the model runs, as the options have it.

    Returns
    -------
    int
        One on an accelerator. On a processor one for each thread of the worker, but no more than there are cores.
        Dask's configuration goes before both: ``xcloudmask.run.predicting``; see `seats_of` for workers that share
        cores.

    Raises
    ------
    ArgumentError
        The configuration holds no positive number.

    Examples
    --------
    >>> with dask.config.set({"xcloudmask.run.predicting": 3}):
    ...     predictions_at_once("cpu")
    3
    """
    asked: Any = dask.config.get("xcloudmask.run.predicting", None)
    if asked is not None:
        if not isinstance(asked, int) or isinstance(asked, bool) or asked < 1:
            raise ArgumentError(
                f"dask's configuration has xcloudmask.run.predicting = {asked!r}. Expected a number of threads, 1 or "
                "more."
            )
        return asked
    return 1 if _is_accelerator(device) else min(_threads(), CPU_COUNT)


def seats_of(*, workers: int | None, threads: int, cores: int = CPU_COUNT) -> dict[str, Any]:
    """Return the configuration of workers on one machine, for ``local_cluster(config=...)``.

    Parameters
    ----------
    workers
        Processes; None for as many as leave a core for each thread.
    threads
        Threads of each. Those beyond its share of the cores read and write.
    cores
        Of the machine.

    Returns
    -------
    dict
        How many threads of each process predict at once.

    Examples
    --------
    >>> seats_of(workers=4, threads=2, cores=4), seats_of(workers=1, threads=3, cores=2)
    ({'xcloudmask': {'run': {'predicting': 1}}}, {'xcloudmask': {'run': {'predicting': 2}}})
    """
    share = threads if workers is None else max(1, min(threads, cores // workers))
    return {"xcloudmask": {"run": {"predicting": share}}}


def _is_accelerator(device: str) -> bool:
    if device != "auto":
        return device != "cpu"
    torch: Any = sys.modules.get("torch")  # not there before the first model is: then nothing predicts yet
    return torch is not None and bool(torch.cuda.is_available())


def _threads() -> int:
    """Threads of the worker that this thread belongs to."""
    distributed: Any = sys.modules.get("distributed")
    if distributed is not None:
        try:
            return int(distributed.get_worker().state.nthreads)
        except (ValueError, AttributeError):
            pass  # not in a task of a worker
    return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often, and how long, something is tried again that may be well later."""

    attempts: int = 4
    """Tries in all."""
    first_s: float = 1.0
    """Mean pause after the first try; each later one is twice as long."""
    longest_s: float = 60.0
    """Longest mean pause."""
    most_s: float = 600.0
    """No try begins later than this after the first began."""

    def pause_s(self, tries: int, jitter: float) -> float:
        """Return the pause after so many tries.

        Parameters
        ----------
        tries
            From 1.
        jitter
            0 to 1: many workers that failed at once must not come back at once.

        Examples
        --------
        >>> Patience().pause_s(1, 0.0), Patience().pause_s(3, 1.0), Patience().pause_s(30, 0.5)
        (0.5, 6.0, 60.0)
        """
        # The exponent is kept small: a float overflows at 2**1024.
        return min(self.longest_s, self.first_s * 2.0 ** min(tries - 1, 60)) * (0.5 + jitter)


@dataclass(slots=True)
class Tries:
    """How often something was tried, for the record."""

    most: int = 1


def patiently(
    work: Callable[[], Result],
    *,
    patience: Patience,
    stage: Stage = "read",
    tries: Tries | None = None,
    sleep: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] = random.random,
) -> Result:
    """Do something, and do it again where its error may go away.

    Parameters
    ----------
    work
        What is done; may be done twice.
    patience
        How often and how long.
    stage
        For `classify`.
    tries
        Is told how often it was tried.
    sleep, jitter
        For tests.

    Returns
    -------
    object
        What `work` returns.

    Raises
    ------
    Exception
        The last error of `work`, as it was.

    Examples
    --------
    >>> patiently(lambda: 1, patience=Patience())
    1
    """
    begun = time.monotonic()
    count = 0
    while True:
        count += 1
        if tries is not None:
            tries.most = max(tries.most, count)
        try:
            return work()
        except Exception as error:
            if classify(error, stage=stage) not in RETRIED or count >= patience.attempts:
                raise
            pause = patience.pause_s(count, jitter())
            if time.monotonic() - begun + pause > patience.most_s:
                raise
        # Outside of the handler: the frames of the failed try, and its pixels, are free while we wait.
        sleep(pause)
