"""What a run has around it: a cluster, and those who look on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from xcloudmask._optional import require
from xcloudmask.cluster import local_cluster
from xcloudmask.errors import ClusterError
from xcloudmask.run.coordinator import Watcher
from xcloudmask.run.options import RunOptions
from xcloudmask.run.turns import seats_of

__all__ = ["chosen", "connected", "watching"]

_CONNECT_S = 30
_CLOSE_S = 20


def chosen(options: RunOptions, **given: Any) -> RunOptions:
    """Return options with what was given in place of what was configured; None is not given.

    Examples
    --------
    >>> chosen(RunOptions(workers=2, threads=3), workers=4, threads=None).workers
    4
    """
    return replace(options, **{name: value for name, value in given.items() if value is not None})


@contextmanager
def connected(options: RunOptions) -> Iterator[Any]:
    """Yield the client of a cluster: of the scheduler that is named, else of processes that are started here.

    Raises
    ------
    ClusterError
        There is no scheduler at the address, or no worker process starts.
    MissingPackageError
        distributed is not installed.
    """
    distributed: Any = require("distributed", extra="run")
    with ExitStack() as stack:
        address: Any = options.scheduler
        if address is None:
            log = logging.getLogger("distributed.nanny")
            stack.callback(log.setLevel, log.level)
            memory = "auto" if options.memory_limit is None else options.memory_limit
            address = stack.enter_context(
                local_cluster(
                    workers=options.workers,
                    threads=options.threads,
                    memory_limit=memory,
                    dashboard_address=options.dashboard,
                    config=seats_of(workers=options.workers, threads=options.threads),
                )
            )
            # A worker that is slow to end is ended, which needs no warning: it has nothing left to do.
            stack.callback(log.setLevel, logging.ERROR)
        try:
            client = distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"There is no Dask scheduler at {address} ({error}). Expected an address such as tcp://10.0.0.5:8786; "
                "leave it out to start worker processes on this machine."
            ) from error
        stack.callback(client.close, timeout=_CLOSE_S)
        yield client


@contextmanager
def watching(options: RunOptions, *, tasks: int, finished: int, quiet: bool) -> Iterator[tuple[Watcher, ...]]:
    """Yield those who look on: progress, and metrics.

    Parameters
    ----------
    options
        Of the run.
    tasks
        Of the whole campaign.
    finished
        Those that were before this run.
    quiet
        Whether no progress is shown.
    """
    from xcloudmask.run.metrics import Metrics
    from xcloudmask.run.progress import RunProgress

    found: list[Watcher] = []
    with ExitStack() as stack:
        if not quiet:
            found.append(stack.enter_context(RunProgress(total=tasks - finished)))
        if options.metrics or options.metrics_port is not None:
            path = Path(options.metrics) if options.metrics else None
            found.append(stack.enter_context(Metrics(total=tasks - finished, path=path, port=options.metrics_port)))
        yield tuple(found)
