"""The record of a run: one row of numbers every so many steps, in a CSV file beside the checkpoint."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from xcloudmask._files import replace_text

__all__ = ["HISTORY", "MEASURES", "append_row", "read_history", "trim"]

HISTORY = "history.csv"
MEASURES = ("holdout_agreement", "holdout_cloud_ba", "holdout_shadow_f1")
"""Columns of a run that learns clouds; those of every run come before them."""
_COLUMNS = ("step", "seconds", "loss", "learning_rate")


def append_row(folder: Path, row: Mapping[str, float], *, measures: Sequence[str] = MEASURES) -> None:
    """Add a row; numbers that were not measured stay empty.

    Parameters
    ----------
    folder
        Of the run.
    row
        Numbers by column.
    measures
        Columns of what is measured on the way.
    """
    path = folder / HISTORY
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=[*_COLUMNS, *measures])
        if fresh:
            writer.writeheader()
        writer.writerow({name: f"{value:.6g}" for name, value in row.items()})


def trim(folder: Path, *, after: int) -> None:
    """Take the rows away that a resumed run writes again, and half a row that a killed run left.

    Parameters
    ----------
    folder
        Of the run.
    after
        The last step whose row stays.
    """
    path = folder / HISTORY
    if not path.exists():
        return
    head, *rows = path.read_text().splitlines(keepends=True) or [""]
    kept = [
        row
        for row in rows
        if row.endswith("\n") and row.count(",") == head.count(",") and int(row.split(",")[0]) <= after
    ]
    replace_text(path, "".join([head, *kept]))
    if not kept:
        path.unlink()


def read_history(folder: Path) -> dict[str, list[float]]:
    """Read the columns of a run; NaN where nothing was measured.

    Parameters
    ----------
    folder
        Of the run.

    Returns
    -------
    dict
        Column, then one number per row. A step that was done twice, since a run was cut off after its last checkpoint,
        is there once: as it was done last.
    """
    with (folder / HISTORY).open(newline="") as file:
        reader = csv.DictReader(file)
        rows = {int(row["step"]): row for row in reader}
        columns = reader.fieldnames or ()
    ordered = [rows[step] for step in sorted(rows)]
    return {name: [float(row[name]) if row[name] else float("nan") for row in ordered] for name in columns}
