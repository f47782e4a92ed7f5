"""How a mask lies in a Zarr store: attributes, coordinates, encodings; nothing is inherited."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask.classes import NODATA
from xcloudmask.grid import time_dim
from xcloudmask.io._chunks import WritePlan
from xcloudmask.io._georef import geozarr_attrs, with_spatial_ref

__all__ = ["laid_out", "storable"]

TIME_ENCODING = {"units": "microseconds since 1970-01-01", "calendar": "proleptic_gregorian"}
"""Fine enough for any acquisition time, and the same for every store, so that stores can be appended to."""
TIME_CHUNK = 1024
"""Entries in a chunk of a coordinate along time: a series of years stays one small file."""
ZSTD_LEVEL = 9
"""13 % smaller than level 5 on masks of real scenes, at 5 ns a pixel; level 12 takes 2.6 times that for 3 % more.

``python -m benchmarks stores``; the table is in docs/stores.md."""

_ENCODINGS = ("_FillValue", "scale_factor", "add_offset", "missing_value", "grid_mapping", "coordinates")
"""Attributes that would change what is read back."""


def storable(mask: xr.DataArray, *, compute: bool) -> xr.DataArray:
    """Return a mask whose coordinates Zarr can hold.

    Objects other than texts are left out, times are cut to microseconds, chunks of a coordinate are joined.

    Parameters
    ----------
    mask
        What is to be written.
    compute
        Whether lazy texts may be loaded.

    Returns
    -------
    DataArray

    Warns
    -----
    UserWarning
        Lazy texts are left out, since nothing may be computed.
    """
    return _storable_coords(_with_known_objects(mask, compute=compute))


def laid_out(mask: xr.DataArray, name: Hashable, plan: WritePlan) -> tuple[xr.Dataset, dict[Hashable, dict[str, Any]]]:
    """Return a dataset without any inherited encoding, and the encoding to write it with.

    Parameters
    ----------
    mask
        As `storable` returns it, or any other: lazy texts are left out then.
    name
        Name of its variable.
    plan
        How it is cut.

    Returns
    -------
    Dataset
        Lazy where the mask is.
    dict
        For `Dataset.to_zarr`.
    """
    from zarr.codecs import ZstdCodec

    time = time_dim(mask)
    mask, grid_mapping = with_spatial_ref(_storable_coords(mask))
    dataset = mask.to_dataset(name=name).drop_encoding()
    if plan.dask_chunks is not None:
        dataset[name] = dataset[name].chunk(dict(zip(mask.dims, plan.dask_chunks, strict=True)))
    attrs = {key: value for key, value in mask.attrs.items() if key not in _ENCODINGS}
    is_codes = mask.dtype == np.uint8
    dataset[name].attrs = attrs | ({"nodata": NODATA} if is_codes else {})
    dataset.attrs = geozarr_attrs(mask)
    encoding: dict[Hashable, dict[str, Any]] = {coord: _of_coord(dataset[coord], time) for coord in dataset.coords}
    encoding[name] = {
        "chunks": plan.chunks,
        "compressors": [ZstdCodec(level=ZSTD_LEVEL)],
        "fill_value": NODATA if is_codes else float("nan"),
    }
    if plan.shards is not None:
        encoding[name]["shards"] = plan.shards
    if grid_mapping is not None:
        encoding[name]["grid_mapping"] = str(grid_mapping)
        # Named here too, it is a coordinate for readers that do not ask for decode_coords="all".
        dataset.attrs["coordinates"] = str(grid_mapping)
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
        stacklevel=4,
    )
    return mask


def _storable_coords(mask: xr.DataArray) -> xr.DataArray:
    objects = [name for name, coord in mask.coords.items() if coord.dtype.kind == "O" and not _is_text(coord)]
    mask = mask.drop_vars([name for name in objects if name not in mask.indexes])
    changed: dict[Hashable, xr.Variable] = {}
    for name, coord in mask.coords.items():
        if coord.chunks is not None:
            changed[name] = coord.variable.chunk(-1)
        elif coord.dtype.kind == "U":
            # Text of fixed length has no Zarr v3 specification; text of any length has.
            changed[name] = coord.variable.astype(object)
        elif coord.dtype.kind == "M" and (coord.values != coord.values.astype("M8[us]")).any():
            changed[name] = coord.variable.astype("M8[us]").astype(coord.dtype)
    return mask.assign_coords(changed)


def _is_text(coord: xr.DataArray) -> bool:
    return coord.chunks is None and all(isinstance(value, str) for value in coord.to_numpy().flat)


def _of_coord(coord: xr.DataArray, time: str | None) -> dict[str, Any]:
    encoding: dict[str, Any] = {"chunks": (TIME_CHUNK,)} if coord.dims == (time,) else {}
    if coord.dtype.kind == "M":
        return encoding | TIME_ENCODING
    return encoding | ({"_FillValue": None} if coord.dtype.kind == "f" else {})
