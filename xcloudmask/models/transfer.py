"""Arrays on their way to a device and back: page-locked buffers and a stream of their own.

On a processor the same code runs with streams that do nothing.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Uploader", "fetch_array", "start_download", "uploader_of"]

_local = threading.local()


class Uploader:
    """Copies arrays to a device, on a copy stream, through two buffers that take turns.

    While the device copies out of one buffer, the next array is written into the other; a buffer is written again only
    when its copy is done. Not for several threads: each has its own.

    Parameters
    ----------
    device
        The device.

    Examples
    --------
    >>> uploader = Uploader("cpu")
    >>> with uploader.stream():
    ...     tensor, ready = uploader.upload(np.arange(3, dtype=np.int16))
    >>> uploader.await_upload(ready)
    >>> tensor
    tensor([0, 1, 2], dtype=torch.int16)
    """

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        new_stream: Any = torch.cuda.Stream
        self._stream: Any = new_stream(self.device) if self.device.type == "cuda" else None
        self._buffers = [torch.empty(0, dtype=torch.uint8), torch.empty(0, dtype=torch.uint8)]
        self._copied: list[Any] = [None, None]
        self._turn = 0

    def stream(self) -> AbstractContextManager[Any]:
        """Return a context in which the device works on the copy stream."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def upload(self, array: npt.NDArray[Any]) -> tuple[Tensor, Any]:
        """Start to copy an array; to be called on the copy stream.

        Parameters
        ----------
        array
            Of a dtype that torch has.

        Returns
        -------
        tensor
            On the device, filled when the copy stream gets there.
        event
            For `await_upload`.
        """
        here = self._staged(array)
        there = torch.empty(array.shape, dtype=here.dtype, device=self.device)
        there.copy_(here, non_blocking=True)
        self._copied[self._turn] = self.event()
        return there, self._copied[self._turn]

    def event(self) -> Any:
        """Mark the present point of the copy stream, for `await_upload`."""
        return None if self._stream is None else self._stream.record_event()

    def await_upload(self, event: Any) -> None:
        """Let the stream that computes wait for an event of the copy stream; the caller goes on.

        Parameters
        ----------
        event
            What `upload` or `event` has returned.
        """
        if event is not None:
            torch.cuda.current_stream(self.device).wait_event(event)

    def _staged(self, array: npt.NDArray[Any]) -> Tensor:
        """The array in the buffer whose turn it is."""
        self._turn = 1 - self._turn
        if self._copied[self._turn] is not None:
            self._copied[self._turn].synchronize()
        if self._buffers[self._turn].numel() < array.nbytes:
            # Only page-locked memory is copied while the program goes on.
            pinned = self.device.type == "cuda"
            self._buffers[self._turn] = torch.empty(array.nbytes, dtype=torch.uint8, pin_memory=pinned)
        dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
        here = self._buffers[self._turn][: array.nbytes].view(dtype).reshape(array.shape)
        np.copyto(here.numpy(), array)
        return here


def uploader_of(device: str) -> Uploader:
    """Return the uploader of this thread for a device.

    Parameters
    ----------
    device
        The device.

    Returns
    -------
    Uploader

    Examples
    --------
    >>> uploader_of("cpu") is uploader_of("cpu")
    True
    """
    known: dict[str, Uploader] = _local.__dict__.setdefault("uploaders", {})
    if device not in known:
        known[device] = Uploader(device)
    return known[device]


def start_download(tensor: Tensor) -> tuple[Tensor, Any]:
    """Start to copy a result to the host, after all that the present stream has to do.

    Parameters
    ----------
    tensor
        On any device.

    Returns
    -------
    tensor, event
        For `fetch_array`.

    Examples
    --------
    >>> fetch_array(*start_download(torch.tensor([1, 2])))
    array([1, 2])
    """
    if tensor.device.type != "cuda":
        return tensor.cpu(), None
    # torch keeps page-locked memory for the next one who asks.
    here = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    here.copy_(tensor, non_blocking=True)
    return here, torch.cuda.current_stream(tensor.device).record_event()


def fetch_array(here: Tensor, event: Any) -> npt.NDArray[Any]:
    """Wait for a download.

    Parameters
    ----------
    here, event
        What `start_download` has returned.

    Returns
    -------
    numpy.ndarray
        In memory of its own.
    """
    if event is None:
        return here.numpy()
    event.synchronize()
    array: npt.NDArray[Any] = here.numpy().copy()
    return array
