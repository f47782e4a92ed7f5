"""The pre-training of SEnSeI: an autoencoder learns to tell bands apart before any network learns clouds.

As in the paper (Francis et al., 2022, arXiv:2111.08349): from the mean over the bands of SEnSeI's vectors times what
the bands showed, a discriminator says which bands were there, and an estimator what they showed; both are trained on
the squared error, and thrown away at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xcloudmask.errors import ArgumentError
from xcloudmask.models.sensei import THERMAL_K, Sensei, SenseiDecoder
from xcloudmask.training.card import describe_run
from xcloudmask.training.checkpoint import export, read_progress
from xcloudmask.training.config import TrainConfig
from xcloudmask.training.fit import CHECKPOINT, OnStep, fit
from xcloudmask.training.initial import spread_out
from xcloudmask.training.options import LEARNING_RATE
from xcloudmask.training.record import keep_record
from xcloudmask.training.spectra_stream import SpectraStream
from xcloudmask.training.start import SENSEI

__all__ = ["MEASURES", "SpectrumAutoencoder", "measure_autoencoder", "pretrain", "pretraining_loss"]

MEASURES = ("holdout_bands_told", "holdout_reflectance_rmse", "holdout_temperature_rmse_k")
"""What is measured on the way."""
_STEPS_A_MINUTE = 6000
"""More than any machine does: how long the stream is where the clock ends the run."""
_FIRST_LOOK = 64
"""Sets of bands by which the fresh weights are scaled."""
_HELD_OUT = 256
"""Sets of bands to measure with."""
_THERMAL_DESCRIPTOR = 1.43
"""log10(3000 nm - 300) - 2: bands beyond are thermal."""
_SOURCE = "spectra simulated by xcloudmask.simulate"


class SpectrumAutoencoder(nn.Module):
    """SEnSeI and its decoder.

    Parameters
    ----------
    sensei
        Arguments of `xcloudmask.models.sensei.Sensei`.

    Examples
    --------
    >>> values, side, asked, *_ = (part[None] for part in SpectraStream(seed=0, length=1)[0])
    >>> there, value = SpectrumAutoencoder().eval()(values, side, asked)
    >>> there.shape, value.shape
    (torch.Size([1, 16, 8]), torch.Size([1, 16, 8]))
    """

    def __init__(self, **sensei: int) -> None:
        super().__init__()
        self.sensei = Sensei(**sensei)
        self.decoder = SenseiDecoder(channels=self.sensei.channels)

    def forward(self, values: Tensor, side: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """Return how surely each band was there, and its value: (n, asked, spectra) each.

        Parameters
        ----------
        values, side, asked
            Those of `xcloudmask.training.spectra_stream.SpectraStream`, of n sets.
        """
        sets, _, spectra = values.shape
        mixed = self.sensei(values.unsqueeze(-1), side[..., :3], side[..., 3]).squeeze(-1)
        there, value = self.decoder(mixed.transpose(1, 2).flatten(0, 1), asked.repeat_interleave(spectra, dim=0))
        return there.unflatten(0, (sets, spectra)).mT, value.unflatten(0, (sets, spectra)).mT


def pretraining_loss(net: Callable[..., Any], batch: Sequence[Tensor]) -> Tensor:
    """Return the squared error of the discriminator, and that of the estimator on the bands that were there.

    Parameters
    ----------
    net
        A `SpectrumAutoencoder`.
    batch
        Parts of `xcloudmask.training.spectra_stream.SpectraStream`.

    Returns
    -------
    torch.Tensor
        Their sum.
    """
    values, side, asked, present, truth = batch
    there, value = (part.float() for part in net(values, side, asked))
    weights = present.unsqueeze(-1).expand_as(truth)
    told = (there - weights).square().mean()
    estimated = ((value - truth).square() * weights).sum() / weights.sum()
    both: Tensor = told + estimated
    return both


@torch.inference_mode()
def measure_autoencoder(net: nn.Module, *, seed: int = 0, sets: int = _HELD_OUT) -> dict[str, float]:
    """Measure an autoencoder on spectra that no fit sees.

    Parameters
    ----------
    net
        A `SpectrumAutoencoder` in eval mode.
    seed, sets
        Of the sets of bands.

    Returns
    -------
    dict
        Share of the bands asked about that are rightly told to be there or not (half are there), and root mean square
        errors of reflectance and of brightness temperature in kelvin, over the bands that are.
    """
    stream = SpectraStream(seed=seed, length=sets, held_out=True)
    device = next(net.parameters()).device
    values, side, asked, present, truth = (part.to(device) for part in _stacked(stream, range(sets)))
    there, value = net(values, side, asked)
    inside = present.unsqueeze(-1).expand_as(truth).bool()
    hot = (asked[..., 1] > _THERMAL_DESCRIPTOR).unsqueeze(-1).expand_as(truth)
    off = (value - truth).square()
    return {
        "holdout_bands_told": float(((there > 0.5) == inside).float().mean()),
        "holdout_reflectance_rmse": float(off[inside & ~hot].mean().sqrt()),
        "holdout_temperature_rmse_k": THERMAL_K * float(off[inside & hot].mean().sqrt()),
    }


def pretrain(
    config: TrainConfig, *, out: Path, command: str = "", device: str = "", on_step: OnStep | None = None
) -> Path:
    """Pre-train SEnSeI, or go on where `out` stopped: what `xcloudmask train sensei` does.

    Parameters
    ----------
    config
        Settings; tables [model], [fit] and [card] are read. It needs no data.
    out
        Folder of the run; also receives `<name>.safetensors`, the weights of SEnSeI alone, and a card.
    command, device
        For the card.
    on_step
        Told where the run stands.

    Returns
    -------
    pathlib.Path
        The card: what `start` in table [model] of a network with SEnSeI takes. It is no model that predicts.

    Raises
    ------
    ArgumentError
        The arguments are not those of SEnSeI, or `out` holds a run with other settings.
    WeightsError
        The checkpoint in `out` is of another network.
    """
    if config.fit.learning_rate is None:
        config = replace(config, fit=replace(config.fit, learning_rate=LEARNING_RATE))
    options = config.fit
    torch.manual_seed(options.seed)
    net = _build(config)
    length = (options.steps or int(options.minutes * _STEPS_A_MINUTE)) * options.batch
    stream = SpectraStream(seed=options.seed, length=length)
    # By samples that come after those of the fit.
    spread_out(net, _stacked(stream, range(length, length + _FIRST_LOOK))[:3])
    record = keep_record(out, config, start=None, pools={})
    measure = partial(measure_autoencoder, seed=options.seed)
    fitted = fit(
        net, stream, out, options=options, loss=pretraining_loss, validate=measure, measures=MEASURES, on_step=on_step
    )
    model, said = config.model, config.card
    card = {
        "name": model.name,
        "architecture": SENSEI,
        "config": dict(model.config),
        "licence": said.licence,
        "sources": [_SOURCE],
        "metrics": {key: round(value, 4) for key, value in measure(fitted).items()},
        "intended": said.intended,
        "known_failures": list(said.known_failures),
        "notes": said.notes,
        "attribution": said.attribution,
        "training": describe_run(
            progress=read_progress(out / CHECKPOINT), record=record, command=command, device=device
        ),
    }
    return export(fitted.get_submodule("sensei"), out, card=card)


def _stacked(stream: SpectraStream, indices: Iterable[int]) -> list[Tensor]:
    return [torch.stack(part) for part in zip(*(stream[index] for index in indices), strict=True)]


def _build(config: TrainConfig) -> SpectrumAutoencoder:
    given = dict(config.model.config)
    try:
        return SpectrumAutoencoder(**given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"config = {given} under [model] does not fit SEnSeI: {error}. Expected channels and pair_width, such as "
            "config = { channels = 64, pair_width = 128 }."
        ) from error
