"""Chosen chips as a table, as GeoTIFFs for a labelling tool, and as a contact sheet."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudmask._files import partial_file
from xcloudmask._optional import require
from xcloudmask._pictures import is_valid, stretch
from xcloudmask.bands import select_bands
from xcloudmask.errors import BandNotFoundError, NotACubeError, WriteError
from xcloudmask.grid import spatial_dims
from xcloudmask.io._georef import affine_of, crs_of
from xcloudmask.io._raster import open_quietly
from xcloudmask.radiometry import declared_nodata, nodata_values
from xcloudmask.sensors import get_sensor
from xcloudmask.training.selection.chips import Chip
from xcloudmask.training.selection.rank import RankedChip

__all__ = ["COLUMNS", "chip_name", "save_sheet", "write_chip", "write_table"]

COLUMNS = ("rank", "file", "time", "y_px", "x_px", "uncertainty", "distance", "score", "valid_share")
"""Columns of the table."""

_SHOWN = (("red", "green", "blue"), ("nir", "red", "green"), ("red", "green", "green"), ("red", "red", "red"))
_SHEET_COLUMNS = 5
_PANEL_INCHES = 2.2


def write_table(ranked: Sequence[RankedChip], path: Path) -> Path:
    """Write the ranking as CSV.

    Parameters
    ----------
    ranked
        What `rank_chips` returns.
    path
        File to write; it appears when it is complete.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    WriteError
        The file cannot be written.
    """
    with partial_file(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for one in ranked:
            figures = (one.uncertainty, one.distance, one.score, one.valid_share)
            place = (one.chip.name, one.chip.time, one.chip.y_px, one.chip.x_px)
            writer.writerow([one.rank, *place, *("" if np.isnan(value) else f"{value:.4f}" for value in figures)])
    return path


def chip_name(ranked: RankedChip) -> str:
    """Name the file of a chip.

    Parameters
    ----------
    ranked
        A ranked chip.

    Returns
    -------
    str
        Such as ``001_scene_20180901T105619_y256_x0.tif``.
    """
    chip = ranked.chip
    time = chip.time.replace("-", "").replace(":", "")
    parts = [f"{ranked.rank:03d}", Path(chip.name).stem, time, f"y{chip.y_px}", f"x{chip.x_px}"]
    return "_".join(part for part in parts if part) + ".tif"


def write_chip(chip: Chip, path: Path) -> Path:
    """Write a chip as GeoTIFF: all its bands by name, as stored, with nodata, scale, CRS and place.

    Parameters
    ----------
    chip
        The chip, whose cube is a Dataset with a variable for each band.
    path
        File to write; it appears when it is complete.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    NotACubeError
        The cube is no Dataset.
    WriteError
        The file cannot be written.
    MissingPackageError
        rasterio is not installed.
    """
    if not isinstance(chip.cube, xr.Dataset):
        raise NotACubeError("The chip is a DataArray. Expected a Dataset with a variable for each band.")
    rasterio = require("rasterio", extra="cog")
    bands = _bands(chip.cube)
    first = next(iter(bands.values()))
    pixels, nodata = _pixels(chip, bands)
    affine, crs = affine_of(first), crs_of(first)
    profile = {
        "driver": "GTiff",
        "count": len(pixels),
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": pixels.dtype,
        "nodata": nodata,
        "crs": None if crs is None else crs.to_wkt(),
        "compress": "deflate",
    }
    if affine is not None:
        profile["transform"] = rasterio.Affine(*affine)
    with partial_file(path) as partial, open_quietly(str(partial), "w", **profile) as target:
        target.write(pixels)
        target.descriptions = tuple(bands)
        target.scales = tuple(float(band.attrs.get("scale_factor", 1.0)) for band in bands.values())
        target.offsets = tuple(float(band.attrs.get("add_offset", 0.0)) for band in bands.values())
    return path


def _bands(cube: xr.Dataset) -> dict[str, xr.DataArray]:
    y, x = spatial_dims(cube)
    return {str(name): array.transpose(y, x) for name, array in cube.data_vars.items() if {y, x} == set(array.dims)}


def _pixels(chip: Chip, bands: dict[str, xr.DataArray]) -> tuple[npt.NDArray[Any], float | None]:
    """All bands in one type with one nodata value, as a GeoTIFF has it."""
    values = [_nodata_of(chip, name, band) for name, band in bands.items()]
    common = next((value for value in values if value is not None), None)
    loaded = xr.Dataset(bands).compute()
    planes = [np.array(loaded[name].values) for name in bands]
    for plane, value in zip(planes, values, strict=True):
        if value is not None and not np.isnan(value) and value != common:
            plane[plane == value] = common
    return np.stack(planes), common


def _nodata_of(chip: Chip, name: str, band: xr.DataArray) -> float | None:
    """As given, as declared, as the sensor has it; floats know NaN in any case."""
    if isinstance(chip.nodata, int | float):
        return float(chip.nodata)
    known = None if chip.sensor is None else get_sensor(chip.sensor).find(name)
    value = declared_nodata(band, known)
    return float("nan") if value is None and band.dtype.kind == "f" else value


def save_sheet(ranked: Sequence[RankedChip], path: Path) -> Path:
    """Write a picture of the chips in the order of their rank, all in one stretch.

    Parameters
    ----------
    ranked
        What `rank_chips` returns; at least one.
    path
        File to write; it appears when it is complete.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    WriteError
        The file cannot be written, or there is no chip.
    MissingPackageError
        matplotlib is not installed.
    """
    if not ranked:
        raise WriteError(f"{path} is not written: no chip was chosen.")
    figure = require("matplotlib.figure", extra="viz").Figure(layout="constrained")
    columns = min(_SHEET_COLUMNS, len(ranked))
    rows = -(-len(ranked) // columns)
    figure.set_size_inches(columns * _PANEL_INCHES, rows * (_PANEL_INCHES + 0.4))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for place, one, picture in zip(axes, ranked, _pictures([one.chip for one in ranked]), strict=False):
        place.imshow(picture, interpolation="nearest")
        place.set_title(f"{one.rank}: {_short(one.chip)}\nuncertainty {one.uncertainty:.2f}", fontsize=7)
    for place in axes:
        place.set_axis_off()
    with partial_file(path) as partial:
        figure.savefig(partial, dpi=120)
    return path


def _short(chip: Chip) -> str:
    name = Path(chip.name).stem
    return name if len(name) <= 24 else f"...{name[-21:]}"


def _pictures(chips: Sequence[Chip]) -> Iterator[npt.NDArray[np.uint8]]:
    """One stretch for all chips: an overcast one is white, not stretched to whatever it has."""
    shown = [_shown(chip) for chip in chips]
    valid = [seen for _, seen in shown]
    joined = [np.concatenate([bands[index].ravel() for bands, _ in shown])[None] for index in range(3)]
    colours = stretch(joined, np.concatenate([seen.ravel() for seen in valid])[None])[0]
    start = 0
    for seen in valid:
        yield colours[start : start + seen.size].reshape(*seen.shape, 3)
        start += seen.size


def _shown(chip: Chip) -> tuple[list[npt.NDArray[Any]], npt.NDArray[np.bool_]]:
    """Three bands of a chip, and where they have data."""
    given = chip.bands if isinstance(chip.bands, dict) else None
    for roles in _SHOWN:
        unique = tuple(dict.fromkeys(roles))
        asked = {role: given[role] for role in unique if role in given} if given else None
        try:
            selection = select_bands(chip.cube, roles=unique, bands=asked or None, sensor=chip.sensor)
        except BandNotFoundError:
            continue
        if any(array is None for array in selection.arrays):
            continue
        values = nodata_values(selection, sensor=chip.sensor)
        arrays = [array.compute().values for array in selection.arrays if array is not None]
        found = dict(zip(unique, arrays, strict=True))
        seen = np.logical_and.reduce([is_valid(band, value) for band, value in zip(arrays, values, strict=True)])
        return [found[role] for role in roles], seen
    raise BandNotFoundError(f"{chip.name} has no band that can be shown. Expected red, green and blue, or red.")
