"""Who runs: order, fairness and bounds, without a model."""

from __future__ import annotations

import pytest

from perilune.engine.sample import Sampler
from perilune.engine.scheduler import BusyError, Scheduler, Sequence
from perilune.engine.types import Request, SamplingParams
from perilune.errors import RequestError


def sequence(prompt_length: int = 4, priority: int = 0) -> Sequence:
    request = Request(tuple(range(prompt_length)), priority=priority)
    return Sequence(request, Sampler(SamplingParams()), 100, list(request.prompt_ids))


def whole_prompt(sequence: Sequence) -> int:
    return sequence.prompt_length - sequence.prefilled


def test_the_batch_is_filled_in_order_of_arrival():
    scheduler = Scheduler(max_batch=2)
    first, second, third = sequence(), sequence(), sequence()
    for one in (first, second, third):
        scheduler.add(one)
    assert scheduler.admit() == [first, second]
    scheduler.remove(first)
    assert scheduler.admit() == [third]


def test_readers_and_writers_are_told_apart():
    scheduler = Scheduler()
    reading, writing = sequence(), sequence()
    writing.prefilled = 4
    for one in (reading, writing):
        scheduler.add(one)
    scheduler.admit()
    assert scheduler.writers() == [writing]
    assert scheduler.readers(100, whole_prompt) == [reading]


def test_short_prompts_share_a_step_and_one_over_budget_still_runs():
    scheduler = Scheduler()
    sequences = [sequence(4) for _ in range(5)]
    for one in sequences:
        scheduler.add(one)
    scheduler.admit()
    assert scheduler.readers(9, whole_prompt) == sequences[:2]
    assert scheduler.readers(1, whole_prompt) == sequences[2:3]


def test_readers_take_turns():
    scheduler = Scheduler()
    long, short = sequence(1000), sequence(3)
    scheduler.add(long)
    scheduler.add(short)
    scheduler.admit()
    turns = [scheduler.readers(8, lambda s: min(8, whole_prompt(s))) for _ in range(4)]
    assert turns[:3] == [[long], [short], [long]] and [short] in turns


def test_a_full_queue_refuses_with_its_size():
    scheduler = Scheduler(max_waiting=1)
    scheduler.add(sequence())
    with pytest.raises(BusyError, match="1 requests are waiting"):
        scheduler.add(sequence())


def test_removing_works_wherever_a_sequence_stands():
    scheduler = Scheduler(max_batch=1)
    running, waiting = sequence(), sequence()
    scheduler.add(running)
    scheduler.add(waiting)
    scheduler.admit()
    for one in (running, waiting, waiting):
        scheduler.remove(one)
    assert not scheduler.running and not scheduler.waiting


def test_limits_must_be_positive():
    with pytest.raises(ValueError, match="at least 1"):
        Scheduler(max_batch=0)


def test_those_of_a_lower_priority_are_admitted_and_read_first():
    scheduler = Scheduler(max_batch=4)
    batch, chat, later, urgent = (sequence(8, priority) for priority in (50, 0, 50, 0))
    for one in (batch, chat, later, urgent):
        scheduler.add(one)
    assert list(scheduler.waiting) == [chat, urgent, batch, later]
    assert scheduler.admit() == [chat, urgent, batch, later]
    assert [scheduler.readers(8, whole_prompt) for _ in range(3)] == [[chat], [urgent], [chat]]
    for one in (chat, urgent):
        scheduler.remove(one)
    assert scheduler.readers(8, whole_prompt) == [batch]


@pytest.mark.parametrize("priority", [-1, 101, 0.5, "0", True])
def test_a_priority_is_a_whole_number_within_its_limits(priority):
    with pytest.raises(RequestError, match="priority"):
        sequence(4, priority)
