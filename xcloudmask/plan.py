"""`plan`: what `predict` would do with the same arguments."""

from __future__ import annotations

from typing import Literal

import xarray as xr

from xcloudmask.classes import OutputStyle
from xcloudmask.models.spec import ModelSpec
from xcloudmask.options import Backend, Bands, Nodata, Options, Precision, ResolutionM, Scale
from xcloudmask.prepare import prepare_cube
from xcloudmask.report import Plan, describe
from xcloudmask.sensors import Sensor
from xcloudmask.settings import Normalize, Output

__all__ = ["plan"]


def plan(
    cube: xr.DataArray | xr.Dataset,
    *,
    model: str | ModelSpec = "default",
    bands: Bands | None = None,
    sensor: str | Sensor | None = None,
    normalize: Normalize = "chunk",
    halo_px: int | None = None,
    output_style: OutputStyle = "4-class",
    categorise: bool = True,
    stride: int | None = None,
    resolution_m: ResolutionM | None = None,
    upsample: bool | int = False,
    nodata: Nodata | None = None,
    scale: Scale | None = None,
    device: str = "auto",
    backend: Backend = "auto",
    precision: Precision = "auto",
    batch_size: int | Literal["auto"] = "auto",
) -> Plan:
    """Tell what `predict` would do with the same arguments, without computing anything.

    Parameters
    ----------
    cube
        See `xcloudmask.predict`.
    model, bands, sensor, normalize, halo_px, output_style, categorise, stride
        See `xcloudmask.predict`.
    resolution_m, upsample, nodata, scale, device, backend, precision, batch_size
        See `xcloudmask.predict`.

    Returns
    -------
    Plan
        Bands, scale, halo, chunks, tasks, memory and warnings.

    Raises
    ------
    XCloudMaskError
        As `xcloudmask.predict`.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xcloudmask
    >>> cube = xr.Dataset({b: (("y", "x"), np.ones((64, 64), "uint16")) for b in ("red", "green", "nir")})
    >>> xcloudmask.plan(cube).halo_px
    72
    """
    options = Options(
        model=model,
        bands=bands,
        sensor=sensor,
        normalize=normalize,
        halo_px=halo_px,
        output_style=output_style,
        categorise=categorise,
        stride=stride,
        resolution_m=resolution_m,
        upsample=upsample,
        nodata=nodata,
        scale=scale,
        device=device,
        backend=backend,
        precision=precision,
        batch_size=batch_size,
    )
    output: Output = "labels" if categorise else "percent"
    return describe(prepare_cube(cube, options, output=output))
