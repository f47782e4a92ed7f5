"""From a cube and options to all that the graph and the plan need. Nothing is computed."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudmask.bands import BandChoice, BandSelection, select_bands
from xcloudmask.errors import ChunkError, InputError, NotACubeError
from xcloudmask.geometry import Geometry, plan_geometry, resolution_factor, upsample_factor
from xcloudmask.grid import resolution_m, spatial_dims, time_dim
from xcloudmask.models.openbands import THERMAL_K, OpenBand, with_bands
from xcloudmask.models.registry import get_spec
from xcloudmask.models.spec import ModelSpec
from xcloudmask.openbands import select_open_bands
from xcloudmask.options import Options, Scale, scale_pairs
from xcloudmask.parity.geometry import ocm_geometry
from xcloudmask.radiometry import BandScale, band_scales, constant_scale, nodata_values, scale_rows
from xcloudmask.sensors import Sensor
from xcloudmask.settings import EngineSettings, Output
from xcloudmask.stacking import add_time, align_planes, stack_planes

__all__ = ["Chosen", "Prepared", "choose_bands", "prepare_cube"]

_Constant = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """A model and the bands that it is fed."""

    spec: ModelSpec
    """The model; one of any bands became one of these."""
    selection: BandSelection
    """The bands of a cube."""
    scales: tuple[BandScale, ...] | None = None
    """What makes reflectance or kelvin of them, where that was found out with the bands."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A cube, ready for the graph."""

    spec: ModelSpec
    """The model."""
    selection: BandSelection
    """The bands that were chosen."""
    template: xr.DataArray
    """One chosen band, (time, y, x) or (y, x): dimensions and coordinates of the mask."""
    stack: da.Array
    """(time, band, y, x); time has length 1 where the cube has none."""
    planes: list[da.Array] | None
    """The bands of the stack, (time, y, x) or (y, x), in its chunks; None where the cube has them stacked."""
    lazy: bool
    """Whether the cube is backed by dask."""
    given_chunks: tuple[tuple[int, ...], tuple[int, ...]]
    """Chunks of the cube along y and x."""
    resolution: tuple[float, float] | None
    """Metres per pixel along y and x, where known."""
    geometry: Geometry
    """Where the cube is cut."""
    settings: EngineSettings
    """What happens in a block."""
    scales: npt.NDArray[np.float64] | da.Array | None
    """(time, band of the model * 2) scales, then offsets, where they differ between time steps; NaN for unknown."""

    @property
    def chunks(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Chunks along time, y and x to work in."""
        return self.stack.chunks[0], *self.geometry.chunks


def choose_bands(
    cube: xr.DataArray | xr.Dataset,
    spec: ModelSpec,
    *,
    bands: BandChoice | None = None,
    sensor: str | Sensor | None = None,
    scale: Scale | None = None,
) -> Chosen:
    """Find the bands of a cube for a model, and make a model of any bands one of these.

    Parameters
    ----------
    cube
        What the user gave.
    spec
        The model.
    bands, sensor, scale
        As in `xcloudmask.predict`.

    Returns
    -------
    Chosen

    Raises
    ------
    InputError
        A band is missing or ambiguous, or too few can be used.
    ArgumentError, ArgumentTypeError
        An argument cannot be understood.
    """
    if not spec.any_bands:
        selection = select_bands(cube, roles=spec.bands, optional=spec.optional_bands, bands=bands, sensor=sensor)
        return Chosen(spec=spec, selection=selection)
    raw = spec.takes_reflectance
    found = select_open_bands(cube, bands=bands, sensor=sensor, scale=scale, reflectance=raw)
    scales = found.scales if raw else tuple(map(_level_scale, found.bands, found.scales))
    return Chosen(spec=with_bands(spec, found.bands), selection=found.selection, scales=scales)


def _level_scale(band: OpenBand, scale: BandScale) -> BandScale:
    """What the level of a band is told in: reflectance, or kelvin over what is warm."""
    return replace(scale, gain=scale.gain / THERMAL_K, offset=scale.offset / THERMAL_K) if band.thermal else scale


def prepare_cube(cube: xr.DataArray | xr.Dataset, options: Options, *, output: Output) -> Prepared:
    """Find bands, nodata, scale and geometry, and stack the bands lazily.

    Parameters
    ----------
    cube
        What the user gave.
    options
        What the user asked for.
    output
        Labels, percent or probability.

    Returns
    -------
    Prepared

    Raises
    ------
    InputError
        The cube cannot be masked; the message says why.
    ArgumentError
        An option does not suit the model.
    """
    _check_sizes(cube)
    chosen = choose_bands(
        cube, get_spec(options.model), bands=options.bands, sensor=options.sensor, scale=options.scale
    )
    spec, selection = chosen.spec, chosen.selection
    template = _template(selection)
    stack, planes, lazy = _stack(selection, template)
    given = (stack.chunks[2], stack.chunks[3])
    # The CRS of a Dataset can be a variable that no band carries.
    resolution = options.resolution_yx_m or resolution_m(template) or resolution_m(cube)
    if options.normalize == "ocm":
        # Each time step has patches of its own.
        stack = stack.rechunk({0: 1, 1: -1})
        geometry = ocm_geometry(given, options, spec)
    else:
        geometry = plan_geometry(
            given,
            spec,
            factor=resolution_factor(resolution, spec),
            normalize=options.normalize,
            halo_px=options.halo_px,
            step_px=options.stride,
            upsample=upsample_factor(resolution, spec, options.upsample),
        )
    scale, scales = _scales(options, chosen, times=stack.shape[0])
    settings = _settings(options, spec, selection, geometry, output=output, scale=scale)
    return Prepared(
        spec=spec,
        selection=selection,
        template=template,
        stack=stack,
        planes=planes,
        lazy=lazy,
        given_chunks=given,
        resolution=resolution,
        geometry=geometry,
        settings=settings,
        scales=scales,
    )


def _check_sizes(cube: xr.DataArray | xr.Dataset) -> None:
    unknown = [str(dim) for dim, size in getattr(cube, "sizes", {}).items() if math.isnan(size)]
    if unknown:
        raise ChunkError(
            f"The cube has unknown chunk sizes along {', '.join(unknown)}, as boolean indexing leaves them. Expected "
            "known sizes. Type array.compute_chunk_sizes() on its dask arrays."
        )


def _settings(
    options: Options,
    spec: ModelSpec,
    selection: BandSelection,
    geometry: Geometry,
    *,
    output: Output,
    scale: _Constant | None,
) -> EngineSettings:
    present = tuple(array is not None for array in selection.arrays)
    nodata = nodata_values(selection, nodata=options.nodata, sensor=options.sensor)
    return EngineSettings(
        spec=spec,
        normalize=options.normalize,
        output=output,
        style=options.output_style,
        factor=geometry.factor,
        upsample=geometry.upsample,
        halo_px=geometry.tile_halo_cells,
        tile_px=geometry.tile_cells,
        step_px=geometry.step_cells,
        present=present,
        nodata=tuple(value for value, there in zip(nodata, present, strict=True) if there),
        scale=None if scale is None else scale[0],
        offset=None if scale is None else scale[1],
        device=options.device,
        backend=options.backend,
        precision=options.precision,
        batch_size=None if options.batch_size == "auto" else int(options.batch_size),
    )


def _scales(
    options: Options, chosen: Chosen, *, times: int
) -> tuple[_Constant | None, npt.NDArray[np.float64] | da.Array | None]:
    """Scale and offset of each band where the model wants them: one for all time steps, or one for each."""
    spec, selection = chosen.spec, chosen.selection
    scale_pairs(options.scale, spec.bands)
    raw = spec.takes_reflectance
    if not (spec.takes_level_of([array is not None for array in selection.arrays]) or raw):
        return None, None
    if chosen.scales == ():
        return None, None  # some of any bands hold neither reflectance nor kelvin
    found = chosen.scales or band_scales(selection, sensor=options.sensor, scale=options.scale)
    constant = constant_scale(selection, found)
    if constant is not None:
        return constant, None
    rows = scale_rows(selection, found, times=times)
    if raw and (rows is None or (isinstance(rows, np.ndarray) and np.isnan(rows).any())):
        missing = [role for role, one in zip(selection.roles, found, strict=True) if one is None] or ["some dates"]
        raise InputError(
            f"Model {spec.name!r} takes reflectance, and the scale is not known for {', '.join(missing)}. Expected "
            "scale_factor and add_offset in the attributes or along time, or sensor= where the sensor fixes them. Type "
            "scale=(1e-4, 0.0) for reflectance = DN * 0.0001, scale=1 for reflectance itself, or take a model with "
            "normalization 'zscore'."
        )
    return None, rows


def _template(selection: BandSelection) -> xr.DataArray:
    """A chosen band with the dimensions (time, y, x), or (y, x)."""
    band = next((array for array in selection.arrays if array is not None), None)
    if band is None:
        raise InputError(
            f"All bands were given up ({', '.join(selection.roles)}). Expected at least one. "
            f"Type bands={{{selection.roles[0]!r}: '<name in the cube>'}}."
        )
    if 0 in band.shape:
        sizes = ", ".join(f"{dim}: {size}" for dim, size in band.sizes.items())
        raise InputError(f"The cube is empty ({sizes}). Expected at least one pixel and one time step.")
    return band.transpose(*_dims(band))


def _dims(band: xr.DataArray) -> list[Hashable]:
    time = time_dim(band)
    return [*([time] if time is not None else []), *spatial_dims(band)]


def _stack(selection: BandSelection, template: xr.DataArray) -> tuple[da.Array, list[da.Array] | None, bool]:
    """(time, band, y, x) as a dask array, the bands that it is made of, and whether the cube was one."""
    if selection.stack is not None:
        dims = list(template.dims)
        array = selection.stack.transpose(*dims[:-2], selection.band_dim, *dims[-2:])
        data, lazy = _as_dask(array, spatial_axes=2)
        return (data if data.ndim == 4 else add_time(data)), None, lazy
    found = [_as_dask(band.transpose(*template.dims), spatial_axes=2) for band in selection.arrays if band is not None]
    planes = align_planes([data for data, _ in found])
    return stack_planes(planes), planes, any(lazy for _, lazy in found)


def _as_dask(array: xr.DataArray, *, spatial_axes: int) -> tuple[da.Array, bool]:
    data: Any = array.data
    if isinstance(data, da.Array):
        return data, True
    if isinstance(data, np.ndarray):
        # One chunk per time step; without a name the pixels need not be hashed.
        chunks = (1,) * (data.ndim - spatial_axes) + (-1,) * spatial_axes
        return da.from_array(data, chunks=chunks, name=False), False
    raise NotACubeError(
        f"The pixels are a {type(data).__module__}.{type(data).__name__}. Expected a numpy or a dask array of numpy "
        "arrays. Type cube.as_numpy(), or cube.chunk() for a lazy mask."
    )
