"""The fit of a network to a stream of samples: steps, averaged weights, checkpoints, exact resume."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from xcloudmask.models.devices import resolve_device
from xcloudmask.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from xcloudmask.training.history import MEASURES, append_row, trim
from xcloudmask.training.losses import dice_loss, partial_label_loss, set_weights
from xcloudmask.training.options import LEARNING_RATE, FitOptions

__all__ = ["CHECKPOINT", "FitOptions", "Loss", "OnStep", "Validate", "average_into", "fit"]

CHECKPOINT = "checkpoint.safetensors"
_FIRST_PLAN = 5000
_LOG_STEPS = 50

_log = logging.getLogger(__name__)
_Batch = Sequence[Tensor]
Loss = Callable[[Callable[..., Any], _Batch], Tensor]
"""Takes the network (in autocast, where the options say so) and the parts of a batch."""
Validate = Callable[[nn.Module], Mapping[str, float]]
"""Measures a network in eval mode; the names are columns of the history."""
OnStep = Callable[[Progress, float | None], None]
"""Told where the run stands after each step, and the mean loss wherever a row of the history is written."""


def fit(
    net: nn.Module,
    stream: Dataset[Any],
    out: Path,
    *,
    options: FitOptions,
    loss: Loss | None = None,
    validate: Validate | None = None,
    measures: Sequence[str] = MEASURES,
    on_step: OnStep | None = None,
) -> nn.Module:
    """Train a network, or go on where a checkpoint in `out` stopped.

    Parameters
    ----------
    net
        Trained in place.
    stream
        Samples; as many as there are steps times `options.batch`, or more.
    out
        Folder of the checkpoint and the history.
    options
        Settings.
    loss
        None is what the options name, for samples of labelled pixels.
    validate
        Measures the averaged network every `options.validate_steps`, and at the end.
    measures
        Names of what it returns.
    on_step
        Called once before the first step and after each.

    Returns
    -------
    torch.nn.Module
        The averaged network, in eval mode.

    Raises
    ------
    WeightsError
        The checkpoint in `out` is of another network.
    ArgumentError
        The device is not there.

    Notes
    -----
    A seed gives the same samples everywhere, and the same weights on the same machine with the same number of threads.
    Other processors and GPUs round otherwise.
    """
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(net=net, options=options, out=out, loss=loss, measures=measures)
    if on_step is not None:
        on_step(run.progress, None)
    pinned = run.device.type == "cuda"
    for batch in _batches(stream, first=run.progress.step, options=options, pinned=pinned):
        if run.progress.step >= run.progress.planned:
            break
        run.step(batch)
        # Where the clock rules, a row of the history plans anew, so the plan's last step need not be the last one.
        last = run.progress.step == run.progress.planned and options.steps is not None
        measured: Mapping[str, float] = {}
        if (
            validate is not None
            and options.validate_steps
            and (last or run.progress.step % options.validate_steps == 0)
        ):
            measured = validate(run.ema)
        mean = run.log(measured) if run.progress.step % _LOG_STEPS == 0 or measured or last else None
        if time.monotonic() - run.saved > options.checkpoint_s or run.progress.step == run.progress.planned:
            run.save()
        if on_step is not None:
            on_step(run.progress, mean)
    return run.ema


@dataclass(kw_only=True)
class _Run:
    """A run in progress."""

    net: nn.Module
    options: FitOptions
    out: Path
    loss: Loss | None
    measures: Sequence[str]
    ema: nn.Module = field(init=False)
    progress: Progress = field(init=False)
    saved: float = field(init=False)

    def __post_init__(self) -> None:
        self.device = torch.device(resolve_device(self.options.device))
        self.net = self.net.train().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = copy.deepcopy(self.net).eval().requires_grad_(requires_grad=False)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=self._peak, weight_decay=self.options.weight_decay)
        self.progress = Progress(step=0, planned=self.options.steps or _FIRST_PLAN, seed=self.options.seed)
        if (self.out / CHECKPOINT).exists():
            self.progress = load_checkpoint(self.out / CHECKPOINT, net=self.net, ema=self.ema, optimizer=self.optimizer)
            _log.info("resumed at step %d of %d", self.progress.step, self.progress.planned)
        trim(self.out, after=self.progress.step)
        weights = set_weights(shadow=self.options.shadow_weight, thin=self.options.thin_weight).to(self.device)
        self.loss_of = self.loss or partial(_label_loss, weights=weights, dice=self.options.loss == "dice")
        self.began, self.saved = time.monotonic() - self.progress.elapsed_s, time.monotonic()
        self.losses: list[Tensor] = []

    def step(self, batch: _Batch) -> None:
        """Do one step of the optimiser."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.losses.append(self._descend(batch))
        self.progress = replace(self.progress, step=self.progress.step + 1, elapsed_s=time.monotonic() - self.began)
        average_into(self.ema, self.net, memory=min(self.options.ema, self.progress.step / (self.progress.step + 20)))

    @property
    def _peak(self) -> float:
        return LEARNING_RATE if self.options.learning_rate is None else self.options.learning_rate

    @property
    def rate(self) -> float:
        """Warm up over 200 steps, then follow a cosine to 1 % of the peak."""
        warm = min(1.0, (self.progress.step + 1) / 200)
        part = min(1.0, self.progress.step / self.progress.planned)
        return self._peak * warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * part)))

    def _descend(self, batch: _Batch) -> Tensor:
        loss = self.loss_of(self._forward, [part.to(self.device, non_blocking=True) for part in batch])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        # It stays a tensor until it is shown: reading it makes a GPU wait.
        return loss.detach()

    def _forward(self, *inputs: Tensor) -> Any:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.options.bf16):
            return self.net(*inputs)

    def log(self, measured: Mapping[str, float]) -> float | None:
        """Write a row of the history, plan anew where the clock rules, and return the mean loss since the last row."""
        if self.options.steps is None:
            planned = int(self.progress.step * self.options.minutes * 60 / self.progress.elapsed_s)
            self.progress = replace(self.progress, planned=max(planned, self.progress.step))
        loss = sum(map(float, self.losses)) / len(self.losses)
        row = {"step": self.progress.step, "seconds": self.progress.elapsed_s, "learning_rate": self.rate}
        append_row(self.out, row | {"loss": loss} | dict(measured), measures=self.measures)
        _log.info("step %d of %d, loss %.4f %s", self.progress.step, self.progress.planned, loss, dict(measured) or "")
        self.losses.clear()
        return loss

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(
            self.out / CHECKPOINT, net=self.net, ema=self.ema, optimizer=self.optimizer, progress=self.progress
        )
        self.saved = time.monotonic()


