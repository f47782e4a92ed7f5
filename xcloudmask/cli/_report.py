"""Errors and notes for people: one clear message, an exit code, no traceback unless it is asked for."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console

from xcloudmask.errors import (
    ArgumentError,
    ArgumentTypeError,
    BandNotFoundError,
    UnknownModelError,
    WriteError,
    XCloudMaskError,
)

__all__ = [
    "EXIT_ERROR",
    "EXIT_INTERRUPTED",
    "EXIT_PARTLY",
    "EXIT_USAGE",
    "reporting",
    "stderr",
    "stdout",
    "usage_error",
]

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_PARTLY = 3
"""A campaign has ended, and some of its tasks have no mask; or masks are not what the ledger says."""
EXIT_INTERRUPTED = 130

P = ParamSpec("P")
R = TypeVar("R")

_USAGE = (ArgumentError, ArgumentTypeError, UnknownModelError)


def stdout() -> Console:
    """Return a console for results.

    Returns
    -------
    rich.console.Console
    """
    return Console(highlight=False, soft_wrap=True)


def stderr() -> Console:
    """Return a console for progress, notes and errors.

    Returns
    -------
    rich.console.Console
    """
    return Console(stderr=True, highlight=False, soft_wrap=True)


def usage_error(message: str) -> ArgumentError:
    """Return the error of a command that was typed wrongly.

    Parameters
    ----------
    message
        What was found, what was expected, what to type.

    Returns
    -------
    ArgumentError
    """
    return ArgumentError(message)


def reporting(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors of a command into messages and exit codes.

    Parameters
    ----------
    command
        A command of the application. Its argument ``debug`` shows tracebacks.

    Returns
    -------
    callable
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with _notes():
            try:
                return command(*args, **kwargs)
            except (Exception, KeyboardInterrupt) as error:
                if isinstance(error, typer.Exit | typer.Abort):
                    raise
                if kwargs.get("debug") or os.environ.get("XCLOUDMASK_DEBUG"):
                    stderr().print_exception(suppress=[typer])
                raise typer.Exit(_report(error)) from None

    return wrapped


def _report(error: BaseException) -> int:
    """Print one message and return the exit code."""
    console = stderr()
    if isinstance(error, KeyboardInterrupt):
        console.print("Interrupted. Nothing half-written is left behind.")
        return EXIT_INTERRUPTED
    if isinstance(error, XCloudMaskError):
        console.print(f"[bold red]Error:[/] {_escape(str(error))}")
        if isinstance(error, BandNotFoundError):
            console.print("On the command line, bands={'red': 'X', 'nir': None} is --band red=X --band nir=none.")
        if isinstance(error, WriteError) and ("mode='w'" in str(error) or "overwrite=True" in str(error)):
            console.print("On the command line, mode='w' and overwrite=True are --overwrite.")
        return EXIT_USAGE if isinstance(error, _USAGE) else EXIT_ERROR
    console.print(f"[bold red]Unexpected error:[/] {_escape(f'{type(error).__name__}: {error}')}")
    console.print("Type the command again with --debug to see where it comes from.")
    return EXIT_ERROR


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@contextmanager
def _notes() -> Iterator[None]:
    """Show the warnings of the package as notes, and those of others not at all."""

    def show(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
        if category is UserWarning:
            stderr().print(f"[yellow]Note:[/] {_escape(str(message))}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
