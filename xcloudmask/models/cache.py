"""Models in memory: loaded once per process, device and precision, behind a lock."""

from __future__ import annotations

import threading

from xcloudmask.models._foreignspec import OWN_NUMBERS
from xcloudmask.models.devices import resolve_device, resolve_precision
from xcloudmask.models.loading import load_network
from xcloudmask.models.process import keep_freed_memory
from xcloudmask.models.runner import Runner
from xcloudmask.models.spec import ModelSpec

__all__ = ["get_runner"]

_runners: dict[tuple[ModelSpec, str, str], Runner] = {}
_lock = threading.Lock()


def get_runner(spec: ModelSpec, *, device: str = "auto", precision: str = "auto") -> Runner:
    """Return the model on a device; loads it the first time.

    Parameters
    ----------
    spec
        The model.
    device
        ``"auto"`` takes a CUDA device where there is one.
    precision
        ``"auto"`` takes bf16 where the device computes in it, else fp32.

    Returns
    -------
    Runner

    Raises
    ------
    WeightsError
        The weights are missing, too large, changed, or do not fit the architecture.
    ArgumentError
        The device does not exist here.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> get_runner(get_spec("default"), device="cpu", precision="fp32").device
    'cpu'
    """
    device = resolve_device(device)
    if precision == "auto" and spec.architecture in OWN_NUMBERS:
        precision = "fp32"
    precision = resolve_precision(precision, device)
    key = (spec, device, precision)
    with _lock:
        if key not in _runners:
            net = load_network(spec)
            if device == "cpu":
                keep_freed_memory()
            _runners[key] = Runner(net, device=device, precision=precision, takes_level=spec.level)
        return _runners[key]
