"""A cube as a list of bands with all their names, in the shape that any loader gives it. Nothing is computed."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

import numpy as np
import xarray as xr

from xcloudmask._bandnames import BandNames
from xcloudmask._sensor import fold_name
from xcloudmask.errors import NotACubeError
from xcloudmask.grid import spatial_dims, time_dim

__all__ = ["CubeBands", "check_dtype", "is_mask", "left_over_error", "mask_error", "open_cube_bands"]

_BAND_DIMS = ("band", "bands", "channel", "channels", "wavelength", "variable")
_NAME_COORDS = ("common_name", "eo:common_name")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CubeBands:
    """A cube as a list of bands, whatever its shape."""

    names: BandNames
    array: xr.DataArray | None
    """The cube, where it is one array with a band dimension."""
    band_dim: str | None
    variables: tuple[xr.DataArray, ...] = ()
    """The bands, where they are separate arrays."""

    def band(self, position: int) -> xr.DataArray:
        """Return one band, without band dimension."""
        if self.array is None:
            return self.variables[position]
        return self.array.isel({self.band_dim: position}, drop=True)

    def stacked(self, positions: list[int]) -> xr.DataArray | None:
        """Return some bands as one array, in that order; None where they are separate."""
        if self.array is None or positions == list(range(self.count)):
            return self.array
        return self.array.isel({self.band_dim: positions})

    @property
    def count(self) -> int:
        """Number of bands."""
        return len(self.variables) if self.array is None else self.array.sizes[self.band_dim]


def open_cube_bands(cube: xr.DataArray | xr.Dataset) -> CubeBands:
    """List the bands of a cube, or say why it is none."""
    if isinstance(cube, xr.DataArray):
        return _open_array(cube)
    if isinstance(cube, xr.Dataset):
        return _open_dataset(cube)
    if isinstance(cube, str | PathLike):
        raise NotACubeError(
            f"The cube is a {type(cube).__name__}, {str(cube)!r}. Expected an xarray.DataArray or xarray.Dataset. "
            f"Type: xcloudmask.open({str(cube)!r})"
        )
    raise NotACubeError(
        f"The cube is a {type(cube).__name__}. Expected an xarray.DataArray or xarray.Dataset; wrap a numpy or dask "
        "array in xr.DataArray(array, dims=('time', 'band', 'y', 'x'))."
    )


def _open_dataset(cube: xr.Dataset) -> CubeBands:
    y, x = spatial_dims(cube)
    # xr.open_zarr and xr.open_dataset leave the CRS a variable like the others, unless decode_coords="all" is typed.
    mappings = {var.attrs.get("grid_mapping") for var in cube.data_vars.values() if (y, x) == var.dims[-2:]}
    cube = cube.set_coords([name for name in mappings if name in cube.data_vars and cube[name].ndim == 0])
    images = {str(name): var for name, var in cube.data_vars.items() if var.ndim > 1 and _is_image(var)}
    if not images:
        shown = ", ".join(f"{name!r} {var.dims}" for name, var in cube.data_vars.items()) or "none"
        raise NotACubeError(f"No variable of the Dataset has the dimensions {y!r} and {x!r}. Found: {shown}.")
    if all(is_mask(var) for var in images.values()):
        raise mask_error(next(iter(images)), next(iter(images.values())))
    if len(images) == 1 and _band_dim(next(iter(images.values()))) is not None:
        # xr.open_dataset of a GeoTIFF, and a DataArray reopened from Zarr, wrap the array in a Dataset.
        return _open_array(next(iter(images.values())))
    columns: list[tuple[str, tuple[str | None, ...]]] = [("variable name", tuple(images))]
    for kind in ("common_name", "long_name"):
        texts = tuple(_text(var.attrs.get(kind)) for var in images.values())
        if any(texts):
            columns.append((kind, texts))
    names = BandNames(columns=tuple(columns), platforms=_platforms(cube))
    return CubeBands(names=names, array=None, band_dim=None, variables=tuple(images.values()))


def _is_image(var: xr.DataArray) -> bool:
    try:
        spatial_dims(var)
    except NotACubeError:
        return False
    return True


def _open_array(cube: xr.DataArray) -> CubeBands:
    if is_mask(cube):
        raise mask_error(str(cube.name), cube)
    dim = _band_dim(cube)
    if dim is None:
        name = _text(cube.name) or _text(cube.attrs.get("long_name"))
        names = BandNames(columns=(("name", (name,)),), platforms=_platforms(cube))
        return CubeBands(names=names, array=None, band_dim=None, variables=(cube,))
    check_dtype(str(cube.name), cube)
    unread = tuple(name for name in _NAME_COORDS if name in cube.coords and cube.coords[name].chunks is not None)
    names = BandNames(columns=_columns(cube, dim), platforms=_platforms(cube), unread=unread)
    return CubeBands(names=names, array=cube, band_dim=dim)


def _band_dim(cube: xr.DataArray) -> str | None:
    """The dimension called band (or the like), else the one left over; other dimensions are an error."""
    known = {*spatial_dims(cube), time_dim(cube)}
    others = [str(dim) for dim in cube.dims if str(dim) not in known]
    named = [dim for dim in others if dim.casefold() in _BAND_DIMS]
    band = named[0] if named else (others[0] if len(others) == 1 else None)
    left_over = [dim for dim in others if dim != band]
    if left_over:
        raise left_over_error(cube, left_over)
    return band


def left_over_error(cube: xr.DataArray, dims: list[str]) -> NotACubeError:
    """Say that a cube has dimensions that mean nothing here."""
    found = ", ".join(f"{dim!r} ({size})" for dim, size in cube.sizes.items())
    fix = f".squeeze({dims!r})" if all(cube.sizes[dim] == 1 for dim in dims) else f".isel({dims[0]}=0)"
    return NotACubeError(
        f"Dimensions {', '.join(map(repr, dims))} are left over besides time, band, y and x. Found: {found}. "
        f"Type: cube{fix}"
    )


def _columns(cube: xr.DataArray, dim: str) -> tuple[tuple[str, tuple[str | None, ...]], ...]:
    """All lists of names along the band dimension."""
    count = cube.sizes[dim]
    columns: list[tuple[str, tuple[str | None, ...]]] = []
    for name in (dim, *_NAME_COORDS):
        coord = cube.coords.get(name)
        # A coordinate is a dask array after cube.chunk() and from Zarr: it is not computed.
        if coord is not None and coord.dims == (dim,) and coord.chunks is None and coord.dtype.kind in "UOT":
            kind = "band coordinate" if name == dim else f"common name (coordinate {name})"
            columns.append((kind, tuple(_text(value) for value in coord.values.tolist())))
    texts = cube.attrs.get("long_name")
    texts = (texts,) if isinstance(texts, str) else texts
    if isinstance(texts, list | tuple | np.ndarray) and len(texts) == count:
        columns.append(("long_name", tuple(_text(value) for value in texts)))
    return tuple(columns) or (("band coordinate", (None,) * count),)


def _text(value: object) -> str | None:
    return str(value) if isinstance(value, str) and value.strip() else None


def _platforms(cube: xr.DataArray | xr.Dataset) -> frozenset[str]:
    found: set[str] = set()
    for name in ("platform", "constellation"):
        coord = cube.coords.get(name)
        values = [cube.attrs[name]] if name in cube.attrs else []
        if coord is not None and coord.chunks is None:
            values += np.ravel(coord.values).tolist()
        found |= {fold_name(value) for value in values if isinstance(value, str)}
    return frozenset(found)


def is_mask(array: xr.DataArray) -> bool:
    """Whether an array holds flags, and no image."""
    attrs = array.attrs
    flags = "flag_values" in attrs or "flag_masks" in attrs or "flag_meanings" in attrs
    return flags or "status_flag" in str(attrs.get("standard_name", "")) or array.dtype.kind == "b"


def mask_error(name: str, array: xr.DataArray) -> NotACubeError:
    """Say that a mask was given in place of an image."""
    sign = "its dtype is bool" if array.dtype.kind == "b" else "its attributes describe flags"
    return NotACubeError(
        f"{name!r} is a mask: {sign}. Expected an image cube. Type image.cloudmask.predict(), where image holds the "
        "satellite bands."
    )


def check_dtype(name: str, array: xr.DataArray) -> None:
    """Refuse what holds no real numbers."""
    if array.dtype.kind not in "iuf":
        raise NotACubeError(
            f"{name!r} has dtype {array.dtype}. Expected integers or floats. Type cube.astype('float32') if its "
            "values are numbers."
        )
