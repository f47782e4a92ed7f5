"""One task in a process of its own: what kills it, kills nothing else.

The parent writes one line of JSON to the child and reads an `Outcome` back. The child is a fresh interpreter (a fork of
a process with torch or GDAL in it deadlocks), and ends when its parent does.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from typing import IO, Any

from xcloudmask._optional import require
from xcloudmask.run.task import Task
from xcloudmask.run.wire import Outcome, ended, resolve, task_from_json, task_to_json

__all__ = ["main", "run_isolated"]

_READY = b">"
"""First byte of what a child writes: it has started and found the function, so what kills it now is the task."""
_POLL_S = 0.1
_START_S = 300.0
_FOREVER_S = 1e9
_NO_PARENT = 70
_alone = threading.Lock()
"""One child at a time in each worker: each may need as much memory as the worker."""


def run_isolated(
    task: Task, *, process: str, timeout_s: float | None = None, memory_bytes: int = 0, died: str = "its worker"
) -> Outcome:
    """Do a task in a child process and wait for it.

    Parameters
    ----------
    task
        The task.
    process
        ``"module:function"`` that does it.
    timeout_s
        Seconds until the child is killed; None for no limit.
    memory_bytes
        Memory at which the child is killed; 0 for no limit.
    died
        What this task, or a neighbour of it, has killed before; for the reason.

    Returns
    -------
    Outcome
        Of the task; ``"quarantined"`` where the child died of it, ``"failed"`` where no child could be started.
    """
    with _alone, tempfile.TemporaryFile() as answer:
        child = _start(process, answer)
        try:
            _send(child, task_to_json(task))
            killed = _watch(child, answer, timeout_s=timeout_s, memory_bytes=memory_bytes)
        finally:
            _end(child)
        answer.seek(0)
        said = answer.read()
    if said[:1] != _READY:
        return ended(task, "failed", f"the process for it did not start ({_code(child.returncode)}); see the log")
    if killed:
        return ended(task, "quarantined", killed, attempts=2)
    if child.returncode == 0 and len(said) > 1:
        return Outcome.from_bytes(said[1:])
    return ended(task, "quarantined", f"killed {died} and then its own process: {_code(child.returncode)}", attempts=2)


def main(process: str) -> int:
    """Do the task on standard input and write its outcome to standard output.

    Parameters
    ----------
    process
        ``"module:function"``.

    Returns
    -------
    int
        0: an outcome was written.
    """
    faulthandler.enable()
    # What libraries print does not belong to the answer.
    with os.fdopen(os.dup(1), "wb") as answer:
        os.dup2(2, 1)
        task = task_from_json(sys.stdin.buffer.readline())
        threading.Thread(target=_end_with_parent, daemon=True).start()
        resolve(process)
        answer.write(_READY)
        answer.flush()
        from xcloudmask.run.workers import outcome_of

        answer.write(outcome_of(task, process).to_bytes())
        answer.flush()
        # Threads of libraries are no reason to stay.
        os._exit(0)


def _start(process: str, answer: IO[bytes]) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        # As many as this thread has, so that the child computes as its worker would.
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(torch.get_num_threads()))
    return subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", "xcloudmask.run.isolate", process],
        stdin=subprocess.PIPE,
        stdout=answer,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the coordinator
    )


def _send(child: subprocess.Popen[bytes], line: bytes) -> None:
    """Write the task and leave the pipe open: the child ends when it closes."""
    if child.stdin is None:
        return
    with suppress(BrokenPipeError):  # it died at the start, which is seen later
        child.stdin.write(line + b"\n")
        child.stdin.flush()


def _watch(child: subprocess.Popen[bytes], answer: IO[bytes], *, timeout_s: float | None, memory_bytes: int) -> str:
    """Wait for the end of a child; return why it is to be killed, or an empty text."""
    deadline, ready = time.monotonic() + _START_S, False
    while child.poll() is None:
        if not ready and os.fstat(answer.fileno()).st_size:
            ready, deadline = True, time.monotonic() + (_FOREVER_S if timeout_s is None else timeout_s)
        if time.monotonic() > deadline:
            return f"took longer than {timeout_s:g} s, alone in a process" if ready else "did not start"
        if memory_bytes and _resident(child.pid) > memory_bytes:
            return f"needed more memory than a worker has ({memory_bytes / 2**30:.1f} GiB)"
        with suppress(subprocess.TimeoutExpired):
            child.wait(_POLL_S)
    return ""


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.kill()
    child.wait()
    if child.stdin is not None:
        with suppress(BrokenPipeError):
            child.stdin.close()


def _resident(pid: int) -> int:
    psutil = require("psutil", extra="distributed")
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _code(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return f"signal {-code} ({signal.Signals(-code).name})"
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"


def _end_with_parent() -> None:
    # Not by `sys.stdin`, whose lock the end of an interpreter needs: it would abort in place of saying its error.
    while os.read(0, 1024):
        pass
    os._exit(_NO_PARENT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
