"""What a benchmark is: a function that yields figures."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Protocol

__all__ = ["BENCHMARKS", "Benchmark", "Figure", "benchmark", "cpu_seconds"]


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


def cpu_seconds() -> float:
    """CPU seconds of this process, all threads, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
