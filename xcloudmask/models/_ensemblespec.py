"""What the spec of an ensemble must say, checked when it is made."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

from xcloudmask.errors import ModelError
from xcloudmask.models._normalspec import NUMBERS

if TYPE_CHECKING:
    from xcloudmask.models.spec import ModelSpec

__all__ = ["Voting", "check_members"]

Voting = Literal["logits", "probabilities"]


def check_members(spec: ModelSpec) -> None:
    """Refuse an ensemble whose members cannot share a batch, or whose geometry is not true for all of them.

    Parameters
    ----------
    spec
        Of an ensemble.

    Raises
    ------
    ModelError
        The voting or the votes are none, there are fewer than two members, or they do not go together.
    """
    if spec.voting not in get_args(Voting):
        raise ModelError(
            f"Ensemble {spec.name!r}: voting={spec.voting!r}. Type one of {', '.join(map(repr, get_args(Voting)))}."
        )
    if len(spec.members) < 2 or not all(isinstance(member, type(spec)) for member in spec.members):
        found = ", ".join(repr(getattr(member, "name", member)) for member in spec.members) or "none"
        raise ModelError(f"Ensemble {spec.name!r} has members {found}. Give two or more ModelSpec.")
    _check_votes(spec)
    if spec.weights or spec.config:
        raise ModelError(f"Ensemble {spec.name!r} has weights= or config=: those belong to its members.")
    for member in spec.members:
        if member.any_bands:
            raise ModelError(
                f"Ensemble {spec.name!r}: member {member.name!r} takes any bands, and members are fed the same ones. "
                "Give models of certain bands."
            )
        if member.members:
            raise ModelError(
                f"Ensemble {spec.name!r}: member {member.name!r} is an ensemble. Give its members instead."
            )
        for name in ("bands", "normalization", *NUMBERS[spec.normalization]):
            if getattr(member, name) != getattr(spec, name):
                raise ModelError(
                    f"Ensemble {spec.name!r}: member {member.name!r} has {name}={getattr(member, name)!r}, expected "
                    f"{getattr(spec, name)!r}: all members are fed the same batch."
                )
    _check_geometry(spec)


def _check_geometry(spec: ModelSpec) -> None:
    members = spec.members
    fits = (
        all(spec.stride_px % member.stride_px == 0 and spec.radius_px >= member.radius_px for member in members)
        and spec.level == any(member.level for member in members)
        and spec.level_complete == any(member.level_complete for member in members)
        and (all(member.exact_halo for member in members) or not spec.exact_halo)
        and all(set(spec.optional_bands) <= set(member.optional_bands) for member in members)
    )
    if not fits:
        raise ModelError(
            f"Ensemble {spec.name!r}: stride, radius, level, level_complete, exact_halo or optional_bands do not suit "
            "its members. Build it with xcloudmask.models.ensemble.combine([...], name=...)."
        )


def _check_votes(spec: ModelSpec) -> None:
    count = len(spec.members)
    if spec.votes and (len(spec.votes) != count or not all(map(_counts, spec.votes))):
        raise ModelError(
            f"Ensemble {spec.name!r}: votes={spec.votes!r}. Expected a number above 0 for each of its {count} members, "
            f"such as votes={tuple(range(count, 0, -1))!r}, or none."
        )


def _counts(vote: object) -> bool:
    return isinstance(vote, int | float) and not isinstance(vote, bool) and 0 < vote < math.inf
