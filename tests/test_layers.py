"""The small pieces: what must not depend on how work is shared out."""

import pytest
import torch
import torch.nn.functional as F

from perilune.model.layers import steady_gelu


def test_a_steady_gelu_is_the_gelu_of_torch_with_its_gradient():
    x_TD = torch.linspace(-12, 12, 3 * 333).view(3, 333).requires_grad_()
    expected_TD = F.gelu(x_TD, approximate="tanh")
    assert torch.equal(steady_gelu(x_TD), expected_TD)
    with torch.no_grad():
        assert (steady_gelu(x_TD) - expected_TD).abs().max() < 2e-6


@pytest.mark.parametrize("width", [1, 37, 112, 4304])
def test_a_steady_gelu_has_the_same_bits_on_any_threads_and_with_any_neighbours(width):
    x_TD = torch.randn(211, width, generator=torch.Generator().manual_seed(1)) * 3
    before = torch.get_num_threads()
    with torch.inference_mode():
        whole_TD = steady_gelu(x_TD)
        assert all(torch.equal(steady_gelu(x_TD[-count:]), whole_TD[-count:]) for count in (1, 2, 7, 100))
        try:
            for count in (1, 2, 3, 5):
                torch.set_num_threads(count)
                assert torch.equal(steady_gelu(x_TD), whole_TD)
        finally:
            torch.set_num_threads(before)
