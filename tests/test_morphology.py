"""Dilation against the brute force definition, and on dask blocks against the whole."""

from functools import partial

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xcloudmask.errors import ChunkError
from xcloudmask.graph import map_with_halo
from xcloudmask.morphology import dilate_codes, dilate_disc, flag_codes

codes_2d = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=17), elements=st.sampled_from([0, 1, 2, 3, 255])
)


def brute_force(flags, radius):
    ys, xs = np.indices(flags.shape)
    grown = np.zeros_like(flags)
    for y, x in zip(*np.nonzero(flags), strict=True):
        grown |= (ys - y) ** 2 + (xs - x) ** 2 <= radius**2
    return grown


@settings(deadline=None)
@given(codes_2d, st.integers(0, 20))
def test_disc_is_the_euclidean_disc(codes, radius):
    flags = codes == 1
    np.testing.assert_array_equal(dilate_disc(flags, radius_px=radius), brute_force(flags, radius))


def test_leading_axes_do_not_mix():
    flags = np.zeros((2, 3, 5, 5), bool)
    flags[0, 1, 2, 2] = True
    grown = dilate_disc(flags, radius_px=2)
    assert grown[0, 1].sum() == 13
    assert grown.sum() == 13


def test_the_input_is_not_changed():
    flags = np.eye(4, dtype=bool)
    before = flags.copy()
    dilate_disc(flags, radius_px=0)[:] = True
    dilate_disc(flags, radius_px=3)[:] = True
    np.testing.assert_array_equal(flags, before)


def test_nodata_is_flagged_but_not_dilated():
    codes = np.array([[0, 0, 255, 0, 0, 2]], np.uint8)
    flags = flag_codes(codes, flagged=[2], radius_px=1, flag_nodata=True)
    assert flags.tolist() == [[False, False, True, False, True, True]]


def test_the_first_class_wins_and_only_clear_pixels_change():
    codes = np.array([[3, 0, 1, 255, 0]], np.uint8)
    assert dilate_codes(codes, grown=[1, 3], radius_px=1).tolist() == [[3, 1, 1, 255, 0]]
    assert dilate_codes(codes, grown=[3, 1], radius_px=1).tolist() == [[3, 3, 1, 255, 0]]
    assert dilate_codes(codes, grown=[1], radius_px=2).tolist() == [[3, 1, 1, 255, 1]]


@settings(deadline=None, max_examples=40)
@given(codes_2d, st.integers(1, 7), st.integers(1, 7), st.integers(0, 9))
def test_blocks_with_halo_equal_the_whole(codes, chunk_y, chunk_x, radius):
    flags = codes == 1
    blocks = da.from_array(flags, chunks=(chunk_y, chunk_x))
    lazy = map_with_halo(blocks, disc(radius), depth_px=radius, dtype=bool)
    assert lazy.chunks == blocks.chunks
    with dask.config.set(scheduler="sync"):
        np.testing.assert_array_equal(lazy.compute(), brute_force(flags, radius))


def disc(radius):
    return partial(dilate_disc, radius_px=radius)


def test_keys_are_deterministic():
    names = {
        map_with_halo(da.zeros((9, 9), chunks=4, dtype=bool), disc(2), depth_px=2, dtype=bool).name for _ in range(3)
    }
    assert len(names) == 1


def test_unknown_chunks_are_refused():
    array = da.zeros((9, 9), chunks=4)
    unknown = array[array[:, 0] == 0]
    with pytest.raises(ChunkError, match="compute_chunk_sizes"):
        map_with_halo(unknown, np.negative, depth_px=2, dtype=float)
