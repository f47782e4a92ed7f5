"""Masks of products and of other algorithms as masks of ours, and back; lazily."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudmask._mask_checks import style_of
from xcloudmask._mask_maps import like, map_codes
from xcloudmask.classes import NODATA, STYLES, mask_attrs
from xcloudmask.codes import decode_table, encode_table, get_scheme
from xcloudmask.errors import InputError, NotACubeError

__all__ = ["from_codes", "to_codes"]


def from_codes(codes: xr.DataArray, scheme: str) -> xr.DataArray:
    """Turn the mask layer of a product into a 4-class mask, to compare with ours or to combine with it.

    Parameters
    ----------
    codes
        (..., y, x) as it was read: any integer type, or floats with NaN for nodata, as xarray and stackstac give them.
    scheme
        ``"sentinel-2-scl"``, ``"landsat-qa-pixel"`` (Collection 2), ``"hls-fmask"``, ``"fmask"``, ``"cloudsen12"``,
        ``"kappamask"`` or ``"cmix"``; see `xcloudmask.codes.SCHEMES`.

    Returns
    -------
    DataArray
        (..., y, x) uint8: 0 clear, 1 thick cloud, 2 thin cloud, 3 cloud shadow, 255 nodata; attribute
        ``source_codes`` says of which scheme. Dask-backed where `codes` is.

    Raises
    ------
    ArgumentError
        No such scheme.
    NotACubeError
        `codes` is no DataArray of numbers with two spatial dimensions.

    Notes
    -----
    Snow, water and land are clear. In the SCL, medium and high cloud probability are thick cloud, cirrus is thin,
    topographic shadow (2) and "unclassified" (7) are clear, saturated pixels (1) are nodata. In QA_PIXEL and HLS, bits
    decide in the order cloud, shadow, cirrus, and dilated or adjacent pixels are clear: they are a margin around
    clouds, which `clean(dilate_px=)` makes where it is wanted. Fmask knows no thin cloud. Values that are no code are
    nodata. Sources: `xcloudmask.codes.CodeScheme.source` of each.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xcloudmask
    >>> scl = xr.DataArray(np.array([[4, 9, 10, 3, 0]], np.uint8), dims=("y", "x"))
    >>> scl.cloudmask.from_codes("sentinel-2-scl").values.tolist()
    [[0, 1, 2, 3, 255]]
    """
    get_scheme(scheme)
    _check_codes(codes)
    decoded = map_codes(codes, partial(_decode, scheme=scheme), depth_px=0, dtype=np.uint8)
    return like(codes, decoded, mask_attrs(STYLES["4-class"]) | {"source_codes": scheme})


def to_codes(mask: xr.DataArray, scheme: str) -> xr.DataArray:
    """Write a 4-class mask in the codes of somebody else, for tools that know these.

    Parameters
    ----------
    mask
        (..., y, x) uint8 4-class mask.
    scheme
        As in `from_codes`.

    Returns
    -------
    DataArray
        (..., y, x) in the type of the scheme. Attributes: ``nodata`` and ``codes``, the name of the scheme. It is no
        mask of xcloudmask any more; `from_codes` makes it one again.

    Raises
    ------
    ArgumentError
        No such scheme.
    NotACubeError
        `mask` is no mask.
    InputError
        The mask has lost the four classes.

    Notes
    -----
    What a scheme cannot say is written as what is nearest: thin cloud as cloud in Fmask, clear as "unclassified" (7)
    in the SCL and as clear land in QA_PIXEL. Only a mask in a scheme without thin cloud does not come back the same.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xcloudmask
    >>> ours = xr.DataArray(np.array([[0, 1, 2, 3, 255]], np.uint8), dims=("y", "x"), attrs={"output_style": "4-class"})
    >>> ours.cloudmask.to_codes("landsat-qa-pixel").values.tolist()
    [[21824, 22280, 54596, 23888, 1]]
    """
    known, style = get_scheme(scheme), style_of(mask)
    if style.name != "4-class":
        raise InputError(
            f"A {style.name!r} mask cannot be written in the codes of {scheme!r}: it has lost the classes. Start from "
            "the 4-class mask."
        )
    encoded = map_codes(mask, partial(_encode, scheme=scheme), depth_px=0, dtype=known.dtype)
    return like(mask, encoded, {"codes": scheme, "long_name": known.title, "nodata": known.code_of_nodata})


def _check_codes(codes: Any) -> None:
    if isinstance(codes, xr.Dataset):
        names = ", ".join(map(repr, list(codes.data_vars)[:10]))
        raise NotACubeError(
            f"This is a Dataset (variables {names}). Expected the variable that holds the codes. "
            "Type: ds['SCL'].cloudmask.from_codes(...)"
        )
    if not isinstance(codes, xr.DataArray) or codes.dtype.kind not in "uif":
        found = getattr(codes, "dtype", type(codes).__name__)
        raise NotACubeError(f"This is {found}. Expected a DataArray of codes: integers, or floats with NaN.")


def _decode(block: npt.NDArray[Any], *, scheme: str) -> npt.NDArray[np.uint8]:
    table = decode_table(scheme)
    # Halves are no codes; a cast would cut them, and NaN has no integer.
    known = (block >= 0) & (block < table.size) & (np.floor(block) == block)
    return np.where(known, table[np.where(known, block, 0).astype(np.intp)], np.uint8(NODATA))


def _encode(block: npt.NDArray[np.uint8], *, scheme: str) -> npt.NDArray[Any]:
    coded: npt.NDArray[Any] = encode_table(scheme)[block]
    return coded
