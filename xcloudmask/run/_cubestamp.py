"""What tells a cube, or a time step of it, that was written anew from the one that was planned."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import xarray as xr

from xcloudmask.errors import ReadError
from xcloudmask.io.zarr import ZARR_FILES
from xcloudmask.run.sources import digest_of, file_stamp

__all__ = ["cube_stamps"]


def cube_stamps(path: str, cube: xr.Dataset, *, version: str, time: str | None, steps: int) -> Iterator[str]:
    """Yield a checksum for each time step of a cube.

    Parameters
    ----------
    path
        Of the cube.
    cube
        As `xcloudmask.open_cube` opens it.
    version
        What the configuration calls it.
    time
        Name of its time axis; None for none.
    steps
        How many there are.

    Yields
    ------
    str
        Made of size and date of its files. Of a Zarr store in a folder, of the files with the chunks of the step: dates
        that are added change no other, unless they share a chunk. Of a store elsewhere, of what it says of its arrays.

    Raises
    ------
    ReadError
        The folder has no files.
    """
    parts: dict[str, Any] = {"version": version}
    place = Path(path)
    zarr = "://" not in path and any((place / name).exists() for name in ZARR_FILES)
    if "://" not in path and place.is_file():
        parts["files"] = file_stamp(place)
    elif "://" not in path and not zarr:
        found = sorted(file for file in place.rglob("*") if file.is_file())
        if not found:
            raise ReadError(f"{path} is empty. Expected images.")
        parts["files"] = [[str(file.relative_to(place)), *file_stamp(file)] for file in found]
    parts["bands"] = {str(name): [str(band.dtype), _texts(band.attrs)] for name, band in cube.data_vars.items()}
    arrays = list(_arrays(place, time)) if zarr else []
    for step in range(steps):
        yield digest_of(parts | ({"chunks": _chunk_stamp(arrays, step)} if zarr else {}))


def _texts(attrs: Mapping[Any, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in attrs.items()}


def _arrays(place: Path, time: str | None) -> Iterator[tuple[Path, Any, int | None]]:
    """Yield folder, array and time axis of each array with pixels; those of one dimension are coordinates."""
    import zarr

    for name, array in sorted(zarr.open_group(place, mode="r").arrays()):
        # Version 3 has names of dimensions; in version 2 xarray keeps them among the attributes.
        found: Any = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS") or ()
        if array.ndim > 1:
            yield place / name, array, list(found).index(time) if time in found else None


def _chunk_stamp(arrays: list[tuple[Path, Any, int | None]], step: int) -> str:
    """Size and date of the files that hold a time step."""
    found = hashlib.sha256()
    for folder, array, axis in arrays:
        sizes = array.shards or array.chunks
        ranges = [range(-(-length // size)) for length, size in zip(array.shape, sizes, strict=True)]
        if axis is not None:
            ranges[axis] = range(step // sizes[axis], step // sizes[axis] + 1)
        for place in product(*ranges):
            file = folder / array.metadata.encode_chunk_key(place)
            try:
                told = file.stat()
            except FileNotFoundError:  # a chunk of nothing but the fill value
                continue
            found.update(f"{file.relative_to(folder.parent)} {told.st_size} {told.st_mtime_ns}\n".encode())
    return found.hexdigest()
