from inspect import signature

import pytest
import torch

from xcloudmask.errors import ArgumentError, ModelError
from xcloudmask.models._layers import fold_batch_norms, receptive_radius
from xcloudmask.models.architectures import ARCHITECTURES, build, measure_geometry
from xcloudmask.models.deeplab import CloudDeepLab

RADIUS_PX = 241


def small(**config: int) -> CloudDeepLab:
    """Radius and stride of the network in full, few channels, weights that make the logits vary."""
    torch.manual_seed(0)
    net = CloudDeepLab(width=16, **config)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    return net.eval()


def test_size_of_the_network():
    assert sum(p.numel() for p in CloudDeepLab().parameters()) < 1_500_000


def test_receptive_radius_is_what_the_docstring_says():
    measured = receptive_radius(small(), bands=3, stride_px=CloudDeepLab.stride_px, reach_px=288)
    assert measured == RADIUS_PX
    assert f"radius is {RADIUS_PX} px" in CloudDeepLab.__doc__


@pytest.mark.parametrize(("blocks", "rate", "less"), [(2, 4, 64), (3, 2, 48), (1, 1, 168)])
def test_radius_follows_the_configuration(blocks, rate, less):
    net = small(blocks=blocks, rate=rate)
    assert receptive_radius(net, bands=3, stride_px=8, reach_px=256) == RADIUS_PX - less


def test_a_pixel_beyond_the_radius_changes_nothing():
    net, image = small(), torch.randn(1, 3, 8, 576)
    changed = image.clone()
    changed[..., 0] += 10.0
    with torch.inference_mode():
        difference = (net(changed) - net(image)).abs().amax(dim=(0, 1, 2))
    assert difference[: RADIUS_PX // 2].max() > 0
    assert difference[RADIUS_PX + 1 :].max() == 0


def test_a_shift_by_the_stride_shifts_the_logits():
    net, stride = small(blocks=1, rate=1), CloudDeepLab.stride_px
    inside = slice(RADIUS_PX - 168 + 1, -(RADIUS_PX - 168 + 1))
    image = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        here, there = net(image[..., :-stride, :-stride]), net(image[..., stride:, stride:])
    here, there = here[..., stride:, stride:], there[..., :-stride, :-stride]
    torch.testing.assert_close(here[..., inside, inside], there[..., inside, inside], rtol=0, atol=1e-5)
    assert here[..., inside, inside].std() > 0.01


def test_folded_norms_change_nothing_but_the_time():
    net = small(blocks=1)
    image, level = torch.randn(1, 3, 64, 64), torch.randn(1, 7)
    with torch.inference_mode():
        before = net(image, level)
        after = fold_batch_norms(net)(image, level)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)


def test_level_is_a_bias_that_starts_as_none():
    net, image = small(blocks=1), torch.randn(2, 3, 32, 32)
    level = torch.randn(2, 7)
    with torch.inference_mode():
        unknown = net(image)
        torch.testing.assert_close(net(image, level), unknown)
        torch.nn.init.normal_(net.level_mlp[2].weight)
        assert not torch.allclose(net(image, level), unknown)
        torch.testing.assert_close(net(image, torch.zeros(2, 7)), net(image))
        assert small(blocks=1, level=0)(image, level).shape == (2, 4, 32, 32)


def test_every_weight_is_trained():
    net = small(blocks=1).train()
    net(torch.randn(2, 3, 64, 64), torch.randn(2, 7)).square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_architectures_are_called_alike():
    for name, kind in ARCHITECTURES.items():
        own = {"blocks": 1, "level": 1} if "blocks" in signature(kind).parameters else {"stages": 5, "level": 0}
        net = build(name, {"bands": 4, "classes": 3, "width": 16, **own})
        assert type(net) is kind
        side = 4 * kind.stride_px
        assert net(torch.randn(2, 4, side, side), torch.randn(2, 9)).shape == (2, 3, side, side)
        assert net(torch.randn(2, 4, side, side)).shape == (2, 3, side, side)


def test_unknown_architecture_and_arguments_say_what_is_known():
    with pytest.raises(ModelError, match="Known: 'unet', 'deeplab'"):
        build("os.system", {})
    with pytest.raises(ModelError, match=r"'deeplab' cannot be built with .*'depth': 3"):
        build("deeplab", {"depth": 3})


def test_geometry_is_measured_whatever_the_reach():
    assert measure_geometry("deeplab", {"bands": 3, "width": 64}) == (8, RADIUS_PX)
    assert measure_geometry("unet", {"width": 32, "blocks": 3, "level": 1}) == (8, 71)
    with pytest.raises(ArgumentError, match="larger reach_px, such as 192"):
        receptive_radius(small(), bands=3, stride_px=8, reach_px=96)


def test_measuring_leaves_the_random_numbers_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    measure_geometry("unet", {"blocks": 1})
    torch.testing.assert_close(torch.rand(1), expected, rtol=0, atol=0)
