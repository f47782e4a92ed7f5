"""The card of a trained model: what it takes, what it was trained on, how, and how good it is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from xcloudmask._files import replace_text
from xcloudmask.errors import ArgumentError
from xcloudmask.evaluate import scores
from xcloudmask.evaluate.counts import confusion_from_dict
from xcloudmask.models.architectures import measure_geometry
from xcloudmask.models.spec import ModelSpec
from xcloudmask.training.checkpoint import Progress
from xcloudmask.training.config import TrainConfig
from xcloudmask.training.data import BANDS, read_table
from xcloudmask.training.record import Record
from xcloudmask.training.start import Start

__all__ = ["add_evaluation", "build_card", "describe_run", "training_sources"]

_CATALOGUE = "Sentinel-2 Cloud Mask Catalogue (Francis, Mrziglod, Sidiropoulos, Muller): CC BY 4.0"
_SIMULATED = "scenes simulated by xcloudmask.simulate"
_MEASURES = ("agreement", "cloud_oa", "cloud_ba", "cloud_f1", "cloud_shadow_f1", "mean_f1", "mean_iou")
"""Measures of an evaluation that also stand under `metrics`, where `ModelSpec` reads them."""


def training_sources(
    config: TrainConfig, *, data: Path | None, start: Start | None = None, adopted: ModelSpec | None = None
) -> list[str]:
    """Name every source of the training with its licence.

    Parameters
    ----------
    config
        Settings.
    data
        The folder of patches.
    start
        The model whose weights the training began with: its sources are sources of the new one.
    adopted
        The model of other bands that the network began as: likewise.

    Returns
    -------
    list of str

    Examples
    --------
    >>> training_sources(TrainConfig(), data=None)
    ['scenes simulated by xcloudmask.simulate']
    """
    found: list[str] = []
    if data is not None:
        rows = [row for row in read_table(data) if row["split"] in config.data.splits]
        found += sorted({f"{row['source']}: {row['licence']}" for row in rows})
        found += [_CATALOGUE] if config.data.thumbnails else []
    found += [f"{cube.name or Path(cube.path).stem}: {cube.licence or 'licence not given'}" for cube in config.cubes]
    if config.mixture.clouded > 0 or config.mixture.landscapes > 0:
        found.append(_SIMULATED)
    before = [*(() if start is None else start.sources), *(() if adopted is None else adopted.sources)]
    return list(dict.fromkeys([*before, *found]))


def build_card(
    config: TrainConfig,
    *,
    progress: Progress,
    record: Record,
    sources: Sequence[str],
    start: Start | None = None,
    measured: Mapping[str, float] | None = None,
    takes: Mapping[str, Any] = MappingProxyType({}),
    command: str = "",
    device: str = "",
) -> dict[str, Any]:
    """Put the card of a trained network together.

    Parameters
    ----------
    config
        Settings, with the network that was trained.
    progress
        Of the run.
    record
        Of the run.
    sources
        What `training_sources` returns.
    start
        The model whose weights the training began with.
    measured
        Measures on what was held out; those without a value are left out.
    takes
        Fields of the model that differ from those of red, green and near infrared.
    command
        What was typed.
    device
        Where it ran.

    Returns
    -------
    dict
        All fields of `xcloudmask.ModelSpec` but `weights` and `sha256`, and how the weights were made.
    """
    model, card = config.model, config.card
    stride_px, radius_px = measure_geometry(model.architecture, model.config)
    return {
        "name": model.name,
        "architecture": model.architecture,
        "config": dict(model.config),
        "bands": list(BANDS),
        "optional_bands": ["nir"],
        "stride_px": stride_px,
        "radius_px": radius_px,
        "exact_halo": True,
        "normalization": "zscore",
        "level": bool(model.config.get("level", 1)),
        "resolution_m": [10, 50],
        "tile_px": 1024,
        "window_px": 512,
        "licence": card.licence,
        "sources": list(sources),
        "metrics": {key: round(value, 4) for key, value in (measured or {}).items() if not math.isnan(value)},
        "intended": card.intended,
        "known_failures": list(card.known_failures),
        "notes": card.notes,
        "attribution": card.attribution,
        "training": describe_run(progress=progress, record=record, start=start, command=command, device=device),
        **takes,
    }


def describe_run(
    *, progress: Progress, record: Record, start: Start | None = None, command: str = "", device: str = ""
) -> dict[str, Any]:
    """Tell how weights were made: what a card holds as `training`.

    Parameters
    ----------
    progress, record, start, command, device
        As in `build_card`.

    Returns
    -------
    dict
    """
    return {
        "command": command,
        "start": {} if start is None else start.to_dict(),
        "body": dict(record.body),
        "code_version": record.code_versions[-1],
        "code_versions": list(record.code_versions),
        "seed": progress.seed,
        "steps": progress.step,
        "planned_steps": progress.planned,
        "minutes": round(progress.elapsed_s / 60, 1),
        "device": device,
        "patches": dict(record.data),
        "config": dict(record.settings),
    }


def add_evaluation(card: str | Path, evaluation: str | Path) -> None:
    """Write the measures of `xcloudmask evaluate --json` into a card.

    Parameters
    ----------
    card
        The card, which is replaced.
    evaluation
        JSON of an evaluation of that model.

    Raises
    ------
    ArgumentError
        A file cannot be read, or the evaluation is that of other weights.

    Notes
    -----
    `evaluation` of the card gets everything but the counts of each patch; `metrics` the pooled figures and those of
    each source, without intervals. What cannot be measured (a class that no label tells) is in neither. An evaluation
    on simulated scenes goes to `simulated`, with the agreement of each scene, and not to `metrics`.

    Examples
    --------
    >>> add_evaluation("mine/mine.json", "eval.json")  # doctest: +SKIP
    """
    path = Path(card)
    plain, measured = _read_json(path), _read_json(Path(evaluation))
    model, results = measured.get("model"), measured.get("results")
    if not isinstance(model, dict) or not isinstance(results, dict):
        raise ArgumentError(f"{evaluation} is no evaluation. Expected what xcloudmask evaluate --json writes.")
    # An ensemble's card has no checksum of its own: it is made of those of the members.
    own = str(plain.get("sha256") or ModelSpec.from_card(path).sha256)
    if model.get("sha256") != own:
        raise ArgumentError(
            f"{evaluation} is of the weights {str(model.get('sha256'))[:12]}, and {card} "
            f"of {own[:12]}. Type: xcloudmask evaluate --model {card} --json {evaluation}"
        )
    told = {key: measured[key] for key in ("xcloudmask_version", "settings") if key in measured}
    if measured.get("settings", {}).get("simulated"):
        plain["simulated"] = told | {
            "results": {level: _main_measures(one) for level, one in results.items()},
            "scenes": {level: _agreements(one) for level, one in results.items()},
        }
    else:
        kept = {level: {k: v for k, v in one.items() if k != "patches"} for level, one in results.items()}
        plain["evaluation"] = {**told, "results": kept}
        plain["metrics"] = {**plain.get("metrics", {}), **_flat(results)}
    replace_text(path, json.dumps(plain, indent=2) + "\n")


def _main_measures(result: Mapping[str, Any]) -> dict[str, dict[str, list[float | None]]]:
    """Return value, low and high of the main measures, by source."""
    groups = {**result["sources"], "pooled": result["pooled"]}
    return {source: {name: _bounds(group["measures"][name]) for name in _MEASURES} for source, group in groups.items()}


def _bounds(estimate: Mapping[str, float | None]) -> list[float | None]:
    return [None if (value := estimate[key]) is None else round(value, 4) for key in ("value", "low", "high")]


def _agreements(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the share of pixels whose class, of four, is that of the truth, of each scene."""
    counted = {entry["name"]: confusion_from_dict(entry["confusion"]) for entry in result["patches"]}
    return {name: round(scores(counts).agreement, 4) for name, counts in counted.items()}


def _flat(results: Mapping[str, Any]) -> dict[str, float]:
    flat: dict[str, float] = {}
    for level, result in results.items():
        for source, group in {**result["sources"], "pooled": result["pooled"]}.items():
            for name in _MEASURES:
                value = group["measures"].get(name, {}).get("value")
                if value is not None:
                    flat[f"{source}_level_{level}_{name}"] = round(value, 4)
    return flat


def _read_json(path: Path) -> dict[str, Any]:
    try:
        plain = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{path} cannot be read: {error}. Expected a JSON file.") from error
    if not isinstance(plain, dict):
        raise ArgumentError(f"{path} holds a {type(plain).__name__}. Expected a JSON object.")
    return plain
