"""A network as OmniCloudMask calls it: one patch at a time, in the memory layout of the patch, no speed-ups.

The runner of the other ways folds batch norms, orders channels last and feeds batches, which changes last bits of the
logits. Here they are those that the same module gives to `omnicloudmask.predict_from_array`.
"""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from xcloudmask.errors import ModelError
from xcloudmask.models.devices import resolve_device
from xcloudmask.models.loading import load_network
from xcloudmask.models.process import keep_freed_memory, limit_torch_threads
from xcloudmask.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch

__all__ = ["PatchNet", "get_patch_net"]


class PatchNet:
    """A network on a device, from a normalised patch to logits.

    Parameters
    ----------
    net
        Module that maps (n, bands, y, x) and a level (n, values) or None to logits (n, classes, y, x).
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    precision
        ``"fp32"``, ``"bf16"`` or ``"fp16"``.
    takes_level
        Whether the network takes the level vector.
    """

    def __init__(self, net: torch.nn.Module, *, device: str, precision: str, takes_level: bool) -> None:
        import torch

        self.device, self.dtype = device, {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
        self._net, self._takes_level = net.to(device=device, dtype=self.dtype), takes_level
        # Two threads that share an accelerator take turns: memory for two patches may not be there.
        self._turn = nullcontext() if device == "cpu" else threading.Lock()

    def logits(
        self, patch: npt.NDArray[np.float32], level: npt.NDArray[np.float32], *, classes: int
    ) -> npt.NDArray[np.float32]:
        """Return the logits of a patch.

        Parameters
        ----------
        patch
            (band, y, x) float32.
        level
            (values,) float32; for networks that take it.
        classes
            How many the network must tell apart.

        Returns
        -------
        numpy.ndarray
            (class, y, x) float32, of its own memory.

        Raises
        ------
        ModelError
            The network gives something of another shape.
        """
        import torch

        limit_torch_threads()
        with torch.inference_mode(), self._turn:
            batch = torch.from_numpy(patch[None]).to(self.device, self.dtype)
            levels = torch.from_numpy(level[None]).to(self.device, self.dtype) if self._takes_level else None
            result: npt.NDArray[np.float32] = self._net(batch, levels).float().cpu().numpy()
        expected = (1, classes, *patch.shape[1:])
        if result.shape != expected:
            raise ModelError(
                f"The network turned a patch of {patch.shape[1]} x {patch.shape[2]} pixels into logits {result.shape}. "
                f"Expected {expected}. A network that needs sides of whole strides needs patches of such sides: type "
                "stride= and halo_px= that add up to one, or leave normalize='ocm' out."
            )
        return np.ascontiguousarray(result[0])


_nets: dict[tuple[ModelSpec, str, str], PatchNet] = {}
_lock = threading.Lock()


def get_patch_net(spec: ModelSpec, *, device: str, precision: str) -> PatchNet:
    """Return the network of a model on a device; loads it the first time in a process.

    Parameters
    ----------
    spec
        The model.
    device
        ``"auto"`` takes a CUDA device where there is one.
    precision
        ``"auto"`` is fp32, as OmniCloudMask's default is.

    Returns
    -------
    PatchNet

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> get_patch_net(get_spec("default"), device="cpu", precision="auto").device
    'cpu'
    """
    device = resolve_device(device)
    key = (spec, device, "fp32" if precision == "auto" else precision)
    with _lock:
        if key not in _nets:
            net = load_network(spec, fold=False)
            if device == "cpu":
                keep_freed_memory()
            _nets[key] = PatchNet(net, device=device, precision=key[2], takes_level=spec.level)
        return _nets[key]
