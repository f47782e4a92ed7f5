"""A picture of a run: loss, learning rate, and the measures on what was held out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from xcloudmask._optional import require
from xcloudmask.errors import ReadError
from xcloudmask.training.history import HISTORY, read_history

__all__ = ["save_curves"]

_HELD_OUT: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "holdout_agreement": ("agreement", "#0072b2"),
        "holdout_cloud_ba": ("cloud, balanced accuracy", "#d55e00"),
        "holdout_shadow_f1": ("shadow, F1", "#009e73"),
        "holdout_bands_told": ("bands rightly told", "#0072b2"),
        "holdout_reflectance_rmse": ("error of reflectance", "#d55e00"),
    }
)
"""Column, label and colour: those of Okabe and Ito, which colour-blind readers tell apart."""
_SMOOTH_ROWS = 9


def save_curves(folder: str | Path, path: str | Path | None = None) -> Path:
    """Draw the history of a run.

    Parameters
    ----------
    folder
        Of the run.
    path
        The picture; None is `curves.png` in the folder.

    Returns
    -------
    pathlib.Path
        The picture.

    Raises
    ------
    ReadError
        The folder has no history, or an empty one.
    MissingPackageError
        matplotlib is not installed.

    Examples
    --------
    >>> save_curves("runs/default")  # doctest: +SKIP
    """
    figure = require("matplotlib.figure", extra="train").Figure(figsize=(8, 7.5), layout="constrained")
    history = _history(Path(folder))
    steps = history["step"]
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.2))
    # A single row would be no line.
    marker = "o" if len(steps) == 1 else None
    top.plot(steps, history["loss"], color="0.75", marker=marker, label="mean since the row before")
    top.plot(steps, _smooth(history["loss"]), color="black", label=f"mean of {_SMOOTH_ROWS} rows")
    top.set_ylabel("loss")
    top.legend()
    for column, (label, colour) in _HELD_OUT.items():
        values = history.get(column, [math.nan] * len(steps))
        measured = [(step, value) for step, value in zip(steps, values, strict=True) if not math.isnan(value)]
        if measured:
            middle.plot(*zip(*measured, strict=True), color=colour, marker="o", markersize=4, label=label)
    middle.set_ylabel("on what is held out")
    if middle.lines:
        middle.legend()
    else:
        middle.text(
            0.5,
            0.5,
            "not measured: validate_steps = 0, or nothing held out",
            ha="center",
            va="center",
            transform=middle.transAxes,
        )
    bottom.plot(steps, history["learning_rate"], color="black", marker=marker)
    bottom.set_ylabel("learning rate")
    bottom.set_xlabel("step")
    for axes in (top, middle, bottom):
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
    target = Path(folder) / "curves.png" if path is None else Path(path)
    figure.savefig(target, dpi=110)
    return target


def _history(folder: Path) -> dict[str, list[float]]:
    if not (folder / HISTORY).is_file():
        raise ReadError(
            f"{folder / HISTORY} does not exist. Expected the folder of a run, the --out of xcloudmask train."
        )
    history = read_history(folder)
    if not history["step"]:
        raise ReadError(f"{folder / HISTORY} has no row yet: the first is written after 50 steps.")
    return history


def _smooth(values: Sequence[float]) -> list[float]:
    """Mean of the rows around each; fewer at the ends, so that nothing is shifted."""
    half = _SMOOTH_ROWS // 2
    means = []
    for index in range(len(values)):
        reach = min(half, index, len(values) - 1 - index)
        part = values[index - reach : index + reach + 1]
        means.append(sum(part) / len(part))
    return means
