"""What killed writers of a local store leave beside its chunks: removed by the writer that does their work again."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from zarr.storage import LocalStore

from xcloudmask.io._overlay import HeldStore

__all__ = ["remove_partial"]


def remove_partial(held: HeldStore, chunks: tuple[Iterable[int], ...]) -> None:
    """Remove the unfinished files of chunks that have just been written, and of all that is held back.

    Zarr writes a file ``c/0/1/2.<number>.partial`` and renames it. Only files of this writer's own chunks are touched:
    those of other regions may be at work.

    Parameters
    ----------
    held
        The store; nothing happens unless it lies in a local folder.
    chunks
        Which chunks, along each dimension.
    """
    if not isinstance(held.store, LocalStore):
        return
    root = Path(held.store.root)
    *outer, last = chunks
    wanted = {str(place) for place in last}
    for place in itertools.product(*outer):
        folder = root.joinpath(held.name, "c", *map(str, place))
        _remove(folder, wanted)
    for key in held.held:
        path = root / key
        _remove(path.parent, {path.stem})


def _remove(folder: Path, stems: set[str]) -> None:
    with suppress(OSError):
        for file in folder.glob("*.partial"):
            if file.name.partition(".")[0] in stems:
                file.unlink(missing_ok=True)
