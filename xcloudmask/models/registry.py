"""The models that can be asked for by name: those of the package's weights folder, and those the user registers."""

from __future__ import annotations

import difflib
import threading
from functools import cache
from pathlib import Path

from xcloudmask.errors import ArgumentTypeError, UnknownModelError
from xcloudmask.models.spec import ModelSpec

__all__ = ["WEIGHTS_DIR", "get_spec", "list_models", "register_model", "weights_path"]

WEIGHTS_DIR = Path(__file__).parent / "weights"
"""Where the package keeps its weights and cards."""

_registered: dict[str, ModelSpec] = {}
_lock = threading.Lock()


@cache
def _packaged() -> dict[str, ModelSpec]:
    cards = [ModelSpec.from_card(path) for path in sorted(WEIGHTS_DIR.glob("*.json"))]
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


def register_model(spec: ModelSpec) -> None:
    """Make a model available under its name in this process.

    The name is for the caller's convenience: the graph carries the spec itself, so workers need not know the name.
    They do need the weights file, under the same path.

    Parameters
    ----------
    spec
        The model. A name that is already taken is replaced.

    Raises
    ------
    ArgumentTypeError
        The argument is no ModelSpec.

    Examples
    --------
    >>> from dataclasses import replace
    >>> register_model(replace(get_spec("default"), name="mine"))
    >>> get_spec("mine").name
    'mine'
    """
    if not isinstance(spec, ModelSpec):
        raise ArgumentTypeError(
            f"register_model takes a ModelSpec, not {type(spec).__name__}. Build one with ModelSpec(name=..., ...)."
        )
    with _lock:
        _registered[spec.name] = spec


def get_spec(model: str | ModelSpec) -> ModelSpec:
    """Return the spec of a model.

    Parameters
    ----------
    model
        A name, or a spec (returned as it is).

    Returns
    -------
    ModelSpec

    Raises
    ------
    UnknownModelError
        No model has that name.
    ArgumentTypeError
        The argument is neither a name nor a spec.

    Examples
    --------
    >>> get_spec("default").stride_px
    8
    """
    if isinstance(model, ModelSpec):
        return model
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
        "Type: xcloudmask.register_model(spec) to add your own."
    )


def weights_path(spec: ModelSpec) -> Path:
    """Return the path of the weights file, without looking whether it exists.

    Parameters
    ----------
    spec
        The model; a relative name lies in the package's weights folder.

    Returns
    -------
    pathlib.Path

    Examples
    --------
    >>> weights_path(get_spec("default")).suffix
    '.safetensors'
    """
    return WEIGHTS_DIR / spec.weights
