"""How many threads torch may use: once per thread that runs a model.

Dask's threaded scheduler and in-process clusters run several tasks at once, each of which would otherwise take all
cores for itself; two OpenMP teams on the same cores are many times slower than one.
"""

from __future__ import annotations

import os
import sys
import threading

__all__ = ["limit_torch_threads"]

_done = threading.local()


def limit_torch_threads() -> None:
    """Share the cores among the threads of this worker; does nothing on the main thread, or when called again.

    Examples
    --------
    >>> limit_torch_threads()
    """
    if getattr(_done, "value", False):
        return
    _done.value = True
    if threading.current_thread() is threading.main_thread():
        return
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // _tasks_at_once()))


def _tasks_at_once() -> int:
    """Threads that run tasks in this process."""
    distributed = sys.modules.get("distributed")
    if distributed is not None:
        try:
            return int(distributed.get_worker().state.nthreads)
        except (ValueError, AttributeError):
            pass  # not inside a task of a worker
    import dask.config

    return int(dask.config.get("num_workers", None) or os.cpu_count() or 1)
