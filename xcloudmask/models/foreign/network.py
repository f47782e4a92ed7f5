"""`ForeignNet`: a network that was made elsewhere, called and answering as the package's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from xcloudmask.errors import ModelError, XCloudMaskError
from xcloudmask.models.foreign.answer import to_logits
from xcloudmask.models.spec import ModelSpec

__all__ = ["ForeignNet"]


class ForeignNet(nn.Module):
    """A foreign network between what the engine feeds and what it expects.

    Tiles are standardised where the spec has a mean and a spread, filled up with zeros to the shape that the file
    takes, and fed; what comes back is checked and becomes logits of our four classes.

    Parameters
    ----------
    net
        Called with tiles (n, bands, y, x), and with the level where the spec says so.
    spec
        The model.
    batch
        Tiles that the file takes at once, where it takes one number only.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> from dataclasses import replace
    >>> spec = replace(get_spec("default"), architecture="torchscript", classes=("clear", "thick_cloud"), config=())
    >>> ForeignNet(nn.Conv2d(3, 2, 1), spec)(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 4, 8, 8])
    """

    _mean: Tensor | None
    _std: Tensor | None

    def __init__(self, net: nn.Module, spec: ModelSpec, *, batch: int | None = None) -> None:
        super().__init__()
        self.net, self._spec, self._batch = net, spec, batch
        self.training = False
        for name in ("mean", "std"):
            # With "fixed" the engine does it, before pixels without data become 0.
            values = getattr(spec, name) if spec.normalization == "none" else ()
            tensor = torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1) if values else None
            self.register_buffer(f"_{name}", tensor, persistent=False)

    def train(self, mode: bool = True) -> ForeignNet:  # noqa: ARG002, FBT001, FBT002 - torch's own signature
        """Stay as it is: an exported program has no mode to switch."""
        return self

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """Return logits (n, 4, y, x)."""
        rows, columns = x.shape[2:]
        if self._mean is not None and self._std is not None:
            x = (x - self._mean) / self._std
        x = self._filled_up(x)
        size = self._batch or len(x)
        answers = [
            self._answer(x[first : first + size], None if level is None else level[first : first + size])
            for first in range(0, len(x), size)
        ]
        logits = answers[0] if len(answers) == 1 else torch.cat(answers)
        return logits[:, :, :rows, :columns]

    def _answer(self, x: Tensor, level: Tensor | None) -> Tensor:
        """Logits of one call, made with as many tiles as the file takes."""
        count = len(x)
        missing = 0 if self._batch is None else self._batch - count
        if missing:
            x = torch.cat([x, x.new_zeros(missing, *x.shape[1:])])
            level = level if level is None else torch.cat([level, level.new_zeros(missing, level.shape[1])])
        return to_logits(self._called(x, level), self._spec, fed=x.shape)[:count]

    def _called(self, x: Tensor, level: Tensor | None) -> Any:
        try:
            answer = self.net(x) if level is None else self.net(x, level)
        except (torch.OutOfMemoryError, MemoryError, XCloudMaskError):
            raise
        except Exception as error:  # noqa: BLE001
            # Whatever a stranger's network raises; its type may not exist, or not travel, where the caller is.
            raise ModelError(
                f"Model {self._spec.name!r} failed on tiles of shape {tuple(x.shape)}, {x.dtype}: "
                f"{type(error).__name__}: {_ending(str(error))}. Expected a network for tiles (n, "
                f"{len(self._spec.bands)}, y, x) with y and x any multiple of {self._spec.stride_px}. Where the file "
                "takes one shape only, type input_px = <its side> in the spec; where it is bound to float32, type "
                "precision='fp32'."
            ) from None
        if isinstance(answer, Mapping):
            answer = answer["out"] if "out" in answer else next(iter(answer.values()), None)
        return answer[0] if isinstance(answer, list | tuple) and answer else answer

    def _filled_up(self, x: Tensor) -> Tensor:
        side = self._spec.input_px
        rows, columns = x.shape[2:]
        if not side or (rows, columns) == (side, side):
            return x
        if rows > side or columns > side:
            fits = side - 2 * self._spec.halo_px
            raise ModelError(
                f"Model {self._spec.name!r} takes {side} x {side} px and was fed {rows} x {columns}. Expected tiles "
                f"that fit. Type tile_px = {fits} and window_px = {side} in the spec, and leave halo_px= out."
            )
        # As beyond the border of the cube: zeros.
        return F.pad(x, (0, side - columns, 0, side - rows))


def _ending(message: str) -> str:
    """What a long message of TorchScript ends with is what went wrong."""
    message = " ".join(message.split())
    return message if len(message) <= _MESSAGE_MAX else f"... {message[-_MESSAGE_MAX:]}"


_MESSAGE_MAX = 600
