"""Reading and asking: what is cached, cut or reused gives what whole rows give."""

import pytest
import torch
from tiny_models import TOKENIZER, memory_transformer

from perilune.engine.runner import Runner
from perilune.model import live
from perilune.model.memory import stored

ASSISTANT = TOKENIZER.special_id("<|im_assistant|>")


def ids(count, seed):
    return torch.randint(0, 256, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def heard(runner, tokens, parts, pages=None):
    state, logits, start = runner.new_state(pages), [], 0
    for part in parts:
        logits.append(runner.extend(tokens[start : start + part], state, last_only=False))
        start += part
    return torch.cat(logits), state


@pytest.mark.parametrize("parts", [[70], [33, 37], [1] * 70, [64, 5, 1]], ids=["whole", "two", "one by one", "runs"])
def test_hearing_in_parts_is_the_forward_pass(parts):
    runner = Runner(memory_transformer())
    tokens = ids(70, 0)
    with torch.no_grad():
        whole = runner.model(torch.tensor([tokens]))[0]
    got, _ = heard(runner, tokens, parts)
    torch.testing.assert_close(got, whole, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("parts", [[34], [20, 14], [1] * 34], ids=["whole", "two", "one by one"])
def test_asking_token_by_token_is_asking_at_once(parts):
    """Stored keys and queries are rounded: probabilities are compared, on a text without near ties of two chunks."""
    model = memory_transformer()
    # Fresh weights leave much of the second look and the copy head out: here every part has its say.
    for name, weight in model.named_parameters():
        if name.startswith(
            ("second_look", *(f"copy_head.{p}" for p in ("gate", "run", "told", "left", "span", "follow")))
        ):
            torch.nn.init.normal_(weight, 0.0, 0.1, generator=torch.Generator().manual_seed(3))
    runner = Runner(model)
    text = torch.tensor(ids(256, 3)).view(2, 128)
    copied = text[1, 40:49].tolist()
    tokens = [*ids(12, 10), ASSISTANT, *copied, *ids(12, 60)]
    with torch.no_grad():
        pages = live.read(model, text)
        pages.keys_CSGI = (pages.keys_CSGI * 127).round() / 127
        asked = live.ask(model, torch.tensor([tokens]), pages, torch.arange(12, 34).unsqueeze(0))
        parts_of = zip(asked.pointing, asked.y_BRD.split(4, dim=1), strict=True)
        whole = torch.cat([p.mix(model.lm_head(y)) for p, y in parts_of], 1)[0].exp()
    got, state = heard(runner, tokens, parts, stored(pages))
    assert state.live.choices == [tuple(chosen.chunk_BK[0].tolist()) for chosen in asked.chosen]
    assert (got[12:].exp() - whole).abs().max() < 2e-3
    assert len(state.live.choices) == 6  # at the assistant's role and every 4 tokens from there


def test_reading_ends_with_the_turn():
    model = memory_transformer()
    pages = stored(live.read(model, torch.tensor([ids(64, 1)])))
    _, state = heard(Runner(model), [*ids(5, 2), ASSISTANT, *ids(2, 3), TOKENIZER.eos, *ids(9, 4)], [18], pages)
    assert not state.live.reads and state.live.chosen is None
    assert len(state.live.choices) == 1


def test_an_overlap_warms_the_states_up_and_is_not_kept():
    model = memory_transformer()
    text = torch.tensor([ids(96, 5)])
    with torch.no_grad():
        whole, tail = live.read(model, text), live.read(model, text[:, 16:], overlap=16)
        cold = live.read(model, text[:, 32:])
    assert tail.ids_CS.equal(whole.ids_CS[2:])
    assert (tail.latents_CSL - whole.latents_CSL[2:]).norm() < (cold.latents_CSL - whole.latents_CSL[2:]).norm()


def test_a_fork_goes_on_by_itself():
    runner = Runner(memory_transformer())
    tokens = ids(40, 6)
    _, state = heard(runner, tokens, [40])
    twin = state.fork()
    a = runner.extend([1, 2, 3], state)
    runner.extend([9, 9, 9, 9], twin)
    other = heard(runner, [*tokens, 1, 2, 3], [40, 3])[0][-1:]
    torch.testing.assert_close(a, other)
    with pytest.raises(ValueError, match="recurrent"):
        state.fork(10)
    with pytest.raises(ValueError, match="recurrent"):
        state.truncate(10)


def test_packed_documents_are_documents_alone():
    model = memory_transformer()
    parts = [ids(50, 7), ids(3, 8), ids(27, 9)]
    row = torch.tensor([[*parts[0], *parts[1], *parts[2]]])
    segments = torch.tensor([[0] * 50 + [1] * 3 + [2] * 27])
    with torch.no_grad():
        packed = model(row, segments)[0]
        alone = torch.cat([model(torch.tensor([part]))[0] for part in parts])
    torch.testing.assert_close(packed, alone, atol=2e-4, rtol=1e-3)
