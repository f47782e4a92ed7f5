"""`xcloudmask stats`."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import xarray as xr
from rich.measure import Measurement
from rich.table import Table

from xcloudmask.classes import CLASS_DIM
from xcloudmask.cli import _options as opt
from xcloudmask.cli._progress import progress, scheduling
from xcloudmask.cli._report import reporting, stdout, usage_error
from xcloudmask.cli.report import StoreArgument
from xcloudmask.grid import time_dim

__all__ = ["stats"]

Row = dict[str, Any]

_BATCH_CHUNKS = 4096
"""Chunks counted in one graph."""
_TEXTS = ("item_id", "platform")
_NODATA = "nodata"
_SHOWN = 120
"""Characters of a text in the table."""
_WIDEST = 10_000


@reporting
def stats(
    store: StoreArgument,
    *,
    geometry: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", show_default=False, help="GeoJSON in degrees: count inside; each feature for itself."
        ),
    ] = None,
    bbox: Annotated[
        str | None, typer.Option(metavar="W,S,E,N", show_default=False, help="Count inside, in degrees.")
    ] = None,
    tile: Annotated[
        int | None, typer.Option(metavar="PX", min=1, show_default=False, help="Count in tiles of so many pixels.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    workers: opt.WorkersOption = None,
    scheduler: opt.SchedulerOption = "threads",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Count the classes of each date: shares of the pixels with data, and of those without."""
    from xcloudmask.io.stores import open_store

    if sum((geometry is not None, bbox is not None, tile is not None)) > 1:
        raise usage_error("--geometry, --bbox and --tile exclude each other. Leave all but one out.")
    if as_json and as_csv:
        raise usage_error("--json and --csv exclude each other. Leave one of them out.")
    area = _box(bbox) if bbox is not None else _shapes(geometry) if geometry is not None else None
    mask = open_store(store)
    with scheduling(scheduler, workers) as client, progress("Counting", client, quiet=quiet):
        parts = [_counted(part, geometry=area, tile_px=tile) for part in _parts(mask)]
    rows = [row for part in parts for row in _rows(part, time=time_dim(mask))]
    if as_json:
        # Not through rich, which would wrap long lines. ASCII: what steers a terminal is escaped.
        typer.echo(json.dumps(rows, indent=2))
    elif as_csv:
        typer.echo(_csv(rows), nl=False)
    else:
        _print(rows, [*parts[0][CLASS_DIM].values, _NODATA])


def _box(text: str) -> dict[str, Any]:
    try:
        sides = [float(part) for part in text.split(",")]
    except ValueError:
        sides = []
    if len(sides) != 4 or not all(map(math.isfinite, sides)) or sides[0] >= sides[2] or sides[1] >= sides[3]:
        raise usage_error(f"--bbox {text}: expected west,south,east,north in degrees, such as --bbox 9,47,9.5,47.5")
    west, south, east, north = sides
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def _shapes(path: str) -> dict[str, Any]:
    if not Path(path).is_file():
        raise usage_error(f"--geometry {path}: there is no such file.")
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise usage_error(f"--geometry {path}: no JSON ({error}).") from None
    if not isinstance(found, dict) or "type" not in found:
        raise usage_error(f"--geometry {path}: expected GeoJSON, a geometry, a Feature or a FeatureCollection.")
    return found


def _parts(mask: xr.DataArray) -> Iterator[xr.DataArray]:
    """Yield some dates at a time, so that no graph grows without end."""
    dim = time_dim(mask)
    if dim is None:
        yield mask
        return
    data: Any = mask.data
    each = data.npartitions // len(data.chunks[mask.get_axis_num(dim)]) if mask.chunks is not None else 1
    step = max(1, _BATCH_CHUNKS // max(each, 1))
    for start in range(0, mask.sizes[dim], step):
        yield mask.isel({dim: slice(start, start + step)})


def _counted(mask: xr.DataArray, *, geometry: Any, tile_px: int | None) -> xr.DataArray:
    from xcloudmask.fractions import class_fractions

    return class_fractions(mask, geometry=geometry, tile_px=tile_px).compute()


def _rows(shares: xr.DataArray, *, time: str | None) -> Iterator[Row]:
    """Yield a row for each date, and for each geometry or tile of it."""
    others = sorted((str(dim) for dim in shares.dims if dim != CLASS_DIM), key=lambda dim: dim != time)
    values, valid = shares.transpose(*others, CLASS_DIM), shares["valid_fraction"].transpose(*others)
    names = [str(name) for name in shares[CLASS_DIM].values]
    for position in product(*(range(shares.sizes[dim]) for dim in others)):
        at = dict(zip(others, position, strict=True))
        row: Row = {dim: _label(shares, dim, index) for dim, index in at.items()}
        row |= {name: _text(shares, name, at) for name in _TEXTS if name in shares.coords}
        row |= {name: _number(value) for name, value in zip(names, values.values[position], strict=True)}
        row[_NODATA] = _number(1 - valid.values[position])
        yield row


def _label(shares: xr.DataArray, dim: str, index: int) -> Any:
    if dim not in shares.coords:
        return index
    value = shares.coords[dim].values[index]
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value.astype("M8[s]"))
    return value.item() if isinstance(value, np.generic) else value


def _text(shares: xr.DataArray, name: str, at: dict[str, int]) -> str:
    coord = shares.coords[name]
    return str(coord.isel({dim: index for dim, index in at.items() if dim in coord.dims}).values)


def _number(value: Any) -> float | None:
    number = float(value)
    return None if math.isnan(number) else round(number, 6)


def _csv(rows: list[Row]) -> str:
    from xcloudmask.webreport._table import harmless

    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: harmless(value) if isinstance(value, str) else value for key, value in row.items()})
    return buffer.getvalue()


def _print(rows: list[Row], shares: list[str]) -> None:
    console = stdout()
    table = Table(box=None, pad_edge=False)
    hidden = "platform" if "item_id" in rows[0] else ""  # the item says it, and lines are short
    for key, value in rows[0].items():
        if key != hidden:
            text = isinstance(value, str) and key != "time"
            # Names of classes on two lines leave room for those of items.
            name = key.replace("_", "\n" if key in shares else " ")
            table.add_column(name, justify="left" if text else "right", no_wrap=not text, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(key, value, share=key in shares) for key, value in row.items() if key != hidden))
    if not console.is_terminal:  # what is not read on a screen is never folded
        console.width = Measurement.get(console, console.options.update(width=_WIDEST), table).maximum
    console.print(table, markup=False)


def _cell(key: str, value: Any, *, share: bool) -> str:
    from xcloudmask.webreport._html import visible

    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1%}" if share else f"{value:.10g}"
    text = visible(str(value))[:_SHOWN]
    return text[:16].replace("T", " ") if key == "time" else text
