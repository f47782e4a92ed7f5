"""`xcloudmask run`: campaigns over many scenes, which continue where they stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcloudmask.cli import _options as opt
from xcloudmask.cli._files import check_files
from xcloudmask.cli._report import EXIT_INTERRUPTED, EXIT_PARTLY, reporting, stderr, stdout, usage_error

if TYPE_CHECKING:
    from xcloudmask.run import RunResult

__all__ = ["run_app"]

run_app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Campaigns: masks of many scenes on a Dask cluster, resumable. Exit codes: 0 done, 1 error, 2 wrong usage, "
        f"{EXIT_PARTLY} finished but for some tasks, {EXIT_INTERRUPTED} interrupted, 143 terminated."
    ),
)

ConfigArgument = Annotated[
    str, typer.Argument(metavar="CONFIG", show_default=False, help="The campaign's configuration, a TOML file.")
]
StoreArgument = Annotated[
    str, typer.Argument(metavar="STORE", show_default=False, help="Folder or URL of the campaign; or its CONFIG.")
]
EitherArgument = Annotated[
    str, typer.Argument(metavar="CONFIG|STORE", show_default=False, help="Configuration, or store of a campaign.")
]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, show_default=False, help="Worker processes. Default: as configured.")
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, show_default=False, help="Threads of each worker. Default: as configured.")
]
MemoryOption = Annotated[
    str | None, typer.Option("--memory-limit", show_default=False, help="Of each worker, such as 4GiB.")
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", show_default=False, help="Cluster to run on, such as tcp://10.0.0.5:8786."),
]
WindowOption = Annotated[
    int | None, typer.Option(min=1, show_default=False, help="Tasks in flight. Default: as configured.")
]
MetricsOption = Annotated[
    str | None, typer.Option("--metrics", metavar="FILE", show_default=False, help="Prometheus text file to write.")
]
MetricsPortOption = Annotated[
    int | None, typer.Option("--metrics-port", show_default=False, help="Port on 127.0.0.1 to serve the metrics at.")
]
DashboardOption = Annotated[
    str | None, typer.Option("--dashboard", metavar="ADDRESS", show_default=False, help="Dask's dashboard, as :8787.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no summary.")]


@run_app.command("plan")
@reporting
def plan(
    config: ConfigArgument,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count: nothing is written.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Search again for a campaign that exists.")] = False,
    sample: Annotated[bool, typer.Option("--sample", help="Read one scene to measure how fast the source is.")] = False,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Search, count and estimate: scenes, tasks, bytes, memory, time. The plan is written into the store."""
    from xcloudmask import run as campaigns

    if dry_run and update:
        raise usage_error("--dry-run writes nothing, and --update does. Leave one of them out.")
    summary = campaigns.plan(config, write=not dry_run, update=update, sample=sample)
    stdout().print(str(summary), markup=False)


