"""`xcloudmask predict` and `xcloudmask plan`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
import xarray as xr

from xcloudmask.cli import _options as opt
from xcloudmask.cli._masking import AppendOption, OutputArgument, OverwriteOption, QuietOption, write_lazily
from xcloudmask.cli._outputs import check_output
from xcloudmask.cli._report import reporting, stdout, usage_error

__all__ = ["plan", "predict"]

PictureOption = Annotated[
    str | None, typer.Option(show_default=False, help="Also write a picture of image beside mask, such as mask.png.")
]


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
    backend: opt.BackendOption = "auto",
    precision: opt.PrecisionOption = "auto",
    batch_size: opt.BatchSizeOption = "auto",
    chunk_px: opt.ChunkOption = None,
    workers: opt.WorkersOption = None,
    scheduler: opt.SchedulerOption = "threads",
    picture: PictureOption = None,
    overwrite: OverwriteOption = False,
    append: AppendOption = False,
    quiet: QuietOption = False,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Mask clouds and their shadows in image files, and write the mask."""
    from xcloudmask.models.process import keep_freed_memory
    from xcloudmask.predict import predict as predict_mask

    keep_freed_memory()
    if picture is not None:
        _check_picture(percent=percent)
    check_output(output, inputs=inputs, overwrite=overwrite, append=append)
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
        backend=backend,
        precision=precision,
        batch_size=batch_size,
    )
    cube = _open(inputs, chunk_px)
    write_lazily(
        lambda: predict_mask(cube, **arguments),
        output,
        doing="Masking",
        scheduler=scheduler,
        workers=workers,
        overwrite=overwrite,
        append=append,
        quiet=quiet,
        after=None if picture is None else lambda mask: _save_picture(mask, cube, picture, arguments),
    )
    if picture is not None and not quiet:
        stdout().print(picture, markup=False)


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
    backend: opt.BackendOption = "auto",
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
        backend=backend,
        precision=precision,
        batch_size=batch_size,
    )
    stdout().print(str(plan_mask(_open(inputs, chunk_px), **arguments)), markup=False)


def _open(inputs: list[str], chunk_px: int | None) -> xr.Dataset:
    from xcloudmask.io import open_any

    return open_any(inputs, chunks="auto" if chunk_px is None else chunk_px)


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

    given = arguments["bands"]
    shown: dict[str, xr.Variable] = {}
    for role in ("red", "green", "blue", "nir"):
        name = given.get(role) if isinstance(given, dict) else None
        chosen = {} if name is None else {role: name}
        try:
            selection = select_bands(cube, roles=(role,), bands=chosen or None, sensor=arguments["sensor"])
        except BandNotFoundError:
            continue
        (array,) = selection.arrays
        if array is not None:
            shown[role] = array.variable
    return xr.Dataset(shown, coords=cube.coords)
