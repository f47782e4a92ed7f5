"""A web server on localhost, in a process of its own, that serves a folder and misbehaves where it is told to."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from collections import Counter, UserDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import http_server_process
from http_server_process import Fault

__all__ = ["Fault", "Server", "serve"]


class Server:
    """What tests see of it."""

    def __init__(self, folder: Path, host: str, process: subprocess.Popen[str]) -> None:
        self.folder, self.host, self._process = folder, host, process
        self._lock = threading.Lock()
        assert process.stdout is not None
        self.port = int(process.stdout.readline())
        self.faults = _Faults(self._ask)

    @property
    def requests(self) -> list[tuple[str, str, dict[str, str]]]:
        """Method, path and headers of each request."""
        return [(method, path, headers) for method, path, headers in self._ask(tell="requests")]

    @property
    def bodies(self) -> Counter[str]:
        """Bytes of bodies sent, by path."""
        return Counter(self._ask(tell="bodies"))

    @property
    def hits(self) -> Counter[str]:
        """How often each fault happened."""
        return Counter(self._ask(tell="hits"))

    def url(self, name: str) -> str:
        return f"http://{self.host}:{self.port}/{name}"

    def paths(self, method: str | None = None) -> list[str]:
        return [path for verb, path, _ in self.requests if method in (None, verb)]

    def reset(self) -> None:
        """Forget requests, bodies and hits."""
        self._ask(reset=True)

    def _ask(self, **order: object) -> Any:
        pipe, answers = self._process.stdin, self._process.stdout
        assert pipe is not None
        assert answers is not None
        with self._lock:
            pipe.write(json.dumps(order) + "\n")
            pipe.flush()
            return json.loads(answers.readline())


class _Faults(UserDict[str, Fault]):
    """Faults by path; the server learns of each change."""

    def __init__(self, ask: Any) -> None:
        self._ask = ask
        super().__init__()

    def __setitem__(self, path: str, fault: Fault) -> None:
        super().__setitem__(path, fault)
        self._tell()

    def __delitem__(self, path: str) -> None:
        super().__delitem__(path)
        self._tell()

    def _tell(self) -> None:
        self._ask(faults={path: dataclasses.asdict(fault) for path, fault in self.data.items()})


@contextmanager
def serve(folder: Path, *, host: str = "127.0.0.1") -> Iterator[Server]:
    """Serve a folder until the context ends."""
    command = [sys.executable, "-I", "-S", http_server_process.__file__, str(folder), host]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(folder, host, process)
        finally:
            process.kill()  # connections end with it
