"""What others take from a campaign: a STAC catalogue of its masks, a table of its statistics."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xcloudmask._optional import require
from xcloudmask._tables import html_table
from xcloudmask.classes import get_style
from xcloudmask.errors import ArgumentError, InputError
from xcloudmask.run.index import LedgerIndex
from xcloudmask.run.manifest import Manifest
from xcloudmask.run.place import Campaign, chosen_cells, current_records, open_campaign
from xcloudmask.run.stores._cells import MASKS, address, cell_name, stamp
from xcloudmask.run.stores.base import Sink, open_sink
from xcloudmask.run.stores.cog import _file_name as cog_name
from xcloudmask.run.tables import check_table, write_table
from xcloudmask.run.task import Cell, Record

if TYPE_CHECKING:
    from xcloudmask.run.config import CampaignConfig

__all__ = ["Export", "export"]

Store = str | PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What `export` wrote."""

    items: int = 0
    """STAC items."""
    collections: int = 0
    """STAC collections: one for each cell."""
    left_out: int = 0
    """Time steps of which a region is missing, or all are nodata: they have no item."""
    rows: int = 0
    """Of the table."""
    catalogue: str = ""
    """Path of the catalogue; empty where none was wanted."""
    table: str = ""
    """Path of the table; empty where none was wanted."""

    def rows_of_text(self) -> list[tuple[str, str]]:
        """Return what was written as pairs of a label and a text."""
        rows = []
        if self.catalogue:
            rows.append(("catalogue", f"{self.catalogue}: {self.items:,} items, collections: {self.collections:,}"))
            rows.append(("left out", f"{self.left_out:,} time steps that are not complete, or have no data"))
        if self.table:
            rows.append(("table", f"{self.table}: {self.rows:,} rows"))
        return rows

    def __str__(self) -> str:
        """Return a page of text."""
        return "\n".join(f"{label:<12} {text}" for label, text in self.rows_of_text())

    def __repr__(self) -> str:
        """Return one line."""
        return f"<Export {self.items:,} STAC items, {self.rows:,} rows>"

    def _repr_html_(self) -> str:
        return html_table("Export", self.rows_of_text())


