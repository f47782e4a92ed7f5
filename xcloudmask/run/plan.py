"""Plan a campaign: from a configuration to a manifest of tasks, and what it will take.

The manifest is made of the scenes and the settings alone. What is measured goes into the summary.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from xcloudmask.errors import ArgumentError, InputError, XCloudMaskError
from xcloudmask.run._settle import Settled, cut_text, settle
from xcloudmask.run.config import CampaignConfig
from xcloudmask.run.estimate import Needs, check_memory, look_at, measure_predict, measure_read, slots, worker_bytes
from xcloudmask.run.manifest import Changes, Manifest
from xcloudmask.run.overlap import check_place
from xcloudmask.run.scan import scan
from xcloudmask.run.sources import area_of_source
from xcloudmask.run.summary import PlanSummary
from xcloudmask.run.task import Task

__all__ = ["PlanSummary", "make_plan", "update_plan"]

Progress = Callable[[int], Any]
"""Called with the number of scenes seen so far."""

_LAYOUT = "layout"
_MANY_CELLS = 1000
_SHORT_S, _LONG_S = 5.0, 60.0
_TRIES = 3
_SHOWN = 5


def make_plan(
    config: CampaignConfig,
    *,
    out: str | PathLike[str],
    sample: bool = False,
    measure: bool = True,
    progress: Progress | None = None,
) -> PlanSummary:
    """Plan a campaign.

    Parameters
    ----------
    config
        What is to be masked, and how.
    out
        The manifest; it must not be there. It appears when it is whole.
    sample
        Whether a block of one scene is read, to measure how fast the source is.
    measure
        Whether a made-up block is masked, to measure how fast this machine is.
    progress
        Called with the number of scenes seen so far.

    Returns
    -------
    PlanSummary

    Raises
    ------
    CatalogueError, ReadError
        The source cannot be read.
    InputError
        There are no scenes, or they are not for the model.
    ArgumentError
        The tasks do not fit into the memory, or the store overlaps with another campaign.
    WriteError
        The manifest cannot be written.

    Notes
    -----
    The same scenes and settings give the same tasks with the same keys, in whatever order an API returns them.

    Examples
    --------
    >>> config = CampaignConfig.from_toml("alps.toml")  # doctest: +SKIP
    >>> print(make_plan(config, out="manifest.sqlite"))  # doctest: +SKIP
    """
    path = Path(out)
    check_place(config)
    area = _area(config)
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)  # of a plan that was killed
    try:
        with Manifest.create(partial, config.job()) as manifest:
            manifest.note(_LAYOUT, _layout(config))
            changes = _fill(manifest, config, progress)
            settled = settle(manifest, config, area=area)
            summary = _summary(manifest, config, changes, settled, sample=sample, measure=measure)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return summary


def update_plan(
    config: CampaignConfig,
    path: str | PathLike[str],
    *,
    sample: bool = False,
    measure: bool = False,
    progress: Progress | None = None,
) -> PlanSummary:
    """Search again, and add what is new to a manifest.

    Parameters
    ----------
    config
        The campaign, which may look farther now: more dates, a larger area.
    path
        The manifest, which is changed: work on a copy.
    sample, measure, progress
        As for `make_plan`.

    Returns
    -------
    PlanSummary
        Tasks that are new, and those whose scenes were processed anew, which have new keys. All others stay as they
        are, also those of scenes that the source does not return any more.

    Raises
    ------
    ArgumentError
        The configuration has another model, other settings or another layout than the manifest.
    XCloudMaskError
        As `make_plan`.

    Notes
    -----
    New time steps come after those that there are, whatever their date. A scene that replaces another one takes its
    time step.
    """
    area = _area(config)
    with Manifest.open(path, write=True) as manifest:
        _check_same(manifest, config)
        changes = _fill(manifest, config, progress)
        settled = settle(manifest, config, area=area)
        return _summary(manifest, config, changes, settled, sample=sample, measure=measure)


def _area(config: CampaignConfig) -> dict[str, Any] | None:
    return None if config.source.kind == "cube" else area_of_source(config.source)


def _layout(config: CampaignConfig) -> dict[str, Any]:
    """What decides where tasks lie, beside the settings of the job."""
    names = ("layout", "chunk_px", "shard_px", "resolution_m")
    found = {name: getattr(config.store, name) for name in names}
    return found | {"region_px": None if config.whole else config.region_px}


def _check_same(manifest: Manifest, config: CampaignConfig) -> None:
    before = manifest.job.settings() | (manifest.fact(_LAYOUT) or {})
    after = config.job().settings() | _layout(config)
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            raise ArgumentError(
                f"The campaign was planned with {name} = {before.get(name)!r:.200}, and the configuration has "
                f"{after.get(name)!r:.200}. Put it back, or begin another campaign: xcloudmask run fork"
            )


def _fill(manifest: Manifest, config: CampaignConfig, progress: Progress | None) -> Changes:
    """Put the scenes of the source into the manifest."""
    new = changed = seen = 0
    for page in scan(config):
        found = manifest.add_sources(page.sources)
        manifest.add_skips(page.skips)
        new, changed = new + found.new, changed + found.changed
        seen += len(page.sources) + len(page.skips)
        if progress is not None:
            progress(seen)
    if not manifest.tally().sources:
        raise _nothing(manifest, config, seen)
    return Changes(new, changed)


def _nothing(manifest: Manifest, config: CampaignConfig, seen: int) -> InputError:
    if not seen:
        where = config.source.url or ", ".join(map(str, config.source.paths))
        return InputError(
            f"The search of {where} found nothing. Check bbox (west, south, east, north: longitude first), datetime "
            "and collections, or widen them."
        )
    lines = "\n".join(f"  {skip.why}" for skip, _ in zip(manifest.skipped(), range(_SHOWN), strict=False))
    return InputError(f"None of the {seen} scenes that were found can be masked:\n{lines}")


def _summary(
    manifest: Manifest, config: CampaignConfig, changes: Changes, settled: Settled, *, sample: bool, measure: bool
) -> PlanSummary:
    tally = manifest.tally()
    if not tally.tasks:
        raise InputError("No scene touches the wanted area. Check bbox or geometry: degrees, west before south.")
    task, needs = _opened(manifest)
    limit = check_memory(config, needs)
    pixel_m = abs(task.cell.transform[0]) * (111_320.0 if abs(task.cell.transform[0]) < 0.5 else 1.0)
    read = measure_read(task) if sample else config.run.read_mb_per_s
    summary = PlanSummary(
        store=config.store.path,
        digest=manifest.digest(),
        scenes=tally.sources - tally.replaced,
        replaced=tally.replaced,
        skipped=tally.skips,
        cells=tally.cells,
        steps=tally.steps,
        tasks=tally.tasks,
        new=settled.new,
        anew=settled.anew,
        reprocessed=changes.changed,
        megapixels=tally.pixels / 1e6,
        input_bytes=int(tally.pixels * needs.read_ratio * needs.pixel_bytes),
        output_bytes=tally.pixels,
        slot_bytes=needs.slot_bytes,
        worker_bytes=worker_bytes(config, needs),
        memory_limit=limit,
        slots=slots(config)[1],
        predict_s=measure_predict(config.job(), resolution_m=pixel_m) if measure else None,
        read_mb_s=read,
        warnings=needs.warnings,
    )
    return _warned(summary, manifest, config)


def _opened(manifest: Manifest) -> tuple[Task, Needs]:
    """One of the largest tasks, and what it needs; the next one where a scene cannot be opened."""
    errors: list[XCloudMaskError] = []
    for task in manifest.largest(_TRIES):
        try:
            return task, look_at(task)
        except XCloudMaskError as error:
            errors.append(error)
    raise errors[0]


def _warned(summary: PlanSummary, manifest: Manifest, config: CampaignConfig) -> PlanSummary:
    from dataclasses import replace

    found = list(summary.warnings)
    if summary.skipped:
        first = next(manifest.skipped())
        found.append(f"{summary.skipped:,} scenes cannot be planned; the first one, {first.name}: {first.why}")
    if cut := cut_text(manifest):
        found.append(cut)
    split = manifest.split_days() if config.store.layout == "utm" else 0
    if split:
        found.append(
            f"{split:,} time steps are the second of a solar day, or a later one: scenes of one day whose scales or "
            "offsets differ do not fit into one image. They follow by a second."
        )
    if summary.cells > _MANY_CELLS and summary.cells > summary.steps / 2 and config.store.kind != "cog":
        found.append(
            f"{summary.cells:,} grids for {summary.steps:,} time steps: each grid is a store of its own. Type "
            "layout = 'utm', or kind = 'cog'."
        )
    if summary.task_s is not None and summary.tasks > 1 and not config.whole:
        if summary.task_s < _SHORT_S and summary.read_mb_s is not None:
            found.append(f"A task takes about {summary.task_s:.2g} s here. Larger regions cost less to look after.")
        if summary.task_s > _LONG_S:
            found.append(f"A task takes about {summary.task_s:.0f} s here, which a worker that dies loses.")
    if config.run.scheduler is not None and config.model.options.get("precision", "auto") == "auto":
        found.append(
            "precision = 'auto' is resolved in each worker: masks of unlike machines differ in a few pixels. Type "
            "precision = 'fp32' where all bytes must be the same."
        )
    return replace(summary, warnings=tuple(found))
