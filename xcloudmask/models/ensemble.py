"""Ensembles: several models that see the same pixels and vote. An ensemble is a `ModelSpec` like any other.

Two networks of different kinds fail in different places; the mean of their logits is OmniCloudMask's design: Wright et
al. (2025), doi:10.1016/j.rse.2025.114694.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from xcloudmask.errors import ArgumentError
from xcloudmask.halo import round_up
from xcloudmask.models._normalspec import NUMBERS
from xcloudmask.models.registry import get_spec
from xcloudmask.models.spec import ENSEMBLE, ModelSpec, Voting

__all__ = ["combine"]


def combine(
    members: Sequence[str | ModelSpec],
    *,
    name: str,
    voting: Voting = "logits",
    votes: Sequence[float] = (),
    notes: str = "",
) -> ModelSpec:
    """Make an ensemble of models.

    Parameters
    ----------
    members
        Two or more models, by name or as specs, that take the same bands in the same order and the same normalisation.
        No ensembles.
    name
        Name of the ensemble; `xcloudmask.register_model` makes it known under it.
    voting
        ``"logits"``: the mean of the logits, where a sure member outvotes an unsure one. ``"probabilities"``: the mean
        of the softmax (soft voting), where being sure does not count. Of an ensemble that exists,
        ``dataclasses.replace(spec, voting=...)`` is the other kind.
    votes
        How much each member counts in the mean, such as ``(2, 1)``: a member that is weaker, or surer of itself than it
        should be, can be given less. None: all count alike.
    notes
        Known failures and intended use.

    Returns
    -------
    ModelSpec
        Stride: the least common multiple; radius, tile and window: the largest; resolution: the range that all members
        were trained for; level: given to the members that take it, and to none where one of them wants all bands
        for it and one is given up; sources and licences of all. No metrics: they
        must be measured.

    Raises
    ------
    UnknownModelError
        No model has that name.
    ModelError
        The members do not go together.
    ArgumentError
        There are no members, or no pixel size suits all of them.

    Examples
    --------
    >>> spec = get_spec("default")
    >>> two = combine([spec, spec], name="twice", voting="probabilities")
    >>> two.stride_px, two.radius_px == spec.radius_px, len(two.members)
    (8, True, 2)
    """
    specs = tuple(get_spec(member) for member in members)
    if not specs:
        raise ArgumentError("combine([]) has no members. Give two or more models.")
    stride_px = math.lcm(*(spec.stride_px for spec in specs))
    return ModelSpec(
        name=name,
        architecture=ENSEMBLE,
        bands=specs[0].bands,
        optional_bands=tuple(
            band for band in specs[0].optional_bands if all(band in spec.optional_bands for spec in specs)
        ),
        stride_px=stride_px,
        radius_px=max(spec.radius_px for spec in specs),
        exact_halo=all(spec.exact_halo for spec in specs),
        normalization=specs[0].normalization,
        **{name: getattr(specs[0], name) for name in NUMBERS[specs[0].normalization]},
        level=any(spec.level for spec in specs),
        level_complete=any(spec.level_complete for spec in specs),
        resolution_m=_common_resolution(specs),
        tile_px=round_up(max(spec.tile_px for spec in specs), stride_px),
        window_px=round_up(max(spec.window_px for spec in specs), stride_px),
        members=tuple(map(_bare, specs)),
        voting=voting,
        votes=tuple(votes),
        licence="; ".join(dict.fromkeys(spec.licence or "unknown" for spec in specs)),
        sources=tuple(dict.fromkeys(source for spec in specs for source in spec.sources)),
        notes=notes,
    )


def _common_resolution(specs: Sequence[ModelSpec]) -> tuple[float, float]:
    finest = max(spec.resolution_m[0] for spec in specs)
    coarsest = min(spec.resolution_m[1] for spec in specs)
    if finest > coarsest:
        ranges = ", ".join(f"{spec.name} {spec.resolution_m[0]:g}-{spec.resolution_m[1]:g} m" for spec in specs)
        raise ArgumentError(f"No pixel size suits all members: {ranges}. Give models whose ranges overlap.")
    return finest, coarsest


def _bare(spec: ModelSpec) -> ModelSpec:
    """A member without what is told of it elsewhere: the spec travels in the graph."""
    return replace(spec, sources=(), metrics=(), notes="")
