"""Masks in Zarr v3: `to_zarr` and `open_mask`. All data are written through xarray."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from xcloudmask.classes import CLASS_DIM, NODATA
from xcloudmask.errors import ArgumentError, NotACubeError, ReadError, WriteError, XCloudMaskError
from xcloudmask.grid import spatial_dims
from xcloudmask.io._chunks import ChunkChoice, WritePlan, plan_write
from xcloudmask.io._georef import geozarr_attrs, with_spatial_ref

__all__ = ["DEFAULT_NAME", "ZARR_FILES", "check_writable", "open_mask", "to_zarr"]

DEFAULT_NAME = "cloud_mask"
"""Name of the variable where the mask has none."""

TIME_ENCODING = {"units": "microseconds since 1970-01-01", "calendar": "proleptic_gregorian"}
"""Fine enough for any acquisition time, and the same for every store, so that stores can be appended to."""

ZSTD_LEVEL = 9
"""35 % smaller than level 5 on masks of real scenes, at 10 ns a pixel; level 12 takes twice that for 10 %."""
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EFBIG)
ZARR_FILES = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
"""What a Zarr store has at its root."""

Store = Any
"""A path, an fsspec URL, or a zarr Store object."""


def to_zarr(
    mask: xr.DataArray,
    store: Store,
    *,
    mode: Literal["w-", "w"] = "w-",
    chunks: ChunkChoice = None,
    shards: ChunkChoice = None,
    compute: bool = True,
) -> Any:
    """Write a mask to a Zarr v3 store.

    The codes stay uint8 when the store is opened again: 255 is Zarr's own fill value and the attribute ``nodata``, not
    a ``_FillValue``. CRS and coordinates are kept; coordinates that Zarr cannot hold (Python objects) are left out.

    Parameters
    ----------
    mask
        (time, y, x) or (y, x) uint8 mask; (time, cloud_class, y, x) uint8 percentages or float32 probabilities.
    store
        A path, an fsspec URL, or a Zarr store object.
    mode
        ``"w-"`` refuses a store that exists, ``"w"`` replaces it.
    chunks
        Size of the Zarr chunks: by dimension, or one number for y and x. None takes the dask chunks.
    shards
        Size of the shards, a multiple of `chunks`; None writes no shards.
    compute
        False returns a `dask.delayed.Delayed`; the metadata are written at once all the same.

    Returns
    -------
    object
        `store`, or the Delayed.

    Raises
    ------
    NotACubeError
        `mask` is no mask.
    ArgumentError
        Wrong chunks, shards or mode.
    WriteError
        The store exists, or cannot be written.

    Warns
    -----
    UserWarning
        Texts along time are dask arrays (``cube.chunk(...)`` makes them), and ``compute=False`` leaves them out.

    Notes
    -----
    Dask chunks that do not end on the borders of chunks or shards are rechunked: two tasks never write one file. Zarr
    stores no chunk that is all nodata, so count no files to see how far a run is. Where the computation fails, the
    store is left as far as it got: write it again with ``mode="w"``.

    Examples
    --------
    >>> to_zarr(mask, "masks.zarr", chunks=512, shards=4096)  # doctest: +SKIP
    'masks.zarr'
    """
    if mode not in ("w-", "w"):
        raise ArgumentError(f"mode={mode!r} is unknown. Expected 'w-' (refuse what exists) or 'w' (replace it).")
    check_writable(mask)
    plan = plan_write(mask.sizes, spatial=spatial_dims(mask), dask_chunks=mask.chunks, chunks=chunks, shards=shards)
    _check_target(store, mode)
    name = mask.name if mask.name is not None else DEFAULT_NAME
    dataset, encoding = _prepare(_with_known_objects(mask, compute=compute), name, plan)
    with _naming_target(store):
        delayed: Any = dataset.to_zarr(
            store, mode=mode, zarr_format=3, consolidated=False, encoding=encoding, compute=False
        )
        if not compute:
            return delayed
        delayed.compute()
    return store


def open_mask(store: Store) -> xr.DataArray:
    """Open a mask that `to_zarr` wrote, with its CRS.

    Parameters
    ----------
    store
        A path, an fsspec URL, or a Zarr store object.

    Returns
    -------
    DataArray
        Lazy; dask chunks are whole shards, or whole chunks where there are none.

    Raises
    ------
    ReadError
        There is no such store, or no mask in it.

    Examples
    --------
    >>> open_mask("masks.zarr").dtype  # doctest: +SKIP
    dtype('uint8')
    """
    peek = _open_store(store, chunks=None)
    name = _find_mask(peek, store)
    encoding = peek[name].encoding
    sizes = encoding.get("shards") or encoding.get("chunks") or peek[name].shape
    chunks = dict(zip(peek[name].dims, sizes, strict=True))
    # Opened without its coordinates: the chunks are for the mask alone.
    others = [other for other in peek.variables if other != name]
    mask = peek[name].copy(data=_open_store(store, chunks=chunks, drop_variables=others)[name].data)
    if "flag_values" in mask.attrs:
        mask.attrs["flag_values"] = np.asarray(mask.attrs["flag_values"], np.uint8)
    return mask


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
            f"{CLASS_DIM!r}. Expected what xcloudmask.predict() or predict_proba() returns."
        )


def _check_target(store: Store, mode: str) -> None:
    """Refuse what exists; and never let mode="w" empty a folder that is no Zarr store."""
    if not isinstance(store, str | PathLike) or "://" in str(store):
        return
    path = Path(store)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if mode == "w-":
        raise WriteError(f"{path} exists. Type: mode='w' to replace it, or another name.")
    if not any((path / name).exists() for name in ZARR_FILES):
        raise WriteError(f"{path} exists and is no Zarr store, so mode='w' does not replace it. Give another name.")


def _prepare(mask: xr.DataArray, name: Hashable, plan: WritePlan) -> tuple[xr.Dataset, dict[Hashable, dict[str, Any]]]:
    """Return a dataset without any inherited encoding, and the encoding to write it with."""
    from zarr.codecs import ZstdCodec

    mask, grid_mapping = with_spatial_ref(mask)
    dataset = _storable_coords(mask).to_dataset(name=name).drop_encoding()
    if plan.dask_chunks is not None:
        dataset[name] = dataset[name].chunk(dict(zip(mask.dims, plan.dask_chunks, strict=True)))
    # Attributes that would be encodings change what is read back.
    dropped = ("_FillValue", "scale_factor", "add_offset", "missing_value", "grid_mapping", "coordinates")
    attrs = {key: value for key, value in mask.attrs.items() if key not in dropped}
    is_codes = mask.dtype == np.uint8
    dataset[name].attrs = attrs | ({"nodata": NODATA} if is_codes else {})
    dataset.attrs = geozarr_attrs(mask)
    encoding: dict[Hashable, dict[str, Any]] = {coord: _coord_encoding(dataset[coord]) for coord in dataset.coords}
    encoding[name] = {
        "chunks": plan.chunks,
        "compressors": [ZstdCodec(level=ZSTD_LEVEL)],
        "fill_value": NODATA if is_codes else float("nan"),
    }
    if plan.shards is not None:
        encoding[name]["shards"] = plan.shards
    if grid_mapping is not None:
        encoding[name]["grid_mapping"] = str(grid_mapping)
    return dataset, encoding


def _with_known_objects(mask: xr.DataArray, *, compute: bool) -> xr.DataArray:
    """Load coordinates whose chunks hold Python objects, as `chunk` makes them of texts: a few per date."""
    lazy = [name for name, coord in mask.coords.items() if coord.dtype.kind == "O" and coord.chunks is not None]
    if not lazy:
        return mask
    if compute:
        return mask.assign_coords({name: mask[name].variable.compute() for name in lazy})
    shown = ", ".join(map(repr, lazy))
    warnings.warn(
        f"The coordinates {shown} are lazy objects, which a write that is not computed at once leaves out. To keep "
        f"them, type mask[{lazy[0]!r}].load() first, or compute=True.",
        stacklevel=3,
    )
    return mask


def _storable_coords(mask: xr.DataArray) -> xr.DataArray:
    """Leave out the coordinates that are Python objects other than text, and join the chunks of the others."""
    objects = [name for name, coord in mask.coords.items() if coord.dtype.kind == "O" and not _is_text(coord)]
    mask = mask.drop_vars([name for name in objects if name not in mask.indexes])
    changed: dict[Hashable, xr.Variable] = {}
    for name, coord in mask.coords.items():
        if coord.chunks is not None:
            changed[name] = coord.variable.chunk(-1)
        elif coord.dtype.kind == "U":
            # Text of fixed length has no Zarr v3 specification; text of any length has.
            changed[name] = coord.variable.astype(object)
    return mask.assign_coords(changed)


def _is_text(coord: xr.DataArray) -> bool:
    return coord.chunks is None and all(isinstance(value, str) for value in coord.to_numpy().flat)


def _coord_encoding(coord: xr.DataArray) -> dict[str, Any]:
    if coord.dtype.kind == "M":
        return dict(TIME_ENCODING)
    return {"_FillValue": None} if coord.dtype.kind == "f" else {}


@contextmanager
def _naming_target(store: Store) -> Iterator[None]:
    """Turn the errors of a store into a WriteError with its name; errors of the pixels pass as they are."""
    try:
        yield
    except XCloudMaskError:
        raise
    except FileExistsError as error:
        raise WriteError(f"{_label(store)} exists. Type: mode='w' to replace it, or another name.") from error
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise WriteError(f"{_label(store)} cannot be written: {error.strerror or error}.") from error


def _label(store: Store) -> str:
    return str(store)


def _open_store(store: Store, *, chunks: Any, drop_variables: Any = None) -> xr.Dataset:
    options: dict[str, Any] = {"engine": "zarr", "consolidated": False, "decode_coords": "all"}
    try:
        return xr.open_dataset(store, chunks=chunks, drop_variables=drop_variables, **options)
    except (OSError, ValueError, KeyError) as error:
        raise ReadError(f"{_label(store)} is no Zarr store that can be opened: {error}") from error


def _find_mask(dataset: xr.Dataset, store: Store) -> Hashable:
    for name, variable in dataset.data_vars.items():
        if "output_style" in variable.attrs or CLASS_DIM in variable.dims:
            return name
    found = ", ".join(map(str, dataset.data_vars)) or "none"
    raise ReadError(f"{_label(store)} holds no mask of xcloudmask. Variables found: {found}.")
