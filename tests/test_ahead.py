"""Batches made ahead by other processes are those made on the spot, in the same order."""

import multiprocessing
import os
import signal
from dataclasses import dataclass

import pytest
import torch
from tiny_corpus import tiny_training

from perilune.train import snapshot
from perilune.train.ahead import batches, moved
from perilune.train.loop import train


@dataclass(frozen=True)
class Pair:
    number: int
    rows: tuple[torch.Tensor, ...]


def make(step: int) -> Pair:
    return Pair(step, (torch.full((3,), step), torch.arange(step)))


@pytest.mark.parametrize("workers", [0, 2])
def test_every_step_gets_its_own_batch(workers):
    made = list(batches(make, 3, 12, workers))
    assert [pair.number for pair in made] == list(range(3, 12))
    for pair in made:
        assert all(a.equal(b) for a, b in zip(pair.rows, make(pair.number).rows, strict=True))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_ends_a_run_ends_no_process_that_makes_its_batches(number):
    ahead = batches(make, 0, 12, 1)
    assert next(ahead).number == 0
    (maker,) = multiprocessing.active_children()
    os.kill(maker.pid, number)
    assert [pair.number for pair in ahead] == list(range(1, 12))


def test_all_that_is_inside_moves():
    pair = moved(Pair(5, (torch.ones(2),)), torch.device("meta"))
    assert pair.number == 5 and pair.rows[0].device.type == "meta"
    assert moved((None, "text"), torch.device("meta")) == (None, "text")


def test_a_run_is_the_same_whoever_makes_its_batches(tmp_path):
    made = []
    for workers in (0, 1):
        config = tiny_training(tmp_path / str(workers), steps=3, prompts=(), workers=workers)
        made.append(snapshot.load(train(config)).room("model"))
    assert all(made[0][name].equal(weight) for name, weight in made[1].items())
