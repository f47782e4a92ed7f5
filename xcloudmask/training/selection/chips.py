"""Chips: small images cut from a cube or from a folder of patches. Nothing is read before a chip is ranked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.delayed import delayed

from xcloudmask.errors import ArgumentError, InputError, ReadError
from xcloudmask.grid import spatial_dims, time_dim
from xcloudmask.options import Bands, Nodata, ResolutionM
from xcloudmask.training.data import read_table

__all__ = ["CHIP_PX", "Chip", "cut_cube", "patch_chips"]

CHIP_PX = 256
"""Side of a chip."""
_SMALLEST_PX = 16
_SCALE = 1e-4
"""Patches hold reflectance * 10,000."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chip:
    """One image of one date, and how to read it."""

    name: str
    """File or cube that it was cut from."""
    cube: xr.DataArray | xr.Dataset
    """Bands of (y, x), as `xcloudmask.predict` takes them; lazy or not."""
    time: str = ""
    """Date, in ISO 8601; the number of the time step where dates are unknown; empty without time."""
    y_px: int = 0
    """First row, in pixels of the cube."""
    x_px: int = 0
    """First column."""
    bands: Bands | None = None
    """As in `xcloudmask.predict`."""
    sensor: str | None = None
    """As in `xcloudmask.predict`."""
    nodata: Nodata | None = None
    """As in `xcloudmask.predict`."""
    resolution_m: ResolutionM | None = None
    """As in `xcloudmask.predict`."""


def cut_cube(
    cube: xr.DataArray | xr.Dataset,
    *,
    name: str,
    chip_px: int = CHIP_PX,
    bands: Bands | None = None,
    sensor: str | None = None,
    nodata: Nodata | None = None,
    resolution_m: ResolutionM | None = None,
) -> list[Chip]:
    """Cut a cube into chips, date by date, row by row, without overlap.

    Parameters
    ----------
    cube
        (y, x) or (time, y, x) with bands, as in `xcloudmask.predict`.
    name
        Name of the cube.
    chip_px
        Side of a chip. The last chips of a row and a column reach back, so that all have this size; a cube that is
        smaller is one chip.
    bands, sensor, nodata, resolution_m
        As in `xcloudmask.predict`.

    Returns
    -------
    list of Chip

    Raises
    ------
    ArgumentError
        `chip_px` is too small.
    InputError
        The object has no y and x.

    Examples
    --------
    >>> cube = xr.Dataset({"red": (("y", "x"), np.zeros((100, 64)))})
    >>> [(chip.y_px, chip.x_px) for chip in cut_cube(cube, name="a", chip_px=64)]
    [(0, 0), (36, 0)]
    """
    if chip_px < _SMALLEST_PX:
        raise ArgumentError(f"chip_px={chip_px} is too small. Expected {_SMALLEST_PX} or more.")
    y, x = spatial_dims(cube)
    time = time_dim(cube)
    chips = []
    for step, date in enumerate(_dates(cube, time)):
        image = cube if time is None else cube.isel({time: step})
        for row in _starts(cube.sizes[y], chip_px):
            for column in _starts(cube.sizes[x], chip_px):
                window = image.isel({y: slice(row, row + chip_px), x: slice(column, column + chip_px)})
                chips.append(
                    Chip(
                        name=name,
                        cube=window,
                        time=date,
                        y_px=row,
                        x_px=column,
                        bands=bands,
                        sensor=sensor,
                        nodata=nodata,
                        resolution_m=resolution_m,
                    )
                )
    return chips


def _dates(cube: xr.DataArray | xr.Dataset, time: str | None) -> list[str]:
    if time is None:
        return [""]
    stamps = cube.coords.get(time)
    if stamps is None or stamps.dtype.kind != "M":
        return [str(step) for step in range(cube.sizes[time])]
    return [str(stamp) for stamp in stamps.values.astype("M8[s]")]


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    return [min(start, length - side) for start in range(0, length, side)]


def patch_chips(folder: Path, *, splits: tuple[str, ...] = ("unlabelled",), chip_px: int = CHIP_PX) -> list[Chip]:
    """Cut the patches of a folder into chips; labels are not looked at.

    Parameters
    ----------
    folder
        With patches.csv and patches/.
    splits
        Values of the column `split`.
    chip_px
        Side of a chip.

    Returns
    -------
    list of Chip

    Raises
    ------
    ReadError
        The table is missing, a column of it is, or no patch is of these splits.
    """
    rows = read_table(folder)
    chosen = [row for row in rows if row.get("split") in splits]
    if not chosen:
        found = ", ".join(sorted({row.get("split", "") for row in rows})) or "none"
        raise ReadError(f"{folder} has no patch of split {', '.join(splits)}. Splits found: {found}.")
    chips = []
    for row in chosen:
        try:
            cube, resolution_m = _patch_cube(folder, row), float(row["res_m"])
        except (KeyError, ValueError) as error:
            raise ReadError(
                f"{folder / 'patches.csv'} cannot be used: {error}. Expected the columns split, name, bands, h, w and "
                "res_m."
            ) from error
        chips += cut_cube(cube, name=row["name"], chip_px=chip_px, resolution_m=resolution_m)
    return chips


def _patch_cube(folder: Path, row: dict[str, str]) -> xr.Dataset:
    names = row["bands"].split()
    path = folder / "patches" / f"{row['name']}.npz"
    shape = (len(names), int(row["h"]), int(row["w"]))
    pixels = da.from_delayed(delayed(_read_patch, pure=True)(str(path), names), shape=shape, dtype=np.float32)
    attrs = {"scale_factor": _SCALE, "add_offset": 0.0}
    return xr.Dataset({name: (("y", "x"), pixels[index], attrs) for index, name in enumerate(names)})


def _read_patch(path: str, names: list[str]) -> npt.NDArray[np.float32]:
    """(band, y, x), NaN without data."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            there = [str(name) for name in arrays["bands"]]
            image = arrays["img"][[there.index(name) for name in names]].astype(np.float32)
            valid = arrays["valid"]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read: {error}. Expected img (band, y, x), bands and valid, as patches.csv says."
        ) from error
    return np.where(valid, image, np.float32(np.nan))
