"""Linear on float32, bf16 and int8 weights: against the definition, at odd sizes, the same bits alone and together."""

import numpy as np
import pytest

from perilune.kernels import threads
from perilune.kernels.linear_cpu import int8_rows, linear, linear_plain


@pytest.mark.parametrize("kind", ["float32", "bf16", "int8"])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (7, 5), (33, 17), (100, 96), (64, 512), (700, 331)])
def test_equals_the_definition_with_the_same_bits_everywhere(kind, n, k):
    rng = np.random.default_rng(n * k)
    w = rng.standard_normal((n, k)).astype(np.float32)
    if kind == "bf16":
        w = (w.view(np.uint32) >> 16).astype(np.uint16)
    elif kind == "int8":
        w = int8_rows(rng.integers(-127, 128, (n, k), np.int8), rng.random(n))
    x = rng.standard_normal((37, k)).astype(np.float32)
    want = linear_plain(x, w)
    whole = linear(x, w)
    assert np.linalg.norm(whole - want) <= 1e-6 * np.linalg.norm(want)
    for count in (1, 2, 3, 5, 16, 19):
        for used in (1, None):
            threads.set_threads(used)
            assert np.array_equal(linear(x[-count:], w), whole[-count:])


def test_nothing_in_nothing_out():
    assert linear(np.zeros((0, 8), np.float32), np.zeros((3, 8), np.float32)).shape == (0, 3)


def test_refuses_what_does_not_fit():
    x = np.zeros((2, 8), np.float32)
    with pytest.raises(ValueError, match="fit"):
        linear(x, np.zeros((3, 9), np.float32))
    with pytest.raises(ValueError, match="contiguous"):
        linear(x, np.zeros((3, 8), np.float64))
