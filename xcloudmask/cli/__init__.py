"""The command line, `xcloudmask`: predict, plan, demo, models, doctor."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line.

    Raises
    ------
    SystemExit
        Always: 0 done, 1 an error in the data or the run, 2 wrong usage, 130 interrupted.
    """
    from xcloudmask.cli.app import app

    app(prog_name="xcloudmask")
