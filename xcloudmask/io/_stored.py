"""What a store holds: opened with xarray, lazily."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask.classes import CLASS_DIM
from xcloudmask.errors import ReadError, WriteError, XCloudMaskError
from xcloudmask.io._targets import reason

__all__ = ["UNFINISHED", "find_mask", "open_stored", "refuse_if_there", "stored_name", "warn_unfinished"]

UNFINISHED = "xcloudmask:unfinished"
"""Attribute of the root while dates that were there before are being overwritten: their time stamps."""


def open_stored(store: Any, *, label: str) -> xr.DataArray:
    """Open the mask of a store as it lies there.

    Parameters
    ----------
    store
        A zarr Store object.
    label
        Its name, for messages.

    Returns
    -------
    DataArray
        Lazy; dask chunks are whole shards, or whole chunks where there are none.

    Raises
    ------
    ReadError
        There is no such store, or no mask in it.
    """
    peek = _open(store, label=label, chunks=None)
    name = find_mask(peek, label=label)
    encoding = peek[name].encoding
    sizes = encoding.get("shards") or encoding.get("chunks") or peek[name].shape
    chunks = dict(zip(peek[name].dims, sizes, strict=True))
    # Opened without its coordinates: the chunks are for the mask alone. In order, since dask names chunks after them.
    others = sorted(str(other) for other in peek.variables if other != name)
    mask = peek[name].copy(data=_open(store, label=label, chunks=chunks, drop_variables=others)[name].data)
    if "flag_values" in mask.attrs:
        mask.attrs["flag_values"] = np.asarray(mask.attrs["flag_values"], np.uint8)
    if UNFINISHED in peek.attrs:
        mask.encoding[UNFINISHED] = list(peek.attrs[UNFINISHED])
    return mask


def warn_unfinished(mask: xr.DataArray, *, label: str) -> None:
    """Tell which dates may be half overwritten, where a writer was killed.

    Parameters
    ----------
    mask
        From `open_stored`.
    label
        The name of the store.

    Warns
    -----
    UserWarning
        There are such dates.
    """
    unfinished = mask.encoding.pop(UNFINISHED, None)
    if unfinished:
        warnings.warn(
            f"{label}: {', '.join(unfinished)} were being overwritten when the writer was stopped, or are just now. "
            "Their pixels may be old or new. To finish, type the same to_zarr(..., append_dim=...) again.",
            stacklevel=3,
        )


def find_mask(dataset: xr.Dataset, *, label: str) -> Hashable:
    """Return the name of the mask in a store.

    Parameters
    ----------
    dataset
        The opened store.
    label
        Its name, for messages.

    Returns
    -------
    Hashable

    Raises
    ------
    ReadError
        It holds none.
    """
    for name, variable in dataset.data_vars.items():
        if "output_style" in variable.attrs or CLASS_DIM in variable.dims:
            return name
    found = ", ".join(map(str, dataset.data_vars)) or "none"
    raise ReadError(f"{label} holds no mask of xcloudmask. Variables found: {found}.")


def stored_name(root: dict[str, Any], *, label: str) -> str:
    """Return the name of the mask in a store, from its metadata alone.

    Parameters
    ----------
    root
        The root with the metadata of all arrays.
    label
        The name of the store, for messages.

    Returns
    -------
    str

    Raises
    ------
    WriteError
        It holds none.
    """
    arrays = root["consolidated_metadata"]["metadata"]
    for name, metadata in arrays.items():
        dims = metadata.get("dimension_names") or ()
        if "output_style" in metadata.get("attributes", {}) or (CLASS_DIM in dims and len(dims) > 1):
            return str(name)
    found = ", ".join(arrays) or "none"
    raise WriteError(f"{label} holds no mask of xcloudmask. Arrays found: {found}. Give another name.")


def refuse_if_there(store: Any, group: str, *, label: str, kind: type[ReadError | WriteError]) -> None:
    """Raise if a group is there after all: Icechunk 1.1 says of metadata that it cannot fetch that they do not exist.

    Parameters
    ----------
    store
        Zarr store object.
    group
        Path of the group; empty for the root.
    label
        Its name, for messages.
    kind
        Error where it is there.

    Raises
    ------
    ReadError or WriteError
        It is there, and did not answer before.
    Exception
        What the store says where it still does not answer.
    """
    from zarr.core.sync import sync

    if sync(store.exists(f"{group}/zarr.json".lstrip("/"))):
        raise kind(f"{label} does not answer reliably: it is there, and was not found. Try again.")


def _open(store: Any, *, label: str, chunks: Any, drop_variables: Any = None) -> xr.Dataset:
    options: dict[str, Any] = {"engine": "zarr", "decode_coords": "all", "chunks": chunks}
    try:
        try:
            return xr.open_dataset(store, consolidated=True, drop_variables=drop_variables, **options)
        except ValueError:  # no consolidated metadata
            return xr.open_dataset(store, consolidated=False, drop_variables=drop_variables, **options)
    except XCloudMaskError:
        raise
    except Exception as error:
        raise ReadError(f"{label} is no Zarr store that can be opened: {reason(error)}") from error
