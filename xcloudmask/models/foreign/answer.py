"""What a foreign network answers, checked, as logits of our four classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xcloudmask.classes import CloudClass
from xcloudmask.errors import ModelError
from xcloudmask.models.spec import ModelSpec

__all__ = ["NEVER", "to_logits"]

NEVER = -1e30
"""Logit of a class that the network does not know: its softmax is exactly 0."""

_LEAST = 1e-30
"""A probability of 0 has no logarithm."""
_SLACK = 1e-2
"""Probabilities of a network in halves do not quite stay within 0 and 1."""


def to_logits(answer: Any, spec: ModelSpec, *, fed: Sequence[int]) -> Tensor:
    """Check what a network answered, and turn it into logits.

    Parameters
    ----------
    answer
        What the network returned: logits or probabilities (n, channels, y, x), or codes (n, y, x) or (n, 1, y, x).
    spec
        The model: its `output` and `classes`.
    fed
        Shape of what the network was given.

    Returns
    -------
    torch.Tensor
        (n, 4, y, x). The softmax of it is: that of the logits with the channels of one class added up; the
        probabilities, added up likewise; or 1 for the class of the code.

    Raises
    ------
    ModelError
        The answer is no such tensor, or not of these numbers.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> from dataclasses import replace
    >>> spec = replace(get_spec("default"), architecture="onnx", classes=("thick_cloud", "clear"), config=())
    >>> to_logits(torch.tensor([2.0, 1.0]).reshape(1, 2, 1, 1), spec, fed=(1, 3, 1, 1))[0, :2].flatten().tolist()
    [1.0, 2.0]
    """
    if not isinstance(answer, Tensor):
        raise ModelError(
            f"Model {spec.name!r} returned a {type(answer).__name__}, expected a tensor. Wrap it in a module whose "
            "forward returns (n, channels, y, x), and save that."
        )
    if spec.output == "codes":
        return _of_codes(answer, spec, fed)
    _check_channels(answer, spec, fed)
    if spec.output == "probabilities":
        return _of_probabilities(answer.float(), spec)
    return _of_logits(answer, spec)


def _check_channels(answer: Tensor, spec: ModelSpec, fed: Sequence[int]) -> None:
    name, classes = spec.name, spec.classes
    # One channel for two classes is the second one: a sigmoid, or the logit of one.
    allowed = {len(classes)} | ({1} if len(classes) == 2 else set())
    # While a converter traces the network, sizes are tensors, which compare but are in no set.
    shape, fed = tuple(map(int, answer.shape)), tuple(map(int, fed))
    if answer.dim() == 4 and shape[1] not in allowed:
        raise ModelError(
            f"Model {name!r} returned {shape[1]} channels, and its spec names {len(classes)} classes "
            f"({', '.join(classes)}). Type classes = [...] with one of clear, thick_cloud, thin_cloud, cloud_shadow or "
            "ignore for each channel."
        )
    if answer.dim() != 4 or (shape[0], *shape[2:]) != (fed[0], *fed[2:]):
        raise ModelError(
            f"Model {name!r} returned the shape {shape} for tiles {fed}, expected "
            f"{(fed[0], len(classes), *fed[2:])}: one value per class and pixel. Put the upsampling into the network, "
            "or type output = 'codes' for one class code per pixel."
        )
    if not answer.is_floating_point():
        raise ModelError(
            f"Model {name!r} returned {answer.dtype}, and its spec says output = {spec.output!r}, expected floats. "
            "Type output = 'codes' where it returns class codes."
        )
    if bool(torch.isnan(answer).any()):
        raise ModelError(
            f"Model {name!r} returned NaN. The engine feeds finite numbers only: expected a network that answers with "
            "finite ones. Check normalization, mean and std in the spec; with fp16 or bf16, type precision='fp32'."
        )


def _of_logits(answer: Tensor, spec: ModelSpec) -> Tensor:
    if answer.shape[1] == 1:
        answer = torch.cat([torch.zeros_like(answer), answer], dim=1)
    if spec.classes == _NAMES:
        return answer
    answer = answer.float()
    return _gathered(answer, spec, add=lambda channels: torch.logsumexp(channels, dim=1), absent=NEVER)


def _of_probabilities(answer: Tensor, spec: ModelSpec) -> Tensor:
    least, most = (float(value) for value in torch.aminmax(answer.detach()))
    if least < -_SLACK or most > 1 + _SLACK:
        raise ModelError(
            f"Model {spec.name!r} returned values from {least:.4g} to {most:.4g}, and its spec says output = "
            "'probabilities', expected 0 to 1. Type output = 'logits'."
        )
    if answer.shape[1] == 1:
        answer = torch.cat([1 - answer, answer], dim=1)
    added = _gathered(answer, spec, add=lambda channels: channels.sum(dim=1), absent=0.0)
    # The softmax of the logarithm of probabilities is those probabilities.
    return added.clamp_(min=_LEAST).log_()


def _gathered(answer: Tensor, spec: ModelSpec, *, add: Any, absent: float) -> Tensor:
    """One plane per class of ours: the only channel of that class, or all of them put together."""
    result = answer.new_full((answer.shape[0], len(_NAMES), *answer.shape[2:]), absent)
    for index, wanted in enumerate(_NAMES):
        channels = [channel for channel, name in enumerate(spec.classes) if name == wanted]
        if channels:
            result[:, index] = answer[:, channels[0]] if len(channels) == 1 else add(answer[:, channels])
    return result


def _of_codes(answer: Tensor, spec: ModelSpec, fed: Sequence[int]) -> Tensor:
    if answer.dim() == 4 and answer.shape[1] == 1:
        answer = answer[:, 0]
    if tuple(answer.shape) != (fed[0], *fed[2:]):
        raise ModelError(
            f"Model {spec.name!r} returned the shape {tuple(answer.shape)} for tiles {tuple(fed)}, expected "
            f"{(fed[0], *fed[2:])}: one code per pixel. Type output = 'logits' or 'probabilities' where it returns a "
            "value for each class."
        )
    if answer.is_floating_point() or answer.is_complex() or answer.dtype is torch.bool:
        raise ModelError(
            f"Model {spec.name!r} returned {answer.dtype}, and its spec says output = 'codes', expected whole numbers. "
            "Type output = 'logits' or 'probabilities', or save a network that ends with .argmax(1)."
        )
    least, most = (int(value) for value in torch.aminmax(answer))
    if least < 0 or most >= len(spec.classes):
        raise ModelError(
            f"Model {spec.name!r} returned codes from {least} to {most}, and its spec names {len(spec.classes)} "
            f"classes ({', '.join(spec.classes)}). Type classes = [...] with a class for each code from 0."
        )
    table = torch.tensor([_NAMES.index(name) for name in spec.classes], device=answer.device)
    labels = table[answer.long()][:, None]
    planes = torch.full((len(labels), len(_NAMES), *labels.shape[2:]), NEVER, device=answer.device)
    return planes.scatter_(1, labels, 0.0)


_NAMES = tuple(member.name.lower() for member in CloudClass)
