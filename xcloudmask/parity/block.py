"""One patch predicted, and the patches of a chunk blended (numpy in, numpy out).

Each sum is taken in the order, and in the numbers, that omnicloudmask 1.8.1 takes it in: float32, patch after patch,
row by row. That makes the labels of one network the same, not only close.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xcloudmask.classes import NODATA, CloudClass, get_style, merge_probabilities, style_lookup
from xcloudmask.normalize import BandStatistics, level_vector
from xcloudmask.parity.network import get_patch_net
from xcloudmask.parity.validity import Bits, has_value
from xcloudmask.parity.windows import PatchSize, ramp
from xcloudmask.settings import EngineSettings

__all__ = ["Patch", "blend_patches", "normalised_patch", "predict_patch"]

Floats = npt.NDArray[np.float32]

_LEAST, _MOST = np.float32(0.001), np.float32(0.999)
"""What OmniCloudMask clips its confidence to, after it has added the smaller."""


class Patch(NamedTuple):
    """What a patch has to say, where it ended up."""

    top: int
    """First row."""
    left: int
    """First column."""
    weights: Floats
    """(side,) along either axis."""
    logits: Floats
    """(class, y, x), times the weights."""


def normalised_patch(
    pixels: npt.NDArray[np.generic], nodata: Sequence[float | None], present: Sequence[bool]
) -> tuple[Floats, BandStatistics]:
    """Z-score of each band over its own values.

    Parameters
    ----------
    pixels
        (band, y, x) of the bands that are present, any real dtype.
    nodata
        Declared value per band that is present, or None.
    present
        Per band of the model; a band that was given up is fed as zeros.

    Returns
    -------
    patch : numpy.ndarray
        (band of the model, y, x) float32; 0 for values without data. A constant band divides by 1.
    stats : BandStatistics
        Mean and spread of each band of the model; the count is that of the band with most values.

    Examples
    --------
    >>> patch, stats = normalised_patch(np.array([[[0, 1, 3]]]), (0,), (True,))
    >>> patch.tolist(), stats.mean.tolist()
    ([[[0.0, -1.0, 1.0]]], [2.0])
    """
    patch = np.zeros((len(present), *pixels.shape[1:]), np.float32)
    mean, std = np.zeros(len(present)), np.zeros(len(present))
    most = 0
    for index, band, value in zip(np.flatnonzero(present), pixels, nodata, strict=True):
        with np.errstate(over="ignore"):
            values = band.astype(np.float32)
        good = has_value(values, value)
        chosen = values[good]
        if chosen.size == 0:
            continue
        # In float32, as numpy sums it: a mean in float64 would change last bits.
        centre, spread = chosen.mean(), chosen.std()
        patch[index][good] = (chosen - centre) / (spread if spread > 0 else np.float32(1))
        mean[index], std[index], most = centre, spread, max(most, chosen.size)
    return patch, BandStatistics(most, mean, std)


def predict_patch(
    pixels: npt.NDArray[np.generic],
    settings: EngineSettings,
    size: PatchSize,
    *,
    corner: tuple[int, int],
    scale: npt.NDArray[np.float64] | None,
) -> Patch:
    """Predict a patch, and weigh it.

    Parameters
    ----------
    pixels
        (band, y, x) of the bands that are present.
    settings
        What to do.
    size
        The patches.
    corner
        First row and first column of the patch.
    scale
        (2, band of the model) scale and offset; None where unknown. For models that take the level.

    Returns
    -------
    Patch
    """
    patch, stats = normalised_patch(pixels, settings.nodata, settings.present)
    gains, offsets = (None, None) if scale is None else scale
    level = level_vector(stats, scale=gains, offset=offsets)
    net = get_patch_net(settings.spec, device=settings.device, precision=settings.precision)
    logits = net.logits(patch, level, classes=len(CloudClass))
    weights = ramp(size)
    logits *= weights[:, None] * weights
    return Patch(*corner, weights, logits)


def blend_patches(
    patches: Sequence[Patch | None],
    valid: Bits,
    settings: EngineSettings,
    *,
    rows: slice,
    columns: slice,
) -> npt.NDArray[Any]:
    """Blend all patches that touch a chunk.

    Parameters
    ----------
    patches
        In the order of the scene, row by row; those that do not touch the chunk, or are None, add nothing.
    valid
        Pixels of the chunk that every band has data for.
    settings
        What to do.
    rows, columns
        The chunk.

    Returns
    -------
    numpy.ndarray
        Labels: (y, x) uint8, 255 for nodata. Percent: (code, y, x) uint8, 255 for nodata. Probability: (code, y, x)
        float32, NaN for nodata, with OmniCloudMask's clipping: 0.001 is added, and none is above 0.999.
    """
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    total = np.zeros((len(CloudClass), *shape), np.float32)
    weight = np.zeros(shape, np.float32) if settings.output != "labels" else None
    for patch in patches:
        if patch is None:
            continue
        (to_y, from_y), (to_x, from_x) = (
            _shared(start, len(patch.weights), stretch) for start, stretch in ((patch.top, rows), (patch.left, columns))
        )
        if to_y.start >= to_y.stop or to_x.start >= to_x.stop:
            continue
        total[:, to_y, to_x] += patch.logits[:, from_y, from_x]
        if weight is not None:
            weight[to_y, to_x] += patch.weights[from_y, None] * patch.weights[from_x]
    result = _finish(total, weight, settings)
    if not valid.full:
        result[..., ~valid.plane()] = np.nan if result.dtype.kind == "f" else NODATA
    return result


def _shared(start: int, side: int, stretch: slice) -> tuple[slice, slice]:
    """What a patch and a chunk share along an axis: counted from the chunk, and from the patch."""
    first, stop = max(start, stretch.start), min(start + side, stretch.stop)
    return slice(first - stretch.start, stop - stretch.start), slice(first - start, stop - start)


def _finish(total: Floats, weight: Floats | None, settings: EngineSettings) -> npt.NDArray[Any]:
    """Labels of the largest sum, ties to the lower class; or shares of the codes."""
    style = get_style(settings.style)
    if weight is None:
        labels: npt.NDArray[np.uint8] = style_lookup(style)[total.argmax(axis=0)]
        return labels
    # No patch lies where no band has data; what is there becomes nodata.
    total /= np.where(weight > 0, weight, np.float32(1))
    total -= total.max(axis=0)
    np.exp(total, out=total)
    total /= total.sum(axis=0)
    shares = merge_probabilities(total, style)
    if settings.output == "percent":
        return np.rint(shares * 100).astype(np.uint8)
    confidence: Floats = np.clip(shares + _LEAST, _LEAST, _MOST)
    return confidence
