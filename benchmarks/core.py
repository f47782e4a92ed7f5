"""What a benchmark is: a function that yields figures."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["BENCHMARKS", "Benchmark", "Figure", "asked", "benchmark", "cpu_seconds", "data_dir", "note", "peak_bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number."""

    name: str
    """What was measured."""
    value: float
    """The number."""
    unit: str
    """Its unit."""
    target: str = ""
    """What it should be, such as ``<= 1.15``; empty where it is only reported."""

    @property
    def passed(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if not self.target:
            return None
        relation, limit = self.target.split()
        return self.value <= float(limit) if relation == "<=" else self.value >= float(limit)

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self) | {"pass": self.passed})


class Benchmark(Protocol):
    """A function that measures; `quick` takes small sizes, to see that it runs."""

    __name__: str

    def __call__(self, *, quick: bool) -> Iterator[Figure]:
        """Yield figures."""
        ...


BENCHMARKS: dict[str, Benchmark] = {}
"""By name."""


def benchmark(function: Benchmark) -> Benchmark:
    """Register a benchmark under the name of its function."""
    BENCHMARKS[function.__name__] = function
    return function


@dataclass(slots=True)
class Asked:
    """What the command line asks of all benchmarks, besides ``--quick``."""

    full: bool = False
    """The sizes of the targets, however long they take."""
    rounds: int = 3
    """Repeats of what is compared; the median counts."""


asked = Asked()


def data_dir() -> Path | None:
    """Folder of real imagery (``--data`` or ``XCLOUDMASK_DATA``, else ``../shared/data``); None where there is none."""
    root = Path(os.environ.get("XCLOUDMASK_DATA", Path(__file__).parents[2] / "shared" / "data"))
    return root if root.is_dir() else None


def note(text: str) -> None:
    """Say why a figure is missing, beside the figures."""
    print(json.dumps({"note": text}), file=sys.stderr, flush=True)


def peak_bytes() -> int:
    """Most memory that this process had; not ru_maxrss, which begins with the peak of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def cpu_seconds() -> float:
    """CPU seconds of this process, all threads, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
