"""How a task travels to the process that does it, and what comes back: JSON, and the name of a function."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

from xcloudmask.errors import ArgumentError
from xcloudmask.run.task import Cell, Job, Record, Region, Status, Task

__all__ = ["Outcome", "Process", "ended", "process_name", "resolve", "task_from_json", "task_to_json"]

Process = Callable[[Task], Record]
"""What does a task: `xcloudmask.run.process.process_task`, or another with the same promise."""

_REASON_CHARS = 2000


def task_to_json(task: Task) -> bytes:
    """Return a task as one line of JSON.

    Parameters
    ----------
    task
        The task.

    Returns
    -------
    bytes

    Examples
    --------
    >>> job = Job(store="masks", kind="zarr", model="default", model_sha256="ab")
    >>> cell = Cell(name="a", crs="EPSG:32632", transform=(10.0, 0.0, 0.0, 0.0, -10.0, 0.0), shape=(8, 8))
    >>> region = Region(y=(0, 8), x=(0, 8))
    >>> task = Task(key="k", cell=cell, time="2024-01-01", region=region, sources=(), ids=("s",), job=job)
    >>> task_from_json(task_to_json(task)) == task
    True
    """
    return json.dumps(_shallow(task), separators=(",", ":"), default=_plain).encode()


def task_from_json(data: bytes) -> Task:
    """Return the task that `task_to_json` wrote.

    Parameters
    ----------
    data
        From `task_to_json`.

    Returns
    -------
    Task
    """
    found = json.loads(data)
    cell, region = found["cell"], found["region"]
    return Task(
        **found
        | {
            "cell": Cell(**cell | {"transform": tuple(cell["transform"]), "shape": tuple(cell["shape"])}),
            "region": Region(y=tuple(region["y"]), x=tuple(region["x"])),
            "sources": tuple(found["sources"]),
            "ids": tuple(found["ids"]),
            "job": Job(**found["job"]),
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came back for a task."""

    record: Record | None = None
    """What became of it; None where `fatal` is set."""
    written: bool = True
    """Whether the process put the record into the ledger itself; else the coordinator has to."""
    fatal: str = ""
    """Why the whole run has to stop."""
    token: Any = None
    """What a transactional store wants for its commit."""

    def to_bytes(self) -> bytes:
        """Return the outcome, without its token, as one byte and a text."""
        if self.record is None:
            return b"!" + self.fatal[:_REASON_CHARS].encode()
        return (b"+" if self.written else b"-") + self.record.to_json()

    @classmethod
    def from_bytes(cls, data: bytes) -> Outcome:
        """Read what `to_bytes` made.

        Parameters
        ----------
        data
            From `to_bytes`; not trusted.

        Returns
        -------
        Outcome

        Raises
        ------
        ReadError
            It is none.
        """
        if data[:1] == b"!":
            return cls(fatal=data[1:].decode(errors="replace"))
        return cls(record=Record.from_json(data[1:]), written=data[:1] == b"+")


def ended(task: Task, status: Literal["failed", "quarantined"], reason: str, *, attempts: int = 1) -> Outcome:
    """Return the outcome of a task whose process could not say what became of it.

    Parameters
    ----------
    task
        The task.
    status
        ``"failed"`` or ``"quarantined"``.
    reason
        For people.
    attempts
        How often it was tried.

    Returns
    -------
    Outcome
        Its record is not in the ledger yet.
    """
    found: Status = status
    record = Record(
        key=task.key,
        status=found,
        name=task.name,
        cell=task.cell.name,
        time=task.time,
        region=task.region,
        ids=task.ids,
        reason=reason[:_REASON_CHARS],
        attempts=attempts,
        finished=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        settings=task.job.settings(),
    )
    return Outcome(record=record, written=False)


def process_name(process: str | Callable[..., Any]) -> str:
    """Return the name under which every process can import a function.

    Parameters
    ----------
    process
        ``"module:function"``, or a function of an importable module.

    Returns
    -------
    str
        ``"module:function"``.

    Raises
    ------
    ArgumentError
        Nothing can be imported under that name, or it is another object.

    Examples
    --------
    >>> process_name(process_name)
    'xcloudmask.run.wire:process_name'
    """
    if isinstance(process, str):
        name = process
    else:
        name = f"{getattr(process, '__module__', '')}:{getattr(process, '__qualname__', type(process).__name__)}"
    if name.startswith("__main__:"):
        raise ArgumentError(
            f"process={name!r} lies in the script that runs, which workers do not have. Expected a function of a "
            "module that they can import: move it into a module, and type process='module:function'."
        )
    found = resolve(name)
    if not isinstance(process, str) and found is not process:
        raise ArgumentError(f"process={process!r}: {name!r} is another function. Expected one that can be imported.")
    return name


@lru_cache(maxsize=16)
def resolve(name: str) -> Process:
    """Import a function by its name.

    Parameters
    ----------
    name
        ``"module:function"``.

    Returns
    -------
    callable

    Raises
    ------
    ArgumentError
        There is none.

    Examples
    --------
    >>> resolve("math:sqrt")(4.0)
    2.0
    """
    module, _, function = name.partition(":")
    try:
        found: Process = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ArgumentError(
            f"process={name!r} cannot be imported ({error}). Expected 'module:function', for instance "
            "'xcloudmask.run.process:process_task'."
        ) from error
    if not callable(found):
        raise ArgumentError(f"process={name!r} is a {type(found).__name__}. Expected a function.")
    return found


def _shallow(value: Any) -> dict[str, Any]:
    """Fields of a dataclass, not copied: `dataclasses.asdict` would copy each dictionary of each STAC item."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _shallow(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
