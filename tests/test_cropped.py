"""The forward pass of what is kept of a tile, beside that of the whole tile."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xcloudmask.models import cropped
from xcloudmask.models.cache import get_runner
from xcloudmask.models.cropped import cropped_logits
from xcloudmask.models.loading import load_network
from xcloudmask.models.registry import get_spec
from xcloudmask.models.unet import CloudUNet
from xcloudmask.models.voting import VotingNet

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def in_numbers(net, precision):
    return net.to(dtype=DTYPES[precision], memory_format=torch.channels_last)


def both(net, tiles, level, crop):
    with torch.inference_mode():
        whole = net(tiles, level)
        return whole[:, :, crop[0], crop[1]], cropped_logits(net, tiles, level, crop)


@pytest.fixture(scope="module")
def default():
    return {precision: in_numbers(load_network(get_spec("default")), precision) for precision in DTYPES}


def stretches(side):
    return st.tuples(st.integers(0, side - 1), st.integers(1, side)).filter(lambda ends: ends[0] < ends[1])


@pytest.mark.parametrize("precision", DTYPES)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_any_part_of_any_tile_is_that_of_the_whole(default, precision, data):
    shape = data.draw(st.tuples(st.integers(1, 2), st.integers(2, 36), st.integers(2, 36)))
    n, height, width = shape[0], 8 * shape[1], 8 * shape[2]
    crop = tuple(slice(*data.draw(stretches(side))) for side in (height, width))
    rng = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    tiles = torch.randn(n, 3, height, width, generator=rng).to(DTYPES[precision])
    level = torch.rand(n, 7, generator=rng).to(DTYPES[precision])
    want, found = both(default[precision], tiles, level, crop)
    if precision == "bf16":
        assert torch.equal(want, found)
    else:  # sums of float32 can be ordered by the size of the tile
        torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)


def test_an_exact_halo_is_computed_no_deeper_than_it_reaches(default, monkeypatch):
    """A tile of 1024 with 72 px around it: the decoder, at full resolution, sees 8 px around, not 72."""
    seen = {}
    net = default["bf16"]
    names = {net.encode2: "encode2", net.decode4: "decode4", net.decode2: "decode2"}
    inner = cropped._conv_relu

    def spy(layer, features):
        if layer in names:
            seen[names[layer]] = features.shape[2]
        return inner(layer, features)

    monkeypatch.setattr(cropped, "_conv_relu", spy)
    crop = (slice(72, 72 + 256),) * 2
    with torch.inference_mode():
        cropped_logits(net, torch.zeros(1, 3, 400, 400, dtype=torch.bfloat16), None, crop)
    assert seen == {"encode2": (256 + 2 * 64) // 2, "decode4": (256 + 16) // 4, "decode2": (256 + 16) // 2}


def test_without_the_fused_operation_the_bits_are_the_same(default, monkeypatch):
    torch.manual_seed(0)
    tiles, crop = torch.randn(1, 3, 304, 304).bfloat16(), (slice(72, 200), slice(80, 232))
    fused = both(default["bf16"], tiles, None, crop)[1]
    monkeypatch.setattr(cropped, "_fuses", lambda: False)
    assert torch.equal(fused, both(default["bf16"], tiles, None, crop)[1])


def test_the_whole_tile_and_unknown_networks():
    torch.manual_seed(0)
    tiles, everything = torch.randn(1, 3, 64, 64), (slice(None), slice(None))
    for net in (CloudUNet(width=8, blocks=1).eval(), torch.nn.Conv2d(3, 4, 3, padding=1)):
        known = net if isinstance(net, CloudUNet) else (lambda x, level, net=net: net(x))
        with torch.inference_mode():
            assert torch.equal(known(tiles, None), cropped_logits(known, tiles, None, everything))


def test_members_of_an_ensemble_are_cropped_too():
    torch.manual_seed(0)
    nets = [CloudUNet(width=8, blocks=1).eval(), CloudUNet(width=16, blocks=2, level=0).eval()]
    net = VotingNet(nets, takes_level=[True, False], voting="probabilities").eval()
    want, found = both(net, torch.randn(2, 3, 160, 144), torch.rand(2, 7), (slice(64, 96), slice(80, 83)))
    torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)


def test_labels_and_probabilities_of_a_runner_are_those_of_the_whole_tile():
    rng = np.random.default_rng(0)
    tiles = np.kron(rng.normal(size=(2, 3, 13, 14)), np.ones((16, 16))).astype(np.float32)
    level = np.zeros((2, 7), np.float32)
    crop, whole = (slice(72, 136), slice(80, 144)), (slice(0, 208), slice(0, 224))
    for precision in DTYPES:
        runner = get_runner(get_spec("default"), device="cpu", precision=precision)
        assert len(np.unique(runner.labels(tiles, level, crop))) > 1
        same = runner.labels(tiles, level, crop) == runner.labels(tiles, level, whole)[:, *crop]
        assert same.mean() >= (1.0 if precision == "bf16" else 0.999)
        part, all_ = runner.probabilities(tiles, level, crop), runner.probabilities(tiles, level, whole)
        np.testing.assert_allclose(part, all_[:, :, *crop], atol=1e-4)
