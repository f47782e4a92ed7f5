"""A web server on localhost, in a process of its own, that serves a folder by byte ranges and misbehaves as it is told.

A process of its own, which this file is the program of, since rasterio asks GDAL for some things with the interpreter's
lock held: a server in a thread of the same process could then never answer, and both would wait for ever.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter, UserDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

Kind = Literal["status", "truncate", "reset", "stall", "redirect", "short_file"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong at a path."""

    kind: Kind
    status: int = 500
    """Of `status`, and of `redirect`."""
    times: int | None = None
    """How often, before all is well again; None for always."""
    target: str = ""
    """Of `redirect`."""
    after: int = 0
    """Bytes of a body, or of the file, that `truncate`, `reset`, `stall` and `short_file` let through."""
    methods: tuple[str, ...] = ("GET", "HEAD")
    """Requests that it happens to."""
    from_byte: int = 0
    """Only to ranges that begin there or later."""


@dataclass
class State:
    """What the handlers share."""

    folder: Path
    faults: dict[str, Fault] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    bodies: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def obey(self, order: dict[str, Any]) -> str:
        """Carry out an order of the tests; the answer, JSON, is sent back."""
        with self.lock:
            if "faults" in order:
                self.faults = {path: Fault(**fault) for path, fault in order["faults"].items()}
            if order.get("reset"):
                self.requests.clear()
                self.bodies.clear()
                self.hits.clear()
            known = {"requests": self.requests, "bodies": self.bodies, "hits": self.hits}
            return json.dumps(known[order["tell"]] if "tell" in order else None)


def main() -> None:
    """Serve the folder of the first argument at the host of the second until the pipe is closed."""
    state = State(folder=Path(sys.argv[1]))
    httpd = ThreadingHTTPServer((sys.argv[2], 0), _Handler)
    httpd.daemon_threads = True
    httpd.state = state  # type: ignore[attr-defined]
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    _say(str(httpd.server_port))
    for line in sys.stdin:
        _say(state.obey(json.loads(line)))
    os._exit(0)  # connections end here, whatever a handler waits for


class QuietHandler(BaseHTTPRequestHandler):
    """Answers HEAD and GET alike, and takes no client that goes away amiss."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True  # a client may go away at any time

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        """Answer a request; `command` tells which."""
        raise NotImplementedError


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class _Handler(QuietHandler):
    def setup(self) -> None:
        super().setup()
        # Headers and body are two writes; without this the kernel waits between them.
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def answer(self) -> None:
        state: State = self.server.state  # type: ignore[attr-defined]
        path = unquote(urlsplit(self.path).path).lstrip("/")
        with state.lock:
            state.requests.append((self.command, self.path.lstrip("/"), dict(self.headers)))
            fault = self._fault(state, path)
        if fault is not None and fault.kind in ("status", "redirect"):
            self._status(fault)
            return
        file = (state.folder / path).resolve()
        if not file.is_relative_to(state.folder.resolve()) or not file.is_file():
            self._status(Fault(kind="status", status=404))
            return
        content = file.read_bytes()
        if fault is not None and fault.kind == "short_file":
            content = content[: fault.after]
        self._send(state, path, content, fault)

    def _fault(self, state: State, path: str) -> Fault | None:
        fault = state.faults.get(path)
        if fault is None or self.command not in fault.methods:
            return None
        if (byte_range(self.headers.get("Range")) or (0, None))[0] < fault.from_byte:
            return None
        if fault.times is not None and state.hits[path] >= fault.times:
            return None
        state.hits[path] += 1
        return fault

    def _status(self, fault: Fault) -> None:
        self.send_response(fault.status)
        if fault.kind == "redirect":
            self.send_header("Location", fault.target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, state: State, path: str, content: bytes, fault: Fault | None) -> None:
        wanted, size = byte_range(self.headers.get("Range")), len(content)
        if wanted is not None and wanted[0] >= size:
            self._status(Fault(kind="status", status=416))
            return
        self.send_response(200 if wanted is None else 206)
        if wanted is not None:
            stop = size if wanted[1] is None else min(wanted[1] + 1, size)
            self.send_header("Content-Range", f"bytes {wanted[0]}-{stop - 1}/{size}")
            content = content[wanted[0] : stop]
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        broken = fault is not None and fault.kind in ("truncate", "reset", "stall")
        body = content[: fault.after] if fault is not None and broken else content
        self.wfile.write(body)
        with state.lock:
            state.bodies[path] += len(body)
        if broken:
            self.wfile.flush()
            self.close_connection = True
            if fault is not None and fault.kind == "stall":
                threading.Event().wait()  # until the process ends
            if fault is not None and fault.kind == "reset":
                # Closing with a linger of zero sends RST in place of FIN.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()


def byte_range(header: str | None) -> tuple[int, int | None] | None:
    """First and last byte of a Range header of one range."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", header or "")
    if not found:
        return None
    return int(found[1]), int(found[2]) if found[2] else None


# What tests see


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
def started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A server in a process of its own, which is killed with its connections when the context ends."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def serve(folder: Path, *, host: str = "127.0.0.1") -> Iterator[Server]:
    """Serve a folder until the context ends."""
    command = [sys.executable, "-I", "-S", __file__, str(folder), host]
    with started(command) as process:
        yield Server(folder, host, process)


if __name__ == "__main__":
    main()
