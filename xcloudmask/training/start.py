"""Where a fine-tuning starts: the network and the weights of a model that exists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError, safe_open

from xcloudmask.errors import ArgumentError, ModelError, WeightsError
from xcloudmask.models.registry import get_spec, weights_path
from xcloudmask.models.spec import FOREIGN, ModelSpec
from xcloudmask.training.normalizers import Normalizer, WholeData, normalizer_of
from xcloudmask.training.options import Mixture, ModelOptions

__all__ = ["SENSEI", "Start", "find_start"]

SENSEI = "sensei"
"""Architecture, and name of the part of a network, that `xcloudmask.training.pretrain` trains."""
_SENSEI_PARTS = {"descriptor", "permutation", "combined"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Weights to start from."""

    name: str
    """Name of the model or of the file."""
    weights: Path
    """The file."""
    sha256: str
    """Its checksum."""
    architecture: str = ""
    """Of the network; empty where the file alone is known."""
    config: tuple[tuple[str, int], ...] = ()
    """Arguments of the architecture."""
    bands: tuple[str, ...] = ()
    """Roles of its bands; empty where the file alone is known, and where it takes any."""
    normalizer: Normalizer | None = None
    """What it was trained with; None where the file alone is known, and where it takes any bands."""
    level_complete: bool = False
    """Whether it takes the level only with all its bands."""
    sources: tuple[str, ...] = ()
    """What the weights were trained on."""
    licence: str = ""
    """Licence of the weights."""
    part: str = ""
    """``"sensei."`` where the weights are those of SEnSeI alone: what stands behind it begins at random."""

    def to_dict(self) -> dict[str, Any]:
        """Return what a card says of it."""
        return {"name": self.name, "sha256": self.sha256, "licence": self.licence}

    def network(self, given: ModelOptions) -> ModelOptions:
        """Return the network and its bands: those of the model, else those given."""
        if not self.architecture:
            return given
        config = dict(self.config)
        return replace(given, architecture=self.architecture, config=config, bands=self.bands or given.bands)

    def mixture(self, given: Mixture) -> Mixture:
        """Return how samples are drawn: normalised as the model was trained, and the rest as given.

        Raises
        ------
        ArgumentError
            Another normalisation was asked for.
        """
        if self.normalizer is None:
            return given
        own = str(self.normalizer.spec_fields["normalization"]) if isinstance(self.normalizer, WholeData) else "zscore"
        if given.normalize not in {"zscore", own}:
            raise ArgumentError(
                f"normalize = {given.normalize!r} under [mixture], and {self.name!r} was trained with {own!r}, which "
                "its weights are for. Leave normalize out."
            )
        complete = given.level_complete or self.level_complete
        return replace(given, normalize=cast("Any", own), level_complete=complete)


def find_start(model: str) -> Start:
    """Find a model to start from.

    Parameters
    ----------
    model
        Name of a model, path of its card (.json), or weights or a checkpoint (.safetensors) of the network; or card or
        weights of a pre-trained SEnSeI.

    Returns
    -------
    Start

    Raises
    ------
    UnknownModelError
        No model has that name.
    ArgumentError
        The model is an ensemble, was made elsewhere, or takes reflectance as it is.
    ModelError
        The card cannot be read.
    WeightsError
        The weights are missing, or are not those of the card.

    Examples
    --------
    >>> find_start("default").architecture
    'unet'
    """
    if model.endswith(".safetensors"):
        path = Path(model)
        part = f"{SENSEI}." if _is_sensei(path) else ""
        return Start(name=path.name, weights=path, sha256=_sha256(path), part=part)
    if model.endswith(".json") and (card := _sensei_card(Path(model))):
        return _pretrained(Path(model), card)
    spec = ModelSpec.from_card(model) if model.endswith(".json") else get_spec(model)
    _check(spec)
    path = weights_path(spec)
    return Start(
        name=spec.name,
        weights=path,
        sha256=_checked(path, name=spec.name, sha256=spec.sha256),
        architecture=spec.architecture,
        config=spec.config,
        bands=spec.bands,
        normalizer=None if spec.any_bands else normalizer_of(spec),
        level_complete=spec.level_complete,
        sources=spec.sources,
        licence=spec.licence,
    )


def _check(spec: ModelSpec) -> None:
    if spec.members:
        members = ", ".join(member.name for member in spec.members)
        raise ArgumentError(
            f"{spec.name!r} is an ensemble of {members}. Expected a single network: train from the card or the weights "
            "of each member, and combine the results with xcloudmask.models.ensemble.combine."
        )
    if spec.architecture in FOREIGN:
        raise ArgumentError(
            f"{spec.name!r} was made elsewhere ({spec.architecture}): its network cannot be trained here. Give a model "
            "that xcloudmask has trained."
        )


def _sensei_card(path: Path) -> dict[str, Any]:
    """Return the card of a pre-trained SEnSeI; nothing where it is another, or none."""
    try:
        card = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) and card.get("architecture") == SENSEI else {}


def _pretrained(path: Path, card: Mapping[str, Any]) -> Start:
    try:
        name, weights, digest = str(card["name"]), path.parent / card["weights"], str(card["sha256"])
        sources, licence = tuple(map(str, card["sources"])), str(card["licence"])
    except (KeyError, TypeError) as error:
        raise ModelError(
            f"{path} is no card of a pre-training: it lacks {error}. Give the one that was written."
        ) from error
    return Start(
        name=name,
        weights=weights,
        sha256=_checked(weights, name=name, sha256=digest),
        sources=sources,
        licence=licence,
        part=f"{SENSEI}.",
    )


def _is_sensei(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return {str(key).split(".")[0] for key in file.keys()} == _SENSEI_PARTS  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError):
        return False  # which the reading of the weights will tell


def _checked(path: Path, *, name: str, sha256: str) -> str:
    digest = _sha256(path)
    if digest != sha256:
        raise WeightsError(
            f"{path} is not the file that the card of {name!r} names: its sha256 is {digest[:12]}..., expected "
            f"{sha256[:12]}.... Give the card that was written with these weights."
        )
    return digest


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"The weights {path} cannot be read: {error}. Give a .safetensors file.") from error
