"""Masks of a campaign as cloud-optimised GeoTIFFs: a folder per cell, a file per time step, complete or not there."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import partial
from threading import Lock
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xcloudmask.errors import ArgumentError, ReadError, WriteError
from xcloudmask.io._cogread import open_mask_files
from xcloudmask.io._identity import check_same
from xcloudmask.io.cog import to_cog
from xcloudmask.run.objects import Objects, open_objects
from xcloudmask.run.stores._array import naming
from xcloudmask.run.stores._cells import FORK, MASKS, address, cell_name, options_of, stamp, template
from xcloudmask.run.stores.base import BaseSink, Codes, Steps, mask_attributes
from xcloudmask.run.task import Cell, Job, Record, Task

__all__ = ["CogSink"]

_ABOUT = "cell.json"
"""Beside the files of a cell: its grid, the attributes of its masks, and its times."""
_ABOUT_BYTES = 2**26


class CogSink(BaseSink):
    """A GeoTIFF per time step: ``masks/<cell>/<cell>_<time>.tif``.

    Parameters
    ----------
    job
        As given to `open_sink`.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._about: dict[str, dict[str, Any]] = {}
        self._lock = Lock()

    def prepare(self, cells: Iterable[tuple[Cell, Steps]], attrs: Mapping[str, Any] | None = None) -> None:
        """Write down what each cell is, or add times.

        Parameters
        ----------
        cells
            Each with all its times.
        attrs
            Of the masks, beside those of `mask_attributes`.

        Raises
        ------
        WriteError
            A folder holds masks of another grid, model or settings, or cannot be written.
        ArgumentError
            The name of a cell cannot be one of a file, or a time is there twice.
        """
        wanted = mask_attributes(self.job) | dict(attrs or {})
        with self._lock:
            self._about.clear()
        for cell, steps in cells:
            name = cell_name(cell)
            mask = template(cell, steps, wanted)
            there = self._fetch(name)
            ids = {str(stamp(step)): list(steps[step]) if isinstance(steps, Mapping) else None for step in steps}
            about = {"cell": asdict(cell), "attrs": _plain(wanted), "steps": ids}
            if there is not None:
                check_same(_template(there), mask, target=self._label(name), advice=FORK)
                about = there | {"steps": there["steps"] | ids}
            if about != there:
                self._objects().put(f"{name}/{_ABOUT}", json.dumps(about, indent=1).encode())

    def read(self, what: Task | Record) -> Codes:
        """Return the codes that a file holds.

        Parameters
        ----------
        what
            A task, or its record.

        Returns
        -------
        numpy.ndarray
            (y, x) uint8.

        Raises
        ------
        ReadError
            There is no such file, or it is damaged.
        """
        name = cell_name(what.cell)
        upwards = _grid(self._known(name, ReadError)).transform[4] > 0
        codes = _read(self._objects(), f"{name}/{_file_name(name, what.time)}", upwards=upwards)
        if codes.shape != what.region.shape:
            raise ReadError(
                f"{self._label(name)}/{_file_name(name, what.time)} has {codes.shape} pixels (y, x). Expected "
                f"{what.region.shape}."
            )
        return codes

    def masks(self, cell: Cell | str) -> xr.DataArray:
        """Open the files of a cell that are there, lazily, in the order of time.

        Parameters
        ----------
        cell
            The cell, or its name.

        Returns
        -------
        DataArray

        Raises
        ------
        ReadError
            There is no file yet.
        """
        name = cell_name(cell)
        objects = self._objects()
        files = [file for file in objects.list(f"{name}/") if file.endswith(".tif")]
        if not files:
            raise ReadError(f"{self._label(name)} holds no masks yet.")
        if objects.folder is not None:
            return open_mask_files([str(objects.folder / file) for file in files])
        about = self._known(name, ReadError)
        times = {f"{name}/{_file_name(name, time)}": time for time in sorted(about["steps"])}
        return self._remote(about, {file: time for file, time in times.items() if file in set(files)})

    def _remote(self, about: Mapping[str, Any], files: Mapping[str, str]) -> xr.DataArray:
        """Open files of a URL through fsspec, each as one chunk: GDAL does not know its options."""
        from dask.delayed import delayed

        untyped: Any = da
        cell = _grid(about)
        read = partial(_read_url, self._url(), dict(options_of(self.job)), upwards=cell.transform[4] > 0)
        planes = [
            untyped.from_delayed(delayed(read, pure=True)(file), shape=cell.shape, dtype=np.uint8) for file in files
        ]
        mask = _template({**about, "steps": {time: about["steps"][time] for time in files.values()}})
        return mask.copy(data=untyped.stack(planes))

    def _put(self, task: Task, codes: Codes) -> None:
        name = cell_name(task.cell)
        if task.region.shape != tuple(task.cell.shape):
            raise ArgumentError(
                f"{task.name} is {task.region.shape} of {task.cell.shape} pixels. Expected a whole cell: a COG is "
                "written at once."
            )
        about = self._known(name, WriteError)
        mask = template(task.cell, {task.time: task.ids}, about["attrs"]).copy(data=codes[None])
        check_same(_template(about).isel(time=slice(0, 1)), mask, target=self._label(name), advice=FORK)
        platform = (task.sources[0].get("properties") or {}).get("platform") if task.sources else None
        if platform:
            mask = mask.assign_coords(platform=str(platform))
        file = f"{self._url()}/{name}/{_file_name(name, task.time)}"
        options = options_of(self.job) if self._objects().folder is None else None
        try:
            to_cog(mask, file, overwrite=True, storage_options=options)
        except WriteError as error:
            if isinstance(error.__cause__, OSError) and error.errno is None:
                error.errno = error.__cause__.errno
            raise

    def _known(self, name: str, kind: type[ReadError | WriteError]) -> dict[str, Any]:
        """Return what was written down of a cell."""
        with self._lock:
            found = self._about.get(name)
        if found is None:
            found = self._fetch(name)
            if found is None:
                raise kind(
                    f"{self._label(name)} was not prepared for masks of a campaign. Expected {_ABOUT} in it: start the "
                    "campaign again."
                )
            with self._lock:
                self._about[name] = found
        return found

    def _fetch(self, name: str) -> dict[str, Any] | None:
        data = self._objects().get(f"{name}/{_ABOUT}", limit=_ABOUT_BYTES)
        if data is None:
            return None
        try:
            about: dict[str, Any] = json.loads(data)
            _template(about)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ReadError(f"{self._label(name)}/{_ABOUT} tells of no cell: {error}.") from error
        return about

    def _objects(self) -> Objects:
        return open_objects(self._url(), self.job.storage_options)

    def _url(self) -> str:
        return address(self.job, MASKS)

    def _label(self, name: str) -> str:
        return f"{self._objects().label}/{name}"


