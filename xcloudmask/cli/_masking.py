"""From a cube to a mask that is written: what `predict`, `stac` and `convert` have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
import xarray as xr

from xcloudmask.cli._outputs import OUTPUT_HELP, summary, write_output
from xcloudmask.cli._progress import progress, scheduling
from xcloudmask.cli._report import stdout

__all__ = ["AppendOption", "OutputArgument", "OverwriteOption", "QuietOption", "write_lazily"]

OutputArgument = Annotated[str, typer.Argument(metavar="OUTPUT", show_default=False, help=OUTPUT_HELP)]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
AppendOption = Annotated[
    bool, typer.Option("--append", help="Add the dates to the output; those that it has are replaced.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no summary.")]


def write_lazily(
    make: Callable[[], xr.DataArray],
    output: str,
    *,
    doing: str,
    scheduler: str,
    workers: int | None,
    overwrite: bool,
    append: bool,
    quiet: bool,
    after: Callable[[xr.DataArray], None] | None = None,
) -> None:
    """Make a lazy mask, write it under a progress bar, and say what was written.

    Parameters
    ----------
    make
        Makes the mask; called where dask's settings are in force.
    output, scheduler, workers, overwrite, append, quiet
        As typed.
    doing
        What the bar says, such as "Masking".
    after
        Called with the mask that was written, before its summary.
    """
    with scheduling(scheduler, workers) as client:
        mask = make()
        with progress(f"{doing} {_chunks_text(mask)}", client, quiet=quiet):
            written = write_output(mask, output, overwrite=overwrite, append=append)
        if after is not None:
            after(written)
        if not quiet:
            _print_summary(written, output)


def _chunks_text(mask: xr.DataArray) -> str:
    data: Any = mask.data
    count = data.npartitions if mask.chunks is not None else 1
    return f"{count} chunk{'s' if count > 1 else ''}"


def _print_summary(mask: xr.DataArray, output: str) -> None:
    console = stdout()
    console.print(f"{output}: {', '.join(f'{dim} {size}' for dim, size in mask.sizes.items())}", markup=False)
    if "flag_meanings" not in mask.attrs:
        return  # shares of classes
    meaning = str(mask.attrs["flag_meanings"]).split()[0].replace("_", " ")
    for date, value in summary(mask):
        share = "no data" if value != value else f"{value:.1%} {meaning}"  # noqa: PLR0124  # NaN
        console.print(f"  {date}  {share}" if date else f"  {share}", markup=False)
