"""SEnSeI: any bands in any order, and the matrix that it is."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xcloudmask.errors import ArgumentError
from xcloudmask.models.sensei import Sensei, SenseiDecoder, describe

BANDS = [
    (433.0, 443.0, 453.0),
    (458.0, 490.0, 523.0),
    (543.0, 560.0, 578.0),
    (650.0, 665.0, 680.0),
    (785.0, 842.0, 900.0),
    (1565.0, 1610.0, 1655.0),
    (10_600.0, 10_900.0, 11_190.0),
]


@pytest.fixture(scope="module")
def sensei():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Sensei().eval()


def test_it_is_as_large_as_that_of_the_paper():
    assert sum(p.numel() for p in Sensei().parameters()) == pytest.approx(210_544, rel=0.03)


@given(st.permutations(range(len(BANDS))), st.integers(3, len(BANDS)), st.integers(0, 2**31))
def test_the_order_of_the_bands_changes_nothing_but_rounding(sensei, order, count, seed):
    chosen = order[:count]
    other = list(np.random.default_rng(seed).permutation(chosen))
    x = torch.rand(2, len(BANDS), 4, 4, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        one, same = (sensei(x[:, picked], describe([BANDS[index] for index in picked])) for picked in (chosen, other))
    torch.testing.assert_close(one, same, rtol=1e-4, atol=1e-5)


@given(st.integers(3, len(BANDS)), st.integers(0, 4), st.integers(0, 2**31))
def test_places_without_a_band_change_nothing_but_rounding(sensei, count, empty, seed):
    x = torch.rand(2, count + empty, 5, 4, generator=torch.Generator().manual_seed(seed)) * 1.5
    there = torch.cat((torch.ones(count), torch.zeros(empty)))
    descriptors = torch.cat((describe(BANDS[-count:]), torch.zeros(empty, 3)))
    with torch.inference_mode():
        filled, alone = sensei(x, descriptors, there), sensei(x[:, :count], descriptors[:count])
    torch.testing.assert_close(filled, alone, rtol=1e-4, atol=1e-5)


def test_images_of_one_batch_may_have_other_bands(sensei):
    x = torch.rand(2, 3, 4, 4)
    sets = [describe(BANDS[:3]), describe(BANDS[3:6])]
    with torch.inference_mode():
        together = sensei(x, torch.stack(sets))
        alone = torch.cat([sensei(image[None], bands) for image, bands in zip(x, sets, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_other_bands_make_another_map(sensei):
    x = torch.full((1, 3, 2, 2), 0.3)
    with torch.inference_mode():
        one, other = (sensei(x, describe(BANDS[start : start + 3])) for start in (0, 4))
    assert (one - other).abs().max() > 1e-3


def test_gradients_reach_every_parameter():
    sensei, decoder = Sensei(), SenseiDecoder()
    descriptors = describe(BANDS[:4])
    mixed = sensei(torch.rand(5, 4, 1, 1), descriptors)[:, :, 0, 0]
    there, value = decoder(mixed, descriptors.expand(5, -1, -1))
    (there.sum() + value.sum()).backward()
    for net in (sensei, decoder):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters() if p.ndim > 1)


@pytest.mark.parametrize("bands", [BANDS[:2], [*BANDS[:2], (290.0, 300.0, 310.0)], [*BANDS[:2], (700.0, 600.0, 800.0)]])
def test_what_is_no_set_of_bands_is_refused(bands):
    with pytest.raises(ArgumentError, match=r"Expected|takes 3"):
        describe(bands)
