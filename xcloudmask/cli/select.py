"""`xcloudmask select`: which chips are worth labelling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcloudmask.cli import _options as opt
from xcloudmask.cli._files import check_files, check_picture
from xcloudmask.cli._report import reporting, stderr, stdout

if TYPE_CHECKING:
    from xcloudmask.training.selection import Chip, RankedChip

__all__ = ["select"]

_STORES = (".zarr", ".nc", ".nc4", ".netcdf", ".h5")

InputsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        show_default=False,
        help="Images as for predict (each folder or store is a cube of its own), or folders of patches (patches.csv).",
    ),
]
CountOption = Annotated[int, typer.Option(min=1, help="How many chips to choose.")]
ChipPxOption = Annotated[int, typer.Option("--chip-px", min=16, help="Side of a chip, in pixels.")]
OutOption = Annotated[
    str | None, typer.Option("--out", metavar="FILE.csv", show_default=False, help="Write the ranking as CSV.")
]
ChipsOption = Annotated[
    str | None, typer.Option("--chips", metavar="DIR", show_default=False, help="Write the chosen chips as GeoTIFFs.")
]
PictureOption = Annotated[
    str | None, typer.Option("--picture", metavar="FILE", show_default=False, help="Write a picture of the chips.")
]
UncertaintyOption = Annotated[str, typer.Option(help="margin, entropy, or disagreement (of an ensemble).")]
DiversityOption = Annotated[float, typer.Option(help="0 goes by uncertainty alone, 1 by looks alone.")]
StyleOption = Annotated[str, typer.Option(help="Codes to be unsure between: 4-class, cloud-noncloud, valid-invalid.")]
ValidOption = Annotated[float, typer.Option("--min-valid", help="Smallest share of valid pixels of a chip.")]
SplitOption = Annotated[str, typer.Option(help="Which patches of a folder of patches.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Decides between equal chips, and starts the clusters.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no table.")]


@reporting
def select(
    inputs: InputsArgument,
    *,
    model: opt.ModelOption = "default",
    count: CountOption = 20,
    chip_px: ChipPxOption = 256,
    out: OutOption = None,
    chips_folder: ChipsOption = None,
    picture: PictureOption = None,
    uncertainty: UncertaintyOption = "margin",
    diversity: DiversityOption = 0.3,
    output_style: StyleOption = "4-class",
    min_valid: ValidOption = 0.5,
    split: SplitOption = "unlabelled",
    band: opt.BandOption = None,
    sensor: opt.SensorOption = None,
    nodata: opt.NodataOption = None,
    resolution_m: opt.ResolutionOption = None,
    seed: SeedOption = 0,
    device: opt.DeviceOption = "auto",
    precision: opt.PrecisionOption = "auto",
    quiet: QuietOption = False,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Rank chips of unlabelled images for labelling: those the model is unsure of, that differ, that are typical."""
    from xcloudmask.training.selection import rank_chips

    _check_outputs(out, chips_folder, picture)
    chips = _chips(
        inputs,
        split=split,
        chip_px=chip_px,
        bands=opt._bands(band),
        sensor=opt.sensor_argument(sensor),
        nodata=opt._nodata(nodata),
        resolution_m=opt._resolution(resolution_m),
    )
    with _bar(len(chips), quiet=quiet) as advance:
        ranked = rank_chips(
            opt._model(model),
            chips,
            count=count,
            uncertainty=uncertainty,  # type: ignore[arg-type]  # checked there
            diversity=diversity,
            output_style=output_style,  # type: ignore[arg-type]
            min_valid_share=min_valid,
            seed=seed,
            device=device,
            precision=precision,  # type: ignore[arg-type]
            on_chip=advance,
        )
    _write(ranked, out, chips_folder, picture)
    if not quiet:
        _show(ranked, len(chips))


def _check_outputs(out: str | None, chips_folder: str | None, picture: str | None) -> None:
    """Refuse what cannot be written, before anything is computed."""
    from xcloudmask._optional import require
    from xcloudmask.errors import WriteError

    check_files(out, picture)
    if chips_folder is not None:
        if Path(chips_folder).exists() and (not Path(chips_folder).is_dir() or any(Path(chips_folder).iterdir())):
            raise WriteError(f"--chips {chips_folder} exists and is not empty. Give another folder.")
        require("rasterio", extra="cog")
    check_picture("--picture", picture)


def _chips(inputs: Sequence[str], *, split: str, chip_px: int, **how: Any) -> list[Chip]:
    """Chips of all inputs: a folder or a store is a cube of its own, loose files are one cube together."""
    from xcloudmask.io.read import open_cube
    from xcloudmask.training.selection import cut_cube, patch_chips

    chips: list[Chip] = []
    files = []
    for given in inputs:
        if (Path(given) / "patches.csv").is_file():
            chips += patch_chips(Path(given), splits=(split,), chip_px=chip_px)
        elif Path(given).is_dir() or given.rstrip("/").lower().endswith(_STORES):
            cube = open_cube([given], chunks="auto")
            chips += cut_cube(cube, name=Path(given).name, chip_px=chip_px, **how)
        else:
            files.append(given)
    if files:
        name = Path(files[0]).name if len(files) == 1 else Path(files[0]).absolute().parent.name
        chips += cut_cube(open_cube(files, chunks="auto"), name=name, chip_px=chip_px, **how)
    return chips


@contextmanager
def _bar(total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    from rich.progress import Progress

    with Progress(console=stderr(), disable=quiet, transient=True) as bar:
        task = bar.add_task("Looking at chips", total=total)
        yield lambda: bar.advance(task)


def _write(ranked: Sequence[RankedChip], out: str | None, chips_folder: str | None, picture: str | None) -> None:
    from xcloudmask.training.selection.output import chip_name, save_sheet, write_chip, write_table

    if out is not None:
        write_table(ranked, Path(out))
    if chips_folder is not None:
        Path(chips_folder).mkdir(parents=True, exist_ok=True)
        for one in ranked:
            write_chip(one.chip, Path(chips_folder) / chip_name(one))
    if picture is not None:
        save_sheet(ranked, Path(picture))


def _show(ranked: Sequence[RankedChip], candidates: int) -> None:
    console = stdout()
    console.print(f"{len(ranked)} of {candidates} chips", markup=False)
    for one in ranked:
        chip = one.chip
        place = " ".join(part for part in (chip.name, chip.time, f"y {chip.y_px} x {chip.x_px}") if part)
        console.print(f"{one.rank:4d}  {place}  uncertainty {one.uncertainty:.3f}", markup=False)
