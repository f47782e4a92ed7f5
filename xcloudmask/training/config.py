"""The settings of a training run, and their TOML file: the only place that knows their names and defaults."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from xcloudmask.errors import ArgumentError

__all__ = [
    "CONFIG",
    "RECIPES_DIR",
    "DataOptions",
    "FitOptions",
    "Mixture",
    "ModelOptions",
    "TrainConfig",
    "list_recipes",
    "load_config",
]

RECIPES_DIR = Path(__file__).parent / "recipes"
"""Where the package keeps the configurations of its own models."""

CONFIG: Mapping[str, int] = MappingProxyType({"bands": 3, "classes": 4, "width": 32, "blocks": 3, "level": 1})
"""Arguments of the U-Net of the model `default`."""

_CONFIG_BYTES_MAX = 100_000
_Options = TypeVar("_Options")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """The network."""

    name: str = "model"
    """Name of the weights and the card."""
    architecture: str = "unet"
    """Key of `xcloudmask.models.architectures`."""
    config: Mapping[str, int] = field(default_factory=lambda: dict(CONFIG))
    """Arguments of the architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """Where labelled pixels come from."""

    splits: tuple[str, ...] = ("train", "background")
    """Splits of the folder of patches; "background" holds clear images for simulated clouds."""
    thumbnails: bool = True
    """Whether to use the thumbnails without near infrared, where the folder has them."""
    nir_guess: bool = True
    """Whether thumbnails also train with a near infrared guessed from their colours."""
    holdout_every: int = 10
    """Every so many patches (by name) is kept out of the fit, for choosing; 0 keeps none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """How samples are drawn. The five shares are weights: they need not add up to 1."""

    real: float = 0.26
    """Labelled patches."""
    thumbnails: float = 0.24
    """Labelled thumbnails."""
    clouded: float = 0.24
    """Clear patches under simulated clouds."""
    landscapes: float = 0.14
    """Simulated surfaces under simulated clouds."""
    pasted: float = 0.12
    """Clear patches under the clouds of labelled ones."""
    clear: float = 0.22
    """Share of `clouded` and `landscapes` that stays without a cloud."""
    level_dropped: float = 0.45
    """Share of samples whose level is kept from the network."""
    nir_dropped: float = 0.15
    """Share of samples whose near infrared is given up."""
    statistics_mixed: float = 0.2
    """Share of samples normalised as a part of a larger window with another place in it."""
    size_px: int = 192
    """Side of a sample; a multiple of the network's stride."""
    mixed_resolution: bool = True
    """Whether windows are brought to other pixel sizes (9 to 50 m); False keeps each patch at its own."""
    partial_labels: bool = True
    """False guesses one class for each partial label: clear for not cloud, thick for cloud."""
    normalize: Literal["zscore", "fixed", "percentile"] = "zscore"
    """"zscore" of each window; "fixed" mean and spread, or "percentile" 1 to 99, of the whole training data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """The fit."""

    steps: int | None = None
    """Planned steps; None goes by the clock, as many as fit `minutes`, and is then not the same each time."""
    minutes: float = 50.0
    """Planned duration, where `steps` is None."""
    batch: int = 14
    """Samples of a step."""
    seed: int = 0
    """Seed of weights and samples."""
    learning_rate: float = 2e-3
    """Peak of the cosine schedule."""
    weight_decay: float = 0.02
    """Of AdamW."""
    ema: float = 0.998
    """Memory of the averaged weights."""
    shadow_weight: float = 2.0
    """Weight of pixels that are known to be shadow; others have 1."""
    thin_weight: float = 1.2
    """Weight of pixels that are known to be thin cloud."""
    checkpoint_s: float = 180.0
    """Seconds between checkpoints."""
    validate_steps: int = 0
    """Steps between measurements on what is held out; 0 makes none."""
    workers: int = 1
    """Processes that draw samples; 0 draws them in this one."""
    device: str = "auto"
    """"auto" takes CUDA where there is one; "cpu", "cuda", "cuda:0"."""
    bf16: bool = True
    """Whether to multiply in bfloat16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """A whole run."""

    model: ModelOptions = field(default_factory=ModelOptions)
    """Table [model]."""
    data: DataOptions = field(default_factory=DataOptions)
    """Table [data]."""
    mixture: Mixture = field(default_factory=Mixture)
    """Table [mixture]."""
    fit: FitOptions = field(default_factory=FitOptions)
    """Table [fit]."""

    def to_dict(self) -> dict[str, Any]:
        """Return the tables as plain data, as in the file."""
        return asdict(self)


def list_recipes() -> dict[str, Path]:
    """Return the configurations that the package ships, by name.

    Returns
    -------
    dict

    Examples
    --------
    >>> "default" in list_recipes()
    True
    """
    return {path.stem: path for path in sorted(RECIPES_DIR.glob("*.toml"))}


def load_config(config: str | Path) -> TrainConfig:
    """Read the settings of a run.

    Parameters
    ----------
    config
        A TOML file, or the name of a recipe of the package.

    Returns
    -------
    TrainConfig

    Raises
    ------
    ArgumentError
        The file is missing or no TOML, or has a table, a key or a value that is not known.

    Examples
    --------
    >>> load_config("default").model.name
    'default'
    """
    path = list_recipes().get(str(config), Path(config))
    try:
        with path.open("rb") as file:
            content = file.read(_CONFIG_BYTES_MAX + 1)
        if len(content) > _CONFIG_BYTES_MAX:
            raise ArgumentError(f"{path} is larger than {_CONFIG_BYTES_MAX} bytes: that is no configuration.")
        tables = tomllib.loads(content.decode())
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"The configuration {config} cannot be read: {error}. Give a TOML file, or one of the recipes: "
            f"{', '.join(list_recipes())}."
        ) from error
    known = {entry.name: entry.default_factory for entry in fields(TrainConfig)}
    _check_keys(tables, known, place=str(path))
    return TrainConfig(**{name: _build(known[name], table, place=f"{path} [{name}]") for name, table in tables.items()})


def _build(kind: Any, table: Any, *, place: str) -> Any:
    if not isinstance(table, dict):
        raise ArgumentError(f"{place} is {table!r}. Expected a table.")
    hints = get_type_hints(kind)
    _check_keys(table, hints, place=place)
    return kind(**{key: _convert(value, hints[key], place=f"{place} {key}") for key, value in table.items()})


def _check_keys(found: Mapping[str, Any], known: Mapping[str, Any], *, place: str) -> None:
    for key in found:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ArgumentError(f"{place}: {key!r} is unknown.{hint} Expected some of: {', '.join(known)}.")


def _convert(value: Any, hint: Any, *, place: str) -> Any:
    """Check a value of a TOML file against the annotation of its field."""
    if get_origin(hint) is tuple and isinstance(value, list):
        return tuple(_convert(item, get_args(hint)[0], place=place) for item in value)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ArgumentError(f"{place} = {value!r}. Expected one of {', '.join(map(repr, get_args(hint)))}.")
        return value
    if isinstance(value, dict) and get_origin(hint) is not None and issubclass(get_origin(hint), Mapping):
        return {key: _convert(item, int, place=f"{place}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    allowed = tuple(kind for kind in (get_args(hint) or (hint,)) if isinstance(kind, type))
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        names = " or ".join(kind.__name__ for kind in allowed if kind is not type(None))
        raise ArgumentError(f"{place} = {value!r} is a {type(value).__name__}. Expected {names}.")
    return value
