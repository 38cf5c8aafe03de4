"""The thread count that kernels use."""

import os
import subprocess
import sys

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


@pytest.mark.skipif(threads.max_threads() < 2, reason="one core has one thread")
def test_torch_keeps_its_threads_when_those_of_the_kernels_start():
    """Where both share one OpenMP; in a process of its own, since they start once."""
    code = (
        "import torch, perilune\nperilune.load('nano', threads=1).logits([1, 2, 3])\nprint(torch.get_num_threads())\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert told.stdout == "1\n"
