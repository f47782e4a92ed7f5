"""`xcloudmask evaluate`: a model on labelled patches, or a mask against labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import numpy as np
import numpy.typing as npt
import typer

from xcloudmask.cli import _options as opt
from xcloudmask.cli._against import Against, compare_earlier, read_against
from xcloudmask.cli._files import check_files, check_picture
from xcloudmask.cli._measured import Cases, Job, show, write
from xcloudmask.cli._report import reporting, stderr, usage_error

if TYPE_CHECKING:
    from xcloudmask.evaluate import Bootstrap, Counted
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
    typer.Option(
        "--against",
        metavar="NAMES",
        show_default=False,
        help="Also measure, on the same pixels: masks of products (scl, qa_pixel, ..., layer=scheme), other models, or "
        "JSON files of earlier evaluations; commas between them.",
    ),
]
CubeOption = Annotated[
    str | None,
    typer.Option("--cube", metavar="CUBE", show_default=False, help="With --mask: where --against finds its layers."),
]
WorstCountOption = Annotated[int, typer.Option(min=1, help="Cases in that picture.")]
DrawsOption = Annotated[int, typer.Option(min=2, help="Draws of the bootstrap.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no table.")]


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
    cube: CubeOption = None,
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
    others = read_against(against)
    _check_against(others, resolution, mask, cube, simulated=simulated)
    how = Bootstrap(draws=draws, seed=seed)
    cases = Cases(worst_count) if worst is not None else None
    settings: dict[str, Any] = {"against": others.names} if others.names else {}
    if simulated:
        settings |= {"simulated": True, "scenes": scenes, "sensors": sensor}
        settings |= {"levels": _levels(level), **_resolved(device, precision)}
        job = _on_simulated(_spec(model), settings, others, how=how, quiet=quiet)
    elif data is None:
        settings |= {"mask": mask, "labels": labels, "kind": kind} | ({} if cube is None else {"cube": cube})
        options = {"device": device, "precision": precision}
        job = _on_masks(settings, others, how=how, cases=cases, options=options)
    else:
        settings |= {"split": split, "levels": _levels(level), "nir": not without_nir}
        settings |= {"resolution_m": _metres(resolution), **_resolved(device, precision)}
        job = _on_patches(Path(data), _spec(model), checkpoint, settings, others, how=how, cases=cases, quiet=quiet)
    write(job, json_file, markdown_file)
    if not quiet:
        show(job)
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


def _check_against(
    others: Against, resolution: float | None, mask: str | None, cube: str | None, *, simulated: bool
) -> None:
    if others.products and simulated:
        raise usage_error(f"--against {next(iter(others.products))}: simulated scenes come with no product's mask.")
    if others.products and resolution is not None:
        raise usage_error(
            f"--against {next(iter(others.products))}: codes cannot be averaged to --resolution {resolution:g}. Leave "
            "one of them out."
        )
    if cube is not None and mask is None:
        raise usage_error("--cube goes with --mask: patches have the layers beside them. Leave it out.")
    if mask is not None and cube is None and (others.products or others.models):
        raise usage_error(f"--against {others.names[0]}: where is the image? Type: --cube CUBE")


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
    others: Against,
    *,
    how: Bootstrap,
    cases: Cases | None,
    quiet: bool,
) -> Job:
    from xcloudmask.training.data import ALL_BANDS, BANDS
    from xcloudmask.training.predictor import checkpoint_model, predictor
    from xcloudmask.training.references import Reference, compare_model, product_of_patches
    from xcloudmask.training.score import load_split

    specs = (spec, *others.models.values())
    more = any(one.any_bands or not set(one.bands) <= set(BANDS) for one in specs)
    patches = load_split(data, settings["split"], bands=ALL_BANDS if more else BANDS)
    device, precision = settings["device"], settings["precision"]
    references: dict[str, Reference] = {
        name: product_of_patches(data, product) for name, product in others.products.items()
    }
    references |= {name: predictor(other, device=device, precision=precision) for name, other in others.models.items()}
    lent = nullcontext(spec) if checkpoint is None else checkpoint_model(Path(checkpoint), like=spec)
    with lent as used, _bar(len(patches) * len(settings["levels"]), quiet=quiet) as advance:

        def on_patch(level: str, patch: Any, codes: npt.NDArray[np.uint8], counted: Counted) -> None:
            advance()
            if cases is not None:
                cases.add_patch(counted, patch, codes, level=level)

        results, compared = compare_model(
            used,
            patches,
            references,
            levels=settings["levels"],
            nir=settings["nir"],
            resolution_m=settings["resolution_m"],
            device=device,
            precision=precision,
            how=how,
            on_patch=on_patch,
        )
    return Job(
        title=f"{used.name}, split {settings['split']}",
        model={"name": used.name, "sha256": used.sha256},
        settings=settings,
        results=results,
        compared=compared | compare_earlier(results, others.earlier),
    )


def _on_simulated(spec: ModelSpec, settings: dict[str, Any], others: Against, *, how: Bootstrap, quiet: bool) -> Job:
    from xcloudmask.simulated import evaluate_simulated, usable_sensors

    sensors = settings["sensors"] or usable_sensors(spec)
    every = {"": spec, **others.models}
    with _bar(len(every) * len(sensors) * settings["scenes"] * len(settings["levels"]), quiet=quiet) as advance:
        measured = {
            name: evaluate_simulated(
                model,
                sensors=sensors,
                seeds=range(settings["scenes"]),
                levels=settings["levels"],
                device=settings["device"],
                precision=settings["precision"],
                how=how,
                on_scene=lambda _level, _counted: advance(),
            )
            for name, model in every.items()
        }
    results = measured.pop("")
    return Job(
        title=f"{spec.name}, simulated scenes",
        model={"name": spec.name, "sha256": spec.sha256},
        settings=settings,
        results=results,
        compared=compare_earlier(results, {**measured, **others.earlier}),
    )


def _on_masks(
    settings: Mapping[str, Any], others: Against, *, how: Bootstrap, cases: Cases | None, options: Mapping[str, str]
) -> Job:
    from xcloudmask._product_masks import open_product
    from xcloudmask.compare import compare_with, open_codes
    from xcloudmask.io import open_any
    from xcloudmask.predict import predict

    mask, labels = str(settings["mask"]), str(settings["labels"])
    codes, cube = open_codes(mask), settings.get("cube")
    beside = {name: open_product(str(cube), product) for name, product in others.products.items()}
    beside |= {name: predict(open_any(str(cube)), model=model, **options) for name, model in others.models.items()}  # type: ignore[arg-type]

    def on_image(counted: Counted, predicted: npt.NDArray[np.uint8], allowed: npt.NDArray[np.uint8]) -> None:
        if cases is not None:
            cases.add(counted, mask=predicted, allowed=allowed)

    result, compared = compare_with(
        codes, open_codes(labels), beside, kind=settings["kind"], how=how, on_image=on_image
    )
    return Job(
        title=f"{Path(mask).name} against {Path(labels).name}",
        model={"name": codes.attrs.get("model"), "sha256": codes.attrs.get("model_sha256")},
        settings=settings,
        results={"mask": result},
        compared={name: {"mask": one} for name, one in compared.items()}
        | compare_earlier({"mask": result}, others.earlier),
    )


@contextmanager
def _bar(total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    from rich.progress import Progress

    with Progress(console=stderr(), disable=quiet, transient=True) as bar:
        task = bar.add_task("Measuring patches", total=total)
        yield lambda: bar.advance(task)
