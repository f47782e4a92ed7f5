"""`xcloudmask convert`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xcloudmask.cli import _options as opt
from xcloudmask.cli._masking import AppendOption, OutputArgument, OverwriteOption, QuietOption, write_lazily
from xcloudmask.cli._outputs import check_output
from xcloudmask.cli._report import reporting
from xcloudmask.cli.report import StoreArgument

__all__ = ["convert"]

StyleOption = Annotated[
    str | None,
    typer.Option(show_default=False, help="Output style: 4-class, cloud-noncloud or valid-invalid; the store's own."),
]


@reporting
def convert(
    store: StoreArgument,
    output: OutputArgument,
    *,
    style: StyleOption = None,
    workers: opt.WorkersOption = None,
    scheduler: opt.SchedulerOption = "threads",
    overwrite: OverwriteOption = False,
    append: AppendOption = False,
    quiet: QuietOption = False,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Write masks in another format, or in another style: Zarr, Icechunk, COG, a STAC catalogue."""
    from xcloudmask.io.stores import open_store
    from xcloudmask.masks import to_style

    check_output(output, inputs=[store], overwrite=overwrite, append=append)
    mask = open_store(store)
    if style is not None:
        chosen: Any = style
        mask = to_style(mask, chosen)
    write_lazily(
        lambda: mask,
        output,
        doing="Writing",
        scheduler=scheduler,
        workers=workers,
        overwrite=overwrite,
        append=append,
        quiet=quiet,
    )
