"""A whole training run: data, network, fit, weights and card; the same from a configuration each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xcloudmask.errors import ArgumentError
from xcloudmask.models.anybands import SenseiNet
from xcloudmask.models.architectures import build
from xcloudmask.models.devices import resolve_device
from xcloudmask.models.spec import ModelSpec
from xcloudmask.training.bandruns import (
    adopt_body,
    begin_as_any_bands,
    feed_of_model,
    make_band_stream,
    measure_bands,
    spec_fields,
)
from xcloudmask.training.bandstream import BandStream
from xcloudmask.training.card import build_card, training_sources
from xcloudmask.training.checkpoint import export, load_network, read_progress
from xcloudmask.training.config import TrainConfig
from xcloudmask.training.fit import CHECKPOINT, OnStep, average_into, fit
from xcloudmask.training.normalizers import Normalizer, WholeData
from xcloudmask.training.options import FINE_TUNING_RATE, LEARNING_RATE
from xcloudmask.training.pools import Pools, load_pools, make_stream
from xcloudmask.training.pretrain import pretrain
from xcloudmask.training.record import Record, keep_record
from xcloudmask.training.start import SENSEI, Start, find_start
from xcloudmask.training.stream import SampleStream
from xcloudmask.training.validate import measure

__all__ = ["Pools", "load_pools", "make_stream", "train", "train_model"]

_STEPS_A_MINUTE = 1200
"""More than any machine does: how long the stream is where the clock ends the run."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Run:
    """A run, ready to start or to go on."""

    config: TrainConfig
    """Settings, with the network and the rate of the run."""
    folder: Path | None
    pools: Pools
    stream: SampleStream | BandStream
    net: nn.Module
    start: Start | None
    adopted: ModelSpec | None
    """The model of other bands that the network began as."""
    record: Record
    out: Path

    @property
    def measure(self) -> Callable[[nn.Module], Mapping[str, float]]:
        """Measures a network on what is held out."""
        if isinstance(self.stream, BandStream):
            feed = feed_of_model(self.stream.feed, self.config)
            return partial(measure_bands, patches=self.pools.holdout, feed=feed)
        complete = self.config.level_complete
        return partial(measure, patches=self.pools.holdout, normalizer=self.stream.normalizer, level_complete=complete)

    @property
    def takes(self) -> Mapping[str, Any]:
        """Fields of the model that are not those of red, green and near infrared."""
        if isinstance(self.stream, BandStream):
            return spec_fields(self.config, feed_of_model(self.stream.feed, self.config))
        own = self.stream.normalizer
        if isinstance(own, WholeData):
            return {**own.spec_fields, "level": False}
        return {"level_complete": True} if self.config.level_complete else {}

    def fit(self, on_step: OnStep | None) -> nn.Module:
        """Run to the end, and average with the start where the configuration says so."""
        net = fit(self.net, self.stream, self.out, options=self.config.fit, validate=self.measure, on_step=on_step)
        model = self.config.model
        if self.start is not None and model.start_share > 0:
            begin = load_network(build(model.architecture, model.config), self.start.weights)
            average_into(net, begin.to(next(net.parameters()).device), memory=1.0 - model.start_share)
        return net


def train(
    config: TrainConfig,
    *,
    data: Path | None = None,
    out: Path,
    start: str | Path | None = None,
    on_step: OnStep | None = None,
) -> nn.Module:
    """Train the network of a configuration, or go on where `out` stopped.

    Parameters
    ----------
    config
        Settings.
    data
        The folder of patches, instead of `folder` in table [data]; without either, samples come from the cubes of the
        configuration and from simulated scenes.
    out
        Folder of the checkpoint, the history and the record of the run.
    start
        Model, card, weights or checkpoint to start from, instead of `start` in table [model].
    on_step
        Told where the run stands.

    Returns
    -------
    torch.nn.Module
        The averaged network, in eval mode.

    Raises
    ------
    ReadError
        The data are not there.
    ArgumentError
        The mixture wants data that are not there, or `out` holds a run with other settings.
    ModelError
        The model to start from is unknown, or cannot be read.
    WeightsError
        `start` or the checkpoint in `out` is of another network.
    """
    if config.model.architecture == SENSEI:
        raise ArgumentError("SEnSeI alone is no network to predict with. Type train_model(...), which pre-trains it.")
    return _prepare(config, data=data, out=out, start=start).fit(on_step)


