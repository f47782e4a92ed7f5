"""The source of a task: opened lazily once per process for all regions of a step, and read window by window."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.base import compute

from xcloudmask._optional import require
from xcloudmask._version import __version__
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError, ReadError, XCloudMaskError
from xcloudmask.grid import spatial_dims, time_dim
from xcloudmask.models.registry import get_spec
from xcloudmask.models.spec import ModelSpec
from xcloudmask.options import Options
from xcloudmask.prepare import Prepared, choose_bands, prepare_cube
from xcloudmask.run.blocks import block_chunks
from xcloudmask.run.faults import FatalError
from xcloudmask.run.task import Job, Task

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["OpenStep", "check_model", "open_step"]

Window = tuple[tuple[int, int], tuple[int, int]]
"""Rows and columns: first, and one past the last."""

_STEPS_MOST = 8
"""Steps that are kept open in a process: what their items and headers say, no pixels."""
_BUGS = (TypeError, AttributeError, NameError, LookupError, AssertionError, MemoryError)
"""What is not the fault of a file."""
_LOADING = ("bands", "sensor", "resampling", "sign", "groupby")
"""What `Job.reading` may hold for STAC items."""
_OPENING = ("bands", "chunks")
"""What it may hold for cubes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenStep:
    """One time step of a cell, ready to be read."""

    name: str
    """Of the sources, for errors."""
    prepared: Prepared
    """Geometry and settings of the whole step, in blocks of the job."""
    scales: npt.NDArray[np.float64] | None
    """(1, band of the model * 2) scales, then offsets, where they are not the same for all steps."""
    whole: Callable[[], xr.Dataset]
    """The step as a lazy cube, in blocks of the job."""
    bands_of: Callable[[Window], Sequence[xr.DataArray | None]]
    """The bands in a window, lazy, in the order of the model; None for one that was given up."""

    def read(self, window: Window) -> npt.NDArray[np.generic]:
        """Read pixels in this thread.

        Parameters
        ----------
        window
            Rows and columns of the cell.

        Returns
        -------
        numpy.ndarray
            (1, band, y, x): the bands that are present, in the order of the model.

        Raises
        ------
        ReadError, HrefError
            A file cannot be read.
        """
        dims = spatial_dims(self.prepared.template)
        planes = [band.transpose(..., *dims).data for band in self.bands_of(window) if band is not None]
        dtype = np.result_type(*(plane.dtype for plane in planes))
        pixels = np.empty((1, len(planes), *planes[0].shape[-2:]), dtype)
        for index, plane in enumerate(planes):  # one by one: both the bands and their stack would be twice the memory
            pixels[0, index] = self._computed(plane).reshape(pixels.shape[-2:])
        return pixels

    def _computed(self, plane: da.Array) -> npt.NDArray[np.generic]:
        try:
            (found,) = compute(plane, scheduler="synchronous")
        except (XCloudMaskError, *_BUGS):
            raise
        except Exception as error:
            # Codecs of Zarr and NetCDF raise errors of all types for chunks that are broken.
            raise ReadError(f"{self.name}: pixels cannot be read ({type(error).__name__}: {error}).") from error
        pixels: npt.NDArray[np.generic] = found
        return pixels


def check_model(job: Job) -> ModelSpec:
    """Return the model of a job, as this process has it.

    Parameters
    ----------
    job
        The job.

    Returns
    -------
    ModelSpec

    Raises
    ------
    FatalError
        This process has another model, or another version of xcloudmask.
    UnknownModelError, ModelError
        It has none of that name.

    Examples
    --------
    >>> spec = get_spec("default")
    >>> check_model(Job(store="m", kind="zarr", model="default", model_sha256=spec.sha256)).name
    'default'
    """
    if job.version and job.version != __version__:
        raise FatalError(
            f"This worker has xcloudmask {__version__}, and the campaign was planned with {job.version}, which is part "
            f"of the key of each mask. Type: pip install xcloudmask=={job.version}, or fork the campaign: xcloudmask "
            "run fork"
        )
    spec = get_spec(job.model)
    if spec.sha256 != job.model_sha256:
        raise FatalError(
            f"The model {job.model!r} of this worker has sha256 {spec.sha256[:12]}..., and the campaign was planned "
            f"with {job.model_sha256[:12]}.... Give all workers the model of the plan, or fork the campaign: "
            "xcloudmask run fork"
        )
    return spec


