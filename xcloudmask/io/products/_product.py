"""What a product on disk is, whichever satellite: its layers and facts. No pixel and no image header is read here."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from xcloudmask._sensor import fold_name
from xcloudmask.errors import BandNotFoundError, InputError, ReadError
from xcloudmask.sensors import get_sensor

__all__ = ["Product", "ProductLayer", "choose_layers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductLayer:
    """One band of one image file of a product."""

    name: str
    """The provider's name, such as ``"B04"``."""
    path: Path
    """The image file, which may be missing."""
    index: int = 1
    """Band number in the file, from 1."""
    resolution_m: float
    """Pixel size as the product states it."""
    scale: tuple[float, float] | None
    """(scale, offset): reflectance, kelvin or radiance = DN * scale + offset; None where it is unknown."""
    nodata: float
    """The DN that means "no data"."""
    attrs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """More attributes: ``units`` of the scaled values, ``k1`` and ``k2``."""
    image: bool = True
    """False for layers about the image, such as classes: they are opened only when they are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One scene on disk."""

    path: Path
    """The folder or file that the user knows it by."""
    item_id: str
    """The provider's name of the scene."""
    sensor: str
    """A key of `xcloudmask.sensors.SENSORS`."""
    platform: str | None
    """STAC platform."""
    time: np.datetime64
    """Sensing time in UTC."""
    processing_baseline: str | None = None
    """Version of the processor, where the product states one."""
    sun_elevation: float | None = None
    """Degrees above the horizon, at the middle of the scene."""
    sun_azimuth: float | None = None
    """Degrees clockwise from north."""
    default_resolution_m: float
    """Pixel size that is opened when none is asked for."""
    layers: tuple[ProductLayer, ...]
    """All layers."""


def choose_layers(
    product: Product, *, bands: Collection[str] | None, resolution_m: float | None
) -> dict[str, ProductLayer]:
    """Choose layers that lie on one grid.

    Parameters
    ----------
    product
        A product.
    bands
        Roles, or names in any spelling of the sensor; None takes all images of one pixel size. A band that stands in
        for a role is taken where the bands have no pixel size in common otherwise.
    resolution_m
        Pixel size. None: with `bands` the finest at which the product has all of them, else the product's default.

    Returns
    -------
    dict
        Name as asked for -> layer, in the order asked for.

    Raises
    ------
    BandNotFoundError
        The product has no such band.
    InputError
        No pixel size at which the product has all these bands.
    ReadError
        An image file is missing.

    Warns
    -----
    UserWarning
        Nothing was asked for, and some files are missing.
    """
    if bands is None:
        return _defaults(product, resolution_m)
    found = {name: _named(product, name) for name in bands}
    best = {name: [layer for layer in layers if layer.name == layers[0].name] for name, layers in found.items()}
    sizes = _common_sizes(best, resolution_m) or _common_sizes(found, resolution_m)
    if not sizes:
        raise _no_common_size(product, found, resolution_m)
    size = min(sizes)
    chosen = {name: next(x for x in layers if x.resolution_m == size) for name, layers in found.items()}
    for layer in chosen.values():
        if not layer.path.exists():
            raise ReadError(f"{layer.path} does not exist. It should hold {layer.name} of {product.path}.")
    return chosen


def _defaults(product: Product, resolution_m: float | None) -> dict[str, ProductLayer]:
    size = product.default_resolution_m if resolution_m is None else resolution_m
    images = [layer for layer in product.layers if layer.image and layer.resolution_m == size]
    if not images:
        raise InputError(
            f"{product.path} has no image of {size:g} m. Type resolution_m= with one of: "
            f"{_sizes([layer for layer in product.layers if layer.image])}."
        )
    present = {layer.name: layer for layer in images if layer.path.exists()}
    missing = [layer for layer in images if layer.name not in present]
    if not present:
        names = ", ".join(layer.path.name for layer in missing)
        raise ReadError(f"{product.path}: none of its image files is there. Missing: {names}.")
    if missing:
        names = ", ".join(layer.name for layer in missing)
        warnings.warn(f"Left out of {product.path}, because their files are missing: {names}", stacklevel=2)
    return present


def _common_sizes(found: Mapping[str, list[ProductLayer]], resolution_m: float | None) -> set[float]:
    sizes = set.intersection(*({layer.resolution_m for layer in layers} for layers in found.values()))
    return sizes if resolution_m is None else sizes & {resolution_m}


def _named(product: Product, name: str) -> list[ProductLayer]:
    """The layers of that name: as written, else those that can play the role, best first, else another spelling."""
    named = [layer for layer in product.layers if fold_name(layer.name) == fold_name(name)]
    table = get_sensor(product.sensor)
    bands = table.candidates(name) or (table.find(name),)
    named = named or [
        layer for band in bands if band is not None for layer in product.layers if table.find(layer.name) is band
    ]
    if named:
        return named
    found = ", ".join(dict.fromkeys(layer.name for layer in product.layers))
    raise BandNotFoundError(f"{product.path} has no band {name!r}. Found: {found}.")


def _no_common_size(
    product: Product, found: Mapping[str, list[ProductLayer]], resolution_m: float | None
) -> InputError:
    lines = "; ".join(f"{name} at {_sizes(layers)} m" for name, layers in found.items())
    wanted = "one pixel size" if resolution_m is None else f"resolution_m={resolution_m:g}"
    first = next(iter(found))
    return InputError(
        f"{product.path} does not have these bands at {wanted}: {lines}. Open those of one size at a time, such as "
        f"bands=[{first!r}], and bring them to one grid with cube.rio.reproject_match(other)."
    )


def _sizes(layers: Collection[ProductLayer]) -> str:
    return ", ".join(f"{size:g}" for size in sorted({layer.resolution_m for layer in layers}))
