"""The networks with a MobileNetV2 encoder: shape, reach, halo, folding, and what they refuse."""

import pytest
import torch
from torch import nn

from xcloudmask.errors import ModelError
from xcloudmask.models._layers import fold_batch_norms, receptive_radius
from xcloudmask.models.architectures import ARCHITECTURES, build, measure_geometry
from xcloudmask.models.deeplabv3 import CloudDeepLabV3
from xcloudmask.models.mobilenet import STAGES, MobileEncoder, scaled
from xcloudmask.models.mobileunet import MobileUNet

NAMES = ("deeplabv3plus", "mobile-unet")
RADIUS_PX = {"deeplabv3plus": 248, "mobile-unet": 228}


def small(name: str, **config: int) -> nn.Module:
    """Few channels, and norms that do something."""
    torch.manual_seed(0)
    net = build(name, {"width": 8, **config})
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return net.eval()


def test_the_whole_encoder_is_as_large_as_in_the_paper():
    # torchvision's features[:18], and timm's mobilenetv2_100 without conv_head: 2,223,872 parameters less the last
    # layer of 320 x 1280 weights and its norm.
    assert sum(p.numel() for p in MobileEncoder().parameters()) == 1_811_712
    assert sum(blocks for _, _, blocks, _ in STAGES) == 17


@pytest.mark.parametrize("name", NAMES)
def test_size_with_half_the_channels(name):
    assert 150_000 < sum(p.numel() for p in build(name, {"width": 16, "bands": 13}).parameters()) < 600_000


@pytest.mark.parametrize(
    ("arguments", "strides"),
    [
        ({"deepest_px": 32}, [2, 4, 8, 16, 32]),
        ({"deepest_px": 16}, [2, 4, 8, 16]),
        ({"deepest_px": 8}, [2, 4, 8]),
        ({"deepest_px": 8, "stages": 3}, [2, 4, 8]),
        ({"deepest_px": 4, "stages": 2}, [2, 4]),
    ],
)
def test_features_of_each_stride(arguments, strides):
    net = MobileEncoder(bands=5, width=8, **arguments).eval()
    features = net(torch.zeros(2, 5, 64, 96))
    assert [(64 // one.shape[2], 96 // one.shape[3]) for one in features] == [(stride, stride) for stride in strides]
    assert [one.shape[1] for one in features] == net.channels


def test_strides_become_rates_or_are_left_out():
    def rates(**arguments: bool) -> list[int]:
        net = MobileEncoder(width=8, deepest_px=8, **arguments)
        return [m.dilation[0] for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]

    # The block whose stride is left out still sees what it saw; those behind it see as far as before.
    assert rates() == [1] * 7 + [2] * 7 + [4] * 3
    assert rates(dilate=False) == [1] * 17


def test_channels_are_whole_groups_of_eight():
    assert [scaled(channels, 16) for _, channels, _, _ in STAGES] == [8, 16, 16, 32, 48, 80, 160]
    assert all(scaled(24, width) % 8 == 0 and scaled(24, width) >= 0.9 * 24 * width / 32 for width in range(8, 64, 4))


@pytest.mark.parametrize("name", NAMES)
def test_geometry_is_what_the_docstring_says(name):
    stride_px, radius_px = measure_geometry(name, {"bands": 3, "width": 32})
    assert (stride_px, radius_px) == (ARCHITECTURES[name].stride_px, RADIUS_PX[name])
    assert f"radius is {radius_px} px" in ARCHITECTURES[name].__doc__


def test_radius_is_the_sum_over_the_layers():
    # Half a kernel times its rate and the stride where it sits; the last ones are the phase within a cell.
    encoder = 1 + 2 + (2 + 4) + (4 + 8 + 8) + (8 + 3 * 16) + 3 * 16
    assert RADIUS_PX["deeplabv3plus"] == encoder + 8 * 3 * 4 + 2 * 4 + 4 + 7
    unet = 1 + 2 + (2 + 4) + (4 + 8 + 8) + (8 + 3 * 16) + 3 * 16 + 4 * 16 + (8 + 4 + 2) + 2 + 15
    assert RADIUS_PX["mobile-unet"] == unet
    less = receptive_radius(small("mobile-unet", stages=5), bands=3, stride_px=16, reach_px=200)
    assert less == RADIUS_PX["mobile-unet"] - 64
    less = receptive_radius(small("deeplabv3plus", rate=1), bands=3, stride_px=8, reach_px=200)
    assert less == RADIUS_PX["deeplabv3plus"] - 72


@pytest.mark.parametrize("name", NAMES)
def test_a_tile_with_its_halo_says_what_the_whole_picture_says(name):
    net, stride = small(name), ARCHITECTURES[name].stride_px
    halo = -(-RADIUS_PX[name] // stride) * stride
    image = torch.randn(1, 3, 16, 2 * halo + 128)
    with torch.inference_mode():
        whole = net(image)[..., halo + stride : halo + stride + 32]
        tile = net(image[..., stride : 2 * halo + stride + 32])[..., halo : halo + 32]
    torch.testing.assert_close(tile, whole, rtol=0, atol=1e-5)
    assert whole.std() > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_a_pixel_beyond_the_radius_changes_nothing(name):
    net, radius = small(name), RADIUS_PX[name]
    image = torch.randn(1, 3, 16, 3 * 192)
    changed = image.clone()
    changed[..., 0] += 10.0
    with torch.inference_mode():
        difference = (net(changed) - net(image)).abs().amax(dim=(0, 1, 2))
    assert difference[: radius // 4].max() > 0
    assert difference[radius + 1 :].max() == 0


@pytest.mark.parametrize("name", NAMES)
def test_folded_norms_change_nothing_but_the_time(name):
    net, image = small(name, bands=4).double(), torch.randn(1, 4, 64, 64, dtype=torch.float64)
    first = net.first_convolution()
    assert (first.in_channels, first.bias) == (4, None)
    with torch.inference_mode():
        before = net(image)
        after = fold_batch_norms(net)(image)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    torch.testing.assert_close(before, after)
    assert net.first_convolution().bias is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_linear_layer_folds_into_the_first_convolution(name):
    net, mix = small(name, bands=6).double(), torch.randn(6, 2, dtype=torch.float64)
    image = torch.randn(1, 2, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        expected = net(torch.einsum("cb,nbyx->ncyx", mix, image))
        first = net.first_convolution()
        first.weight = nn.Parameter(torch.einsum("ocyx,cb->obyx", first.weight, mix))
        torch.testing.assert_close(net(image), expected)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_is_trained(name):
    net = small(name).train()
    net(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert [key for key, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_fresh_features_do_not_fade():
    torch.manual_seed(0)
    for stages in (5, 7):
        spread = MobileEncoder(stages=stages, deepest_px=16).eval()(torch.randn(1, 3, 64, 64))[-1].std()
        assert 0.1 < spread < 1000


@pytest.mark.parametrize("kind", [CloudDeepLabV3, MobileUNet])
def test_no_level(kind):
    net, image = kind(width=8).eval(), torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(net(image, torch.randn(1, 7)), net(image))
    with pytest.raises(ValueError, match="Type level = 0"):
        kind(level=1)


def test_arguments_that_make_no_network():
    with pytest.raises(ModelError, match=r"'mobile-unet' cannot be built with .*level = 1"):
        build("mobile-unet", {"level": 1})
    with pytest.raises(ModelError, match="stages is 2 to 7"):
        build("deeplabv3plus", {"stages": 8})
