"""Tasks in flight on a cluster: sent in batches, taken back as they end, run again alone where a worker died."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from xcloudmask._optional import require
from xcloudmask.errors import ClusterError, ReadError, XCloudMaskError
from xcloudmask.run.task import Task
from xcloudmask.run.wire import Outcome, ended, task_to_json
from xcloudmask.run.workers import GROUP, GROUP_ALONE, run_alone, run_shared

__all__ = ["Flight", "cluster_errors", "lost_scheduler"]

_BATCH = 250
_BATCH_BYTES = 4 * 2**20
"""Tasks sent at once: Dask warns of graphs above 10 MB."""
_POLL_S = 0.02
_TRIES = 5
"""How often a task is sent again because its worker, or its key, was lost: not of its own doing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flying:
    task: Task
    alone: bool = False
    """Whether it runs in a process of its own."""
    tries: int = 0
    """How often it was lost."""


class Flight:
    """The tasks that a client has on its cluster."""

    def __init__(
        self, client: Any, *, process: str, timeout_s: float | None = None, in_transaction: str | None = None
    ) -> None:
        """Where `in_transaction` is what does a task with a token, tasks that have to run alone wait for `release`."""
        self._client, self._hold = client, in_transaction is not None
        self._with_token = {"process": in_transaction, "timeout_s": timeout_s}
        self._held: list[_Flying] = []
        self._closing = False
        self._arguments = {"process": process, "timeout_s": timeout_s}
        self._distributed = require("distributed", extra="distributed")
        self._ended: Any = self._distributed.as_completed(loop=client.loop)
        self._flying: dict[Any, _Flying] = {}
        self._futures: dict[Any, Any] = {}
        # Another client with the same tasks must not be given the results, or the failures, of this one.
        self._run, self._number = secrets.token_hex(4), 0
        self._token: Any = None
        self.isolated = 0
        """How many tasks were run alone."""

    def __len__(self) -> int:
        return len(self._flying)

    def send(self, tasks: Iterable[Task], *, token: Any = None) -> None:
        """Send tasks to the cluster.

        Parameters
        ----------
        tasks
            They are all taken.
        token
            Of a transactional store; comes back with what each task wrote.

        Raises
        ------
        ClusterError
            The scheduler is gone.
        """
        self._token = token
        self._send([_Flying(task=task) for task in tasks])

    def release(self) -> None:
        """Send the tasks that were held back, each to a process of its own.

        Raises
        ------
        ClusterError
            The scheduler is gone.
        """
        held, self._held = self._held, []
        self._submit([(one, task_to_json(one.task)) for one in held], alone=True)

    def take(self, timeout_s: float) -> list[tuple[Task, Outcome]]:
        """Take what has ended.

        Parameters
        ----------
        timeout_s
            How long to wait for the first.

        Returns
        -------
        list of (Task, Outcome)
            Empty where nothing ended in time.

        Raises
        ------
        ClusterError
            The scheduler is gone.
        """
        deadline = time.monotonic() + timeout_s
        while not self._ended.has_ready():
            self.check()
            if time.monotonic() > deadline or not self._flying:
                return []
            time.sleep(_POLL_S)
        return list(self._sorted_out(self._ended.next_batch(block=False)))

    def check(self) -> None:
        """Raise where the scheduler is gone.

        Raises
        ------
        ClusterError
            It is.
        """
        if self._client.status != "running":
            raise lost_scheduler(self._client)

    def withdraw(self) -> int:
        """Take back the tasks that no worker has begun; return how many stay in flight. None is sent again.

        Raises
        ------
        ClusterError
            The scheduler is gone.
        """
        self._closing = True
        with cluster_errors(self._client):
            begun = {key for keys in self._client.processing().values() for key in keys}
        idle = [key for key, future in self._futures.items() if key not in begun and not future.done()]
        self._forget(idle)
        return len(self._flying)

    def cancel(self) -> None:
        """Take back everything; nothing of it comes back any more."""
        with suppress(Exception):
            self._forget(list(self._futures))
        self._ended.clear()

    def _forget(self, keys: Sequence[Any]) -> None:
        futures = [self._futures.pop(key) for key in keys]
        for key in keys:
            del self._flying[key]
        if futures and self._client.status == "running":
            self._client.cancel(futures, force=True)

    def _send(self, flying: Sequence[_Flying]) -> None:
        for batch in _batches(flying):
            self._submit(batch, alone=False)
            if self._hold:
                self._held += [one for one, _ in batch if one.alone]
            else:
                self._submit(batch, alone=True)

    def _submit(self, batch: Sequence[tuple[_Flying, bytes]], *, alone: bool) -> None:
        chosen = {self._key(one): (one, data) for one, data in batch if one.alone == alone}
        if not chosen:
            return
        self.check()
        lines = [data for _, data in chosen.values()]
        arguments = self._arguments if alone or self._token is None else self._with_token | {"token": self._token}
        with cluster_errors(self._client):
            futures = self._client.map(
                run_alone if alone else run_shared, lines, key=list(chosen), pure=False, **arguments
            )
        self._flying |= {key: one for key, (one, _) in chosen.items()}
        self._futures |= dict(zip(chosen, futures, strict=True))
        self._ended.update(futures)

    def _key(self, one: _Flying) -> tuple[str, str, str]:
        self._number += 1
        return (GROUP_ALONE if one.alone else GROUP, one.task.name, f"{self._run}-{self._number}")

    def _sorted_out(self, futures: Sequence[Any]) -> Iterator[tuple[Task, Outcome]]:
        mine = [future for future in futures if future.key in self._flying]
        if any(future.status == "cancelled" for future in mine):
            self.check()
        results = self._results([future for future in mine if future.status == "finished"])
        again: list[_Flying] = []
        for future in mine:
            one = self._flying.pop(future.key)
            del self._futures[future.key]
            outcome = _outcome(one, results[future.key]) if future.key in results else None
            if outcome is None:
                found = self._lost(one, future)
                if isinstance(found, _Flying):
                    again.append(found)
                    continue
                outcome = found
            yield one.task, outcome
        if not self._closing:
            self._send(again)

    def _lost(self, one: _Flying, future: Any) -> _Flying | Outcome:
        """What becomes of a task that brought no result: it goes again, alone where its worker died."""
        error = future.exception(timeout=5) if future.status == "error" else None
        if error is not None and not isinstance(error, self._distributed.KilledWorker):
            return ended(one.task, "failed", f"{type(error).__name__}: {error}", attempts=one.tries + 1)
        if one.tries >= _TRIES:
            reason = f"its worker was lost {one.tries + 1} times; the cluster, not the scene, may be the reason"
            return ended(one.task, "failed", reason, attempts=one.tries + 1)
        alone = one.alone or error is not None
        self.isolated += alone and not one.alone
        return replace(one, alone=alone, tries=one.tries + 1)

    def _results(self, futures: Sequence[Any]) -> dict[Any, Any]:
        """What futures hold; those whose worker was lost with the result are left out."""
        if not futures:
            return {}
        with cluster_errors(self._client):
            try:
                return {future.key: value for future, value in zip(futures, self._gather(futures), strict=True)}
            except (self._distributed.KilledWorker, self._distributed.CancelledError):
                self.check()
            found = {}
            for future in futures:
                with suppress(self._distributed.KilledWorker, self._distributed.CancelledError):
                    found[future.key] = self._gather([future])[0]
            return found

    def _gather(self, futures: Sequence[Any]) -> list[Any]:
        values: list[Any] = self._client.gather(list(futures))
        return values


