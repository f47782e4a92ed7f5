"""A model in onnxruntime, on the processor, in fp32."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudmask._optional import require
from xcloudmask.models.backends.protocol import LogitsRunner
from xcloudmask.models.loading import load_network
from xcloudmask.models.process import share_of_cores
from xcloudmask.models.spec import ModelSpec

__all__ = ["OnnxRuntimeRunner"]


class OnnxRuntimeRunner(LogitsRunner):
    """A model that is exported to ONNX once, in memory, and run by onnxruntime.

    Parameters
    ----------
    spec
        The model.

    Raises
    ------
    MissingPackageError
        onnxruntime is not installed.
    ModelError
        The network cannot be exported.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(precision="fp32", takes_level=spec.level)
        self._runtime: Any = require("onnxruntime", extra="onnx")
        from xcloudmask.models.backends.export import to_onnx

        self._model = to_onnx(load_network(spec), spec)
        self._sessions: dict[int, Any] = {}
        self._lock = threading.Lock()

    def logits(self, tiles: npt.NDArray[np.float32], level: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return logits (n, classes, y, x)."""
        inputs = {"tiles": tiles, "level": level} if self._takes_level else {"tiles": tiles}
        # A session may be run by several threads at once; with one thread each, it runs in the thread of the caller.
        result: npt.NDArray[np.float32] = self._session(share_of_cores().threads).run(None, inputs)[0]
        return result

    def _session(self, threads: int) -> Any:
        with self._lock:
            if threads not in self._sessions:
                options = self._runtime.SessionOptions()
                options.intra_op_num_threads = threads
                options.inter_op_num_threads = 1
                # Threads that wait for the next tile would otherwise keep their cores busy.
                options.add_session_config_entry("session.intra_op.allow_spinning", "0")
                self._sessions[threads] = self._runtime.InferenceSession(
                    self._model, options, providers=["CPUExecutionProvider"]
                )
            return self._sessions[threads]