def _label_loss(net: Callable[..., Any], batch: _Batch, *, weights: Tensor, dice: bool) -> Tensor:
    image, level, allowed, sample_weight = batch
    logits = net(image.contiguous(memory_format=torch.channels_last), level)
    return (dice_loss if dice else partial_label_loss)(logits, allowed, sample_weight=sample_weight, weights=weights)


def _batches(stream: Dataset[Any], *, first: int, options: FitOptions, pinned: bool) -> Iterator[_Batch]:
    rest = Subset(stream, range(first * options.batch, len(stream)))  # type: ignore[arg-type]  # map-style ones have it
    loader: DataLoader[_Batch] = DataLoader(
        rest,
        batch_size=options.batch,
        num_workers=options.workers,
        # Fork and OpenMP threads do not go together.
        multiprocessing_context="spawn" if options.workers else None,
        prefetch_factor=6 if options.workers else None,
        drop_last=True,
        pin_memory=pinned,
    )
    yield from loader


@torch.no_grad()
def average_into(mean: nn.Module, other: nn.Module, *, memory: float) -> None:
    """Average the weights of two networks of one kind, in place.

    Parameters
    ----------
    mean
        Receives the average; keeps the share `memory` of its own.
    other
        The other one, on the same device.
    memory
        0 to 1.

    Examples
    --------
    >>> a, b = nn.Linear(1, 1), nn.Linear(1, 1)
    >>> _ = nn.init.zeros_(a.weight), nn.init.ones_(b.weight)
    >>> average_into(a, b, memory=0.75)
    >>> a.weight.item()
    0.25
    """
    for kept, value in zip(mean.state_dict().values(), other.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(value, 1.0 - memory)
        else:
            kept.copy_(value)
