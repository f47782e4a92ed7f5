"""How the benchmark of seams counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks.seams import Changes


def counted(labels, y, x):
    changes = Changes()
    changes.add(labels, (np.array(y, int), np.array(x, int)))
    return changes


def test_a_change_on_every_second_border_and_one_elsewhere():
    labels = np.zeros((4, 8), np.uint8)
    labels[:, 4:] = 1  # on the border before column 4
    labels[0, 7] = 2  # two pairs elsewhere
    changes = counted(labels, [], [4])
    assert (changes.border_pairs, changes.border) == (4, 4)
    assert (changes.other_pairs, changes.other) == (3 * 8 + 4 * 6, 2)
    assert changes.ratio == pytest.approx(1.0 / (2 / 48))


def test_pixels_without_data_count_for_nothing():
    labels = np.zeros((2, 4), np.uint8)
    labels[:, 2] = 255
    changes = counted(labels, [1], [2])
    assert (changes.border_pairs, changes.border) == (3, 0)
    assert (changes.other_pairs, changes.other) == (2, 0)


@given(
    labels=hnp.arrays(np.uint8, st.tuples(st.integers(2, 9), st.integers(2, 9)), elements=st.sampled_from([0, 1, 255])),
    y=st.integers(1, 8),
    x=st.integers(1, 8),
)
def test_every_pair_counts_once_and_axes_are_alike(labels, y, x):
    changes, turned = counted(labels, [y], [x]), counted(labels.T, [x], [y])
    assert changes == turned
    nowhere = counted(labels, [], [])
    assert nowhere.border_pairs == 0
    assert changes.border_pairs + changes.other_pairs == nowhere.other_pairs
    assert changes.border + changes.other == nowhere.other
