"""A whole training run: data, network, fit; the same from a configuration each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from xcloudmask.models.architectures import build
from xcloudmask.training.checkpoint import load_network
from xcloudmask.training.config import Mixture, TrainConfig
from xcloudmask.training.data import Patch, load_patches, load_rgbn, load_thumbnails, split_holdout
from xcloudmask.training.fit import fit
from xcloudmask.training.nir import clouded_copies, fit_nir_guess
from xcloudmask.training.stream import SampleStream
from xcloudmask.training.validate import measure

__all__ = ["Pools", "load_pools", "make_stream", "train"]

_STEPS_A_MINUTE = 1200
"""More than any machine does: how long the stream is where the clock ends the run."""


class Pools:
    """Patches by their use in a fit.

    Parameters
    ----------
    labelled, thumbnails, backgrounds
        As in `xcloudmask.training.stream.SampleStream`.
    holdout
        Labelled patches that the fit does not see.
    """

    def __init__(
        self, *, labelled: list[Patch], thumbnails: list[Patch], backgrounds: list[Patch], holdout: list[Patch]
    ) -> None:
        self.labelled, self.thumbnails, self.backgrounds, self.holdout = labelled, thumbnails, backgrounds, holdout


def load_pools(folder: Path | None, config: TrainConfig) -> Pools:
    """Load a folder of patches as a configuration wants it.

    Parameters
    ----------
    folder
        With patches.csv, patches/ and, where there are any, thumbnails in s2cmc_rgb/; None for simulated scenes alone.
    config
        Table [data].

    Returns
    -------
    Pools

    Raises
    ------
    ReadError
        The folder lacks a part.
    """
    if folder is None:
        return Pools(labelled=[], thumbnails=[], backgrounds=[], holdout=[])
    options = config.data
    every = options.holdout_every
    patches = load_patches(folder, splits=options.splits)
    labelled, held = split_holdout([patch for patch in patches if patch.split != "background"], every=every)
    backgrounds, _ = split_holdout([patch for patch in patches if patch.split == "background"], every=every)
    thumbnails: list[Patch] = []
    if options.thumbnails:
        guess = _nir_guess(folder) if options.nir_guess else None
        thumbnails, _ = split_holdout(load_thumbnails(folder, split="train", guess=guess), every=every)
        held += split_holdout(load_thumbnails(folder, split="train"), every=every)[1]
    return Pools(labelled=labelled, thumbnails=thumbnails, backgrounds=backgrounds, holdout=held)


def _nir_guess(folder: Path) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    clear = load_rgbn(folder, split="background")
    guess, _ = fit_nir_guess([*load_rgbn(folder, split="train"), *clear, *clouded_copies(clear)])
    return guess.guess


def make_stream(pools: Pools, *, mixture: Mixture, seed: int, length: int) -> SampleStream:
    """Build the stream of samples of some pools.

    Parameters
    ----------
    pools
        Patches.
    mixture
        Shares.
    seed, length
        Of the stream.

    Returns
    -------
    SampleStream
    """
    return SampleStream(
        labelled=pools.labelled,
        thumbnails=pools.thumbnails,
        backgrounds=pools.backgrounds,
        mixture=mixture,
        seed=seed,
        length=length,
    )


def train(config: TrainConfig, *, data: Path | None, out: Path, start: Path | None = None) -> nn.Module:
    """Train the network of a configuration, or go on where `out` stopped.

    Parameters
    ----------
    config
        Settings.
    data
        The data folder; None for simulated scenes alone.
    out
        Folder of the checkpoint and the history.
    start
        Weights or a checkpoint to start from, instead of random weights.

    Returns
    -------
    torch.nn.Module
        The averaged network, in eval mode.

    Raises
    ------
    ReadError
        The data are not there.
    ArgumentError
        The mixture wants data that are not there.
    WeightsError
        `start` or the checkpoint in `out` is of another network.
    """
    options = config.fit
    pools = load_pools(data, config)
    length = (options.steps or int(options.minutes * _STEPS_A_MINUTE)) * options.batch
    stream = make_stream(pools, mixture=config.mixture, seed=options.seed, length=length)
    torch.manual_seed(options.seed)
    net: nn.Module = build(config.model.architecture, config.model.config)
    if start is not None:
        net = load_network(net, start)
    validate: Callable[[nn.Module], Mapping[str, float]] = partial(
        measure, patches=pools.holdout, normalizer=stream.normalizer
    )
    return fit(net, stream, out, options=options, validate=validate)
