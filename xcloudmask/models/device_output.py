"""From what the network said to what was asked for, on the device, as `blocks` does it with numpy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xcloudmask.classes import NODATA, get_style
from xcloudmask.models.device_steps import Step
from xcloudmask.settings import EngineSettings
from xcloudmask.tiles import Places

__all__ = ["wanted_output", "write_nodata"]


def wanted_output(canvas: Tensor, seen: Tensor | None, settings: EngineSettings) -> Tensor:
    """Turn labels or sums of probabilities into what was asked for.

    Parameters
    ----------
    canvas
        (time, y, x) uint8 labels of the four classes, or (time, class, y, x) sums of probabilities.
    seen
        (y, x) how many windows were added up; None for one.
    settings
        What to do.

    Returns
    -------
    torch.Tensor
        (time, y, x) uint8, or (time, code, y, x) uint8 percent or float32 probability.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> settings = EngineSettings(
    ...     spec=get_spec("default"), style="cloud-noncloud", halo_px=(0, 0), tile_px=(64, 64)
    ... )
    >>> wanted_output(torch.tensor([[[0, 1, 2, 3, 255]]], dtype=torch.uint8), None, settings).tolist()
    [[[0, 1, 1, 0, 255]]]
    """
    if settings.fast_labels:
        return _codes(canvas, settings)
    if seen is not None:
        canvas /= seen
    if settings.output == "labels":
        return _codes(canvas.argmax(dim=1).to(torch.uint8), settings)
    style = get_style(settings.style)
    if style.name != "4-class":
        merged = canvas.new_zeros((len(canvas), len(style.meanings), *canvas.shape[2:]))
        for class_index, code in enumerate(style.code_of_class):
            merged[:, code] += canvas[:, class_index]
        canvas = merged
    return (canvas * 100).round_().to(torch.uint8) if settings.output == "percent" else canvas


def _codes(labels: Tensor, settings: EngineSettings) -> Tensor:
    """Codes of the style. A table would have to be sent to the device, and the host would wait for it."""
    style = get_style(settings.style)
    if style.name == "4-class":
        return labels
    codes = torch.full_like(labels, NODATA)
    for class_index, code in enumerate(style.code_of_class):
        codes.masked_fill_(labels == class_index, code)
    return codes


def write_nodata(result: Tensor, steps: Sequence[Step], places: Places) -> None:
    """Write nodata (255, or NaN in floats) where the cube has none, in place.

    Parameters
    ----------
    result
        (time, ..., y, x).
    steps
        The time steps.
    places
        Where the block lies.
    """
    rows, columns = (slice(place.start - place.origin, place.stop - place.origin) for place in places)
    value = torch.nan if result.is_floating_point() else NODATA
    for step, plane in zip(steps, result, strict=True):
        if step.valid is not None:
            plane.masked_fill_(~step.valid[rows, columns], value)