def lost_scheduler(client: Any) -> ClusterError:
    """Return the error for a scheduler that is gone."""
    address = getattr(getattr(client, "scheduler", None), "address", "the cluster")
    return ClusterError(
        f"The connection to the scheduler {address} was lost. What is done is in the ledger: type the same command "
        "again when the cluster is there, and it goes on from here."
    )


@contextmanager
def cluster_errors(client: Any) -> Iterator[None]:
    """Errors of connections that are lost become `ClusterError`."""
    try:
        yield
    except XCloudMaskError:
        raise
    except OSError as error:
        raise lost_scheduler(client) from error


def _outcome(one: _Flying, answer: bytes | tuple[bytes, Any]) -> Outcome:
    data, token = (answer, None) if isinstance(answer, bytes) else answer
    try:
        return replace(Outcome.from_bytes(data), token=token)
    except ReadError as error:
        return ended(one.task, "failed", str(error))


def _batches(flying: Sequence[_Flying]) -> Iterator[list[tuple[_Flying, bytes]]]:
    batch: list[tuple[_Flying, bytes]] = []
    size = 0
    for one in flying:
        data = task_to_json(one.task)
        if batch and (len(batch) >= _BATCH or size + len(data) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((one, data))
        size += len(data)
    if batch:
        yield batch
