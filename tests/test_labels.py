import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xcloudmask.models.labels import largest_class


@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(1, 6),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    channels_last=st.booleans(),
)
def test_it_is_argmax(seed, classes, dtype, channels_last):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 37, 5, generator=generator).mul(2).round(decimals=1).to(dtype)  # with many ties
    if channels_last:
        logits = logits.contiguous(memory_format=torch.channels_last)
    cropped = logits[:, :, 1:36, 2:]
    np.testing.assert_array_equal(largest_class(cropped), cropped.argmax(dim=1).numpy())


@pytest.mark.parametrize("values", [[-0.5, -2.0, -0.25], [-1e30, 0.0, 1e-30], [3.0, 3.0, -3.0], [-0.0, 0.0, -1.0]])
def test_signs(values):
    logits = torch.tensor(values).bfloat16().reshape(1, 3, 1, 1)
    assert largest_class(logits).item() == int(np.argmax(values))
