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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from xcloudmask.errors import ArgumentError

__all__ = ["Share", "configured", "keep_freed_memory", "limit_torch_threads", "malloc_environment", "share_of_cores"]

T = TypeVar("T")

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # <malloc.h>
_KEEP_BYTES, _PAD_BYTES = 2**31 - 1, 256 * 2**20

_done = threading.local()
_given: set[int] = set()
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Share:
    """How the cores are shared."""

    tasks: int
    """Tasks that run a model at once in this process."""
    threads: int
    """Threads that each of them may use."""


def configured(name: str, default: T, choices: Sequence[T]) -> T:
    """Return a value of dask's configuration in this process.

    Parameters
    ----------
    name
        Such as ``"xcloudmask.device_engine"``.
    default
        Where the configuration has nothing.
    choices
        What it may hold.

    Returns
    -------
    one of the choices

    Raises
    ------
    ArgumentError
        The configuration holds something else.

    Examples
    --------
    >>> configured("xcloudmask.no_such_thing", "a", ["a", "b"])
    'a'
    """
    import dask.config

    value: T = dask.config.get(name, default)
    if value not in choices:
        raise ArgumentError(
            f"dask's configuration has {name} = {value!r}. Expected {' or '.join(map(repr, choices))}. Type "
            f"dask.config.set({{{name!r}: {default!r}}})."
        )
    return value


def share_of_cores() -> Share:
    """How many tasks run at once in this process, and how many threads each may use.

    The main thread is alone, with all threads that torch was given; the threads of a scheduler share them.

    Returns
    -------
    Share

    Examples
    --------
    >>> share_of_cores().tasks
    1
    """
    limit_torch_threads()
    if threading.current_thread() is threading.main_thread():
        import torch

        return Share(1, int(torch.get_num_threads()))
    share: Share = _done.share
    return share


def limit_torch_threads() -> None:
    """Give this thread its share of the cores; does nothing when called again.

    Examples
    --------
    >>> limit_torch_threads()
    """
    if getattr(_done, "share", None) is not None:
        return
    with _lock:
        if threading.current_thread() is threading.main_thread():
            _done.share = Share(1, _main_thread())
        else:
            _done.share = _worker_thread()


def _main_thread() -> int:
    """Threads of the main thread, which torch starts with what another thread has set, where that came first."""
    import torch

    threads = int(torch.get_num_threads())
    if threads in _given:
        threads = _all_threads()
        torch.set_num_threads(threads)
    return threads


def _worker_thread() -> Share:
    import torch

    tasks = _tasks_at_once()
    share = Share(tasks, max(1, _all_threads() // tasks))
    torch.set_num_threads(share.threads)
    _given.add(share.threads)
    return share


@cache
def _all_threads() -> int:
    """Threads that torch had before this module set any; each later thread starts with what was set last."""
    import torch

    return int(torch.get_num_threads())


def _tasks_at_once() -> int:
    """Threads that run tasks in this process."""
    distributed = sys.modules.get("distributed")
    if distributed is not None:
        try:
            return int(distributed.get_worker().state.nthreads)
        except (ValueError, AttributeError):
            pass  # not inside a task of a worker
    import dask.config
    from dask.system import CPU_COUNT

    return int(dask.config.get("num_workers", None) or CPU_COUNT)


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
    mallopt(3): M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD, M_ARENA_MAX.

    Examples
    --------
    >>> isinstance(keep_freed_memory(), bool)
    True
    """
    if not sys.platform.startswith("linux") or os.environ.get("XCLOUDMASK_MALLOC") == "system":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # Heaps of other threads than the first are given back whatever the threshold says. A thread that has one keeps it:
    # who can, calls this before threads begin to read.
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _KEEP_BYTES, _TOP_PAD: _PAD_BYTES, _ARENA_MAX: 1}
    return mallopt is not None and all(mallopt(name, value) == 1 for name, value in settings.items())


def malloc_environment() -> dict[str, str]:
    """Environment in which a process keeps freed memory from its start, as `keep_freed_memory` does later.

    Returns
    -------
    dict
        Variables of glibc; empty where `keep_freed_memory` would leave the allocator alone.

    Notes
    -----
    mallopt(3), "Environment variables".

    Examples
    --------
    >>> set(malloc_environment().values()) <= {"0", "1", "2147483647", "268435456"}
    True
    """
    if not sys.platform.startswith("linux") or os.environ.get("XCLOUDMASK_MALLOC") == "system":
        return {}
    return {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(_KEEP_BYTES),
        "MALLOC_TOP_PAD_": str(_PAD_BYTES),
        "MALLOC_ARENA_MAX": "1",
    }
