"""Measure a network in training: any normaliser, the weights as they are, each patch as one window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from xcloudmask.classes import NODATA, CloudClass
from xcloudmask.evaluate import Confusion, confusion, pool, scores
from xcloudmask.models.unet import STRIDE_PX
from xcloudmask.training.augment import normalize_window
from xcloudmask.training.data import Patch
from xcloudmask.training.normalizers import Normalizer

__all__ = ["count_patches", "measure", "predict_window"]

_PAD_PX = 72
_HELD_BY_STRIDE = 2 * STRIDE_PX
"""Sides are padded to multiples of this: the largest stride of the architectures."""


def predict_window(
    net: nn.Module,
    patch: Patch,
    *,
    level_known: bool,
    nir: bool = True,
    normalizer: Normalizer = normalize_window,
) -> npt.NDArray[np.uint8]:
    """Predict a whole patch as one window.

    Parameters
    ----------
    net
        In eval mode.
    patch
        The image.
    level_known
        Whether the network is told the level; never where the patch has none.
    nir
        False gives the near infrared up.
    normalizer
        That of the network's training.

    Returns
    -------
    numpy.ndarray
        (y, x) uint8 classes, 255 where the patch has no data.
    """
    image = patch.image.astype(np.float32) * np.float32(1e-4)
    valid = None if patch.valid.all() else patch.valid
    known = level_known and patch.level_known
    scored, level = normalizer(image, valid, level_known=known, nir=nir and patch.nir)
    height, width = patch.valid.shape
    pads = [(_PAD_PX, _PAD_PX + -(size + 2 * _PAD_PX) % _HELD_BY_STRIDE) for size in (height, width)]
    device = next(net.parameters()).device
    padded = torch.from_numpy(np.pad(scored, [(0, 0), *pads]))[None].to(device)
    with torch.inference_mode():
        logits = net(padded.contiguous(memory_format=torch.channels_last), torch.from_numpy(level)[None].to(device))
    inside = logits[0, :, _PAD_PX : _PAD_PX + height, _PAD_PX : _PAD_PX + width]
    return np.where(patch.valid, inside.argmax(0).cpu().numpy(), NODATA).astype(np.uint8)


def count_patches(
    net: nn.Module,
    patches: Iterable[Patch],
    *,
    level_known: bool,
    nir: bool = True,
    normalizer: Normalizer = normalize_window,
) -> list[Confusion]:
    """Count right and wrong pixels, patch by patch.

    Parameters
    ----------
    net, level_known, nir, normalizer
        As in `predict_window`.
    patches
        Labelled patches.

    Returns
    -------
    list of Confusion
        In the order of the patches.
    """
    masks = ((p, predict_window(net, p, level_known=level_known, nir=nir, normalizer=normalizer)) for p in patches)
    return [confusion(mask, np.where(patch.valid, patch.allowed, 0)) for patch, mask in masks]


def measure(net: nn.Module, patches: Sequence[Patch], *, normalizer: Normalizer = normalize_window) -> dict[str, float]:
    """Measure a network on patches that the fit does not see, half of them with the level and half without.

    Parameters
    ----------
    net
        In eval mode.
    patches
        Labelled patches.
    normalizer
        That of the network's training.

    Returns
    -------
    dict
        Columns of `xcloudmask.training.history`; none without patches.
    """
    if not patches:
        return {}
    counts = [
        *count_patches(net, patches[::2], level_known=True, normalizer=normalizer),
        *count_patches(net, patches[1::2], level_known=False, normalizer=normalizer),
    ]
    result = scores(pool(counts))
    return {
        "holdout_agreement": result.agreement,
        "holdout_cloud_ba": result.cloud_ba,
        "holdout_shadow_f1": result.classes[CloudClass.CLOUD_SHADOW].f1,
    }
