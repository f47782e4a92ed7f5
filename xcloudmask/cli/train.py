"""`xcloudmask train`: a configuration to a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcloudmask.cli import _options as opt
from xcloudmask.cli._report import reporting, stderr, stdout, usage_error

if TYPE_CHECKING:
    from xcloudmask.training.checkpoint import Progress
    from xcloudmask.training.config import TrainConfig

__all__ = ["train"]

ConfigArgument = Annotated[
    str, typer.Argument(metavar="CONFIG", show_default=False, help="TOML file, or a recipe: default, ...")
]
DataOption = Annotated[
    str | None,
    typer.Option("--data", metavar="DIR", show_default=False, help="Folder of labelled patches (patches.csv)."),
]
OutOption = Annotated[
    str | None,
    typer.Option("--out", metavar="DIR", show_default=False, help="Folder of the run. Default: the model's name."),
]
FromOption = Annotated[
    str | None,
    typer.Option("--from", metavar="MODEL", show_default=False, help="Model to start from: its name, card or weights."),
]
StepsOption = Annotated[int | None, typer.Option(min=1, show_default=False, help="Steps, instead of those of CONFIG.")]
SeedOption = Annotated[int | None, typer.Option(min=0, show_default=False, help="Seed of weights and samples.")]
DeviceOption = Annotated[str | None, typer.Option(show_default=False, help="auto, cpu, cuda or cuda:0.")]
DrawersOption = Annotated[
    int | None, typer.Option("--workers", min=0, show_default=False, help="Processes that draw samples; 0: this one.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no summary.")]

_OnStep = Callable[["Progress", float | None], None]


@reporting
def train(
    config: ConfigArgument,
    *,
    data: DataOption = None,
    out: OutOption = None,
    start: FromOption = None,
    steps: StepsOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    workers: DrawersOption = None,
    quiet: QuietOption = False,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Train a model; the same command goes on where a run was cut off. Without data: on simulated scenes alone."""
    from xcloudmask.training.config import load_chain, load_config
    from xcloudmask.training.train import train_model

    overridden = partial(_overridden, steps=steps, seed=seed, device=device, workers=workers)
    # With a model to start from, what comes before is not trained.
    *before, settings = map(overridden, [load_config(config)] if start else load_chain(config))
    folder = Path(out or settings.model.name)
    if folder.exists() and not folder.is_dir():
        raise usage_error(f"--out {folder} is a file. Expected a folder.")
    pretraining = settings.model.architecture == "sensei"
    if data is None and not settings.data.folder and not settings.cubes and not quiet and not pretraining:
        stderr().print("No labelled data: simulated scenes alone. Type --data DIR, or see [[cubes]].", markup=False)
    with _bar(settings.model.name, quiet=quiet) as on_step:
        card = train_model(
            settings,
            data=None if data is None else Path(data),
            out=folder,
            start=start,
            before=before,
            command=_command(config, data=data, start=start, steps=steps, seed=seed),
            on_step=on_step,
        )
    _draw(folder, quiet=quiet)
    if not quiet:
        _show(card)


def _overridden(
    config: TrainConfig, *, steps: int | None, seed: int | None, device: str | None, workers: int | None
) -> TrainConfig:
    typed = {"steps": steps, "seed": seed, "device": device, "workers": workers}
    given = {name: value for name, value in typed.items() if value is not None}
    return replace(config, fit=replace(config.fit, **given))  # type: ignore[arg-type]  # each has its own type


def _command(config: str, *, data: str | None, start: str | None, steps: int | None, seed: int | None) -> str:
    """Return what was typed, without the folders of this machine: the card goes elsewhere."""
    words = ["xcloudmask train", Path(config).name]
    words += ["--data DIR"] if data is not None else []
    words += [f"--from {Path(start).name}"] if start is not None else []
    words += [f"--{name} {value}" for name, value in (("steps", steps), ("seed", seed)) if value is not None]
    return " ".join(words)


@contextmanager
def _bar(name: str, *, quiet: bool) -> Iterator[_OnStep]:
    """Show how far the run is, and the last loss."""
    if quiet:
        yield lambda *_: None
        return
    from rich import progress as rich

    columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn())
    times = (rich.TimeElapsedColumn(), rich.TimeRemainingColumn())
    with rich.Progress(*columns, *times, console=stderr()) as bar:
        task = bar.add_task("Reading data", total=None)

        def on_step(progress: Progress, loss: float | None) -> None:
            shown = None if loss is None else f"Training {name}, loss {loss:.3f}"
            if bar.tasks[0].total is None:
                shown = shown or f"Training {name}"
            bar.update(task, total=progress.planned, completed=progress.step, description=shown)

        yield on_step


def _draw(folder: Path, *, quiet: bool) -> None:
    from xcloudmask._optional import available
    from xcloudmask.training.curves import save_curves

    if available("matplotlib"):
        save_curves(folder)
    elif not quiet:
        stderr().print("No curves: type pip install 'xcloudmask[train]' for a picture.", markup=False)


def _show(card: Path) -> None:
    import json

    plain = json.loads(card.read_text())
    training, console = plain["training"], stdout()
    console.print(f"{card}: {training['steps']} steps in {training['minutes']} minutes", markup=False)
    for name, value in plain["metrics"].items():
        console.print(f"  {name}  {value:.3f}", markup=False)
    if plain["architecture"] == "sensei":
        console.print(f"Type: xcloudmask train any-bands-start --from {card}", markup=False)
    else:
        console.print(f"Type: xcloudmask predict INPUT OUTPUT --model {card}", markup=False)
