"""The decoder against itself: cached decoding equals the full forward, whatever the chunks and the neighbours."""

import dataclasses

import pytest
import torch

from perilune.config import ModelConfig
from perilune.model.model import Transformer, segment_positions
from perilune.model.state import SequenceState

CONFIG = ModelConfig.preset("tiny")


def transformer(**changes):
    model = Transformer(dataclasses.replace(CONFIG, initializer_range=0.1, **changes)).eval()
    model.init_weights(seed=3)
    return model.requires_grad_(False)


def fresh_state():
    return SequenceState(CONFIG.num_hidden_layers, CONFIG.kv_lora_rank + CONFIG.qk_rope_head_dim, block_rows=8)


def ids(count, seed=0):
    return torch.randint(0, CONFIG.vocab_size, (count,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("chunks", [[24], [1, 23], [5, 5, 14], [8, 16]])
def test_chunks_equal_the_full_forward(chunks):
    model, ids_T, state = transformer(), ids(24), fresh_state()
    expected_TV = model(ids_T[None])[0]
    logits = []
    for chunk in ids_T.split(chunks):
        logits.append(model.extend(chunk, state, last_only=False))
        state.advance(len(chunk))
    torch.testing.assert_close(torch.cat(logits), expected_TV, rtol=1e-4, atol=1e-4)


def test_decoding_equals_the_full_forward():
    model, ids_T, state = transformer(), ids(40), fresh_state()
    expected_TV = model(ids_T[None])[0]
    model.extend(ids_T[:10], state)
    state.advance(10)
    for t in range(10, 40):
        logits_V = model.decode(ids_T[t : t + 1], [state])[0]
        state.advance(1)
        torch.testing.assert_close(logits_V, expected_TV[t], rtol=1e-4, atol=1e-4)


def test_sequences_of_different_length_decode_side_by_side():
    model, states = transformer(), [fresh_state() for _ in range(3)]
    prompts = [ids(5, seed=1), ids(9, seed=2), ids(2, seed=3)]
    for prompt_T, state in zip(prompts, states, strict=True):
        model.extend(prompt_T[:-1], state)
        state.advance(len(prompt_T) - 1)
    logits_BV = model.decode(torch.stack([p[-1] for p in prompts]), states)
    for prompt_T, logits_V in zip(prompts, logits_BV, strict=True):
        torch.testing.assert_close(logits_V, model(prompt_T[None])[0, -1], rtol=1e-4, atol=1e-4)


def test_packed_documents_equal_documents_alone():
    model, first_T, second_T = transformer(), ids(6, seed=1), ids(9, seed=2)
    packed_BT = torch.cat((first_T, second_T))[None]
    segments_BT = torch.tensor([[0] * 6 + [1] * 9])
    logits_TV = model(packed_BT, segments_BT)[0]
    torch.testing.assert_close(logits_TV[6:], model(second_T[None])[0], rtol=1e-4, atol=1e-4)


def test_positions_restart_with_each_document():
    segments_BT = torch.tensor([[0, 0, 1, 1, 1], [4, 4, 4, 4, 7]])
    assert segment_positions(segments_BT).tolist() == [[0, 1, 0, 1, 2], [0, 1, 2, 3, 0]]


@pytest.mark.parametrize(
    "changes",
    [
        {"q_lora_rank": None},
        {"rope_interleave": False},
        {"mla_use_nope": True},
        {"tie_word_embeddings": True},
        {"n_group": 2, "topk_group": 1},
        {"n_shared_experts": 0},
        {"first_k_dense_replace": 3},
    ],
    ids=str,
)
def test_every_published_variant_decodes_like_its_forward(changes):
    model, ids_T, state = transformer(**changes), ids(12), fresh_state()
    expected_TV = model(ids_T[None])[0]
    model.extend(ids_T[:11], state)
    state.advance(11)
    torch.testing.assert_close(model.decode(ids_T[11:], [state])[0], expected_TV[11], rtol=1e-4, atol=1e-4)


def test_fresh_weights_follow_the_seed():
    a, b = transformer(), transformer()
    assert all(x.equal(y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
