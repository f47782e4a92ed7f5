"""The TOML file of a training run: read, checked, and written again. The settings are those of `training.options`."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from xcloudmask._config_fields import check_keys, hints_of
from xcloudmask.errors import ArgumentError
from xcloudmask.training.options import (
    CONFIG,
    TABLES,
    CardOptions,
    CubeOptions,
    DataOptions,
    FitOptions,
    Mixture,
    ModelOptions,
    TrainConfig,
)

__all__ = [
    "CONFIG",
    "RECIPES_DIR",
    "CardOptions",
    "CubeOptions",
    "DataOptions",
    "FitOptions",
    "Mixture",
    "ModelOptions",
    "TrainConfig",
    "list_recipes",
    "load_chain",
    "load_config",
    "to_toml",
]

RECIPES_DIR = Path(__file__).parent / "recipes"
"""Where the package keeps the configurations of its own models."""

_CONFIG_BYTES_MAX = 100_000


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
        Paths in it are relative to the file, and are made absolute.

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
    tables = _read(path, given=str(config))
    check_keys(tables, TABLES, place=str(path))
    built: dict[str, Any] = {}
    for name, table in tables.items():
        if name == "cubes":
            built[name] = _build_cubes(table, place=f"{path} [[cubes]]")
        else:
            built[name] = _build(TABLES[name], table, place=f"{path} [{name}]")
    return _located(TrainConfig(**built), path.absolute().parent)


def load_chain(config: str | Path) -> tuple[TrainConfig, ...]:
    """Read the settings of a run and of those that come before it.

    Parameters
    ----------
    config
        As in `load_config`.

    Returns
    -------
    tuple of TrainConfig
        In the order in which they are trained: each starts from the model of the one before.

    Raises
    ------
    ArgumentError
        As in `load_config`; or a run comes before itself.

    Examples
    --------
    >>> [config.model.name for config in load_chain("any-bands")][-1]
    'any-bands'
    """
    chain = [load_config(config)]
    while before := chain[0].model.after:
        if before in [one.model.after for one in chain[1:]]:
            raise ArgumentError(f"after = {before!r} under [model] comes round again. Expected a chain that begins.")
        chain.insert(0, load_config(before))
    return tuple(chain)


def _read(path: Path, *, given: str) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_CONFIG_BYTES_MAX + 1)
        if len(content) > _CONFIG_BYTES_MAX:
            raise ArgumentError(f"{path} is larger than {_CONFIG_BYTES_MAX} bytes: that is no configuration.")
        return tomllib.loads(content.decode())
    except (OSError, ValueError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(
            f"The configuration {given} cannot be read: {error}. Give a TOML file, or one of the recipes: "
            f"{', '.join(list_recipes())}."
        ) from error


def _build_cubes(tables: Any, *, place: str) -> tuple[CubeOptions, ...]:
    if not isinstance(tables, list):
        raise ArgumentError(f"{place} is {tables!r}. Expected [[cubes]] in two pairs of brackets, once for each cube.")
    return tuple(_build(CubeOptions, table, place=place) for table in tables)


def _build(kind: Any, table: Any, *, place: str) -> Any:
    if not isinstance(table, dict):
        raise ArgumentError(f"{place} is {table!r}. Expected a table.")
    hints = hints_of(kind, table, place=place)
    return kind(**{key: _convert(value, hints[key], place=f"{place} {key}") for key, value in table.items()})


def _convert(value: Any, hint: Any, *, place: str) -> Any:
    """Check a value of a TOML file against the annotation of its field."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(item, arguments[0], place=place) for item in value)
    if origin is Literal:
        if value not in arguments:
            raise ArgumentError(f"{place} = {value!r}. Expected one of {', '.join(map(repr, arguments))}.")
        return value
    if origin is Mapping and isinstance(value, dict):
        return {key: _convert(item, arguments[1], place=f"{place}.{key}") for key, item in value.items()}
    expected = (origin,) if origin in (tuple, Mapping) else arguments or (hint,)
    allowed = tuple(kind for kind in expected if isinstance(kind, type))
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        names: dict[Any, str] = {tuple: "list", Mapping: "table"}
        text = " or ".join(names.get(kind, kind.__name__) for kind in allowed if kind is not type(None))
        raise ArgumentError(f"{place} = {value!r} is a {type(value).__name__}. Expected {text}.")
    return value


def _located(config: TrainConfig, folder: Path) -> TrainConfig:
    """Make the paths of a file absolute, so that they mean the same wherever the command is typed."""

    def place(text: str) -> str:
        return text if not text or "://" in text else str(folder / text)

    cubes = []
    for cube in config.cubes:
        # Without such a file it is the name of a variable.
        labels = place(cube.labels) if (folder / cube.labels).exists() else cube.labels
        cubes.append(replace(cube, path=place(cube.path), labels=labels))
    named = (config.model.start, config.model.after, config.model.body)
    start, after, body = (place(text) if Path(text).suffix else text for text in named)
    return replace(
        config,
        model=replace(config.model, start=start, after=after, body=body),
        data=replace(config.data, folder=place(config.data.folder)),
        cubes=tuple(cubes),
    )


def to_toml(config: TrainConfig) -> str:
    """Write settings as a TOML file that `load_config` reads back.

    Parameters
    ----------
    config
        The settings.

    Returns
    -------
    str
        All keys but those that are None, which TOML has no word for.

    Examples
    --------
    >>> to_toml(TrainConfig()).splitlines()[:2]
    ['[model]', 'name = "model"']
    """
    lines: list[str] = []
    for name, table in config.to_dict().items():
        heading, entries = (f"[[{name}]]", table) if name == "cubes" else (f"[{name}]", [table])
        for entry in entries:
            pairs = [f"{key} = {_toml_value(value)}" for key, value in entry.items() if value is not None]
            lines += [heading, *pairs, ""]
    return "\n".join(lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml_value(key)} = {_toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if isinstance(value, float):
        # TOML wants a dot or an exponent with digits before it, as repr writes it.
        return repr(value)
    return json.dumps(value, ensure_ascii=False)
