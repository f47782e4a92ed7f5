"""Tiles that are fed to a model: what lies outside the cube is zero, whatever the buffer held before."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcloudmask import blocks
from xcloudmask._feed import feed
from xcloudmask.halo import BlockPlace, fitting_core
from xcloudmask.models.registry import get_spec
from xcloudmask.settings import EngineSettings
from xcloudmask.tiles import fitted, jobs, prepare


def grid(y, x):
    """A block with a halo of 16 px in a cube of 112 px, from y and x on, 32 px along y and 48 along x."""
    return (
        BlockPlace(start=y, stop=y + 32, depth=16, length=112),
        BlockPlace(start=x, stop=x + 48, depth=16, length=112),
    )


@pytest.mark.parametrize("present", [(True, True, True), (True, True, False)])
@pytest.mark.parametrize("start", [(0, 0), (0, 64), (80, 0), (80, 64), (32, 32)])
def test_outside_the_cube_is_zero(start, present):
    settings = EngineSettings(spec=get_spec("default"), halo_px=(16, 16), tile_px=(32, 48), present=present)
    place = grid(*start)
    sides = [one.end - one.origin for one in place]
    pixels = np.random.default_rng(0).integers(1, 4000, (sum(present), *sides), dtype=np.uint16)
    image = prepare(pixels, replace(settings, nodata=(None,) * sum(present)))
    todo = jobs([image], place, settings)
    tiles, _ = feed(todo, len(todo), [image], place, settings)
    first = tiles.copy()
    tiles[...] = np.nan  # the same buffer is filled again
    again, _ = feed(todo, len(todo), [image], place, settings)
    np.testing.assert_array_equal(again, first)
    rows, columns = (
        (np.arange(one.start - 16, one.stop + 16) >= 0) & (np.arange(one.start - 16, one.stop + 16) < one.length)
        for one in place
    )
    inside = rows[:, None] & columns
    assert not again[0][:, ~inside].any()
    assert again[0][0][inside].std() == pytest.approx(1.0, abs=1e-3)


@given(length=st.integers(1, 9000), strides=st.integers(1, 300), stride=st.sampled_from([1, 8, 32, 48]))
def test_tiles_of_a_block_cover_it_and_little_else(length, strides, stride):
    core = strides * stride
    found = fitting_core(length, core=core, stride=stride)
    pieces = -(-length // core)
    assert 0 < found <= core
    assert found % stride == 0
    assert -(-length // found) == pieces
    # A multiple of 64 and of the stride, unless all of it is needed.
    assert found == core or (found % 64 == 0 and found * pieces < length + pieces * np.lcm(stride, 64))


def test_only_labels_that_follow_the_chunks_have_tiles_of_their_own():
    place = (BlockPlace(start=0, stop=100, depth=72, length=900),) * 2
    settings = EngineSettings(spec=get_spec("default"), halo_px=(72, 72), tile_px=(1024, 1024))
    assert fitted(settings, place).tile_px == (128, 128)
    for other in (replace(settings, normalize="lattice"), replace(settings, normalize="scene")):
        assert fitted(other, place) == other
    window = replace(settings, step_px=256)
    assert fitted(window, place) == window


@pytest.mark.parametrize("output", ["labels", "percent"])
@pytest.mark.parametrize("factor", [1, 2])
def test_smaller_tiles_give_the_same_labels(tiny_model, monkeypatch, output, factor):
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(500, 4000, (1, 3, 30, 24)), np.ones((10, 10))).astype(np.uint16)
    place = (
        BlockPlace(start=80, stop=220, depth=80, length=300),
        BlockPlace(start=0, stop=70, depth=80, length=240),
    )
    block = pixels[:, :, : 220 + 80, : 70 + 80]
    settings = EngineSettings(
        spec=tiny_model,
        output=output,
        factor=factor,
        halo_px=(40, 40),
        tile_px=(512, 512),
        nodata=(None,) * 3,
        precision="fp32",
    )
    small = blocks.predict_block(block, places=place, settings=settings)
    monkeypatch.setattr(blocks, "fitted", lambda settings, grid: settings)
    large = blocks.predict_block(block, places=place, settings=settings)
    assert len(np.unique(large)) > 1
    assert (small == large).mean() > 0.999
