"""Write the card of an ensemble: ``python -m xcloudmask.training.ensemble_card --member A.json --member B.json ...``.

The card holds the specs of its members with their checksums, and no weights: a member that is trained again does not
slip into an ensemble that was measured with the one before.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from xcloudmask._version import __version__
from xcloudmask.errors import ArgumentError
from xcloudmask.models.ensemble import combine
from xcloudmask.models.loading import load_network
from xcloudmask.models.spec import ModelSpec, Voting

__all__ = ["export_ensemble", "main"]


def export_ensemble(
    member_cards: Sequence[Path],
    folder: Path,
    *,
    name: str,
    voting: Voting = "logits",
    votes: Sequence[float] = (),
    metrics: Mapping[str, float] | None = None,
    notes: str = "",
) -> Path:
    """Write the card of an ensemble beside the weights of its members.

    Parameters
    ----------
    member_cards
        Cards of two or more models, whose weights lie in `folder`.
    folder
        Receives ``<name>.json``.
    name
        Name of the ensemble.
    voting
        ``"logits"`` or ``"probabilities"``, as in `xcloudmask.models.ensemble.combine`.
    votes
        How much each member counts; none where all count alike.
    metrics
        Figures measured with these members and this voting.
    notes
        Known failures and intended use.

    Returns
    -------
    pathlib.Path
        The card.

    Raises
    ------
    ArgumentError
        The weights of a member lie in another folder.
    ModelError, WeightsError
        A card is none, the members do not go together, or their weights are not those of their cards.
    """
    members = [ModelSpec.from_card(path) for path in member_cards]
    spec = combine(members, name=name, voting=voting, votes=votes, notes=notes)
    for member in spec.members:
        if Path(member.weights).parent != folder.resolve():
            raise ArgumentError(
                f"The weights of member {member.name!r} are {member.weights}. Expected them in {folder.resolve()}: "
                "export or copy the model, card and weights, to the folder of the ensemble first."
            )
    load_network(spec)  # weights that are missing or changed are found now, not by the user
    spec = replace(spec, metrics=tuple((metrics or {}).items()))
    card = spec.located(lambda path: Path(path).name).to_dict()
    origin = {"attribution": _attribution(member_cards), "code_version": __version__}
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**card, **origin}, indent=2) + "\n")
    return path


def _attribution(cards: Sequence[Path]) -> str:
    """What the cards of the members say on whom to credit, each text once."""
    texts = [json.loads(path.read_text()).get("attribution", "") for path in cards]
    return " ".join(dict.fromkeys(filter(None, texts)))


def _read_metrics(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        metrics = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ArgumentError(f"The figures {path} cannot be read: {error}") from error
    if not isinstance(metrics, dict) or not all(isinstance(value, int | float) for value in metrics.values()):
        raise ArgumentError(f"{path} holds no figures. Expected a JSON object of names and numbers.")
    return metrics


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and write the card.

    Parameters
    ----------
    arguments
        None takes those of the process.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--member", type=Path, action="append", required=True, help="card of a member; repeat")
    parser.add_argument("--out", type=Path, required=True, help="folder of the members' weights, and of the card")
    parser.add_argument("--name", default="default-ensemble")
    parser.add_argument("--voting", choices=get_args(Voting), default="logits", help="what is averaged")
    parser.add_argument("--votes", type=float, nargs="+", default=(), help="how much each member counts, such as 2 1")
    parser.add_argument("--metrics", type=Path, help="JSON object of figures measured with this ensemble")
    parser.add_argument("--notes", default="", help="known failures and intended use")
    given = parser.parse_args(arguments)
    export_ensemble(
        given.member,
        given.out,
        name=given.name,
        voting=given.voting,
        votes=given.votes,
        metrics=_read_metrics(given.metrics),
        notes=given.notes,
    )


if __name__ == "__main__":
    main()
