"""Train the default network: ``python -m xcloudmask.training.fit --data DIR --out DIR --minutes 50 --seed 0``."""

from __future__ import annotations

import argparse
import copy
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from xcloudmask.models.unet import CloudUNet
from xcloudmask.training.checkpoint import Progress, load_checkpoint, load_network, save_checkpoint
from xcloudmask.training.config import CONFIG
from xcloudmask.training.data import load_patches, load_thumbnails, split_holdout
from xcloudmask.training.losses import partial_label_loss, set_weights
from xcloudmask.training.stream import Mixture, SampleStream

__all__ = ["CHECKPOINT", "FitOptions", "fit", "main", "training_stream"]

CHECKPOINT = "checkpoint.safetensors"
_FIRST_PLAN = 5000
_LOG_STEPS = 50

_log = logging.getLogger(__name__)
_Batch = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """Settings of a run."""

    steps: int | None = None
    """Planned steps; None goes by the clock, as many as fit `minutes`, and is then not the same each time."""
    minutes: float = 50.0
    """Planned duration, where `steps` is None."""
    batch: int = 14
    """Samples of a step."""
    seed: int = 0
    """Seed of weights and samples."""
    learning_rate: float = 2e-3
    """Peak of the cosine schedule."""
    weight_decay: float = 0.02
    """Of AdamW."""
    ema: float = 0.998
    """Memory of the averaged weights."""
    checkpoint_s: float = 180.0
    """Seconds between checkpoints."""
    workers: int = 1
    """Processes that draw samples; 0 draws them in this one."""
    bf16: bool = True
    """Whether to multiply in bfloat16."""


def training_stream(data: Path, *, seed: int, length: int, mixture: Mixture | None = None) -> SampleStream:
    """Build the stream of samples of the splits `train` and `background`, less what is set aside for choosing.

    Parameters
    ----------
    data
        The data folder.
    seed, length
        Of the stream.
    mixture
        Shares of the kinds of samples.

    Returns
    -------
    SampleStream
    """
    return SampleStream(
        labelled=split_holdout(load_patches(data, splits=("train",)))[0],
        backgrounds=split_holdout(load_patches(data, splits=("background",)))[0],
        thumbnails=split_holdout(load_thumbnails(data, split="train"))[0],
        mixture=mixture or Mixture(),
        seed=seed,
        length=length,
    )


def fit(net: nn.Module, stream: SampleStream, out: Path, *, options: FitOptions) -> nn.Module:
    """Train a network, or go on where a checkpoint in `out` stopped.

    Parameters
    ----------
    net
        Trained in place.
    stream
        Samples; as many as there are steps times `options.batch`, or more.
    out
        Folder of the checkpoint.
    options
        Settings.

    Returns
    -------
    torch.nn.Module
        The averaged network, in eval mode.
    """
    out.mkdir(parents=True, exist_ok=True)
    net = net.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ema = copy.deepcopy(net).eval().requires_grad_(requires_grad=False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    progress = Progress(step=0, planned=options.steps or _FIRST_PLAN, seed=options.seed)
    if (out / CHECKPOINT).exists():
        progress = load_checkpoint(out / CHECKPOINT, net=net, ema=ema, optimizer=optimizer)
        _log.info("resumed at step %d of %d", progress.step, progress.planned)
    weights, clock, saved = set_weights(), time.monotonic() - progress.elapsed_s, time.monotonic()
    losses: list[float] = []
    for batch in _batches(stream, first=progress.step, options=options):
        if progress.step >= progress.planned:
            break
        _set_rate(optimizer, options, progress)
        losses.append(_step(net, optimizer, batch, weights, bf16=options.bf16))
        progress = replace(progress, step=progress.step + 1, elapsed_s=time.monotonic() - clock)
        _average(ema, net, memory=min(options.ema, progress.step / (progress.step + 20)))
        if progress.step % _LOG_STEPS == 0:
            progress = _replan(progress, options)
            _log.info("%s loss %.4f", progress, sum(losses) / len(losses))
            losses.clear()
        if time.monotonic() - saved > options.checkpoint_s or progress.step == progress.planned:
            save_checkpoint(out / CHECKPOINT, net=net, ema=ema, optimizer=optimizer, progress=progress)
            saved = time.monotonic()
    return ema


def _replan(progress: Progress, options: FitOptions) -> Progress:
    """Plan as many steps as the minutes allow at the speed so far; a number of steps given stays as it is."""
    if options.steps is not None:
        return progress
    planned = int(progress.step * options.minutes * 60 / progress.elapsed_s)
    return replace(progress, planned=max(planned, progress.step))


def _batches(stream: SampleStream, *, first: int, options: FitOptions) -> Iterator[_Batch]:
    rest = Subset(stream, range(first * options.batch, len(stream)))
    loader: DataLoader[_Batch] = DataLoader(
        rest,
        batch_size=options.batch,
        num_workers=options.workers,
        # Fork and OpenMP threads do not go together.
        multiprocessing_context="spawn" if options.workers else None,
        prefetch_factor=6 if options.workers else None,
        drop_last=True,
    )
    yield from loader


def _set_rate(optimizer: torch.optim.Optimizer, options: FitOptions, progress: Progress) -> None:
    """Warm up over 200 steps, then follow a cosine to 1 % of the peak."""
    warm = min(1.0, (progress.step + 1) / 200)
    part = min(1.0, progress.step / progress.planned)
    for group in optimizer.param_groups:
        group["lr"] = options.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * part)))


def _step(net: nn.Module, optimizer: torch.optim.Optimizer, batch: _Batch, weights: Tensor, *, bf16: bool) -> float:
    image, level, allowed, sample_weight = batch
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        logits = net(image.contiguous(memory_format=torch.channels_last), level)
    loss = partial_label_loss(logits, allowed, sample_weight=sample_weight, weights=weights)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


@torch.no_grad()
def _average(ema: nn.Module, net: nn.Module, *, memory: float) -> None:
    for mean, value in zip(ema.state_dict().values(), net.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(value, 1.0 - memory)
        else:
            mean.copy_(value)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and train.

    Parameters
    ----------
    arguments
        None takes those of the process.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with patches.csv, patches/ and s2cmc_rgb/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint and the log")
    parser.add_argument("--minutes", type=float, default=50.0, help="planned duration")
    parser.add_argument("--steps", type=int, help="planned steps, instead of minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="weights or checkpoint to start from, instead of random weights")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw samples")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", filename=given.out / "log.txt")
    torch.manual_seed(given.seed)
    options = FitOptions(steps=given.steps, minutes=given.minutes, seed=given.seed, workers=given.workers)
    length = (given.steps or int(given.minutes * 60 * 20)) * options.batch
    net: nn.Module = CloudUNet(**CONFIG)
    if given.start is not None:
        net = load_network(net, given.start)
    fit(net, training_stream(given.data, seed=given.seed, length=length), given.out, options=options)


if __name__ == "__main__":
    main()
