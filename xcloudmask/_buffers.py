"""Arrays that a thread uses again for the next tile.

The kernel clears every page that a process touches for the first time; for a tile of some ten million numbers that
costs more than normalising it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Buffers"]

T = TypeVar("T")


class Buffers:
    """One array per name and thread; another shape replaces it.

    Examples
    --------
    >>> import numpy as np
    >>> buffers = Buffers()
    >>> buffers.get("tiles", (2, 2), np.zeros) is buffers.get("tiles", (2, 2), np.zeros)
    True
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def get(self, name: str, shape: tuple[int, ...], make: Callable[[tuple[int, ...]], T]) -> T:
        """Return the array of that name, made anew if it has another shape.

        Parameters
        ----------
        name
            What the array is for.
        shape
            The wanted shape.
        make
            Makes an array of a shape; its content is the caller's business.

        Returns
        -------
        array
        """
        known: tuple[tuple[int, ...], T] | None = getattr(self._local, name, None)
        if known is None or known[0] != shape:
            known = (shape, make(shape))
            setattr(self._local, name, known)
        return known[1]
