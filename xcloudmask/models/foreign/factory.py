"""Networks that a function or class of an installed module builds, with weights from safetensors."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable

from torch import nn

from xcloudmask.errors import ModelError, WeightsError
from xcloudmask.models.foreign.network import ForeignNet
from xcloudmask.models.spec import ModelSpec

__all__ = ["find_factory", "load_factory"]


def load_factory(spec: ModelSpec, content: bytes) -> nn.Module:
    """Build a network and fill in its weights.

    Parameters
    ----------
    spec
        The model; its `config` are the keyword arguments of the factory.
    content
        A safetensors file, whose sha256 has been checked.

    Returns
    -------
    torch.nn.Module
        A `ForeignNet`.

    Raises
    ------
    ModelError
        The factory cannot be imported, is none, or fails.
    WeightsError
        The weights are broken or do not fit the network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    build = find_factory(spec.factory, spec.name)
    try:
        net = build(**dict(spec.config))
    except Exception as error:
        raise ModelError(
            f"The factory {spec.factory!r} of model {spec.name!r} failed with {dict(spec.config)}: "
            f"{type(error).__name__}: {error}. Its keyword arguments are the table [config] of the spec."
        ) from error
    if not isinstance(net, nn.Module):
        raise ModelError(
            f"The factory {spec.factory!r} of model {spec.name!r} returned a {type(net).__name__}, expected a "
            "torch.nn.Module."
        )
    try:
        net.load_state_dict(load(content))
    except (RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"The weights of model {spec.name!r} do not fit what {spec.factory!r} builds with {dict(spec.config)}: "
            f"{error}"
        ) from error
    return ForeignNet(net.float().eval(), spec)


def find_factory(factory: str, name: str) -> Callable[..., object]:
    """Import a factory, and refuse what does not say that it builds networks.

    A spec is a file, and could come from anywhere: a function is only called if it was written to return a module.

    Parameters
    ----------
    factory
        ``"module:function"`` or ``"module:Class"``.
    name
        Name of the model, for messages.

    Returns
    -------
    callable

    Raises
    ------
    ModelError
        There is no such function, or it is no factory.

    Examples
    --------
    >>> find_factory("torch.nn:Identity", "mine").__name__
    'Identity'
    """
    module, _, function = factory.partition(":")
    if module == "__main__":
        raise ModelError(
            f"The factory {factory!r} of model {name!r} lives in the script that runs, which workers cannot import. "
            "Put the function into a module of its own that every worker has. Type: factory = 'mymodule:build'"
        )
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"The factory {factory!r} of model {name!r} cannot be imported: {error}. Every worker needs the module. "
            "Type: pip install the package that has it, or put its folder on PYTHONPATH."
        ) from error
    if not _builds_modules(found):
        raise ModelError(
            f"The factory {factory!r} of model {name!r} does not say that it builds a network, and is not called. "
            "Expected a subclass of torch.nn.Module, or a function with a return annotation. "
            f"Type: def {function}(...) -> torch.nn.Module:"
        )
    return typing.cast("Callable[..., object]", found)


def _builds_modules(found: object) -> bool:
    if inspect.isfunction(found):
        try:
            found = typing.get_type_hints(found).get("return")
        except (NameError, TypeError, AttributeError):  # names that only type checkers import
            return False
    return inspect.isclass(found) and issubclass(found, nn.Module)
