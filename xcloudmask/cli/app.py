"""The application: its commands and what they share."""

from __future__ import annotations

from typing import Annotated

import typer

from xcloudmask.cli.convert import convert
from xcloudmask.cli.demo import demo
from xcloudmask.cli.evaluate import evaluate
from xcloudmask.cli.info import doctor
from xcloudmask.cli.models import models_app
from xcloudmask.cli.predict import plan, predict
from xcloudmask.cli.report import report
from xcloudmask.cli.run import run_app
from xcloudmask.cli.select import select
from xcloudmask.cli.sensors import sensors
from xcloudmask.cli.stac import stac
from xcloudmask.cli.stats import stats
from xcloudmask.cli.train import train

__all__ = ["app"]

app = typer.Typer(
    name="xcloudmask",
    help="Lazy cloud and cloud shadow masks for satellite images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(value: bool) -> None:  # noqa: FBT001  # as typer calls it
    if value:
        from xcloudmask._version import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[  # read by its callback
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Lazy cloud and cloud shadow masks for satellite images."""


app.command()(predict)
app.command()(plan)
app.command()(stac)
app.command()(report)
app.command()(stats)
app.command()(convert)
app.command()(demo)
app.command()(evaluate)
app.command()(select)
app.command()(train)
app.add_typer(run_app, name="run")
app.add_typer(models_app, name="models")
app.command()(sensors)
app.command()(doctor)
