"""Masks that products bring along, found by name beside an image and put into our classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudmask.codes import SCHEMES, get_scheme
from xcloudmask.errors import ArgumentError, BandNotFoundError, InputError
from xcloudmask.io import open_any
from xcloudmask.recode import from_codes

__all__ = ["PRODUCTS", "ProductMask", "decode_layer", "find_product", "layer_in", "open_product"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductMask:
    """A layer of codes."""

    name: str
    """What users type, and what tables call it."""
    scheme: str
    """Key of `xcloudmask.codes.SCHEMES`."""
    layers: tuple[str, ...]
    """Names that the layer goes by, in any case."""


_SCL = ("scl", "scl_20m", "scl_60m")
_QA_PIXEL = ("qa_pixel", "pixel_qa", "qa")
PRODUCTS: Mapping[str, ProductMask] = MappingProxyType(
    {
        name: ProductMask(name=name, scheme=scheme, layers=layers)
        for name, scheme, layers in (
            ("scl", "sentinel-2-scl", _SCL),
            ("qa_pixel", "landsat-qa-pixel", _QA_PIXEL),
            ("sentinel-2-scl", "sentinel-2-scl", _SCL),
            ("landsat-qa-pixel", "landsat-qa-pixel", _QA_PIXEL),
            ("hls-fmask", "hls-fmask", ("fmask",)),
            ("fmask", "fmask", ("fmask",)),
            ("cloudsen12", "cloudsen12", ("cloudsen12",)),
            ("kappamask", "kappamask", ("kappamask",)),
            ("cmix", "cmix", ("cmix",)),
        )
    }
)
"""Those with a name of their own; any other layer is typed as ``layer=scheme``."""


def find_product(text: str) -> ProductMask | None:
    """Return the product mask of a name.

    Parameters
    ----------
    text
        A name of `PRODUCTS` in any case, or ``layer=scheme`` with one of `xcloudmask.codes.SCHEMES`.

    Returns
    -------
    ProductMask or None
        None where it is no product.

    Raises
    ------
    ArgumentError
        After ``=`` stands no scheme.

    Examples
    --------
    >>> find_product("SCL").scheme, find_product("mine=cmix").layers, find_product("default")
    ('sentinel-2-scl', ('mine',), None)
    """
    layer, equals, scheme = text.partition("=")
    if not equals:
        return PRODUCTS.get(text.lower())
    if not layer:
        raise ArgumentError(f"{text!r} names no layer. Expected layer=scheme, such as SCL=sentinel-2-scl.")
    return ProductMask(name=layer, scheme=get_scheme(scheme).name, layers=(layer,))


def layer_in(names: Iterable[str], product: ProductMask) -> str | None:
    """Return which of some names is the layer of a product; None where it is not among them.

    Parameters
    ----------
    names
        Of layers, in any case.
    product
        What is looked for.

    Returns
    -------
    str or None

    Examples
    --------
    >>> layer_in(["B04", "SCL"], PRODUCTS["scl"])
    'SCL'
    """
    folded = {str(name).lower(): str(name) for name in names}
    return next((folded[layer.lower()] for layer in product.layers if layer.lower() in folded), None)


def decode_layer(codes: npt.NDArray[Any], product: ProductMask) -> npt.NDArray[np.uint8]:
    """Turn codes into our classes; see `xcloudmask.recode.from_codes`.

    Parameters
    ----------
    codes
        (y, x).
    product
        Whose codes.

    Returns
    -------
    numpy.ndarray
        (y, x) uint8, 255 nodata.

    Examples
    --------
    >>> decode_layer(np.array([[4, 9, 0]]), PRODUCTS["scl"]).tolist()
    [[0, 1, 255]]
    """
    return from_codes(xr.DataArray(codes, dims=("y", "x")), product.scheme).to_numpy()


def open_product(path: str, product: ProductMask) -> xr.DataArray:
    """Open the layer of a product in a cube, lazily, as a mask of ours.

    Parameters
    ----------
    path
        What `xcloudmask.open` takes.
    product
        What is looked for.

    Returns
    -------
    DataArray
        (time, y, x) or (y, x) uint8 4-class mask.

    Raises
    ------
    InputError
        The cube has no such layer.
    ReadError
        It cannot be read.

    Examples
    --------
    >>> open_product("cube.zarr", PRODUCTS["scl"])  # doctest: +SKIP
    """
    # Layers about the image are left out of cubes unless they are asked for by name, as the file spells it.
    spelt = (how(layer) for layer in product.layers for how in (str, str.lower, str.upper, str.title))
    for name in dict.fromkeys(spelt):
        try:
            cube = open_any(path, bands=[name])
        except BandNotFoundError:
            continue
        return from_codes(cube[name], product.scheme)
    known = ", ".join(SCHEMES)
    raise InputError(
        f"{path} has no layer {product.layers[0]!r} for {product.name!r}. Type layer=scheme, with the name of its "
        f"layer and one of {known}."
    )
