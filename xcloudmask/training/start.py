"""Where a fine-tuning starts: the network and the weights of a model that exists."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xcloudmask.errors import ArgumentError, WeightsError
from xcloudmask.models.registry import get_spec, weights_path
from xcloudmask.models.spec import ModelSpec
from xcloudmask.training.data import BANDS

__all__ = ["Start", "find_start"]


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
    sources: tuple[str, ...] = ()
    """What the weights were trained on."""
    licence: str = ""
    """Licence of the weights."""

    def to_dict(self) -> dict[str, Any]:
        """Return what a card says of it."""
        return {"name": self.name, "sha256": self.sha256, "licence": self.licence}

    def network(self, architecture: str, config: Mapping[str, int]) -> tuple[str, dict[str, int]]:
        """Return architecture and arguments of the network: those of the model, else those given."""
        return (self.architecture, dict(self.config)) if self.architecture else (architecture, dict(config))


def find_start(model: str) -> Start:
    """Find a model to start from.

    Parameters
    ----------
    model
        Name of a model, path of its card (.json), or weights or a checkpoint (.safetensors) of the network.

    Returns
    -------
    Start

    Raises
    ------
    UnknownModelError
        No model has that name.
    ArgumentError
        The model is an ensemble, or takes other bands than the training data have.
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
        return Start(name=path.name, weights=path, sha256=_sha256(path))
    spec = ModelSpec.from_card(model) if model.endswith(".json") else get_spec(model)
    _check(spec)
    path = weights_path(spec)
    digest = _sha256(path)
    if digest != spec.sha256:
        raise WeightsError(
            f"{path} is not the file that the card of {spec.name!r} names: its sha256 is {digest[:12]}..., expected "
            f"{spec.sha256[:12]}.... Give the card that was written with these weights."
        )
    return Start(
        name=spec.name,
        weights=path,
        sha256=digest,
        architecture=spec.architecture,
        config=spec.config,
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
    if spec.bands != BANDS or spec.normalization != "zscore":
        raise ArgumentError(
            f"{spec.name!r} takes {', '.join(spec.bands)} normalised by {spec.normalization!r}. Training feeds "
            f"{', '.join(BANDS)} with 'zscore': give a model that takes these."
        )


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"The weights {path} cannot be read: {error}. Give a .safetensors file.") from error
