"""Campaigns from Python: plan, start and continue, look, try again, tidy up."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any

from xcloudmask.run.config import CampaignConfig
from xcloudmask.run.coordinator import RunResult, run_tasks
from xcloudmask.run.drain import draining
from xcloudmask.run.lease import hold_lease
from xcloudmask.run.ledger import Compaction
from xcloudmask.run.options import RunOptions
from xcloudmask.run.place import MANIFEST, Campaign, bad_keys, find_place, open_campaign
from xcloudmask.run.plan import PlanSummary, make_plan
from xcloudmask.run.planning import configured, planned, replan
from xcloudmask.run.state import status_of
from xcloudmask.run.surroundings import chosen, connected, watching
from xcloudmask.run.tally import CampaignStatus

__all__ = ["compact", "plan", "retry", "start", "status"]

Store = str | PathLike[str]


def plan(
    config: Store | CampaignConfig, *, write: bool = True, update: bool = False, sample: bool = False
) -> PlanSummary:
    """Search, count and estimate; and write what is to do into the store.

    Parameters
    ----------
    config
        A TOML file, or its content.
    write
        Whether the campaign is written into its store, for `start`. False only counts.
    update
        Whether a campaign that is there already is searched for again: new scenes are added, those that were
        processed anew get new tasks, and nothing that is finished is lost.
    sample
        Whether one scene is read, to measure how fast the source is.

    Returns
    -------
    PlanSummary

    Raises
    ------
    ArgumentError
        The configuration cannot be understood, does not fit the memory, or differs from that of the campaign that has
        begun in its store.
    InputError
        The search found nothing, or the scenes are not for the model.
    CatalogueError, ReadError, WriteError
        The API, the files or the store cannot be reached.

    Examples
    --------
    >>> print(plan("alps.toml", write=False))  # doctest: +SKIP
    """
    place, settings = configured(config)
    place.objects.check()
    if not write and not update:
        with tempfile.TemporaryDirectory(prefix="xcloudmask-plan-") as folder:
            return make_plan(settings, out=Path(folder) / MANIFEST, sample=sample)
    with hold_lease(place.objects):
        return replan(place, update=update, sample=sample)


def start(
    campaign: Store | CampaignConfig,
    *,
    client: Any = None,
    update: bool = False,
    workers: int | None = None,
    threads: int | None = None,
    memory_limit: str | None = None,
    scheduler: str | None = None,
    window: int | None = None,
    metrics: Store | None = None,
    metrics_port: int | None = None,
    dashboard: str | None = None,
    stop: threading.Event | None = None,
    quiet: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> RunResult:
    """Start a campaign, or continue it: run every task that has no final record.

    Parameters
    ----------
    campaign
        A TOML file, its content, or the store of a campaign that was planned.
    client
        ``distributed.Client`` of the cluster to run on, which stays open. None starts worker processes here, as
        configured, or connects to `scheduler`.
    update
        Search again, and add what is new.
    workers, threads, memory_limit
        Of the cluster that is started here; None for what the configuration says.
    scheduler
        Address of a cluster, such as ``"tcp://10.0.0.5:8786"``.
    window
        Tasks in flight; for Icechunk also the tasks of a commit.
    metrics
        File for Prometheus, written again and again.
    metrics_port
        Port on 127.0.0.1 that serves the same.
    dashboard
        Address of Dask's dashboard on a cluster that is started here, such as ``":8787"``.
    stop
        Set it to finish what has begun and return. None listens to SIGINT and SIGTERM in its place.
    quiet
        No progress.
    storage_options
        For fsspec, where `campaign` is a URL.

    Returns
    -------
    RunResult
        Of this run; `status` tells of the whole campaign.

    Raises
    ------
    ArgumentError
        The model or a setting is not that of the campaign: `fork` begins another one. Or another process runs it.
    XCloudMaskError
        What `plan` raises; a model that cannot be loaded; a cluster that is gone; a store that cannot be written.

    Examples
    --------
    >>> start("alps.toml")  # doctest: +SKIP
    <RunResult 4,213 ok, 3 quarantined in 812 s>
    """
    place = find_place(campaign, storage_options)
    place.objects.check()
    with ExitStack() as stack:
        event = stop if stop is not None else stack.enter_context(draining())
        stack.enter_context(hold_lease(place.objects, on_lost=event.set))
        found = planned(place, update=update)
        options = chosen(
            _run_options(found),
            workers=workers,
            threads=threads,
            memory_limit=memory_limit,
            scheduler=scheduler,
            window=window,
            metrics=None if metrics is None else str(metrics),
            metrics_port=metrics_port,
            dashboard=dashboard,
        )
        manifest = stack.enter_context(found.manifest())
        index = stack.enter_context(found.index())
        todo, tasks = manifest.count(without=index.path), len(manifest)
        if not todo or event.is_set():
            return RunResult(drained=bool(todo))
        sink = found.prepare(manifest)
        if client is None:
            client = stack.enter_context(connected(options))
        watchers = stack.enter_context(watching(options, tasks=tasks, finished=tasks - todo, quiet=quiet))
        return run_tasks(
            manifest.tasks(without=index.path),
            client,
            window=options.window,
            timeout_s=options.timeout_s,
            watchers=watchers,
            sink=sink,
            ledger=found.ledger,
            stop=event,
        )


def retry(
    campaign: Store | CampaignConfig,
    *,
    failed: bool = True,
    quarantined: bool = False,
    client: Any = None,
    workers: int | None = None,
    threads: int | None = None,
    memory_limit: str | None = None,
    scheduler: str | None = None,
    stop: threading.Event | None = None,
    quiet: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> RunResult:
    """Run tasks again that failed, or were given up, as if they had never run; and all that is not finished.

    Parameters
    ----------
    campaign
        Configuration, or store.
    failed
        Tasks that failed. `start` runs them as well, and keeps the records of their failures.
    quarantined
        Tasks that were given up: their scenes are broken, or killed their worker twice.
    client, workers, threads, memory_limit, scheduler, stop, quiet, storage_options
        As for `start`.

    Returns
    -------
    RunResult

    Raises
    ------
    XCloudMaskError
        As `start`.

    Examples
    --------
    >>> retry("campaign", quarantined=True)  # doctest: +SKIP
    <RunResult 3 ok in 41 s>
    """
    statuses = [name for name, wanted in (("failed", failed), ("quarantined", quarantined)) if wanted]
    found = open_campaign(campaign, storage_options)
    with hold_lease(found.place.objects), found.manifest() as manifest, found.index() as index:
        keys = bad_keys(manifest, index, statuses)
        chosen: Any = statuses
        found.ledger.forget(keys, statuses=chosen)
        index.refresh(found.ledger, contents=False)
    return start(
        campaign,
        client=client,
        workers=workers,
        threads=threads,
        memory_limit=memory_limit,
        scheduler=scheduler,
        stop=stop,
        quiet=quiet,
        storage_options=storage_options,
    )


def status(campaign: Store | CampaignConfig, *, storage_options: Mapping[str, Any] | None = None) -> CampaignStatus:
    """Tell how far a campaign is. It may be running meanwhile.

    Parameters
    ----------
    campaign
        Configuration, or store.
    storage_options
        For fsspec, where that is a URL.

    Returns
    -------
    CampaignStatus

    Raises
    ------
    ReadError
        There is no campaign.

    Examples
    --------
    >>> status("campaign")  # doctest: +SKIP
    <CampaignStatus campaign: 4,216 of 4,216 tasks, 3 without a mask>
    """
    found = open_campaign(campaign, storage_options)
    with found.manifest() as manifest, found.index() as index:
        return status_of(found, manifest, index)


def compact(campaign: Store | CampaignConfig, *, storage_options: Mapping[str, Any] | None = None) -> Compaction:
    """Put the small records of a ledger together: one object for each two hexadecimal digits of keys.

    Parameters
    ----------
    campaign
        Configuration, or store.
    storage_options
        For fsspec, where that is a URL.

    Returns
    -------
    Compaction

    Raises
    ------
    ReadError
        There is no campaign.
    ArgumentError
        It is running.
    """
    found = open_campaign(campaign, storage_options)
    with hold_lease(found.place.objects):
        return found.ledger.compact()


def _run_options(found: Campaign) -> RunOptions:
    if found.place.config is not None:
        return found.place.config.run
    return CampaignConfig.from_dict(found.frozen.config, place=f"{found.label}/campaign.json").run
