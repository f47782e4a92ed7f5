"""Models in memory: loaded once per process, device and precision, behind a lock.

Weights are safetensors, read with a bound, checked against the sha256 of the spec and put into an architecture of a
fixed list: no file can name code to run.
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from xcloudmask._buffers import Buffers
from xcloudmask.errors import ArgumentError, ModelError, WeightsError
from xcloudmask.models.labels import largest_class
from xcloudmask.models.process import keep_freed_memory, limit_torch_threads
from xcloudmask.models.registry import weights_path
from xcloudmask.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch

__all__ = [
    "WEIGHTS_BYTES_MAX",
    "Precision",
    "Runner",
    "get_runner",
    "load_network",
    "resolve_device",
    "resolve_precision",
]

Precision = Literal["auto", "fp32", "bf16", "fp16"]

WEIGHTS_BYTES_MAX = 512_000_000
"""A weights file larger than this is refused before it is read."""

_runners: dict[tuple[ModelSpec, str, str], Runner] = {}
_lock = threading.Lock()


class Runner:
    """A model on a device, from normalised numpy tiles to labels or probabilities.

    Parameters
    ----------
    net
        Module that maps (n, bands, y, x) and a level (n, values) or None to logits (n, classes, y, x).
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
    precision
        ``"fp32"``, ``"bf16"`` or ``"fp16"``.
    takes_level
        Whether the network takes the level vector.
    """

    def __init__(self, net: torch.nn.Module, *, device: str, precision: str, takes_level: bool) -> None:
        import torch

        dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        self.device, self.precision = device, precision
        self.dtype = dtypes[precision]
        self._takes_level = takes_level
        self.net = net.to(device=device, dtype=self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Two threads that share an accelerator take turns: memory for two batches may not be there.
        self._buffers = Buffers()
        self._turn = nullcontext() if device == "cpu" else threading.Lock()

    def labels(
        self,
        tiles: npt.NDArray[np.float32],
        level: npt.NDArray[np.float32],
        crop: tuple[slice, slice],
    ) -> npt.NDArray[np.uint8]:
        """Return the class of each pixel; ties go to the lower class.

        Parameters
        ----------
        tiles
            (n, bands, y, x) float32.
        level
            (n, values) float32.
        crop
            Stretches of y and x to return.

        Returns
        -------
        numpy.ndarray
            (n, y, x) uint8.
        """
        import torch

        with torch.inference_mode():
            logits = self._call(tiles, level)[:, :, crop[0], crop[1]]
            if self.device == "cpu":
                return largest_class(logits)
            result: npt.NDArray[np.uint8] = logits.argmax(dim=1).to(torch.uint8).cpu().numpy()
        return result

    def probabilities(
        self,
        tiles: npt.NDArray[np.float32],
        level: npt.NDArray[np.float32],
        crop: tuple[slice, slice],
    ) -> npt.NDArray[np.float32]:
        """Return the softmax of the logits.

        Parameters
        ----------
        tiles
            (n, bands, y, x) float32.
        level
            (n, values) float32.
        crop
            Stretches of y and x to return.

        Returns
        -------
        numpy.ndarray
            (n, classes, y, x) float32.
        """
        import torch

        with torch.inference_mode():
            logits = self._call(tiles, level)[:, :, crop[0], crop[1]]
            result: npt.NDArray[np.float32] = torch.softmax(logits.float(), dim=1).cpu().numpy()
        return result

    def _call(self, tiles: npt.NDArray[np.float32], level: npt.NDArray[np.float32]) -> torch.Tensor:
        import torch

        limit_torch_threads()
        batch = self._buffers.get("batch", tiles.shape, self._new_batch).copy_(torch.from_numpy(tiles))
        levels = torch.from_numpy(level).to(self.device, self.dtype) if self._takes_level else None
        with self._turn:
            logits: torch.Tensor = self.net(batch, levels)
        return logits

    def _new_batch(self, shape: tuple[int, ...]) -> torch.Tensor:
        import torch

        return torch.empty(shape, dtype=self.dtype, device=self.device)


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
    precision = resolve_precision(precision, device)
    key = (spec, device, precision)
    with _lock:
        if key not in _runners:
            net = load_network(spec)
            if device == "cpu":
                keep_freed_memory()
            _runners[key] = Runner(net, device=device, precision=precision, takes_level=spec.level)
        return _runners[key]


def read_weights(path: Path, spec: ModelSpec) -> bytes:
    """Read a weights file whole, with a bound, and check it.

    Parameters
    ----------
    path
        A safetensors file.
    spec
        The model, whose sha256 the file must have.

    Returns
    -------
    bytes

    Raises
    ------
    WeightsError
        The file is missing, too large or changed.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> len(read_weights(weights_path(get_spec("default")), get_spec("default"))) > 0
    True
    """
    try:
        with path.open("rb") as file:
            content = file.read(WEIGHTS_BYTES_MAX + 1)
    except OSError as error:
        raise WeightsError(
            f"The weights of model {spec.name!r} cannot be read from {path}: {error}. Every worker needs the file "
            "under that path."
        ) from error
    if len(content) > WEIGHTS_BYTES_MAX:
        raise WeightsError(f"{path} is larger than {WEIGHTS_BYTES_MAX} bytes, the most that is read for a model.")
    found = hashlib.sha256(content).hexdigest()
    if found != spec.sha256:
        raise WeightsError(
            f"The weights of model {spec.name!r} are not those of its card: {path} has sha256 {found}, expected "
            f"{spec.sha256}. The file is not loaded. Reinstall xcloudmask, or register a spec with the new checksum."
        )
    return content


def load_network(spec: ModelSpec) -> torch.nn.Module:
    """Return a model as one network, not kept for the next caller.

    Parameters
    ----------
    spec
        The model; the members of an ensemble become one network that votes.

    Returns
    -------
    torch.nn.Module
        On the CPU, in float32 and eval mode, batch norms folded. Maps bands (n, bands, y, x) and a level (n, values) or
        None to logits (n, classes, y, x).

    Raises
    ------
    WeightsError
        The weights are missing, too large, changed, or do not fit the architecture.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> load_network(get_spec("default")).training
    False
    """
    if not spec.members:
        return _build(spec, read_weights(weights_path(spec), spec))
    from xcloudmask.models.voting import VotingNet

    try:
        nets = [load_network(member) for member in spec.members]
    except WeightsError as error:
        raise WeightsError(f"A member of ensemble {spec.name!r} cannot be loaded. {error}") from error
    return VotingNet(nets, takes_level=[member.level for member in spec.members], voting=spec.voting).eval()


def _build(spec: ModelSpec, weights: bytes) -> torch.nn.Module:
    from safetensors import SafetensorError
    from safetensors.torch import load

    from xcloudmask.models._layers import fold_batch_norms
    from xcloudmask.models.architectures import build

    try:
        net = build(spec.architecture, dict(spec.config))
        net.load_state_dict({key: tensor.float() for key, tensor in load(weights).items()})
    except (RuntimeError, ModelError, SafetensorError) as error:
        raise WeightsError(
            f"The weights of model {spec.name!r} do not fit {spec.architecture!r} with {dict(spec.config)}: {error}"
        ) from error
    return fold_batch_norms(net.eval())


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
