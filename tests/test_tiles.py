"""Tiles that are fed to a model: what lies outside the cube is zero, whatever the buffer held before."""

from dataclasses import replace

import numpy as np
import pytest

from xcloudmask.halo import BlockPlace
from xcloudmask.models.registry import get_spec
from xcloudmask.settings import EngineSettings
from xcloudmask.tiles import feed, jobs, prepare


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
