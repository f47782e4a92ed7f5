"""What a caller may ask of `predict`, checked before anything else happens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, get_args

from xcloudmask.classes import OutputStyle, get_style
from xcloudmask.errors import ArgumentError, ArgumentTypeError
from xcloudmask.models.backends.choice import Backend, check_engine
from xcloudmask.models.devices import Precision
from xcloudmask.models.spec import ModelSpec
from xcloudmask.sensors import Sensor
from xcloudmask.settings import Normalize

__all__ = ["Backend", "Bands", "Nodata", "Options", "Precision", "ResolutionM", "Scale", "scale_pairs"]

Bands = Mapping[str, str | int | None] | Sequence[str | int | None]
Nodata = float | Mapping[str, float]
ResolutionM = float | Sequence[float]
Scale = float | Sequence[float] | Mapping[str, float | Sequence[float]]
"""Reflectance per DN, a pair (scale, offset), or role -> one of these."""

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Arguments of `predict`, `predict_proba` and `plan`; see `predict` for what each means."""

    model: str | ModelSpec = "default"
    """Model, by name or as a spec."""
    bands: Bands | None = None
    """Which band of the cube is which band of the model."""
    sensor: str | Sensor | None = None
    """Sensor, for names, nodata and scale."""
    normalize: Normalize = "chunk"
    """Pixels that the statistics are taken over."""
    halo_px: int | None = None
    """Context around a chunk, in pixels of the cube."""
    output_style: OutputStyle = "4-class"
    """Which codes."""
    categorise: bool = True
    """Codes, or percent per code."""
    stride: int | None = None
    """Step of the moving window, in pixels of the cube."""
    resolution_m: ResolutionM | None = None
    """Pixel size, in metres."""
    upsample: bool | int = False
    """Whether coarse pixels are interpolated up, or by how much."""
    nodata: Nodata | None = None
    """Value of pixels without data."""
    scale: Scale | None = None
    """Reflectance per DN, with or without an offset."""
    device: str = "auto"
    """Where the model runs."""
    backend: Backend = "auto"
    """What runs the model."""
    precision: Precision = "auto"
    """In which numbers."""
    batch_size: int | Literal["auto"] = "auto"
    """Tiles fed at once."""

    def __post_init__(self) -> None:
        """Check types and choices."""
        get_style(_text("output_style", self.output_style))
        _choice("normalize", self.normalize, get_args(Normalize))
        _choice("backend", self.backend, get_args(Backend))
        _choice("precision", self.precision, get_args(Precision))
        if not _DEVICE.fullmatch(_text("device", self.device)):
            raise ArgumentError(
                f"device={self.device!r} is unknown. Expected 'auto', 'cpu', 'cuda', 'cuda:0' or 'mps'."
            )
        check_engine(backend=self.backend, device=self.device, precision=self.precision)
        if self.normalize == "ocm" and (self.backend not in {"auto", "torch"} or self.precision == "int8"):
            raise ArgumentError(
                f"backend={self.backend!r} and precision={self.precision!r} with normalize='ocm': the parity engine "
                "runs in torch, in fp32, bf16 or fp16. Type: backend='auto'."
            )
        if not isinstance(self.categorise, bool):
            raise ArgumentTypeError(
                f"categorise={self.categorise!r} is a {_kind(self.categorise)}. Expected True or False."
            )
        if self.halo_px is not None:
            _whole("halo_px", self.halo_px, minimum=0)
        if self.stride is not None:
            _whole("stride", self.stride, minimum=1)
        if self.batch_size != "auto":
            _whole("batch_size", self.batch_size, minimum=1, instead="'auto'")
        if self.resolution_m is not None:
            _resolution(self.resolution_m)
        if not isinstance(self.upsample, bool):
            _whole("upsample", self.upsample, minimum=1, instead="True")
        _nodata(self.nodata)
        scale_pairs(self.scale, tuple(self.scale) if isinstance(self.scale, Mapping) else ())

    @property
    def resolution_yx_m(self) -> tuple[float, float] | None:
        """Pixel size along y and x, in metres, where it was given."""
        if self.resolution_m is None:
            return None
        if isinstance(self.resolution_m, Sequence):
            return float(self.resolution_m[0]), float(self.resolution_m[-1])
        return float(self.resolution_m), float(self.resolution_m)


def _kind(value: Any) -> str:
    return type(value).__name__


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{name}={value!r} is a {_kind(value)}. Expected text.")
    return value


def _choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if _text(name, value) not in allowed:
        raise ArgumentError(f"{name}={value!r} is unknown. Expected one of {', '.join(map(repr, allowed))}.")


def _whole(name: str, value: Any, *, minimum: int, instead: str = "None") -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ArgumentTypeError(f"{name}={value!r} is a {_kind(value)}. Expected a whole number or {instead}.")
    if int(value) < minimum:
        raise ArgumentError(f"{name}={value!r} is too small. Expected at least {minimum}.")


def _number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ArgumentTypeError(f"{name}={value!r} is a {_kind(value)}. Expected a number.")


def _resolution(value: Any) -> None:
    sides = value if isinstance(value, tuple | list) else (value,)
    if len(sides) not in (1, 2):
        raise ArgumentError(
            f"resolution_m={value!r} has {len(sides)} values. Expected metres per pixel, or a pair (y, x)."
        )
    for side in sides:
        _number("resolution_m", side)
        if not 0 < float(side) < float("inf"):
            raise ArgumentError(f"resolution_m={value!r} must be a positive number of metres.")


def _nodata(value: Any) -> None:
    if value is None:
        return
    for item in value.values() if isinstance(value, Mapping) else (value,):
        _number("nodata", item)


def scale_pairs(scale: Scale | None, roles: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Check ``scale=``, and spread it over the bands.

    Parameters
    ----------
    scale
        Reflectance per DN, a pair (scale, offset), or role -> one of these; None for nothing.
    roles
        The bands.

    Returns
    -------
    dict
        Role -> (scale, offset), for the bands that the caller spoke of.

    Raises
    ------
    ArgumentError
        A scale is not positive, or belongs to no band.
    ArgumentTypeError
        A scale is no number.

    Examples
    --------
    >>> scale_pairs((1e-4, -0.1), ("red",)), scale_pairs({"red": 1e-4}, ("red", "nir"))
    ({'red': (0.0001, -0.1)}, {'red': (0.0001, 0.0)})
    """
    if scale is None:
        return {}
    if not isinstance(scale, Mapping):
        return dict.fromkeys(roles, _scale_pair(scale, f"scale={scale!r}"))
    unknown = [role for role in scale if role not in roles]
    if unknown:
        raise ArgumentError(f"scale= has the band {unknown[0]!r}. Expected among {', '.join(map(repr, roles))}.")
    return {role: _scale_pair(value, f"scale={{{role!r}: {value!r}}}") for role, value in scale.items()}


def _scale_pair(value: Any, shown: str) -> tuple[float, float]:
    pair = tuple(value) if isinstance(value, tuple | list) else (value, 0.0)
    if len(pair) != 2 or any(isinstance(item, bool) or not isinstance(item, Real) for item in pair):
        raise ArgumentTypeError(
            f"{shown} is no scale. Expected reflectance per DN such as 0.0001, a pair (scale, offset) such as "
            "(0.0001, -0.1), or a dictionary of these such as {'red': (0.0001, -0.1)}."
        )
    gain, offset = float(pair[0]), float(pair[1])
    if not (0 < gain < float("inf") and abs(offset) < float("inf")):
        raise ArgumentError(f"{shown}: reflectance = DN * scale + offset needs a positive scale and a finite offset.")
    return gain, offset
