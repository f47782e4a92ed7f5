"""A model in OpenVINO, on the processor, in fp32, bf16 or int8."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudmask._optional import require
from xcloudmask.models.backends.protocol import LogitsRunner
from xcloudmask.models.loading import load_network
from xcloudmask.models.process import Share, share_of_cores
from xcloudmask.models.spec import ModelSpec

__all__ = ["OpenVinoRunner", "convert", "import_openvino", "no_telemetry"]

_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}
"""In what OpenVINO computes the layers that are not int8."""


class OpenVinoRunner(LogitsRunner):
    """A model that is converted once, and compiled once for each way of sharing the cores.

    Parameters
    ----------
    spec
        The model.
    precision
        ``"fp32"``, ``"bf16"`` or ``"int8"``.

    Raises
    ------
    MissingPackageError
        OpenVINO is not installed, or nncf, which int8 needs.
    ModelError
        The network cannot be converted.
    """

    def __init__(self, spec: ModelSpec, *, precision: str) -> None:
        super().__init__(precision=precision, takes_level=spec.level)
        self._core: Any = import_openvino().Core()
        self._model = convert(spec)
        if precision == "int8":
            from xcloudmask.models.backends.int8 import quantised

            self._model = quantised(self._model, spec)
        self._compiled: dict[Share, Any] = {}
        self._requests = threading.local()
        self._lock = threading.Lock()

    def logits(self, tiles: npt.NDArray[np.float32], level: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return logits (n, classes, y, x); they lie in memory of OpenVINO until the next call in this thread."""
        inputs = [tiles, level] if self._takes_level else [tiles]
        result: npt.NDArray[np.float32] = self._request().infer(inputs, share_inputs=True, share_outputs=True)[0]
        return result

    def _request(self) -> Any:
        """A request of this thread: threads that shared one would overwrite each other's results."""
        share = share_of_cores()
        known: tuple[Share, Any] | None = getattr(self._requests, "value", None)
        if known is None or known[0] != share:
            known = (share, self._compile(share).create_infer_request())
            self._requests.value = known
        return known[1]

    def _compile(self, share: Share) -> Any:
        with self._lock:
            if share not in self._compiled:
                settings = {
                    "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
                    "NUM_STREAMS": share.tasks,
                    "INFERENCE_NUM_THREADS": share.tasks * share.threads,
                    # Several processes that pin their threads pin them to the same cores.
                    "ENABLE_CPU_PINNING": False,
                }
                self._compiled[share] = self._core.compile_model(self._model, "CPU", settings)
            return self._compiled[share]


def convert(spec: ModelSpec) -> Any:
    """Turn a network into a model of OpenVINO, for batches and tiles of any size.

    Parameters
    ----------
    spec
        The model.

    Returns
    -------
    openvino.Model

    Raises
    ------
    ModelError
        The network cannot be converted.
    """
    openvino = import_openvino()
    from xcloudmask.models.backends.export import PlainNet, example_inputs, quietly

    net = PlainNet(load_network(spec), takes_level=spec.level).eval()
    with quietly(spec, "OpenVINO"):
        return openvino.convert_model(net, example_input=example_inputs(spec))


def import_openvino() -> ModuleType:
    """Import OpenVINO, or say how to install it.

    Returns
    -------
    ModuleType

    Raises
    ------
    MissingPackageError
        The package is not installed.
    """
    with no_telemetry():
        return require("openvino", extra="openvino")


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Import packages of OpenVINO as if its telemetry were not installed.

    Where nobody has decided yet, it takes that for consent, and reports each import over the network. A worker that
    masks clouds reports nothing. A process that has imported OpenVINO by itself has made its own choice.
    """
    name = "openvino_telemetry"
    known = sys.modules.get(name)
    if known is not None:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # the documented way to make an import fail
    try:
        yield
    finally:
        del sys.modules[name]
