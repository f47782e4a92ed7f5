"""`xcloudmask report`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from xcloudmask.cli import _options as opt
from xcloudmask.cli._files import check_files
from xcloudmask.cli._progress import scheduling
from xcloudmask.cli._report import reporting, stderr, stdout, usage_error

__all__ = ["StoreArgument", "report"]

StoreArgument = Annotated[
    str,
    typer.Argument(
        metavar="STORE",
        show_default=False,
        help="Masks: a Zarr store, an Icechunk repository, a COG, a folder of COGs or of a STAC catalogue.",
    ),
]


@reporting
def report(
    store: StoreArgument,
    *,
    image: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUT", show_default=False, help="The images that were masked, to be shown too. Repeat for files."
        ),
    ] = None,
    out: Annotated[str, typer.Option(help="The page; one that exists is replaced.")] = "report.html",
    title: Annotated[str | None, typer.Option(show_default=False, help="Title of the page.")] = None,
    clear_view: Annotated[
        float, typer.Option(metavar="SHARE", help="A date of which so much is clear is a clear view.")
    ] = 0.8,
    max_pictures: Annotated[int, typer.Option(min=1, help="Dates with a picture, evenly chosen.")] = 60,
    workers: opt.WorkersOption = None,
    scheduler: opt.SchedulerOption = "threads",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no summary.")] = False,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Show a series of masks on one HTML page: cloud over time, calendar, map, pictures, settings, gaps."""
    from xcloudmask.io import open_any
    from xcloudmask.webreport import REPORT_SUFFIXES, write_report

    if not out.lower().endswith(REPORT_SUFFIXES):
        raise usage_error(f"--out {out}: expected a name that ends in .html.")
    check_files(out)
    with scheduling(scheduler, workers), _counting(quiet=quiet) as on_progress:
        write_report(
            store,
            out,
            image=open_any(image) if image else None,
            title=title,
            clear_view=clear_view,
            max_pictures=max_pictures,
            on_progress=on_progress,
        )
    if not quiet:
        stdout().print(f"{out}: one page of {Path(out).stat().st_size / 1e6:.1f} MB", markup=False)


@contextmanager
def _counting(*, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Yield what moves a bar of dates; the bars of tasks would start anew with each few of them."""
    if quiet:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=stderr()) as bar:
        task = bar.add_task("Reading dates", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
