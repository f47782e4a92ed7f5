"""`xcloudmask predict` and `xcloudmask plan`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
import xarray as xr

from xcloudmask.cli import _options as opt
from xcloudmask.cli._outputs import check_output, summary, write_output
from xcloudmask.cli._progress import progress, scheduling
from xcloudmask.cli._report import reporting, stdout, usage_error

__all__ = ["plan", "predict"]

OutputArgument = Annotated[
    str,
    typer.Argument(
        metavar="OUTPUT", show_default=False, help="masks.zarr, mask.tif (COG), or a folder ending in / (COGs)."
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
PictureOption = Annotated[
    str | None, typer.Option(show_default=False, help="Also write a picture of image beside mask, such as mask.png.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no summary.")]


@reporting
def predict(
    inputs: opt.InputsArgument,
    output: OutputArgument,
    *,
    model: opt.ModelOption = "default",
    band: opt.BandOption = None,
    sensor: opt.SensorOption = None,
    normalize: opt.NormalizeOption = "chunk",
    halo_px: opt.HaloOption = None,
    output_style: opt.OutputStyleOption = "4-class",
    percent: opt.PercentOption = False,
    stride: opt.StrideOption = None,
    resolution_m: opt.ResolutionOption = None,
    upsample: opt.UpsampleOption = None,
    nodata: opt.NodataOption = None,
    scale: opt.ScaleOption = None,
    offset: opt.OffsetOption = None,
    device: opt.DeviceOption = "auto",
    precision: opt.PrecisionOption = "auto",
    batch_size: opt.BatchSizeOption = "auto",
    chunk_px: opt.ChunkOption = None,
    workers: opt.WorkersOption = None,
    scheduler: opt.SchedulerOption = "threads",
    picture: PictureOption = None,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Mask clouds and their shadows in image files, and write the mask."""
    from xcloudmask.predict import predict as predict_mask

    if picture is not None:
        _check_picture(percent=percent)
    check_output(output, inputs=inputs, overwrite=overwrite)
    arguments = opt.predict_arguments(
        model=model,
        band=band,
        sensor=sensor,
        normalize=normalize,
        halo_px=halo_px,
        output_style=output_style,
        percent=percent,
        stride=stride,
        resolution_m=resolution_m,
        upsample=upsample,
        nodata=nodata,
        scale=scale,
        offset=offset,
        device=device,
        precision=precision,
        batch_size=batch_size,
    )
    cube = _open(inputs, chunk_px)
    with scheduling(scheduler, workers) as client:
        mask = predict_mask(cube, **arguments)
        with progress(work_text(mask), client, quiet=quiet):
            written = write_output(mask, output, overwrite=overwrite)
        if picture is not None:
            _save_picture(written, cube, picture, arguments)
    if not quiet:
        print_summary(written, output, picture, percent=percent)


@reporting
def plan(
    inputs: opt.InputsArgument,
    *,
    model: opt.ModelOption = "default",
    band: opt.BandOption = None,
    sensor: opt.SensorOption = None,
    normalize: opt.NormalizeOption = "chunk",
    halo_px: opt.HaloOption = None,
    output_style: opt.OutputStyleOption = "4-class",
    percent: opt.PercentOption = False,
    stride: opt.StrideOption = None,
    resolution_m: opt.ResolutionOption = None,
    upsample: opt.UpsampleOption = None,
    nodata: opt.NodataOption = None,
    scale: opt.ScaleOption = None,
    offset: opt.OffsetOption = None,
    device: opt.DeviceOption = "auto",
    precision: opt.PrecisionOption = "auto",
    batch_size: opt.BatchSizeOption = "auto",
    chunk_px: opt.ChunkOption = None,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Show what `predict` would do: bands, scale, halo, chunks, memory. Nothing is computed."""
    from xcloudmask.plan import plan as plan_mask

    arguments = opt.predict_arguments(
        model=model,
        band=band,
        sensor=sensor,
        normalize=normalize,
        halo_px=halo_px,
        output_style=output_style,
        percent=percent,
        stride=stride,
        resolution_m=resolution_m,
        upsample=upsample,
        nodata=nodata,
        scale=scale,
        offset=offset,
        device=device,
        precision=precision,
        batch_size=batch_size,
    )
    stdout().print(str(plan_mask(_open(inputs, chunk_px), **arguments)), markup=False)


def _open(inputs: list[str], chunk_px: int | None) -> xr.Dataset:
    from xcloudmask.io import open_any

    return open_any(inputs, chunks="auto" if chunk_px is None else chunk_px)


def work_text(mask: xr.DataArray) -> str:
    data: Any = mask.data
    count = data.npartitions if mask.chunks is not None else 1
    return f"Masking {count} chunk{'s' if count > 1 else ''}"


def _check_picture(*, percent: bool) -> None:
    from xcloudmask._optional import require

    if percent:
        raise usage_error("--picture shows classes, and --percent writes none. Leave one of them out.")
    require("matplotlib.figure", extra="viz")


def _save_picture(mask: xr.DataArray, cube: xr.Dataset, picture: str, arguments: dict[str, Any]) -> None:
    from xcloudmask.viz import save_picture

    save_picture(mask, picture, rgb=_picture_cube(cube, arguments))


def _picture_cube(cube: xr.Dataset, arguments: dict[str, Any]) -> xr.Dataset:
    """Return the bands that a picture can show, under the names of their roles."""
    from xcloudmask.bands import select_bands
    from xcloudmask.errors import BandNotFoundError

    shown: dict[str, xr.Variable] = {}
    for role in ("red", "green", "blue", "nir"):
        name = (arguments["bands"] or {}).get(role)
        chosen = {} if name is None else {role: name}
        try:
            selection = select_bands(cube, roles=(role,), bands=chosen or None, sensor=arguments["sensor"])
        except BandNotFoundError:
            continue
        (array,) = selection.arrays
        if array is not None:
            shown[role] = array.variable
    return xr.Dataset(shown, coords=cube.coords)


def print_summary(mask: xr.DataArray, output: str, picture: str | None, *, percent: bool) -> None:
    console = stdout()
    sizes = " x ".join(f"{dim} {size}" for dim, size in mask.sizes.items())
    console.print(f"{output}: {sizes}", markup=False)
    if not percent:
        meaning = str(mask.attrs["flag_meanings"]).split()[0].replace("_", " ")
        for date, value in summary(mask):
            share = "no data" if value != value else f"{value:.1%} {meaning}"  # noqa: PLR0124  # NaN
            console.print(f"  {date}  {share}" if date else f"  {share}", markup=False)
    if picture is not None:
        console.print(picture, markup=False)
