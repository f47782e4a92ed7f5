"""What a run was started with, written beside its checkpoint: another run is refused in the same folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xcloudmask._files import replace_text
from xcloudmask._version import __version__
from xcloudmask.errors import ArgumentError
from xcloudmask.models.spec import ModelSpec
from xcloudmask.training.config import CardOptions, TrainConfig, to_toml
from xcloudmask.training.data import Patch
from xcloudmask.training.start import Start

__all__ = ["CONFIG_FILE", "RECORD", "Record", "keep_record"]

RECORD = "run.json"
CONFIG_FILE = "config.toml"

_FREE = {"checkpoint_s", "device", "workers"}
"""Settings of the fit that change no sample: a run may go on with others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a run was started with."""

    settings: Mapping[str, Any]
    """Tables that a sample or a step depends on."""
    start: Mapping[str, str]
    """Name and checksum of the weights it began with; empty for random ones."""
    data: Mapping[str, Any]
    """Number of patches of each use, and a checksum of their names and labels."""
    body: Mapping[str, str] = field(default_factory=dict)
    """Name and checksum of the model of other bands whose network it began as; empty where there was none."""
    code_versions: tuple[str, ...] = (__version__,)
    """Versions of this package that worked on it, the first one first."""


def keep_record(
    out: Path,
    config: TrainConfig,
    *,
    start: Start | None,
    adopted: ModelSpec | None = None,
    pools: Mapping[str, Sequence[Patch]],
) -> Record:
    """Write what a run is started with, or compare it with what stands there.

    Parameters
    ----------
    out
        Folder of the run; receives `run.json` and `config.toml`.
    config
        Settings.
    start
        The weights to begin with.
    adopted
        The model of other bands whose network it begins as.
    pools
        Patches by use.

    Returns
    -------
    Record

    Raises
    ------
    ArgumentError
        The folder is that of a run with other settings, start weights or data.
    """
    record = Record(
        settings=json.loads(json.dumps(_settings(config))),
        start={} if start is None else {"name": start.name, "sha256": start.sha256},
        body={} if adopted is None else {"name": adopted.name, "sha256": adopted.sha256},
        data=_fingerprint(pools),
    )
    path = out / RECORD
    if path.exists():
        before = _read(path)
        _check_same(before, record, out)
        record = replace(record, code_versions=tuple(dict.fromkeys([*before.code_versions, __version__])))
    out.mkdir(parents=True, exist_ok=True)
    plain = {name: getattr(record, name) for name in ("settings", "start", "body", "data", "code_versions")}
    replace_text(out / CONFIG_FILE, to_toml(config))
    replace_text(path, json.dumps(plain, indent=2) + "\n")
    return record


def _settings(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that matter: where things lie, and what the card says, do not."""
    plain = replace(config, card=CardOptions()).to_dict()
    del plain["card"], plain["data"]["folder"], plain["model"]["start"], plain["model"]["after"]
    plain["model"]["body"] = Path(plain["model"]["body"]).name
    plain["fit"] = {key: value for key, value in plain["fit"].items() if key not in _FREE}
    plain["cubes"] = [{**cube, "path": Path(cube["path"]).name} for cube in plain["cubes"]]
    for cube in plain["cubes"]:
        cube["labels"] = Path(cube["labels"]).name
    return plain


def _fingerprint(pools: Mapping[str, Sequence[Patch]]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for patches in pools.values():
        for patch in patches:
            digest.update(f"{patch.name} {patch.image.shape} {patch.weight}\n".encode())
            digest.update(patch.allowed.tobytes())
    return {name: len(patches) for name, patches in pools.items()} | {"sha256": digest.hexdigest()}


def _read(path: Path) -> Record:
    try:
        plain = json.loads(path.read_text())
        return Record(
            settings=plain["settings"],
            start=plain["start"],
            body=plain.get("body", {}),
            data=plain["data"],
            code_versions=tuple(plain["code_versions"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArgumentError(f"{path} is not the record of a run: {error}. Give another folder as --out.") from error


def _check_same(before: Record, now: Record, out: Path) -> None:
    changes = _differences(before.settings, now.settings)
    if before.start != now.start:
        changes.append(f"start weights {_text(before.start)}, and this one begins with {_text(now.start)}")
    if before.body and before.body != now.body:
        changes.append(f"the network of {_text(before.body)}, and this one begins as {_text(now.body)}")
    changes += [
        f"{value} as the {name} of its data, and this one has {now.data.get(name)}"
        for name, value in before.data.items()
        if now.data.get(name) != value
    ]
    if changes:
        raise ArgumentError(
            f"{out} holds a run with {changes[0]}. Two runs are not mixed: give another folder as --out, or go on with "
            f"the settings in {out / CONFIG_FILE}."
        )


def _text(weights: Mapping[str, str]) -> str:
    return f"{weights['name']} ({weights['sha256'][:12]})" if weights else "random ones"


def _differences(before: Any, now: Any, *, prefix: str = "") -> list[str]:
    """Name the settings that differ; those that the run's version of the code had not are at their defaults."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        names = {key: f"{prefix}.{key}" if prefix else str(key) for key in before}
        return [text for key, name in names.items() for text in _differences(before[key], now.get(key), prefix=name)]
    return [] if before == now else [f"{prefix} = {before!r}, and this one has {now!r}"]