def open_step(task: Task, spec: ModelSpec) -> OpenStep:
    """Open the time step of a task, or return it as another region of it left it.

    Parameters
    ----------
    task
        The task.
    spec
        Its model.

    Returns
    -------
    OpenStep

    Raises
    ------
    XCloudMaskError
        As `xcloudmask.stac.load`, `xcloudmask.open_cube` and `xcloudmask.predict`.
    """
    key = _key_of(task, spec)
    with _steps_lock:
        entry = _steps.setdefault(key, _Entry())
        _steps.move_to_end(key)
        while len(_steps) > _STEPS_MOST:
            _steps.popitem(last=False)
    with entry.lock:  # one thread opens, the others of the step wait
        if entry.step is None:
            entry.step = _open(task, spec)
        return entry.step


@dataclass(slots=True, eq=False)
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    step: OpenStep | None = None


_steps: OrderedDict[str, _Entry] = OrderedDict()
_steps_lock = threading.Lock()


def _key_of(task: Task, spec: ModelSpec) -> str:
    cell = {one.name: getattr(task.cell, one.name) for one in fields(task.cell)}
    job = [task.job.settings(), dict(task.job.policy), spec.to_dict()]
    text = json.dumps([job, cell, task.time, task.sources], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _open(task: Task, spec: ModelSpec) -> OpenStep:
    options = _options(task.job, spec)
    if not task.sources:
        raise InputError(f"{task.name} has no sources. Expected STAC items, or a cube. Type: xcloudmask run plan")
    return _open_cube(task, options) if "cube" in task.sources[0] else _open_items(task, options, spec)


def _options(job: Job, spec: ModelSpec) -> Options:
    """Options of the job, as JSON has them."""
    try:
        options = Options(**{**job.options, "model": spec})
    except TypeError as error:
        raise FatalError(f"The options of the campaign are not those of predict(): {error}") from error
    except (ArgumentError, ArgumentTypeError) as error:
        raise FatalError(f"The options of the campaign cannot be used: {error}") from error
    if not options.categorise:
        raise FatalError(
            "categorise=False gives percentages, and a campaign writes codes. Leave it out of the options."
        )
    return options


def _checked(reading: Mapping[str, Any], known: tuple[str, ...], what: str) -> dict[str, Any]:
    wrong = sorted(set(reading) - set(known))
    if wrong:
        raise FatalError(
            f"The campaign reads {what} with {', '.join(map(repr, wrong))}. Expected some of {', '.join(known)}."
        )
    return {name: value for name, value in reading.items() if value is not None}


def _ready(
    step: xr.Dataset,
    options: Options,
    *,
    name: str,
    bands_of: Callable[[Window], Sequence[xr.DataArray | None]],
    whole: Callable[[], xr.Dataset],
) -> OpenStep:
    prepared = prepare_cube(step, options, output="labels")
    scales = prepared.scales
    if isinstance(scales, da.Array):
        scales = scales.compute(scheduler="synchronous")
    return OpenStep(name=name, prepared=prepared, scales=scales, whole=whole, bands_of=bands_of)


# --- cubes ---


def _open_cube(task: Task, options: Options) -> OpenStep:
    from xcloudmask.io.read import open_cube

    given = task.sources[0]["cube"]
    path = given if isinstance(given, str) else [str(one) for one in given]
    cube = open_cube(path, **_checked(task.job.reading, _OPENING, "cubes"))
    step = _at_time(cube, str(task.sources[0].get("time") or ""), str(path))
    y, x = spatial_dims(step)
    if (step.sizes[y], step.sizes[x]) != task.cell.shape:
        raise InputError(
            f"{path} has {step.sizes[y]} x {step.sizes[x]} pixels, and cell {task.cell.name} was planned with "
            f"{task.cell.shape[0]} x {task.cell.shape[1]}. Plan again: xcloudmask run start --update"
        )
    blocks = {dim: block_chunks(step.sizes[dim], task.job.block_px) for dim in (y, x)}
    chunked = step.chunk(blocks)
    bands = _select(step, options)

    def bands_of(window: Window) -> list[xr.DataArray | None]:
        part = {y: slice(*window[0]), x: slice(*window[1])}
        return [None if band is None else band.isel(part) for band in bands]

    return _ready(chunked, options, name=str(path), bands_of=bands_of, whole=lambda: chunked)


def _at_time(cube: xr.Dataset, time: str, path: str) -> xr.Dataset:
    dim = time_dim(cube)
    if dim is None:
        return cube
    if cube.sizes[dim] == 1 and not time:
        return cube
    places = np.flatnonzero(cube[dim].values.astype("datetime64[ns]") == np.datetime64(time or "NaT", "ns"))
    if len(places) != 1:
        raise InputError(f"{path} has {len(places)} time steps of {time or 'no time'}. Expected one.")
    return cube.isel({dim: [int(places[0])]})


def _select(cube: xr.Dataset, options: Options) -> tuple[xr.DataArray | None, ...]:
    spec = get_spec(options.model)
    chosen = choose_bands(cube, spec, bands=options.bands, sensor=options.sensor, scale=options.scale)
    return chosen.selection.arrays


# --- STAC items ---


def _open_items(task: Task, options: Options, spec: ModelSpec) -> OpenStep:
    require("odc.stac", extra="stac")
    from xcloudmask.stac.catalogues import resolve_sign
    from xcloudmask.stac.load import load_scenes
    from xcloudmask.stac.scenes import inspect_scenes

    reading = _checked(task.job.reading, _LOADING, "STAC items")
    policy, sign = _policy(task.job), resolve_sign(reading.get("sign"))
    items = _items(task)
    scenes, _ = inspect_scenes(
        items,
        reading.get("bands") or _wanted_bands(options, spec, items, sensor=reading.get("sensor")),
        sensor=reading.get("sensor"),
        policy=policy,
        sign=sign,
        skip=False,
    )
    on_top = {name: place for place, name in enumerate(task.ids)}
    scenes.sort(key=lambda scene: on_top.get(scene.item.id, len(on_top)))
    grid, block_px = _grid(task), task.job.block_px

    def load(part: GeoBox, chunk_px: tuple[int, int]) -> xr.Dataset:
        return load_scenes(
            [scenes],
            grid=part,
            chunks={"time": 1, "y": chunk_px[0], "x": chunk_px[1]},
            resampling=reading.get("resampling", "nearest"),
            policy=policy,
            sign=sign,
        )

    def bands_of(window: Window) -> Sequence[xr.DataArray | None]:
        (top, bottom), (left, right) = window
        return _select(load(grid[top:bottom, left:right], (bottom - top, right - left)), options)

    def whole() -> xr.Dataset:
        return load(grid, (block_px, block_px))

    # A graph of a whole zone would be large, and no more is asked of it here than its size and its attributes.
    outline = _outline(load(grid[:1, :1], (1, 1)), grid, block_px)
    return _ready(outline, options, name=", ".join(task.ids), bands_of=bands_of, whole=whole)


def _policy(job: Job) -> Any:
    from xcloudmask.stac.hrefs import HrefPolicy

    plain: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in job.policy.items()
    }
    try:
        return HrefPolicy(**plain)
    except (TypeError, ArgumentError) as error:
        raise FatalError(f"The policy of the campaign cannot be used: {error}") from error


