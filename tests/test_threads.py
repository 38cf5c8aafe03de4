"""The thread count that kernels use."""

import pytest

from perilune.kernels import threads


def test_counts_are_kept_within_the_machine():
    assert threads.set_threads(1) == threads.get_threads() == 1
    assert threads.set_threads(10**6) == threads.max_threads()
    with pytest.raises(ValueError, match="1 or more"):
        threads.set_threads(0)
    assert threads.set_threads(None) == threads.max_threads()


def test_regions_nest_in_one_python_thread():
    with threads.region() as outer, threads.region() as inner:
        assert outer == inner == threads.get_threads()
