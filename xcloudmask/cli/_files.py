"""Files that a command is told to write, checked before anything is computed."""

from __future__ import annotations

from pathlib import Path

from xcloudmask._optional import require
from xcloudmask._pictures import PICTURE_SUFFIXES
from xcloudmask.cli._report import usage_error
from xcloudmask.errors import WriteError

__all__ = ["check_files", "check_picture"]


def check_files(*given: str | None) -> None:
    """Refuse what is a folder, or lies in a folder that does not exist; None is nothing to write."""
    for name in given:
        if name is not None and (Path(name).is_dir() or not Path(name).absolute().parent.is_dir()):
            raise WriteError(f"{name} cannot be written: expected the name of a file in a folder that exists.")


def check_picture(option: str, given: str | None) -> None:
    """Refuse a picture of an unknown kind, or without matplotlib; None is no picture."""
    if given is None:
        return
    if Path(given).suffix.lower() not in PICTURE_SUFFIXES:
        raise usage_error(f"{option} {given}: expected a name that ends in {', '.join(PICTURE_SUFFIXES)}.")
    require("matplotlib.figure", extra="viz")
