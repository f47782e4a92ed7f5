"""How many tiles a device has memory for: found out once, on a fixed ladder."""

from __future__ import annotations

import threading

from xcloudmask.errors import ModelError

__all__ = ["LADDER", "BatchLadder", "rung"]

LADDER = (64, 32, 16, 8, 4, 2, 1)
"""Sizes of batches: after running out of memory, the next lower one is tried."""


class BatchLadder:
    """Sizes of batches that a model has memory for on a device, by the shape of the tile.

    Parameters
    ----------
    device
        Name of the device, for the error.

    Examples
    --------
    >>> ladder = BatchLadder("cuda")
    >>> ladder.lower((512, 512), 20)
    16
    >>> ladder.size((512, 512), 20), ladder.size((256, 256), 20)
    (16, 20)
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._known: dict[tuple[int, ...], int] = {}
        self._lock = threading.Lock()

    def size(self, shape: tuple[int, ...], wanted: int) -> int:
        """Return how many tiles to feed at once.

        Parameters
        ----------
        shape
            Shape of the tile.
        wanted
            The size without a limit of memory.

        Returns
        -------
        int
            At most what was found to fit.
        """
        return min(wanted, self._known.get(shape, wanted))

    def lower(self, shape: tuple[int, ...], size: int, error: BaseException | None = None) -> int:
        """Remember that a size does not fit.

        Parameters
        ----------
        shape
            Shape of the tile.
        size
            The size that ran out of memory.
        error
            What was raised.

        Returns
        -------
        int
            The size to try next.

        Raises
        ------
        ModelError
            A single tile does not fit.
        """
        if size <= 1:
            raise ModelError(
                f"A single tile of {' x '.join(map(str, shape))} px does not fit into the memory of device "
                f"{self._device!r}. Expected room for one. End other programs on the device, or type "
                "cube.chunk(y=512, x=512) for smaller tiles, or device='cpu'."
            ) from error
        with self._lock:
            lower = min(rung(size - 1), self._known.get(shape, size))
            self._known[shape] = lower
        return lower


def rung(size: int) -> int:
    """Return the largest size of the ladder that is not above a size.

    Parameters
    ----------
    size
        At least 1.

    Returns
    -------
    int

    Examples
    --------
    >>> rung(11)
    8
    """
    return next(step for step in LADDER if step <= size)
