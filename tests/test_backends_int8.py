"""int8: calibrated on simulated scenes, always the same, and near what the network says in fp32."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from xcloudmask import errors
from xcloudmask.models.backends import int8
from xcloudmask.models.cache import get_runner


@pytest.fixture(scope="module")
def wide(tiny_model, tmp_path_factory):
    """A network with convolutions of 64 channels, which are wide enough."""
    import torch
    from safetensors.torch import save_file

    from xcloudmask.models.unet import CloudUNet

    torch.manual_seed(5)
    net = CloudUNet(width=16, blocks=1)
    path = tmp_path_factory.mktemp("wide") / "wide.safetensors"
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, path)
    config = tuple((key, 16 if key == "width" else value) for key, value in tiny_model.config)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return replace(tiny_model, name="wide", config=config, weights=str(path), sha256=digest)


@pytest.fixture
def quick(monkeypatch):
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    monkeypatch.setattr(int8, "_SCENES_PER_SENSOR", 1)
    monkeypatch.setattr(int8, "_TILE_PX", 64)


def test_calibration_is_the_same_each_time_and_normalised(tiny_model, monkeypatch):
    monkeypatch.setattr(int8, "_SCENES_PER_SENSOR", 3)
    monkeypatch.setattr(int8, "_TILE_PX", 64)
    first, second = int8.calibration_tiles(tiny_model), int8.calibration_tiles(tiny_model)
    assert len(first) == 3 * len(int8._SENSORS)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
        assert one[0].shape == (1, 3, 64, 64)
        assert abs(float(one[0][0, 0].mean())) < 0.2
    flags = {(bool(level[0, 0]), bool(tile[0, 2].any())) for tile, level in first}
    assert flags == {(True, True), (False, True), (True, False)}  # level and near infrared known


def test_wide_convolutions_become_int8_and_labels_stay_near(wide, quick):
    runner = get_runner(wide, precision="int8")
    assert (runner.precision, runner.device) == ("int8", "cpu")
    kinds = [layer.get_type_name() for layer in runner._model.get_ordered_ops()]
    assert kinds.count("FakeQuantize") + kinds.count("Convert") > 4
    exact = get_runner(wide, device="cpu", precision="fp32")
    crop = (slice(0, 64), slice(0, 64))
    tiles = int8.calibration_tiles(wide)
    given, expected = (np.stack([r.probabilities(*tile, crop) for tile in tiles]) for r in (runner, exact))
    assert np.abs(given - expected).max() > 1e-4  # it is not the network of fp32
    assert np.abs(given - expected).mean() < 0.02
    assert (given.argmax(axis=2) == expected.argmax(axis=2)).mean() > 0.9


def test_quantised_twice_is_the_same_model(wide, quick):
    import torch

    crop = (slice(0, 64), slice(0, 64))
    tile = int8.calibration_tiles(wide)[0]
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(
                get_runner(replace(wide, name=f"again {threads}"), precision="int8").probabilities(*tile, crop)
            )
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*results)


def test_bands_that_no_simulated_sensor_has_are_refused(tiny_model):
    spec = replace(tiny_model, bands=("red", "green", "lidar"), optional_bands=())
    with pytest.raises(errors.ModelError, match=r"lidar.*precision='auto'"):
        int8.calibration_tiles(spec)