def _file_name(cell: str, time: str) -> str:
    """Return the name of a file: by cell and time, so that a scene that was processed anew takes the place of it."""
    found: dt.datetime = stamp(time).astype(object)
    return f"{cell}_{found:%Y%m%dT%H%M%S}{f'{found:%f}' if found.microsecond else ''}.tif"


def _grid(about: Mapping[str, Any]) -> Cell:
    told = about["cell"]
    transform, shape = (tuple(told[key]) for key in ("transform", "shape"))
    return Cell(name=told["name"], crs=told["crs"], transform=transform, shape=shape)


def _template(about: Mapping[str, Any]) -> xr.DataArray:
    attrs = dict(about["attrs"])
    attrs["flag_values"] = np.asarray(attrs["flag_values"], np.uint8)
    steps = about["steps"]
    told = any(ids is not None for ids in steps.values())
    return template(_grid(about), {time: ids or () for time, ids in steps.items()} if told else list(steps), attrs)


def _plain(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in attrs.items()}


def _read_url(url: str, options: dict[str, Any], file: str, *, upwards: bool) -> Codes:
    return _read(open_objects(url, options), file, upwards=upwards)


def _read(objects: Objects, file: str, *, upwards: bool) -> Codes:
    """Read the codes of a file, in the order of the rows of its cell."""
    from rasterio.io import MemoryFile

    from xcloudmask.io._raster import file_turns

    label = f"{objects.label}/{file}"
    data = objects.get(file)
    if data is None:
        raise ReadError(f"{label} does not exist.")
    with naming(label, ReadError), file_turns.shared(), MemoryFile(data) as memory, memory.open() as opened:
        codes: Codes = opened.read(1)
    # In a file the northernmost row is the first.
    return codes[::-1] if upwards else codes