def export(
    campaign: Store | CampaignConfig,
    *,
    stac: Store | None = None,
    table: Store | None = None,
    cells: Collection[str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Export:
    """Write a STAC catalogue of the masks, a table of their statistics, or both.

    Parameters
    ----------
    campaign
        Configuration, or store.
    stac
        Folder of the catalogue: a collection for each cell, an item for each time step all of whose regions are done.
        Items lead to the Zarr store or the COGs where they are; COGs of remote stores, and masks in Icechunk, are
        written into the catalogue as COGs. They link to the items that were masked (``derived_from``), where those have
        an address. A second call adds what is new.
    table
        File that ends in ``.parquet`` or ``.csv``: a row for each region, with shares of classes, seconds, digest.
    cells
        Only these cells; None for all.
    storage_options
        For fsspec, where `campaign` is a URL.

    Returns
    -------
    Export

    Raises
    ------
    ArgumentError
        A cell is unknown, a name tells no format, or nothing is wanted.
    InputError
        No time step is complete.
    MissingPackageError
        Parquet needs pyarrow, a catalogue pystac.
    ReadError, WriteError
        There is no campaign, its masks cannot be read, or a file cannot be written.

    Examples
    --------
    >>> export("campaign", stac="catalogue", table="statistics.parquet")  # doctest: +SKIP
    <Export 212 STAC items, 4,216 rows>
    """
    if stac is None and table is None:
        raise ArgumentError("Nothing to write. Expected stac='catalogue', table='statistics.parquet', or both.")
    if table is not None:
        check_table(Path(table))
    if stac is not None:
        require("pystac", extra="stac")
    found = open_campaign(campaign, storage_options)
    done: dict[str, Any] = {}
    with found.manifest() as manifest, found.index(contents=True) as index:
        names = chosen_cells(manifest, cells)
        if table is not None:
            done |= {"table": str(table), "rows": _write_table(found, manifest, index, Path(table), names)}
        if stac is not None:
            done |= {"catalogue": str(Path(stac) / "catalog.json")} | _write_catalogue(
                found, manifest, index, stac, names
            )
    return Export(**done)


def _write_table(found: Campaign, manifest: Manifest, index: LedgerIndex, path: Path, names: list[str]) -> int:
    classes = get_style(str(found.job.options.get("output_style", "4-class"))).meanings
    return write_table(current_records(manifest, index, cells=names), path, classes=classes)


def _write_catalogue(
    found: Campaign, manifest: Manifest, index: LedgerIndex, folder: Store, names: list[str]
) -> dict[str, int]:
    """Write a collection for each cell; return how much was written."""
    from xcloudmask.stac.out import to_stac

    unfinished: dict[str, set[str]] = {}
    for task in manifest.tasks(without=index.path):
        unfinished.setdefault(task.cell.name, set()).add(task.time)
    sink, counts = open_sink(found.job), {"items": 0, "collections": 0, "left_out": 0}
    for cell, times in manifest.cells():
        if cell.name not in names:
            continue
        records = current_records(manifest, index, cells=[cell.name])
        complete = _complete(records, unfinished.get(cell.name, set()))
        counts["left_out"] += len(times) - len(complete)
        if not complete:
            continue
        masks, where = _masks(found, sink, cell, complete)
        items = _addressed(manifest, cell, complete)
        to_stac(masks, folder, collection_id=cell_name(cell), source_items=items, **where)
        counts["items"] += len(complete)
        counts["collections"] += 1
    if not counts["items"]:
        raise InputError(f"{found.label}: no time step is complete yet. Type: xcloudmask run status {found.label}")
    return counts


def _addressed(manifest: Manifest, cell: Cell, times: set[str]) -> list[dict[str, Any]]:
    """Return the items of some time steps that say where they lie."""
    ids = {name for step in manifest.steps(cell.name) if step.time in times for name in step.ids}
    return [item for item in manifest.documents(cell.name) if item.get("links") and item["id"] in ids]


def _complete(records: Iterable[Record], unfinished: set[str]) -> set[str]:
    """Return the times of a cell that have a mask, all of it."""
    seen, bad = set(), set(unfinished)
    for record in records:
        if record.status == "ok":
            seen.add(record.time)
        elif record.status != "nodata":
            bad.add(record.time)
    return seen - bad


def _masks(found: Campaign, sink: Sink, cell: Cell, times: set[str]) -> tuple[Any, dict[str, Any]]:
    """Return what `to_stac` makes items of, and where they lead."""
    folder = found.place.objects.folder
    if found.job.kind == "cog" and folder is not None:
        return [folder / MASKS / cell.name / cog_name(cell.name, time) for time in sorted(times)], {}
    masks = _pick(sink.masks(cell), times)
    # Icechunk, and COGs of remote stores, are written into the catalogue.
    where: dict[str, Any] = {"ids": _names(masks, cell)}
    if found.job.kind == "zarr":
        where["store"] = address(found.job, MASKS, f"{cell_name(cell)}.zarr")
    return masks, where


def _names(masks: xr.DataArray, cell: Cell) -> list[str] | None:
    """Return names of items where those of their scenes do not serve: a cube has one for all, a day several."""
    scenes = [str(name) for name in np.atleast_1d(masks["item_id"].values)] if "item_id" in masks.coords else [""]
    if len(set(scenes)) == masks.sizes["time"] and all(scene and " " not in scene for scene in scenes):
        return None
    stamps = [str(time.astype("M8[s]")) for time in masks["time"].values]
    return [f"{cell_name(cell)}_{stamp.replace('-', '').replace(':', '')}_cloud_mask" for stamp in stamps]


def _pick(masks: xr.DataArray, times: set[str]) -> xr.DataArray:
    wanted = np.array(sorted(stamp(time) for time in times), "M8[ns]")
    here = np.isin(masks["time"].values.astype("M8[ns]"), wanted)
    return masks.isel(time=np.flatnonzero(here))
