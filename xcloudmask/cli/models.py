"""`xcloudmask models`: which models there are, where their weights lie, and whether they are the right ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from xcloudmask.cli import _options as opt
from xcloudmask.cli._report import reporting, stderr, stdout
from xcloudmask.errors import WeightsError

if TYPE_CHECKING:
    from xcloudmask.models.spec import ModelSpec

__all__ = ["list_models", "models_app", "pull_model", "show_model", "show_paths", "verify_models"]

models_app = typer.Typer(no_args_is_help=False, help="List, show, fetch and verify models.")

NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", show_default=False, help="Name of a model, or the path of its card (.json, .toml)."),
]
SomeArgument = Annotated[
    str | None, typer.Argument(metavar="[NAME]", show_default=False, help="Name of a model; without it, all.")
]


@models_app.callback(invoke_without_command=True)
@reporting
def models(context: typer.Context) -> None:
    """List, show, fetch and verify models. Without a command: list them."""
    if context.invoked_subcommand is None:
        _print_list()


@models_app.command("list")
@reporting
def list_models(
    *,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """List the models, and say whether their weights are on this machine."""
    _print_list()


def _print_list() -> None:
    from xcloudmask.models.registry import list_models as registered
    from xcloudmask.models.spec import bands_text

    table = Table("name", "bands", "pixels", "halo", "licence", "weights", box=None, pad_edge=False)
    for name, spec in registered().items():
        pixels = f"{spec.resolution_m[0]:g}-{spec.resolution_m[1]:g} m"
        licence = spec.licence or "unknown"
        bands = bands_text(spec) if spec.any_bands else " ".join(spec.bands)
        table.add_row(name, bands, pixels, f"{spec.halo_px} px", licence, _presence(spec))
    stdout().print(table, markup=False)


@models_app.command("show")
@reporting
def show_model(
    name: NameArgument,
    *,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Show the card of a model: bands, geometry, sources, figures, licence."""
    from xcloudmask.models.registry import get_spec
    from xcloudmask.models.spec import bands_text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    spec = get_spec(name)
    for key, value in spec.to_dict().items():
        table.add_row(key, bands_text(spec) if key == "bands" and spec.any_bands else _value_text(value))
    stdout().print(table, markup=False)


@models_app.command("pull")
@reporting
def pull_model(
    name: NameArgument,
    *,
    folder: Annotated[
        str | None,
        typer.Option("--from", metavar="FOLDER", show_default=False, help="Copy the files from here, not the hub."),
    ] = None,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Fetch the weights of a model into the models folder, unless the right ones are there."""
    from xcloudmask.models.hub import HubAddress, adopt, fetch, is_address, state
    from xcloudmask.models.registry import get_spec, weights_path

    for part in _parts(get_spec(name)):
        path = weights_path(part)
        if not is_address(part.weights):
            _check(part)
        elif state(part.weights, sha256=part.sha256) == "here":
            stderr().print(f"{path.name} is here already.", markup=False)
        elif folder is not None:
            adopt(part.weights, sha256=part.sha256, folder=Path(folder))
        else:
            stderr().print(f"Fetching {path.name} from {HubAddress.parse(part.weights).repo} ...", markup=False)
            fetch(part.weights, sha256=part.sha256, again=True)
        typer.echo(path)


@models_app.command("verify")
@reporting
def verify_models(
    name: SomeArgument = None,
    *,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Compare weights files with the checksums of their cards; weights that were not fetched count only if named."""
    wrong = 0
    for label, part in _named(name):
        if _presence(part) == "not fetched":
            stdout().print(f"{label}: not fetched", markup=False)
            wrong += name is not None
            continue
        try:
            _check(part)
            stdout().print(f"{label}: as on its card", markup=False)
        except WeightsError as error:
            wrong += 1
            stdout().print(f"{label}: WRONG. {error}", markup=False)
    if wrong:
        raise WeightsError(
            f"{wrong} {'file is' if wrong == 1 else 'files are'} missing or not as expected. What is on the hub is "
            f"fetched by: xcloudmask models pull {name or 'NAME'}"
        )


@models_app.command("path")
@reporting
def show_paths(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", show_default=False, help="Name of a model; without it, the folder."),
    ] = None,
    *,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Show where the weights of a model lie, or will lie; without a name, the models folder (XCLOUDMASK_MODELS)."""
    from xcloudmask.models.hub import models_folder
    from xcloudmask.models.registry import weights_path

    if name is None:
        typer.echo(models_folder())
        return
    for _, part in _named(name):
        typer.echo(weights_path(part))


def _named(name: str | None) -> Iterator[tuple[str, ModelSpec]]:
    """Yield the networks of a model, or of all, each file once, with a label for people."""
    from xcloudmask.models.registry import get_spec, list_models, weights_path

    seen = set()
    for spec in list_models().values() if name is None else [get_spec(name)]:
        for part in _parts(spec):
            if (key := (part.weights, part.sha256)) not in seen:
                seen.add(key)
                file = weights_path(part).name
                yield f"{spec.name}, {file}", part


def _parts(spec: ModelSpec) -> tuple[ModelSpec, ...]:
    return spec.members or (spec,)


def _check(part: ModelSpec) -> None:
    from xcloudmask.models.loading import read_weights
    from xcloudmask.models.registry import weights_path

    read_weights(weights_path(part), part)


def _presence(spec: ModelSpec) -> str:
    """Where the weights are, by a look at names only."""
    from xcloudmask.models.hub import is_address
    from xcloudmask.models.registry import weights_path

    files = [part for part in _parts(spec) if is_address(part.weights)]
    if not files:
        return "here"
    return "here" if all(weights_path(part).is_file() for part in files) else "not fetched"


def _value_text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "-"
    if isinstance(value, list):  # members of an ensemble
        return ", ".join(f"{member['name']} ({member['architecture']})" for member in value)
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "-"
    return str(value) if value != "" else "-"
