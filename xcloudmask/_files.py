"""Files that appear when they are complete: written beside the target, then renamed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xcloudmask.errors import WriteError

__all__ = ["partial_file", "replace_text"]


@contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """Yield a name beside the target, which becomes the target when all went well.

    Parameters
    ----------
    path
        The target. The other name has its suffix, by which libraries choose the format.

    Yields
    ------
    pathlib.Path

    Raises
    ------
    WriteError
        The file cannot be written; nothing stays behind.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    except (OSError, ValueError) as error:
        raise WriteError(f"{path} cannot be written: {error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a text in one step: who reads meanwhile finds the old text or the new one, whole.

    Parameters
    ----------
    path
        The target.
    text
        Its new content.

    Raises
    ------
    OSError
        The file cannot be written. What that means to the user, the caller knows.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
