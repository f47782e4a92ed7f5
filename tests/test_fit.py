"""The fit, its checkpoints, and exact resume."""

import math

import pytest
import torch
from patches import patch, small_stream

from xcloudmask.errors import ArgumentError, WeightsError
from xcloudmask.models.unet import CloudUNet
from xcloudmask.training import fit
from xcloudmask.training.checkpoint import load_checkpoint, load_network, read_progress
from xcloudmask.training.history import read_history
from xcloudmask.training.losses import partial_label_loss, set_weights
from xcloudmask.training.stream import Mixture


class Tiny(CloudUNet):
    """A network small enough for a test."""

    def __init__(self):
        super().__init__(width=4, blocks=1)


def options(**changes):
    return fit.FitOptions(**({"steps": 6, "batch": 2, "workers": 0, "bf16": False} | changes))


def trained(folder, *, on_step=None, validate=None, **changes):
    torch.manual_seed(0)
    return fit.fit(Tiny(), small_stream(), folder, options=options(**changes), on_step=on_step, validate=validate)


def cut_off(folder, *, after):
    """Stop a run as a signal would, at the first moment after a step."""

    def stop(progress, _):
        if progress.step == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(folder, on_step=stop, checkpoint_s=0.0)


def same(first, second):
    for key, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[key], value, rtol=0, atol=0)


def test_fit_lowers_the_loss(tmp_path):
    torch.manual_seed(0)
    # All clear: soon learnt, and drawn without a simulation.
    alone = Mixture(size_px=64, real=1.0, thumbnails=0.0, clouded=0.0, landscapes=0.0, pasted=0.0)
    net, stream = Tiny(), small_stream(60, labelled=[patch(1)], mixture=alone)
    batch = [torch.stack(parts) for parts in zip(*(stream[i] for i in range(50, 56)), strict=True)]

    def loss(module):
        logits = module.eval()(batch[0], batch[1])
        return partial_label_loss(logits, batch[2], sample_weight=batch[3], weights=set_weights()).item()

    before = loss(net)
    fit.fit(net, stream, tmp_path, options=options(steps=20, learning_rate=0.1))
    assert loss(net) < 0.9 * before


def test_resumed_run_equals_undisturbed_run(tmp_path):
    whole = trained(tmp_path / "whole", checkpoint_s=1e9)
    cut_off(tmp_path / "cut", after=3)
    assert read_progress(tmp_path / "cut" / fit.CHECKPOINT).step == 3
    torch.manual_seed(123)
    resumed = fit.fit(Tiny(), small_stream(), tmp_path / "cut", options=options())
    same(whole, resumed)
    assert read_progress(tmp_path / "cut" / fit.CHECKPOINT).step == 6


def test_steps_after_the_last_checkpoint_are_done_again(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "_LOG_STEPS", 1)
    whole = trained(tmp_path / "whole")
    cut_off(tmp_path / "cut", after=4)
    history = tmp_path / "cut" / "history.csv"
    rows = history.read_text().splitlines(keepends=True)
    history.write_text("".join([*rows, rows[-1].replace("4,", "5,", 1), "6,0."]))  # as if killed later, in mid-word
    same(whole, trained(tmp_path / "cut"))
    record = read_history(tmp_path / "cut")
    assert record["step"] == [1, 2, 3, 4, 5, 6]
    assert record["loss"] == read_history(tmp_path / "whole")["loss"]


def test_a_run_without_checkpoint_begins_anew(tmp_path):
    (tmp_path / "history.csv").write_text("step,seconds\n50,1.0\n")
    trained(tmp_path, steps=2)
    assert read_history(tmp_path)["step"] == [2]


def test_finished_run_is_not_trained_further(tmp_path):
    first, seen = trained(tmp_path), []
    same(first, trained(tmp_path, on_step=lambda progress, loss: seen.append((progress.step, loss))))
    assert seen == [(6, None)]


def test_minutes_end_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "_LOG_STEPS", 2)
    trained(tmp_path, steps=None, minutes=1e-4)
    assert read_progress(tmp_path / fit.CHECKPOINT).step == 2


def test_bf16_step_is_finite(tmp_path):
    ema = trained(tmp_path, steps=2, bf16=True)
    assert all(torch.isfinite(value).all() for value in ema.state_dict().values())


def test_validation_is_written_where_it_is_asked_for(tmp_path):
    seen = []

    def validate(net):
        seen.append(net.training)
        return {"holdout_cloud_ba": 0.5}

    trained(tmp_path, steps=5, validate=validate, validate_steps=2)
    assert seen == [False] * 3
    history = read_history(tmp_path)
    assert history["step"] == [2, 4, 5]
    assert history["holdout_cloud_ba"] == [0.5] * 3


def test_rate_warms_up_and_falls(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "_LOG_STEPS", 1)
    trained(tmp_path, steps=4, learning_rate=0.1)
    rates = read_history(tmp_path)["learning_rate"]  # of the step after the row
    assert rates[0] == pytest.approx(0.1 * 2 / 200 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi / 4))), rel=1e-4)
    assert rates[-1] == pytest.approx(0.1 * 5 / 200 * 0.01, rel=1e-4)


def test_checkpoint_of_another_network_is_refused(tmp_path):
    trained(tmp_path, steps=1)
    other = CloudUNet(width=8, blocks=1)
    with pytest.raises(WeightsError, match="--out"):
        load_checkpoint(tmp_path / fit.CHECKPOINT, net=other, ema=other)
    with pytest.raises(WeightsError, match="does not fit"):
        load_network(other, tmp_path / fit.CHECKPOINT)
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(WeightsError, match="no checkpoint"):
        read_progress(tmp_path / "junk.safetensors")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_device_is_told(tmp_path):
    with pytest.raises(ArgumentError, match="device='cuda'"):
        trained(tmp_path, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("workers", [0, 1])
def test_fit_and_resume_on_a_gpu(tmp_path, workers):
    trained(tmp_path, steps=4, device="cuda", bf16=True, workers=workers)
    assert read_progress(tmp_path / fit.CHECKPOINT).step == 4
    cut_off(tmp_path / "cut", after=3)
    trained(tmp_path / "cut", device="cuda")