def _items(task: Task) -> list[Any]:
    from xcloudmask.stac.read import BAD_ITEM

    library: Any = require("pystac", extra="stac")
    try:
        return [library.Item.from_dict(dict(source)) for source in task.sources]
    except (library.STACError, library.STACTypeError, *BAD_ITEM) as error:
        raise InputError(f"{task.name}: a source is no STAC item ({error!r:.200}). Plan again.") from error


def _wanted_bands(options: Options, spec: ModelSpec, items: Sequence[Any], *, sensor: str | None) -> list[str]:
    """Names of the bands to load: what the options call them, else roles."""
    from xcloudmask.stac.openbands import wanted_names

    given = options.bands
    if given is None:
        return wanted_names(spec, items, sensor=sensor)
    if isinstance(given, Mapping):
        names = list(given.values()) if spec.any_bands else [given.get(role, role) for role in spec.bands]
    else:
        names = list(given)
    return [str(name) for name in names if name is not None]


def _grid(task: Task) -> GeoBox:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    return GeoBox(task.cell.shape, Affine(*task.cell.transform), task.cell.crs)


def _outline(corner: xr.Dataset, grid: GeoBox, block_px: int) -> xr.Dataset:
    """The whole step as `corner` would be: names, types, attributes and coordinates; its pixels are never asked for."""
    from odc.geo.xr import xr_coords

    chunks = ((1,), *(block_chunks(side, block_px) for side in grid.shape))
    variables = {}
    for name, band in corner.data_vars.items():
        pixels = da.zeros((1, *grid.shape), chunks=chunks, dtype=band.dtype)
        variables[name] = xr.Variable(band.dims, pixels, attrs=band.attrs, encoding=band.encoding)
    coords = {name: coord for name, coord in corner.coords.items() if not set(coord.dims) & set(grid.dimensions)}
    return xr.Dataset(variables, coords=coords | xr_coords(grid), attrs=corner.attrs)
