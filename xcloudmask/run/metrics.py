"""What a run has done, in the text format of Prometheus: in a file, and on a port of this machine."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self, get_args

from xcloudmask._files import replace_text
from xcloudmask.errors import ArgumentError, WriteError
from xcloudmask.run.task import Record, Status

__all__ = ["Metrics"]

_WRITE_S = 10.0
_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PORTS = 65_535


class Metrics:
    """Watches a run and keeps its numbers; a context manager.

    Parameters
    ----------
    total
        Tasks of the run.
    path
        File that is replaced every 10 s and at the end, for the textfile collector of Prometheus' node exporter.
    port
        On 127.0.0.1, where ``GET /metrics`` answers; 0 takes a free one.
    clock
        For tests; seconds since 1970.

    Raises
    ------
    ArgumentError
        The port is none, or taken.
    WriteError
        The file cannot be written when the run begins.

    Notes
    -----
    The format is version 0.0.4 of Prometheus' text-based exposition format.

    Examples
    --------
    >>> metrics = Metrics(total=3, clock=lambda: 0.0)
    >>> print(metrics.text().splitlines()[2])
    xcloudmask_tasks_planned 3
    """

    def __init__(
        self,
        *,
        total: int,
        path: Path | None = None,
        port: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._total, self._path, self._clock = total, path, clock
        self._lock = threading.Lock()
        self._statuses: Counter[str] = Counter(dict.fromkeys(get_args(Status), 0))
        self._seconds: dict[str, float] = {}
        self._pixels: dict[str, float] = {}
        self._flying = self._isolated = 0
        self._started = clock()
        self._ended = self._written = 0.0
        self._server: ThreadingHTTPServer | None = None if port is None else _serve(port, self.text)
        self.port = None if self._server is None else int(self._server.server_address[1])
        """Where it answers; None for nowhere."""

    def __enter__(self) -> Self:
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        self._rewrite()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def record(self, record: Record) -> None:
        """Count a task."""
        height, width = record.region.shape
        with self._lock:
            self._statuses[record.status] += 1
            self._ended = self._clock()
            for stage, seconds in record.seconds.items():
                self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds
            for name, share in record.fractions.items():
                self._pixels[name] = self._pixels.get(name, 0.0) + share * height * width

    def tick(self, *, flying: int, isolated: int) -> None:
        """Write the file, where it is time."""
        with self._lock:
            self._flying, self._isolated = flying, isolated
        if self._clock() - self._written >= _WRITE_S:
            self._rewrite()

    def text(self) -> str:
        """Return the numbers as Prometheus reads them."""
        with self._lock:
            tables = (
                ("tasks_planned", "gauge", "Tasks that this run began with.", {"": float(self._total)}),
                ("tasks_total", "counter", "Tasks that have ended.", _labelled("status", self._statuses)),
                ("tasks_in_flight", "gauge", "Tasks on the cluster.", {"": float(self._flying)}),
                ("tasks_isolated_total", "counter", "Tasks run again alone.", {"": float(self._isolated)}),
                ("task_seconds_total", "counter", "Seconds of workers.", _labelled("stage", self._seconds)),
                ("pixels_total", "counter", "Pixels masked.", _labelled("class", self._pixels)),
                ("start_time_seconds", "gauge", "When the run began.", {"": self._started}),
                ("last_task_time_seconds", "gauge", "When a task ended last; 0 for never.", {"": self._ended}),
            )
        return "".join(_table(*table) for table in tables)

    def _rewrite(self) -> None:
        """Write the file again; a disk that is full by now does not stop the run."""
        with suppress(WriteError):
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        self._written = self._clock()
        try:
            replace_text(self._path, self.text())
        except OSError as error:
            raise WriteError(f"The metrics cannot be written to {self._path}: {error}") from error


def _labelled(label: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f'{{{label}="{_escaped(name)}"}}': float(value) for name, value in sorted(values.items())}


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _table(name: str, kind: str, says: str, values: Mapping[str, float]) -> str:
    full = f"xcloudmask_{name}"
    lines = [f"# HELP {full} {says}", f"# TYPE {full} {kind}"]
    lines += [f"{full}{label} {_number(value)}" for label, value in values.items()]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _serve(port: int, text: Callable[[], str]) -> ThreadingHTTPServer:
    """Answer in a thread that does not keep the process from ending."""

    class Answers(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:  # the name that http.server looks for
            if self.path.partition("?")[0] not in ("/", "/metrics"):
                self.send_error(404)
                return
            body = text().encode()
            self.send_response(200)
            self.send_header("Content-Type", _TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing: standard error belongs to the progress."""

    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= _PORTS:
        raise ArgumentError(f"metrics_port={port!r}. Expected a number from 0 (any free port) to {_PORTS}.")
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Answers)
    except OSError as error:
        raise ArgumentError(f"metrics_port={port}: {error}. Expected a free port; type metrics_port=0.") from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="xcloudmask-metrics", daemon=True).start()
    return server
