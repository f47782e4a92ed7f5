"""Which masks there are, and what their items are called: decided before any pixel is computed or file is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xcloudmask.classes import CLASS_DIM, OutputStyle
from xcloudmask.errors import ArgumentError, ArgumentTypeError, NotACubeError, ReadError
from xcloudmask.grid import spatial_dims, time_dim
from xcloudmask.io._raster import is_url, open_quietly
from xcloudmask.io.zarr import ZARR_FILES, check_writable, open_mask
from xcloudmask.masks import to_style
from xcloudmask.stac.out._facts import Facts, When, facts_of_array, facts_of_tags
from xcloudmask.stac.out._names import check_name, safe_name

__all__ = ["Planned", "plan_items"]

Masks = xr.DataArray | str | PathLike[str] | Sequence[str | PathLike[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One mask that becomes an item."""

    name: str
    """Id of the item, safe as a name of files."""
    facts: Facts
    """What is known of it."""
    array: xr.DataArray | None = None
    """Its pixels; None where they are in a COG."""
    cog: Path | None = None
    """The COG that is there already."""
    store: str | None = None
    """The Zarr store that its pixels are in."""
    consolidated: bool = False
    """Whether the store has consolidated metadata."""


def plan_items(
    masks: Masks, *, style: OutputStyle | None, ids: Sequence[str] | None, when: When | None
) -> list[Planned]:
    """Return what is to be written, in order.

    Parameters
    ----------
    masks
        As for `to_stac`.
    style
        Output style that masks in memory are turned into.
    ids
        Names of the items, or None.
    when
        Time of a mask without time.

    Returns
    -------
    list of Planned

    Raises
    ------
    ArgumentError, ArgumentTypeError
        Names are missing, given twice, or not safe; a time is missing.
    """
    if isinstance(masks, xr.DataArray):
        planned = _of_array(masks if style is None else to_style(masks, style), when)
    elif isinstance(masks, xr.Dataset):
        raise NotACubeError("This is a Dataset. Expected its mask, such as dataset['cloud_mask'].")
    else:
        if style is not None:
            raise ArgumentError("style= is for masks in memory. Files stay as they are: open_mask(...), then to_style.")
        planned = _of_paths(masks, when)
    if not planned:
        raise ArgumentError("There is no mask. Expected one date or one file at least.")
    named = _named(planned, ids)
    for one in named:
        if one.facts.when is None:
            raise ArgumentError(
                f"The mask {one.name!r} does not say when its image was taken, and an item needs it. Type: "
                "datetime='2024-06-01T10:50:31Z', or a span: datetime='2024-06-01/2024-06-30'"
            )
    return named


def _of_store(store: str, when: When | None) -> list[Planned]:
    import zarr

    planned = _of_array(open_mask(store), when)
    consolidated = zarr.open_group(store, mode="r").metadata.consolidated_metadata is not None
    return [replace(one, store=store, consolidated=consolidated) for one in planned]


def _of_array(mask: xr.DataArray, when: When | None) -> list[Planned]:
    check_writable(mask)
    if mask.dtype != np.uint8:
        raise NotACubeError(
            f"Items hold codes or percentages (uint8), not {mask.dtype}. Type: predict(categorise=False)"
        )
    time = time_dim(mask)
    others = [str(dim) for dim in mask.dims if dim not in (*spatial_dims(mask), time, CLASS_DIM)]
    if others:
        raise NotACubeError(
            f"The mask has a dimension {others[0]!r} beside time, y and x. Type: mask.isel({others[0]}=0)"
        )
    if time is None:
        dates = [mask]
    else:
        if when is not None and time in mask.coords:
            raise ArgumentError(f"datetime= is for a mask without time; this one has {time!r}. Leave it out.")
        if when is not None and mask.sizes[time] != 1:
            raise ArgumentError(f"datetime= is one time, and the mask has {mask.sizes[time]}. Give it coordinates.")
        dates = [mask.isel({time: step}) for step in range(mask.sizes[time])]
    found = []
    for date in dates:
        facts = facts_of_array(date.rename({time: "time"}) if time in date.coords else date, when=when)
        found.append(Planned(name=_default_name(facts), facts=facts, array=date))
    return found


def _of_paths(masks: Any, when: When | None) -> list[Planned]:
    paths = [masks] if isinstance(masks, str | PathLike) else list(masks)
    if not all(isinstance(path, str | PathLike) for path in paths):
        raise ArgumentTypeError(
            f"masks={masks!r:.80} is no mask. Expected a DataArray, a Zarr store, or GeoTIFFs that to_cog wrote."
        )
    if len(paths) == 1 and _is_zarr(fspath(paths[0])):
        return _of_store(fspath(paths[0]), when)
    files = [file for path in paths for file in _files(fspath(path))]
    if when is not None and len(files) > 1:
        raise ArgumentError(f"datetime= is one time, and there are {len(files)} files.")
    return [_of_file(file, when) for file in files]


def _is_zarr(path: str) -> bool:
    if is_url(path):
        return not path.lower().endswith((".tif", ".tiff"))
    return any((Path(path) / name).exists() for name in ZARR_FILES)


def _files(path: str) -> Iterator[Path]:
    if is_url(path):
        raise ArgumentError(f"{path} is a URL. Expected local files; their items can be copied along with them.")
    if not Path(path).exists():
        raise ReadError(f"{path} does not exist.")
    if not Path(path).is_dir():
        yield Path(path)
        return
    files = sorted(file for file in Path(path).iterdir() if file.suffix.lower() in (".tif", ".tiff"))
    if not files:
        raise ReadError(
            f"The folder {path} is no Zarr store and has no GeoTIFF. Expected what to_cog or to_zarr wrote."
        )
    yield from (file for file in files if not file.name.startswith("."))


def _of_file(path: Path, when: When | None) -> Planned:
    facts = read_facts(path)
    if facts.when is None and when is not None:
        facts = replace(facts, when=when)
    return Planned(name=safe_name(path.stem), facts=facts, cog=path)


def read_facts(path: Path) -> Facts:
    """Return what the header of a COG tells.

    Raises
    ------
    ReadError
        It is no mask, or cannot be read.
    """
    from rasterio.errors import RasterioError

    try:
        with open_quietly(str(path), driver="GTiff") as source:
            return facts_of_tags(source, path)
    except (RasterioError, OSError) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{path} cannot be read: {error}") from error


def _default_name(facts: Facts) -> str:
    kind = "cloud_percent" if facts.classes else "cloud_mask"
    if facts.source:
        return safe_name(f"{facts.source}_{kind}")
    if facts.when is None:
        return kind
    ends = [end.replace("-", "").replace(":", "").removesuffix("Z") for end in (facts.when.first, facts.when.last)]
    return safe_name("_".join([kind, *dict.fromkeys(ends)]))


def _named(planned: list[Planned], ids: Sequence[str] | None) -> list[Planned]:
    if ids is not None:
        if isinstance(ids, str) or len(ids) != len(planned):
            count = 1 if isinstance(ids, str) else len(ids)
            raise ArgumentError(f"ids has {count} names for {len(planned)} masks. Expected a list with one for each.")
        planned = [replace(one, name=check_name(name, "ids")) for one, name in zip(planned, ids, strict=True)]
    seen: set[str] = set()
    for one in planned:
        # Some disks do not tell "a" from "A".
        if one.name.casefold() in seen:
            raise ArgumentError(
                f"Two masks would be the item {one.name!r}. Give each a name of its own: ids=['...', '...']"
            )
        seen.add(one.name.casefold())
    return planned
