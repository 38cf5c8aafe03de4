"""The learning rate: rises, stays, falls; its constant part does not depend on the total."""

import pytest

from perilune.train.schedule import Schedule


def test_rises_stays_and_falls():
    schedule = Schedule(peak=2.0, steps=100, warmup=10, decay_share=0.3)
    assert schedule.lr(0) == pytest.approx(0.2)
    assert schedule.lr(9) == schedule.lr(50) == schedule.lr(70) == 2.0
    falling = [schedule.lr(step) for step in range(70, 101)]
    assert falling == sorted(falling, reverse=True)
    assert 0 < schedule.lr(99) < 0.1
    assert schedule.lr(100) == 0


def test_a_longer_run_begins_the_same():
    short, long = Schedule(1.0, 100), Schedule(1.0, 1000)
    assert [short.lr(s) for s in range(short.decay_start)] == [long.lr(s) for s in range(short.decay_start)]


def test_no_warmup_and_no_decay():
    schedule = Schedule(peak=1.0, steps=10, warmup=0, decay_share=0.0)
    assert {schedule.lr(step) for step in range(10)} == {1.0}
