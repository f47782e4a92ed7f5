"""Arguments and options that several commands share, and how their texts become arguments of `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xcloudmask.cli._report import usage_error

__all__ = [
    "BackendOption",
    "BandOption",
    "BatchSizeOption",
    "ChunkOption",
    "DebugOption",
    "DeviceOption",
    "HaloOption",
    "InputsArgument",
    "ModelOption",
    "NodataOption",
    "NormalizeOption",
    "OffsetOption",
    "OutputStyleOption",
    "PercentOption",
    "PrecisionOption",
    "ResolutionOption",
    "ScaleOption",
    "SchedulerOption",
    "SensorOption",
    "StrideOption",
    "UpsampleOption",
    "WorkersOption",
    "predict_arguments",
    "sensor_argument",
]

InputsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        show_default=False,
        help="A Sentinel-2 .SAFE, Landsat or PlanetScope folder; GeoTIFFs, a folder of them, Zarr or NetCDF.",
    ),
]
ModelOption = Annotated[str, typer.Option(help="Name of a model, or the path of its TOML file or JSON card.")]
BandOption = Annotated[
    list[str] | None,
    typer.Option(
        "--band",
        "--bands",
        metavar="ROLE=NAME",
        show_default=False,
        help="Which band plays which role, such as red=B04; nir=none does without. Repeat for each band. Names alone, "
        "such as B02,B03,B04: in the order of the model, or those that a model of any bands is fed.",
    ),
]
SensorOption = Annotated[
    str | None,
    typer.Option(show_default=False, help="Sensor, such as sentinel-2-l2a, or a TOML file with one of your own."),
]
NormalizeOption = Annotated[
    str,
    typer.Option(
        help="Pixels that the z-score is taken over: chunk, lattice (same labels for all chunks), scene or ocm."
    ),
]
HaloOption = Annotated[
    int | None, typer.Option("--halo-px", show_default=False, help="Context around chunks, in pixels.")
]
OutputStyleOption = Annotated[str, typer.Option(help="4-class, cloud-noncloud or valid-invalid.")]
PercentOption = Annotated[bool, typer.Option("--percent", help="Write percent per class instead of codes.")]
StrideOption = Annotated[
    int | None, typer.Option(show_default=False, help="Step of a moving window, in pixels: slower, smoother.")
]
ResolutionOption = Annotated[
    str | None,
    typer.Option("--resolution-m", metavar="M", show_default=False, help="Metres per pixel, or y,x."),
]
NodataOption = Annotated[
    list[str] | None,
    typer.Option("--nodata", metavar="VALUE", show_default=False, help="Value without data, or ROLE=VALUE (repeat)."),
]
UpsampleOption = Annotated[
    str | None,
    typer.Option(
        "--upsample", metavar="N", show_default=False, help="Interpolate coarse pixels: by N, or auto for up to 3."
    ),
]
ScaleOption = Annotated[
    list[str] | None,
    typer.Option(
        "--scale",
        metavar="VALUE",
        show_default=False,
        help="Reflectance per DN, such as 0.0001, or ROLE=VALUE (repeat). Default: as the files declare.",
    ),
]
OffsetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--offset",
        metavar="VALUE",
        show_default=False,
        help="Added to DN * scale, such as -0.1, or ROLE=VALUE (repeat). Needs --scale.",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0 or mps.")]
BackendOption = Annotated[str, typer.Option(help="What runs the model: auto, torch, openvino or onnxruntime.")]
PrecisionOption = Annotated[str, typer.Option(help="auto, fp32, bf16, fp16 or int8.")]
BatchSizeOption = Annotated[str, typer.Option(metavar="N", help="Tiles fed to the model at once, or auto.")]
ChunkOption = Annotated[
    int | None,
    typer.Option("--chunk-px", min=1, show_default=False, help="Side of a chunk. Default: 2048, or as stored in Zarr."),
]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, show_default=False, help="Threads or processes. Default: one per core.")
]
SchedulerOption = Annotated[
    str,
    typer.Option(help="threads, processes, distributed, synchronous, or the address of a cluster (tcp://...)."),
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


def predict_arguments(
    *,
    model: str,
    band: list[str] | None,
    sensor: str | None,
    normalize: str,
    halo_px: int | None = None,
    output_style: str,
    percent: bool,
    stride: int | None,
    resolution_m: str | None = None,
    upsample: str | None = None,
    nodata: list[str] | None = None,
    scale: list[str] | None = None,
    offset: list[str] | None = None,
    device: str,
    backend: str = "auto",
    precision: str,
    batch_size: str,
) -> dict[str, Any]:
    """Turn options into the keyword arguments of `xcloudmask.predict`, which checks them.

    Parameters
    ----------
    model, band, sensor, normalize, halo_px, output_style, percent, stride
        As typed.
    resolution_m, upsample, nodata, scale, offset, device, backend, precision, batch_size
        As typed.

    Returns
    -------
    dict

    Raises
    ------
    ArgumentError
        A text cannot be understood.

    Examples
    --------
    >>> _bands(["red=B04", "nir=none", "green=2"])
    {'red': 'B04', 'nir': None, 'green': 'band_2'}
    >>> _choice(["B02,B03", "B04"], "default")
    ['B02', 'B03', 'B04']
    """
    return {
        "model": _model(model),
        "bands": _choice(band, _model(model)),
        "sensor": sensor_argument(sensor),
        "normalize": normalize,
        "halo_px": halo_px,
        "output_style": output_style,
        "categorise": not percent,
        "stride": stride,
        "resolution_m": _resolution(resolution_m),
        "upsample": _upsample(upsample),
        "nodata": _nodata(nodata),
        "scale": _scale(scale, offset),
        "device": device,
        "backend": backend,
        "precision": precision,
        "batch_size": batch_size if batch_size == "auto" else _whole(batch_size, "--batch-size"),
    }


def sensor_argument(text: str | None) -> str | None:
    """Return the name of a sensor; one in a TOML file is registered first.

    Parameters
    ----------
    text
        As typed.

    Returns
    -------
    str or None

    Raises
    ------
    ArgumentError, ArgumentTypeError, ReadError
        The file is wrong. Names are checked where they are used.

    Examples
    --------
    >>> sensor_argument("hls-l30")
    'hls-l30'
    """
    if text is None or not text.endswith(".toml"):
        return text
    from xcloudmask.sensors import register_sensor

    return register_sensor(text).name


def _model(text: str) -> Any:
    if not text.endswith((".json", ".toml")):
        return text
    from xcloudmask.models.spec import ModelSpec

    if not Path(text).exists():
        raise usage_error(f"--model {text}: there is no such card.")
    return ModelSpec.from_card(Path(text))


def _choice(texts: list[str] | None, model: Any) -> dict[str, str | None] | list[str] | None:
    """Names alone are all bands of the model, or some for a model of any; else each has its role."""
    if not texts or any("=" in text for text in texts):
        return _bands(texts)
    from xcloudmask.models.registry import get_spec

    names = [_band_name(name.strip()) for text in texts for name in text.split(",") if name.strip()]
    spec = get_spec(model)
    if not spec.any_bands and len(names) != len(spec.bands):
        raise usage_error(
            f"--band {' '.join(texts)}: expected ROLE=NAME, or all {len(spec.bands)} bands in the order "
            f"{', '.join(spec.bands)}. Type: --band {spec.bands[0]}=B04"
        )
    return names


def _bands(pairs: list[str] | None) -> dict[str, str | None] | None:
    if not pairs:
        return None
    bands: dict[str, str | None] = {}
    for pair in pairs:
        role, equals, name = pair.partition("=")
        if not (role and equals and name):
            raise usage_error(f"--band {pair}: expected ROLE=NAME. Type: --band red=B04, or --band nir=none")
        bands[role] = None if name.casefold() == "none" else _band_name(name)
    return bands


def _band_name(text: str) -> str:
    """Bands of a file without names are called band_1, band_2, ... by `open_cube`."""
    return f"band_{text}" if text.isdigit() else text


def _nodata(texts: list[str] | None) -> float | dict[str, float] | None:
    return _values(texts, "--nodata")


def _values(texts: list[str] | None, option: str) -> float | dict[str, float] | None:
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return _number(texts[0], option)
    pairs = [text.partition("=") for text in texts]
    if not all(role and equals for role, equals, _ in pairs):
        raise usage_error(f"{option} {' '.join(texts)}: expected one number, or ROLE=NUMBER for each band.")
    return {role: _number(value, option) for role, _, value in pairs}


def _scale(scale: list[str] | None, offset: list[str] | None) -> Any:
    """One number or pair, or role -> pair."""
    gains, offsets = _values(scale, "--scale"), _values(offset, "--offset")
    if offsets is None:
        return gains
    if gains is None:
        raise usage_error(
            "--offset needs --scale: reflectance = DN * scale + offset. Type: --scale 0.0001 --offset -0.1"
        )
    if not isinstance(gains, dict):
        if isinstance(offsets, dict):
            raise usage_error("--offset is given per band, --scale is not. Type: --scale red=0.0001 --offset red=-0.1")
        return gains, offsets
    shifts = offsets if isinstance(offsets, dict) else dict.fromkeys(gains, offsets)
    if set(shifts) - set(gains):
        raise usage_error(f"--offset {', '.join(sorted(set(shifts) - set(gains)))}: --scale says nothing of that band.")
    return {role: (gain, shifts.get(role, 0.0)) for role, gain in gains.items()}


def _upsample(text: str | None) -> bool | int:
    if text is None:
        return False
    return True if text == "auto" else _whole(text, "--upsample")


def _resolution(text: str | None) -> float | tuple[float, float] | None:
    if text is None:
        return None
    parts = [_number(part, "--resolution-m") for part in text.split(",")]
    if len(parts) > 2:
        raise usage_error(f"--resolution-m {text}: expected one number, or two (y,x).")
    return parts[0] if len(parts) == 1 else (parts[0], parts[1])


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise usage_error(f"{option} {text}: expected a number.") from None


def _whole(text: str, option: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise usage_error(f"{option} {text}: expected a whole number, or auto.") from None
