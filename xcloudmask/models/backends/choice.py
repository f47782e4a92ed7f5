"""Which backend runs a model, where, and in which numbers: what may be asked for, and what ``"auto"`` means here."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from xcloudmask.errors import ArgumentError
from xcloudmask.models._foreignspec import OWN_NUMBERS
from xcloudmask.models.devices import cpu_has_bf16, resolve_device, resolve_precision

__all__ = ["PRECISIONS", "Backend", "Engine", "check_engine", "resolve_engine"]

Backend = Literal["auto", "torch", "openvino", "onnxruntime"]

PRECISIONS = MappingProxyType(
    {"torch": ("fp32", "bf16", "fp16"), "openvino": ("fp32", "bf16", "int8"), "onnxruntime": ("fp32",)}
)
"""Numbers that each backend computes in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A backend, a device and a precision of this process.

    Examples
    --------
    >>> str(Engine(backend="torch", device="cpu", precision="bf16"))
    'torch on cpu in bf16'
    """

    backend: str
    """``"torch"``, ``"openvino"`` or ``"onnxruntime"``."""
    device: str
    """``"cpu"``, ``"cuda"``, ``"cuda:1"``, ..."""
    precision: str
    """``"fp32"``, ``"bf16"``, ``"fp16"`` or ``"int8"``."""

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.backend} on {self.device} in {self.precision}"


def check_engine(*, backend: str, device: str, precision: str) -> None:
    """Refuse what no process can do, whatever it has.

    Parameters
    ----------
    backend, device, precision
        As given to `xcloudmask.predict`; each is known by itself.

    Raises
    ------
    ArgumentError
        The backend does not compute in these numbers, or not on this device.

    Examples
    --------
    >>> check_engine(backend="openvino", device="auto", precision="bf16")
    """
    chosen = _backend(backend, precision)
    if precision != "auto" and precision not in PRECISIONS[chosen]:
        takers = " or ".join(f"backend={name!r}" for name, known in PRECISIONS.items() if precision in known)
        raise ArgumentError(
            f"backend={backend!r} does not compute in precision={precision!r}. Expected "
            f"{', '.join(map(repr, ('auto', *PRECISIONS[chosen])))}, or {takers}."
        )
    if chosen != "torch" and device not in {"auto", "cpu"}:
        raise ArgumentError(
            f"device={device!r} with backend={backend!r} and precision={precision!r}: {chosen} runs on the processor "
            "here. Type device='cpu', or backend='torch' with precision='auto'."
        )


def resolve_engine(
    *, backend: str = "auto", device: str = "auto", precision: str = "auto", architecture: str = ""
) -> Engine:
    """Turn ``"auto"`` into what this process uses.

    Parameters
    ----------
    backend
        ``"auto"`` is torch, but for ``precision="int8"``, which only OpenVINO has here.
    device
        ``"auto"`` is a CUDA device where there is one, and the processor for backends other than torch.
    precision
        ``"auto"`` is bf16 where backend and device compute in it natively, else fp32.
    architecture
        That of the model: foreign files, whose numbers are their own, are fp32 unless a caller asks for others.

    Returns
    -------
    Engine

    Raises
    ------
    ArgumentError
        The three do not go together, or the device does not exist here.

    Notes
    -----
    That torch is the rule was measured: see the page on engines, and ``python -m benchmarks backends agreement``.

    Examples
    --------
    >>> resolve_engine(backend="onnxruntime").precision
    'fp32'
    """
    check_engine(backend=backend, device=device, precision=precision)
    chosen = _backend(backend, precision)
    if chosen != "torch" and architecture in OWN_NUMBERS:
        raise ArgumentError(
            f"backend={backend!r} with precision={precision!r} does not run a file of architecture {architecture!r}: "
            "TorchScript and .pt2 run in torch, ONNX in onnxruntime anyway. Type backend='auto' and precision='auto'."
        )
    if precision == "auto" and architecture in OWN_NUMBERS:
        precision = "fp32"
    if chosen == "torch":
        device = resolve_device(device)
        return Engine(backend=chosen, device=device, precision=resolve_precision(precision, device))
    if precision == "auto":
        precision = "bf16" if "bf16" in PRECISIONS[chosen] and cpu_has_bf16() else "fp32"
    return Engine(backend=chosen, device="cpu", precision=precision)


def _backend(backend: str, precision: str) -> str:
    if backend != "auto":
        return backend
    return "openvino" if precision == "int8" else "torch"
