"""Plugins of distributed; imported only where it is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from distributed import SchedulerPlugin, WorkerPlugin

from xcloudmask.run.workers import GROUP, prepare_worker

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CampaignWorker", "OneDeath"]


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


class OneDeath(SchedulerPlugin):
    """Makes the first death of a worker the last for the campaign's tasks on it; others keep `allowed-failures`.

    Dask would run them in three more workers first, and a task that kills its worker would take these, and every
    task on them, along. The coordinator runs them in processes of their own instead.
    """

    name = "xcloudmask-one-death"
    idempotent = True

    def update_graph(self, scheduler: Any, *, tasks: Iterable[Any], **_: Any) -> None:
        """Count the deaths that are allowed as if they had been."""
        for key in tasks:
            if isinstance(key, tuple) and str(key[0]).startswith(GROUP):
                state = scheduler.tasks.get(key)
                if state is not None:
                    state.suspicious = max(state.suspicious, scheduler.allowed_failures)
