"""Simulated clouds over a real clear cube, with their truth (xarray; lazy stays lazy)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.base import tokenize

from xcloudmask._sensor import Sensor
from xcloudmask.bands import BandSelection, select_bands
from xcloudmask.classes import NODATA, STYLES, mask_attrs
from xcloudmask.errors import ArgumentError, BandNotFoundError, InputError
from xcloudmask.grid import resolution_m as grid_resolution_m
from xcloudmask.grid import spatial_dims, time_dim
from xcloudmask.radiometry import known_scale, nodata_values
from xcloudmask.sensors import SENSORS, get_sensor
from xcloudmask.simulate.clouds import Sun, View, add_clouds
from xcloudmask.simulate.layers import CloudKind
from xcloudmask.simulate.spectra import THERMAL_NM

__all__ = ["clouds_over"]

_Cube = TypeVar("_Cube", xr.Dataset, xr.DataArray)
_KELVIN = ("k", "kelvin")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Band:
    """A band that gets clouds."""

    name: str
    position: int
    array: xr.DataArray
    wavelength_nm: float
    scale: float
    offset: float
    nodata: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """All that a time step needs besides its pixels and its number."""

    wavelengths_nm: tuple[float, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    nodata: tuple[float | None, ...]
    ranges: tuple[tuple[float, float] | None, ...]
    """Smallest and largest number that each band's type holds; None for floats."""
    resolution_m: float
    kinds: tuple[CloudKind, ...] | None
    seed: int
    sun: Sun | None
    view: View | None


def clouds_over(
    image: _Cube,
    *,
    sensor: str | Sensor | None = None,
    kinds: Sequence[CloudKind] | None = None,
    seed: int = 0,
    sun: Sun | None = None,
    view: View | None = None,
    scale: float | None = None,
    offset: float = 0.0,
    resolution_m: float | None = None,
) -> tuple[_Cube, xr.Dataset]:
    """Put simulated clouds and shadows over a clear cube.

    Parameters
    ----------
    image
        Clear images: a Dataset with a variable per band, or a DataArray with a band dimension; (time, y, x) or (y, x).
    sensor
        Name or `Sensor`, for the wavelengths of the bands, and for scale and offset where the cube declares none.
        None takes the wavelength from the role of each band, such as red.
    kinds
        The layers of every time step, as in `add_clouds`; None draws one or two.
    seed
        Seed of all randomness; time steps differ.
    sun
        None draws one for each time step.
    view
        None is a satellite overhead.
    scale, offset
        Reflectance = value * scale + offset, where neither the cube nor the sensor's table says it.
    resolution_m
        Size of a pixel, where the cube's coordinates do not say it.

    Returns
    -------
    cube
        As `image`: same coordinates, CRS, dtype, chunks and attributes. Variables that are no known band stay.
    truth
        Dataset (time, y, x) with `truth`, uint8 codes of the 4 classes, 255 nodata, and `optical_thickness`, float32,
        NaN where there is no data.

    Raises
    ------
    InputError
        No known band, or the scale of one is not known.
    ArgumentError
        The size of a pixel is not known, a kind is unknown, or the seed is negative.

    Notes
    -----
    Nothing lazy is computed: one dask task does a whole time step, since shadows fall far. The physics and their
    literature are in `add_clouds`. Lines of the image run west to east, as in most grids: north is up.

    Examples
    --------
    >>> clear = xr.Dataset(
    ...     {name: (("y", "x"), np.full((64, 64), 1200, "uint16")) for name in ("red", "green", "nir")},
    ... )
    >>> cloudy, truth = clouds_over(clear, kinds=["stratus"], seed=1, scale=1e-4, resolution_m=10.0)
    >>> cloudy["red"].dtype, bool(cloudy["red"].mean() > 2000), float(truth["truth"].isin([1, 2]).mean())
    (dtype('uint16'), True, 1.0)
    """
    if seed < 0:
        raise ArgumentError(f"seed={seed} is negative. Expected 0 or more.")
    table = None if sensor is None else get_sensor(sensor)
    wrapped = _wrapped(image)
    if wrapped is not None and isinstance(image, xr.Dataset):
        inner, truth = clouds_over(
            image[wrapped], sensor=table, kinds=kinds, seed=seed, sun=sun, view=view, scale=scale, offset=offset,
            resolution_m=resolution_m or _pixel_m(image),
        )  # fmt: skip
        return image.assign({wrapped: inner}), truth
    bands = _find_bands(image, table, scale, offset)
    settings = _settings(
        bands, kinds=kinds, seed=seed, sun=sun, view=view, resolution_m=resolution_m or _required_m(image)
    )
    template = bands[0].array.transpose(*_dims(bands[0].array))
    result = _run([band.array.transpose(*template.dims).data for band in bands], settings)
    planes = {band.position: _plane(result[:, i], band.array, template) for i, band in enumerate(bands)}
    return _rebuilt(image, bands, planes), _truth(result, template, len(bands))


