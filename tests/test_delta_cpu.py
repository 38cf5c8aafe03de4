"""Steps of the delta rule against the recurrence that defines it, alone and in company."""

import numpy as np
import pytest
import torch

from perilune.kernels import threads as team
from perilune.kernels.delta_cpu import delta_steps
from perilune.model.delta_rule import delta_recurrent


def case(rows: int, tokens: int, heads: int = 3, width: int = 24) -> list[np.ndarray]:
    rng = np.random.default_rng(rows * 10 + tokens)
    q, k, v = (rng.standard_normal((rows, tokens, heads, width), np.float32) for _ in range(3))
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    decay = rng.random((rows, tokens, heads, width), np.float32)
    beta, state = rng.random((rows, tokens, heads), np.float32), rng.standard_normal((rows, heads, width, width))
    return [q, k, v, decay, beta, state.astype(np.float32)]


@pytest.mark.parametrize(("rows", "tokens"), [(1, 1), (3, 1), (2, 15), (5, 7)])
def test_steps_equal_the_recurrence(rows, tokens):
    arrays = case(rows, tokens)
    before = arrays[-1].copy()
    out, state = delta_steps(*arrays)
    q, k, v, decay, beta, start = map(torch.from_numpy, arrays)
    expected, last = delta_recurrent(q, k, v, decay.log(), beta, start)
    np.testing.assert_allclose(out, expected.numpy(), rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(state, last.numpy(), rtol=2e-4, atol=2e-4)
    assert (arrays[-1] == before).all()  # a state may be shared


def test_neighbours_and_threads_change_no_bit():
    arrays = case(4, 3, heads=4, width=64)
    large = [np.concatenate([a] * 12) for a in arrays]  # enough work for a parallel region
    out, state = delta_steps(*large)
    count = team.get_threads()
    try:
        team.set_threads(1)
        single, _ = delta_steps(*large)
    finally:
        team.set_threads(count)
    alone, alone_state = delta_steps(*(a[1:2] for a in arrays))
    assert (out == single).all() and (out[1:2] == alone).all() and (state[45:46] == alone_state).all()


def test_strided_inputs_are_taken_as_they_are():
    arrays = case(2, 4)
    strided = [np.asfortranarray(a) for a in arrays]
    assert (delta_steps(*strided)[0] == delta_steps(*arrays)[0]).all()
