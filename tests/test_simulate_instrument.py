"""What a sensor does to an image."""

from __future__ import annotations

import numpy as np
import pytest

from xcloudmask.errors import ArgumentError
from xcloudmask.simulate.instrument import Instrument, degrade, draw_instrument


def rng(seed=0):
    return np.random.default_rng(seed)


def ramp(shape=(2, 64, 64)):
    return np.linspace(0.0, 1.0, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def test_no_fault_changes_nothing():
    image, valid = degrade(ramp(), instrument=Instrument(), rng=rng())
    np.testing.assert_array_equal(image, ramp())
    assert valid.all()


def test_the_input_is_not_changed():
    image, valid = ramp(), np.ones((64, 64), bool)
    degrade(image, valid, instrument=Instrument(read_noise=0.1, lost_blocks=3, levels=8), rng=rng())
    np.testing.assert_array_equal(image, ramp())
    assert valid.all()


@pytest.mark.parametrize("levels", [2, 256])
def test_levels_are_counted(levels):
    image, _ = degrade(ramp(), instrument=Instrument(levels=levels), rng=rng())
    assert len(np.unique(image)) == levels
    assert np.abs(image - ramp()).max() <= 0.51 / (levels - 1)


def test_saturation():
    image, _ = degrade(ramp(), instrument=Instrument(saturation=0.4), rng=rng())
    assert image.max() == np.float32(0.4)
    assert (image == np.float32(0.4)).mean() == pytest.approx(0.6, abs=0.01)


def test_stripes_are_columns():
    image, _ = degrade(np.full((2, 50, 60), 0.3, np.float32), instrument=Instrument(stripes=0.02), rng=rng())
    assert (image == image[:, :1]).all()
    assert image[:, 0].std(axis=1) == pytest.approx(0.3 * 0.02, rel=0.4)
    assert not np.array_equal(image[0], image[1])


def test_shot_noise_grows_with_the_root_of_the_light():
    dark, bright = (
        degrade(np.full((1, 200, 200), level, np.float32), instrument=Instrument(shot_noise=0.02), rng=rng())[0].std()
        for level in (0.1, 0.4)
    )
    assert bright / dark == pytest.approx(2.0, rel=0.05)
    read, _ = degrade(np.zeros((1, 200, 200), np.float32), instrument=Instrument(read_noise=0.01), rng=rng())
    assert read.std() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize(
    "fault",
    [{"swath_edge": 0.3}, {"gaps": 0.22}, {"lost_lines": 3}, {"lost_blocks": 2}],
    ids=lambda fault: next(iter(fault)),
)
def test_missing_pixels(fault):
    before = np.ones((128, 96), bool)
    before[5] = False
    image, valid = degrade(ramp((2, 128, 96)) + 0.1, before, instrument=Instrument(**fault), rng=rng(2))
    assert not valid[~before].any()
    assert 0.2 < valid.mean() < before.mean()
    assert (image[:, ~valid] == 0).all()
    assert (image[:, valid] > 0).all()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_the_swath_edge_and_gaps_lose_their_share(share):
    big = np.full((1, 400, 400), 0.1, np.float32)
    for fault in (Instrument(swath_edge=share), Instrument(gaps=share)):
        _, valid = degrade(big, instrument=fault, rng=rng())
        assert 1 - valid.mean() == pytest.approx(share, abs=0.06)


def test_drawn_instruments_differ_and_repeat():
    drawn = [draw_instrument(rng(seed)) for seed in range(60)]
    assert drawn == [draw_instrument(rng(seed)) for seed in range(60)]
    assert any(one.levels for one in drawn)
    assert any(one.swath_edge for one in drawn)
    assert any(one.saturation is None for one in drawn)
    for seed, one in enumerate(drawn):
        first, second = (degrade(ramp(), instrument=one, rng=rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])
        assert np.isfinite(first[0]).all()


@pytest.mark.parametrize(
    "wrong", [{"levels": 1}, {"saturation": 0.0}, {"gaps": 1.0}, {"read_noise": -1.0}, {"swath_edge": float("nan")}]
)
def test_wrong_arguments(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        Instrument(**wrong)


def test_shapes_must_fit():
    with pytest.raises(ArgumentError, match="one size"):
        degrade(ramp(), np.ones((3, 3), bool), instrument=Instrument(), rng=rng())
