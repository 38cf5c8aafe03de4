"""GELU by tanh against its definition, and its bits alone, with others and on any number of threads."""

import numpy as np
import pytest

from perilune.kernels import gelu_cpu, threads
from perilune.kernels.gelu_cpu import gelu, gelu_plain

RANDOM = np.random.default_rng(0).normal(0, 3, (7, 40_001)).astype(np.float32)


def test_it_is_its_definition():
    x = np.concatenate([RANDOM.ravel(), np.float32([0.0, -0.0, 1e-30, -1e-30, 40.0, -40.0, 1e18, -1e18])])
    assert np.abs(gelu(x) - gelu_plain(x))[:-2].max() < 2e-6
    assert gelu(x)[-2] == x[-2] and abs(gelu(x)[-1]) < 1e-19
    assert np.isnan(gelu(np.float32([np.nan]))).all() and gelu(np.zeros((0, 3), np.float32)).shape == (0, 3)


def test_a_number_has_the_same_bits_anywhere_and_on_any_threads():
    assert RANDOM.size > gelu_cpu._FEW
    try:
        threads.set_threads(1)
        whole = gelu(RANDOM)
        for count in (2, 3):
            threads.set_threads(count)
            assert np.array_equal(gelu(RANDOM), whole)
    finally:
        threads.set_threads(None)
    assert np.array_equal(gelu(RANDOM[3:4]), whole[3:4]) and np.array_equal(gelu(RANDOM[0, 7:30]), whole[0, 7:30])


@pytest.mark.parametrize("x", [np.zeros(4), np.zeros((4, 4), np.float32).T[1:, ::2]])
def test_what_it_cannot_read_is_refused(x):
    with pytest.raises(ValueError, match="numbers must be contiguous float32"):
        gelu(x)
