"""What runs on the machines of a cluster: the function that Dask calls for each task, and what a process gets ready.

Nothing in here imports distributed, so that the functions are found by name wherever tasks go.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from typing import Any

from xcloudmask.run.isolate import run_isolated
from xcloudmask.run.task import Task
from xcloudmask.run.watchdog import allow_end, watched
from xcloudmask.run.wire import Outcome, ended, resolve, task_from_json

__all__ = ["GROUP", "GROUP_ALONE", "outcome_of", "prepare_worker", "run_alone", "run_shared", "scheduler_plugin"]
__all__ += ["shorten_log", "worker_plugin"]

GDAL_CACHE_MB = "128"
"""Of decoded blocks, in each worker process; the environment variable ``GDAL_CACHEMAX`` goes before it."""
GROUP = "cloudmask"
"""Name of the tasks on Dask's dashboard."""
GROUP_ALONE = "cloudmask-isolated"
"""Name of the tasks that run in a process of their own."""
_MESSAGES_KEPT = 10


def run_shared(
    data: bytes, *, process: str, timeout_s: float | None = None, token: Any = None
) -> bytes | tuple[bytes, Any]:
    """Do a task in a thread of this worker.

    Parameters
    ----------
    data
        The task, from `xcloudmask.run.wire.task_to_json`.
    process
        ``"module:function"`` that does it.
    timeout_s
        Seconds after which the worker ends itself.
    token
        Of the transaction of a store; None for none.

    Returns
    -------
    bytes or (bytes, token)
        An `Outcome`; where a token was given, with what the store wants for its commit.
    """
    with watched(timeout_s):
        outcome = outcome_of(task_from_json(data), process, token=token)
    return outcome.to_bytes() if token is None else (outcome.to_bytes(), outcome.token)


def run_alone(data: bytes, *, process: str, timeout_s: float | None = None) -> bytes:
    """Do a task in a process of its own, beside this worker.

    Parameters
    ----------
    data, process, timeout_s
        As in `run_shared`; the process is killed after `timeout_s`.

    Returns
    -------
    bytes
        An `Outcome`.
    """
    task = task_from_json(data)
    return run_isolated(task, process=process, timeout_s=timeout_s, memory_bytes=_memory_limit()).to_bytes()


def outcome_of(task: Task, process: str, *, token: Any = None) -> Outcome:
    """Do a task here; what it raises becomes an outcome.

    Parameters
    ----------
    task
        The task.
    process
        ``"module:function"`` that does it.
    token
        Of the transaction of a store: `process` is called with it, and returns record and token. None for none.

    Returns
    -------
    Outcome
    """
    from xcloudmask.run.faults import FatalError

    try:
        if token is None:
            return Outcome(record=resolve(process)(task))
        in_transaction: Any = resolve(process)
        record, changed = in_transaction(task, token)
        # The ledger may say so only after the commit, which is still to come.
        return Outcome(record=record, written=False, token=changed if record.digest else None)
    except FatalError as error:
        return Outcome(fatal=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other tasks go on
        return ended(task, "failed", f"{type(error).__name__}: {error}")


def prepare_worker(*, model: str, sha256: str, options: dict[str, Any], nanny: bool) -> None:
    """Get a worker process ready: the watchdog, and the model, before the first task needs it.

    Parameters
    ----------
    model
        Name of a model or path of its card; empty for none.
    sha256
        Of its weights; empty not to check.
    options
        Keyword arguments of `predict`, of which device, precision and backend count.
    nanny
        Whether something starts this process anew when it ends.

    Raises
    ------
    WeightsError
        The worker has another model under that name.
    """
    allow_end(allowed=nanny)
    if nanny:
        # Else GDAL keeps blocks in 5 % of the machine's memory, in each process, whatever its limit is.
        os.environ.setdefault("GDAL_CACHEMAX", GDAL_CACHE_MB)
    if nanny and threading.current_thread() is threading.main_thread():
        # Ctrl-C goes to all processes of a terminal; the coordinator drains, and workers have to finish for that.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not model:
        return
    from xcloudmask.models.cache import get_runner
    from xcloudmask.models.loading import load_network
    from xcloudmask.models.registry import get_spec

    spec = get_spec(model)
    if sha256 and spec.sha256 != sha256:
        from xcloudmask.errors import WeightsError

        raise WeightsError(
            f"The model {model!r} of this worker has weights {spec.sha256[:12]}..., the campaign was planned with "
            f"{sha256[:12]}.... Install the same version of the model on all machines, or fork the campaign."
        )
    if spec.any_bands:  # what runs depends on the bands, which the first task tells
        load_network(spec)
        return
    chosen = {name: options[name] for name in ("device", "precision", "backend") if options.get(name)}
    get_runner(spec, **chosen)


def worker_plugin(*, model: str = "", sha256: str = "", options: dict[str, Any] | None = None) -> Any:
    """Return the plugin with which a worker calls `prepare_worker` when it starts.

    Parameters
    ----------
    model, sha256, options
        As in `prepare_worker`.

    Returns
    -------
    distributed.WorkerPlugin
    """
    from xcloudmask.run._plugins import CampaignWorker

    return CampaignWorker(model=model, sha256=sha256, options=options or {})


def scheduler_plugin() -> Any:
    """Return the plugin with which a scheduler gives up a campaign's task at the first death of its worker.

    Returns
    -------
    distributed.SchedulerPlugin
    """
    from xcloudmask.run._plugins import CampaignScheduler

    return CampaignScheduler()


def shorten_log(comm: Any) -> None:
    """Keep few of the messages that were sent: distributed keeps 1,000 of each connection, with the tasks in them.

    Parameters
    ----------
    comm
        A ``distributed.batched.BatchedSend``; where it has no such log, nothing happens.
    """
    log = getattr(comm, "recent_message_log", None)
    if isinstance(log, deque) and log.maxlen != _MESSAGES_KEPT:
        comm.recent_message_log = deque(log, maxlen=_MESSAGES_KEPT)


def _memory_limit() -> int:
    """Bytes that this worker may use; 0 where there is no limit, or no worker."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return 0
    try:
        manager = distributed.get_worker().memory_manager
    except (ValueError, AttributeError):
        return 0
    return int(getattr(manager, "memory_limit", None) or 0)
