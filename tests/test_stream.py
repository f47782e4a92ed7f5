"""The stream of samples: repeatable, and what the network takes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from patches import patch, small_stream

from xcloudmask.errors import ArgumentError
from xcloudmask.training.labels import ANY, CLEAR, CLOUD, NOT_CLOUD, SHADOW, THICK
from xcloudmask.training.normalizers import WholeData, make_normalizer
from xcloudmask.training.stream import Mixture


def only(kind, **changes):
    shares = dict.fromkeys(("real", "thumbnails", "clouded", "landscapes", "pasted"), 0.0)
    return Mixture(**(shares | {kind: 1.0, "size_px": 64} | changes))


def test_sample_depends_on_its_number_alone():
    first, second = small_stream(), small_stream()
    second[5]
    for left, right in zip(first[7], second[7], strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)
    assert any(not torch.equal(a, b) for a, b in zip(first[7], small_stream(seed=1)[7], strict=True))


def test_samples_are_what_the_network_takes():
    stream = small_stream()
    assert len(stream) == 400
    known, flat = 0, 0
    for index in range(60):
        image, level, allowed, weight = stream[index]
        assert image.shape == (3, 64, 64)
        assert image.dtype == torch.float32
        assert torch.isfinite(image).all()
        assert level.shape == (7,)
        assert allowed.dtype == torch.uint8
        assert int(allowed.min()) >= 1
        assert int(allowed.max()) <= ANY
        assert weight.item() == 1.0
        known += int(level[0])
        flat += int(not image[2].any())
    assert 10 < known < 50
    assert flat >= 8


def test_backgrounds_alone_show_every_kind_of_truth():
    stream = small_stream(labelled=[], thumbnails=[], mixture=only("clouded"))
    sets = {int(code) for index in range(20) for code in stream[index][2].unique()}
    assert {CLEAR, THICK, SHADOW} <= sets


def test_simulated_ground_needs_no_patch():
    stream = small_stream(labelled=[], thumbnails=[], backgrounds=[], mixture=only("landscapes"))
    sets = {int(code) for index in range(12) for code in stream[index][2].unique()}
    assert {CLEAR, THICK} <= sets


def test_a_mixture_without_data_says_what_to_give():
    with pytest.raises(ArgumentError, match="landscapes = 1"):
        small_stream(labelled=[], thumbnails=[], backgrounds=[], mixture=only("real"))
    with pytest.raises(ArgumentError, match="wants nothing"):
        small_stream(mixture=only("real", real=0.0))


def test_thumbnails_have_no_near_infrared():
    stream = small_stream(mixture=only("thumbnails"))
    assert not any(stream[index][0][2].any() for index in range(6))


def test_pasted_clouds_come_with_their_label():
    labels = np.full((96, 96), CLEAR, np.uint8)
    labels[30:60, 30:60] = CLOUD
    donor = patch(1, allowed=labels)
    stream = small_stream(labelled=[donor], thumbnails=[], mixture=only("pasted"))
    sets = {int(code) for index in range(12) for code in stream[index][2].unique()}
    assert {CLEAR, CLOUD} <= sets


def test_partial_labels_can_be_guessed():
    mixture = only("thumbnails", partial_labels=False)
    stream = small_stream(mixture=mixture)
    sets = {int(code) for index in range(6) for code in stream[index][2].unique()}
    assert NOT_CLOUD not in sets
    assert CLEAR in sets


def test_whole_data_normalisers_ignore_the_window():
    fixed = make_normalizer("fixed", [patch(1), patch(2)])
    assert isinstance(fixed, WholeData)
    one, level = fixed(np.full((3, 8, 8), 0.2, np.float32), None, level_known=True, nir=True)
    two, _ = fixed(np.full((3, 8, 8), 0.3, np.float32), None, level_known=True, nir=True)
    assert (two > one).all()
    assert not level.any()
    clipped, _ = make_normalizer("percentile", [patch(1)])(
        np.full((3, 8, 8), 9.0, np.float32), None, level_known=True, nir=False
    )
    np.testing.assert_array_equal(clipped[:, 0, 0], [1.0, 1.0, 0.0])


def test_values_of_an_unknown_scale_meet_no_other_clouds():
    labels = np.full((96, 96), CLEAR, np.uint8)
    labels[30:60, 30:60] = CLOUD
    unknown = [replace(patch(seed, allowed=allowed), level_known=False) for seed, allowed in ((1, labels), (2, None))]
    stream = small_stream(labelled=unknown, thumbnails=[], backgrounds=[patch(3)])
    assert [one.name for one in stream.backgrounds] == ["p3"]
    assert stream.donors == []
