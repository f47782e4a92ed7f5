"""Plugins of distributed; imported only where it is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from dask.utils import key_split
from distributed import SchedulerPlugin, WorkerPlugin

from xcloudmask.run.workers import GROUP, prepare_worker, shorten_log

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CampaignScheduler", "CampaignWorker"]

_KEYS_KEPT = 5_000


class CampaignWorker(WorkerPlugin):
    """Gets each worker ready: those that are there, and those that come."""

    name = "xcloudmask-campaign"

    def __init__(self, *, model: str, sha256: str, options: dict[str, Any]) -> None:
        self.arguments: dict[str, Any] = {"model": model, "sha256": sha256, "options": options}

    async def setup(self, worker: Any) -> None:
        """Get the worker ready."""
        nanny = getattr(worker, "nanny", None) is not None
        # In the thread of the event loop, which is the main one: signals belong to it. It is short without a model.
        prepare_worker(model="", sha256="", options={}, nanny=nanny)
        if self.arguments["model"]:
            # In another thread, so that the worker's heartbeat goes on.
            await asyncio.to_thread(prepare_worker, **self.arguments, nanny=nanny)


class CampaignScheduler(SchedulerPlugin):
    """Makes the first death of a worker the last for the campaign's tasks on it, and has the scheduler forget.

    Dask would run them in three more workers first, and a task that kills its worker would take these, and every
    task on them, along. The coordinator runs them in processes of their own instead. Tasks of others keep
    ``allowed-failures``.

    Dask keeps the keys of the last 100,000 tasks in a cache, and the last 1,000 messages to each worker, with the tasks
    in them: tens of megabytes that nobody asks for again.
    """

    name = "xcloudmask-campaign"
    idempotent = True

    def __init__(self) -> None:
        self._keys = 0

    def update_graph(self, scheduler: Any, *, tasks: Iterable[Any], **_: Any) -> None:
        """Count the deaths that are allowed as if they had been."""
        ours = [key for key in tasks if isinstance(key, tuple) and str(key[0]).startswith(GROUP)]
        for key in ours:
            state = scheduler.tasks.get(key)
            if state is not None:
                state.suspicious = max(state.suspicious, scheduler.allowed_failures)
        if ours:
            self._forget(scheduler, len(ours))

    def _forget(self, scheduler: Any, number: int) -> None:
        for comm in (*scheduler.stream_comms.values(), *scheduler.client_comms.values()):
            shorten_log(comm)
        self._keys += number
        if self._keys >= _KEYS_KEPT:
            self._keys = 0
            key_split.cache_clear()
