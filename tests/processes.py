"""Jobs in processes of their own: killed at some point, or held to so much memory.

A job is "module:function" of an importable module (a test module is one) with keyword arguments that pickle. Processes
come from a fork server that has imported the slow packages once, and has no threads: each starts in some milliseconds.
"""

from __future__ import annotations

import importlib
import multiprocessing
import resource
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PRELOADED = ["pytest", "numpy", "dask.array", "xarray", "zarr", "odc.geo.crs", "distributed", "xcloudmask"]
LONGEST_S = 240.0

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(PRELOADED)


def run_whole(job: str, **arguments: Any) -> float:
    """Run a job to its end and return the seconds it took; its error is raised here as an AssertionError."""
    return _Process(job, arguments).finish()


def run_killed(job: str, *, after_s: float, **arguments: Any) -> bool:
    """Run a job and kill it with SIGKILL; return whether that came before its end. Its error is raised here."""
    return _Process(job, arguments).kill(after_s)


def run_limited(job: str, *, memory_mb: float, **arguments: Any) -> float:
    """Run a job that may take so much memory beyond what its process holds at the start (heap and stacks, no files)."""
    return _Process(job, arguments, memory_mb=memory_mb).finish()


class _Process:
    def __init__(self, job: str, arguments: dict[str, Any], memory_mb: float | None = None) -> None:
        self.pipe, theirs = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(target=_child, args=(job, arguments, memory_mb, theirs), daemon=True)
        self.process.start()
        theirs.close()
        assert self.pipe.poll(LONGEST_S), f"{job} does not start"
        assert self.pipe.recv() == "ready"
        self.started = time.perf_counter()

    def finish(self) -> float:
        if not self.pipe.poll(LONGEST_S):
            self.process.kill()
            raise AssertionError(f"no end after {LONGEST_S} s")
        return self._result()

    def kill(self, after_s: float) -> bool:
        if self.pipe.poll(max(0.0, after_s - (time.perf_counter() - self.started))):
            self._result()
            return False
        self.process.kill()
        self.process.join(LONGEST_S)
        return True

    def _result(self) -> float:
        try:
            error = self.pipe.recv()
        except EOFError:
            self.process.join(LONGEST_S)
            raise AssertionError(f"the process died with exit code {self.process.exitcode}") from None
        seconds = time.perf_counter() - self.started
        self.process.join(LONGEST_S)
        assert error is None, error
        return seconds


def _child(job: str, arguments: dict[str, Any], memory_mb: float | None, pipe: Connection) -> None:
    module, _, name = job.partition(":")
    function = getattr(importlib.import_module(module), name)
    if memory_mb is not None:
        limit = _data_bytes() + int(memory_mb * 2**20)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    pipe.send("ready")
    try:
        function(**arguments)
    except BaseException:  # noqa: BLE001  # sent to the test
        pipe.send(traceback.format_exc())
        raise SystemExit(1) from None
    pipe.send(None)


def _data_bytes() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData")]
    return int(line.split()[1]) * 1024
