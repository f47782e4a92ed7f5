"""Losses for partial labels: minus the logarithm of the summed probability of the allowed classes, and soft Dice."""

from __future__ import annotations

import torch
from torch import Tensor

from xcloudmask.training.labels import ANY, SHADOW, THIN

__all__ = ["dice_loss", "partial_label_loss", "set_weights"]

_FLOOR = 1e-5


def set_weights(*, shadow: float = 1.5, thin: float = 1.2) -> Tensor:
    """Return the weight of a pixel by its set of allowed classes.

    Parameters
    ----------
    shadow, thin
        Weight of pixels that are known to be shadow or thin cloud, which are rare; all other labelled pixels weigh 1.

    Returns
    -------
    torch.Tensor
        (16,) weights; 0 for pixels of which nothing is known.

    Examples
    --------
    >>> set_weights(shadow=2.0)[[0, 1, 8, 15]].tolist()
    [0.0, 1.0, 2.0, 0.0]
    """
    weights = torch.ones(ANY + 1)
    weights[SHADOW], weights[THIN] = shadow, thin
    weights[0] = weights[ANY] = 0.0
    return weights


def partial_label_loss(logits: Tensor, allowed: Tensor, *, sample_weight: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over the pixels of -log of the summed probability of the allowed classes.

    Parameters
    ----------
    logits
        (n, class, y, x).
    allowed
        (n, y, x) uint8 sets; 0 and `ANY` cost nothing.
    sample_weight
        (n,) weight of each sample.
    weights
        (16,) weight by set, from `set_weights`.

    Returns
    -------
    torch.Tensor
        Scalar; 0 where no pixel is labelled.

    Notes
    -----
    Jin and Ghahramani (2002), Learning with Multiple Labels, NIPS 15.

    Examples
    --------
    >>> logits = torch.zeros(1, 4, 1, 1)
    >>> one = torch.ones(1)
    >>> loss = partial_label_loss(logits, torch.tensor([[[9]]]), sample_weight=one, weights=set_weights())
    >>> round(loss.item(), 3)  # two of four equal classes
    0.693
    """
    sets = allowed.int()
    pixel_weight = weights.to(logits.device)[sets] * sample_weight[:, None, None]
    bits = _bits(logits.shape[1], logits.device)[sets].movedim(-1, 1)
    inside = (torch.softmax(logits.float(), dim=1) * bits).sum(dim=1)
    # The floor keeps a pixel that is wrong beyond doubt from ruling the gradient.
    loss = -torch.log(inside + _FLOOR)
    return (loss * pixel_weight).sum() / pixel_weight.sum().clamp(min=1.0)


def dice_loss(logits: Tensor, allowed: Tensor, *, sample_weight: Tensor, weights: Tensor) -> Tensor:
    """One minus the mean over the classes of the soft Dice overlap.

    A pixel that may be one of several classes counts as each of them by the share that the network itself gives it
    among these, at the moment: what it is sure of it need not be told.

    Parameters
    ----------
    logits
        (n, class, y, x).
    allowed
        (n, y, x) uint8 sets; 0 and `ANY` cost nothing.
    sample_weight
        (n,) weight of each sample.
    weights
        (16,) weight by set, from `set_weights`.

    Returns
    -------
    torch.Tensor
        Scalar, 0 to 1; 0 where no pixel is labelled. A class that is the likeliest of no pixel of the batch, among
        those that it may have, is left out of the mean: it costs by what it takes from the others.

    Notes
    -----
    Milletari, Navab, Ahmadi (2016), V-Net, arXiv:1606.04797: squares below the line. The overlap is that of the whole
    batch, so that a class which is rare in a sample does not rule it. Partial labels: the expectation step of Jin and
    Ghahramani (2002), Learning with Multiple Labels, NIPS 15.

    Examples
    --------
    >>> logits = 20.0 * torch.eye(4).reshape(1, 4, 2, 2)
    >>> right = torch.tensor([[[1, 2], [4, 8]]])
    >>> how = {"sample_weight": torch.ones(1), "weights": set_weights()}
    >>> [round(dice_loss(logits, sets, **how).item(), 3) for sets in (right, right.flip(1))]
    [0.0, 1.0]
    """
    sets = allowed.int()
    bits = _bits(logits.shape[1], logits.device)[sets].movedim(-1, 1)
    counted = (weights.to(logits.device)[sets] * sample_weight[:, None, None])[:, None]
    share = torch.softmax(logits.float(), dim=1)
    # Of the classes that a pixel may have, what the network thinks; all of it where there is one.
    may_be = (share.detach() + _FLOOR) * bits
    truth = may_be / may_be.sum(dim=1, keepdim=True).clamp(min=_FLOOR)
    pixels = (0, 2, 3)
    overlap = 2.0 * (counted * share * truth).sum(pixels)
    total = (counted * (share.square() + truth.square())).sum(pixels)
    there = ((counted > 0) & (truth >= 0.5)).any(dim=3).any(dim=2).any(dim=0)
    losses = torch.where(there, 1.0 - overlap / total.clamp(min=_FLOOR), torch.zeros_like(total))
    return losses.sum() / there.sum().clamp(min=1)


def _bits(classes: int, device: torch.device) -> Tensor:
    """Table (16, class) of 0 and 1: the classes in each set."""
    sets = torch.arange(ANY + 1, device=device)[:, None]
    return ((sets >> torch.arange(classes, device=device)) & 1).float()
