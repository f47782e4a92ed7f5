"""What a process that runs a model on its processor is told once: how many threads to use, and to keep its memory.

Dask's threaded scheduler and in-process clusters run several tasks at once, each of which would otherwise take all
cores for itself; two OpenMP teams on the same cores are many times slower than one.

glibc gives every large array back to the kernel when it is freed, and the kernel clears each page of the next one: a
third of the time of a forward pass on a processor.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from functools import cache

__all__ = ["keep_freed_memory", "limit_torch_threads"]

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # <malloc.h>
_KEEP_BYTES, _PAD_BYTES = 2**31 - 1, 256 * 2**20

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


@cache
def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for the next array (at most 2 GiB); once per process.

    ``XCLOUDMASK_MALLOC=system`` leaves the allocator alone.

    Returns
    -------
    bool
        Whether the allocator took it: False where it is not glibc, or was to be left alone.

    Notes
    -----
    mallopt(3): M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD.

    Examples
    --------
    >>> isinstance(keep_freed_memory(), bool)
    True
    """
    if not sys.platform.startswith("linux") or os.environ.get("XCLOUDMASK_MALLOC") == "system":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _KEEP_BYTES, _TOP_PAD: _PAD_BYTES}
    return mallopt is not None and all(mallopt(name, value) == 1 for name, value in settings.items())
