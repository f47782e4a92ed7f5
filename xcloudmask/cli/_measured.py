"""What `xcloudmask evaluate` has measured, as tables, files and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xcloudmask.cli._report import stdout

if TYPE_CHECKING:
    from xcloudmask._worst import Case
    from xcloudmask.evaluate import Compared, Counted, Evaluation

__all__ = ["Cases", "Job", "show", "write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is measured."""

    title: str
    """Heading of the tables."""
    model: Mapping[str, str | None]
    """Name and checksum."""
    settings: Mapping[str, Any]
    """What was typed, and what came of it."""
    results: Mapping[str, Evaluation]
    """By level, or "mask"."""
    compared: Mapping[str, Mapping[str, Compared]] = field(default_factory=dict)
    """By what it is compared with, then as `results`."""

    @property
    def name(self) -> str:
        """What the tables of comparisons call it."""
        return self.model["name"] or "mask"


class Cases:
    """The worst cases so far.

    Parameters
    ----------
    count
        How many are kept.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._kept: list[Case] = []

    def add(self, counted: Counted, **parts: Any) -> None:
        """Take an image in; see `xcloudmask._worst.make_case`."""
        from xcloudmask._worst import make_case, worst

        self._kept = worst([*self._kept, make_case(counted, **parts)], self._count)

    def add_patch(self, counted: Counted, patch: Any, codes: npt.NDArray[np.uint8], *, level: str) -> None:
        """Take a labelled patch in."""
        planes = dict(zip(patch.bands, patch.image * np.float32(1e-4), strict=True))
        names = ("nir", "red", "green") if patch.nir and "nir" in planes else ("red", "green", "green")
        shown = [planes[name] for name in names]
        allowed = np.where(patch.valid, patch.allowed, 0).astype(np.uint8)
        self.add(counted, mask=codes, allowed=allowed, reflectance=shown, note=f"level {level}")

    def save(self, path: Path) -> None:
        """Draw them."""
        from xcloudmask._worst import save_worst

        save_worst(self._kept, path)


def show(job: Job) -> None:
    """Print the tables.

    Parameters
    ----------
    job
        What was measured.
    """
    from xcloudmask.evaluate import source_table

    console = stdout()
    console.print(f"{job.title}\n", markup=False)
    console.print(source_table(job.results), markup=False)
    for other, by_level in job.compared.items():
        console.print(f"\n{job.title}, against {other}\n", markup=False)
        console.print(_tables(job, other, by_level), markup=False)


def write(job: Job, json_file: str | None, markdown_file: str | None) -> None:
    """Write the files that were asked for.

    Parameters
    ----------
    job
        What was measured.
    json_file, markdown_file
        Where to; None for nowhere.

    Raises
    ------
    WriteError
        A file cannot be written.
    """
    if markdown_file is not None:
        _write_text(Path(markdown_file), _markdown(job))
    if json_file is not None:
        _write_text(Path(json_file), json.dumps(_plain(job), indent=1, allow_nan=False) + "\n")


def _markdown(job: Job) -> str:
    from xcloudmask._version import __version__
    from xcloudmask.evaluate import markdown

    facts = {"xcloudmask": __version__, "sha256 of the model": job.model["sha256"], **job.settings}
    note = "\n".join(f"- {name}: {_fact(value)}" for name, value in facts.items())
    parts = [
        f"## {job.name} against {other}\n\n{_tables(job, other, by_level)}\n"
        for other, by_level in job.compared.items()
    ]
    return "\n".join([markdown(job.results, title=job.title, note=note), *parts])


def _plain(job: Job) -> dict[str, Any]:
    from xcloudmask._version import __version__

    content = {
        "xcloudmask_version": __version__,
        "model": dict(job.model),
        "settings": dict(job.settings),
        "results": {name: result.to_dict() for name, result in job.results.items()},
    }
    if job.compared:
        content["against"] = {
            other: {level: one.to_dict() for level, one in by_level.items()} for other, by_level in job.compared.items()
        }
    return content


def _tables(job: Job, other: str, by_level: Mapping[str, Compared]) -> str:
    from xcloudmask.evaluate import compared_tables

    return compared_tables(by_level, ours=job.name, theirs=other)


def _fact(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)


def _write_text(path: Path, text: str) -> None:
    from xcloudmask._files import replace_text
    from xcloudmask.errors import WriteError

    try:
        replace_text(path, text)
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror or error}.") from error
