"""A server on localhost that answers as the Hugging Face hub does, and misbehaves where it is told to.

A file of the hub is asked for with HEAD, whose answer names commit, size and ETag and redirects to a store of large
files; then the store is asked for the bytes.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from http_server import QuietHandler, byte_range


@dataclass
class Hub:
    """What tests see of it."""

    port: int
    files: dict[str, bytes]
    """Content by name."""
    revisions: set[str]
    etag: bool = True
    """Whether the ETag is the sha256, as that of large files is."""
    etags: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """What the headers say where it is not so."""
    statuses: list[int] = field(default_factory=list)
    """Answers to the next requests, HEAD or GET, in place of what was asked for."""
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the next bodies break off."""
    stall: bool = False
    """Whether bodies stop in the middle without an end."""
    endless: bool = False
    """Whether bodies never end, and say no length."""
    ranges: bool = True
    location: str = ""
    """Where files are said to lie; empty for the store of this server."""
    slow_s: float = 0.0
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    bodies: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, method: str, part: str = "") -> int:
        return sum(verb == method and part in path for verb, path, _ in self.requests)


@contextmanager
def serve_hub(files: dict[str, bytes], *, revisions: set[str]) -> Iterator[Hub]:
    """Serve files of any repository until the context ends."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    httpd.daemon_threads = True
    httpd.hub = Hub(port=httpd.server_port, files=files, revisions=revisions)  # type: ignore[attr-defined]
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield httpd.hub  # type: ignore[attr-defined]
    finally:
        httpd.hub.over.set()  # type: ignore[attr-defined]
        httpd.shutdown()
        httpd.server_close()
        thread.join()


class _Handler(QuietHandler):
    def answer(self) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/api/"):  # huggingface_hub asks about itself at times
            self._headers(404, {"Content-Length": "0"})
            return
        with hub.lock:
            hub.requests.append((self.command, path, dict(self.headers)))
            status = hub.statuses.pop(0) if hub.statuses else 0
        name = path.rsplit("/", maxsplit=1)[-1]
        if status:
            self._headers(status, {"Content-Length": "0"})
        elif name not in hub.files:
            self._headers(404, {"X-Error-Code": "EntryNotFound", "Content-Length": "0"})
        elif path.startswith("/store/"):
            self._body(hub, name)
        else:
            self._metadata(hub, path, name)

    def _metadata(self, hub: Hub, path: str, name: str) -> None:
        revision = path.split("/resolve/")[1].split("/", maxsplit=1)[0]
        if revision not in hub.revisions:
            self._headers(404, {"X-Error-Code": "RevisionNotFound", "Content-Length": "0"})
            return
        content = hub.files[name]
        etag = hashlib.sha256(content).hexdigest() if hub.etag else "short"
        answer = {
            "X-Repo-Commit": revision,
            "X-Linked-Etag": f'"{hub.etags.get(name, etag)}"',
            "X-Linked-Size": str(hub.sizes.get(name, len(content))),
            "Location": hub.location or f"http://localhost:{hub.port}/store/{name}?signature=secret",
            "Content-Length": "0",
        }
        self._headers(302, answer)

    def _body(self, hub: Hub, name: str) -> None:
        content, wanted = hub.files[name], byte_range(self.headers.get("Range")) if hub.ranges else None
        first = wanted[0] if wanted else 0
        answer = {"Content-Length": str(len(content) - first)}
        if wanted:
            answer["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        if hub.endless:
            answer = {"Connection": "close"}
        self._headers(206 if wanted else 200, answer)
        hub.over.wait(hub.slow_s)
        with hub.lock:
            cut = hub.cuts.pop(0) if hub.cuts else None
        piece = content[first:] if cut is None else content[first : first + cut]
        self.wfile.write(piece)
        with hub.lock:
            hub.bodies[name] += len(piece)
        while hub.endless and not hub.over.is_set():
            self.wfile.write(bytes(1 << 20))
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
            if hub.stall:
                hub.over.wait()

    def _headers(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
