"""`xcloudmask demo`: the main job on a simulated time series, with no network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import xarray as xr

from xcloudmask.classes import NODATA
from xcloudmask.cli import _options as opt
from xcloudmask.cli._outputs import check_output, summary, write_output
from xcloudmask.cli._progress import progress, scheduling
from xcloudmask.cli._report import reporting, stderr, stdout

__all__ = ["demo"]

OutOption = Annotated[str, typer.Option("--out", metavar="DIR", help="Folder for masks.zarr and demo.png.")]
SizeOption = Annotated[int, typer.Option("--size-px", min=16, help="Rows and columns of the simulated images.")]
TimesOption = Annotated[int, typer.Option(min=1, help="Number of dates.")]
SeedOption = Annotated[int, typer.Option(help="Another number gives another landscape.")]


@reporting
def demo(
    *,
    out: OutOption = "demo",
    size_px: SizeOption = 512,
    times: TimesOption = 3,
    seed: SeedOption = 0,
    workers: opt.WorkersOption = None,
    scheduler: opt.SchedulerOption = "threads",
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Simulate a small Sentinel-2 time series with clouds, mask it lazily, and show how well that went."""
    from xcloudmask.predict import predict
    from xcloudmask.simulate.scene import simulate_sentinel2, simulate_truth

    folder = Path(out)
    store = str(folder / "masks.zarr")
    check_output(store, inputs=[], overwrite=True)
    settings: dict[str, Any] = {"size_px": size_px, "times": times, "seed": seed, "chunks": max(size_px // 2, 16)}
    cube, truth = simulate_sentinel2(**settings), simulate_truth(**settings)
    with scheduling(scheduler, workers) as client:
        # Chunks as small as these would show their borders under thin cloud if each had a z-score of its own.
        mask = predict(cube, normalize="lattice")
        with progress(f"Masking {times} simulated dates", client):
            written = write_output(mask, store, overwrite=True)
        agreement = _agreement(written, truth.compute())
        picture = _picture(written, folder / "demo.png", cube, truth)
    console = stdout()
    console.print(f"{store}: {', '.join(f'{dim} {size}' for dim, size in written.sizes.items())}", markup=False)
    for (date, clear), right in zip(summary(written), agreement, strict=True):
        console.print(f"  {date}  {clear:.1%} clear, {right:.1%} of the pixels agree with the simulated truth")
    if picture is not None:
        console.print(str(picture), markup=False)


def _agreement(mask: xr.DataArray, truth: xr.DataArray) -> list[float]:
    """Return the share of equal codes of each date, where both have data."""
    shares = []
    for codes, expected in zip(mask.values, truth.values, strict=True):
        both = (codes != NODATA) & (expected != NODATA)
        shares.append(float(np.mean(codes[both] == expected[both])) if both.any() else float("nan"))
    return shares


def _picture(mask: xr.DataArray, path: Path, cube: xr.Dataset, truth: xr.DataArray) -> Path | None:
    from xcloudmask._optional import available
    from xcloudmask.viz import save_picture

    if not available("matplotlib"):
        stderr().print("No picture: type pip install 'xcloudmask[viz]' for one.", markup=False)
        return None
    return save_picture(mask, path, rgb=cube, reference=truth)
