"""Many sequences a token further at once, against each alone (the same bits) and against `listen`, the definition."""

import numpy as np
import pytest
import torch

from perilune import load
from perilune.engine.runner import Runner
from perilune.model.listen import listen
from perilune.model.speak import reads_nothing, speak

TEXT = "Tell me a story about a bear and a fox who live near a lake. "


@pytest.fixture(scope="module")
def model():
    return load("nano")


def states(model, runner, lengths):
    made = []
    for i, length in enumerate(lengths):
        state = runner.new_state()
        ids = model.tokenizer.encode(f"{i} " + TEXT * 60)[:length]
        if ids:
            runner.prefill(ids, state)
        made.append(state)
    return made


def next_ids(step, states):
    """Some draws, some copies of what stands in the window, so that runs of equal tokens come up."""
    drawn = np.random.default_rng(step).integers(0, 7000, len(states)).tolist()
    return [s.live.ids[-9] if len(s.live.ids) > 9 and step % 3 else id for s, id in zip(states, drawn, strict=True)]


def test_a_sequence_gets_the_same_bits_alone_in_company_and_nearly_those_of_listen(model):
    runner = Runner(model.transformer)
    together = states(model, runner, [0, 1, 40, 300, 511, 512, 513, 640])
    alone, defined = ([state.fork() for state in together] for _ in range(2))
    for step in range(24):
        ids = next_ids(step, together)
        both = runner.decode(ids, together)
        for b, id in enumerate(ids):
            assert np.array_equal(runner.decode([id], [alone[b]])[0], both[b])
            wanted = listen(model.transformer, torch.tensor([id]), defined[b])[0]
            defined[b].advance(1)
            np.testing.assert_allclose(both[b], wanted.numpy(), atol=2e-4)
    for one, other in zip(together, defined, strict=True):
        assert one.live.ids == other.live.ids and one.live.reads == other.live.reads
        assert one.live.since_choice == other.live.since_choice
        torch.testing.assert_close(one.live.latents_TL, other.live.latents_TL, atol=1e-4, rtol=1e-4)


def test_states_do_not_share_what_they_keep(model):
    runner = Runner(model.transformer)
    pair = states(model, runner, [20, 20])
    runner.decode([5, 6], pair)
    for state in pair:
        delta = state.deltas[0]
        assert delta.matrix_BHKV.untyped_storage().nbytes() == delta.matrix_BHKV.nbytes


def test_a_fork_goes_on_by_itself(model):
    runner = Runner(model.transformer)
    (state,) = states(model, runner, [30])
    runner.decode([7], [state])
    twin = state.fork()
    runner.decode([8], [state])
    assert np.array_equal(runner.decode([9], [twin]), runner.decode([9], [_again(model, runner)]))


def _again(model, runner):
    (state,) = states(model, runner, [30])
    runner.decode([7], [state])
    return state


def test_those_that_have_read_something_are_left_to_listen(model):
    runner = Runner(model.transformer)
    reading = model.read([np.arange(200)])
    read, plain = runner.new_state(reading.pages), runner.new_state()
    assert not reads_nothing(read) and reads_nothing(plain)
    both = runner.decode([4, 4], [read, plain])
    assert np.array_equal(both[1], speak(model.transformer, torch.tensor([4]), [runner.new_state()])[0].numpy())
