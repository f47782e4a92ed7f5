"""`xcloudmask evaluate`: a model on labelled patches, or a mask against labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import numpy as np
import numpy.typing as npt
import typer

from xcloudmask.cli import _options as opt
from xcloudmask.cli._files import check_files, check_picture
from xcloudmask.cli._report import reporting, stderr, stdout, usage_error

if TYPE_CHECKING:
    from xcloudmask._worst import Case
    from xcloudmask.evaluate import Bootstrap, Counted, Evaluation
    from xcloudmask.models.spec import ModelSpec

__all__ = ["evaluate"]

DataOption = Annotated[
    str | None,
    typer.Option("--data", metavar="DIR", show_default=False, help="Folder of labelled patches (patches.csv)."),
]
SplitOption = Annotated[
    str, typer.Option(help="Which patches: eval, train, ..., or holdout, the tenth of train kept for choosing.")
]
SimulatedOption = Annotated[
    bool, typer.Option("--simulated", help="Measure on simulated scenes of every sensor instead: no data is needed.")
]
SensorsOption = Annotated[
    list[str] | None, typer.Option("--sensor", show_default=False, help="With --simulated: this sensor; repeat it.")
]
ScenesOption = Annotated[int, typer.Option("--scenes", min=1, help="With --simulated: scenes of each sensor.")]
CheckpointOption = Annotated[
    str | None,
    typer.Option(metavar="FILE", show_default=False, help="Averaged weights of a fit, in the network of --model."),
]
LevelOption = Annotated[str, typer.Option(help="Whether the model is told the level: known, unknown or both.")]
WithoutNirOption = Annotated[bool, typer.Option("--without-nir", help="Give the near infrared up.")]
CoarserOption = Annotated[
    float | None,
    typer.Option("--resolution", metavar="M", show_default=False, help="Average patches to M metres or coarser."),
]
MaskOption = Annotated[
    str | None, typer.Option("--mask", metavar="MASK", show_default=False, help="A mask: Zarr, GeoTIFF, folder.")
]
LabelsOption = Annotated[
    str | None, typer.Option("--labels", metavar="LABELS", show_default=False, help="Labels on the grid of the mask.")
]
KindOption = Annotated[str, typer.Option(help="What the labels mean, such as label4 or label_cloud_only.")]
JsonOption = Annotated[
    str | None, typer.Option("--json", metavar="FILE", show_default=False, help="Write everything as JSON.")
]
MarkdownOption = Annotated[
    str | None, typer.Option("--markdown", metavar="FILE", show_default=False, help="Write all tables.")
]
WorstOption = Annotated[
    str | None, typer.Option("--worst", metavar="FILE", show_default=False, help="Write a picture of the worst cases.")
]
AgainstOption = Annotated[
    str | None,
    typer.Option("--against", metavar="FILE", show_default=False, help="Also show the difference to an earlier JSON."),
]
WorstCountOption = Annotated[int, typer.Option(min=1, help="Cases in that picture.")]
DrawsOption = Annotated[int, typer.Option(min=2, help="Draws of the bootstrap.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no table.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is measured."""

    title: str
    """Heading of the tables."""
    model: Mapping[str, str | None]
    """Name and checksum."""
    settings: Mapping[str, Any]
    """What was typed, and what came of it."""
    results: Mapping[str, Evaluation]
    """By level, or "mask"."""


