"""Specs as people write them: a TOML file, or a dictionary with the same keys."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

from xcloudmask.errors import ModelError
from xcloudmask.models._foreignspec import FOREIGN
from xcloudmask.models.hub import is_address
from xcloudmask.models.spec import CARD_BYTES_MAX, ENSEMBLE, ModelSpec

__all__ = ["is_spec_file", "read_spec", "spec_of"]

MEASURE = "measure"
"""What `radius_px` may say instead of a number."""

_NUMBERS = {"stride_px", "radius_px", "tile_px", "window_px", "input_px"}
_SWITCHES = {"exact_halo", "level", "level_complete", "any_bands"}
_LISTS = {
    **dict.fromkeys(("bands", "optional_bands", "classes", "sources"), str),
    **dict.fromkeys(("mean", "std", "low", "high"), float),
}
_TEXTS = {
    "name",
    "architecture",
    "normalization",
    "weights",
    "sha256",
    "licence",
    "notes",
    "factory",
    "output",
}
_READ_MAX = 2**20


def is_spec_file(model: object) -> bool:
    """Whether a model is given by the path of a file.

    Parameters
    ----------
    model
        What a caller gave as model.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_spec_file("mine.toml"), is_spec_file("default")
    (True, False)
    """
    return isinstance(model, PathLike) or (isinstance(model, str) and model.endswith((".toml", ".json")))


def read_spec(path: str | PathLike[str]) -> ModelSpec:
    """Read a spec from a TOML file, or from a JSON card.

    Parameters
    ----------
    path
        The file. Paths in it are relative to it.

    Returns
    -------
    ModelSpec

    Raises
    ------
    ModelError
        The file is missing, too large, no TOML, lacks a key, or has one that nobody reads.
    """
    path = Path(path)
    if path.suffix == ".json":
        return ModelSpec.from_card(path)
    try:
        stat = path.stat()
    except OSError as error:
        raise ModelError(
            f"The model file {path} cannot be read: {error}. Expected the path of a TOML file, or the name of a model."
        ) from error
    if stat.st_size > CARD_BYTES_MAX:
        raise ModelError(f"{path} is larger than {CARD_BYTES_MAX} bytes, the most that the spec of a model may have.")
    return _read(path.resolve(), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _read(path: Path, _changed: int, _size: int) -> ModelSpec:
    """Read once as long as the file stays as it is: measuring a radius takes a while."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no TOML file: {error}") from error
    return spec_of({"name": path.stem, **table}, folder=path.parent, where=str(path))


def spec_of(table: Mapping[str, Any], *, folder: Path, where: str) -> ModelSpec:
    """Make a spec of a table of keys and values.

    Parameters
    ----------
    table
        The fields of a `ModelSpec`; ``radius_px`` may be ``"measure"``.
    folder
        What a relative path of weights is relative to.
    where
        Where the table stands, for messages.

    Returns
    -------
    ModelSpec

    Raises
    ------
    ModelError
        A key is missing, unknown, or has a value of the wrong type.

    Examples
    --------
    >>> spec_of({"name": "mine"}, folder=Path(), where="the dictionary")
    Traceback (most recent call last):
        ...
    xcloudmask.errors.ModelError: the dictionary lacks architecture = ... A whole example: docs/foreign-models.md
    """
    table = dict(table)
    _check_keys(table, where)
    if not is_address(table["weights"]):
        table["weights"] = str(folder.resolve() / table["weights"])
    if "sha256" not in table:
        raise ModelError(
            f"{where} lacks sha256 = ..., by which each process knows that it loads the file that you mean."
            f"{_sha256_advice(table['weights'])}"
        )
    measured = table["radius_px"] == MEASURE
    if table.get("input_px") and not measured:
        _fill_in_tiles(table)
    try:
        if measured:
            return _measured(table, where)
        return ModelSpec(**table)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{where} is no spec of a model: {error}") from error


def _check_keys(table: dict[str, Any], where: str) -> None:
    known = {field.name for field in fields(ModelSpec)} - {"members", "voting", "votes"}
    for key, value in table.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ModelError(
                f"{where} has the key {key!r}, which no model has.{hint} Known: {', '.join(sorted(known))}."
            )
        _check_type(key, value, where)
    if table.get("architecture") == ENSEMBLE:
        raise ModelError(
            f"{where} is an ensemble. Type: xcloudmask.models.ensemble.combine(['a.toml', 'b.toml'], name=...)"
        )
    needed = [field.name for field in fields(ModelSpec) if field.default is MISSING]
    needed += ["weights", *(["bands", "classes"] if table.get("architecture") in FOREIGN else [])]
    for key in needed:
        if key not in table:
            raise ModelError(f"{where} lacks {key} = ... A whole example: docs/foreign-models.md")


def _check_type(key: str, value: Any, where: str) -> None:
    if key in _NUMBERS:
        fits = (isinstance(value, int) and not isinstance(value, bool)) or (key == "radius_px" and value == MEASURE)
        expected = "a whole number of pixels" + (f", or '{MEASURE}'" if key == "radius_px" else "")
    elif key in _SWITCHES:
        fits, expected = isinstance(value, bool), "true or false"
    elif key in _LISTS:
        kinds = (int, float) if _LISTS[key] is float else _LISTS[key]
        fits = isinstance(value, list | tuple) and all(isinstance(item, kinds) for item in value)
        expected = f"a list of {'numbers' if _LISTS[key] is float else 'texts'}"
    elif key == "resolution_m":
        fits = isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(v, int | float) for v in value)
        expected = "the finest and the coarsest pixel, such as [10.0, 50.0]"
    elif key in _TEXTS:
        fits, expected = isinstance(value, str), "text"
    else:  # config, metrics
        fits, expected = isinstance(value, Mapping), "a table"
    if not fits:
        raise ModelError(f"{where} has {key} = {value!r}. Expected {expected}.")


def _sha256_advice(weights: str) -> str:
    """The line to type, where the file is at hand."""
    path = Path(weights)
    if not path.is_file():
        return f" Type: sha256 = '...' as sha256sum {weights} prints it."
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(_READ_MAX):
            digest.update(block)
    return f" If {weights} is that file now, type: sha256 = '{digest.hexdigest()}'"


def _fill_in_tiles(table: dict[str, Any]) -> None:
    """Tiles of a file that takes one shape follow from it and the halo."""
    stride, side = table["stride_px"], table["input_px"]
    if stride < 1:
        return  # refused by the spec
    halo = -(-table["radius_px"] // stride) * stride
    table.setdefault("tile_px", max((side - 2 * halo) // stride * stride, stride))
    table.setdefault("window_px", max(side // stride * stride, stride))


def _measured(table: dict[str, Any], where: str) -> ModelSpec:
    """The spec with the radius that its network has."""
    if table.get("input_px") or table.get("architecture") not in FOREIGN or table["architecture"] == "onnx":
        raise ModelError(
            f"{where} has radius_px = '{MEASURE}', which works for networks of torch that take any size: the gradient "
            "of an output is followed back to the inputs. Type radius_px = the distance in pixels beyond which an "
            "input changes no output."
        )
    from xcloudmask.models.foreign.measure import measure_radius

    spec = ModelSpec(**{**table, "radius_px": 0})
    return replace(spec, radius_px=measure_radius(spec))
