"""The models that can be asked for by name: those of the package's weights folder, and those the user registers."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Mapping
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

from xcloudmask.errors import ArgumentTypeError, UnknownModelError
from xcloudmask.models._specfile import is_spec_file, spec_of
from xcloudmask.models.hub import is_address, local_path
from xcloudmask.models.spec import ModelSpec

__all__ = ["WEIGHTS_DIR", "get_spec", "list_models", "register_model", "weights_path"]

WEIGHTS_DIR = Path(__file__).parent / "weights"
"""Where the package keeps its weights and cards."""

CARDS_DIR = Path(__file__).parent / "cards"
"""Cards of models whose weights are not in the package."""

_registered: dict[str, ModelSpec] = {}
_lock = threading.Lock()


@cache
def _packaged() -> dict[str, ModelSpec]:
    cards = [ModelSpec.from_card(path) for where in (WEIGHTS_DIR, CARDS_DIR) for path in sorted(where.glob("*.json"))]
    # A bare file name, so that keys are the same wherever the package is installed.
    specs = (spec.located(lambda path: Path(path).name) for spec in cards)
    return {spec.name: spec for spec in specs}


def list_models() -> dict[str, ModelSpec]:
    """Return all models by name.

    Returns
    -------
    dict

    Examples
    --------
    >>> "default" in list_models()
    True
    """
    with _lock:
        return {**_packaged(), **_registered}


def register_model(spec: ModelSpec | Mapping[str, Any] | str | PathLike[str]) -> ModelSpec:
    """Make a model available under its name in this process.

    The name is for the caller's convenience: the graph carries the spec itself, so workers need not know the name.
    They do need the weights file, under the same path.

    Parameters
    ----------
    spec
        The model; a dictionary of the fields of a `ModelSpec`, with paths relative to the working directory; or the
        path of a TOML file of them (or of a JSON card), with paths relative to it. A name that is already taken is
        replaced.

    Returns
    -------
    ModelSpec

    Raises
    ------
    ArgumentTypeError
        The argument is none of these.
    ModelError
        A field is missing, unknown, or cannot be; the message says what to type.

    Examples
    --------
    >>> from dataclasses import replace
    >>> register_model(replace(get_spec("default"), name="mine")).name
    'mine'
    >>> get_spec("mine").name
    'mine'
    """
    if isinstance(spec, Mapping):
        spec = spec_of(spec, folder=Path(), where="The dictionary")
    elif is_spec_file(spec):
        spec = ModelSpec.from_card(Path(str(spec)))
    if not isinstance(spec, ModelSpec):
        raise ArgumentTypeError(
            f"register_model takes a ModelSpec, a dictionary, or the path of a .toml file, not {spec!r} "
            f"({type(spec).__name__}). Build a spec with ModelSpec(name=..., ...)."
        )
    with _lock:
        _registered[spec.name] = spec
    return spec


def get_spec(model: str | PathLike[str] | ModelSpec) -> ModelSpec:
    """Return the spec of a model.

    Parameters
    ----------
    model
        A name, the path of a TOML file or of a JSON card, or a spec (returned as it is).

    Returns
    -------
    ModelSpec

    Raises
    ------
    UnknownModelError
        No model has that name.
    ModelError
        The file is missing, or is no spec.
    ArgumentTypeError
        The argument is none of these.

    Examples
    --------
    >>> get_spec("default").stride_px
    8
    """
    if isinstance(model, ModelSpec):
        return model
    if is_spec_file(model):
        return ModelSpec.from_card(model)
    if not isinstance(model, str):
        raise ArgumentTypeError(
            f"model={model!r} is a {type(model).__name__}. Expected a name such as 'default', or a ModelSpec."
        )
    models = list_models()
    if model in models:
        return models[model]
    close = difflib.get_close_matches(model, models, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise UnknownModelError(
        f"No model is called {model!r}.{hint} Known: {', '.join(map(repr, models)) or 'none'}. "
        "Type: xcloudmask.register_model('mine.toml') to add your own."
    )


def weights_path(spec: ModelSpec) -> Path:
    """Return the path of the weights file, without looking whether it exists.

    Parameters
    ----------
    spec
        The model; a relative name lies in the package's weights folder, a file of the hub in the models folder.

    Returns
    -------
    pathlib.Path

    Examples
    --------
    >>> weights_path(get_spec("default")).suffix
    '.safetensors'
    """
    return local_path(spec.weights) if is_address(spec.weights) else WEIGHTS_DIR / spec.weights
