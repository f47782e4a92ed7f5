"""A torch network on a device: normalised tiles in, labels or probabilities out."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from xcloudmask._buffers import Buffers
from xcloudmask.models.labels import largest_class
from xcloudmask.models.process import limit_torch_threads

if TYPE_CHECKING:
    import torch

__all__ = ["Runner"]


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
