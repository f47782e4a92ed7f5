"""ONNX: a network in one file, run by onnxruntime."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor, nn

from xcloudmask._optional import require
from xcloudmask.errors import WeightsError
from xcloudmask.models.foreign.archive import looks_like
from xcloudmask.models.foreign.network import ForeignNet
from xcloudmask.models.foreign.shapes import check_fixed
from xcloudmask.models.process import limit_torch_threads
from xcloudmask.models.spec import ModelSpec

__all__ = ["OnnxNet", "load_onnx"]

_EXTERNAL = b"\x0a\x08location"
"""Where a tensor that lies in another file names that file (onnx.proto: TensorProto.external_data)."""

_INPUT_TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16, "tensor(double)": torch.float64}


def load_onnx(spec: ModelSpec, content: bytes) -> nn.Module:
    """Make a network of an ONNX file.

    Parameters
    ----------
    spec
        The model.
    content
        The file, whose sha256 has been checked.

    Returns
    -------
    torch.nn.Module
        A `ForeignNet`.

    Raises
    ------
    WeightsError
        The file is something else, broken, or points to other files.
    ModelError
        It takes one shape only, and the spec says otherwise.
    MissingPackageError
        onnxruntime is not installed.
    """
    if _EXTERNAL in content:
        raise WeightsError(
            f"The ONNX file of model {spec.name!r} keeps weights in a file beside it (external data), whose sha256 no "
            "spec checks. Expected one file. Type: onnx.save(onnx.load(path), 'one.onnx'), or export it with "
            "external_data=False. Where an input of the network is called 'location', rename it."
        )
    hint = looks_like(content)
    if hint:
        raise WeightsError(f"The weights of model {spec.name!r} are {hint}, expected an ONNX file.")
    net = OnnxNet(content, spec)
    batch = check_fixed(spec, net.shape)
    return ForeignNet(net, spec, batch=batch)


class OnnxNet(nn.Module):
    """A session of onnxruntime that is called like a network: torch tensors in and out.

    Parameters
    ----------
    content
        The ONNX file.
    spec
        The model.
    """

    def __init__(self, content: bytes, spec: ModelSpec) -> None:
        super().__init__()
        self._runtime: Any = require("onnxruntime", extra="onnx")
        self._content, self._spec = content, spec
        self._lock = threading.Lock()
        self._sessions: dict[str, Any] = {}
        session = self._session("cpu")
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or not outputs or inputs[0].type not in _INPUT_TYPES:
            found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs) or "nothing"
            raise WeightsError(
                f"The ONNX file of model {spec.name!r} takes {found}, expected one tensor of floats (n, "
                f"{len(spec.bands)}, y, x). Export a module whose forward takes that."
            )
        self._input, self._output = inputs[0].name, outputs[0].name
        self._dtype = _INPUT_TYPES[inputs[0].type]
        self.shape: list[int | None] = [side if isinstance(side, int) else None for side in inputs[0].shape]

    def forward(self, x: Tensor) -> Tensor:
        """Return the first output of the session."""
        array = x.detach().to("cpu", self._dtype).contiguous().numpy()
        answer = self._session(str(x.device)).run([self._output], {self._input: array})[0]
        return torch.from_numpy(answer).to(x.device)

    def _session(self, device: str) -> Any:
        """The session for a device, made once."""
        with self._lock:
            if device not in self._sessions:
                self._sessions[device] = self._open(device)
            return self._sessions[device]

    def _open(self, device: str) -> Any:
        limit_torch_threads()
        options = self._runtime.SessionOptions()
        options.log_severity_level = 4  # what is wrong comes as an error
        # This thread's share of the cores, where several run tasks.
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        # Threads that wait would turn idly on the cores of the others.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers: list[Any] = ["CPUExecutionProvider"]
        kind, _, number = device.partition(":")
        if kind == "cuda" and "CUDAExecutionProvider" in self._runtime.get_available_providers():
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(number or 0)}))
        try:
            return self._runtime.InferenceSession(self._content, options, providers=providers, enable_fallback=False)
        except Exception as error:  # noqa: BLE001 - its errors have no other root
            raise WeightsError(
                f"The ONNX file of model {self._spec.name!r} cannot be loaded with onnxruntime "
                f"{self._runtime.__version__}: {error}"
            ) from None
