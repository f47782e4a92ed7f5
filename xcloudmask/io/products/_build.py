"""Products of one sensor to one lazy Dataset: layers, scales that stay the same or change with time, coordinates."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xcloudmask.errors import InputError
from xcloudmask.io._raster import RasterFile, inspect, lazy_band
from xcloudmask.io._scenes import Chunks, chunk_sizes, grid_coords
from xcloudmask.io.products._product import Product, ProductLayer, choose_layers
from xcloudmask.radiometry import declare_scales

__all__ = ["build_products"]

Scene = tuple[Product, dict[str, ProductLayer]]


def build_products(
    products: Sequence[Product], *, bands: Collection[str] | None, resolution_m: float | None, chunks: Chunks
) -> xr.Dataset:
    """Put products together, lazily.

    Parameters
    ----------
    products
        One, or several dates of one sensor on one grid.
    bands
        Names to open, in any spelling of the sensor; None for all images of one pixel size.
    resolution_m
        Pixel size; None for the default.
    chunks
        As in `open_cube`.

    Returns
    -------
    Dataset
        (y, x), or (time, y, x) for several products: DN, with scale, offset and nodata as `xcloudmask.open` promises.

    Raises
    ------
    BandNotFoundError, InputError, ReadError
        The bands are not there, or the products do not fit together.
    """
    ordered = sorted(products, key=lambda product: product.time)
    _check_together(ordered)
    scenes = [(product, choose_layers(product, bands=bands, resolution_m=resolution_m)) for product in ordered]
    names = [name for name in scenes[0][1] if all(name in layers for _, layers in scenes)]
    names = _with_one_calibration(names, scenes, asked=bands is not None)
    if not names:
        raise InputError("The products have no band in common that can be opened. Give them one by one.")
    files = {layer.path: inspect(str(layer.path)) for _, layers in scenes for layer in layers.values()}
    _check_grids([(scene, [(name, files[scene[1][name].path]) for name in names]) for scene in scenes])
    first = files[scenes[0][1][names[0]].path]
    sizes = chunk_sizes(first.shape, first.block, chunks)
    exclusive = any(file.driver != "GTiff" for file in files.values())
    variables: dict[str, Any] = {}
    coords = grid_coords(first, [product.time for product in ordered]) | _facts(ordered)
    for name in names:
        layers = [chosen[name] for _, chosen in scenes]
        planes = [lazy_band(files[layer.path], layer.index, sizes, exclusive=exclusive) for layer in layers]
        attrs, changing = _attrs(name, layers, planes)
        variables[name] = _variable(planes, attrs)
        coords |= changing
    return xr.Dataset(variables, coords=coords, attrs={"sensor": ordered[0].sensor})


def _with_one_calibration(names: list[str], scenes: Sequence[Scene], *, asked: bool) -> list[str]:
    """Without thermal bands whose constants differ, as those of Landsat 8 and 9 do: a variable has one k1 and k2."""

    def constants(name: str) -> set[tuple[Any, Any]]:
        return {(layers[name].attrs.get("k1"), layers[name].attrs.get("k2")) for _, layers in scenes}

    differing = [name for name in names if len(constants(name)) > 1]
    if not differing:
        return names
    what = f"the thermal constants of {', '.join(differing)} differ between the products"
    if asked:
        raise InputError(f"{what[0].upper()}{what[1:]}. Open the products of one satellite at a time.")
    warnings.warn(f"Left out, because {what}.", stacklevel=2)
    return [name for name in names if name not in differing]


def _check_together(products: Sequence[Product]) -> None:
    first = products[0]
    for previous, product in pairwise(products):
        if product.sensor != first.sensor:
            raise InputError(
                f"{first.path} is of {first.sensor}, and {product.path} of {product.sensor}. Expected one sensor: open "
                "them one by one."
            )
        if product.time == previous.time:
            raise InputError(
                f"{previous.path} and {product.path} are both of {_when(product)}: two versions of one scene, or two "
                "tiles of one pass. Give one of them."
            )


def _when(product: Product) -> str:
    return str(np.datetime_as_string(product.time, unit="s"))


def _check_grids(scenes: Sequence[tuple[Scene, Sequence[tuple[str, RasterFile]]]]) -> None:
    """All files must lie on one grid; say which do not."""
    by_grid: dict[Any, list[str]] = {}
    for (product, _), files in scenes:
        for name, file in files:
            what = f"{name} of {product.item_id}" if len(scenes) > 1 else name
            by_grid.setdefault(file.grid, []).append(what)
    if len(by_grid) == 1:
        return
    lines = "\n".join(f"  {_grid_text(grid)}: {_some(names)}" for grid, names in by_grid.items())
    advice = (
        "Open the products of one grid at a time, or reproject them first: cube.rio.reproject_match(other)."
        if len(scenes) > 1
        else f"Type bands= with those of one grid, such as bands=[{scenes[0][1][0][0]!r}]."
    )
    raise InputError(f"The images are on {len(by_grid)} grids:\n{lines}\n{advice}")


def _grid_text(grid: tuple[Any, ...]) -> str:
    (height, width), transform, _ = grid
    corner = "" if transform is None else f" of {abs(transform[0]):g} at ({transform[2]:g}, {transform[5]:g})"
    return f"{height} x {width} px{corner}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def _variable(planes: Sequence[da.Array], attrs: dict[str, Any]) -> xr.Variable:
    encoding = {"grid_mapping": "spatial_ref"}
    if len(planes) == 1:
        return xr.Variable(("y", "x"), planes[0], attrs, encoding)
    untyped: Any = da
    return xr.Variable(("time", "y", "x"), untyped.stack(planes), attrs, encoding)


def _attrs(
    name: str, layers: Sequence[ProductLayer], planes: Sequence[da.Array]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Attributes of a variable, and as coordinates along time scale and offset where they change."""
    first = layers[0]
    for layer, plane in zip(layers, planes, strict=True):
        if layer.nodata != first.nodata or plane.dtype != planes[0].dtype:
            raise InputError(
                f"{first.path} and {layer.path} differ in nodata or type: {first.nodata:g} in {planes[0].dtype}, "
                f"{layer.nodata:g} in {plane.dtype}. Open them one by one."
            )
    attrs: dict[str, Any] = {"nodata": first.nodata, "band": first.name} | {
        key: value for key, value in first.attrs.items() if all(layer.attrs.get(key) == value for layer in layers)
    }
    declared, changing = declare_scales(name, [layer.scale for layer in layers])
    return attrs | declared, changing


def _facts(products: Sequence[Product]) -> dict[str, Any]:
    """What the products tell of themselves, along time; a fact that some lack is left out if it is text."""
    found: dict[str, list[Any]] = {
        "item_id": [product.item_id for product in products],
        "platform": [product.platform for product in products],
        "processing_baseline": [product.processing_baseline for product in products],
        "sun_elevation": [product.sun_elevation for product in products],
        "sun_azimuth": [product.sun_azimuth for product in products],
    }
    coords: dict[str, Any] = {}
    for name, values in found.items():
        text = any(isinstance(value, str) for value in values)
        if all(value is None for value in values) or (text and None in values):
            continue
        array = np.array(values) if text else np.array(values, np.float64)
        coords[name] = array[0] if len(products) == 1 else ("time", array)
    return coords
