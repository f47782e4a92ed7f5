"""The card of the model that made a mask, as a document beside the items."""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import Any

from xcloudmask.models.registry import WEIGHTS_DIR, list_models
from xcloudmask.models.spec import CARD_BYTES_MAX, ModelSpec
from xcloudmask.stac.out._facts import Facts
from xcloudmask.stac.out._names import safe_name

__all__ = ["card_name", "card_of"]


def card_name(facts: Facts) -> str:
    """Return the file name of the card of a mask's model.

    Parameters
    ----------
    facts
        Of one mask, with a model.

    Returns
    -------
    str
    """
    return f"model-{safe_name(facts.provenance['model'])}.json"


def card_of(facts: Facts) -> dict[str, Any] | None:
    """Return the card of the model that made a mask, or None where it is not known here.

    Parameters
    ----------
    facts
        Of one mask.

    Returns
    -------
    dict or None
        The card of the package, or what the registered spec says; never one of other weights with the same name.
    """
    spec = list_models().get(facts.provenance.get("model", ""))
    if spec is None or spec.sha256 != facts.provenance.get("model_sha256"):
        return None
    packaged = WEIGHTS_DIR / f"{safe_name(spec.name)}.json"
    if _is_packaged(spec) and packaged.exists():
        with packaged.open("rb") as file:
            card: dict[str, Any] = json.loads(file.read(CARD_BYTES_MAX))
        return card | {"sha256": spec.sha256}
    # Where weights lie on this machine is nobody's business.
    return spec.located(lambda path: PurePath(path).name).to_dict() | {"sha256": spec.sha256}


def _is_packaged(spec: ModelSpec) -> bool:
    parts = spec.members or (spec,)
    return all(Path(part.weights).name == part.weights for part in parts)
