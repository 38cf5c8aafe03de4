"""The scan kernel: integer sums, equal to the definition whatever the shapes and the threads."""

import numpy as np
import pytest

from perilune.kernels import match_cpu, threads


@pytest.mark.parametrize("shape", [(1, 1, 16, 4, 1), (13, 2, 64, 64, 37), (8, 3, 32, 20, 130), (40, 2, 16, 128, 3)])
def test_the_kernel_is_the_definition(shape):
    queries, groups, size, width, chunks = shape
    rng = np.random.default_rng(0)
    keys = rng.integers(-127, 128, (chunks, size, groups, width)).astype(np.int8)
    asked = rng.integers(-127, 128, (queries, groups, width)).astype(np.int8)
    wanted = match_cpu.best_matches_plain(asked, keys)
    assert np.array_equal(match_cpu.best_matches(asked, match_cpu.pack_keys(keys)), wanted)


def test_threads_do_not_matter():
    rng = np.random.default_rng(1)
    packed = match_cpu.pack_keys(rng.integers(-127, 128, (300, 64, 2, 64)).astype(np.int8))
    asked = rng.integers(-127, 128, (5, 2, 64)).astype(np.int8)
    before = threads.get_threads()
    try:
        found = []
        for count in (1, 2):
            threads.set_threads(count)
            found.append(match_cpu.best_matches(asked, packed))
    finally:
        threads.set_threads(before)
    assert np.array_equal(*found)


def test_nothing_to_match():
    packed = match_cpu.pack_keys(np.zeros((0, 16, 2, 8), np.int8))
    assert match_cpu.best_matches(np.zeros((3, 2, 8), np.int8), packed).shape == (3, 2, 0)


def test_shapes_that_do_not_fit_are_refused():
    packed = match_cpu.pack_keys(np.zeros((1, 16, 2, 8), np.int8))
    with pytest.raises(ValueError, match="do not fit"):
        match_cpu.best_matches(np.zeros((3, 1, 8), np.int8), packed)
    with pytest.raises(ValueError, match="multiple of 16"):
        match_cpu.pack_keys(np.zeros((1, 15, 2, 8), np.int8))
