"""The threads of dask's threaded scheduler, which go on for a while after an error was raised."""

from __future__ import annotations

import threading

import dask.threaded


def let_dask_finish() -> None:
    """Wait until no thread of dask's is at work."""
    pools = [pool for by_number in list(dask.threaded.pools.values()) for pool in by_number.values()]
    for pool in (dask.threaded.default_pool, *pools):
        if pool is not None:
            number = pool._max_workers  # which dask itself goes by
            meeting = threading.Barrier(number + 1)
            for _ in range(number):
                pool.submit(meeting.wait)
            meeting.wait()
