"""Windows of matches against looking at every token of every window."""

import numpy as np
import pytest

from perilune.kernels import windows_cpu


@pytest.mark.parametrize(("size", "chunks"), [(16, 1), (16, 5), (32, 3), (64, 2)])
def test_windows_equal_the_definition(size, chunks):
    rng = np.random.default_rng(size)
    match = rng.random((2, 6, size * chunks)).astype(np.float32)
    weight = rng.random((2, 6)).astype(np.float32)
    weight[0, 3] = 0.0
    joined = rng.random((2, chunks)) < 0.6
    got = windows_cpu.window_fits(match, weight, joined)
    np.testing.assert_allclose(got, windows_cpu.window_fits_plain(match, weight, joined), rtol=1e-5, atol=1e-6)


def test_no_chunk_is_no_window():
    made = windows_cpu.window_fits(np.zeros((2, 3, 0)), np.zeros((2, 3)), np.zeros((2, 0), bool))
    assert made.shape == (2, windows_cpu.WINDOWS, 0)
