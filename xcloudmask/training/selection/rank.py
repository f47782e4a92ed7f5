"""`rank_chips`: which chips are worth labelling, in the order of their worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from dask.base import compute

from xcloudmask.blocks import predict_block
from xcloudmask.classes import OutputStyle
from xcloudmask.errors import ArgumentError, InputError
from xcloudmask.halo import BlockPlace
from xcloudmask.models.registry import get_spec
from xcloudmask.models.spec import ModelSpec
from xcloudmask.options import Options, Precision
from xcloudmask.prepare import Prepared, prepare_cube
from xcloudmask.settings import EngineSettings
from xcloudmask.training.selection.chips import Chip
from xcloudmask.training.selection.choose import choose
from xcloudmask.training.selection.measures import Uncertainty, describe, levelled, standardised, uncertainty_of

__all__ = ["DIVERSITY", "UNCERTAINTY", "RankedChip", "rank_chips"]

DIVERSITY = 0.3
"""Share of the other candidates that may come in beside the most uncertain ones."""
UNCERTAINTY: Uncertainty = "margin"
"""What counts as unsure where nothing else is said."""
_AT_ONCE = 32
_VALID_SHARE = 0.5

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankedChip:
    """A chip that is worth labelling."""

    rank: int
    """1 is the first to label."""
    chip: Chip
    """The chip."""
    uncertainty: float
    """Mean over its valid pixels, 0 to 1."""
    distance: float
    """Distance to the nearest chip labelled or ranked before, in spreads of the pool; NaN where there is none."""
    score: float
    """Rank of its uncertainty in the pool, 0 to 1; 1 is the most uncertain."""
    valid_share: float
    """Share of its pixels that have data."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """What the model said of a chip."""

    uncertainty: float
    features: _Floats
    valid_share: float
    scale_known: bool


def rank_chips(
    model: str | ModelSpec,
    chips: Sequence[Chip],
    *,
    count: int,
    uncertainty: Uncertainty = UNCERTAINTY,
    diversity: float = DIVERSITY,
    output_style: OutputStyle = "4-class",
    labelled: Sequence[Chip] = (),
    min_valid_share: float = _VALID_SHARE,
    seed: int = 0,
    device: str = "auto",
    precision: Precision = "auto",
    on_chip: Callable[[], None] | None = None,
) -> list[RankedChip]:
    """Rank chips for labelling: those that the model is unsure of, that differ, and that stand for others.

    Parameters
    ----------
    model
        Name of a model, or a ModelSpec. An ensemble also has "disagreement".
    chips
        Candidates, from `cut_cube` or `patch_chips`. They are read a few at a time.
    count
        How many to choose.
    uncertainty
        "entropy", "margin" or "disagreement"; see `xcloudmask.training.selection.measures.uncertainty_of`.
    diversity
        Share of the other candidates that may come in beside the `count` most uncertain ones: 0 goes by uncertainty
        alone, 1 by looks alone.
    output_style
        Codes that the model may be unsure between. "cloud-noncloud" does not count doubt between thick and thin
        cloud, or between clear and shadow.
    labelled
        Chips that have labels already: nothing like them is needed.
    min_valid_share
        Chips with a smaller share of valid pixels are never chosen, nor those without any.
    seed
        Decides between equal chips, and starts the clusters.
    device, precision
        As in `xcloudmask.predict`.
    on_chip
        Called after each chip.

    Returns
    -------
    list of RankedChip
        At most `count`, the most uncertain first.

    Raises
    ------
    ArgumentError
        An argument has a wrong value.
    InputError
        There is no chip, or one cannot be predicted.

    Notes
    -----
    See `xcloudmask.training.selection.choose.choose` for the method and its sources. Each chip is normalised by itself,
    as a cube of that size.

    Examples
    --------
    >>> import xarray as xr
    >>> from xcloudmask.training.selection import cut_cube
    >>> rng = np.random.default_rng(0)
    >>> cube = xr.Dataset({b: (("y", "x"), rng.random((64, 128))) for b in ("red", "green", "nir")})
    >>> [ranked.rank for ranked in rank_chips("default", cut_cube(cube, name="a", chip_px=64), count=2)]
    [1, 2]
    """
    spec = get_spec(model)
    _check(spec, chips, uncertainty, min_valid_share)
    options = Options(model=spec, output_style=output_style, device=device, precision=precision)
    every = [*chips, *labelled]
    seen = list(_look(every, spec, options, uncertainty, on_chip))
    there = np.array([one.valid_share > 0 and one.valid_share >= min_valid_share for one in seen])
    # Where the scale is unknown, brightness can be compared within a file, not between files.
    units = ["" if one.scale_known else chip.name for chip, one in zip(every, seen, strict=True)]
    described = levelled(np.stack([one.features for one in seen]), there, units, bands=len(spec.bands))
    features = standardised(described, there)
    values = np.where(there, [one.uncertainty for one in seen], np.nan)
    known = there[len(chips) :]
    chosen = choose(
        values[: len(chips)],
        features[: len(chips)],
        count=count,
        diversity=diversity,
        seed=seed,
        labelled=features[len(chips) :][known],
    )
    return [
        RankedChip(
            rank=rank,
            chip=chips[choice.index],
            uncertainty=seen[choice.index].uncertainty,
            distance=choice.distance,
            score=choice.score,
            valid_share=seen[choice.index].valid_share,
        )
        for rank, choice in enumerate(chosen, start=1)
    ]


def _check(spec: ModelSpec, chips: Sequence[Chip], uncertainty: str, min_valid_share: float) -> None:
    known = get_args(Uncertainty)
    if uncertainty not in known:
        raise ArgumentError(f"uncertainty={uncertainty!r} is unknown. Expected one of {', '.join(map(repr, known))}.")
    if uncertainty == "disagreement" and not spec.members:
        raise ArgumentError(
            f"Model {spec.name!r} is a single network, which cannot disagree with itself. Give an ensemble, or type "
            "uncertainty='entropy'."
        )
    if not 0.0 <= min_valid_share <= 1.0:
        raise ArgumentError(f"min_valid_share={min_valid_share:g} is not possible. Expected 0 to 1.")
    if not chips:
        raise InputError("There is no chip to rank. Expected chips of cut_cube or patch_chips.")


def _look(
    chips: Sequence[Chip],
    spec: ModelSpec,
    options: Options,
    uncertainty: Uncertainty,
    on_chip: Callable[[], None] | None,
) -> Iterator[_Seen]:
    """Predict chips. Some are read at once, because neighbours lie in the same chunk or file."""
    members = spec.members if uncertainty == "disagreement" else (spec,)
    for start in range(0, len(chips), _AT_ONCE):
        prepared = [_prepare(chip, options) for chip in chips[start : start + _AT_ONCE]]
        blocks = compute(*(one.stack[:1] for one in prepared))
        for one, block in zip(prepared, blocks, strict=True):
            yield _seen(block, one.settings, members, uncertainty)
            if on_chip is not None:
                on_chip()


def _prepare(chip: Chip, options: Options) -> Prepared:
    asked = replace(options, bands=chip.bands, sensor=chip.sensor, nodata=chip.nodata, resolution_m=chip.resolution_m)
    return prepare_cube(chip.cube, asked, output="probability")


def _seen(
    block: npt.NDArray[np.generic], settings: EngineSettings, members: Sequence[ModelSpec], uncertainty: Uncertainty
) -> _Seen:
    height, width = (BlockPlace(start=0, stop=side, depth=0, length=side) for side in block.shape[2:])
    probabilities = [
        predict_block(block, places=(height, width), settings=replace(settings, spec=member))[0] for member in members
    ]
    valid = np.isfinite(probabilities[0][0])
    mean = probabilities[0] if len(probabilities) == 1 else np.mean(probabilities, axis=0)
    return _Seen(
        uncertainty=uncertainty_of(probabilities, how=uncertainty),
        features=describe(_reflectance(block[0], settings), valid, mean),
        valid_share=float(valid.mean()),
        scale_known=settings.scale is not None,
    )


def _reflectance(image: npt.NDArray[Any], settings: EngineSettings) -> npt.NDArray[np.float32]:
    """All bands of the model: (band, y, x), scaled where the scale is known, 0 for a band given up."""
    result = np.zeros((len(settings.present), *image.shape[1:]), np.float32)
    rows = iter(image)
    for index, there in enumerate(settings.present):
        if there:
            scale = 1.0 if settings.scale is None else settings.scale[index]
            offset = 0.0 if settings.offset is None else settings.offset[index]
            result[index] = next(rows).astype(np.float32) * np.float32(scale) + np.float32(offset)
    return result
