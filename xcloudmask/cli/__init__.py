"""The command line, `xcloudmask`: predict, plan, demo, models, doctor."""

from __future__ import annotations

import multiprocessing
import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line.

    Raises
    ------
    SystemExit
        Always: 0 done, 1 an error in the data or the run, 2 wrong usage, 130 interrupted.
    """
    # Icechunk warns of folders where others commit without a lock; these commands take one.
    os.environ.setdefault("ICECHUNK_LOG", "error")
    from xcloudmask.cli._report import EXIT_INTERRUPTED
    from xcloudmask.cli.app import app

    try:
        app(prog_name="xcloudmask")
    except SystemExit as end:
        if end.code == EXIT_INTERRUPTED:
            _leave_at_once(EXIT_INTERRUPTED)
        raise


def _leave_at_once(code: int) -> None:
    """Leave without waiting for the threads that are still at work, as the end of Python would."""
    for child in multiprocessing.active_children():
        child.terminate()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
