"""What the spec of a foreign model must say to be used, checked when it is made."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Literal, get_args

from xcloudmask.classes import CloudClass
from xcloudmask.errors import ModelError

if TYPE_CHECKING:
    from xcloudmask.models.spec import ModelSpec

__all__ = ["FOREIGN", "IGNORE", "OWN_NUMBERS", "Answer", "check_foreign", "check_native"]

FOREIGN = ("torchscript", "pt2", "onnx", "factory")
"""Architectures of models that were made elsewhere; see `xcloudmask.models.foreign`."""

OWN_NUMBERS = ("torchscript", "pt2", "onnx")
"""Of these, files whose numbers are kept as they are unless a caller asks for others: ``precision="auto"`` is fp32."""

Answer = Literal["logits", "probabilities", "codes"]

IGNORE = "ignore"
"""Class of a channel that is left out, such as fill."""

_CLASSES = tuple(member.name.lower() for member in CloudClass)
_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def check_native(spec: ModelSpec) -> None:
    """Refuse fields that the package's own networks do not read.

    Parameters
    ----------
    spec
        A model of an architecture of the package, or an ensemble.

    Raises
    ------
    ModelError
        A field is set that only foreign models have.
    """
    given = {"classes": spec.classes, "factory": spec.factory, "input_px": spec.input_px}
    for name, value in given.items():
        if value:
            raise ModelError(
                f"Model {spec.name!r} of architecture {spec.architecture!r} has {name} = {value!r}, which only foreign "
                f"models take. Type architecture = one of {', '.join(map(repr, FOREIGN))}, or leave it out."
            )


def check_foreign(spec: ModelSpec) -> None:
    """Refuse a spec that says too little, or what cannot be.

    Parameters
    ----------
    spec
        A model whose architecture is one of `FOREIGN`.

    Raises
    ------
    ModelError
        The message says what to type.
    """
    _check_classes(spec)
    _check_factory(spec)
    _check_shape(spec)


def _refused(spec: ModelSpec, found: str, advice: str) -> ModelError:
    return ModelError(f"Model {spec.name!r}: {found}. {advice}")


def _check_classes(spec: ModelSpec) -> None:
    if spec.output not in get_args(Answer):
        raise _refused(spec, f"output = {spec.output!r}", f"Type one of {', '.join(map(repr, get_args(Answer)))}.")
    if len(spec.classes) < 2:
        raise _refused(
            spec,
            f"classes = {list(spec.classes)!r} does not say what its channels mean",
            "Type one of ours for each channel, in their order, such as classes = ['clear', 'thick_cloud', "
            "'thin_cloud', 'cloud_shadow'], or classes = ['clear', 'thick_cloud'] for a model of two.",
        )
    for name in spec.classes:
        _check_class(spec, name)
    if not set(spec.classes) & set(_CLASSES):
        raise _refused(spec, "all classes are ignored", f"Name at least one of {', '.join(_CLASSES)}.")


def _check_class(spec: ModelSpec, name: Any) -> None:
    if name == IGNORE and spec.output == "codes":
        raise _refused(
            spec,
            "a code cannot be ignored, since a pixel has no second one",
            "Name the class that its pixels belong to; what the cube marks as nodata is 255 whatever the model says.",
        )
    if name not in {*_CLASSES, IGNORE}:
        close = difflib.get_close_matches(str(name).casefold(), [*_CLASSES, IGNORE], n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise _refused(
            spec,
            f"no class is called {name!r}.{hint}",
            f"Type one of {', '.join(_CLASSES)}, or {IGNORE} for a channel to leave out.",
        )


def _check_factory(spec: ModelSpec) -> None:
    if (spec.architecture == "factory") != bool(spec.factory):
        raise _refused(
            spec,
            f"architecture = {spec.architecture!r} with factory = {spec.factory!r}",
            "Type architecture = 'factory' and factory = 'module:function' for a network that Python code builds.",
        )
    if spec.factory and not _FACTORY.fullmatch(spec.factory):
        raise _refused(
            spec,
            f"factory = {spec.factory!r} is no importable name",
            "Type factory = 'mypackage.models:build', a function or class of a module that workers can import.",
        )
    if spec.factory.startswith("__main__:"):
        raise _refused(
            spec,
            f"factory = {spec.factory!r} lives in the script that runs, which workers cannot import",
            "Put the function into a module of its own. Type factory = 'mymodule:build'.",
        )
    if spec.config and not spec.factory:
        raise _refused(spec, "config = ... is for factories", "Leave it out: the file says it all.")


def _check_shape(spec: ModelSpec) -> None:
    side = spec.input_px
    if not side:
        return
    core = (side - 2 * spec.halo_px) // spec.stride_px * spec.stride_px
    if side < 0 or side % spec.stride_px or core < spec.stride_px:
        raise _refused(
            spec,
            f"input_px = {side} with stride_px = {spec.stride_px} and a halo of {spec.halo_px} px on both sides leaves "
            "no pixel whose context fits",
            "Export the model for larger tiles; or accept seams and type a smaller radius_px with exact_halo = false.",
        )
    if spec.tile_px > core or spec.window_px > side:
        raise _refused(
            spec,
            f"tile_px = {spec.tile_px} with a halo of {spec.halo_px} px on both sides, and window_px = "
            f"{spec.window_px}, do not fit into input_px = {side}",
            f"Type tile_px = {core} and window_px = {side}.",
        )
