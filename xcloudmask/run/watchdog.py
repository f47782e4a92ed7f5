"""A worker whose task takes too long ends itself, even where a library holds the interpreter; its nanny starts it anew.

Python's own `faulthandler` does it: a thread without Python, which writes where each thread is and ends the process.
"""

from __future__ import annotations

import faulthandler
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["allow_end", "can_end", "watched"]

_lock = threading.Lock()
_deadlines: dict[int, float] = {}
_numbers = itertools.count()
_allowed = False


def allow_end(*, allowed: bool) -> None:
    """Say whether this process may end itself: only where something starts it anew.

    Parameters
    ----------
    allowed
        Whether it may.
    """
    global _allowed  # noqa: PLW0603 - a fact about the process
    _allowed = allowed


def can_end() -> bool:
    """Whether this process may end itself.

    Examples
    --------
    >>> can_end()
    False
    """
    return _allowed


@contextmanager
def watched(seconds: float | None) -> Iterator[None]:
    """End this process when the block takes longer; does nothing where that is not allowed.

    Parameters
    ----------
    seconds
        How long it may take; None for ever.

    Yields
    ------
    None
    """
    if seconds is None or not _allowed:
        yield
        return
    number = next(_numbers)
    with _lock:
        _deadlines[number] = time.monotonic() + seconds
        _arm()
    try:
        yield
    finally:
        with _lock:
            del _deadlines[number]
            _arm()


def _arm() -> None:
    """There is one timer: it waits for the first deadline."""
    faulthandler.cancel_dump_traceback_later()
    if _deadlines:
        left = max(0.001, min(_deadlines.values()) - time.monotonic())
        faulthandler.dump_traceback_later(left, exit=True, file=sys.__stderr__ or sys.stderr)