def _wrapped(image: xr.Dataset | xr.DataArray) -> str | None:
    """Name of the one variable of a Dataset that holds all bands along a dimension."""
    if not isinstance(image, xr.Dataset):
        return None
    y, x = spatial_dims(image)
    images = [name for name, array in image.data_vars.items() if {y, x} <= set(array.dims)]
    if len(images) != 1:
        return None
    array = image[images[0]]
    return str(images[0]) if set(array.dims) - {y, x, time_dim(array)} else None


def _pixel_m(image: xr.Dataset | xr.DataArray) -> float | None:
    found = grid_resolution_m(image)
    return None if found is None else float(np.sqrt(found[0] * found[1]))


def _required_m(image: xr.Dataset | xr.DataArray) -> float:
    found = _pixel_m(image)
    if found is None:
        raise ArgumentError(
            "The size of a pixel is not known: the cube has no CRS, or no coordinates along y and x. "
            "Type clouds_over(..., resolution_m=10.0)."
        )
    return found


def _find_bands(
    image: xr.Dataset | xr.DataArray, table: Sensor | None, scale: float | None, offset: float
) -> list[_Band]:
    """Every band whose role is known, each once, in the order of their roles' wavelengths."""
    found: dict[int, _Band] = {}
    for role, wavelength_nm in _wavelengths(table).items():
        try:
            selection = select_bands(image, roles=(role,), sensor=table)
        except BandNotFoundError:
            continue
        position, array, name = selection.positions[0], selection.arrays[0], selection.names[0]
        if position is None or array is None or name is None or position in found:
            continue
        own = None if table is None else table.find(name)
        wave = wavelength_nm if own is None else own.wavelength_nm[1]
        gain, shift = _scale(selection, array, table, wave, (scale, offset))
        (nodata,) = nodata_values(selection, sensor=table)
        found[position] = _Band(
            name=name, position=position, array=array, wavelength_nm=wave, scale=gain, offset=shift, nodata=nodata
        )
    if not found:
        raise InputError(
            "No band of the cube has a known role. Expected names such as red, green, nir, or B04 with "
            "sensor='sentinel-2-l2a'. Type cube.rename(...) or clouds_over(..., sensor=...)."
        )
    return list(found.values())


def _wavelengths(table: Sensor | None) -> dict[str, float]:
    """Central wavelength of each role: of the sensor, else of the first sensor that has it."""
    roles: dict[str, float] = {}
    for sensor in SENSORS.values() if table is None else (table,):
        for band in sensor.bands:
            roles.setdefault(band.role, band.wavelength_nm[1])
    return dict(sorted(roles.items(), key=lambda item: item[1]))


def _scale(
    selection: BandSelection,
    array: xr.DataArray,
    table: Sensor | None,
    wave_nm: float,
    given: tuple[float | None, float],
) -> tuple[float, float]:
    known = known_scale(selection, sensor=table)
    if known is not None:
        return known[0][0], known[1][0]
    if wave_nm > THERMAL_NM:
        if str(array.attrs.get("units", "")).casefold() in _KELVIN and array.dtype.kind == "f":
            return 1.0, 0.0
    elif given[0] is not None:
        return float(given[0]), float(given[1])
    what = "kelvin" if wave_nm > THERMAL_NM else "reflectance"
    raise InputError(
        f"The scale of {selection.names[0]!r} is not known: {what} = value * scale + offset. Type clouds_over(..., "
        "scale=1e-4, offset=0.0) for reflectance, or give the band attrs scale_factor and add_offset."
    )


def _settings(
    bands: list[_Band],
    *,
    kinds: Sequence[CloudKind] | None,
    seed: int,
    sun: Sun | None,
    view: View | None,
    resolution_m: float,
) -> _Settings:
    limits = [np.iinfo(band.array.dtype) if band.array.dtype.kind in "iu" else None for band in bands]
    return _Settings(
        wavelengths_nm=tuple(band.wavelength_nm for band in bands),
        scales=tuple(band.scale for band in bands),
        offsets=tuple(band.offset for band in bands),
        nodata=tuple(band.nodata for band in bands),
        ranges=tuple(None if limit is None else (float(limit.min), float(limit.max)) for limit in limits),
        resolution_m=float(resolution_m),
        kinds=None if kinds is None else tuple(kinds),
        seed=seed,
        sun=sun,
        view=view,
    )


def _dims(array: xr.DataArray) -> list[Any]:
    time = time_dim(array)
    return [*([] if time is None else [time]), *spatial_dims(array)]


