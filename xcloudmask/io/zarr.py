"""Masks in Zarr v3: `to_zarr` and `open_mask`. All data are written through xarray."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from xcloudmask._mask_checks import own_codes_hint
from xcloudmask.classes import CLASS_DIM
from xcloudmask.errors import ArgumentError, NotACubeError, WriteError
from xcloudmask.grid import spatial_dims, time_dim
from xcloudmask.io._append import append_dates, check_dates, write_region
from xcloudmask.io._chunks import ChunkChoice, WritePlan, plan_write
from xcloudmask.io._layout import laid_out, storable
from xcloudmask.io._overlay import HeldStore
from xcloudmask.io._staging import locked_folder, replace_folder, staged_folder
from xcloudmask.io._stored import open_stored, stored_name, warn_unfinished
from xcloudmask.io._targets import Store, label_of, local_path, open_target

__all__ = ["DEFAULT_NAME", "ZARR_FILES", "check_writable", "checked_mode", "open_mask", "to_zarr"]

DEFAULT_NAME = "cloud_mask"
"""Name of the variable where the mask has none."""
ZARR_FILES = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
"""What a Zarr store has at its root."""

Mode = Literal["w-", "w", "a", "r+"]
Region = Literal["auto"] | Mapping[Any, Any]


def to_zarr(
    mask: xr.DataArray,
    store: Store,
    *,
    mode: Mode | None = None,
    append_dim: str | None = None,
    region: Region | None = None,
    chunks: ChunkChoice = None,
    shards: ChunkChoice = None,
    compute: bool = True,
) -> Any:
    """Write a mask to a Zarr v3 store: a new one, new dates of one that exists, or a part of it.

    The codes stay uint8 when the store is opened again: 255 is Zarr's own fill value and the attribute ``nodata``, not
    a ``_FillValue``. CRS and coordinates are kept; coordinates that Zarr cannot hold (Python objects) are left out.

    Parameters
    ----------
    mask
        (time, y, x) or (y, x) uint8 mask; (time, cloud_class, y, x) uint8 percentages or float32 probabilities.
    store
        A path, an fsspec URL, a Zarr store object, or an obstore store.
    mode
        As in ``xarray.Dataset.to_zarr``. ``"w-"`` refuses a store that exists, ``"w"`` replaces it. ``"a"`` (with
        `append_dim`) makes the store if there is none, ``"r+"`` (with `append_dim` or `region`) needs one. None:
        ``"a"`` with `append_dim`, ``"r+"`` with `region`, else ``"w-"``.
    append_dim
        The time dimension: dates that the store has are overwritten, others are appended at its end. The same call
        twice is the same as once.
    region
        Write the pixels of this part and nothing else: ``"auto"`` finds it by coordinates; or slices by dimension,
        such as ``{"y": slice(0, 2048)}``. It has to consist of whole chunks, or shards: then many processes can write
        to one store.
    chunks
        Size of the Zarr chunks: by dimension, or one number for y and x. None takes the dask chunks; with `append_dim`
        one date each. A store that exists keeps its own.
    shards
        Size of the shards, a multiple of `chunks`; None writes no shards.
    compute
        False returns a `dask.delayed.Delayed`. The metadata of a new store are written at once all the same, so that
        regions can be written next; appended dates appear when the Delayed has been computed.

    Returns
    -------
    object
        `store`, or the Delayed.

    Raises
    ------
    NotACubeError
        `mask` is no mask.
    ArgumentError
        Wrong chunks, shards, mode or region; a date that is there twice.
    WriteError
        The store exists, or holds masks of another grid, model or settings, or cannot be written.

    Warns
    -----
    UserWarning
        Texts along time are dask arrays (``cube.chunk(...)`` makes them), and ``compute=False`` leaves them out; or
        a store that is appended to lacks a coordinate of the mask.

    Notes
    -----
    Dask chunks that do not end on the borders of chunks or shards are rechunked: two tasks never write one file. Zarr
    stores no chunk that is all nodata, so count no files to see how far a run is.

    A new store at a local path appears when it is complete: it is written beside its final name and renamed; what it
    replaces is there until then. On object stores, and with ``compute=False``, ``mode="w"`` removes the old store
    first. Elsewhere than at a local path, the root of the store is written last: before that there is nothing to open.

    Appended dates and their coordinates become visible in one step, the writing of the root. A writer that is killed
    before leaves a store that shows what it showed before; the same call again finishes the work. Only one process at
    a time may append. Dates that are overwritten change chunk by chunk: they are written down in the root meanwhile,
    and `open_mask` warns of them if the writer was killed. Chunks of more than one date are read and written whole.

    Examples
    --------
    >>> to_zarr(mask, "masks.zarr", chunks=512, shards=4096)  # doctest: +SKIP
    'masks.zarr'
    >>> to_zarr(todays_mask, "masks.zarr", append_dim="time")  # doctest: +SKIP
    'masks.zarr'
    """
    mode = checked_mode(mode, append_dim, region)
    check_writable(mask)
    if append_dim is not None:
        check_dates(mask, append_dim)
    target, held = _held(mask, store)
    exists = _exists(target, held, mode)
    if mode == "r+" and not exists:
        raise WriteError(f"{held.label} holds no store of Zarr v3. Type: mode='a' or 'w-' to write a new one.")
    if exists and region is not None:
        done = write_region(mask, held, region=region, compute=compute)
    elif exists and append_dim is not None:
        with locked_folder(target, label=held.label):
            held.load_root()
            done = append_dates(storable(mask, compute=compute), held, dim=append_dim, compute=compute)
    elif exists and mode != "w":
        raise WriteError(f"{held.label} exists. Type: mode='w' to replace it, or another name.")
    else:
        plan = plan_write(
            mask.sizes,
            spatial=spatial_dims(mask),
            dask_chunks=mask.chunks,
            chunks=chunks,
            shards=shards,
            single=append_dim,
        )
        done = _write_new(storable(mask, compute=compute), held, plan, target, overwrite=exists, compute=compute)
    return store if compute else done


def open_mask(store: Store) -> xr.DataArray:
    """Open a mask that `to_zarr` wrote, with its CRS.

    Parameters
    ----------
    store
        A path, an fsspec URL, a Zarr store object, or an obstore store.

    Returns
    -------
    DataArray
        Lazy; dask chunks are whole shards, or whole chunks where there are none. In the order of time, also where
        dates were appended in another order.

    Raises
    ------
    ReadError
        There is no such store, or no mask in it.

    Warns
    -----
    UserWarning
        A writer was killed while it overwrote dates that were there before, and has not been run again.

    Examples
    --------
    >>> open_mask("masks.zarr").dtype  # doctest: +SKIP
    dtype('uint8')
    """
    path, label = local_path(store), label_of(store)
    mask = open_stored(open_target(store, read_only=True) if path is None else str(path), label=label)
    warn_unfinished(mask, label=label)
    time = time_dim(mask)
    if time is None or time not in mask.indexes or mask.indexes[time].is_monotonic_increasing:
        return mask
    return mask.sortby(time)


def check_writable(mask: xr.DataArray) -> None:
    """Refuse what is neither a mask nor a cube of percentages or probabilities.

    Parameters
    ----------
    mask
        What is to be written.

    Raises
    ------
    NotACubeError
        It is something else.

    Examples
    --------
    >>> check_writable(xr.DataArray(np.zeros((1, 1), np.uint8), dims=("y", "x"), attrs={"output_style": "4-class"}))
    """
    if not isinstance(mask, xr.DataArray):
        raise NotACubeError(f"This is a {type(mask).__name__}, not a mask. Expected what xcloudmask.predict() returns.")
    is_codes = mask.dtype == np.uint8 and "output_style" in mask.attrs
    is_shares = CLASS_DIM in mask.dims and mask.dtype in (np.uint8, np.float32)
    if not is_codes and not is_shares:
        raise NotACubeError(
            f"This {mask.dtype} array is no mask: it has neither the attribute 'output_style' nor the dimension "
            f"{CLASS_DIM!r}. Expected what xcloudmask.predict() or predict_proba() returns. {own_codes_hint(mask)}"
        )


def checked_mode(mode: Any, append_dim: Any, region: Any) -> Mode:
    """Return the mode of writing that the arguments ask for, or refuse those that exclude each other."""
    if append_dim is not None and region is not None:
        raise ArgumentError("append_dim= and region= exclude each other. Type region='auto' for dates that are there.")
    if mode is None:
        return "a" if append_dim is not None else "r+" if region is not None else "w-"
    if mode not in ("w-", "w", "a", "r+"):
        raise ArgumentError(
            f"mode={mode!r} is unknown. Expected 'w-' (refuse what exists), 'w' (replace it), or with append_dim= or "
            "region= 'a' or 'r+'."
        )
    into = append_dim is not None or region is not None
    if into != (mode in ("a", "r+")):
        raise ArgumentError(
            f"mode={mode!r} {'writes a new store: leave out append_dim= and region=' if into else 'needs more'}. Type "
            "append_dim='time' to append dates, or region='auto' to write a part."
        )
    return "r+" if region is not None else mode


def _held(mask: xr.DataArray, store: Store) -> tuple[Path | None, HeldStore]:
    """Return the local path of a store, if it has one, and the store, whose metadata are held back."""
    label, path = label_of(store), local_path(store)
    name = str(mask.name) if mask.name is not None else DEFAULT_NAME
    if path is None:
        return None, HeldStore(open_target(store, read_only=False), name=name, label=label)
    path = Path(path).expanduser().resolve()
    return path, HeldStore(open_target(path, read_only=False), name=name, label=label)


def _exists(path: Path | None, held: HeldStore, mode: Mode) -> bool:
    """Whether there is a store; load what it shows. A folder that is no Zarr store is refused, and never emptied."""
    if path is not None:
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            return False
        if not any((path / name).exists() for name in ZARR_FILES):
            raise WriteError(f"{held.label} exists and is no Zarr store, so nothing is written. Give another name.")
    if mode == "w":
        return True
    root = held.load_root()
    if root is None:
        if held.is_version_2():
            raise WriteError(f"{held.label} is a Zarr v2 store. Type: mode='w' to replace it, or another name.")
        return False
    if mode != "w-":
        held.name = stored_name(root, label=held.label)
    return True


def _write_new(
    mask: xr.DataArray, held: HeldStore, plan: WritePlan, path: Path | None, *, overwrite: bool, compute: bool
) -> Any:
    """Write a new store: at a local path under another name, which becomes its own when all is there."""
    if path is None or not compute:
        if overwrite:
            held.remove_root()
        return _write_all(mask, held, plan, compute=compute)
    with staged_folder(path) as staged:
        beside = HeldStore(open_target(staged, read_only=False), name=held.name, label=held.label)
        _write_all(mask, beside, plan, compute=True)
        replace_folder(staged, path, overwrite=overwrite)
    return None


def _write_all(mask: xr.DataArray, held: HeldStore, plan: WritePlan, *, compute: bool) -> Any:
    dataset, encoding = laid_out(mask, held.name, plan)
    delayed: Any = dataset.to_zarr(held, mode="w", zarr_format=3, consolidated=False, encoding=encoding, compute=False)
    held.consolidate()
    if not compute:
        held.commit()
        return delayed
    held.probe()
    delayed.compute()
    held.commit()
    return None
