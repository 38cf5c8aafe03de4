"""Prefix reuse: the longest common prefix, without changing what others hold."""

from __future__ import annotations

import pytest
import torch

from perilune.engine.cache import PrefixCache
from perilune.model.state import SequenceState


def state_of(ids) -> SequenceState:
    """A state whose rows are its ids, so that a wrong row shows."""
    state = SequenceState(2, 1, block_rows=16)
    state.reserve(len(ids))
    for latent_CW in state.latents:
        latent_CW[: len(ids), 0] = torch.tensor(ids, dtype=torch.float32)
    state.advance(len(ids))
    return state


def rows(state: SequenceState) -> list[int]:
    return state.latents[1][: state.length, 0].int().tolist()


def test_a_longer_prompt_takes_the_whole_state():
    cache = PrefixCache()
    ids = list(range(20))
    kept = state_of(ids)
    cache.put(ids, kept)
    assert cache.take([*ids, 99, 98]) is kept
    assert len(cache) == 0


def test_what_is_kept_under_one_salt_is_not_there_under_another():
    cache, ids = PrefixCache(), list(range(20))
    cache.put(ids, state_of(ids), "a")
    assert cache.take([*ids, 99], "b") is None and cache.take([*ids, 99]) is None
    cache.put(ids, state_of(ids), "b")
    assert len(cache) == 2
    assert cache.take([*ids, 99], "a") is not None and cache.take([*ids, 99], "b") is not None


def test_the_last_prompt_token_is_always_computed():
    cache = PrefixCache()
    ids = list(range(20))
    cache.put(ids, state_of(ids))
    taken = cache.take(ids)
    assert taken is not None and rows(taken) == ids[:-1]


def test_a_branch_gets_a_copy_of_what_is_shared():
    cache = PrefixCache()
    ids = list(range(20))
    cache.put(ids, state_of(ids))
    taken = cache.take([*ids[:12], 500, 501])
    assert taken is not None and rows(taken) == ids[:12]
    again = cache.take([*ids, 99])
    assert again is not None and rows(again) == ids


def test_the_longest_prefix_wins():
    cache = PrefixCache()
    for ids in (list(range(20)), [*range(15), 77, 78, 79]):
        cache.put(ids, state_of(ids))
    taken = cache.take([*range(15), 77, 78, 5, 5])
    assert taken is not None and rows(taken) == [*range(15), 77, 78]


def test_short_or_foreign_prefixes_are_not_reused():
    cache = PrefixCache()
    cache.put(list(range(20)), state_of(range(20)))
    assert cache.take([0, 1, 2, 50, 51]) is None
    assert cache.take(list(range(100, 130))) is None
    assert cache.take([5]) is None


def test_a_state_that_continues_another_replaces_it_in_either_order():
    cache = PrefixCache()
    short, long = list(range(10)), list(range(30))
    cache.put(short, state_of(short))
    cache.put(long, state_of(long))
    cache.put(short, state_of(short))
    assert len(cache) == 1
    taken = cache.take([*long, 1])
    assert taken is not None and taken.length == 30


def test_the_least_recently_used_goes_first():
    cache = PrefixCache(max_entries=2)
    a, b, c = ([start + i for i in range(16)] for start in (0, 100, 200))
    cache.put(a, state_of(a))
    cache.put(b, state_of(b))
    assert cache.take([*a[:12], 999, 999]) is not None  # a branch: a stays and is now the newest
    cache.put(c, state_of(c))
    assert cache.take([*b, 1]) is None
    assert cache.take([*a, 1]) is not None


def test_bytes_are_bounded_and_counted():
    one = state_of(range(16)).nbytes
    cache = PrefixCache(max_bytes=2 * one)
    for start in (0, 100, 200, 300):
        ids = [start + i for i in range(16)]
        cache.put(ids, state_of(ids))
    assert len(cache) == 2 and cache.nbytes == 2 * one
    big = list(range(1000, 1400))
    cache.put(big, state_of(big))
    assert cache.nbytes <= 2 * one


def test_unused_blocks_are_given_back():
    state = state_of(range(16))
    state.reserve(1000)
    cache = PrefixCache()
    cache.put(list(range(16)), state)
    assert cache.nbytes == state_of(range(16)).nbytes


def test_no_entries_means_no_reuse():
    cache = PrefixCache(max_entries=0)
    cache.put(list(range(20)), state_of(range(20)))
    assert len(cache) == 0
    with pytest.raises(ValueError, match="negative"):
        PrefixCache(max_bytes=-1)


def test_ids_and_state_must_agree():
    with pytest.raises(ValueError, match="20 tokens cannot be stored under 19 ids"):
        PrefixCache().put(list(range(19)), state_of(range(20)))
