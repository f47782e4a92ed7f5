"""A network as other programs take it: one module with plain inputs, and ONNX bytes of it."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from xcloudmask.errors import ModelError
from xcloudmask.models.spec import ModelSpec

__all__ = ["PlainNet", "example_inputs", "quietly", "to_onnx"]

_OPSET = 17
_SMALL_PX = 64


class PlainNet(nn.Module):
    """A network whose inputs are tensors only: bands, and the level where it takes one.

    Parameters
    ----------
    net
        Maps bands and a level, or None, to logits.
    takes_level
        Whether the network takes the level vector.

    Examples
    --------
    >>> from xcloudmask.models.unet import CloudUNet
    >>> PlainNet(CloudUNet(width=8, blocks=1, level=0), takes_level=False)(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 4, 64, 64])
    """

    def __init__(self, net: nn.Module, *, takes_level: bool) -> None:
        super().__init__()
        self.net = net
        self.takes_level = takes_level

    def forward(self, tiles: Tensor, level: Tensor | None = None) -> Tensor:
        """Return logits (n, classes, y, x) in float32."""
        logits: Tensor = self.net(tiles, level if self.takes_level else None)
        return logits


def example_inputs(spec: ModelSpec) -> tuple[Tensor, ...]:
    """Return inputs to trace a network with: small, and of a side that it takes.

    Parameters
    ----------
    spec
        The model.

    Returns
    -------
    tuple of torch.Tensor
    """
    side = -(-_SMALL_PX // spec.stride_px) * spec.stride_px
    tiles = torch.zeros(1, len(spec.bands), side, side)
    return (tiles, torch.zeros(1, 1 + 2 * len(spec.bands))) if spec.level else (tiles,)


def to_onnx(net: nn.Module, spec: ModelSpec) -> bytes:
    """Export a network to ONNX, for batches and tiles of any size.

    Parameters
    ----------
    net
        The network of `spec`.
    spec
        The model.

    Returns
    -------
    bytes

    Raises
    ------
    ModelError
        The network cannot be exported.
    """
    target: Any = io.BytesIO()
    pixels = {0: "n", 2: "y", 3: "x"}
    with quietly(spec, "ONNX"):
        # The exporter that traces needs no further package; the one that is built on torch.export needs onnxscript.
        torch.onnx.export(
            PlainNet(net, takes_level=spec.level).eval(),
            example_inputs(spec),
            target,
            input_names=["tiles", "level"][: 1 + spec.level],
            output_names=["logits"],
            dynamic_axes={"tiles": pixels, "level": {0: "n"}, "logits": pixels}
            if spec.level
            else {"tiles": pixels, "logits": pixels},
            opset_version=_OPSET,
            dynamo=False,
        )
    content: bytes = target.getvalue()
    return content


@contextmanager
def quietly(spec: ModelSpec, target: str) -> Iterator[None]:
    """Convert without the converter's remarks; what it cannot convert is an error of the model."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # converters raise what they like
        raise ModelError(
            f"Model {spec.name!r} cannot be converted to {target}: {error}. Type: backend='torch'."
        ) from error
