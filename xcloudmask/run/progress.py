"""How far a run is: a bar in terminals and notebooks, a line now and then where there are neither."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from xcloudmask._optional import available
from xcloudmask.run.task import Record

__all__ = ["Pace", "RunProgress"]

_LINE_S = 30.0
_DRAW_S = 0.5


class Pace:
    """Counts what has ended, and tells how fast it goes lately.

    Parameters
    ----------
    total
        Tasks of the run.
    span_s
        How far back "lately" reaches.
    clock
        For tests.

    Examples
    --------
    >>> seconds = iter([0.0, 0.0, 10.0, 10.0])
    >>> pace = Pace(total=100, clock=lambda: next(seconds))
    >>> pace.add("ok", 20)
    >>> pace.rate()
    2.0
    >>> pace.left_s()
    40.0
    """

    def __init__(self, *, total: int, span_s: float = 120.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.counts = total, Counter[str]()
        self._span_s, self._clock = span_s, clock
        self._samples = deque([(clock(), 0)])

    @property
    def done(self) -> int:
        """Tasks that have ended."""
        return self.counts.total()

    def add(self, status: str, number: int = 1) -> None:
        """Count tasks that have ended with a status."""
        self.counts[status] += number
        now = self._clock()
        # One sample a second at most: the memory is the same at any pace.
        if now - self._samples[-1][0] >= 1.0:
            self._samples.append((now, self.done))
        while len(self._samples) > 2 and now - self._samples[1][0] > self._span_s:
            self._samples.popleft()

    def rate(self) -> float:
        """Tasks per second, lately; 0 where nothing is known."""
        then, count = self._samples[0]
        passed = self._clock() - then
        return (self.done - count) / passed if passed > 0 else 0.0

    def left_s(self) -> float | None:
        """Seconds until all have ended at this pace; None where nothing is known."""
        rate = self.rate()
        return max(0, self.total - self.done) / rate if rate > 0 else None

    def text(self) -> str:
        """Return rate, time left and what went wrong, for people."""
        rate, left = self.rate(), self.left_s()
        parts = [f"{rate:.1f}/s" if rate >= 1 or not rate else f"{60 * rate:.1f}/min"]
        parts.append("time left unknown" if left is None else f"{duration(left)} left")
        parts += [f"{self.counts[name]:,} {name}" for name in ("failed", "quarantined") if self.counts[name]]
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a time for people.

    Examples
    --------
    >>> duration(42), duration(150), duration(7500), duration(300_000)
    ('42 s', '2 min 30 s', '2 h 5 min', '3 d 11 h')
    """
    whole = round(seconds)
    for above, (big, unit), (small, rest) in (
        (86_400, (86_400, "d"), (3600, "h")),
        (3600, (3600, "h"), (60, "min")),
        (60, (60, "min"), (1, "s")),
    ):
        if whole >= above:
            return f"{whole // big} {unit} {whole % big // small} {rest}"
    return f"{whole} s"


class RunProgress:
    """Watches a run and shows how far it is; a context manager.

    Parameters
    ----------
    total
        Tasks of the run.
    console
        Where it shows; None for standard error, or the output of a notebook's cell.
    clock
        For tests.

    Examples
    --------
    >>> with RunProgress(total=100) as progress:  # doctest: +SKIP
    ...     run_tasks(tasks, client, watchers=[progress])
    """

    def __init__(
        self, *, total: int, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._pace = Pace(total=total, clock=clock)
        self._last = clock()
        self._flying = self._isolated = 0
        self._bar: Any = None
        # In a notebook, rich draws through ipywidgets.
        if self._console.is_terminal or (self._console.is_jupyter and available("ipywidgets")):
            self._bar = Progress(
                TextColumn("Tasks"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[text]}"),
                console=self._console,
            )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._row = self._bar.add_task("tasks", total=self._pace.total, text="")
        return self

    def __exit__(self, *_: object) -> None:
        self._show()
        if self._bar is not None:
            self._bar.stop()

    def record(self, record: Record) -> None:
        """Count a task; those that went wrong get a line."""
        self._pace.add(record.status)
        if record.status in ("failed", "quarantined"):
            # Names and reasons come from catalogues: they are text, no markup.
            line = f"{record.status}: {record.name}: {record.reason}"
            self._console.print("".join(map(_printable, line)), markup=False, highlight=False, soft_wrap=True)

    def tick(self, *, flying: int, isolated: int) -> None:
        """Show it again, where it is time."""
        self._flying, self._isolated = flying, isolated
        if self._clock() - self._last >= (_DRAW_S if self._bar is not None else _LINE_S):
            self._show()

    def _show(self) -> None:
        self._last = self._clock()
        text = f"{self._pace.text()}, {self._flying:,} in flight"
        if self._isolated:
            text += f", {self._isolated:,} isolated"
        if self._bar is not None:
            self._bar.update(self._row, completed=self._pace.done, text=text)
        else:
            share = self._pace.done / self._pace.total if self._pace.total else 1.0
            line = f"{self._pace.done:,} of {self._pace.total:,} tasks ({share:.0%}), {text}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _printable(letter: str) -> str:
    """A letter that a terminal does not act on."""
    return letter if letter.isprintable() else "?"
