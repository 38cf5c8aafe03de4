"""Runs of equal tokens against their definitions, whole and in parts."""

import numpy as np
import pytest

from perilune.kernels import runs_cpu


def case(seed, rows=2, length=12, size=40, vocabulary=3):
    rng = np.random.default_rng(seed)
    breaks = rng.random((rows, size)) < 0.1
    return rng.integers(0, vocabulary, (rows, length)), rng.integers(-1, vocabulary, (rows, size)), breaks


@pytest.mark.parametrize("seed", range(4))
def test_runs_equal_the_definition(seed):
    a, b, breaks = case(seed)
    runs = runs_cpu.equal_runs(a, b, breaks, 4)
    assert (runs == runs_cpu.equal_runs_plain(a, b, breaks, 4)).all()
    assert runs.max() >= 3


@pytest.mark.parametrize("seed", range(4))
def test_what_was_told_equals_the_definition_whole_and_in_parts(seed):
    a, b, breaks = case(seed)
    runs = runs_cpu.equal_runs(a, b, breaks, 6)
    told = runs_cpu.told(runs, breaks, 3)
    assert (told == runs_cpu.told_plain(runs, breaks, 3)).all()
    first = runs_cpu.told(runs[:, :5], breaks, 3)
    rest = runs_cpu.told(runs[:, 5:], breaks, 3, first[:, -1])
    assert (np.concatenate((first, rest), 1) == told).all()


@pytest.mark.parametrize("seed", range(4))
def test_what_was_begun_equals_the_definition_whole_and_in_parts(seed):
    a, b, breaks = case(seed, vocabulary=2)
    runs = runs_cpu.equal_runs(a, b, breaks, 6)
    begin = np.random.default_rng(seed).random(b.shape, np.float32)
    begun = runs_cpu.begun(runs, begin, breaks)
    assert (begun == runs_cpu.begun_plain(runs, begin, breaks)).all() and begun.max() > 0.9
    first = runs_cpu.begun(runs[:, :5], begin, breaks)
    rest = runs_cpu.begun(runs[:, 5:], begin, breaks, first[:, -1])
    assert (np.concatenate((first, rest), 1) == begun).all()


def test_a_place_without_a_token_is_in_no_run():
    a, b, breaks = np.full((1, 3), 5), np.full((1, 8), -1), np.zeros((1, 8), bool)
    assert runs_cpu.equal_runs(a, b, breaks, 4).sum() == 0


def test_only_the_last_tokens_matter():
    a, b, breaks = case(0, length=20)
    whole = runs_cpu.equal_runs(a, b, breaks, 5)
    assert (runs_cpu.equal_runs(a[:, -7:], b, breaks, 5)[:, -3:] == whole[:, -3:]).all()
