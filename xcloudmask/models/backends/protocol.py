"""What every backend does: normalised tiles in, labels or probabilities out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np
import numpy.typing as npt

from xcloudmask.models.labels import largest_class

__all__ = ["LogitsRunner", "NetRunner"]

Floats = npt.NDArray[np.float32]
Crop = tuple[slice, slice]


class NetRunner(Protocol):
    """A model, ready to run in this process. All threads may call it at once."""

    device: str
    """Where it runs."""
    precision: str
    """In which numbers."""

    def labels(self, tiles: Floats, level: Floats, crop: Crop) -> npt.NDArray[np.uint8]:
        """Return the class of each pixel (n, y, x) of tiles (n, bands, y, x); ties go to the lower class."""
        ...

    def probabilities(self, tiles: Floats, level: Floats, crop: Crop) -> Floats:
        """Return the softmax of the logits, (n, classes, y, x)."""
        ...


class LogitsRunner(ABC):
    """A backend on the processor that gives logits as float32 arrays.

    Parameters
    ----------
    precision
        In which numbers it computes.
    takes_level
        Whether the network takes the level vector.
    """

    def __init__(self, *, precision: str, takes_level: bool) -> None:
        self.device, self.precision = "cpu", precision
        self._takes_level = takes_level

    @abstractmethod
    def logits(self, tiles: Floats, level: Floats) -> Floats:
        """Return logits (n, classes, y, x), good until the next call in the same thread."""

    def labels(self, tiles: Floats, level: Floats, crop: Crop) -> npt.NDArray[np.uint8]:
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
        return largest_class(self.logits(tiles, level)[:, :, crop[0], crop[1]])

    def probabilities(self, tiles: Floats, level: Floats, crop: Crop) -> Floats:
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
        logits = self.logits(tiles, level)[:, :, crop[0], crop[1]]
        result: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
        result /= result.sum(axis=1, keepdims=True)
        return result