def train_model(
    config: TrainConfig,
    *,
    data: Path | None = None,
    out: Path,
    start: str | Path | None = None,
    before: Sequence[TrainConfig] = (),
    command: str = "",
    on_step: OnStep | None = None,
) -> Path:
    """Train a model that `xcloudmask.predict` takes: what `xcloudmask train` does.

    Parameters
    ----------
    config, data, start, on_step
        As in `train`.
    out
        Folder; also receives `<name>.safetensors` and its card `<name>.json`.
    before
        Runs that come before this one, in their order, as `xcloudmask.training.config.load_chain` reads them: the last
        in a folder of its model's name in `out`, the one before it in that folder. Each starts from the model before.
    command
        What was typed, for the card.

    Returns
    -------
    pathlib.Path
        The card, for `xcloudmask.ModelSpec.from_card`.

    Raises
    ------
    ReadError, ArgumentError, ModelError, WeightsError
        As in `train`.

    Notes
    -----
    Where the architecture is ``"sensei"``, this is `xcloudmask.training.pretrain.pretrain`: its card is one to start
    from, and not one to predict with.
    """
    if config.model.architecture == SENSEI:
        if start:
            raise ArgumentError(f"The pre-training of SEnSeI begins at random. Found --from {start}: leave it out.")
        return pretrain(config, out=out, command=command, device=_device_text(config), on_step=on_step)
    body: Path | None = None
    if before:
        last = before[-1]
        folder = out / last.model.name
        made = train_model(last, data=data, out=folder, before=before[:-1], command=command, on_step=on_step)
        start, body = (None, made) if _adopts_what_is_before(config) else (made, None)
    run = _prepare(config, data=data, out=out, start=start, body=body)
    net = run.fit(on_step)
    card = build_card(
        run.config,
        progress=read_progress(out / CHECKPOINT),
        record=run.record,
        sources=training_sources(run.config, data=run.folder, start=run.start, adopted=run.adopted),
        start=run.start,
        measured=run.measure(net),
        takes=run.takes,
        command=command,
        device=_device_text(run.config),
    )
    return export(net, out, card=card)


def _adopts_what_is_before(config: TrainConfig) -> bool:
    """Whether the network begins as that of the run before, which takes other bands, in place of its weights."""
    return bool(config.model.body) and config.model.body == config.model.after


def _prepare(
    config: TrainConfig, *, data: Path | None, out: Path, start: str | Path | None, body: Path | None = None
) -> _Run:
    begin = find_start(str(start or config.model.start)) if start or config.model.start else None
    config = _resolved(config, begin)
    options = config.fit
    torch.manual_seed(options.seed)
    net: nn.Module = build(config.model.architecture, config.model.config)
    _check_size(config, net)
    if begin is not None:
        net = load_network(net, begin.weights, part=begin.part)
    adopted = _adopt(net, config, str(body or config.model.body)) if begin is None or begin.part else None
    folder = data or (Path(config.data.folder) if config.data.folder else None)
    pools = load_pools(folder, config)
    length = (options.steps or int(options.minutes * _STEPS_A_MINUTE)) * options.batch
    stream = _make_stream(pools, config, length=length, normalizer=None if begin is None else begin.normalizer)
    record = keep_record(out, config, start=begin, adopted=adopted, pools=pools.by_use())
    return _Run(
        config=config,
        folder=folder,
        pools=pools,
        stream=stream,
        net=net,
        start=begin,
        adopted=adopted,
        record=record,
        out=out,
    )


def _adopt(net: nn.Module, config: TrainConfig, body: str) -> ModelSpec | None:
    """Let a network begin as a model of other bands, where there is one."""
    if not body:
        return None
    if isinstance(net, SenseiNet):
        return adopt_body(net, body)
    return begin_as_any_bands(net, body, config)


def _make_stream(
    pools: Pools, config: TrainConfig, *, length: int, normalizer: Normalizer | None
) -> SampleStream | BandStream:
    if config.other_bands:
        numbers = normalizer if isinstance(normalizer, WholeData) else None
        return make_band_stream(pools, config, length=length, numbers=numbers)
    return make_stream(pools, mixture=config.mixture, seed=config.fit.seed, length=length, normalizer=normalizer)


def _resolved(config: TrainConfig, start: Start | None) -> TrainConfig:
    """Fill in what depends on the model to start from: its network, and a smaller rate."""
    rate = config.fit.learning_rate
    if rate is None:
        rate = LEARNING_RATE if start is None or start.part else FINE_TUNING_RATE
    model = config.model
    if not 0.0 <= model.start_share <= 1.0:
        raise ArgumentError(f"start_share = {model.start_share} under [model]. Expected a share from 0 to 1.")
    if start is not None and start.part and model.start_share > 0.0:
        raise ArgumentError(
            f"start_share = {model.start_share} under [model], and {start.name} is a part of the network: the rest "
            "begins at random. Leave start_share out."
        )
    mixture = config.mixture
    if start is not None:
        model, mixture = start.network(model), start.mixture(mixture)
    return replace(config, model=model, mixture=mixture, fit=replace(config.fit, learning_rate=rate))


def _check_size(config: TrainConfig, net: nn.Module) -> None:
    stride, size = int(getattr(net, "stride_px", 1)), config.mixture.size_px
    if size < stride or size % stride:
        raise ArgumentError(
            f"size_px = {size} under [mixture] is no multiple of the stride of {config.model.architecture!r}, "
            f"{stride}. Type size_px = {max(size // stride, 1) * stride}."
        )


def _device_text(config: TrainConfig) -> str:
    device = torch.device(resolve_device(config.fit.device))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    return f"{device.type}, {name}, {'bfloat16 autocast' if config.fit.bf16 else 'float32'}"
