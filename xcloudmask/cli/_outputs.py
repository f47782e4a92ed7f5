"""Outputs of the command line: what a name stands for, checked before the work, written, and opened again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import xarray as xr

from xcloudmask.cli._report import usage_error
from xcloudmask.errors import ReadError, WriteError
from xcloudmask.grid import time_dim
from xcloudmask.io._cogfolder import SIDECAR
from xcloudmask.io._identity import check_same
from xcloudmask.io._raster import is_url, name_of
from xcloudmask.io._staging import staged_folder
from xcloudmask.io.cog import cog_paths, open_cogs, to_cog
from xcloudmask.io.stores import open_store
from xcloudmask.io.zarr import ZARR_FILES, to_zarr

__all__ = ["OUTPUT_HELP", "check_output", "kind_of", "summary", "write_output"]

Kind = Literal["zarr", "icechunk", "cog", "cogs", "stac"]

OUTPUT_HELP = (
    "masks.zarr, masks.icechunk, mask.tif (COG), a folder ending in / (COGs), or masks/catalog.json (STAC and COGs)."
)
_SUFFIXES: dict[str, Kind] = {".zarr": "zarr", ".icechunk": "icechunk", ".tif": "cog", ".tiff": "cog"}
_CATALOGUES = ("catalog.json", "collection.json")


def kind_of(output: str) -> Kind:
    """Return what an output will be, from its name.

    Parameters
    ----------
    output
        As typed.

    Returns
    -------
    str
        ``"zarr"``, ``"icechunk"``, ``"cog"``, ``"cogs"`` or ``"stac"``.

    Raises
    ------
    ArgumentError
        The name does not tell.

    Examples
    --------
    >>> kind_of("masks.zarr"), kind_of("mask.tif"), kind_of("masks/"), kind_of("masks/catalog.json")
    ('zarr', 'cog', 'cogs', 'stac')
    """
    name = name_of(output.rstrip("/"))
    if name.name in _CATALOGUES:
        return "stac"
    if name.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[name.suffix.lower()]
    if output.endswith("/") or Path(output).is_dir():
        return "cogs"
    raise usage_error(f"OUTPUT {output}: expected {OUTPUT_HELP}")


def check_output(output: str, *, inputs: list[str], overwrite: bool, append: bool = False) -> None:
    """Refuse an output that cannot be, before anything is computed.

    Parameters
    ----------
    output, inputs, overwrite, append
        As typed.

    Raises
    ------
    ArgumentError
        The name does not tell the format, the output is one of the inputs, or the flags exclude each other.
    WriteError
        The output exists, or cannot be replaced.
    """
    kind = kind_of(output)
    if overwrite and append:
        raise usage_error("--overwrite and --append exclude each other. Leave one of them out.")
    if append and kind == "cog":
        raise usage_error(f"--append: {output} is one file. Give a store, or a folder ending in /.")
    if is_url(output):
        return
    path = Path(output)
    if path.resolve() in {Path(given).resolve() for given in inputs if not is_url(given)} and kind != "cogs":
        raise usage_error(f"OUTPUT {output} is one of the inputs. Give another name.")
    if kind == "cogs" or not path.exists() or append:
        return
    if not overwrite:
        more = "" if kind == "cog" else ", --append to add dates to it"
        raise WriteError(f"{output} exists. Type: --overwrite to replace it{more}, or another name.")
    if (
        kind == "zarr"
        and not any((path / name).exists() for name in ZARR_FILES)
        and (path.is_file() or any(path.iterdir()))
    ):
        raise WriteError(f"{output} exists and is no Zarr store, so it is not replaced. Give another name.")


def write_output(mask: xr.DataArray, output: str, *, overwrite: bool, append: bool = False) -> xr.DataArray:
    """Write a mask, computing it.

    Parameters
    ----------
    mask
        Lazy mask.
    output
        As typed.
    overwrite
        Whether what exists is replaced.
    append
        Whether the dates are added to what exists; dates that are there are replaced.

    Returns
    -------
    DataArray
        The mask as it was written, lazy; all dates of a store that was appended to.

    Raises
    ------
    WriteError
        The output exists, or cannot be written.
    """
    kind = kind_of(output)
    if kind in ("zarr", "icechunk"):
        how: dict[str, Any] = {"append_dim": _time_of(mask)} if append else {"mode": "w" if overwrite else "w-"}
        _store_writer(kind)(mask, output, **how)
        return open_store(output)
    if kind == "stac":
        from xcloudmask.stac.out import to_stac

        folder = Path(output).parent
        to_stac(mask, folder)
        return open_store(folder)
    if kind == "cogs" and not is_url(output):
        if append:
            _check_same_folder(mask, output)
        return open_cogs(_write_folder(mask, Path(output), overwrite=overwrite or append), like=mask)
    return open_cogs(to_cog(mask, output, overwrite=overwrite or append), like=mask)


def _store_writer(kind: Kind) -> Any:
    if kind == "zarr":
        return to_zarr
    from xcloudmask.io.icechunk import to_icechunk

    return to_icechunk


def _time_of(mask: xr.DataArray) -> str:
    time = time_dim(mask)
    if time is None:
        raise usage_error("--append adds dates, and the mask has no time. Leave --append out.")
    return time


def _check_same_folder(mask: xr.DataArray, output: str) -> None:
    """Refuse dates that were made in another way than those that a folder has."""
    if not Path(output).is_dir():
        return
    try:
        there = open_store(output)
    except ReadError:
        return  # nothing that is a mask of classes
    dim = time_dim(mask)
    if dim is not None and there.ndim < mask.ndim:
        there = there.expand_dims(dim)
    check_same(there, mask, target=output)


def _write_folder(mask: xr.DataArray, folder: Path, *, overwrite: bool) -> list[Path]:
    """Write all dates elsewhere first: they appear together or not at all."""
    finals = cog_paths(mask, folder)
    for final in finals:
        if final.exists() and not overwrite:
            raise WriteError(f"{final} exists. Type: --overwrite to replace it, or another folder.")
    with staged_folder(folder / "masks") as staged:
        for path, final in zip(to_cog(mask, staged), finals, strict=True):
            sidecar = path.with_name(path.name + SIDECAR)
            if sidecar.exists():
                sidecar.replace(final.with_name(final.name + SIDECAR))
            path.replace(final)
    return finals


def summary(mask: xr.DataArray) -> list[tuple[str, Any]]:
    """Return the clear fraction of each date of a mask of codes.

    Parameters
    ----------
    mask
        As written.

    Returns
    -------
    list of (str, float)
        Date, and clear fraction (NaN without data).
    """
    from xcloudmask.fractions import clear_fraction

    fraction = clear_fraction(mask).compute()
    values = fraction.values.reshape(-1).tolist()
    times = fraction.coords.get("time")
    if times is None or times.dtype.kind != "M":
        return [(str(index) if len(values) > 1 else "", value) for index, value in enumerate(values)]
    stamps = times.values.astype("M8[m]").reshape(-1)
    shown = ["no date" if stamp != stamp else str(stamp).replace("T", " ") for stamp in stamps]  # noqa: PLR0124  # NaT
    return [(stamp, value) for stamp, value in zip(shown, values, strict=True)]
