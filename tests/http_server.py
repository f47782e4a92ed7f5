"""A web server on localhost that serves a folder by byte ranges, counts, and misbehaves where it is told to."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
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
class Server:
    """What tests see of it."""

    folder: Path
    port: int
    host: str = "127.0.0.1"
    faults: dict[str, Fault] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path and headers of each request."""
    bodies: Counter[str] = field(default_factory=Counter)
    """Bytes of bodies sent, by path."""
    hits: Counter[str] = field(default_factory=Counter)
    """How often each fault happened."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)
    """Set at the end, and ends what stalls."""

    def url(self, name: str) -> str:
        return f"http://{self.host}:{self.port}/{name}"

    def paths(self, method: str | None = None) -> list[str]:
        return [path for verb, path, _ in self.requests if method in (None, verb)]

    def reset(self) -> None:
        with self.lock:
            self.requests.clear()
            self.bodies.clear()
            self.hits.clear()


@contextmanager
def serve(folder: Path, *, host: str = "127.0.0.1") -> Iterator[Server]:
    """Serve a folder until the context ends."""
    httpd = ThreadingHTTPServer((host, 0), _Handler)
    httpd.daemon_threads = True
    httpd.state = Server(folder=folder, port=httpd.server_port, host=host)  # type: ignore[attr-defined]
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield httpd.state  # type: ignore[attr-defined]
    finally:
        httpd.state.over.set()  # type: ignore[attr-defined]
        httpd.shutdown()
        httpd.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        # Headers and body are two writes; without this the kernel waits between them.
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True  # a client may go away at any time

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        state: Server = self.server.state  # type: ignore[attr-defined]
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

    def _fault(self, state: Server, path: str) -> Fault | None:
        fault = state.faults.get(path)
        if fault is None or self.command not in fault.methods:
            return None
        if (_range(self.headers.get("Range")) or (0, None))[0] < fault.from_byte:
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

    def _send(self, state: Server, path: str, content: bytes, fault: Fault | None) -> None:
        wanted, size = _range(self.headers.get("Range")), len(content)
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
                state.over.wait()
            if fault is not None and fault.kind == "reset":
                # Closing with a linger of zero sends RST in place of FIN.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()


def _range(header: str | None) -> tuple[int, int | None] | None:
    """First and last byte of a Range header of one range."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", header or "")
    if not found:
        return None
    return int(found[1]), int(found[2]) if found[2] else None
