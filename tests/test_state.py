"""The latent cache of one sequence: growth, forgetting, copies."""

from __future__ import annotations

import pytest
import torch

from perilune.model.state import SequenceState


def filled(rows: int) -> SequenceState:
    state = SequenceState(num_layers=2, width=3, block_rows=4)
    state.reserve(rows)
    for layer, latent_CW in enumerate(state.latents):
        latent_CW[:rows] = torch.arange(rows * 3).view(rows, 3) + 1000 * layer
    state.advance(rows)
    return state


def test_a_new_state_holds_no_memory():
    state = SequenceState(2, 3)
    assert (state.length, state.capacity, state.nbytes) == (0, 0, 0)


def test_capacity_grows_in_whole_blocks_and_keeps_the_rows():
    state = filled(5)
    before = [latent[:5].clone() for latent in state.latents]
    assert state.capacity == 8
    state.reserve(100)
    assert state.capacity >= 105 and state.capacity % 4 == 0
    assert all(torch.equal(a, b[:5]) for a, b in zip(before, state.latents, strict=True))
    assert all(latent.dtype == torch.float32 for latent in state.latents)


def test_bytes_count_what_is_allocated():
    assert filled(5).nbytes == 8 * 3 * 4 * 2


def test_reserving_what_is_there_moves_nothing():
    state = filled(5)
    address = state.latents[0].data_ptr()
    state.reserve(3)
    assert state.latents[0].data_ptr() == address


def test_one_token_at_a_time_reallocates_rarely():
    state = SequenceState(1, 1, block_rows=4)
    addresses = set()
    for _ in range(1000):
        state.reserve(1)
        state.advance(1)
        addresses.add(state.capacity)
    assert len(addresses) < 20


def test_advance_refuses_rows_that_were_not_reserved():
    with pytest.raises(ValueError, match="cannot advance 4 rows from 5 with capacity 8"):
        filled(5).advance(4)


def test_truncate_forgets_the_end_only():
    state = filled(5)
    state.truncate(2)
    assert state.length == 2 and state.latents[1][1].tolist() == [1003, 1004, 1005]
    with pytest.raises(ValueError, match="2 tokens to 3"):
        state.truncate(3)


def test_a_fork_is_independent():
    state = filled(5)
    twin = state.fork(3)
    twin.latents[0][0] = -1
    assert twin.length == 3 and state.latents[0][0].tolist() == [0, 1, 2]
    assert torch.equal(twin.latents[1][:3], state.latents[1][:3])
    with pytest.raises(ValueError, match="cannot fork 6 tokens out of 5"):
        state.fork(6)


def test_shrink_gives_back_unused_blocks():
    state = filled(5)
    state.reserve(100)
    state.shrink()
    assert state.capacity == 8 and state.latents[0][4].tolist() == [12, 13, 14]


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="positive sizes"):
        SequenceState(0, 3)
