"""What two masks must share to lie in one store: how they were made, and their grid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask.classes import CLASS_DIM
from xcloudmask.errors import WriteError
from xcloudmask.grid import spatial_dims
from xcloudmask.io._georef import Affine6, affine_of, crs_of

__all__ = ["Grid", "check_same", "grid_of", "settings_of"]

Setting = str | int | float

_COMPARED = ("output_style", "model", "model_sha256", "normalize", "processing")
"""Attributes that must agree, beside those in the text `settings`; the version of the package may differ."""
_AGREE = 1e-3
"""Share of a pixel up to which two grids are the same: coordinates carry rounding errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where the pixels of a mask lie."""

    dims: tuple[str, ...]
    """All dimensions, in order; the last two are y and x."""
    shape: tuple[int, int]
    """Pixels along y and x."""
    crs: str | None
    """WKT; None where it is unknown."""
    transform: Affine6 | None
    """As in rasterio; None without coordinates, or where they are not regular."""
    centres: tuple[tuple[float, ...], tuple[float, ...]] | None
    """The coordinates along y and x where they are not regular, else None."""


def settings_of(mask: xr.DataArray) -> dict[str, Setting]:
    """Return how a mask was made: what must agree for two masks to lie in one store.

    Parameters
    ----------
    mask
        Codes, percent or probabilities.

    Returns
    -------
    dict
        Plain text and numbers; nothing for what the mask does not tell.

    Examples
    --------
    >>> codes = xr.DataArray(np.zeros((1, 1), np.uint8), dims=("y", "x"), attrs={"output_style": "4-class"})
    >>> settings_of(codes.assign_attrs(settings='{"halo_px":72}'))
    {'dtype': 'uint8', 'output_style': '4-class', 'halo_px': 72}
    """
    found: dict[str, Setting] = {"dtype": str(mask.dtype)}
    if CLASS_DIM in mask.dims:
        names = mask.coords[CLASS_DIM].values.tolist() if CLASS_DIM in mask.coords else range(mask.sizes[CLASS_DIM])
        found[CLASS_DIM] = " ".join(map(str, names))
    found |= {key: _plain(mask.attrs[key]) for key in _COMPARED if key in mask.attrs}
    return found | _told(mask.attrs.get("settings", "{}"))


def grid_of(mask: xr.DataArray) -> Grid:
    """Return where the pixels of a mask lie.

    Parameters
    ----------
    mask
        (..., y, x); only its coordinates are read.

    Returns
    -------
    Grid

    Examples
    --------
    >>> grid_of(xr.DataArray(np.zeros((2, 3)), dims=("y", "x"))).shape
    (2, 3)
    """
    y, x = spatial_dims(mask)
    crs, transform = crs_of(mask), affine_of(mask)
    centres = None
    if transform is None and y in mask.coords and x in mask.coords:
        centres = (_values(mask, y), _values(mask, x))
    return Grid(
        dims=tuple(map(str, mask.dims)),
        shape=(mask.sizes[y], mask.sizes[x]),
        crs=None if crs is None else str(crs.to_wkt()),
        transform=transform,
        centres=centres,
    )


def check_same(existing: xr.DataArray, mask: xr.DataArray, *, target: str, advice: str | None = None) -> None:
    """Refuse a mask that was made in another way, or lies elsewhere, than the one that it is to join.

    Parameters
    ----------
    existing
        What the store holds; its part that is to be written where the mask is a part.
    mask
        What is to be written.
    target
        The name of the store, for the message.
    advice
        What to type; None for what `to_zarr` takes.

    Raises
    ------
    WriteError
        They differ. The message names the first difference, and says how to go on.

    Examples
    --------
    >>> mask = xr.DataArray(np.zeros((2, 2), np.uint8), dims=("y", "x"), attrs={"model": "default"})
    >>> check_same(mask, mask.copy(), target="masks.zarr")
    """
    for name, there, here in _differences(existing, mask):
        hint = _advice(name) if advice is None else advice
        raise WriteError(
            f"{target} holds a mask with {name} = {_shown(there)}, and this one has {_shown(here)}. All that lies in "
            f"one store must be made in the same way and on the same grid. {hint}"
        )


def _differences(existing: xr.DataArray, mask: xr.DataArray) -> Iterator[tuple[str, Any, Any]]:
    there, here = settings_of(existing), settings_of(mask)
    for name in (*there, *(name for name in here if name not in there)):
        if there.get(name) != here.get(name):
            yield name, there.get(name), here.get(name)
    old, new = grid_of(existing), grid_of(mask)
    if old.dims != new.dims:
        yield "dimensions", old.dims, new.dims
    if old.shape != new.shape:
        yield "pixels (y, x)", old.shape, new.shape
    if not _same_crs(old.crs, new.crs):
        yield "CRS", _crs_name(old.crs), _crs_name(new.crs)
    if not _same_transform(old, new):
        yield "transform", old.transform, new.transform
    if not _same_centres(old, new):
        yield "coordinates", old.centres, new.centres


def _advice(name: str) -> str:
    part = " For a part of the grid, type region='auto'." if name in ("pixels (y, x)", "transform") else ""
    return f"Type mode='w' to replace the store, or give another name.{part}"


def _told(text: Any) -> dict[str, Setting]:
    """Read the attribute `settings`; what is no such text, as others may have written it, is compared as it is."""
    try:
        content = json.loads(text)
    except (TypeError, ValueError):
        content = None
    if not isinstance(content, dict):
        return {"settings": str(text)}
    return {str(key): _plain(value) for key, value in sorted(content.items())}


def _plain(value: Any) -> Setting:
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, str | int | float) else json.dumps(value, default=str)


def _values(mask: xr.DataArray, dim: str) -> tuple[float, ...]:
    values = mask.coords[dim].to_numpy()
    return tuple(float(value) for value in values) if values.dtype.kind in "iuf" else tuple(range(values.size))


def _same_crs(old: str | None, new: str | None) -> bool:
    if old is None or new is None or old == new:
        return old == new
    from odc.geo import CRS

    return bool(CRS(old) == CRS(new))


def _same_transform(old: Grid, new: Grid) -> bool:
    if old.transform is None or new.transform is None:
        return old.transform == new.transform
    a, e = old.transform[0], old.transform[4]
    first = np.array(old.transform) - np.array(new.transform)
    # Both ends of each axis: a pixel size that is a little off adds up along a row.
    across = [abs(first[2] / a), abs((first[2] + first[0] * old.shape[1]) / a)]
    down = [abs(first[5] / e), abs((first[5] + first[4] * old.shape[0]) / e)]
    return bool(max(across + down) < _AGREE)


def _same_centres(old: Grid, new: Grid) -> bool:
    if old.centres is None or new.centres is None:
        return old.centres == new.centres
    return all(len(a) == len(b) and np.allclose(a, b) for a, b in zip(old.centres, new.centres, strict=True))


def _crs_name(wkt: str | None) -> str | None:
    if wkt is None:
        return None
    from odc.geo import CRS

    crs = CRS(wkt)
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg else str(crs.proj.name)


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
