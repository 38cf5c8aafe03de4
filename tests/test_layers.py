"""The small pieces: what must not depend on how work is shared out."""

import pytest
import torch
import torch.nn.functional as F

from perilune.model.layers import SteadyBiasedLinear, steady_erf_gelu, steady_gelu, steady_linear

STEADY = {steady_gelu: "tanh", steady_erf_gelu: "none"}


@pytest.mark.parametrize("steady_gelu", STEADY)
def test_a_steady_gelu_is_the_gelu_of_torch_with_its_gradient(steady_gelu):
    x_TD = torch.linspace(-12, 12, 3 * 333).view(3, 333).requires_grad_()
    expected_TD = F.gelu(x_TD, approximate=STEADY[steady_gelu])
    assert torch.equal(steady_gelu(x_TD), expected_TD)
    with torch.no_grad():
        assert (steady_gelu(x_TD) - expected_TD).abs().max() < 2e-6
        assert steady_gelu(x_TD[None]).shape == (1, 3, 333)


@pytest.mark.parametrize("steady_gelu", STEADY)
@pytest.mark.parametrize("width", [1, 37, 112, 4304])
def test_a_steady_gelu_has_the_same_bits_on_any_threads_and_with_any_neighbours(steady_gelu, width):
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_of_a_steady_product_has_the_same_bits_alone(dtype):
    generator = torch.Generator().manual_seed(1)
    x_TD, weight_ND = torch.randn(70, 200, generator=generator), torch.randn(90, 200, generator=generator).to(dtype)
    with torch.inference_mode():
        whole_TN = steady_linear(x_TD, weight_ND)
        assert all(torch.equal(steady_linear(x_TD[t], weight_ND), whole_TN[t]) for t in range(70))
    torch.testing.assert_close(whole_TN, x_TD @ weight_ND.float().T, rtol=1e-5, atol=1e-4)


def test_a_steady_layer_trains_as_torch_does():
    layer = SteadyBiasedLinear(5, 3)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x_TD = torch.randn(4, 5)
    assert torch.equal(layer(x_TD), F.linear(x_TD, layer.weight) + layer.bias)
    layer(x_TD).sum().backward()
    assert torch.equal(layer.bias.grad, torch.full((3,), 4.0))
    with torch.no_grad():
        torch.testing.assert_close(layer(x_TD), F.linear(x_TD, layer.weight, layer.bias))
