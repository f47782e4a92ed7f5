"""The first signal drains a run: nothing new is begun, what has begun is finished. The second one leaves at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Drain", "draining"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Drain(threading.Event):
    """Set when a run is to stop; give it to `xcloudmask.run.coordinator.run_tasks` as `stop`."""

    def __init__(self) -> None:
        super().__init__()
        self.signal = 0
        """Number of the signal that came; 0 for none."""

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal ended: 128 and its number; 0 without a signal."""
        return 128 + self.signal if self.signal else 0


@contextmanager
def draining(*, notify: Callable[[str], None] | None = None) -> Iterator[Drain]:
    """Listen to SIGINT and SIGTERM.

    Parameters
    ----------
    notify
        Is told what happens, in a line for people; None writes it to standard error.

    Yields
    ------
    Drain
        Set by the first signal. The second one ends this process with the signal's exit code, without waiting for
        anything; what is in the ledger is done, the rest is not.

    Notes
    -----
    Outside of the main thread no signals can be heard: there, only the caller sets the event.

    Examples
    --------
    >>> with draining() as stop:
    ...     stop.is_set(), stop.exit_code
    (False, 0)
    """
    stop = Drain()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    say = notify or _say

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set() and stop.signal:
            _leave(number)
        stop.signal = number
        stop.set()
        say(f"{signal.Signals(number).name}: finishing what has begun. Once more to leave at once.")

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - to the person who typed Ctrl-C


def _leave(number: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h\n")  # a progress bar may have hidden the cursor
    sys.stderr.flush()
    os._exit(128 + number)
