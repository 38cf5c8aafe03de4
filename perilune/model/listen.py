"""Live tokens of one sequence, some at a time, on a memory: the cached form of live.ask.

Tokens are taken in runs that end where the choice of chunks is renewed, where reading begins or ends, or at RUN
tokens, so that every token sees the same whatever pieces the sequence comes in.

Legend: T tokens of a run, R those whose logits are wanted, D hidden, V vocabulary, W one cached window row.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from perilune.config import LONGEST_RUN, ModelConfig
from perilune.kernels.runs import equal_runs
from perilune.model.chosen import choose
from perilune.model.copy_head import Lived, Pointing, Read, pointable
from perilune.model.delta import KimiDeltaAttention
from perilune.model.layers import following
from perilune.model.live_state import LiveState, Pointed, no_pages
from perilune.model.memory import Queries, StoredPages, go_on, pair_matches, scan
from perilune.model.model import Transformer
from perilune.model.reader import WindowReader
from perilune.model.second_look import Question
from perilune.model.state import SequenceState

RUN = 64


@torch.inference_mode()
def listen(model: Transformer, ids_T: Tensor, state: SequenceState, last_only: bool = True) -> Tensor:
    """Logits [1 or T, V] after the next tokens of a sequence. The caller advances the state."""
    wanted, left = [], ids_T.shape[0]
    for x_BTD, live, read in _all_runs(model, ids_T, state):
        left -= x_BTD.shape[1]
        if not left or not last_only:
            wanted.append(_predict(model, x_BTD, live, read, 1 if last_only else x_BTD.shape[1]))
    return torch.cat(wanted)


@torch.inference_mode()
def hear(model: Transformer, ids_T: Tensor, state: SequenceState) -> Tensor:
    """`listen` without predicting: the hidden states [T, D] after the last layer (before the norm)."""
    return torch.cat([x_BTD[0] for x_BTD, _, _ in _all_runs(model, ids_T, state)])


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


def _all_runs(
    model: Transformer, ids_T: Tensor, state: SequenceState
) -> Iterator[tuple[Tensor, LiveState, Read | None]]:
    """Hidden states [1, T, D] of each run, and what it read."""
    live = state.live
    assert live is not None, "the state of a model with a chunk memory comes from Runner.new_state"
    state.reserve(ids_T.shape[0])
    ids = ids_T.tolist()
    for begin, end in runs(ids, live, model.config):
        x_BTD = _run(model, ids[begin:end], state, live, state.length + begin)
        yield x_BTD, live, _read(live, end - begin)


def _run(model: Transformer, ids: list[int], state: SequenceState, live: LiveState, start: int) -> Tensor:
    memory, config = model.memory, model.config
    assert memory is not None and config.memory is not None
    end = start + len(ids)
    cos_TP, sin_TP = (table[start:end] for table in model.rotary.up_to(end))
    x_BTD = model.embed_at(torch.tensor(ids), state, start).unsqueeze(0)
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

    parts = [(live.chosen, torch.arange(len(ids)).unsqueeze(0))] if live.chosen else []
    for i, block in enumerate(model.upper, len(model.lower)):
        assert isinstance(block.self_attn, WindowReader)
        normed = block.input_layernorm(x_BTD)
        rows_CW = state.latents[i]
        rows_CW[start:end] = block.self_attn.latents(normed, cos_TP, sin_TP)[0]
        seen_BSW = rows_CW[max(0, start + 1 - config.memory.window) : end].unsqueeze(0)
        x_BTD = block.feed_forward(x_BTD + block.self_attn.read(normed, cos_TP, sin_TP, seen_BSW, parts))
    return x_BTD


def _update_choice(model: Transformer, queries: Queries, live: LiveState) -> None:
    """Chooses anew when the run begins at a time of choice; the memory is searched then, for all tokens since."""
    settings, second_look = model.config.memory, model.second_look
    assert settings is not None and second_look is not None
    if not live.pages.ids_CS.shape[0]:
        return
    if live.reads and live.since_choice % settings.renew == 0:
        _hear(live, queries.part(0, 1), settings.window)
        _search(live)
        assert live.tally is not None and live.recent is not None
        count = live.recent.log_keep_BT.shape[1]
        first = len(live.ids) - queries.log_keep_BT.shape[1] + 1 - count
        heard = slice(first, first + count)
        ids_1T, latents_1TL = torch.tensor([live.ids[heard]]), live.latents_TL[heard].unsqueeze(0)
        question = Question.of(live.recent, latents_1TL, ids_1T, torch.tensor([count - 1]), settings.window)
        chosen = choose(live.tally.score_BTC[:, -1], live.pages, settings.top_k)
        live.chosen, live.told_1M, live.begun_1M = second_look(chosen, question), None, None
        live.choices.append(tuple(chosen.chunk_BK[0].tolist()))
        queries = queries.part(1)
    _hear(live, queries, settings.window)
    if live.pending >= RUN:
        _search(live)


def _hear(live: LiveState, queries: Queries, window: int) -> None:
    """Keeps what was asked for the next choice."""
    live.pending += queries.log_keep_BT.shape[1]
    heard = queries if live.recent is None else Queries.joined([live.recent, queries])
    live.recent = heard.part(-max(window, live.pending))


def _search(live: LiveState) -> None:
    """Adds the matches of all waiting queries to the tally."""
    if live.pending and live.recent is not None:
        queries = live.recent.part(-live.pending)
        live.tally = go_on(live.tally, pair_matches(scan(queries.index_BTGI[0], live.pages)), queries)
        live.pending = 0


def _read(live: LiveState, count: int) -> Read | None:
    """What the last `count` tokens read of the memory."""
    if live.chosen is None:
        return None
    recent_1T = torch.tensor([live.ids[-(count + LONGEST_RUN) :]])
    runs_1RM = live.chosen.runs(recent_1T, count)
    read = Read.of(live.chosen, runs_1RM, live.told_1M, live.begun_1M)
    live.told_1M, live.begun_1M = read.told_BTM[:, -1], read.begun_BTM[:, -1]
    return read


def _predict(model: Transformer, x_BTD: Tensor, live: LiveState, read: Read | None, count: int) -> Tensor:
    """Logits of head and copies together for the last `count` tokens of the sequence."""
    head = model.copy_head
    assert head is not None
    y_BRD, length = model.norm(x_BTD[:, -count:]), len(live.ids)
    first = max(0, length - count - head.window)
    latents_BSL = live.latents_TL[first:].unsqueeze(0)
    ids_1S = torch.tensor([live.ids[first:]])
    seen_1RS = pointable(None, length - first, head.window)[:, -count:]
    recent_1T, breaks_1S = ids_1S[:, -(count + LONGEST_RUN) :], torch.zeros_like(ids_1S, dtype=torch.bool)
    runs_1RS = equal_runs(recent_1T, ids_1S, breaks_1S, LONGEST_RUN)[:, -count:]
    if read is not None:
        runs_1RM, told_1RM, begun_1RM = (x[:, -count:] for x in (read.runs_BTM, read.told_BTM, read.begun_BTM))
        read = Read(read.chosen, runs_1RM, told_1RM, begun_1RM)
    lived = Lived(latents_BSL, following(ids_1S), seen_1RS, runs_1RS)
    y_BRD = head.aware(y_BRD, read)
    pointing = head(y_BRD, latents_BSL[:, -count:], lived, read)
    live.pointed.append(_pointed(pointing, read))
    return pointing.mix(model.lm_head(y_BRD))[0]


def _pointed(pointing: Pointing, read: Read | None) -> Pointed | None:
    """The memory token that the last prediction pointed at most. A file's name is copied for the sake of what was
    found in the file: then it is the token whose surroundings fit best."""
    if read is None:
        return None
    chunks, size = read.chosen.ids_BKS.shape[1:]
    weight_A = pointing.logits_BTA[0, -1].softmax(-1) * pointing.gate_BT[0, -1].sigmoid()
    weight, place = weight_A[: chunks * size].max(0)
    if int(place) // size == chunks - 1:
        place = read.chosen.fit_BKS[0].masked_fill(read.chosen.ids_BKS[0] < 0, -torch.inf)[:-1].argmax()
    chunk = int(read.chosen.chunk_BK[0, int(place) // size])
    return Pointed(chunk * size + int(place) % size, float(weight))
