"""Checkpoints in safetensors (one file, replaced at once) and the export of weights with their card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xcloudmask._files import replace_text
from xcloudmask.errors import WeightsError

__all__ = ["Progress", "export", "load_checkpoint", "load_network", "read_progress", "save_checkpoint"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands."""

    step: int
    """Steps done."""
    planned: int
    """Steps of the whole run."""
    seed: int
    """Seed of the samples."""
    elapsed_s: float = 0.0
    """Time spent so far."""


def save_checkpoint(
    path: Path, *, net: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write all that an exact resume needs.

    Parameters
    ----------
    path
        A .safetensors file; replaced in one step.
    net, ema
        The network and its averaged twin.
    optimizer
        Its state holds tensors only.
    progress
        Kept as metadata.
    """
    tensors: dict[str, Tensor] = {}
    for prefix, module in (("net", net), ("ema", ema)):
        tensors |= {f"{prefix}.{key}": value.contiguous() for key, value in module.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value.contiguous() for key, value in values.items()}
    metadata = {key: str(value) for key, value in asdict(progress).items()}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata=metadata)
    partial.replace(path)


def load_checkpoint(
    path: Path, *, net: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> Progress:
    """Read a checkpoint back into the modules.

    Parameters
    ----------
    path
        A file that `save_checkpoint` wrote.
    net, ema
        Filled in place.
    optimizer
        Filled in place; None leaves its state in the file.

    Returns
    -------
    Progress

    Raises
    ------
    WeightsError
        The file is no checkpoint of this network.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        for prefix, module in (("net.", net), ("ema.", ema)):
            module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        if optimizer is not None:
            _restore_optimizer(optimizer, tensors)
        return _progress(metadata)
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"{path} is no checkpoint of this network: {error}. Give another --out or remove the file."
        ) from error


def read_progress(path: Path) -> Progress:
    """Read where the run of a checkpoint stood.

    Parameters
    ----------
    path
        A file that `save_checkpoint` wrote.

    Returns
    -------
    Progress

    Raises
    ------
    WeightsError
        The file is no checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return _progress(file.metadata() or {})
    except (OSError, KeyError, SafetensorError) as error:
        raise WeightsError(f"{path} is no checkpoint: {error}. Give the checkpoint.safetensors of a fit.") from error


def _progress(metadata: Mapping[str, str]) -> Progress:
    return Progress(
        step=int(metadata["step"]),
        planned=int(metadata["planned"]),
        seed=int(metadata["seed"]),
        elapsed_s=float(metadata["elapsed_s"]),
    )


def load_network(net: nn.Module, path: Path, *, part: str = "") -> nn.Module:
    """Fill a network from exported weights, or from the averaged weights of a checkpoint.

    Parameters
    ----------
    net
        Filled in place.
    path
        A .safetensors file.
    part
        Beginning of the names of the part of the network that the file is of, such as ``"sensei."``; the rest stays as
        it is. Empty for all of it.

    Returns
    -------
    torch.nn.Module
        The same network, in eval mode and channels_last.

    Raises
    ------
    WeightsError
        The file does not fit the network.
    """
    try:
        tensors = load_file(path)
        averaged = {key.removeprefix("ema."): value for key, value in tensors.items() if key.startswith("ema.")}
        given = {part + key: value for key, value in (averaged or tensors).items()}
        rest = {key: value for key, value in net.state_dict().items() if part and not key.startswith(part)}
        net.load_state_dict(rest | given)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WeightsError(f"{path} does not fit this network: {error}. Give a checkpoint or weights of it.") from error
    return net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state = optimizer.state_dict()
    values: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            values.setdefault(int(index), {})[name] = value
    state["state"] = values
    optimizer.load_state_dict(state)


def export(net: nn.Module, folder: Path, *, card: Mapping[str, Any]) -> Path:
    """Write the weights of a network and its card.

    Parameters
    ----------
    net
        The network; its state is written in float32.
    folder
        Receives ``<name>.safetensors`` and ``<name>.json``. An evaluation in a card that is there stays, if it is
        of the same weights.
    card
        The fields of `xcloudmask.models.spec.ModelSpec` without `weights` and `sha256`, and whatever
        else the card says.

    Returns
    -------
    pathlib.Path
        The card.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{card['name']}.safetensors"
    # Contiguous: channels_last is a matter of the machine, not of the file.
    partial = weights.with_suffix(".partial")
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, partial)
    partial.chmod(0o644)
    digest = hashlib.sha256(partial.read_bytes()).hexdigest()
    path = folder / f"{card['name']}.json"
    plain = {**card, **_evaluation(path, digest, card), "weights": weights.name, "sha256": digest}
    partial.replace(weights)
    replace_text(path, json.dumps(plain, indent=2) + "\n")
    return path


def _evaluation(path: Path, digest: str, card: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was measured of the same weights and stands in a card that is there."""
    try:
        before = json.loads(path.read_text())
        if before["sha256"] != digest or "evaluation" not in before:
            return {}
        return {"metrics": {**before["metrics"], **card.get("metrics", {})}, "evaluation": before["evaluation"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
