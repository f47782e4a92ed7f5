"""Patches by their use in a fit: what samples are drawn from, and what is held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xcloudmask.errors import ArgumentError
from xcloudmask.training.config import Mixture, TrainConfig
from xcloudmask.training.cubes import load_cube
from xcloudmask.training.data import ALL_BANDS, BANDS, Patch, load_patches, load_rgbn, load_thumbnails, split_holdout
from xcloudmask.training.nir import clouded_copies, fit_nir_guess
from xcloudmask.training.normalizers import Normalizer
from xcloudmask.training.stream import SampleStream

__all__ = ["Pools", "load_pools", "make_stream"]


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

    def by_use(self) -> Mapping[str, list[Patch]]:
        """Return the patches by the name of their use."""
        return {
            "labelled": self.labelled,
            "thumbnails": self.thumbnails,
            "backgrounds": self.backgrounds,
            "holdout": self.holdout,
        }


def load_pools(folder: Path | None, config: TrainConfig) -> Pools:
    """Load a folder of patches, and cubes, as a configuration wants them.

    Parameters
    ----------
    folder
        With patches.csv, patches/ and, where there are any, thumbnails in s2cmc_rgb/; None for none.
    config
        Tables [data] and [[cubes]].

    Returns
    -------
    Pools

    Raises
    ------
    ReadError
        The folder lacks a part, or a cube cannot be read.
    InputError
        A cube has no labels, or not on its grid.
    ArgumentError
        Cubes are given, and the network takes other bands than those read of them.
    """
    options = config.data
    every = options.holdout_every
    if config.other_bands and config.cubes:
        raise ArgumentError(
            f"[[cubes]] are read as {', '.join(BANDS)}, and {config.model.name!r} takes other bands. Leave them out."
        )
    bands = ALL_BANDS if config.other_bands else BANDS
    patches = [] if folder is None else load_patches(folder, splits=options.splits, bands=bands)
    labelled, held = split_holdout([patch for patch in patches if patch.split != "background"], every=every)
    backgrounds, _ = split_holdout([patch for patch in patches if patch.split == "background"], every=every)
    thumbnails: list[Patch] = []
    if folder is not None and options.thumbnails:
        rgb = config.other_bands
        # Networks of all bands learn to do without; those of a few would see too little of them.
        few = not rgb or (config.mixture.many_sensors and "nir" in config.model.bands)
        guess = _nir_guess(folder) if options.nir_guess and few else None
        thumbnails, _ = split_holdout(load_thumbnails(folder, split="train", guess=guess, rgb=rgb), every=every)
        held += split_holdout(load_thumbnails(folder, split="train", rgb=rgb), every=every)[1]
    for cube in config.cubes:
        kept, aside = split_holdout(load_cube(cube), every=every)
        # Simulated clouds need a surface of known reflectance; other clear cubes teach what is clear.
        (backgrounds if cube.kind == "clear" and all(patch.level_known for patch in kept) else labelled).extend(kept)
        held += aside
    return Pools(labelled=labelled, thumbnails=thumbnails, backgrounds=backgrounds, holdout=held)


@cache
def _nir_guess(folder: Path) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    clear = load_rgbn(folder, split="background")
    guess, _ = fit_nir_guess([*load_rgbn(folder, split="train"), *clear, *clouded_copies(clear)])
    return guess.guess


def make_stream(
    pools: Pools, *, mixture: Mixture, seed: int, length: int, normalizer: Normalizer | None = None
) -> SampleStream:
    """Build the stream of samples of some pools.

    Parameters
    ----------
    pools
        Patches.
    mixture
        Shares.
    seed, length
        Of the stream.
    normalizer
        That of the model which the training starts from; None for the one that the mixture names.

    Returns
    -------
    SampleStream

    Raises
    ------
    ArgumentError
        The mixture wants data that are not there.
    """
    return SampleStream(
        labelled=pools.labelled,
        thumbnails=pools.thumbnails,
        backgrounds=pools.backgrounds,
        mixture=mixture,
        seed=seed,
        length=length,
        normalizer=normalizer,
    )