def _run(planes: list[Any], settings: _Settings) -> Any:
    """(time, bands + truth + thickness, y, x) floats, lazy where any plane is."""
    if not any(isinstance(plane, da.Array) for plane in planes):
        stack = np.stack(planes, axis=-3)
        steps = stack if stack.ndim == 4 else stack[None]
        return np.concatenate([_step(step[None], settings=settings, number=i) for i, step in enumerate(steps)])
    stack = da.stack([da.asarray(plane) for plane in planes], axis=-3)
    stack = (stack if stack.ndim == 4 else stack[None]).rechunk({0: 1, 1: -1, 2: -1, 3: -1})
    dtype = _work_dtype(stack.dtype)
    return da.map_blocks(
        _step,
        stack,
        settings=settings,
        chunks=(stack.chunks[0], (len(planes) + 2,), *stack.chunks[2:]),
        dtype=dtype,
        meta=np.empty((0, 0, 0, 0), dtype),
        name="clouds-over-" + tokenize(stack.name, settings),
    )


def _work_dtype(dtype: Any) -> Any:
    return np.result_type(dtype, np.float32)


def _step(
    block: npt.NDArray[Any],
    *,
    settings: _Settings,
    number: int | None = None,
    block_info: Mapping[Any, Any] | None = None,
) -> npt.NDArray[Any]:
    """One time step: (1, band, y, x) stored numbers in, clouds, truth and thickness out."""
    if number is None:
        number = int(block_info[0]["chunk-location"][0]) if block_info else 0
    values = block[0].astype(_work_dtype(block.dtype))
    valid = np.isfinite(values)
    for index, nodata in enumerate(settings.nodata):
        if nodata is not None and not np.isnan(nodata):
            valid[index] &= block[0, index] != nodata
    scales, offsets = (np.asarray(given, values.dtype)[:, None, None] for given in (settings.scales, settings.offsets))
    clear = np.where(valid, values * scales + offsets, 0.0).astype(np.float32)
    for index, wave in enumerate(settings.wavelengths_nm):
        if wave > THERMAL_NM and valid[index].any():
            clear[index][~valid[index]] = np.median(clear[index][valid[index]])
    scene = add_clouds(
        clear,
        wavelengths_nm=settings.wavelengths_nm,
        resolution_m=settings.resolution_m,
        rng=np.random.default_rng((settings.seed, number)),
        kinds=settings.kinds,
        sun=settings.sun,
        view=settings.view,
    )
    result = np.empty((1, len(clear) + 2, *clear.shape[1:]), values.dtype)
    for index, (band, limit) in enumerate(zip(scene.image, settings.ranges, strict=True)):
        stored = (band - offsets[index]) / scales[index]
        if limit is not None:
            stored = np.clip(np.round(stored), *limit)
            nodata = settings.nodata[index]
            # A dark pixel must not turn into nodata.
            stored = stored if nodata is None else np.where(stored == nodata, nodata + 1, stored)
        result[0, index] = np.where(valid[index], stored, block[0, index])
    seen = valid.all(axis=0)
    result[0, -2] = np.where(seen, scene.truth, NODATA)
    result[0, -1] = np.where(seen, scene.optical_thickness, np.nan)
    return result


def _plane(data: Any, band: xr.DataArray, template: xr.DataArray) -> xr.Variable:
    """A band as it was: dimensions, dtype, chunks, attributes, encoding."""
    data = data if template.ndim == 3 else data[0]
    variable = xr.Variable(template.dims, data.astype(band.dtype), dict(band.attrs)).transpose(*band.dims)
    if isinstance(variable.data, da.Array) and isinstance(band.data, da.Array):
        variable.data = variable.data.rechunk(band.data.chunks)
    variable.encoding = dict(band.encoding)
    return variable


def _rebuilt(image: _Cube, bands: list[_Band], planes: dict[int, xr.Variable]) -> _Cube:
    if isinstance(image, xr.Dataset):
        return image.assign({band.name: image[band.name].copy(data=planes[band.position].data) for band in bands})
    dim = next((dim for dim in image.dims if dim not in bands[0].array.dims), None)
    if dim is None:
        return image.copy(data=next(iter(planes.values())).data)
    axis = image.dims.index(dim)
    parts = [planes[i].data if i in planes else image.isel({dim: i}).data for i in range(image.sizes[dim])]
    lazy = any(isinstance(part, da.Array) for part in parts)
    data = da.stack(parts, axis=axis).rechunk(image.chunks) if lazy else np.stack(parts, axis=axis)
    return image.copy(data=data)


def _truth(result: Any, template: xr.DataArray, count: int) -> xr.Dataset:
    parts = {"truth": result[:, count].astype(np.uint8), "optical_thickness": result[:, count + 1].astype(np.float32)}
    coords = {name: coord for name, coord in template.coords.items() if set(coord.dims) <= set(template.dims)}
    truth = xr.Dataset(
        {name: (template.dims, part if template.ndim == 3 else part[0]) for name, part in parts.items()}, coords=coords
    )
    if template.chunks is not None:
        truth = truth.chunk(dict(zip(template.dims, template.chunks, strict=True)))
    truth["truth"].attrs = mask_attrs(STYLES["4-class"])
    truth["optical_thickness"].attrs = {"long_name": "optical thickness of simulated clouds at 550 nm", "units": "1"}
    for array in truth.data_vars.values():
        array.encoding.update({key: template.encoding[key] for key in ("grid_mapping",) if key in template.encoding})
    return truth
