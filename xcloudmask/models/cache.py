"""Models in memory: loaded once per process, backend, device and precision, behind a lock."""

from __future__ import annotations

import threading
from dataclasses import replace

from xcloudmask.models.backends.choice import Engine, resolve_engine
from xcloudmask.models.backends.protocol import NetRunner
from xcloudmask.models.devices import full_name
from xcloudmask.models.loading import load_network
from xcloudmask.models.process import keep_freed_memory
from xcloudmask.models.runner import Runner
from xcloudmask.models.spec import ModelSpec

__all__ = ["get_runner"]

_runners: dict[tuple[ModelSpec, Engine], NetRunner] = {}
_lock = threading.Lock()


def get_runner(spec: ModelSpec, *, device: str = "auto", precision: str = "auto", backend: str = "auto") -> NetRunner:
    """Return the model on a device; loads it the first time.

    Parameters
    ----------
    spec
        The model.
    device
        ``"auto"`` takes a CUDA device where there is one.
    precision
        ``"auto"`` takes bf16 where the device computes in it, else fp32.
    backend
        ``"auto"`` takes torch, and OpenVINO for ``precision="int8"``.

    Returns
    -------
    NetRunner

    Raises
    ------
    WeightsError
        The weights are missing, too large, changed, or do not fit the architecture.
    ArgumentError
        The device does not exist here, or the backend does not compute there or in these numbers.
    MissingPackageError
        The backend is not installed.
    ModelError
        The backend cannot run this network.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> get_runner(get_spec("default"), device="cpu", precision="fp32").device
    'cpu'
    """
    engine = resolve_engine(backend=backend, device=device, precision=precision, architecture=spec.architecture)
    # "cuda" and "cuda:0" are one device, and get one model.
    key = spec, replace(engine, device=full_name(engine.device))
    with _lock:
        if key not in _runners:
            _runners[key] = _load(spec, engine)
        return _runners[key]


def _load(spec: ModelSpec, engine: Engine) -> NetRunner:
    if engine.backend == "openvino":
        from xcloudmask.models.backends.openvino_runner import OpenVinoRunner

        return OpenVinoRunner(spec, precision=engine.precision)
    if engine.backend == "onnxruntime":
        from xcloudmask.models.backends.onnxruntime_runner import OnnxRuntimeRunner

        return OnnxRuntimeRunner(spec)
    net = load_network(spec)
    if engine.device == "cpu":
        keep_freed_memory()
    return Runner(net, device=engine.device, precision=engine.precision, takes_level=spec.level)