@run_app.command("start")
@reporting
def start(
    campaign: EitherArgument,
    *,
    update: Annotated[bool, typer.Option("--update", help="Search again, and add what is new.")] = False,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    memory_limit: MemoryOption = None,
    scheduler: SchedulerOption = None,
    window: WindowOption = None,
    metrics: MetricsOption = None,
    metrics_port: MetricsPortOption = None,
    dashboard: DashboardOption = None,
    quiet: QuietOption = False,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Start a campaign, or continue it. The same command again runs what is not finished."""
    from xcloudmask import run as campaigns

    with campaigns.draining() as stop:
        result = campaigns.start(
            campaign,
            update=update,
            workers=workers,
            threads=threads,
            memory_limit=memory_limit,
            scheduler=scheduler,
            window=window,
            metrics=metrics,
            metrics_port=metrics_port,
            dashboard=dashboard,
            stop=stop,
            quiet=quiet,
        )
    _finish(result, campaign, signalled=stop.exit_code, quiet=quiet)


@run_app.command("retry")
@reporting
def retry(
    store: StoreArgument,
    *,
    failed: Annotated[bool, typer.Option("--failed/--no-failed", help="Tasks that failed.")] = True,
    quarantined: Annotated[bool, typer.Option("--quarantined", help="Tasks that were given up, too.")] = False,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    memory_limit: MemoryOption = None,
    scheduler: SchedulerOption = None,
    quiet: QuietOption = False,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Run tasks again that have no mask, with a clean sheet, and whatever else is not finished."""
    from xcloudmask import run as campaigns

    if not failed and not quarantined:
        raise usage_error("Nothing to run again. Expected --failed, --quarantined, or both.")
    with campaigns.draining() as stop:
        result = campaigns.retry(
            store,
            failed=failed,
            quarantined=quarantined,
            workers=workers,
            threads=threads,
            memory_limit=memory_limit,
            scheduler=scheduler,
            stop=stop,
            quiet=quiet,
        )
    _finish(result, store, signalled=stop.exit_code, quiet=quiet)


@run_app.command("status")
@reporting
def status(
    store: StoreArgument,
    *,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Show how far a campaign is. It may be running."""
    from xcloudmask import run as campaigns

    found = campaigns.status(store)
    typer.echo(found.to_json()) if json else stdout().print(str(found), markup=False)


@run_app.command("verify")
@reporting
def verify(
    store: StoreArgument,
    *,
    redo: Annotated[bool, typer.Option("--redo", help="Forget damaged regions: the next start writes them.")] = False,
    cell: Annotated[list[str] | None, typer.Option(show_default=False, help="Only this cell (repeat).")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Regions read at once.")] = 4,
    quiet: QuietOption = False,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Read all masks again and compare them with what the ledger says was written."""
    from xcloudmask import run as campaigns

    with _counting("Reading", quiet=quiet) as progress:
        found = campaigns.verify(store, redo=redo, cells=cell, threads=threads, progress=progress)
    stdout().print(str(found), markup=False)
    if not found.good:
        if not redo:
            stderr().print(
                f"Type: xcloudmask run verify {store} --redo, then: xcloudmask run start {store}", markup=False
            )
        raise typer.Exit(EXIT_PARTLY)


@run_app.command("compact")
@reporting
def compact(
    store: StoreArgument,
    *,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Put the many small records of the ledger together."""
    from xcloudmask import run as campaigns

    done = campaigns.compact(store)
    stdout().print(f"{done.records:,} records put together, {done.segments:,} segments", markup=False)
    if done.damaged:
        shown = ", ".join(done.damaged[:5])
        stderr().print(f"{len(done.damaged):,} objects are no records: {shown}", markup=False)


@run_app.command("export")
@reporting
def export(
    store: StoreArgument,
    *,
    stac: Annotated[str | None, typer.Option(metavar="FOLDER", show_default=False, help="STAC catalogue.")] = None,
    table: Annotated[
        str | None, typer.Option(metavar="FILE", show_default=False, help="Statistics, .parquet or .csv.")
    ] = None,
    cell: Annotated[list[str] | None, typer.Option(show_default=False, help="Only this cell (repeat).")] = None,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Write a STAC catalogue of the masks, or a table of their statistics."""
    from xcloudmask import run as campaigns

    if stac is None and table is None:
        raise usage_error("Nothing to write. Expected --stac FOLDER, --table statistics.parquet, or both.")
    done = campaigns.export(store, stac=stac, table=table, cells=cell)
    stdout().print(str(done), markup=False)


@run_app.command("fork")
@reporting
def fork(
    store: StoreArgument,
    new_store: Annotated[
        str, typer.Argument(metavar="NEW_STORE", show_default=False, help="Folder or URL of the new campaign.")
    ],
    *,
    config: Annotated[
        str | None,
        typer.Option(metavar="CONFIG", show_default=False, help="Settings from this file, not the old ones."),
    ] = None,
    model: Annotated[str | None, typer.Option(show_default=False, help="Another model.")] = None,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Begin a campaign like another one, with another model or other settings. The old one stays as it is."""
    from xcloudmask import run as campaigns

    summary = campaigns.fork(store, new_store, config=config, model=model)
    stdout().print(str(summary), markup=False)
    stderr().print(f"Type: xcloudmask run start {new_store}", markup=False)


@run_app.command("report")
@reporting
def report(
    store: StoreArgument,
    *,
    out: Annotated[str, typer.Option(help="The page, .html or .md; one that exists is replaced.")] = "campaign.html",
    title: Annotated[str | None, typer.Option(show_default=False, help="Title of the page.")] = None,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Write one page on a campaign: counts, cells, pace, failures and their reasons."""
    from xcloudmask import run as campaigns

    check_files(out)
    campaigns.report(store, out, title=title)
    stdout().print(f"Wrote {Path(out)}", markup=False)


def _finish(result: RunResult, campaign: str, *, signalled: int, quiet: bool) -> None:
    """Show what a run did and how far the campaign is; leave with the exit code of both."""
    from xcloudmask import run as campaigns

    found = campaigns.status(campaign)
    if not quiet:
        stdout().print(repr(result), markup=False)
        stdout().print(str(found), markup=False)
    if result.drained:
        stderr().print(f"Stopped. To go on, type: xcloudmask run start {campaign}", markup=False)
        raise typer.Exit(signalled or EXIT_INTERRUPTED)
    if not found.complete:
        stderr().print(
            f"Some tasks have no mask. Why: xcloudmask run report {campaign}. To run them again: xcloudmask run retry "
            f"{campaign}",
            markup=False,
        )
        raise typer.Exit(EXIT_PARTLY)


@contextmanager
def _counting(text: str, *, quiet: bool) -> Iterator[Callable[[int], None] | None]:
    """Show a count that goes up."""
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    if quiet:
        yield None
        return
    columns: Any = (TextColumn("{task.description} {task.completed:,.0f} regions"), TimeElapsedColumn())
    with Progress(*columns, console=stderr()) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done: bar.update(task, completed=done)
