"""SEnSeI in front of a network, and the ordinary network that it becomes for given bands."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_sensei import BANDS
from xcloudmask.errors import ArgumentError
from xcloudmask.models.anybands import BODIES, SIDE_VALUES, SenseiNet
from xcloudmask.models.sensei import describe
from xcloudmask.models.unet import CloudUNet


def make(body, **more):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        if more:
            net = SenseiNet(body, channels=16, width=8, blocks=1, **more)
            torch.nn.init.normal_(net.body.level_mlp[-1].weight)
            return net
        return SenseiNet(body, channels=16, **({"width": 8, "blocks": 1} if body == "unet" else {}))


@pytest.fixture(scope="module", params=sorted(BODIES))
def net(request):
    return make(request.param).eval()


def side_of(bands, *, empty=0):
    filled = torch.cat((describe(bands), torch.zeros(empty, 3)))
    there = torch.cat((torch.ones(len(bands)), torch.zeros(empty)))
    return torch.cat((filled, there[:, None], torch.zeros(len(filled), SIDE_VALUES - 4)), dim=1)


@settings(max_examples=10)
@given(st.integers(3, len(BANDS)), st.integers(0, 2), st.integers(0, 2**31))
def test_specialised_it_is_the_same_network(net, count, empty, seed):
    x = torch.rand(2, count + empty, 64, 64, generator=torch.Generator().manual_seed(seed))
    x[:, :, :20, :30] = 0.0
    with torch.inference_mode():
        whole = net(x, side_of(BANDS[:count], empty=empty).expand(2, -1, -1))
        alone = net.specialised(BANDS[:count])(x[:, :count])
    torch.testing.assert_close(alone, whole, rtol=1e-3, atol=1e-4)


def test_specialising_leaves_the_network_as_it_was(net):
    before = {key: value.clone() for key, value in net.state_dict().items()}
    one, other = net.specialised(BANDS[:3]), net.specialised(BANDS[3:6])
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    with torch.inference_mode():
        x = torch.rand(1, 3, 64, 64)
        assert not torch.allclose(one(x), other(x))


def test_samples_of_one_batch_may_have_other_bands(net):
    x = torch.rand(2, 4, 64, 64)
    x[1, 3] = 0.0
    sides = torch.stack((side_of(BANDS[:4]), side_of(BANDS[4:7], empty=1)))
    with torch.inference_mode():
        together = net(x, sides)
        alone = net.specialised(BANDS[4:7])(x[1:, :3])
    torch.testing.assert_close(together[1:], alone, rtol=1e-3, atol=1e-4)


def test_gradients_reach_sensei_and_the_network(net):
    trained = make("unet").train()
    trained(torch.rand(2, 3, 64, 64), side_of(BANDS[:3]).expand(2, -1, -1)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained.parameters() if p.ndim > 1)


@pytest.mark.parametrize("known", [True, False])
def test_the_level_is_mapped_as_the_bands_are(known):
    net = make("unet", level=1).eval()
    x, level = torch.rand(1, 4, 64, 64), torch.randn(4, 2) * known
    side = side_of(BANDS[:4])[None].clone()
    side[..., 4], side[..., 5:] = float(known), level
    vector = torch.cat((torch.tensor([float(known)]), level.flatten()))[None]
    with torch.inference_mode():
        torch.testing.assert_close(net.specialised(BANDS[:4])(x, vector), net(x, side), rtol=1e-3, atol=1e-4)


class Apart(torch.nn.Module):
    """In place of a trained SEnSeI, which keeps bands apart: a smooth curve for each wavelength."""

    def matrix(self, descriptors):
        knots = torch.linspace(0.0, 2.0, 16, dtype=descriptors.dtype)[:, None]
        return torch.exp(-((knots - descriptors[:, 1]).abs() / 0.1).square())


def test_a_network_of_three_bands_is_taken_over():
    net, given = make("unet", level=1).eval(), CloudUNet(width=8, blocks=1).eval()
    torch.nn.init.normal_(given.level_mlp[-1].weight)
    net.sensei = Apart()
    sensors = [BANDS[3:6], [(low + 3.0, centre + 3.0, high + 3.0) for low, centre, high in BANDS[3:6]]]
    net.adopt(given, sensors)
    x, level = torch.randn(1, 3, 64, 64), torch.randn(1, 7)
    with torch.inference_mode():
        wanted = given(x, level)
        for bands in sensors:
            off = (net.specialised(bands)(x, level) - wanted).abs().mean()
            assert off < 0.05 * wanted.abs().mean()
    with pytest.raises(ArgumentError, match="another kind or size"):
        net.adopt(CloudUNet(width=16, blocks=1), sensors)


def test_two_bands_are_too_few(net):
    with pytest.raises(ArgumentError, match="takes 3 bands or more, found 2"):
        net.specialised(BANDS[:2])
