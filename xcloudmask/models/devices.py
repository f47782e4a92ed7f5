"""Which device and which numbers a process computes with."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

from xcloudmask.errors import ArgumentError

__all__ = ["Precision", "cpu_has_bf16", "full_name", "resolve_device", "resolve_precision", "turn_on"]

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]

_turns: dict[str, threading.Lock] = {}
_lock = threading.Lock()


def resolve_device(device: str) -> str:
    """Turn ``"auto"`` into the device to use in this process, and check that the device is there.

    Parameters
    ----------
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:0"``, ``"mps"``.

    Returns
    -------
    str

    Raises
    ------
    ArgumentError
        The device does not exist here.

    Examples
    --------
    >>> resolve_device("cpu")
    'cpu'
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, False) or (kind == "cuda" and number and int(number) >= torch.cuda.device_count()):
        found = [name for name, present in there.items() if present]
        raise ArgumentError(
            f"device={device!r} is not available in this process. Found: {', '.join(found)}. Type device='auto'."
        )
    return device


def resolve_precision(precision: str, device: str) -> str:
    """Turn ``"auto"`` into bf16 where the device computes in it natively, else fp32.

    Parameters
    ----------
    precision
        ``"auto"``, ``"fp32"``, ``"bf16"`` or ``"fp16"``.
    device
        A device of this process.

    Returns
    -------
    str

    Examples
    --------
    >>> resolve_precision("fp32", "cpu")
    'fp32'
    """
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        import torch

        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device == "cpu" and cpu_has_bf16() else "fp32"


def cpu_has_bf16() -> bool:
    """Whether the processor computes in bf16 (AVX512-bf16 or AMX); elsewhere it is emulated and slow.

    Returns
    -------
    bool

    Examples
    --------
    >>> isinstance(cpu_has_bf16(), bool)
    True
    """
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False  # no Linux: fp32 is right everywhere
    return "amx_bf16" in flags or "avx512_bf16" in flags


def full_name(device: str) -> str:
    """Return the one name of a device: ``"cuda"`` is a CUDA device with a number.

    Parameters
    ----------
    device
        A device of this process.

    Returns
    -------
    str

    Examples
    --------
    >>> full_name("cpu"), full_name("cuda:1")
    ('cpu', 'cuda:1')
    """
    if device != "cuda":
        return device
    import torch

    return f"cuda:{torch.cuda.current_device()}"


def turn_on(device: str) -> AbstractContextManager[Any]:
    """Return the lock that threads take to compute on a device, whatever their models.

    Memory for two batches may not be there. A processor needs none.

    Parameters
    ----------
    device
        A device of this process.

    Returns
    -------
    context manager

    Examples
    --------
    >>> turn_on("cuda:1") is turn_on("cuda:1")
    True
    """
    if device == "cpu":
        return nullcontext()
    with _lock:
        return _turns.setdefault(full_name(device), threading.Lock())
