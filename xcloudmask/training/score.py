"""Measure models on labelled patches, through the engine that cubes go through: `evaluate_model`.

Each patch is predicted as a cube of its own: one window, with its own statistics. What is measured is what
`xcloudmask.predict` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from xcloudmask.errors import InputError, ReadError, XCloudMaskError
from xcloudmask.evaluate import Bootstrap, Counted, Evaluation, Scores, confusion, summarise
from xcloudmask.models.spec import ModelSpec
from xcloudmask.resample import area_mean
from xcloudmask.training.data import BANDS, Patch, load_patches, load_thumbnails, only_bands, read_table, split_holdout
from xcloudmask.training.labels import ANY
from xcloudmask.training.predictor import Predictor, predict_patch, predictor

__all__ = [
    "HOLDOUT",
    "Level",
    "coarser",
    "evaluate_model",
    "load_split",
    "predict_patch",
    "score",
    "source_of",
    "without_nir",
]

HOLDOUT = "holdout"
"""Name of the part of the split `train` that the fit leaves out, for choosing."""

Level = Literal["known", "unknown"]
"""Whether the model is told the level of reflectance."""


def evaluate_model(
    model: str | ModelSpec | nn.Module | Predictor,
    patches: Sequence[Patch],
    *,
    levels: Sequence[Level] = ("known", "unknown"),
    nir: bool = True,
    resolution_m: float | None = None,
    device: str = "auto",
    precision: str = "auto",
    how: Bootstrap | None = None,
    on_patch: Callable[[str, Patch, npt.NDArray[np.uint8], Counted], None] | None = None,
) -> dict[str, Evaluation]:
    """Measure a model on labelled patches, per source and pooled, with intervals.

    Parameters
    ----------
    model
        Name or spec of a model; a network in memory, in eval mode; or a function from a patch to its mask.
    patches
        Labelled patches.
    levels
        "known" tells the model the level of reflectance, and leaves patches out that have none; "unknown" keeps it
        from the model.
    nir
        False gives the near infrared up.
    resolution_m
        Average patches to pixels of at least this size; see `coarser`.
    device, precision
        As in `xcloudmask.predict`. A network in memory stays where it is, and computes in float32.
    how
        The bootstrap; None is 2000 draws and 95 %.
    on_patch
        Called after each patch with the level, the patch as it was fed, its mask and its counts.

    Returns
    -------
    dict
        By level, for the levels that any patch has.

    Raises
    ------
    InputError
        There is no patch, or the model takes other bands.
    XCloudMaskError
        The model cannot be used.

    Examples
    --------
    >>> image = np.full((3, 64, 64), 2000, np.uint16)
    >>> land = Patch(name="here_1", source="", split="", image=image, valid=np.ones((64, 64), bool),
    ...              allowed=np.ones((64, 64), np.uint8), resolution_m=10.0)
    >>> result = evaluate_model(lambda patch: np.zeros((64, 64), np.uint8), [land], levels=["known"])
    >>> result["known"].sources["here"].scores.agreement
    1.0
    """
    predict = predictor(model, device=device, precision=precision)
    changed = [patch if nir else without_nir(patch) for patch in patches]
    if resolution_m is not None:
        changed = [coarser(patch, resolution_m=resolution_m) for patch in changed]
    results: dict[str, Evaluation] = {}
    for level in levels:
        chosen = [patch for patch in changed if patch.level_known] if level == "known" else changed
        counted = []
        for patch in chosen:
            fed = patch if level == "known" else replace(patch, level_known=False)
            mask = predict(fed)
            counted.append(_count(fed, mask))
            if on_patch is not None:
                on_patch(level, fed, mask, counted[-1])
        if counted:
            results[level] = summarise(counted, how=how)
    if not results:
        raise InputError(f"There is no patch to measure at level {' or '.join(levels)}. Expected labelled patches.")
    return results


def _count(patch: Patch, mask: npt.NDArray[np.uint8]) -> Counted:
    counts = confusion(mask, np.where(patch.valid, patch.allowed, 0))
    return Counted(name=patch.name, source=source_of(patch), confusion=counts)


def source_of(patch: Patch) -> str:
    """Name the group that a patch is measured in.

    Parameters
    ----------
    patch
        A patch.

    Returns
    -------
    str
        The first word of its name, up to the first underscore; "s2cmc" for thumbnails of the catalogue.
    """
    names = {"layton": "alberta", "scg": "scg_pair", "38cloud": "cloud38"}
    if "Cloud Mask Catalogue" in patch.source:
        return "s2cmc"
    word = patch.name.split("_", maxsplit=1)[0]
    return names.get(word, word)


def without_nir(patch: Patch) -> Patch:
    """Give the near infrared of a patch up.

    Parameters
    ----------
    patch
        A patch.

    Returns
    -------
    Patch
        With 0 in that band, which no model is fed; without the band where there are more than red, green and nir.
    """
    if patch.bands != BANDS:
        return only_bands(patch, [band for band in patch.bands if band != "nir"])
    image = patch.image.copy()
    image[BANDS.index("nir")] = 0
    return replace(patch, image=image, nir=False)


def coarser(patch: Patch, *, resolution_m: float) -> Patch:
    """Average a patch by a whole factor, so that a pixel has at least the wanted size.

    Parameters
    ----------
    patch
        A patch.
    resolution_m
        Wanted size of a pixel, in metres; a patch that is as coarse stays as it is.

    Returns
    -------
    Patch
        A pixel may have every class that one of its parts may have: mixed pixels count less, or not at all.

    Examples
    --------
    >>> patch = Patch(name="a", source="", split="", image=np.zeros((3, 2, 2), np.uint16), valid=np.ones((2, 2), bool),
    ...               allowed=np.array([[1, 8], [1, 1]], np.uint8), resolution_m=10.0)
    >>> coarser(patch, resolution_m=20.0).allowed.tolist()
    [[9]]
    """
    factor = int(np.ceil(resolution_m / patch.resolution_m - 0.01))
    if factor < 2:
        return patch
    means, valid = area_mean(patch.image, None if patch.valid.all() else patch.valid, factor)
    rows, columns = (np.arange(0, side, factor) for side in patch.valid.shape)
    parts = np.where(patch.valid, patch.allowed, ANY).astype(np.uint8)
    return replace(
        patch,
        image=np.rint(means).astype(np.uint16),
        valid=np.ones(means.shape[1:], bool) if valid is None else valid,
        allowed=np.bitwise_or.reduceat(np.bitwise_or.reduceat(parts, rows, axis=0), columns, axis=1),
        resolution_m=patch.resolution_m * factor,
    )


def score(model: str | ModelSpec | nn.Module | Predictor, patches: Sequence[Patch]) -> dict[str, dict[str, Scores]]:
    """Score with the level known and unknown, by source, without intervals.

    Parameters
    ----------
    model, patches
        As in `evaluate_model`.

    Returns
    -------
    dict
        Source, then "known" and "unknown"; sources without a level have only the latter.
    """
    result: dict[str, dict[str, Scores]] = {}
    for level, evaluation in evaluate_model(model, patches, how=Bootstrap(draws=2)).items():
        for source, group in evaluation.sources.items():
            result.setdefault(source, {})[level] = group.scores
    return result


def load_split(data: Path, split: str, *, bands: Sequence[str] = BANDS) -> list[Patch]:
    """Load the labelled patches of a split, and the thumbnails that go with it where there are any.

    Parameters
    ----------
    data
        The data folder.
    split
        A value of the column `split` of `patches.csv`; "eval" comes with the thumbnails' "val". "holdout" is the part
        of train that the fit leaves out.
    bands
        Roles to load. With `ALL_BANDS` each patch comes with what it has of them, and thumbnails with red, green and
        blue.

    Returns
    -------
    list of Patch

    Raises
    ------
    ReadError
        The table is missing, a patch cannot be read, or no patch is of that split.
    """
    try:
        if split == HOLDOUT:
            parts: Iterable[list[Patch]] = (
                load_patches(data, splits=("train",), bands=bands),
                _thumbnails(data, "train", bands),
            )
            patches = [patch for part in parts for patch in split_holdout(part)[1]]
        else:
            small = _thumbnails(data, "val" if split == "eval" else split, bands)
            patches = [*load_patches(data, splits=(split,), bands=bands), *small]
    except XCloudMaskError:
        raise
    except (OSError, KeyError, ValueError) as error:
        raise ReadError(
            f"A labelled patch of split {split!r} in {data} cannot be read: {error}. Expected patches/<name>.npz with "
            "img, bands, valid and label, and the columns split, name, kind, source and res_m in patches.csv."
        ) from error
    if not patches:
        found = ", ".join(sorted({row["split"] for row in read_table(data)})) or "none"
        raise ReadError(
            f"{data} has no patch of split {split!r}. Splits found: {found}; {HOLDOUT} is a tenth of train."
        )
    return patches


def _thumbnails(data: Path, split: str, bands: Sequence[str]) -> list[Patch]:
    if not (data / "s2cmc_rgb" / split).is_dir():
        return []
    return load_thumbnails(data, split=split, rgb="blue" in bands)
