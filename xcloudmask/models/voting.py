"""The network of an ensemble: its members see one batch, and their votes are averaged.

Mean of the logits: OmniCloudMask's ensemble, Wright et al. (2025), doi:10.1016/j.rse.2025.114694. Mean of the
probabilities (soft voting) is the sum rule of Kittler et al. (1998), doi:10.1109/34.667881.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from xcloudmask.models.spec import Voting

__all__ = ["VotingNet"]

_LEAST = 1e-30
"""A probability of 0 has no logarithm."""


class VotingNet(nn.Module):
    """Several networks as one, called as each of them.

    Parameters
    ----------
    nets
        Networks that map bands and a level to logits.
    takes_level
        Per network, whether it is given the level.
    voting
        ``"logits"`` or ``"probabilities"``.
    votes
        Per network, how much it counts; none where all count alike.

    Examples
    --------
    >>> net = VotingNet([nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)], takes_level=[False, False], voting="logits")
    >>> len(list(net.members))
    2
    """

    def __init__(
        self, nets: Sequence[nn.Module], *, takes_level: Sequence[bool], voting: Voting, votes: Sequence[float] = ()
    ) -> None:
        super().__init__()
        self._votes = tuple(votes) or (1.0,) * len(nets)
        self.members = nn.ModuleList(nets)
        self._takes_level, self._voting = tuple(takes_level), voting

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """Return logits (n, classes, y, x) in float32; the softmax of them is what the members voted for."""
        return self.poll(lambda net, takes_level: net(x, level if takes_level else None))

    def poll(self, ask: Callable[[nn.Module, bool], Tensor]) -> Tensor:
        """Return the (weighted) mean of the votes, in float32, of members that are asked in turn.

        Parameters
        ----------
        ask
            Called with a member and whether it takes the level; returns its logits.

        Returns
        -------
        torch.Tensor
            As `forward`.
        """
        votes = (
            self._vote(ask(net, takes_level)).mul_(count)
            for net, takes_level, count in zip(self.members, self._takes_level, self._votes, strict=True)
        )
        # One after the other, so that no more than two results are held at a time.
        mean = next(votes)
        for vote in votes:
            mean += vote
        mean /= sum(self._votes)
        # The softmax of the logarithm of probabilities is those probabilities.
        return mean.clamp_(min=_LEAST).log_() if self._voting == "probabilities" else mean

    def _vote(self, logits: Tensor) -> Tensor:
        """Logits or probabilities of a member, in float32: a sum of halves would make ties."""
        logits = logits.float()
        return torch.softmax(logits, dim=1) if self._voting == "probabilities" else logits