@reporting
def evaluate(
    *,
    data: DataOption = None,
    split: SplitOption = "holdout",
    simulated: SimulatedOption = False,
    sensor: SensorsOption = None,
    scenes: ScenesOption = 8,
    model: opt.ModelOption = "default",
    checkpoint: CheckpointOption = None,
    level: LevelOption = "both",
    without_nir: WithoutNirOption = False,
    resolution: CoarserOption = None,
    device: opt.DeviceOption = "auto",
    precision: opt.PrecisionOption = "auto",
    mask: MaskOption = None,
    labels: LabelsOption = None,
    kind: KindOption = "label4",
    json_file: JsonOption = None,
    markdown_file: MarkdownOption = None,
    worst: WorstOption = None,
    worst_count: WorstCountOption = 6,
    against: AgainstOption = None,
    draws: DrawsOption = 2000,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Measure a model on labelled patches (--data) or simulated scenes, or a mask against labels (--mask, --labels)."""
    from xcloudmask.evaluate import Bootstrap

    _check_given(data, mask, labels, simulated=simulated)
    if data is None:
        _check_unused({"--checkpoint": checkpoint, "--resolution": resolution, "--without-nir": without_nir or None})
    _check_files(json_file, markdown_file, worst)
    earlier = {} if against is None else _read(Path(against))
    how = Bootstrap(draws=draws, seed=seed)
    cases = _Cases(worst_count) if worst is not None else None
    if simulated:
        settings: dict[str, Any] = {"simulated": True, "scenes": scenes, "sensors": sensor}
        settings |= {"levels": _levels(level), **_resolved(device, precision)}
        job = _on_simulated(_spec(model), settings, how=how, quiet=quiet)
    elif data is None:
        job = _on_masks(str(mask), str(labels), kind, how=how, cases=cases)
    else:
        settings = {"split": split, "levels": _levels(level), "nir": not without_nir}
        settings |= {"resolution_m": _metres(resolution), **_resolved(device, precision)}
        job = _on_patches(Path(data), _spec(model), checkpoint, settings, how=how, cases=cases, quiet=quiet)
    _write(job, json_file, markdown_file)
    if not quiet:
        _show(job)
    if against is not None:
        _show_difference(job, earlier, against)
    if cases is not None and worst is not None:
        cases.save(Path(worst))
    for written in (json_file, markdown_file, worst):
        if written is not None and not quiet:
            stderr().print(f"{written} is written.", markup=False)


def _check_given(data: str | None, mask: str | None, labels: str | None, *, simulated: bool) -> None:
    if simulated:
        if data is not None or mask is not None or labels is not None:
            raise usage_error("--simulated makes its scenes itself. Leave --data, --mask and --labels out.")
        return
    if data is not None and (mask is not None or labels is not None):
        raise usage_error("--data measures a model, --mask and --labels a mask. Give one of the two.")
    if data is None and (mask is None or labels is None):
        raise usage_error(
            "Nothing to measure. Type: --data DIR --split SPLIT, or --simulated, or --mask MASK --labels LABELS"
        )


def _check_unused(given: Mapping[str, object]) -> None:
    for name, value in given.items():
        if value is not None:
            raise usage_error(f"{name} is for models on patches (--data), and a mask is given. Leave it out.")


def _check_files(json_file: str | None, markdown_file: str | None, worst: str | None) -> None:
    """Refuse outputs that cannot be written, before anything is computed."""
    check_files(json_file, markdown_file, worst)
    check_picture("--worst", worst)


def _levels(level: str) -> list[str]:
    from xcloudmask.training.score import Level

    known = list(get_args(Level))
    if level not in (*known, "both"):
        raise usage_error(f"--level {level} is unknown. Expected known, unknown or both.")
    return known if level == "both" else [level]


def _metres(resolution: float | None) -> float | None:
    if resolution is not None and not 0 < resolution < float("inf"):
        raise usage_error(f"--resolution {resolution:g}: expected a positive number of metres.")
    return resolution


def _resolved(device: str, precision: str) -> dict[str, str]:
    from xcloudmask.models.devices import resolve_device, resolve_precision
    from xcloudmask.options import Options

    Options(device=device, precision=precision)  # type: ignore[arg-type]  # checks the texts
    device = resolve_device(device)
    return {"device": device, "precision": resolve_precision(precision, device)}


def _spec(model: str) -> ModelSpec:
    from xcloudmask.models.registry import get_spec

    return get_spec(opt._model(model))


def _on_patches(
    data: Path,
    spec: ModelSpec,
    checkpoint: str | None,
    settings: Mapping[str, Any],
    *,
    how: Bootstrap,
    cases: _Cases | None,
    quiet: bool,
) -> Job:
    from xcloudmask.training.predictor import checkpoint_model
    from xcloudmask.training.score import evaluate_model, load_split

    patches = load_split(data, settings["split"])
    lent = nullcontext(spec) if checkpoint is None else checkpoint_model(Path(checkpoint), like=spec)
    with lent as used, _bar(len(patches) * len(settings["levels"]), quiet=quiet) as advance:

        def on_patch(level: str, patch: Any, codes: npt.NDArray[np.uint8], counted: Counted) -> None:
            advance()
            if cases is not None:
                red, green, nir = patch.image * np.float32(1e-4)
                shown = (nir, red, green) if patch.nir else (red, green, green)
                allowed = np.where(patch.valid, patch.allowed, 0).astype(np.uint8)
                cases.add(counted, mask=codes, allowed=allowed, reflectance=shown, note=f"level {level}")

        results = evaluate_model(
            used,
            patches,
            levels=settings["levels"],
            nir=settings["nir"],
            resolution_m=settings["resolution_m"],
            device=settings["device"],
            precision=settings["precision"],
            how=how,
            on_patch=on_patch,
        )
    return Job(
        title=f"{used.name}, split {settings['split']}",
        model={"name": used.name, "sha256": used.sha256},
        settings=settings,
        results=results,
    )


def _on_simulated(spec: ModelSpec, settings: dict[str, Any], *, how: Bootstrap, quiet: bool) -> Job:
    from xcloudmask.simulated import evaluate_simulated, usable_sensors

    sensors = settings["sensors"] or usable_sensors(spec)
    with _bar(len(sensors) * settings["scenes"] * len(settings["levels"]), quiet=quiet) as advance:
        results = evaluate_simulated(
            spec,
            sensors=sensors,
            seeds=range(settings["scenes"]),
            levels=settings["levels"],
            device=settings["device"],
            precision=settings["precision"],
            how=how,
            on_scene=lambda _level, _counted: advance(),
        )
    return Job(
        title=f"{spec.name}, simulated scenes",
        model={"name": spec.name, "sha256": spec.sha256},
        settings=settings,
        results=results,
    )


def _on_masks(mask: str, labels: str, kind: str, *, how: Bootstrap, cases: _Cases | None) -> Job:
    from xcloudmask.compare import compare_masks, open_codes

    codes = open_codes(mask)

    def on_image(counted: Counted, predicted: npt.NDArray[np.uint8], allowed: npt.NDArray[np.uint8]) -> None:
        if cases is not None:
            cases.add(counted, mask=predicted, allowed=allowed)

    result = compare_masks(codes, open_codes(labels), kind=kind, how=how, on_image=on_image)  # type: ignore[arg-type]
    return Job(
        title=f"{Path(mask).name} against {Path(labels).name}",
        model={"name": codes.attrs.get("model"), "sha256": codes.attrs.get("model_sha256")},
        settings={"mask": mask, "labels": labels, "kind": kind},
        results={"mask": result},
    )


class _Cases:
    """The worst cases so far."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._kept: list[Case] = []

    def add(self, counted: Counted, **parts: Any) -> None:
        from xcloudmask._worst import make_case, worst

        self._kept = worst([*self._kept, make_case(counted, **parts)], self._count)

    def save(self, path: Path) -> None:
        from xcloudmask._worst import save_worst

        save_worst(self._kept, path)


@contextmanager
def _bar(total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    from rich.progress import Progress

    with Progress(console=stderr(), disable=quiet, transient=True) as bar:
        task = bar.add_task("Measuring patches", total=total)
        yield lambda: bar.advance(task)


def _show(job: Job) -> None:
    from xcloudmask.evaluate import source_table

    console = stdout()
    console.print(f"{job.title}\n", markup=False)
    console.print(source_table(job.results), markup=False)


def _read(path: Path) -> dict[str, Evaluation]:
    """Read an earlier evaluation."""
    from xcloudmask.errors import ReadError
    from xcloudmask.evaluate import evaluation_from_dict

    try:
        results = json.loads(path.read_text())["results"]
        return {name: evaluation_from_dict(result) for name, result in results.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReadError(f"{path} is no evaluation: {error}. Expected a file of xcloudmask evaluate --json.") from error


def _show_difference(job: Job, earlier: Mapping[str, Evaluation], against: str) -> None:
    from xcloudmask.evaluate import difference, difference_table

    both = {name: difference(result, earlier[name]) for name, result in job.results.items() if name in earlier}
    if not both:
        raise usage_error(f"--against {against} has {', '.join(earlier)}, and this is {', '.join(job.results)}.")
    console = stdout()
    console.print(f"\n{job.title}, less {against} (percentage points)\n", markup=False)
    console.print(difference_table(both), markup=False)


def _write(job: Job, json_file: str | None, markdown_file: str | None) -> None:
    from xcloudmask._version import __version__
    from xcloudmask.evaluate import markdown

    if markdown_file is not None:
        facts = {"xcloudmask": __version__, "sha256 of the model": job.model["sha256"], **job.settings}
        note = "\n".join(f"- {name}: {_fact(value)}" for name, value in facts.items())
        _write_text(Path(markdown_file), markdown(job.results, title=job.title, note=note))
    if json_file is not None:
        content = {
            "xcloudmask_version": __version__,
            "model": dict(job.model),
            "settings": dict(job.settings),
            "results": {name: result.to_dict() for name, result in job.results.items()},
        }
        _write_text(Path(json_file), json.dumps(content, indent=1, allow_nan=False) + "\n")


def _fact(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)


def _write_text(path: Path, text: str) -> None:
    from xcloudmask._files import replace_text
    from xcloudmask.errors import WriteError

    try:
        replace_text(path, text)
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror or error}.") from error
