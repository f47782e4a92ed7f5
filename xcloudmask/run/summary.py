"""`PlanSummary`: what a campaign will do and take, in words and numbers for people to read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xcloudmask._tables import html_table

__all__ = ["PlanSummary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSummary:
    """What a campaign will do. `str(summary)` is a page of text."""

    store: str
    """Where masks go."""
    digest: str
    """Checksum of what is to do."""
    scenes: int
    """That count."""
    replaced: int
    """Older processings of the same scenes, which are left out."""
    skipped: int
    """Scenes that cannot be planned; see the warnings."""
    cells: int
    """Grids, each with a store of its own."""
    steps: int
    """Time steps of all cells."""
    tasks: int
    """Regions of time steps."""
    new: int
    """Tasks that this plan added."""
    anew: int
    """Tasks that took the place of others, since their scenes were processed anew."""
    reprocessed: int
    """Scenes that were there with another checksum or version."""
    megapixels: float
    """Of all tasks."""
    input_bytes: int
    """Decoded, with the halo (about). Compressed files are some times smaller."""
    output_bytes: int
    """Before compression."""
    slot_bytes: int
    """Memory of a task at work (about)."""
    worker_bytes: int
    """Memory of a worker with all its tasks (about)."""
    memory_limit: int | None
    """What a worker may take; None where it is not known."""
    slots: int
    """Tasks at once."""
    predict_s: float | None
    """Seconds for a megapixel, as measured on this machine; None where that was not measured."""
    read_mb_s: float | None
    """Decoded megabytes that a reader gets in a second, as given or measured; None where unknown."""
    warnings: tuple[str, ...]
    """What deserves a thought before the run."""

    @property
    def task_s(self) -> float | None:
        """Seconds of a task (about): what it reads, then what it predicts."""
        if self.predict_s is None or not self.tasks:
            return None
        read = 0.0 if self.read_mb_s is None else self.input_bytes / 1e6 / self.read_mb_s
        return (self.megapixels * self.predict_s + read) / self.tasks

    @property
    def seconds(self) -> float | None:
        """Seconds of the campaign on as many slots (about); None where nothing was measured."""
        return None if self.task_s is None else self.task_s * self.tasks / max(self.slots, 1)

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield the summary as pairs of a label and a text.

        Yields
        ------
        tuple of str
        """
        yield "store", self.store
        left_out = [f"{self.replaced:,} older processings of the same left out"] if self.replaced else []
        left_out += [f"{self.skipped:,} cannot be planned"] if self.skipped else []
        yield "scenes", "; ".join([f"{self.scenes:,}", *left_out])
        yield "time steps", f"{self.steps:,} on {self.cells:,} {'grid' if self.cells == 1 else 'grids'}"
        yield "tasks", f"{self.tasks:,}, of {self.megapixels / max(self.tasks, 1):,.1f} megapixels each"
        if self.new != self.tasks:
            yield "added", f"{self.new:,} tasks are new, {self.anew:,} come again: {self._reprocessed()}"
        yield "pixels", f"{self.megapixels:,.0f} megapixels"
        yield "to read", f"about {_size(self.input_bytes)} decoded, halo included"
        yield "to write", f"{_size(self.output_bytes)} of codes before compression"
        limit = "" if self.memory_limit is None else f"; limit {_size(self.memory_limit)}"
        yield "memory", f"about {_size(self.slot_bytes)} for a task, {_size(self.worker_bytes)} for a worker{limit}"
        yield "time", self._time()
        yield "digest", self.digest[:16]
        yield from (("warning", text) for text in self.warnings)

    def _reprocessed(self) -> str:
        return f"{self.reprocessed:,} scenes were processed anew"

    def _time(self) -> str:
        if self.seconds is None or self.task_s is None or self.predict_s is None:
            return "not measured"
        parts = [f"{self.predict_s:.2g} s to mask a megapixel on this machine"]
        if self.read_mb_s is None:
            parts.append("reading not counted (type --sample, or read_mb_per_s = ... in [run])")
        else:
            parts.append(f"{self.read_mb_s:,.0f} MB read in a second")
        at_once = "1 task" if self.slots == 1 else f"{self.slots:,} tasks"
        return (
            f"about {_duration(self.seconds)} with {at_once} at once, {_duration(self.task_s)} each: {', '.join(parts)}"
        )

    def __str__(self) -> str:
        """Return a page of text."""
        return "\n".join(f"{label:<12} {text}" for label, text in self.rows())

    def __repr__(self) -> str:
        """Return one line."""
        return (
            f"<PlanSummary {self.store}: {self.scenes:,} scenes, {self.tasks:,} tasks, {len(self.warnings)} warnings>"
        )

    def _repr_html_(self) -> str:
        return html_table("xcloudmask run plan", self.rows())


def _size(count: float) -> str:
    for unit, step in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= step:
            return f"{count / step:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB"


def _duration(seconds: float) -> str:
    for unit, step in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * step:
            return f"{seconds / step:,.1f} {unit}"
    return f"{seconds:.2g} s"
