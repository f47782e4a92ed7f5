"""Specks and holes against a flood fill, and on chunks against the whole image."""

from functools import partial
from itertools import pairwise

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xcloudmask.components import fill_small_holes, remove_small_parts
from xcloudmask.graph import map_with_halo

ALL = (1, 2, 3)
STEPS = {4: ((0, 1), (1, 0), (0, -1), (-1, 0))}
STEPS[8] = (*STEPS[4], (1, 1), (1, -1), (-1, 1), (-1, -1))

images = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=14),
    elements=st.sampled_from([0, 0, 0, 1, 1, 2, 3, 255]),
)
sets = st.sampled_from([ALL, (1, 2), (2,), (3, 1)])
neighbours = st.sampled_from([4, 8])


def parts_of(flags, connectivity):
    """Every connected part, as a set of pixels, by flood fill."""
    left = set(map(tuple, np.argwhere(flags).tolist()))
    while left:
        part, edge = set(), {left.pop()}
        while edge:
            part |= edge
            edge = {(y + dy, x + dx) for y, x in edge for dy, dx in STEPS[connectivity]} & left
            left -= edge
        yield part


def touched_by(part, image, connectivity):
    around = {(y + dy, x + dx) for y, x in part for dy, dx in STEPS[connectivity]} - part
    height, width = image.shape
    return {int(image[y, x]) for y, x in around if 0 <= y < height and 0 <= x < width}


@settings(deadline=None, max_examples=150)
@given(images, sets, st.integers(1, 12), neighbours)
def test_small_parts_are_removed_and_no_others(image, classes, size, connectivity):
    expected = image.copy()
    for part in parts_of(np.isin(image, classes), connectivity):
        if len(part) < size:
            others = touched_by(part, image, connectivity) - {255, *classes}
            for pixel in part:
                expected[pixel] = min(others, default=0)
    found = remove_small_parts(image, classes=classes, smaller_than_px=size, connectivity=connectivity)
    np.testing.assert_array_equal(found, expected)


@settings(deadline=None, max_examples=150)
@given(images, sets, st.integers(1, 12), neighbours)
def test_small_holes_are_filled_and_no_others(image, classes, size, connectivity):
    expected = image.copy()
    for part in parts_of(~np.isin(image, [*classes, 255]), connectivity):
        around = touched_by(part, image, connectivity)
        fill = next((code for code in classes if code in around), 0)
        if len(part) < size:
            for pixel in part:
                expected[pixel] = fill if image[pixel] == 0 else image[pixel]
    found = fill_small_holes(image, classes=classes, smaller_than_px=size, connectivity=connectivity)
    np.testing.assert_array_equal(found, expected)


@settings(deadline=None, max_examples=60)
@given(
    images,
    st.sampled_from([remove_small_parts, fill_small_holes]),
    sets,
    st.integers(1, 12),
    neighbours,
    st.integers(1, 6),
    st.integers(1, 6),
)
def test_one_pixel_less_than_the_size_is_halo_enough(image, function, classes, size, connectivity, chunk_y, chunk_x):
    task = partial(function, classes=classes, smaller_than_px=size, connectivity=connectivity)
    blocks = da.from_array(image, chunks=(chunk_y, chunk_x))
    with dask.config.set(scheduler="sync"):
        lazy = map_with_halo(blocks, task, depth_px=size - 1, dtype=np.uint8).compute()
    np.testing.assert_array_equal(lazy, task(image))


def snake(length):
    """A part of that many pixels that winds through rows and columns, so that chunks cut it into many pieces."""
    path = [(2 * row, column) for row in range(40) for column in (range(20) if row % 2 == 0 else range(19, -1, -1))]
    joined = []
    for here, following in pairwise(path):
        joined.append(here)
        if following[0] != here[0]:
            joined.append((here[0] + 1, here[1]))
    image = np.zeros((80, 20), np.uint8)
    for pixel in joined[:length]:
        image[pixel] = 2
    return image


@pytest.mark.parametrize("chunks", [(80, 20), (40, 20), (27, 10), (33, 7)])
@pytest.mark.parametrize("length", [39, 40])
def test_a_part_at_the_limit_that_chunks_cut(chunks, length):
    task = partial(remove_small_parts, classes=ALL, smaller_than_px=40, connectivity=4)
    with dask.config.set(scheduler="sync"):
        left = map_with_halo(da.from_array(snake(length), chunks=chunks), task, depth_px=39, dtype=np.uint8).compute()
    assert np.count_nonzero(left) == (0 if length == 39 else 40)


@pytest.mark.parametrize("chunk", [3, 10, 29, 30])
@pytest.mark.parametrize("length", [9, 10])
def test_a_diagonal_reaches_as_far_as_a_part_can(chunk, length):
    image = np.zeros((30, 30), np.uint8)
    image[np.arange(5, 5 + length), np.arange(5, 5 + length)] = 1
    task = partial(remove_small_parts, classes=ALL, smaller_than_px=10, connectivity=8)
    with dask.config.set(scheduler="sync"):
        left = map_with_halo(da.from_array(image, chunks=chunk), task, depth_px=9, dtype=np.uint8).compute()
    assert np.count_nonzero(left) == (0 if length == 9 else 10)


def test_parts_do_not_join_across_time():
    codes = np.zeros((3, 4, 4), np.uint8)
    codes[:, 1, 1] = 1
    assert not remove_small_parts(codes, classes=ALL, smaller_than_px=2, connectivity=8).any()
