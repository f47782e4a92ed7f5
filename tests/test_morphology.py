"""Dilation and erosion against the brute force definition, and on dask blocks against the whole."""

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
from xcloudmask.morphology import dilate, dilate_codes, disc_m, disc_px, erode, flag_codes, reach_px

codes_2d = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=17), elements=st.sampled_from([0, 1, 2, 3, 255])
)
radii = st.integers(0, 20)
pixel_sizes = st.floats(0.5, 30.0)


def brute_force(flags, radius, pixel=(1.0, 1.0)):
    ys, xs = np.indices(flags.shape)
    grown = np.zeros_like(flags)
    for y, x in zip(*np.nonzero(flags), strict=True):
        grown |= ((ys - y) * pixel[0]) ** 2 + ((xs - x) * pixel[1]) ** 2 <= radius**2
    return grown


@settings(deadline=None)
@given(codes_2d, radii)
def test_disc_is_the_euclidean_disc(codes, radius):
    flags = codes == 1
    np.testing.assert_array_equal(dilate(flags, disc_px(radius)), brute_force(flags, radius))


@settings(deadline=None)
@given(codes_2d, st.floats(0.0, 200.0), st.tuples(pixel_sizes, pixel_sizes))
def test_a_disc_in_metres_is_an_ellipse_of_pixels(codes, radius, pixel):
    flags = codes == 1
    disc = disc_m(radius, pixel)
    # On the rim itself the pixels may go either way: coordinates carry rounding errors.
    grown = dilate(flags, disc)
    assert not (brute_force(flags, radius * (1 - 1e-5), pixel) & ~grown).any()
    assert not (grown & ~brute_force(flags, radius * (1 + 1e-5), pixel)).any()
    assert list(disc) == sorted(disc, reverse=True)


def test_rounding_of_pixel_sizes_costs_no_ring():
    assert disc_m(30.0, (9.9999999, 10.0000001)) == disc_px(3)
    assert disc_m(29.9, (10.0, 10.0)) == (2, 2, 2)  # 28.3 m to the corner
    assert disc_m(9.0, (10.0, 10.0)) == disc_px(0)
    assert reach_px(disc_m(100.0, (50.0, 20.0))) == (2, 5)


@settings(deadline=None)
@given(codes_2d, st.integers(0, 6))
def test_erosion_is_the_dilation_of_what_is_known_to_be_clear(codes, radius):
    flags, known = codes == 1, codes != 255
    eroded = erode(flags, disc_px(radius), known=known)
    np.testing.assert_array_equal(eroded, flags & ~brute_force(known & ~flags, radius))


@settings(deadline=None)
@given(codes_2d, st.integers(0, 6))
def test_opening_and_closing_are_idempotent_up_to_the_edges(codes, radius):
    flags, known, disc = codes == 1, codes != 255, disc_px(radius)

    def opened(there):
        return dilate(erode(there, disc, known=known), disc) & known

    def closed(there):
        return erode(dilate(there, disc), disc, known=known)

    assert not (opened(flags) & ~flags).any()
    assert not (flags & ~closed(flags)).any()
    np.testing.assert_array_equal(opened(opened(flags)), opened(flags))
    np.testing.assert_array_equal(closed(closed(flags)), closed(flags))
    np.testing.assert_array_equal(closed(known & ~flags), known & ~opened(flags))


def test_leading_axes_do_not_mix():
    flags = np.zeros((2, 3, 5, 5), bool)
    flags[0, 1, 2, 2] = True
    grown = dilate(flags, disc_px(2))
    assert grown[0, 1].sum() == 13
    assert grown.sum() == 13


def test_the_input_is_not_changed():
    flags = np.eye(4, dtype=bool)
    before = flags.copy()
    dilate(flags, disc_px(0))[:] = True
    dilate(flags, disc_px(3))[:] = True
    np.testing.assert_array_equal(flags, before)


def test_nodata_is_flagged_but_not_dilated():
    codes = np.array([[0, 0, 255, 0, 0, 2]], np.uint8)
    flags = flag_codes(codes, grown=[(2, disc_px(1))], flag_nodata=True)
    assert flags.tolist() == [[False, False, True, False, True, True]]


def test_codes_grow_by_discs_of_their_own():
    codes = np.array([[0, 0, 1, 0, 0, 0, 3, 0]], np.uint8)
    flags = flag_codes(codes, grown=[(1, disc_px(2)), (2, disc_px(7)), (3, disc_px(0))])
    assert flags.astype(int).tolist() == [[1, 1, 1, 1, 1, 0, 1, 0]]


def test_the_first_class_wins_and_only_clear_pixels_change():
    codes = np.array([[3, 0, 1, 255, 0]], np.uint8)
    one, two = disc_px(1), disc_px(2)
    assert dilate_codes(codes, grown=[(1, one), (3, one)]).tolist() == [[3, 1, 1, 255, 0]]
    assert dilate_codes(codes, grown=[(3, one), (1, one)]).tolist() == [[3, 3, 1, 255, 0]]
    assert dilate_codes(codes, grown=[(1, two)]).tolist() == [[3, 1, 1, 255, 1]]


@settings(deadline=None, max_examples=40)
@given(codes_2d, st.integers(1, 7), st.integers(1, 7), st.integers(0, 9), st.integers(0, 9))
def test_blocks_with_halo_equal_the_whole(codes, chunk_y, chunk_x, reach_y, reach_x):
    flags = codes == 1
    blocks = da.from_array(flags, chunks=(chunk_y, chunk_x))
    disc = (reach_x, *[reach_x // 2] * reach_y)
    lazy = map_with_halo(blocks, partial(dilate, disc=disc), depth_px=(reach_y, reach_x), dtype=bool)
    assert lazy.chunks == blocks.chunks
    with dask.config.set(scheduler="sync"):
        np.testing.assert_array_equal(lazy.compute(), dilate(flags, disc))


def test_keys_are_deterministic():
    zeros = da.zeros((9, 9), chunks=4, dtype=bool)
    task = partial(dilate, disc=disc_px(2))
    names = {map_with_halo(zeros, task, depth_px=2, dtype=bool).name for _ in range(3)}
    assert len(names) == 1


def test_unknown_chunks_are_refused():
    array = da.zeros((9, 9), chunks=4)
    unknown = array[array[:, 0] == 0]
    with pytest.raises(ChunkError, match="compute_chunk_sizes"):
        map_with_halo(unknown, np.negative, depth_px=2, dtype=float)
