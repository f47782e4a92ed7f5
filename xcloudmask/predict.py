"""`predict` and `predict_proba`: a cube in, a mask out; lazy in, lazy out."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import xarray as xr

from xcloudmask._provenance import settings_text
from xcloudmask._version import __version__
from xcloudmask.classes import CLASS_DIM, NODATA, OutputStyle, get_style, mask_attrs
from xcloudmask.graph import predict_graph
from xcloudmask.graph_ocm import ocm_graph
from xcloudmask.io._georef import with_spatial_ref
from xcloudmask.models.spec import ModelSpec
from xcloudmask.options import Backend, Bands, Nodata, Options, Precision, ResolutionM, Scale
from xcloudmask.prepare import Prepared, prepare_cube
from xcloudmask.radiometry import without_scales
from xcloudmask.sensors import Sensor
from xcloudmask.settings import Normalize, Output

__all__ = ["predict", "predict_proba"]


def predict(
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
) -> xr.DataArray:
    """Mask clouds and their shadows.

    Parameters
    ----------
    cube
        Images as a loader gives them: a Dataset with a variable per band (odc-stac), or a DataArray with a band
        dimension (stackstac, rioxarray); dimensions y and x (or latitude and longitude, ...), with or without time.
        Any real dtype, DN or reflectance. Dask-backed: the mask is lazy; numpy-backed: it is computed at once.
    model
        Name of a model, or a ModelSpec.
    bands
        Which band of the cube plays which role, such as ``{"red": "B04"}``; a number is a position along the band
        dimension, from 0. ``{"nir": None}`` gives a band up: the model is fed zeros. A list names the bands in the
        order of the model, or those that a model of any bands is fed. None: found by name; a model of any bands is fed
        all of known wavelength.
    sensor
        A sensor of `xcloudmask.sensors`, where names alone do not tell; also supplies nodata and scale. None: the one
        that ``attrs["sensor"]`` of the cube names, if any.
    normalize
        Pixels that the z-score is taken over: ``"chunk"`` (each chunk with its halo; fastest), ``"lattice"`` (tiles of
        a lattice anchored at the cube's origin) or ``"scene"`` (each time step, in two passes). ``"ocm"``: patches and
        blend of OmniCloudMask, with ``halo_px=`` for the overlap of its patches and ``stride=`` for their step. The
        last three give the same labels for every layout of chunks.
    halo_px
        Context around each tile, in pixels, rounded up to the stride of the model. None: the model's receptive radius.
    output_style
        ``"4-class"``: 0 clear, 1 thick cloud, 2 thin cloud, 3 cloud shadow. ``"cloud-noncloud"``: 1 cloud, 0 not.
        ``"valid-invalid"``: 0 valid (clear), 1 invalid. Nodata is 255 in all of them.
    categorise
        False gives percent (0 to 100) per code instead of codes.
    stride
        Step of a moving window, in pixels, whose overlapping predictions are averaged. None: tiles with a cropped
        halo, which is many times faster.
    resolution_m
        Metres per pixel, or a pair (y, x). None: from the coordinates. Pixels finer than the model was trained for are
        averaged by a whole factor, and the probabilities brought back to the cube's grid.
    upsample
        True interpolates pixels coarser than the model was trained for, by the smallest whole factor that leads into
        its range, at most 3; a number says the factor. The mask stays on the cube's own grid. The work grows with the
        square of the factor. False: coarse pixels are taken as they are, and `plan` warns.
    nodata
        Value of pixels without data, for all bands or per role. None: as declared by the cube or the sensor. NaN and
        infinite pixels are always nodata.
    scale
        Reflectance per DN (``1e-4``), a pair (scale, offset) for reflectance = DN * scale + offset, or role -> one of
        these; ``1`` for reflectance itself. None: as declared by the cube or the sensor; see
        `xcloudmask.radiometry.known_scale`. Z-scored models work without it.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:0"``, ``"mps"``; resolved in each worker.
    backend
        What runs the model: ``"auto"`` (torch, but for ``precision="int8"``), ``"torch"``, ``"openvino"`` or
        ``"onnxruntime"``, each of which must be installed in every worker. The last two run on the processor.
    precision
        ``"auto"`` (bf16 where the device computes in it, else fp32), ``"fp32"``, ``"bf16"``, ``"fp16"`` (accelerators)
        or ``"int8"`` (OpenVINO; some more labels differ).
    batch_size
        Tiles fed to the model at once.

    Returns
    -------
    xarray.DataArray
        (time, y, x) uint8 with CF flag attributes; with ``categorise=False`` (time, cloud_class, y, x) uint8.
        Coordinates and CRS are those of the cube, but for those with its scales; no time dimension where the cube has
        none.

    Raises
    ------
    BandNotFoundError
        A band is missing or ambiguous; the message lists what was found and what to type.
    NotACubeError
        The object is a mask, or no cube of images.
    ChunkError
        Chunk sizes are unknown.
    MissingPackageError
        The backend is not installed; raised where the model runs.
    UnknownModelError, WeightsError
        The model is unknown, or its weights are not those of its card.
    InputError
        The model takes reflectance as it is, and the scale of the cube is not known.
    ArgumentError, ArgumentTypeError
        An argument has a wrong value or type.

    Notes
    -----
    Dynamic z-score: Wright et al. (2025), doi:10.1016/j.rse.2025.114694. The halo is the receptive radius of the
    network rounded up to its stride, and all borders lie on multiples of the stride: with equal statistics, cutting a
    cube into chunks changes nothing.

    Coarse pixels: the network of SEnSeI, trained on Sentinel-2 and Landsat 8, was found to work on the 500 m of
    Sentinel-3 SLSTR, interpolated to 167 to 250 m (Francis et al., 2022, IEEE Transactions on Geoscience and Remote
    Sensing 60). The accuracy of this package's models has not been measured there.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xcloudmask
    >>> cube = xr.Dataset({b: (("y", "x"), np.ones((64, 64), "uint16")) for b in ("red", "green", "nir")})
    >>> xcloudmask.predict(cube).dtype
    dtype('uint8')
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
    return _predict(cube, options, output="labels" if categorise else "percent")


def predict_proba(
    cube: xr.DataArray | xr.Dataset,
    *,
    model: str | ModelSpec = "default",
    bands: Bands | None = None,
    sensor: str | Sensor | None = None,
    normalize: Normalize = "chunk",
    halo_px: int | None = None,
    output_style: OutputStyle = "4-class",
    stride: int | None = None,
    resolution_m: ResolutionM | None = None,
    upsample: bool | int = False,
    nodata: Nodata | None = None,
    scale: Scale | None = None,
    device: str = "auto",
    backend: Backend = "auto",
    precision: Precision = "auto",
    batch_size: int | Literal["auto"] = "auto",
) -> xr.DataArray:
    """Probability of each class.

    Parameters
    ----------
    cube, model, bands, sensor, normalize, halo_px, output_style, stride
        See `predict`.
    resolution_m, upsample, nodata, scale, device, backend, precision, batch_size
        See `predict`.

    Returns
    -------
    xarray.DataArray
        (time, cloud_class, y, x) float32, softmax of the logits; adds up to 1 over cloud_class; NaN for nodata.

    Raises
    ------
    XCloudMaskError
        As `predict`.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xcloudmask
    >>> cube = xr.Dataset({b: (("y", "x"), np.ones((64, 64), "uint16")) for b in ("red", "green", "nir")})
    >>> xcloudmask.predict_proba(cube).sizes["cloud_class"]
    4
    """
    options = Options(
        model=model,
        bands=bands,
        sensor=sensor,
        normalize=normalize,
        halo_px=halo_px,
        output_style=output_style,
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
    return _predict(cube, options, output="probability")


def _predict(cube: xr.DataArray | xr.Dataset, options: Options, *, output: Output) -> xr.DataArray:
    prepared = prepare_cube(cube, options, output=output)
    timeless = prepared.template.ndim == 2
    data: Any
    if prepared.settings.normalize == "ocm":
        data = ocm_graph(prepared.stack, prepared.settings, timeless=timeless, scales=prepared.scales)
    else:
        data = predict_graph(
            prepared.stack,
            prepared.settings,
            chunks=prepared.chunks,
            depth=prepared.geometry.depth,
            timeless=timeless,
            scales=prepared.scales,
            planes=prepared.planes,
        )
    if not prepared.lazy:
        # The model itself uses all cores, so one block at a time is fastest and smallest.
        data = data.compute(scheduler="synchronous")
    mask = _as_dataarray(data, prepared)
    # What loading left out, the mask lacks as well: see `xcloudmask.stac.load`.
    return mask.assign_attrs(skipped_items=cube.attrs["skipped_items"]) if "skipped_items" in cube.attrs else mask


def _as_dataarray(data: Any, prepared: Prepared) -> xr.DataArray:
    """Dress the result: coordinate objects of the cube, but for those about its numbers; attributes from scratch."""
    template, settings = without_scales(prepared.template), prepared.settings
    dims = list(template.dims)
    coords: dict[Any, Any] = dict(template.coords)
    if settings.output != "labels":
        dims.insert(len(dims) - 2, CLASS_DIM)
        coords[CLASS_DIM] = np.array(get_style(settings.style).meanings)
    mask = xr.DataArray(data, dims=dims, coords=coords, name="cloud_mask", attrs=_attrs(prepared))
    # stackstac keeps the CRS in attributes, which a mask does not inherit: it gets a coordinate instead.
    referenced, grid_mapping = with_spatial_ref(template)
    if grid_mapping is not None:
        mask = mask.assign_coords({grid_mapping: referenced.coords[grid_mapping]})
        mask.encoding["grid_mapping"] = grid_mapping
    return mask


def _attrs(prepared: Prepared) -> dict[str, Any]:
    settings = prepared.settings
    style = get_style(settings.style)
    attrs: dict[str, Any]
    if settings.output == "labels":
        attrs = mask_attrs(style)
    else:
        attrs = {"long_name": f"cloud mask {settings.output}", "output_style": style.name}
        attrs |= {"units": "percent", "nodata": NODATA} if settings.output == "percent" else {"units": "1"}
    return attrs | {
        "model": prepared.spec.name,
        "model_sha256": prepared.spec.sha256,
        "normalize": settings.normalize,
        "settings": settings_text(prepared),
        "xcloudmask_version": __version__,
    }
