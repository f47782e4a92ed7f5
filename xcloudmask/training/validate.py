"""Measure a network in training: any normaliser, the weights as they are, each patch as one window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from xcloudmask.classes import NODATA, CloudClass
from xcloudmask.evaluate import Confusion, confusion, pool, scores
from xcloudmask.training.augment import normalize_window
from xcloudmask.training.data import Patch
from xcloudmask.training.normalizers import Normalizer

__all__ = ["count_patches", "mask_of", "measure", "measure_masks", "predict_window"]

_MULTIPLE_PX = 16
"""Sides are filled up to multiples of this, which every stride divides; there is no halo, as in the engine, where one
tile spans the image."""


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
    return mask_of(net, scored, level, valid=patch.valid)


def mask_of(
    net: nn.Module, image: npt.NDArray[np.float32], side: npt.NDArray[np.float32], *, valid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """Predict one window that is ready for the network.

    Parameters
    ----------
    net
        In eval mode.
    image
        (band, y, x), normalised.
    side
        What the network is told besides, such as the level.
    valid
        (y, x).

    Returns
    -------
    numpy.ndarray
        (y, x) uint8 classes, 255 where there is no data.
    """
    height, width = valid.shape
    device = next(net.parameters()).device
    filled = torch.from_numpy(np.pad(image, [(0, 0), (0, -height % _MULTIPLE_PX), (0, -width % _MULTIPLE_PX)]))
    with torch.inference_mode():
        batch = filled[None].to(device).contiguous(memory_format=torch.channels_last)
        logits = net(batch, torch.from_numpy(side)[None].to(device))[0, :, :height, :width]
    return np.where(valid, logits.argmax(0).cpu().numpy(), NODATA).astype(np.uint8)


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


def measure(
    net: nn.Module,
    patches: Sequence[Patch],
    *,
    normalizer: Normalizer = normalize_window,
    level_complete: bool = False,
) -> dict[str, float]:
    """Measure a network on patches that the fit does not see, half of them with the level and half without.

    Parameters
    ----------
    net
        In eval mode.
    patches
        Labelled patches.
    normalizer, level_complete
        Those of the network's training.

    Returns
    -------
    dict
        Columns of `xcloudmask.training.history`; none without patches.
    """
    half = len(patches[::2])
    ordered = [*patches[::2], *patches[1::2]]
    masks = (
        predict_window(
            net, patch, level_known=index < half and (patch.nir or not level_complete), normalizer=normalizer
        )
        for index, patch in enumerate(ordered)
    )
    return measure_masks(ordered, masks)


def measure_masks(patches: Sequence[Patch], masks: Iterable[npt.NDArray[np.uint8]]) -> dict[str, float]:
    """Compare masks with the labels of patches.

    Parameters
    ----------
    patches
        Labelled patches.
    masks
        One for each.

    Returns
    -------
    dict
        Columns of `xcloudmask.training.history`; none without patches.
    """
    if not patches:
        return {}
    pairs = zip(patches, masks, strict=True)
    result = scores(pool([confusion(mask, np.where(patch.valid, patch.allowed, 0)) for patch, mask in pairs]))
    return {
        "holdout_agreement": result.agreement,
        "holdout_cloud_ba": result.cloud_ba,
        "holdout_shadow_f1": result.classes[CloudClass.CLOUD_SHADOW].f1,
    }
