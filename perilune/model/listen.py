"""Live tokens of one sequence, some at a time, on a memory: the cached form of live.ask.

Tokens are taken in runs that end where the choice of chunks is renewed, where reading begins or ends, or at RUN
tokens, so that every token sees the same whatever pieces the sequence comes in.

Legend: T tokens of a run, R those whose logits are wanted, D hidden, V vocabulary, W one cached window row.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from perilune.config import ModelConfig
from perilune.model.copy_head import Pointing
from perilune.model.delta import KimiDeltaAttention
from perilune.model.live_state import LiveState, Pointed, no_pages
from perilune.model.memory import Chosen, Queries, StoredPages, choose, go_on, pair_matches, scan
from perilune.model.model import Transformer
from perilune.model.reader import WindowReader
from perilune.model.state import SequenceState

RUN = 64


@torch.inference_mode()
def listen(model: Transformer, ids_T: Tensor, state: SequenceState, last_only: bool = True) -> Tensor:
    """Logits [1 or T, V] after the next tokens of a sequence. The caller advances the state."""
    live = state.live
    assert live is not None, "the state of a model with a chunk memory comes from Runner.new_state"
    state.reserve(ids_T.shape[0])
    start, wanted = state.length, []
    ids = ids_T.tolist()
    for begin, end in runs(ids, live, model.config):
        last = end == len(ids)
        logits_RV = _run(model, ids[begin:end], state, live, start + begin, last_only, last)
        if logits_RV is not None:
            wanted.append(logits_RV)
    return torch.cat(wanted)


def new_live(model: Transformer, pages: StoredPages | None = None) -> LiveState:
    """Before the first live token, on what was read (nothing by default)."""
    memory = model.config.memory
    assert memory is not None
    before_BJD = torch.zeros(1, memory.taps - 1, model.config.hidden_size)
    pages = pages or no_pages(memory.latent_rank, memory.chunk_size, memory.index_groups, memory.index_dim)
    return LiveState(pages, before_BJD, torch.zeros(0, memory.latent_rank))


def runs(ids: list[int], live: LiveState, config: ModelConfig) -> Iterator[tuple[int, int]]:
    """Cuts tokens where the choice changes, and keeps `live.reads` and `live.since_choice` for each run."""
    memory = config.memory
    assert memory is not None
    begin = 0
    while begin < len(ids):
        if ids[begin] == memory.answer_token_id or (memory.answer_token_id is None and not live.reads):
            live.reads, live.since_choice = True, 0
        room = memory.renew - live.since_choice % memory.renew if live.reads else RUN
        end = begin + 1
        while end < min(len(ids), begin + room) and ids[end] != memory.answer_token_id:
            if live.reads and ids[end - 1] in config.eos_token_ids:
                break
            end += 1
        yield begin, end
        live.since_choice += end - begin
        if live.reads and memory.answer_token_id is not None and ids[end - 1] in config.eos_token_ids:
            live.reads, live.chosen = False, None
        begin = end


def _run(
    model: Transformer, ids: list[int], state: SequenceState, live: LiveState, start: int, last_only: bool, last: bool
) -> Tensor | None:
    memory, config = model.memory, model.config
    assert memory is not None and config.memory is not None
    end = start + len(ids)
    cos_TP, sin_TP = (table[start:end] for table in model.rotary.up_to(end))
    x_BTD = model.embed(torch.tensor([ids]))
    for i, block in enumerate(model.lower):
        assert isinstance(block.self_attn, KimiDeltaAttention)
        y_BTD, state.deltas[i] = block.self_attn(block.input_layernorm(x_BTD), state=state.deltas[i])
        x_BTD = block.feed_forward(x_BTD + y_BTD)
    features = memory.features(x_BTD, before_BJD=live.before_BJD)
    width = config.hidden_size
    live.before_BJD = torch.cat((live.before_BJD, features[..., :width]), 1)[:, -(config.memory.taps - 1) :]
    live.latents_TL = torch.cat((live.latents_TL, memory.latents(features)[0]))
    live.ids += ids
    _update_choice(model, memory.queries(features), live)

    time_BR = torch.arange(len(ids)).unsqueeze(0)
    chosen = live.chosen.for_tokens(torch.zeros(len(ids), dtype=torch.long)) if live.chosen else None
    for i, block in enumerate(model.upper, len(model.lower)):
        assert isinstance(block.self_attn, WindowReader)
        normed = block.input_layernorm(x_BTD)
        rows_CW = state.latents[i]
        rows_CW[start:end] = block.self_attn.latents(normed, cos_TP, sin_TP)[0]
        seen_BSW = rows_CW[max(0, start + 1 - config.memory.window) : end].unsqueeze(0)
        x_BTD = block.feed_forward(x_BTD + block.self_attn.read(normed, cos_TP, sin_TP, seen_BSW, chosen, time_BR))
    if last_only and not last:
        return None
    return _predict(model, x_BTD[:, -1:] if last_only else x_BTD, live, chosen)


def _update_choice(model: Transformer, queries: Queries, live: LiveState) -> None:
    """Chooses anew when the run begins at a time of choice; the memory is searched then, for all tokens since."""
    assert model.config.memory is not None
    if not live.pages.ids_CS.shape[0]:
        return
    if live.reads and live.since_choice % model.config.memory.renew == 0:
        live.pending.append(queries.part(0, 1))
        _search(live)
        assert live.tally is not None
        live.chosen = choose(live.tally.score_BTC, live.pages, model.config.memory.top_k)
        live.choices.append(tuple(live.chosen.chunk_BU[0].tolist()))
        queries = queries.part(1)
    live.pending.append(queries)
    if sum(waiting.log_keep_BT.shape[1] for waiting in live.pending) >= RUN:
        _search(live)


def _search(live: LiveState) -> None:
    """Adds the matches of all waiting queries to the tally."""
    queries = Queries.joined(live.pending)
    live.pending = []
    if queries.log_keep_BT.shape[1]:
        live.tally = go_on(live.tally, pair_matches(scan(queries.index_BTGI[0], live.pages)), queries)


def _predict(model: Transformer, x_BRD: Tensor, live: LiveState, chosen: Chosen | None) -> Tensor:
    """Logits of head and copies together for the last R tokens of the sequence."""
    head = model.copy_head
    assert head is not None
    y_BRD, count, length = model.norm(x_BRD), x_BRD.shape[1], len(live.ids)
    first = max(0, length - count - head.window)
    latents_BSL = live.latents_TL[first:].unsqueeze(0)
    follow_BS = torch.tensor([[*live.ids[first + 1 :], -1]])
    time_R1 = torch.arange(length - count, length).unsqueeze(1)
    back_RS = time_R1 - torch.arange(first, length)
    seen_BRS = ((back_RS > 0) & (back_RS < head.window)).unsqueeze(0)
    if chosen is not None and chosen.bias_BTU.shape[1] != count:
        chosen = chosen.for_tokens(torch.full((count,), -1))
    pointing = head(y_BRD, latents_BSL[:, -count:], latents_BSL, follow_BS, seen_BRS, chosen)
    live.pointed.append(_pointed(pointing, chosen))
    return pointing.mix(model.lm_head(y_BRD))[0]


def _pointed(pointing: Pointing, chosen: Chosen | None) -> Pointed | None:
    """The memory token that the last prediction pointed at most."""
    if chosen is None:
        return None
    units, size = chosen.valid_BUS.shape[1:]
    weight_A = pointing.logits_BTA[0, -1].softmax(-1) * pointing.gate_BT[0, -1].sigmoid()
    weight, place = weight_A[: units * size].max(0)
    chunk = int(chosen.chunk_BU[0, int(place) // size])
    return Pointed(chunk * size + int(place) % size, float(weight))
