"""A torch network on a device: normalised tiles in, labels or probabilities out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xcloudmask._buffers import Buffers
from xcloudmask.errors import ModelError
from xcloudmask.models.batch_ladder import BatchLadder
from xcloudmask.models.devices import turn_on
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
        self.takes_level = takes_level
        self.net = net.to(device=device, dtype=self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ladder = BatchLadder(device)
        self._buffers = Buffers()
        self._compiled: dict[str, Any] = {}

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

        def largest(logits: torch.Tensor) -> npt.NDArray[np.uint8]:
            if self.device == "cpu":
                return largest_class(logits)
            result: npt.NDArray[np.uint8] = logits.argmax(dim=1).to(torch.uint8).cpu().numpy()
            return result

        return self._in_turn(tiles, level, crop, largest)

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

        def softmax(logits: torch.Tensor) -> npt.NDArray[np.float32]:
            result: npt.NDArray[np.float32] = torch.softmax(logits.float(), dim=1).cpu().numpy()
            return result

        return self._in_turn(tiles, level, crop, softmax)

    def forward(
        self, batch: torch.Tensor, levels: torch.Tensor | None, crop: tuple[slice, slice], *, compiled: str = ""
    ) -> torch.Tensor:
        """Run the network on what is on the device already.

        Parameters
        ----------
        batch
            (n, bands, y, x) in the runner's numbers.
        levels
            (n, values), or None where the network takes none.
        crop
            Stretches of y and x to return.
        compiled
            Mode of `torch.compile`; empty for none. Each shape of a batch is compiled anew.

        Returns
        -------
        torch.Tensor
            Logits (n, classes, y, x) of those stretches.

        Raises
        ------
        ModelError
            The network cannot be compiled here.
        """
        if not compiled:
            from xcloudmask.models.cropped import cropped_logits

            return cropped_logits(self.net, batch, levels, crop, dtype=self.dtype)
        import torch

        if compiled not in self._compiled:
            self._compiled[compiled] = torch.compile(self.net, mode=compiled, dynamic=False)
        try:
            logits: torch.Tensor = self._compiled[compiled](batch.to(self.dtype), levels)[:, :, crop[0], crop[1]]
        except torch._dynamo.exc.TorchDynamoException as error:
            first = str(error).strip().splitlines()[0]
            raise ModelError(
                f"The network cannot be compiled for device {self.device!r} with xcloudmask.compile = {compiled!r}: "
                f"{first}. Expected a compiler that torch can use. Type "
                "dask.config.set({'xcloudmask.compile': False}) in the workers."
            ) from error
        # Graphs of CUDA write the next result to the same memory.
        return logits.clone() if compiled != "default" else logits

    def _in_turn(
        self,
        tiles: npt.NDArray[np.float32],
        level: npt.NDArray[np.float32],
        crop: tuple[slice, slice],
        finish: Callable[[torch.Tensor], npt.NDArray[Any]],
    ) -> npt.NDArray[Any]:
        """All tiles at once, or as many as the device has memory for."""
        import torch

        limit_torch_threads()
        shape, count = tiles.shape[2:], len(tiles)
        size, done, results = self.ladder.size(shape, count), 0, []
        with torch.inference_mode():
            while done < count:
                stretch = slice(done, done + size)
                try:
                    with turn_on(self.device):
                        logits = self._call(_filled(tiles[stretch], size), _filled(level[stretch], size), crop)
                        results.append(finish(logits[: count - done]))
                except torch.OutOfMemoryError as error:
                    size = self.ladder.lower(shape, size, error)
                    continue
                done += size
        return results[0] if len(results) == 1 else np.concatenate(results)

    def _call(
        self, tiles: npt.NDArray[np.float32], level: npt.NDArray[np.float32], crop: tuple[slice, slice]
    ) -> torch.Tensor:
        import torch

        batch = torch.from_numpy(tiles)
        if self.device != "cpu":
            batch = self._buffers.get("batch", tiles.shape, self._new_batch).copy_(batch)
        levels = torch.from_numpy(level).to(self.device, self.dtype) if self.takes_level else None
        return self.forward(batch, levels, crop)

    def _new_batch(self, shape: tuple[int, ...]) -> torch.Tensor:
        import torch

        return torch.empty(shape, dtype=self.dtype, device=self.device)


def _filled(array: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    """An array of so many tiles: a batch of another size could give other last bits."""
    missing = size - len(array)
    return array if missing == 0 else np.concatenate([array, np.zeros((missing, *array.shape[1:]), np.float32)])
