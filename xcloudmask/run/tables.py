"""The statistics of a campaign as a table: a row for each record, as Parquet or CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from xcloudmask._files import partial_file
from xcloudmask._optional import require
from xcloudmask.errors import ArgumentError
from xcloudmask.run.task import Record
from xcloudmask.webreport._table import harmless

__all__ = ["TABLE_SUFFIXES", "check_table", "write_table"]

TABLE_SUFFIXES = (".parquet", ".csv")
_BATCH = 10_000
"""Rows in memory, and in a row group of Parquet."""
_TEXTS = ("key", "cell", "time", "status", "reason", "digest", "finished", "worker", "snapshot")
_NUMBERS = ("y0", "y1", "x0", "x1", "attempts")
_STAGES = ("read", "predict", "write", "total")


def check_table(path: str | Path) -> Path:
    """Refuse a table that cannot be written, before anything is read.

    Raises
    ------
    ArgumentError
        The name tells no format, or the folder is missing.
    MissingPackageError
        Parquet needs pyarrow.
    """
    place = Path(path)
    if place.suffix.lower() not in TABLE_SUFFIXES:
        raise ArgumentError(f"{path}: expected a name that ends in {' or '.join(TABLE_SUFFIXES)}.")
    if place.is_dir() or not place.absolute().parent.is_dir():
        raise ArgumentError(f"{path} cannot be written: expected the name of a file in a folder that exists.")
    if place.suffix.lower() == ".parquet":
        require("pyarrow.parquet", extra="run")
    return place


def write_table(records: Iterable[Record], path: str | Path, *, classes: Sequence[str]) -> int:
    """Write a row for each record, in batches.

    Parameters
    ----------
    records
        Of a ledger.
    path
        Ends in ``.parquet`` or ``.csv``. It appears when it is complete.
    classes
        Names of the classes whose shares are columns; ``"nodata"`` comes behind them.

    Returns
    -------
    int
        Rows.

    Raises
    ------
    ArgumentError, WriteError
        The name tells no format, or the file cannot be written.
    MissingPackageError
        Parquet needs pyarrow.
    """
    place = check_table(path)
    shares = [*classes, "nodata"]
    rows = (_row(record, shares) for record in records)
    with partial_file(place) as partial:
        write = _write_parquet if place.suffix.lower() == ".parquet" else _write_csv
        return write(rows, partial, shares)


def _row(record: Record, shares: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(record, name) for name in _TEXTS}
    (row["y0"], row["y1"]), (row["x0"], row["x1"]) = record.region.y, record.region.x
    row["attempts"] = record.attempts
    row["items"] = list(record.ids)
    row |= {f"share_{name}": record.fractions.get(name) for name in shares}
    row |= {f"seconds_{stage}": record.seconds.get(stage) for stage in _STAGES}
    return row | {"model_sha256": str(record.settings.get("model_sha256", ""))}


def _floats(shares: Sequence[str]) -> list[str]:
    return [*(f"share_{name}" for name in shares), *(f"seconds_{stage}" for stage in _STAGES)]


def _write_parquet(rows: Iterator[dict[str, Any]], path: Path, shares: Sequence[str]) -> int:
    arrow: Any = require("pyarrow", extra="run")
    parquet: Any = require("pyarrow.parquet", extra="run")
    columns = [(name, arrow.string()) for name in _TEXTS] + [("items", arrow.list_(arrow.string()))]
    columns += [(name, arrow.int64()) for name in _NUMBERS]
    columns += [(name, arrow.float64()) for name in _floats(shares)] + [("model_sha256", arrow.string())]
    schema, count = arrow.schema(columns), 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _batches(rows):
            writer.write_table(arrow.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


def _write_csv(rows: Iterator[dict[str, Any]], path: Path, shares: Sequence[str]) -> int:
    columns, count = [*_TEXTS, "items", *_NUMBERS, *_floats(shares), "model_sha256"], 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {"items": " ".join(map(harmless, row["items"]))} | _quiet(row))
            count += 1
    return count


def _quiet(row: dict[str, Any]) -> dict[str, str]:
    """Return the texts that come from elsewhere as ones that no spreadsheet runs."""
    return {name: harmless(row[name]) for name in ("reason", "cell", "worker")}


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch
