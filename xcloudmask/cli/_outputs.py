"""Outputs of the command line: written beside the target, and renamed when they are complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from xcloudmask.cli._report import usage_error
from xcloudmask.errors import WriteError
from xcloudmask.io._cogfolder import SIDECAR
from xcloudmask.io._raster import is_url, name_of
from xcloudmask.io._staging import staged_folder
from xcloudmask.io.cog import cog_paths, open_cogs, to_cog
from xcloudmask.io.zarr import ZARR_FILES, open_mask, to_zarr

__all__ = ["check_output", "write_output"]

COG_SUFFIXES = (".tif", ".tiff")


def kind_of(output: str) -> str:
    """Return what an output will be, from its name.

    Parameters
    ----------
    output
        As typed.

    Returns
    -------
    str
        ``"zarr"``, ``"cog"`` or ``"cogs"``.

    Raises
    ------
    ArgumentError
        The name does not tell.

    Examples
    --------
    >>> kind_of("masks.zarr"), kind_of("mask.tif"), kind_of("masks/")
    ('zarr', 'cog', 'cogs')
    """
    suffix = name_of(output).suffix.lower()
    if suffix == ".zarr":
        return "zarr"
    if suffix in COG_SUFFIXES:
        return "cog"
    if output.endswith("/") or Path(output).is_dir():
        return "cogs"
    raise usage_error(
        f"OUTPUT {output}: expected masks.zarr, mask.tif (COG), or a folder ending in / (a COG per date)."
    )


def check_output(output: str, *, inputs: list[str], overwrite: bool) -> None:
    """Refuse an output that cannot be, before anything is computed.

    Parameters
    ----------
    output, inputs, overwrite
        As typed.

    Raises
    ------
    ArgumentError
        The name does not tell the format, or the output is one of the inputs.
    WriteError
        The output exists, or cannot be replaced.
    """
    kind = kind_of(output)
    if is_url(output):
        return
    path = Path(output)
    if path.resolve() in {Path(given).resolve() for given in inputs if not is_url(given)} and kind != "cogs":
        raise usage_error(f"OUTPUT {output} is one of the inputs. Give another name.")
    if kind == "cogs" or not path.exists():
        return
    if not overwrite:
        raise WriteError(f"{output} exists. Type: --overwrite to replace it, or another name.")
    if (
        kind == "zarr"
        and not any((path / name).exists() for name in ZARR_FILES)
        and (path.is_file() or any(path.iterdir()))
    ):
        raise WriteError(f"{output} exists and is no Zarr store, so it is not replaced. Give another name.")


def write_output(mask: xr.DataArray, output: str, *, overwrite: bool) -> xr.DataArray:
    """Write a mask, computing it.

    Parameters
    ----------
    mask
        Lazy mask.
    output
        As typed.
    overwrite
        Whether what exists is replaced.

    Returns
    -------
    DataArray
        The mask as it was written, lazy.

    Raises
    ------
    WriteError
        The output exists, or cannot be written.
    """
    kind = kind_of(output)
    if kind == "zarr":
        to_zarr(mask, output, mode="w" if overwrite else "w-")
        return open_mask(output)
    if kind == "cog":
        return open_cogs(to_cog(mask, output, overwrite=overwrite), like=mask)
    return open_cogs(_write_folder(mask, Path(output), overwrite=overwrite), like=mask)


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
    return [(str(stamp).replace("T", " "), value) for stamp, value in zip(stamps, values, strict=True)]
